"""Nights: from noon to noon in the daemon's time zone, so that a run around midnight lies in one of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo

from common.text import parse_time

# How many nights are shown, and how many are remembered (one more, for the hour in which a night begins).
SHOWN = 30
REMEMBERED = SHOWN + 1
# What became of a source in a night: one letter each, so that a year of a thousand sources is small.
GOOD, UNCHANGED, FAILED, MISSING, WITHOUT_DATA, NOT_ASKED, TO_COME = "g", "u", "f", "m", "w", "n", "t"


def night_of(moment: datetime, zone: tzinfo | None = None) -> int:
    """The number of the night that a moment lies in: the ordinal of the date it ends on. None = this machine's zone."""
    return (moment.astimezone(zone) + timedelta(hours=12)).toordinal()


@functools.lru_cache(maxsize=4096)
def _night_of_minute(text: str, zone: tzinfo | None) -> int:
    return night_of(datetime.fromisoformat(text).replace(tzinfo=UTC), zone)


def night_of_text(at: str, zone: tzinfo | None = None) -> int:
    """The same for a moment as journals write it; quick for many lines. Raises ValueError."""
    return _night_of_minute(at[:16], zone) if at.endswith("Z") else night_of(parse_time(at), zone)


def night_date(night: int) -> date:
    """The date of the morning of a night."""
    return date.fromordinal(night)


def mark_after(before: str | None, outcome: str) -> str | None:
    """What a night shows after one more attempt: the last word counts, and saved says more than unchanged."""
    match outcome:
        case "saved":
            return GOOD
        case "unchanged":
            return GOOD if before == GOOD else UNCHANGED
        case "failed":
            return FAILED
        case "without data":
            return WITHOUT_DATA
        case _:  # postponed and gone are no attempts
            return before


def strip(
    marks: Mapping[int, str], saved: frozenset[int], first: int | None, tonight: int, *, still_asked: bool = True
) -> str:
    """The last 30 nights of one source, oldest first, one letter each.

    `marks` is what the journal says; `saved` are nights of which a backup still lies there, for what the journal no
    longer reaches. Nothing is missing before the `first` night in which the source was seen.
    """
    first = min([*saved, tonight if first is None else first])
    letters = []
    for night in range(tonight - SHOWN + 1, tonight + 1):
        mark = marks.get(night) or (GOOD if night in saved else "")
        if not mark:
            due = TO_COME if night == tonight else MISSING
            mark = due if still_asked and night >= first else NOT_ASKED
        letters.append(mark)
    return "".join(letters)
