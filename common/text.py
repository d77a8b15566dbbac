"""How figures, times and names of strangers are written for people."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def parse_time(text: str) -> datetime:
    """An aware UTC datetime from ISO 8601 text ("2026-11-20T23:47:00.605076Z"). Raises ValueError."""
    moment = datetime.fromisoformat(text)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:  # 0001-01-01T00:00+10:00 is before all dates there are
        raise ValueError(f"{text!r} is out of range") from None


def iso(moment: datetime) -> str:
    """ISO 8601 with a Z, microseconds kept: "2026-11-20T23:47:00.605076Z"."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def size(count: float) -> str:
    """A number of bytes in decimal units, as disks and networks are sold: "2.8 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A length of time: "0.4 s", "12 s", "3 min 20 s", "2 h 5 min", "4 d 3 h"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 project`, `2 projects`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def printable(text: str, longest: int = 80) -> str:
    """A stranger's text on one line: control characters (also terminal escapes) made harmless, length limited."""
    clean = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    clean = " ".join(clean.split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"
