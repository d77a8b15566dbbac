"""How a source on the server becomes a backup on disk: what is decided, and the recipe of each save.

The one room that knows both CVAT and the backups folder; backup.py reads like its table of contents.
"""
