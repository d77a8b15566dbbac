"""What the journal says about every source: whether its newest attempt failed, who confirmed it when, whether it is gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from common.backups.journal import Attempt
from common.backups.record import Content
from common.backups.retention import CLOCKS_DIFFER, Standing
from common.text import parse_time

Key = tuple[str, str, int, str]
# A server that is being repaired, restored or mixed up for a night must not make its sources vanish.
VANISHED_AFTER = timedelta(hours=24)


@dataclass(slots=True)
class _Seen:
    """Sums over the lines of one source; by content where that matters."""

    failed: set[str] = field(default_factory=set)
    confirmed: dict[str, datetime] = field(default_factory=dict)
    resumed: dict[str, datetime] = field(default_factory=dict)
    absent: bool = False
    absent_since: datetime | None = None
    absent_run: str = ""
    vanished_at: datetime | None = None


class Standings:
    """The journal of one server, read once; memory grows with its sources, not with its lines.

    `gap`: what is longer without a success is a gap (`Rules.gap`).
    """

    def __init__(self, attempts: Iterable[Attempt], gap: timedelta | None = None) -> None:
        self._seen: dict[Key, _Seen] = {}
        for attempt in attempts:
            seen = self._seen.setdefault(attempt.source.key, _Seen())
            if attempt.outcome == "absent":
                _note_absence(seen, attempt)
            else:
                seen.absent, seen.absent_since, seen.vanished_at = False, None, None
                _note_attempt(seen, attempt, gap)

    def of(self, key: Key, content: Content) -> Standing:
        """How a source stands; one that the journal does not know stands badly: nothing of it goes."""
        seen = self._seen.get(key)
        if seen is None:
            return Standing()
        return Standing(
            newest_attempt_failed=content in seen.failed,
            confirmed_at=seen.confirmed.get(content),
            resumed_at=seen.resumed.get(content),
            is_absent=seen.absent,
            vanished_at=seen.vanished_at,
        )


def _note_attempt(seen: _Seen, attempt: Attempt, gap: timedelta | None) -> None:
    content = "annotations" if attempt.mode == "a" else "backup"
    if attempt.outcome in ("saved", "unchanged"):
        seen.failed.discard(content)
        at = _moment(attempt.at)
        if at is not None:
            before = seen.confirmed.get(content)
            if before is not None and ((gap is not None and at - before > gap) or before - at > CLOCKS_DIFFER):
                seen.resumed[content] = at
            seen.confirmed[content] = at
    elif attempt.outcome in ("failed", "gone"):
        seen.failed.add(content)
    # "postponed" and "without data" were no attempts: they neither confirm anything nor make good what failed.


def _note_absence(seen: _Seen, attempt: Attempt) -> None:
    """Two runs, a day apart, must have been told 404; a clock that went back in between begins anew."""
    seen.absent = True
    at = _moment(attempt.at)
    if at is None:
        return
    if seen.absent_since is None or at < seen.absent_since:
        seen.absent_since, seen.absent_run, seen.vanished_at = at, attempt.run_id, None
    elif seen.vanished_at is None and at - seen.absent_since >= VANISHED_AFTER and attempt.run_id != seen.absent_run:
        seen.vanished_at = at


def _moment(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
