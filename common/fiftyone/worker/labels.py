"""Labels as FiftyOne stores them: which parts of a stored label an edit concerns, and how new ones look."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from common.fiftyone.changes import ATTRIBUTE, GEOMETRY, INDEX, LABEL, OCCLUDED, ROTATION, Change, Touch
from common.fiftyone.geometry import edges, ellipse, moved_box, moved_points, new_box, relative
from common.fiftyone.owners import Original
from common.fiftyone.schema import (
    CLASSIFICATIONS,
    DETECTIONS,
    INSTANCES,
    KEYPOINTS,
    POLYGONS,
    POLYLINES,
    SCALAR,
    Field,
    attribute_types,
)
from common.fiftyone.things import TRACK, Spec, Thing
from common.fiftyone.values import NotThisType, NoValue, like_original, of_new_label
from common.fiftyone.worker import masks

# Plural type → (class of one label, class of the list, key of the list)
STORED = {
    CLASSIFICATIONS: ("Classification", "Classifications", "classifications"),
    DETECTIONS: ("Detection", "Detections", "detections"),
    INSTANCES: ("Detection", "Detections", "detections"),
    POLYLINES: ("Polyline", "Polylines", "polylines"),
    POLYGONS: ("Polyline", "Polylines", "polylines"),
    KEYPOINTS: ("Keypoint", "Keypoints", "keypoints"),
}
OWN_ATTRIBUTES = "attribute:"  # FiftyOne's name for what stands in a label's old-style `attributes`
Path = tuple[str, ...]


class ABSENT:
    """Stands where a stored label holds nothing at all. A class, because copies of it are itself."""


class NotRepresentable(Exception):
    """FiftyOne's label cannot hold the edit. The text says what cannot be held."""


@dataclass(frozen=True, slots=True)
class Context:
    """What labels of a field need to be known: its schema, the server's attributes, and the frame's size in pixels."""

    field: Field
    info: Mapping[str, Any]
    specs: Mapping[str, Mapping[str, Spec]]
    size: tuple[int, int]
    occluded_attribute: str | None = None
    group_attribute: str | None = None

    def attributes(self, label: str) -> Mapping[str, Mapping[str, Any]]:
        return attribute_types(self.info, label)

    def named(self, kind: str, label: str) -> str | None:
        """The attribute that holds a shape's `occluded` or `group_id`."""
        told = next((name for name, one in self.attributes(label).items() if one.get("type") == kind), None)
        return told or (self.occluded_attribute if kind == "occluded" else self.group_attribute)


def labels_in(field: Field, value: Any) -> list[dict[str, Any]]:
    """The labels of a stored value of a field, in order; a scalar has none."""
    if value is None or field.kind == SCALAR:
        return []
    if field.single:
        return [value]
    return list(value.get(STORED[field.kind][2]) or [])


def originals_in(field: Field, frame: int, value: Any) -> list[Original]:
    found = []
    for place, label in enumerate(labels_in(field, value)):
        parts = len(sent_parts(label)) if field.kind in (POLYLINES, POLYGONS) else 1
        index = label.get("index")
        found.append(
            Original(field.name, frame, str(label["_id"]), place, parts, None if index is None else int(index))
        )
    return found


def sent_parts(label: Mapping[str, Any]) -> list[int]:
    """Which parts of a polyline FiftyOne sends: not those filled ones that have no area."""
    parts = label.get("points") or []
    return [place for place, part in enumerate(parts) if not label.get("filled") or len(part) >= 3]


def paths_of(touch: Touch, field: Field, label: str, context: Context) -> list[Path]:
    """The parts of a stored label that an edit concerns. Raises NotRepresentable."""
    if touch.kind == LABEL:
        return [("label",)]
    if touch.kind == ROTATION:
        return [("rotation",)]
    if touch.kind == INDEX:
        return [("index",)]
    if touch.kind == GEOMETRY:
        of_kind: dict[str, list[Path]] = {
            DETECTIONS: [("bounding_box",), ("mask",), ("mask_path",)],
            INSTANCES: [("bounding_box",), ("mask",), ("mask_path",)],
            KEYPOINTS: [("points",), ("confidence",)],
            CLASSIFICATIONS: [],
        }
        return of_kind.get(field.kind, [("points",), ("closed",), ("filled",)])
    if touch.kind == ATTRIBUTE:
        if touch.name.startswith(OWN_ATTRIBUTES):
            return [("attributes", touch.name.removeprefix(OWN_ATTRIBUTES), "value")]
        return [(touch.name,)]
    name = context.named("occluded" if touch.kind == OCCLUDED else "group_id", label)
    if name is None:
        raise NotRepresentable(f"{touch.kind} without an attribute of that type")
    return [(name,)]


