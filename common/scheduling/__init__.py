"""What the daemon knows: the crontab, the clock, child processes, the books of what ran."""
