"""What is drawn: strips of nights and the plot of the disk, as numbers for SVG. Pure functions."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from common.health.disk import Sample
from common.health.nights import (
    FAILED,
    GOOD,
    MISSING,
    NOT_ASKED,
    SHOWN,
    TO_COME,
    UNCHANGED,
    WITHOUT_DATA,
    night_date,
)
from common.text import size

# A night is a dash of a broken line: 5 wide, 2 apart. Ten equal nights are one path, so that 1,000 strips stay small.
CELL, STEP, HEIGHT = 5, 7, 16
WORDS = {
    GOOD: "saved",
    UNCHANGED: "unchanged",
    FAILED: "failed",
    MISSING: "missing",
    WITHOUT_DATA: "without data",
    NOT_ASKED: "not asked for",
    TO_COME: "still to come",
}
# The heights at which a letter's lines run (their widths stand in page.css): a letter is told by its shape too, not only
# by its colour. Saved is a full bar, unchanged a lower one, failed a broken one, missing an empty one.
_LINES = {GOOD: (8.0,), UNCHANGED: (11.0,), FAILED: (3.0, 13.0), MISSING: (0.75, 15.25)}
_GROUND = (15.0,)


@dataclass(frozen=True, slots=True)
class Dash:
    """One path of a strip: nights in a row with the same letter; with too many rows for titles, all with that letter."""

    letter: str
    path: str
    title: str


def day(night: int) -> str:
    """ "21 Nov" """
    at = night_date(night)
    return f"{at.day} {at:%b}"


def dashes(strip: str, tonight: int, *, titles: bool = True) -> list[Dash]:
    """The paths of one strip."""
    found, column = [], 0
    for letter, group in itertools.groupby(strip):
        count = len(list(group))
        path = "".join(f"M{column * STEP} {y:g}h{count * STEP - (STEP - CELL)}" for y in _LINES.get(letter, _GROUND))
        first = tonight - len(strip) + 1 + column
        span = day(first) if count == 1 else f"{day(first)} to {day(first + count - 1)}"
        found.append(Dash(letter, path, f"{span}: {WORDS[letter]}"))
        column += count
    if titles:
        return found
    return [
        Dash(letter, "".join(each.path for each in found if each.letter == letter), "") for letter in sorted({*strip})
    ]


def strip_words(strip: str, tonight: int) -> str:
    """A strip for those who do not see it: "12 saved, 16 unchanged, failed on 19 Nov"."""
    counts = Counter(strip)
    parts = [f"{counts[letter]} {WORDS[letter]}" for letter in (GOOD, UNCHANGED, WITHOUT_DATA) if counts[letter]]
    for letter in (FAILED, MISSING):
        nights = [day(tonight - len(strip) + 1 + at) for at, each in enumerate(strip) if each == letter]
        if len(nights) > 3:
            parts.append(f"{len(nights)} {WORDS[letter]}, last on {nights[-1]}")
        elif nights:
            parts.append(f"{WORDS[letter]} on {', '.join(nights)}")
    return ", ".join(parts) or "nothing yet"


@dataclass(frozen=True, slots=True)
class Column:
    """One night of all sources together: parts of a column 100 high, from the ground up."""

    title: str
    parts: tuple[tuple[str, float, float], ...]  # letter, top, height
    is_empty: bool


# So high is the smallest part: two failed of a thousand must be seen.
SMALLEST_PART = 7.0


def columns(strips: Sequence[str], tonight: int) -> list[Column]:
    """All strips, night by night."""
    found = []
    for at in range(SHOWN):
        counts = Counter(strip[at] for strip in strips)
        shown = {letter: counts[letter] for letter in (GOOD, UNCHANGED, MISSING, FAILED) if counts[letter]}
        total = sum(shown.values())
        heights = {
            letter: max(100 * count / total, SMALLEST_PART if letter in (MISSING, FAILED) else 0.0)
            for letter, count in shown.items()
        }
        scale = 100 / sum(heights.values()) if heights else 1.0
        parts, top = [], 100.0
        for letter, height in heights.items():
            top -= height * scale
            parts.append((letter, round(top, 1), round(height * scale, 1)))
        words = ", ".join(f"{count:,} {WORDS[letter]}" for letter, count in shown.items())
        waiting = "still to come" if counts[TO_COME] else "nothing"
        night = tonight - SHOWN + 1 + at
        found.append(Column(f"{day(night)}: {words or waiting}", tuple(parts), not shown))
    return found


# --- the disk --------------------------------------------------------------------------------------------------------

WIDTH, TALL, LEFT, BOTTOM, TOP = 560, 220, 62, 26, 10


@dataclass(frozen=True, slots=True)
class DiskPlot:
    """A plot of WIDTH x TALL. Ticks are a place and a text."""

    line: str
    area: str
    y_ticks: tuple[tuple[float, str], ...]
    x_ticks: tuple[tuple[float, str], ...]
    last: tuple[float, float]
    description: str


def nice_ticks(highest: float) -> list[float]:
    """0 and two to four round numbers up to the first one that is not below `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    magnitude = 10.0 ** math.floor(math.log10(highest / 3))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude * 4 >= highest)
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


def disk_plot(samples: Sequence[Sample], zone: tzinfo | None = None) -> DiskPlot | None:
    """What all backups took, over time; None while there are fewer than two samples."""
    if len(samples) < 2 or samples[-1].at <= samples[0].at:
        return None
    begin, end = samples[0].at, samples[-1].at
    ticks = nice_ticks(max(sample.used_bytes for sample in samples))

    def x(at: datetime) -> float:
        return round(LEFT + (WIDTH - LEFT - 10) * ((at - begin) / (end - begin)), 1)

    def y(used: float) -> float:
        return round(TALL - BOTTOM - (TALL - BOTTOM - TOP) * used / ticks[-1], 1)

    points = [(x(sample.at), y(sample.used_bytes)) for sample in samples]
    line = "M" + "L".join(f"{px:g} {py:g}" for px, py in points)
    ground = y(0)
    return DiskPlot(
        line=line,
        area=f"{line}L{points[-1][0]:g} {ground:g}L{points[0][0]:g} {ground:g}Z",
        y_ticks=tuple((y(tick), size(tick) if tick else "0") for tick in ticks),
        x_ticks=tuple((x(at), text) for at, text in _x_ticks(begin, end, zone)),
        last=points[-1],
        description=f"all backups together took {size(samples[0].used_bytes)} at the beginning and "
        f"{size(samples[-1].used_bytes)} at the end",
    )


def _x_ticks(begin: datetime, end: datetime, zone: tzinfo | None) -> list[tuple[datetime, str]]:
    """Four moments between the ends, named as finely as the span needs."""
    span = end - begin
    found = []
    for number in range(4):
        at = begin + span * ((number + 0.5) / 4)
        local = at.astimezone(zone)
        text = f"{local:%H:%M}" if span < timedelta(days=2) else f"{local.day} {local:%b}"
        if span > timedelta(days=540):
            text = f"{local:%b %Y}"
        found.append((at, text))
    return found


GROWTH_OVER = timedelta(days=14)
SHORTEST_GROWTH = timedelta(days=2)


def growth_bytes_per_day(samples: Sequence[Sample]) -> float | None:
    """How fast the backups grow, over the last fortnight; None while too little is known."""
    if not samples:
        return None
    recent = [sample for sample in samples if samples[-1].at - sample.at <= GROWTH_OVER]
    span = recent[-1].at - recent[0].at
    if span < SHORTEST_GROWTH:
        return None
    return (recent[-1].used_bytes - recent[0].used_bytes) / (span / timedelta(days=1))


def full_on(samples: Sequence[Sample]) -> date | None:
    """When the disk is full at this pace; None when it does not grow or that is years away."""
    growth = growth_bytes_per_day(samples)
    if not growth or growth <= 0:
        return None
    days = samples[-1].free_bytes / growth
    return (samples[-1].at + timedelta(days=days)).date() if days < 1100 else None