def edits(
    original: Mapping[str, Any], change: Change, touch: Touch, context: Context, index: Callable[[Thing], int | None]
) -> dict[Path, Any]:
    """What an edit makes of a stored label: {path: value}, ABSENT where nothing stands any more.

    Raises NotRepresentable.
    """
    now = change.now(touch)
    name = context.field.classes.get(now.label, now.label)  # a class that was added in CVAT is called as there
    if touch.kind == LABEL:
        return {("label",): name}
    if touch.kind == GEOMETRY:
        return _geometry(original, change, context)
    if touch.kind == ROTATION:
        whole = isinstance(original.get("rotation"), int) and now.rotation.is_integer()
        return {("rotation",): int(now.rotation) if whole else now.rotation}
    if touch.kind == INDEX:
        return {("index",): index(now)}
    (path,) = paths_of(touch, context.field, name, context)
    if touch.kind == ATTRIBUTE:
        if context.attributes(name).get(touch.name, {}).get("read_only"):
            raise NotRepresentable("read-only attribute")
        return {path: _attribute(at(original, path), now, touch.name, name, context)}
    had = at(original, path)
    if touch.kind == OCCLUDED:
        return {path: now.occluded}
    return {path: str(now.group) if isinstance(had, str) else now.group}


def new_label(label_id: str, thing: Thing, kind: str, context: Context, index: int | None) -> dict[str, Any]:
    """A thing made in CVAT as a stored label of plural type `kind`. Raises NotRepresentable."""
    name = context.field.classes.get(thing.label, thing.label)
    told: dict[str, Any] = {"_id": ObjectId(label_id), "_cls": STORED[kind][0]}
    if kind != CLASSIFICATIONS:
        told["attributes"] = {}
    told.update({"tags": [], "label": name, **_new_geometry(thing, kind, context.size)})
    schema, specs = context.attributes(name), context.specs.get(thing.label, {})
    for attribute, text in thing.attributes:
        input_type = specs[attribute].input_type if attribute in specs else "text"
        try:
            value = of_new_label(text, input_type, schema.get(attribute, {}).get("values") or ())
        except NoValue:
            continue
        key = attribute.removeprefix(OWN_ATTRIBUTES)
        told[key] = value if key not in ("_id", "_cls", "tags", "label", *_new_geometry_keys(kind)) else told[key]
    if thing.shape == "ellipse":
        told["cvat_shape"] = "ellipse"
    if thing.rotation and thing.shape == "rectangle":
        told["rotation"] = thing.rotation
    if thing.shape and (occluded := context.named("occluded", name)) is not None:
        told[occluded] = thing.occluded
    if thing.group and (group := context.named("group_id", name)) is not None:
        told[group] = thing.group
    if thing.kind == TRACK and index is not None:
        told["index"] = index
        existing = context.info.get("existing_field", False)
        if thing.keyframe and (context.info.get("only_keyframes") or not existing):
            told["keyframe"] = True
    return told


def not_held(thing: Thing, context: Context) -> list[str]:
    """What a new label cannot say of its thing, because no attribute is there for it."""
    name = context.field.classes.get(thing.label, thing.label)
    told = [("occluded", "occluded", thing.occluded), ("group", "group_id", bool(thing.group))]
    return [
        f"{what} without an attribute of that type" for what, kind, on in told if on and not context.named(kind, name)
    ]


def at(label: Mapping[str, Any], path: Path) -> Any:
    found: Any = label
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return ABSENT
        found = found[step]
    return found


def put(label: dict[str, Any], path: Path, value: Any) -> bool:
    """Sets what stands at a path; whether that changed anything."""
    had = at(label, path)
    if had is value or (type(had) is type(value) and (had == value or repr(had) == repr(value))):  # nan is not nan
        return False
    holder: Any = label
    for step in path[:-1]:
        if not isinstance(holder.get(step), dict):
            if value is ABSENT:
                return False
            holder[step] = {"_cls": "Attribute"} if holder is not label else {}
        holder = holder[step]
    if value is ABSENT:
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return True


