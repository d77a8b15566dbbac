"""Telling others how jobs end: pings, a webhook, notifications. Nothing of it ever fails a job."""
