"""What a job holds: tags, shapes and tracks as the API writes them, checked as the API checks them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.cvat.world import AttributeSpec, Label

Json = dict[str, Any]

SHAPE_TYPES = ("rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
INTEGER_LIMIT = 2**31


class BadAnnotations(ValueError):
    """Refused with 400; `answer` is the JSON body."""

    def __init__(self, answer: Any) -> None:
        super().__init__(str(answer))
        self.answer = answer


class ServerTripped(Exception):
    """Input that makes the real server answer 500."""


class LabelIndex:
    """The labels of a task by id and by name, sublabels included."""

    def __init__(self, labels: Iterable[Label]) -> None:
        self.top: dict[str, Label] = {}
        self.by_id: dict[int, Label] = {}
        self.specs: dict[int, AttributeSpec] = {}
        for label in labels:
            self.top.setdefault(label.name, label)
            for one in (label, *label.sublabels):
                self.by_id[one.id] = one
                self.specs.update((spec.id, spec) for spec in one.attributes)

    def named(self, name: str) -> int:
        return self.top[name].id

    def spec_named(self, label: str, name: str) -> int:
        return next(spec.id for spec in self.top[label].attributes if spec.name == name)


@dataclass
class Annotations:
    tags: list[Json] = field(default_factory=list)
    shapes: list[Json] = field(default_factory=list)
    tracks: list[Json] = field(default_factory=list)

    def as_json(self) -> Json:
        return {"version": 0, "tags": self.tags, "shapes": self.shapes, "tracks": self.tracks}

    def joined(self, other: Annotations) -> Annotations:
        return Annotations(self.tags + other.tags, self.shapes + other.shapes, self.tracks + other.tracks)

    def within(self, first: int, last: int) -> Annotations:
        kept = [
            [item for item in items if first <= item["frame"] <= last]
            for items in (self.tags, self.shapes, self.tracks)
        ]
        return Annotations(*kept)

    def sorted_by_frame(self) -> Annotations:
        return Annotations(
            *(sorted(items, key=lambda item: item["frame"]) for items in (self.tags, self.shapes, self.tracks))
        )

    def replace_ids(self, label_ids: Mapping[int, int], spec_ids: Mapping[int, int]) -> None:
        """Points everything at other labels and attributes (a task moved into another project)."""

        def walk(item: Any) -> None:
            if isinstance(item, list):
                for one in item:
                    walk(one)
            elif isinstance(item, dict):
                if item.get("label_id") in label_ids:
                    item["label_id"] = label_ids[item["label_id"]]
                if item.get("spec_id") in spec_ids:
                    item["spec_id"] = spec_ids[item["spec_id"]]
                for key in ("attributes", "elements", "shapes"):
                    walk(item.get(key) or [])

        for items in (self.tags, self.shapes, self.tracks):
            walk(items)

    def completed(self, labels: LabelIndex) -> Annotations:
        """As they are read: attributes that nobody sent have their defaults, also those that a label got later.

        A shape of a track takes them from the shape before.
        """

        def filled(item: Json, known: Iterable[Json]) -> Json:
            present = {attribute["spec_id"] for attribute in item["attributes"]}
            more = [dict(one) for one in known if one["spec_id"] not in present]
            return item | {"attributes": [*item["attributes"], *more]}

        def defaults(item: Json, *, mutable: bool | None = None) -> list[Json]:
            label = labels.by_id.get(item["label_id"])
            return [
                {"spec_id": spec.id, "value": spec.default_value}
                for spec in (label.attributes if label else ())
                if mutable is None or spec.mutable == mutable
            ]

        def shape(item: Json) -> Json:
            whole = filled(item, defaults(item))
            return whole | {"elements": [shape(one) for one in item["elements"]]} if "elements" in item else whole

        def track(item: Json) -> Json:
            whole = filled(item, defaults(item, mutable=False))
            known, shapes = defaults(item, mutable=True), []
            for one in item["shapes"]:
                shapes.append(filled(one, known))
                known = shapes[-1]["attributes"]
            whole["shapes"] = shapes
            return whole | {"elements": [track(one) for one in item["elements"]]} if "elements" in item else whole

        return Annotations(
            [filled(item, defaults(item)) for item in self.tags],
            [shape(item) for item in self.shapes],
            [track(item) for item in self.tracks],
        )

    def without_ids(self, ids: Mapping[str, set[int]]) -> Annotations:
        return Annotations(
            *(
                [item for item in getattr(self, kind) if item["id"] not in ids.get(kind, set())]
                for kind in ("tags", "shapes", "tracks")
            )
        )


def stored_annotations(
    raw: Any, labels: LabelIndex, next_id: Callable[[str], int], *, ids: bool = False
) -> Annotations:
    """What PUT stores: everything checked first, new ids, defaults of fields filled in.

    A missing key means none of that kind. `next_id` is given what is counted: tags, shapes, tracks, tracked shapes.
    With `ids` the items must carry their ids (PATCH action=update). Attributes are as they came; see `completed`.
    """
    if not isinstance(raw, Mapping):
        raise ServerTripped("a list as body")
    check = _Check(labels, next_id, ids)
    problems: Json = {}
    for kind in ("tags", "shapes", "tracks"):
        found = [check.problems(item, kind) for item in raw.get(kind) or []]
        if any(found):
            problems[kind] = found
    if problems:
        raise BadAnnotations(problems)
    return Annotations(
        [check.tag(item) for item in raw.get("tags") or []],
        [check.shape(item) for item in raw.get("shapes") or []],
        [check.track(item) for item in raw.get("tracks") or []],
    )


def holds_poison(annotations: Annotations) -> bool:
    """A skeleton whose element lies on another frame: accepted once, answered with 500 for ever after."""
    return any(
        element["frame"] != shape["frame"]
        for shape in annotations.shapes
        if shape["type"] == "skeleton"
        for element in shape["elements"]
    )


class _Check:
    def __init__(self, labels: LabelIndex, next_id: Callable[[str], int], ids: bool) -> None:
        self.labels = labels
        self.next_id = next_id
        self.ids = ids

    # What DRF's serializers refuse, field by field ---------------------------------------------------------

    def problems(self, item: Mapping[str, Any], kind: str, *, element: bool = False) -> Json:
        found: Json = {}
        if not self.ids and item.get("id") is not None:
            found["id"] = ["must be absent"]
        if kind != "track_shapes":
            if item.get("label_id") is None:
                found["label_id"] = ["This field is required."]
            if item.get("group") is not None and item["group"] < 0:
                found["group"] = ["Ensure this value is greater than or equal to 0."]
        if not isinstance(item.get("frame"), int):
            found["frame"] = ["This field is required."]
        elif item["frame"] < 0:
            found["frame"] = ["Ensure this value is greater than or equal to 0."]
        long = [_length_problem(attribute) for attribute in item.get("attributes") or []]
        if any(long):
            found["attributes"] = long
        if kind in ("shapes", "track_shapes"):
            found |= _form_problem(item)
        if kind == "tracks":
            inner = [self.problems(shape, "track_shapes") for shape in item.get("shapes") or []]
            if any(inner):
                found["shapes"] = inner
        if kind in ("shapes", "tracks") and not element:
            inner = [self.problems(one, kind, element=True) for one in item.get("elements") or []]
            if any(inner):
                found["elements"] = inner
        return found

    # What is stored, in the order of keys the server answers with --------------------------------------------

    def _id(self, item: Mapping[str, Any], kind: str) -> int:
        return int(item["id"]) if self.ids and item.get("id") is not None else self.next_id(kind)

    def _label(self, item: Mapping[str, Any]) -> Label:
        label = self.labels.by_id.get(item["label_id"])
        if label is None:
            raise BadAnnotations([f"label_id `{item['label_id']}` is invalid"])
        return label

    def _attributes(self, item: Mapping[str, Any], label: Label, *, mutable: bool | None = None) -> list[Json]:
        given = []
        known = {spec.id for spec in label.attributes if mutable is None or spec.mutable == mutable}
        for attribute in item.get("attributes") or []:
            if attribute["spec_id"] not in known:
                raise BadAnnotations([f"spec_id `{attribute['spec_id']}` is invalid"])
            given.append({"spec_id": attribute["spec_id"], "value": _text(attribute["value"])})
        return given

    def tag(self, item: Mapping[str, Any]) -> Json:
        label = self._label(item)
        return {
            "id": self._id(item, "tags"),
            "label_id": label.id,
            "frame": item["frame"],
            "group": item.get("group"),
            "source": str(item.get("source") or "manual"),
            "attributes": self._attributes(item, label),
        }

    def shape(self, item: Mapping[str, Any], *, element: bool = False) -> Json:
        label = self._label(item)
        stored: Json = {
            "id": self._id(item, "shapes"),
            "label_id": label.id,
            "type": item["type"],
            "frame": item["frame"],
            "group": item.get("group"),
            "source": str(item.get("source") or "manual"),
            **_geometry(item),
            "attributes": self._attributes(item, label),
        }
        if not element:
            stored["elements"] = [self.shape(one, element=True) for one in item.get("elements") or []]
        return stored

    def track(self, item: Mapping[str, Any], *, element: bool = False) -> Json:
        label = self._label(item)
        stored: Json = {
            "id": self._id(item, "tracks"),
            "label_id": label.id,
            "frame": item["frame"],
            "group": item.get("group"),
            "source": str(item.get("source") or "manual"),
            "attributes": self._attributes(item, label, mutable=False),
            "shapes": [
                {
                    "id": self._id(shape, "tracked shapes"),
                    "type": shape["type"],
                    "frame": shape["frame"],
                    **_geometry(shape),
                    "attributes": self._attributes(shape, label, mutable=True),
                }
                for shape in item.get("shapes") or []
            ],
        }
        if not element:
            stored["elements"] = [self.track(one, element=True) for one in item.get("elements") or []]
        return stored


def _geometry(item: Mapping[str, Any]) -> Json:
    z_order = int(item.get("z_order") or 0)
    if not -INTEGER_LIMIT <= z_order < INTEGER_LIMIT:
        raise ServerTripped("integer out of range")
    return {
        "occluded": bool(item.get("occluded", False)),
        "outside": bool(item.get("outside", False)),
        "z_order": z_order,
        "rotation": float(item.get("rotation") or 0.0),
        "points": [float(value) for value in item.get("points") or []],
    }


def _length_problem(attribute: Mapping[str, Any]) -> Json:
    if len(str(attribute.get("value", ""))) <= 4096:
        return {}
    return {"value": ["Ensure this field has no more than 4096 characters."]}


def _form_problem(item: Mapping[str, Any]) -> Json:
    kind = item.get("type")
    if kind not in SHAPE_TYPES:
        return {"type": [f'"{kind}" is not a valid choice.']}
    if not _points_fit(kind, item.get("points") or []):
        return {"points": [f"invalid length for shape type '{kind}'"]}
    return {}


def _points_fit(kind: str, points: list[float]) -> bool:
    count = len(points)
    return {
        "rectangle": count == 4,
        "ellipse": count == 4,
        "cuboid": count == 16,
        "mask": count >= 4 and _mask_fits(points),
        "polygon": count >= 6 and count % 2 == 0,
        "polyline": count >= 4 and count % 2 == 0,
        "points": count >= 2 and count % 2 == 0,
        "skeleton": count == 0,
    }[kind]


def _mask_fits(points: list[float]) -> bool:
    # The recordings hold a mask whose runs do not fill its box, stored with 200: only its length is checked.
    return len(points) > 4


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)
