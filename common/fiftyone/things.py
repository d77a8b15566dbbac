"""What a CVAT task holds, read from its annotations and labels: tags, shapes and tracks, comparable with each other.

Standard library only: these modules are imported by the product and by the Python that has FiftyOne.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

TAG, SHAPE, TRACK = "tag", "shape", "track"
# The attribute in which FiftyOne writes the id of its label.
ORIGIN = "label_id"

Points = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """An attribute of a class as the server describes it."""

    name: str
    input_type: str
    default: str
    mutable: bool


@dataclass(frozen=True, slots=True)
class Thing:
    """One tag, one shape, or one track on one frame. Points are in pixels; a mask's end with its inclusive box."""

    kind: str
    server_id: int
    frame: int
    label: str
    shape: str = ""
    points: Points = ()
    rotation: float = 0.0
    occluded: bool = False
    group: int = 0
    attributes: tuple[tuple[str, str], ...] = ()
    origin: str = field(default="", compare=False)
    keyframe: bool = field(default=True, compare=False)
    outside: bool = False
    part: int = field(default=0, compare=False)

    @property
    def key(self) -> tuple[str, int, int, int]:
        """What this thing is called in its task: two readings of the task call it the same."""
        return (self.kind, self.server_id, self.frame, self.part)


@dataclass(frozen=True, slots=True)
class Track:
    """A track as the server holds it: its keyframes in order. Things of one frame beyond the first are its parts."""

    server_id: int
    keys: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """All that a task holds. `specs`: {class: {attribute: its description}}; `renamed`: {what it was called: its name}."""

    single: Mapping[tuple[str, int, int, int], Thing]
    tracks: Mapping[int, Track]
    specs: Mapping[str, Mapping[str, Spec]]
    renamed: Mapping[str, str] = field(default_factory=dict)


# The points of a track on the frames between two of its keyframes: [(frame, points)].
Between = Callable[[Thing, Thing], Iterable[tuple[int, Sequence[float]]]]


