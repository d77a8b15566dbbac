"""What a sweep does with every source, and what it says: the policy itself is common/backups/retention.py."""