def put_all(label: dict[str, Any], values: Mapping[Path, Any]) -> bool:
    """Sets all of it; whether that changed anything."""
    changed = False
    for path, value in values.items():
        changed |= put(label, path, value)
    return changed


def _attribute(had: Any, now: Thing, attribute: str, name: str, context: Context) -> Any:
    text = dict(now.attributes).get(attribute, "")
    values = context.attributes(name).get(attribute, {}).get("values") or ()
    spec = context.specs.get(now.label, {}).get(attribute)
    try:
        if had is None or had is ABSENT:
            return of_new_label(text, spec.input_type if spec else "text", values)
        return like_original(text, had)
    except NoValue:
        return None
    except NotThisType as error:
        raise NotRepresentable(f"attribute {attribute}: {error}") from None


def _geometry(original: Mapping[str, Any], change: Change, context: Context) -> dict[Path, Any]:
    kind, size = context.field.kind, context.size
    if kind in (POLYLINES, POLYGONS):
        return _polyline(original, change, kind, size)
    before, now = change.before[0], change.after[0]
    assert now is not None
    if kind == KEYPOINTS:
        points, kept = moved_points(original.get("points") or [], before.points, now.points, size)
        told: dict[Path, Any] = {("points",): points}
        confidence = original.get("confidence")
        if isinstance(confidence, list) and len(confidence) == len(original["points"]) != len(points):
            told[("confidence",)] = [float("nan") if old is None else confidence[old] for old in kept]
        return told
    if now.shape == "rectangle":
        if before.shape != "rectangle":
            box = new_box(edges(now.shape, now.points), size)
            return {("bounding_box",): box, ("mask",): ABSENT, ("mask_path",): ABSENT}
        had, was, is_now = original["bounding_box"], edges("rectangle", before.points), edges("rectangle", now.points)
        return {("bounding_box",): moved_box(had, was, is_now, size)}
    same = before.shape == now.shape == "mask"
    parts = masks.edited_instance(original, before, now, size) if same else masks.instance(now, size)
    if parts is None:
        raise NotRepresentable("mask without a pixel")
    return {("bounding_box",): parts["bounding_box"], ("mask",): parts["mask"], ("mask_path",): ABSENT}


def _polyline(original: Mapping[str, Any], change: Change, kind: str, size: tuple[int, int]) -> dict[Path, Any]:
    points: list[Any] = [list(part) for part in original.get("points") or []]
    sent = sent_parts(original)
    gone = set()
    told: dict[Path, Any] = {}
    for place, before, now in zip(sent, change.before, change.after, strict=False):
        if now is None:
            gone.add(place)
        elif now.shape == before.shape:
            if now.points != before.points:
                points[place] = moved_points(points[place], before.points, now.points, size)[0]
        else:
            new = _new_geometry(now, kind, size)
            points[place] = new["points"][0] if new["points"] else []
            told = {("closed",): new["closed"], ("filled",): new["filled"]}
    return {("points",): [part for place, part in enumerate(points) if place not in gone], **told}


def _new_geometry(thing: Thing, kind: str, size: tuple[int, int]) -> dict[str, Any]:
    if kind == CLASSIFICATIONS:
        return {}
    if kind == KEYPOINTS:
        return {"points": relative(thing.points, size)}
    if kind in (POLYLINES, POLYGONS):
        closed = thing.shape != "polyline"
        if thing.shape == "mask":
            parts: Sequence[Any] = masks.polygon_parts(thing, size)
        else:
            flat = ellipse(thing.points, thing.rotation) if thing.shape == "ellipse" else thing.points
            parts = [relative(flat, size)]
        filled = closed and (kind == POLYGONS or thing.shape == "ellipse")
        return {"points": parts, "closed": closed, "filled": filled}
    if thing.shape == "rectangle":
        return {"bounding_box": new_box(edges("rectangle", thing.points), size)}
    found = masks.instance(thing, size)
    if found is None:
        raise NotRepresentable("mask without a pixel")
    return found


def _new_geometry_keys(kind: str) -> tuple[str, ...]:
    if kind in (DETECTIONS, INSTANCES):
        return ("bounding_box", "mask")
    return () if kind == CLASSIFICATIONS else ("points", "closed", "filled")
