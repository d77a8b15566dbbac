"""All that knows what a backup on disk is: names, records, archives, verification, the journal of runs."""
