"""What the journal of one server says about every source, kept up to date at the cost of what is new in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from common.backups.journal import Journal
from common.backups.record import Content
from common.backups.standing import Key
from common.health.nights import REMEMBERED, mark_after, night_of_text
from common.health.tail import Tail
from common.sources import Source
from common.text import parse_time, printable

LONGEST_REASON = 300


@dataclass(slots=True)
class Seen:
    """One source in one content: its newest attempt, its last success, its last nights."""

    raw_good_at: str = ""
    tried_at: str = ""
    outcome: str = ""
    raw_reason: str = ""
    seconds: float = 0.0
    failures: int = 0
    exported_bytes: int = 0
    first_night: int = 0
    nights: dict[int, str] = field(default_factory=dict)

    @property
    def good_at(self) -> datetime | None:
        return parse_time(self.raw_good_at) if self.raw_good_at else None

    @property
    def reason(self) -> str:
        return printable(str(self.raw_reason)[: 4 * LONGEST_REASON], LONGEST_REASON)


class Watch:
    """Memory grows with the sources, not with the lines: 30 nights of each, and nothing of those long gone."""

    def __init__(self, folder: Path, zone: tzinfo | None = None) -> None:
        journal = Journal(folder)
        self._tail = Tail(journal.path, journal.older_path)
        self._drills_tail = Tail(folder / "drills.jsonl")
        self._zone = zone
        self.sources: dict[Key, Source] = {}
        self.seen: dict[tuple[Key, Content], Seen] = {}
        self.absent: set[Key] = set()
        # The last drill of each source, by the text that drills name it with, and the last one of all.
        self.drills: dict[str, Drill] = {}
        self.last_drill: Drill | None = None

    def catch_up(self, check: Callable[[], None] = lambda: None) -> None:
        """Reads what is new. `check` is called now and then and may raise. Raises OSError."""
        for number, line in enumerate(self._tail.lines()):
            if number % 4096 == 0:
                check()
            try:
                self._note(json.loads(line.decode("utf-8", "replace")))  # twice as fast as from bytes
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # torn by a crash
        for line in self._drills_tail.lines():
            try:
                self._note_drill(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    def _note(self, line: dict[str, Any]) -> None:
        # As little as possible for every line: a daemon that starts reads some hundred thousand of them.
        raw, outcome, at = line["source"], line["outcome"], line["at"]
        key: Key = (raw["server"], raw["kind"], raw["id"], raw["created_at"])
        known = self.sources.get(key)
        if known is None or known.name != raw["name"]:
            self.sources[key] = Source(**raw)
        if outcome == "absent":
            self.absent.add(key)
            return
        self.absent.discard(key)
        content: Content = "annotations" if line["mode"] == "a" else "backup"
        seen = self.seen.get((key, content))
        night = night_of_text(at, self._zone)
        if seen is None:
            seen = self.seen[key, content] = Seen(first_night=night)
        seen.tried_at, seen.outcome, seen.raw_reason = at, outcome, line.get("reason", "")
        seen.exported_bytes += line.get("bytes", 0)
        if outcome in ("saved", "unchanged"):
            seen.raw_good_at = at
        if outcome in ("saved", "failed"):
            seen.seconds = float(line.get("seconds", 0.0))
            seen.failures += outcome == "failed"
        mark = mark_after(seen.nights.get(night), outcome)
        if mark is not None:
            seen.nights[night] = mark
            if len(seen.nights) > REMEMBERED:
                del seen.nights[min(seen.nights)]

    def _note_drill(self, line: dict[str, Any]) -> None:
        drill = Drill(parse_time(str(line["at"])), str(line["result"]), printable(str(line.get("source", ""))))
        self.drills[str(line.get("source", ""))] = drill
        self.last_drill = drill

    def forget(self, wanted: Container[Key], tonight: int) -> None:
        """Lets go of sources that nobody wants and of which nothing was heard for 30 nights."""
        for key, content in list(self.seen):
            nights = self.seen[key, content].nights
            if key not in wanted and max(nights, default=0) <= tonight - REMEMBERED:
                del self.seen[key, content]
        alive = {key for key, _ in self.seen}
        for key in list(self.sources):
            if key not in alive and key not in wanted:
                del self.sources[key]
                self.absent.discard(key)


@dataclass(frozen=True, slots=True)
class Drill:
    """One backup that was restored for real. `result`: good, bad or failed."""

    at: datetime
    result: str
    source: str
