"""How the annotations of a task are spread over its jobs, and put together again.

After cvat/apps/dataset_manager/annotation.py. A track that runs through several jobs is one track in each of them, and
the merge of the task finds them again by how well they overlap on the frames that two jobs share. Simpler here: pairs
are found greedily instead of by the Hungarian algorithm, polygons are compared by their boxes, and shapes whose number
of points changes stay as they were until the next keyframe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from sandbox.cvat.annotations import Annotations, Json

TAG_COST = 0.25
SHAPE_COST = 0.25
TRACK_COST = 0.5


def part_of(whole: Annotations, first: int, last: int) -> Annotations:
    """A copy of what lies on the frames `first` to `last` of the task."""
    inside = deepcopy(whole.within(first, last))
    tracks = [_part_of_track(track, first, last) for track in whole.tracks if _is_there(track, first, last)]
    return Annotations(inside.tags, inside.shapes, [track for track in tracks if track["shapes"]])


def with_new_ids(annotations: Annotations, next_id: Callable[[str], int]) -> Annotations:
    """The same with ids as the server gives them: tags, shapes, tracks and the shapes of tracks are counted apart."""

    def number(items: list[Json], kind: str) -> None:
        for item in items:
            item["id"] = next_id(kind)
            number(item.get("shapes") or [], "tracked shapes")
            number(item.get("elements") or [], kind)

    for kind in ("tags", "shapes", "tracks"):
        number(getattr(annotations, kind), kind)
    return annotations


def put_together(parts: Sequence[tuple[int, Annotations]], overlap: int) -> Annotations:
    """The annotations of a task from those of its jobs, each with the first frame of its job."""
    whole = Annotations()
    for start, part in parts:
        part = deepcopy(part)
        _merge(whole.tags, part.tags, start, overlap, _tags_cost, TAG_COST)
        _merge(whole.shapes, part.shapes, start, overlap, _shapes_cost, SHAPE_COST)
        _merge_tracks(whole.tracks, part.tracks, start, overlap)
    return whole


def frames_of(track: Json, end: int) -> list[Json]:
    """The shapes of a track on every frame before `end`; marks its keyframes, as the real one does, in place."""
    shapes: list[Json] = []
    previous: Json | None = None
    for shape in track["shapes"]:
        if previous is not None:
            known = {attribute["spec_id"] for attribute in shape["attributes"]}
            shape["attributes"] += [deepcopy(one) for one in previous["attributes"] if one["spec_id"] not in known]
            if not previous["outside"]:
                shapes += _between(previous, shape)
        shape["keyframe"] = True
        shapes.append(shape)
        previous = shape
        if end <= shape["frame"]:
            break
    if previous is not None and not previous["outside"]:
        shapes += _between(previous, previous | {"frame": end})
    return shapes


def _between(left: Json, right: Json) -> list[Json]:
    distance = right["frame"] - left["frame"]
    moves = len(left["points"]) == len(right["points"]) and left["type"] not in ("mask", "skeleton")
    found = []
    for frame in range(left["frame"] + 1, right["frame"]):
        share = (frame - left["frame"]) / distance
        shape = deepcopy(left) | {"frame": frame, "keyframe": False}
        if moves:
            pairs = zip(left["points"], right["points"], strict=True)
            shape["points"] = [a + (b - a) * share for a, b in pairs]
            turn = (right["rotation"] - left["rotation"] + 180) % 360 - 180
            shape["rotation"] = (left["rotation"] + turn * share + 360) % 360
        found.append(shape)
    return found


# --- spreading ----------------------------------------------------------------------------------------------------


def _is_there(track: Json, first: int, last: int) -> bool:
    previous = None
    for shape in track["shapes"]:
        if previous and not previous["outside"] and min(shape["frame"], last) >= max(previous["frame"], first):
            return True
        previous = shape
    return previous is not None and not previous["outside"] and previous["frame"] <= last


def _part_of_track(whole: Json, first: int, last: int) -> Json:
    track = deepcopy(whole)
    kept = _visible_from(track["shapes"], first, last)
    if len(kept) < len(track["shapes"]):
        scoped = _visible_from(frames_of(track, last + 1), first, last)
        kept = [shape for place, shape in enumerate(scoped) if not place or shape["keyframe"]]
    for shape in track["shapes"] + kept:
        shape.pop("keyframe", None)
    track["shapes"] = kept
    if kept:
        track["frame"] = kept[0]["frame"]
    return track


def _visible_from(shapes: list[Json], first: int, last: int) -> list[Json]:
    inside = [shape for shape in shapes if first <= shape["frame"] <= last]
    while inside and inside[0]["outside"]:
        inside.pop(0)
    return inside


# --- merging ------------------------------------------------------------------------------------------------------


def _merge(
    known: list[Json],
    new: list[Json],
    start: int,
    overlap: int,
    cost: Callable[[Json, Json], float],
    limit: float,
) -> None:
    """Adds what is new; what the earlier job has on the shared frames already stays as that has it."""
    shared = [item for item in new if item["frame"] < start + overlap]
    old = [item for item in known if item["frame"] >= start]
    known += [item for item in new if item["frame"] >= start + overlap]
    frames = {item["frame"] for item in old}
    known += [item for item in shared if item["frame"] not in frames]
    for frame in sorted(frames):
        here = [item for item in shared if item["frame"] == frame]
        there = [item for item in old if item["frame"] == frame]
        pairs = _pairs(here, there, cost, limit)
        known += [item for number, item in enumerate(here) if number not in pairs]


def _merge_tracks(known: list[Json], new: list[Json], start: int, overlap: int) -> None:
    end = start + overlap
    shared = [track for track in new if track["frame"] < end]
    old = [track for track in known if track["shapes"][-1]["frame"] >= start or not track["shapes"][-1]["outside"]]
    known += [track for track in new if track["frame"] >= end]
    pairs = _pairs(shared, old, lambda a, b: _tracks_cost(a, b, start, end), TRACK_COST)
    for number, track in enumerate(shared):
        if number not in pairs:
            known.append(track)
            continue
        united = old[pairs[number]]
        shapes = {shape["frame"]: shape for shape in track["shapes"]}
        shapes |= {shape["frame"]: shape for shape in united["shapes"]}
        united["frame"] = min(united["frame"], track["frame"])
        united["shapes"] = [shapes[frame] for frame in sorted(shapes)]
    for number, track in enumerate(old):
        last = track["shapes"][-1]
        if number not in pairs.values() and not last["outside"]:
            # It does not go on in the next job: it ends where the shared frames do.
            track["shapes"].append(deepcopy(last) | {"frame": end, "outside": True})


def _pairs(new: list[Json], old: list[Json], cost: Callable[[Any, Any], float], limit: float) -> dict[int, int]:
    """Which new ones are which old ones, by their places; the cheapest pairs first, none dearer than the limit."""
    costs = sorted((cost(a, b), i, j) for i, a in enumerate(new) for j, b in enumerate(old))
    pairs: dict[int, int] = {}
    for price, i, j in costs:
        if price <= limit and i not in pairs and j not in pairs.values():
            pairs[i] = j
    return pairs


def _tags_cost(one: Json, other: Json) -> float:
    return 0.0 if one["label_id"] == other["label_id"] else 1.0


def _shapes_cost(one: Json, other: Json) -> float:
    if one["type"] != other["type"] or one.get("label_id") != other.get("label_id"):
        return 1.0
    # "FIXME: need some similarity for points and polylines": of other kinds both are shown.
    return 1.0 - _box_likeness(one, other) if one["type"] in ("rectangle", "polygon") else 1.0


def _tracks_cost(one: Json, other: Json, start: int, end: int) -> float:
    if one["label_id"] != other["label_id"]:
        return 1.0
    ours, theirs = ({shape["frame"]: shape for shape in frames_of(track, end)} for track in (one, other))
    errors = count = 0.0
    for frame in range(start, end):
        pair = (ours.get(frame), theirs.get(frame))
        if pair == (None, None):
            continue
        count += 1
        if pair[0] is None or pair[1] is None or pair[0]["outside"] != pair[1]["outside"]:
            errors += 1
        else:
            errors += _shapes_cost(pair[0], pair[1])
    return errors / count if count else 1.0


def _box_likeness(one: Json, other: Json) -> float:
    """The common area of the boxes around both, as a part of what they cover together."""
    a, b = _box(one["points"]), _box(other["points"])
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return common / (sum(areas) - common) if all(areas) else 0.0


def _box(points: list[float]) -> tuple[float, float, float, float]:
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)
