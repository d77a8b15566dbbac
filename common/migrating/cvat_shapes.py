"""CVAT's annotations as figures, and scenes of an SC project as CVAT's annotations. Pure.

CVAT's coordinates are pixels: rectangle [left, top, right, bottom] with `rotation` (degrees clockwise about its middle),
ellipse [centre x, centre y, right x, top y], mask [runs of off and on …, left, top, right, bottom] with both ends inside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.migrating.pictures import Figure, Point

Row = Mapping[str, Any]
# Most points of a polygon that SC and Geti take.
MOST_POINTS = 5000
ELLIPSE_CORNERS = 72
MOST_MASK_PIXELS = 20_000_000


# --- from CVAT ----------------------------------------------------------------------------------------------------


def figures_of(row: Row, sublabels: Sequence[str], lost: Counter[str]) -> list[Figure]:
    """One shape as figures; what of it has no counterpart is counted in `lost`, a sentence each."""
    label, points = str(row["label"]), [float(each) for each in row.get("points") or []]
    _count_marks(row, lost)
    turn = float(row.get("rotation") or 0) % 360
    match row["type"]:
        case "rectangle":
            left, top, right, bottom = points
            if not turn:
                return [Figure("rectangle", label, (left, top, right - left, bottom - top))]
            middle = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, turn)
            return [Figure("rotated", label, middle)]
        case "ellipse":
            x, y, right, top = points
            across, down = abs(right - x), abs(y - top)
            if turn % 180 == 0:
                return [Figure("ellipse", label, (x - across, y - down, 2 * across, 2 * down))]
            lost[f"an ellipse that is turned became a polygon of {ELLIPSE_CORNERS} corners"] += 1
            return [Figure("polygon", label, _flat(_turned_ellipse(x, y, across, down, turn)))]
        case "polygon":
            return [_polygon(label, points, lost)]
        case "mask" if not _fits_its_box(points):
            lost["a mask that does not fit its box, or is larger than any picture, is left out"] += 1
            return []
        case "mask":
            outer, holes = mask_outlines(points)
            if holes:
                lost["a hole of a mask is filled: no polygon has any"] += holes
            return [_polygon(label, _flat(corners), lost) for corners in outer]
        case "skeleton":
            return _skeleton(row, label, sublabels, lost)
        case other:
            lost[f"a {other} has no counterpart"] += 1
            return []


def _count_marks(row: Row, lost: Counter[str]) -> None:
    if row.get("attributes"):
        lost["a value of an attribute has no counterpart"] += len(row["attributes"])
    if row.get("occluded"):
        lost["the mark of an occluded shape has no counterpart"] += 1
    if row.get("group"):
        lost["the group of a shape has no counterpart"] += 1


def _polygon(label: str, points: Sequence[float], lost: Counter[str]) -> Figure:
    corners = len(points) // 2
    if corners > MOST_POINTS:
        lost[f"an outline of more than {MOST_POINTS:,} points was thinned out"] += 1
        kept = [at * corners // MOST_POINTS for at in range(MOST_POINTS)]
        points = [value for at in kept for value in points[2 * at : 2 * at + 2]]
    return Figure("polygon", label, tuple(points))


def _skeleton(row: Row, label: str, sublabels: Sequence[str], lost: Counter[str]) -> list[Figure]:
    elements = {str(each["label"]): each for each in row.get("elements") or []}
    values: list[float] = []
    visible = []
    for name in sublabels:
        element = elements.get(name)
        if element is None:
            lost["a skeleton without all of its points has no counterpart"] += 1
            return []
        if element.get("attributes"):
            lost["a value of an attribute has no counterpart"] += len(element["attributes"])
        values += [float(each) for each in element["points"][:2]]
        visible.append(not (element.get("occluded") or element.get("outside")))
    return [Figure("points", label, tuple(values), tuple(visible))]


def _flat(points: Iterable[Point]) -> tuple[float, ...]:
    return tuple(value for point in points for value in point)


def _turned_ellipse(x: float, y: float, across: float, down: float, degrees: float) -> list[Point]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = []
    for at in range(ELLIPSE_CORNERS):
        angle = 2 * math.pi * at / ELLIPSE_CORNERS
        a, b = across * math.cos(angle), down * math.sin(angle)
        corners.append((x + a * cos - b * sin, y + a * sin + b * cos))
    return corners


def _fits_its_box(points: Sequence[float]) -> bool:
    """Whether the runs of a mask cover its box at most: a few digits must not fill the memory."""
    if len(points) < 4:
        return False
    *runs, left, top, right, bottom = (int(each) for each in points)
    width, height = right - left + 1, bottom - top + 1
    sound = width > 0 and height > 0 and all(run >= 0 for run in runs) and sum(runs) <= width * height
    return sound and sum(runs[1::2]) <= MOST_MASK_PIXELS


def mask_outlines(points: Sequence[float]) -> tuple[list[list[Point]], int]:
    """The outlines of a mask along the edges of its pixels, and how many holes it has (they are left out)."""
    *runs, left, top, right, _bottom = (int(each) for each in points)
    width = right - left + 1
    filled: set[tuple[int, int]] = set()
    at = 0
    for number, run in enumerate(runs):
        if number % 2:
            filled.update((left + place % width, top + place // width) for place in range(at, at + run))
        at += run
    outer, holes = [], 0
    for corners in _rings(filled):
        if sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)) > 0:
            outer.append(corners)
        else:
            holes += 1
    return outer, holes


def _rings(filled: set[tuple[int, int]]) -> Iterator[list[Point]]:
    """Closed lines around pixels, with the pixels on the right (y grows downwards); corners only."""
    nexts: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for x, y in sorted(filled, key=lambda pixel: (pixel[1], pixel[0])):
        sides = (
            ((x, y - 1), (x, y), (x + 1, y)),
            ((x + 1, y), (x + 1, y), (x + 1, y + 1)),
            ((x, y + 1), (x + 1, y + 1), (x, y + 1)),
            ((x - 1, y), (x, y + 1), (x, y)),
        )
        for neighbour, begin, end in sides:
            if neighbour not in filled:
                nexts.setdefault(begin, []).append(end)
    while nexts:
        first = here = next(iter(nexts))
        way, line = (0, 0), []
        while True:
            ends = nexts[here]
            # Where two pixels touch at a corner only, the line turns right: each keeps an outline of its own.
            right = (here[0] - way[1], here[1] + way[0])
            end = ends.pop(ends.index(right) if right in ends else 0)
            if not ends:
                del nexts[here]
            turned = (end[0] - here[0], end[1] - here[1])
            if turned != way:
                line.append((float(here[0]), float(here[1])))
            way, here = turned, end
            if here == first:
                break
        if len(line) > 1 and _straight(line[-1], line[0], line[1]):
            line = line[1:]
        yield line


def _straight(a: Point, b: Point, c: Point) -> bool:
    return (b[0] - a[0]) * (c[1] - b[1]) == (b[1] - a[1]) * (c[0] - b[0])


def shapes_of_track(track: Row, stop_frame: int, lost: Counter[str]) -> Iterator[Row]:
    """The shape of a track on every frame where it shows, up to and with `stop_frame`, between keyframes on the line.

    As CVAT shows it: a keyframe holds until the next, the last one until the end of its job. A polygon whose keyframes
    differ in the number of corners keeps those of the earlier one, which is counted.
    """
    label, shared = track["label"], {"group": track.get("group", 0), "attributes": track.get("attributes") or []}
    elements = track.get("elements") or []
    if elements:
        parts = [{row["frame"]: row for row in shapes_of_track(each, stop_frame, Counter())} for each in elements]
        hidden = [{int(each["frame"]): each for each in one["shapes"]} for one in elements]
        for row in shapes_of_track({**track, "elements": []}, stop_frame, lost):
            found = [
                part.get(row["frame"]) or {**_latest(keys, row["frame"]), "label": one["label"], "outside": True}
                for part, keys, one in zip(parts, hidden, elements, strict=True)
            ]
            yield {**row, "type": "skeleton", "elements": found}
        return
    keys = sorted(track.get("shapes") or [], key=lambda each: int(each["frame"]))
    ends = [int(each["frame"]) for each in keys[1:]] + [stop_frame + 1]
    for number, (key, end) in enumerate(zip(keys, ends, strict=True)):
        if key.get("outside"):
            continue
        following = keys[number + 1] if number + 1 < len(keys) else None
        for frame in range(int(key["frame"]), min(end, stop_frame + 1)):
            share = 0.0 if following is None else (frame - int(key["frame"])) / (end - int(key["frame"]))
            row = _between(key, following, share, lost) if share and following is not None else dict(key)
            row |= {"label": label, "frame": frame, "group": shared["group"], "outside": False}
            row["attributes"] = [*shared["attributes"], *(key.get("attributes") or [])]
            yield row


def _latest(keys: Mapping[int, Row], frame: int) -> Row:
    before = [each for each in sorted(keys) if each <= frame]
    return keys[before[-1] if before else min(keys)]


def _between(key: Row, following: Row, share: float, lost: Counter[str]) -> dict[str, Any]:
    one, other = key.get("points") or [], following.get("points") or []
    if key["type"] == "mask" or len(one) != len(other) or following.get("outside"):
        if key["type"] == "polygon" and len(one) != len(other) and not following.get("outside"):
            lost["a frame between two outlines with other numbers of points has the earlier one"] += 1
        return dict(key)
    turn = (float(following.get("rotation") or 0) - float(key.get("rotation") or 0) + 180) % 360 - 180
    return {
        **key,
        "points": [a + (b - a) * share for a, b in zip(one, other, strict=True)],
        "rotation": (float(key.get("rotation") or 0) + turn * share) % 360,
    }


# --- to CVAT ------------------------------------------------------------------------------------------------------


def cvat_shape(shape: Row) -> dict[str, Any]:
    """The type, points and rotation of one shape in pixels. Raises ValueError where CVAT has none like it."""
    match shape.get("type"):
        case "RECTANGLE":
            left, top = shape["x"], shape["y"]
            points = [left, top, left + shape["width"], top + shape["height"]]
            return {"type": "rectangle", "points": points, "rotation": 0.0}
        case "ROTATED_RECTANGLE":
            x, y, across, down = shape["x"], shape["y"], shape["width"] / 2, shape["height"] / 2
            points = [x - across, y - down, x + across, y + down]
            return {"type": "rectangle", "points": points, "rotation": float(shape.get("angle") or 0) % 360}
        case "ELLIPSE":
            across, down = shape["width"] / 2, shape["height"] / 2
            x, y = shape["x"] + across, shape["y"] + down
            return {"type": "ellipse", "points": [x, y, x + across, y - down], "rotation": 0.0}
        case "POLYGON":
            points = [value for point in shape["points"] for value in (point["x"], point["y"])]
            return {"type": "polygon", "points": points, "rotation": 0.0}
        case other:
            raise ValueError(f"a {other} has no counterpart in CVAT")


def svg_of(points: Sequence[str], positions: Mapping[str, Point], edges: Iterable[tuple[str, str]]) -> str:
    """The drawing of a skeleton as CVAT keeps it: circles and lines on a square of 100 x 100."""
    number = {name: at for at, name in enumerate(points, 1)}
    lines = []
    for begin, end in edges:
        (x1, y1), (x2, y2) = positions[begin], positions[end]
        lines.append(
            f'<line x1="{x1 * 100:g}" y1="{y1 * 100:g}" x2="{x2 * 100:g}" y2="{y2 * 100:g}" stroke="black" '
            f'data-type="edge" data-node-from="{number[begin]}" stroke-width="0.5" data-node-to="{number[end]}"></line>'
        )
    for name in points:
        x, y = positions[name]
        lines.append(
            f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{x * 100:g}" cy="{y * 100:g}" stroke-width="0.1" '
            f'data-type="element node" data-element-id="{number[name]}" data-node-id="{number[name]}" '
            f'data-label-name="{_escaped(name)}"></circle>'
        )
    return "".join(lines)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
