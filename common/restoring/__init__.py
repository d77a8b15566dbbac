"""Putting backups back into a CVAT server: what restore.py is made of."""
