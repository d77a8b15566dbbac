"""The fields of a run: which classes they have in CVAT, which things belong to which of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.fiftyone.things import Spec, Thing

SCALAR, SEGMENTATION = "scalar", "segmentation"
CLASSIFICATIONS, DETECTIONS, POLYLINES, KEYPOINTS = "classifications", "detections", "polylines", "keypoints"
INSTANCES, POLYGONS = "instances", "polygons"
PLURALS = {
    "classification": CLASSIFICATIONS,
    "detection": DETECTIONS,
    "instance": INSTANCES,
    "polyline": POLYLINES,
    "polygon": POLYGONS,
    "keypoint": KEYPOINTS,
}
# What FiftyOne sends a label as; tags have no shape. Servers before 2.3 got polygons for masks.
SENT_AS = {
    SCALAR: ("",),
    CLASSIFICATIONS: ("",),
    DETECTIONS: ("rectangle",),
    INSTANCES: ("mask", "polygon"),
    POLYLINES: ("polyline", "polygon"),
    POLYGONS: ("polygon", "polyline"),
    KEYPOINTS: ("points",),
    SEGMENTATION: ("mask", "polygon"),
}
# What else may become a label of the field.
TAKEN_AS_WELL = {
    DETECTIONS: ("mask", "polygon", "ellipse"),
    INSTANCES: ("rectangle", "ellipse"),
    POLYLINES: ("mask", "ellipse"),
    POLYGONS: ("mask", "ellipse"),
    SEGMENTATION: ("ellipse",),
}
# Where things go that no field expects: the field that FiftyOne names by the type.
FAMILIES = {
    "": CLASSIFICATIONS,
    "rectangle": DETECTIONS,
    "mask": DETECTIONS,
    "polygon": POLYLINES,
    "polyline": POLYLINES,
    "ellipse": POLYLINES,
    "points": KEYPOINTS,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the run. `kind` is a plural label type; `single`: it holds one label. `classes`: CVAT's → FiftyOne's."""

    name: str
    kind: str
    single: bool
    classes: Mapping[str, str]

    def sends(self, thing: Thing) -> bool:
        return thing.label in self.classes and thing.shape in SENT_AS[self.kind]

    def takes(self, thing: Thing) -> bool:
        return self.sends(thing) or (thing.label in self.classes and thing.shape in TAKEN_AS_WELL.get(self.kind, ()))


def fields_of(label_schema: Mapping[str, Mapping[str, Any]], classes: Mapping[str, Mapping[str, str]]) -> list[Field]:
    """The run's fields in the order of its label schema. `classes`: {field: {class: its name in CVAT}}."""
    found = []
    for name, info in label_schema.items():
        told = str(info["type"])
        kind = PLURALS.get(told, told)
        if kind not in SENT_AS:
            raise ValueError(f"field {name!r} has labels of type {told!r}, which is not supported")
        names = dict(classes.get(name) or {one: one for one in _names(info.get("classes") or [])})
        if kind == SCALAR and not info.get("classes"):
            names = {name: names.get(name, name)}  # its value is an attribute of the class that has the field's name
        single = told in PLURALS or kind in (SCALAR, SEGMENTATION)
        found.append(Field(name, kind, single, {in_cvat: one for one, in_cvat in names.items()}))
    return found


def field_for(thing: Thing, fields: Sequence[Field]) -> tuple[Field | None, bool]:
    """The field that a new thing belongs to, and whether the field takes it. Fields that would send it come first."""
    for field in fields:
        if field.sends(thing):
            return field, True
    for field in fields:
        if field.takes(thing):
            return field, True
    of_class = [field for field in fields if thing.label in field.classes]
    return (of_class[-1] if of_class else None), False


def attribute_types(info: Mapping[str, Any], label: str) -> dict[str, Mapping[str, Any]]:
    """The attributes that labels of a class have by the label schema: {name: {"type": …, "values": …}}."""
    found = dict(info.get("attributes") or {})
    for one in info.get("classes") or []:
        if isinstance(one, Mapping) and label in _listed(one):
            found.update(one.get("attributes") or {})
    return found


def server_type(spec: Spec | None) -> str:
    return spec.input_type if spec else "text"


def _names(classes: Sequence[Any]) -> Iterator[str]:
    for one in classes:
        yield from _listed(one) if isinstance(one, Mapping) else [str(one)]


def _listed(one: Mapping[str, Any]) -> list[str]:
    told = one.get("classes") or []
    return [told] if isinstance(told, str) else [str(name) for name in told]