def read_task(content: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> Held:
    """Reads {"annotations": …, "labels": …} as the server answered them. Raises KeyError, TypeError, ValueError.

    Classes and attributes that had another name in `before` keep that one: a new name touches no label.
    """
    labels = _labels(content)
    known = {int(one["id"]): one for one in _labels(before)} if before is not None else {}
    renamed: dict[str, str] = {}
    classes = {}
    for one in labels:
        was = known.get(int(one["id"]), one)
        specs = {int(each["id"]): str(each["name"]) for each in was.get("attributes") or []}
        classes[int(one["id"])] = (str(was["name"]), _specs(one, specs))
        if was["name"] != one["name"]:
            renamed[str(was["name"])] = str(one["name"])
    annotations = content["annotations"]
    single = {}
    for kind, name in ((TAG, "tags"), (SHAPE, "shapes")):
        for one in annotations.get(name) or []:
            thing = _thing(kind, one, int(one["id"]), classes[int(one["label_id"])])
            single[thing.key] = thing
    tracks = {}
    for one in annotations.get("tracks") or []:
        tracks[int(one["id"])] = _track(one, classes[int(one["label_id"])])
    return Held(
        single,
        tracks,
        {name: {spec.name: spec for spec in specs.values()} for name, specs in classes.values()},
        renamed,
    )


def linear(left: Thing, right: Thing) -> list[tuple[int, Points]]:
    """Every point on its straight way; where the number of points changes, the left ones stay."""
    told = []
    for frame in range(left.frame + 1, right.frame):
        share = (frame - left.frame) / (right.frame - left.frame)
        if len(left.points) == len(right.points):
            told.append((frame, tuple(a + (b - a) * share for a, b in zip(left.points, right.points, strict=True))))
        else:
            told.append((frame, left.points))
    return told


def expand(track: Track, last_frame: int, between: Between) -> dict[int, tuple[Thing, ...]]:
    """The track on every frame on which it can be seen, up to `last_frame`: its parts there, mostly one."""
    frames: dict[int, list[Thing]] = {}
    for key in track.keys:
        frames.setdefault(key.frame, []).append(key)
    seen: dict[int, tuple[Thing, ...]] = {}
    ordered = sorted(frames)
    for frame, following in zip(ordered, [*ordered[1:], None], strict=True):
        parts = tuple(part for part in frames[frame] if not part.outside)
        if not parts or frame > last_frame:
            continue
        seen[frame] = parts
        if following is None:
            for later in range(frame + 1, last_frame + 1):
                seen[later] = tuple(replace(part, frame=later, keyframe=False, origin="") for part in parts)
        else:
            seen.update(_gap(parts[0], frames[following][0], last_frame, between))
    return seen


def _gap(left: Thing, right: Thing, last_frame: int, between: Between) -> dict[int, tuple[Thing, ...]]:
    if left.shape in ("rectangle", "ellipse") or left.shape != right.shape:
        between = linear
    turn = (right.rotation - left.rotation + 180) % 360 - 180  # the shorter way round, as CVAT's own players turn
    found: dict[int, tuple[Thing, ...]] = {}
    for frame, points in between(left, right):
        if frame <= last_frame:
            share = (frame - left.frame) / (right.frame - left.frame)
            rotation = (left.rotation + turn * share) % 360 if turn else left.rotation
            moved = replace(left, frame=frame, points=tuple(points), rotation=rotation, keyframe=False, origin="")
            found[frame] = (moved,)
    return found


def _labels(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    listed = content["labels"]
    return list(listed.get("results", []) if isinstance(listed, Mapping) else listed)


def _specs(label: Mapping[str, Any], names: Mapping[int, str]) -> dict[int, Spec]:
    return {
        int(one["id"]): Spec(
            names.get(int(one["id"]), str(one["name"])),
            str(one.get("input_type") or "text"),
            str(one.get("default_value") or ""),
            bool(one.get("mutable", True)),
        )
        for one in label.get("attributes") or []
    }


def _thing(kind: str, one: Mapping[str, Any], server_id: int, of_class: tuple[str, Mapping[int, Spec]]) -> Thing:
    name, specs = of_class
    told = {int(attribute["spec_id"]): str(attribute["value"]) for attribute in one.get("attributes") or []}
    return Thing(
        kind=kind,
        server_id=server_id,
        frame=int(one["frame"]),
        label=name,
        shape=str(one.get("type") or ""),
        points=tuple(float(value) for value in one.get("points") or ()),
        rotation=float(one.get("rotation") or 0.0),
        occluded=bool(one.get("occluded", False)),
        group=int(one.get("group") or 0),
        attributes=_attributes(told, specs),
        origin=_origin(told, specs),
        outside=bool(one.get("outside", False)) and kind == TRACK,
    )


def _track(one: Mapping[str, Any], of_class: tuple[str, Mapping[int, Spec]]) -> Track:
    server_id = int(one["id"])
    for_all = {int(attribute["spec_id"]): str(attribute["value"]) for attribute in one.get("attributes") or []}
    keys: list[Thing] = []
    so_far = dict(for_all)
    for shape in sorted(one.get("shapes") or [], key=lambda shape: (int(shape["frame"]), int(shape.get("id") or 0))):
        told = {int(attribute["spec_id"]): str(attribute["value"]) for attribute in shape.get("attributes") or []}
        so_far = {**so_far, **told}  # what a keyframe does not say goes on from the one before
        thing = _thing(TRACK, shape, server_id, of_class)
        origin = thing.origin
        thing = replace(
            thing, attributes=_attributes(so_far, of_class[1]), origin=origin, group=int(one.get("group") or 0)
        )
        if keys and keys[-1].frame == thing.frame:
            thing = replace(thing, part=keys[-1].part + 1)
        keys.append(thing)
    return Track(server_id, tuple(keys))


def _attributes(told: Mapping[int, str], specs: Mapping[int, Spec]) -> tuple[tuple[str, str], ...]:
    """All attributes of the class by name. One that was never set counts as its default, as CVAT shows it."""
    found = []
    for spec_id, spec in specs.items():
        if spec.name != ORIGIN:
            value = told.get(spec_id, spec.default)
            if spec.input_type == "checkbox":
                value = "true" if value.lower() == "true" else "false"
            found.append((spec.name, value))
    return tuple(sorted(found))


def _origin(told: Mapping[int, str], specs: Mapping[int, Spec]) -> str:
    return next((value for spec_id, value in told.items() if spec_id in specs and specs[spec_id].name == ORIGIN), "")
