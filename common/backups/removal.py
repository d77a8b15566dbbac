"""Deleting backups: the records first, so that no reader ever sees a good record whose files are gone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from common.backups.retention import Copy
from common.backups.survey import Debris
from common.files import sync_folder, write_json
from common.text import iso, now

ACKNOWLEDGED = "acknowledged.json"


def remove_backups(
    folder: Path, copies: Sequence[Copy], between: Callable[[], None] = lambda: None
) -> list[tuple[Copy, str]]:
    """Deletes backups of one folder; gives those that could not be deleted, and why.

    A crash in between leaves files without a record, which a later sweep takes away as debris.
    """
    gone, failed = [], []
    between()
    for copy in copies:
        try:
            (folder / copy.record).unlink(missing_ok=True)
            gone.append(copy)
        except OSError as error:
            failed.append((copy, f"{copy.record}: {os.strerror(error.errno or 0)}"))
    if gone:
        # Durable before any file goes: a power cut must not bring a record back without its files.
        sync_folder(folder)
    for copy in gone:
        try:
            for name in copy.files:
                (folder / name).unlink(missing_ok=True)
        except OSError as error:
            failed.append((copy, f"{copy.files[0]}: {os.strerror(error.errno or 0)}"))
    return failed


def remove_debris(folder: Path, debris: Sequence[Debris]) -> list[tuple[Debris, str]]:
    """Deletes what crashes left behind; gives what could not be deleted, and why."""
    failed = []
    for each in debris:
        try:
            (folder / each.name).unlink(missing_ok=True)
        except OSError as error:
            failed.append((each, os.strerror(error.errno or 0)))
    return failed


def acknowledged(folder: Path) -> dict[str, str]:
    """Up to which stamp a person has looked at the sudden drops of a source, for each content."""
    try:
        stamps = json.loads((folder / ACKNOWLEDGED).read_text(encoding="utf-8"))["stamps"]
        return {str(content): str(stamp) for content, stamp in stamps.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def acknowledge(folder: Path, stamps: dict[str, str]) -> None:
    """Notes that a person has looked. Raises DiskFull, OSError."""
    write_json(folder / ACKNOWLEDGED, {"version": 1, "at": iso(now()), "stamps": {**acknowledged(folder), **stamps}})
