"""`runs.jsonl`: every attempt at every source, one line each, so that silence is told from health."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from common.files import append_lines, is_there, sync_folder
from common.lock import Locked, locked
from common.sources import Source
from common.text import parse_time

# "absent": a source with backups is not on the server any more; not an attempt, and of no mode.
Outcome = Literal["saved", "unchanged", "postponed", "without data", "failed", "gone", "absent"]
# Then the file becomes runs.1.jsonl: at a thousand sources an hour that is a fortnight.
LARGEST_BYTES = 64 << 20
# What counts towards CVAT_BACKUP_MAX_GB_PER_DAY: less than a day, so that a nightly run that took an hour yesterday has
# its whole allowance again tonight.
ALLOWANCE_WINDOW = timedelta(hours=20)


@dataclass(frozen=True)
class Attempt:
    """What became of one source in one run. `bytes` counts what the server exported for it."""

    at: str
    run_id: str
    mode: str
    source: Source
    outcome: Outcome
    reason: str = ""
    file: str = ""
    bytes: int = 0
    seconds: float = 0.0
    version: int = 1


class Journal:
    """The journal of one server's folder. Lines are appended whole; a torn last line of a crash is passed over."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runs.jsonl"
        self.older_path = folder / "runs.1.jsonl"

    def add(self, attempts: list[Attempt]) -> None:
        """Appends attempts durably, all in one write. Raises DiskFull, OSError."""
        if attempts:
            append_lines(self.path, [json.dumps(asdict(attempt), ensure_ascii=False) for attempt in attempts])

    def rotate(self) -> None:
        """Starts a new file when this one has grown large. Called at the beginning of a run, under its lock."""
        try:
            # Two modes may begin at the same moment: only one of them rotates.
            with locked(self.path.with_name(".lock-journal"), "rotating runs.jsonl"):
                if is_there(self.path) and self.path.stat().st_size > LARGEST_BYTES:
                    os.replace(self.path, self.older_path)
                    sync_folder(self.path.parent)
        except Locked:
            return

    def attempts(self) -> Iterator[Attempt]:
        """All attempts, oldest first, one at a time."""
        for path in (self.older_path, self.path):
            if not is_there(path):
                continue
            with open(path, encoding="utf-8", errors="replace") as file:
                for line in file:
                    attempt = _attempt(line)
                    if attempt is not None:
                        yield attempt


def _attempt(line: str) -> Attempt | None:
    try:
        value: dict[str, Any] = json.loads(line)
        return Attempt(**{**value, "source": Source(**value["source"])})
    except (ValueError, TypeError, KeyError):
        return None


@dataclass(frozen=True)
class History:
    """What the journal says about a mode: who was put off last time, who succeeded when, and the last day's bytes."""

    postponed: frozenset[tuple[str, str, int, str]]
    last_good: dict[tuple[str, str, int, str], str]
    bytes_in_window: int


def history(
    journal: Journal,
    mode: str,
    now: datetime,
    window: timedelta = ALLOWANCE_WINDOW,
    is_ours: Callable[[int], bool] = lambda source_id: True,
) -> History:
    """Reads the journal once. Bytes of all modes count, because they all fill the server's cache.

    Sources whose id is not ours are passed over: another run, which has its own allowance, deals with them.
    """
    postponed: set[tuple[str, str, int, str]] = set()
    last_good: dict[tuple[str, str, int, str], str] = {}
    bytes_in_window = 0
    for attempt in journal.attempts():
        if not is_ours(attempt.source.id):
            continue
        if attempt.bytes and _within(attempt.at, now, window):
            bytes_in_window += attempt.bytes
        if attempt.mode != mode:
            continue
        key = attempt.source.key
        (postponed.add if attempt.outcome == "postponed" else postponed.discard)(key)
        if attempt.outcome in ("saved", "unchanged"):
            last_good[key] = attempt.at
    return History(frozenset(postponed), last_good, bytes_in_window)


def _within(at: str, now: datetime, window: timedelta) -> bool:
    try:
        return now - parse_time(at) < window
    except ValueError:
        return False
