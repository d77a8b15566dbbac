"""Images that a CSV names, found in a bucket and brought to a folder."""
