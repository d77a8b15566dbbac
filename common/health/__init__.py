"""Whether everything is backed up: judged from the files that the scripts leave, shown to people and to monitoring."""
