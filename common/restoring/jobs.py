"""One job's annotations: what must be true of them before they are sent, what is in scope, and when two are equal.

CVAT stores without a check what it can never read again (measured): a skeleton whose elements lie on another frame
answers 500 for ever, a missing key wipes that kind. So everything is looked at before the first request.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.restoring.labels import Labels, Translation
from common.text import plural

KINDS = ("tags", "shapes", "tracks")
_FORMS = {"rectangle": 4, "ellipse": 4, "cuboid": 16, "skeleton": 0}
_SHORTEST = {"polygon": 6, "polyline": 4, "points": 2, "mask": 5}
_LARGEST_INTEGER = 2**31

Annotations = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Scope:
    """`--frames` and `--labels`: what is put back; everything else stays as it is. None means all."""

    frames: tuple[tuple[int, int], ...] | None = None
    labels: frozenset[str] | None = None

    @property
    def is_all(self) -> bool:
        return self.frames is None and self.labels is None

    def holds(self, item: Mapping[str, Any], labels: Labels, last_frame: int) -> bool:
        if self.labels is not None:
            path = labels.path_of.get(int(item["label_id"]), ("",))
            if path[0] not in self.labels:
                return False
        if self.frames is None:
            return True
        first, last = _frames_of(item, last_frame)
        return any(first <= end and begin <= last for begin, end in self.frames)


def parse_frames(text: str) -> tuple[tuple[int, int], ...]:
    """`0-9,15` as ranges. Raises ValueError."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ValueError(f"--frames {text!r}: it takes frame numbers such as 0-9,15")
        ranges.append((int(first), int(last) if dash else int(first)))
    return tuple(ranges)


def _frames_of(item: Mapping[str, Any], last_frame: int) -> tuple[int, int]:
    """First and last frame on which an item is seen; a track without an end is seen to the end of its job."""
    keys = item.get("shapes") or [
        shape for element in item.get("elements") or () for shape in element.get("shapes") or ()
    ]
    if "type" in item or not keys:
        return int(item["frame"]), int(item["frame"])
    final = max(keys, key=lambda shape: int(shape["frame"]))
    return int(item["frame"]), int(final["frame"]) if final.get("outside") else max(last_frame, int(final["frame"]))


def wanted_annotations(
    saved: Mapping[str, Any], present: Mapping[str, Any], scope: Scope, translation: Translation, last_frame: int
) -> Annotations:
    """What the job is to hold: the saved annotations in scope, and of the present ones those that are not."""
    keep = Translation(translation.target, translation.target)
    made: Annotations = {}
    for kind in KINDS:
        here = [] if scope.is_all else present[kind]
        made[kind] = [keep.item(item) for item in here if not scope.holds(item, translation.target, last_frame)]
        made[kind] += [
            translation.item(item) for item in saved[kind] if scope.holds(item, translation.saved, last_frame)
        ]
    return made


def problems(annotations: Any, first_frame: int, last_frame: int, task_frames: int) -> list[str]:
    """What is wrong with saved annotations; empty when they may be sent."""
    if not isinstance(annotations, Mapping) or not all(isinstance(annotations.get(kind), list) for kind in KINDS):
        return ["it does not hold tags, shapes and tracks: what is missing would be wiped"]
    found: list[str] = []
    for kind in KINDS:
        for item in annotations[kind]:
            try:
                found += [
                    f"{kind[:-1]} on frame {item.get('frame')}: {said}" for said in _wrong_with(item, kind, task_frames)
                ]
                if not first_frame <= int(item["frame"]) <= last_frame:
                    found.append(
                        f"{kind[:-1]} on frame {item['frame']}: outside the job's frames {first_frame}-{last_frame}"
                    )
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                found.append(f"a {kind[:-1]} is not as CVAT writes it ({type(error).__name__}: {error})")
            if len(found) > 5:
                return found
    return found


def _wrong_with(item: Mapping[str, Any], kind: str, task_frames: int) -> Iterator[str]:
    int(item["label_id"])
    for attribute in item.get("attributes") or ():
        if len(str(attribute["value"])) > 4096:
            yield "an attribute's value is longer than 4096 characters"
    if (item.get("group") or 0) < 0:
        yield "a negative group"
    if kind == "shapes":
        yield from _wrong_with_form(item)
        for element in item.get("elements") or ():
            int(element["label_id"])
            if element["frame"] != item["frame"]:
                yield "an element of the skeleton lies on another frame: CVAT could never read the job again"
            yield from _wrong_with_form(element)
    if kind == "tracks":
        for track in (item, *(item.get("elements") or ())):
            int(track["label_id"])
            for shape in track["shapes"]:
                if not 0 <= int(shape["frame"]) <= task_frames:
                    yield f"a shape of the track lies on frame {shape['frame']}, beyond the task"
                yield from _wrong_with_form(shape)


def _wrong_with_form(shape: Mapping[str, Any]) -> Iterator[str]:
    form, points = str(shape["type"]), shape.get("points") or []
    if form not in _FORMS and form not in _SHORTEST:
        yield f"unknown type {form!r}"
        return
    fits = len(points) == _FORMS[form] if form in _FORMS else len(points) >= _SHORTEST[form]
    if not fits or (form in ("polygon", "polyline", "points") and len(points) % 2):
        yield f"{len(points)} numbers do not make a {form}"
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in points):
        yield "a coordinate is no number"
    if abs(int(shape.get("z_order") or 0)) >= _LARGEST_INTEGER:
        yield "a z_order out of range"


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Equal value by value. Order means nothing: CVAT does not keep it (measured)."""
    return all(multiset(one[kind]) == multiset(other[kind]) for kind in KINDS)


def multiset(found: list[dict[str, Any]]) -> Counter[str]:
    return Counter(_plain(item) for item in found)


def _plain(item: Mapping[str, Any]) -> str:
    return json.dumps(_normal(item), sort_keys=True, ensure_ascii=False)


def _normal(item: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"frame": item.get("frame"), "label": item.get("label_id", item.get("label"))}
    made["attributes"] = sorted(
        (str(each.get("spec_id", each.get("name"))), str(each["value"])) for each in item.get("attributes") or ()
    )
    if "type" in item:
        made["type"] = item["type"]
        made["points"] = [float(value) for value in item.get("points") or ()]
        made["flags"] = [bool(item.get("occluded")), bool(item.get("outside"))]
        made["numbers"] = [int(item.get("z_order") or 0), float(item.get("rotation") or 0)]
    if made["label"] is not None:
        made["group"], made["source"] = int(item.get("group") or 0), str(item.get("source") or "manual")
    for inner in ("shapes", "elements"):
        if item.get(inner):
            made[inner] = sorted(_plain(each) for each in item[inner])
    return made


def counted(annotations: Mapping[str, Any]) -> str:
    """ "3 shapes, 1 track" for people."""
    parts = [plural(len(annotations[kind]), kind[:-1]) for kind in ("shapes", "tracks", "tags") if annotations[kind]]
    return ", ".join(parts) or "nothing"
