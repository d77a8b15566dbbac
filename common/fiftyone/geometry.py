"""From the server's pixels to FiftyOne's coordinates relative to the frame, and what of a shape was moved.

FiftyOne rounds to whole pixels when it sends. So only what differs between what was sent and what is there now is
taken from the server; an edge, a corner or a point that nobody moved keeps the number it had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher

Pair = tuple[float, float]
# (left, top, right, bottom)
Edges = tuple[float, float, float, float]
Row = tuple[int, int, int]

# Positions between keyframes are computed, here, in FiftyOne and in CVAT's browser, each with its own rounding.
COMPUTED_PIXELS = 0.01
ELLIPSE_POINTS = 64


def pairs(flat: Sequence[float]) -> list[Pair]:
    """[x, y, x, y] → [(x, y), (x, y)]."""
    return [(flat[at], flat[at + 1]) for at in range(0, len(flat) - 1, 2)]


def relative(flat: Sequence[float], size: tuple[int, int]) -> list[list[float]]:
    return [[x / size[0], y / size[1]] for x, y in pairs(flat)]


def edges(shape: str, points: Sequence[float]) -> Edges:
    """The box of a rectangle or mask in pixels. A mask's box names its last row and column: it ends one beyond."""
    if shape == "mask":
        left, top, right, bottom = points[-4:]
        return (left, top, right + 1, bottom + 1)
    left, top, right, bottom = points[:4]
    return (left, top, right, bottom)


def new_box(now: Edges, size: tuple[int, int]) -> list[float]:
    """FiftyOne's [x, y, width, height] of a box nobody had before."""
    left, top, right, bottom = now
    return [left / size[0], top / size[1], (right - left) / size[0], (bottom - top) / size[1]]


def moved_box(original: Sequence[float], before: Edges, now: Edges, size: tuple[int, int]) -> list[float]:
    """The original box with those edges moved that were moved; a box that was only shifted keeps its size."""
    x, width = _span(original[0], original[2], (before[0], before[2]), (now[0], now[2]), size[0])
    y, height = _span(original[1], original[3], (before[1], before[3]), (now[1], now[3]), size[1])
    return [x, y, width, height]


def _span(start: float, length: float, before: Pair, now: Pair, whole: int) -> Pair:
    if before == now:
        return (start, length)
    if before[1] - before[0] == now[1] - now[0]:
        return (now[0] / whole, length)
    new_start = start if before[0] == now[0] else now[0] / whole
    new_end = start + length if before[1] == now[1] else now[1] / whole
    return (new_start, new_end - new_start)


def moved_points(
    original: Sequence[Sequence[float]], before: Sequence[float], now: Sequence[float], size: tuple[int, int]
) -> tuple[list[list[float]], list[int | None]]:
    """The original points with those changed that were moved, and for each which one it was (None: a new one)."""
    was, now_pairs = pairs(before), pairs(now)
    if len(was) != len(original):  # not what was sent: nothing can be kept
        return [[x / size[0], y / size[1]] for x, y in now_pairs], [None] * len(now_pairs)
    if len(was) == len(now_pairs):
        kept: list[int | None] = list(range(len(was)))
        same = [a == b for a, b in zip(was, now_pairs, strict=True)]
    else:
        kept, same = [None] * len(now_pairs), [False] * len(now_pairs)
        for one in SequenceMatcher(a=was, b=now_pairs, autojunk=False).get_matching_blocks():
            for step in range(one.size):
                kept[one.b + step], same[one.b + step] = one.a + step, True
    told = []
    for (x, y), old, stayed in zip(now_pairs, kept, same, strict=True):
        told.append(list(original[old]) if old is not None and stayed else [x / size[0], y / size[1]])
    return told, kept


def close(first: Sequence[float], second: Sequence[float], pixels: float) -> bool:
    return len(first) == len(second) and all(abs(a - b) <= pixels for a, b in zip(first, second, strict=True))


def mask_rows(points: Sequence[float]) -> list[Row]:
    """The pixels of CVAT's run-length mask as rows (y, first x, one beyond the last x) of the frame, top to bottom.

    Runs alternate, beginning with how many pixels are not set. What reaches beyond the box is cut off.
    """
    left, top, right, bottom = (round(value) for value in points[-4:])
    width, height = right - left + 1, bottom - top + 1
    rows: list[Row] = []
    if width <= 0 or height <= 0:
        return rows
    at = 0
    for place, run in enumerate(points[:-4]):
        end = min(at + int(run), width * height)
        while place % 2 and at < end:
            y, x = divmod(at, width)
            stop = min(width, x + end - at)
            if rows and rows[-1][0] == top + y and rows[-1][2] == left + x:
                rows[-1] = (top + y, rows[-1][1], left + stop)
            else:
                rows.append((top + y, left + x, left + stop))
            at += stop - x
        at = max(at, end)
    return rows


def rows_box(rows: Sequence[Row]) -> Edges | None:
    """The tight box around rows of pixels; None: no pixel."""
    if not rows:
        return None
    return (min(row[1] for row in rows), rows[0][0], max(row[2] for row in rows), rows[-1][0] + 1)


def ellipse(points: Sequence[float], rotation: float) -> list[float]:
    """A CVAT ellipse [centre x, centre y, its rightmost x, its topmost y] as a polygon, turned clockwise in degrees."""
    x, y, right, top = points[:4]
    across, up, turn = right - x, y - top, math.radians(rotation)
    told: list[float] = []
    for step in range(ELLIPSE_POINTS):
        angle = 2 * math.pi * step / ELLIPSE_POINTS
        dx, dy = across * math.cos(angle), up * math.sin(angle)
        told += [x + dx * math.cos(turn) - dy * math.sin(turn), y + dx * math.sin(turn) + dy * math.cos(turn)]
    return told


def same_shape(
    shape: str, first: Sequence[float], other_shape: str, second: Sequence[float], computed: bool = False
) -> bool:
    """Whether two shapes cover the same. `computed`: one of them stands between keyframes."""
    if shape != other_shape:
        return False
    if tuple(first) == tuple(second):
        return True
    if shape == "mask":
        return mask_rows(first) == mask_rows(second)
    return computed and close(first, second, COMPUTED_PIXELS)
