"""What would go wrong, found before anything is created: decisions from plain data."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from common.annotating.settings import LABEL_TYPES, FiftyoneSettings
from common.annotating.state import MARKER
from common.text import plural, printable, size

LONGEST_NAME = 64  # of classes and attributes, in FiftyOne
LONGEST_TITLE = 256 - len(f" [{MARKER} 0123456789abcdef]")  # of projects, in CVAT, with our mark
LARGE_UPLOAD_BYTES = 2 << 30
ATTRIBUTE_TYPES = ("text", "select", "radio", "checkbox", "number", "occluded", "group_id")
# What an attribute of a label may not be called: it would be the label itself.
RESERVED = frozenset(
    "label_id id _id _cls label tags index bounding_box mask mask_path points closed filled logits instance".split()
)
_TYPES_OF = {
    "Classification": ("classification",), "Classifications": ("classifications",),
    "Detection": ("detection", "instance"), "Detections": ("detections", "instances"),
    "Polyline": ("polygon", "polyline"), "Polylines": ("polygons", "polylines"),
    "Keypoint": ("keypoint",), "Keypoints": ("keypoints",), "Segmentation": ("segmentation",),
    "IntField": ("scalar",), "FloatField": ("scalar",), "StringField": ("scalar",), "BooleanField": ("scalar",),
}  # fmt: skip
# One field of each of these in an existing project: FiftyOne would leave the second one out, without a word to us.
_COMES_BACK_AS = {
    "classification": "classifications", "scalar": "classifications", "detection": "detections",
    "instance": "detections", "instances": "detections", "polyline": "polylines", "polygon": "polylines",
    "polygons": "polylines", "keypoint": "keypoints",
}  # fmt: skip
_NOT_TRACKED = ("classification", "classifications", "scalar", "segmentation")
_NO_LABELS = frozenset("id filepath tags metadata created_at last_modified_at".split())


@dataclass
class Findings:
    """What forbids a `create`, and what somebody should know of it."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ServerFacts:
    """What the server says that matters. `project` is the existing one, with its label names; users not found."""

    project_id: int | None = None
    project_labels: tuple[str, ...] = ()
    unknown_users: tuple[str, ...] = ()


def wanted_fields(settings: FiftyoneSettings) -> list[str]:
    return list(settings.label_schema) if settings.label_schema else [settings.label_field]


def schema_of(settings: FiftyoneSettings) -> dict[str, dict[str, Any]]:
    """The label schema for annotate(): FIFTYONE_SYNC_LABEL_SCHEMA, or the single field; what it leaves open is filled in."""
    schema: dict[str, dict[str, Any]] = copy.deepcopy(settings.label_schema or {settings.label_field: {}})
    for info in schema.values():
        if settings.label_type and not settings.label_schema:
            info["type"] = settings.label_type
        if settings.classes:
            info.setdefault("classes", list(settings.classes))
        if settings.attributes is not None:
            info.setdefault("attributes", copy.deepcopy(settings.attributes))
        if settings.mask_targets is not None and info.get("type") == "segmentation":
            info.setdefault("mask_targets", dict(settings.mask_targets))
        for attributes in _attribute_sets(info):
            for each in attributes.values():
                fill_in(each)
        for name, allowed in settings.permissions.items():
            info.setdefault(name, allowed)
    return schema


def permissions_of(schema: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, bool]]:
    """What may come back, by field."""
    return {
        name: {each: bool(allowed) for each, allowed in info.items() if each.startswith("allow_")}
        for name, info in schema.items()
    }


def permissions_now(
    settings: FiftyoneSettings, at_create: Mapping[str, Mapping[str, bool]]
) -> dict[str, dict[str, bool]]:
    """What a load may take: what was allowed at create and still is."""
    now = permissions_of(schema_of(settings))
    return {
        name: {
            each: allowed and now.get(name, settings.permissions).get(each, True)
            for each, allowed in permissions.items()
        }
        for name, permissions in at_create.items()
    }


def fill_in(attribute: Any) -> None:
    """What FiftyOne wants of a CVAT since 2.5 and everybody forgets: values of text and checkbox attributes."""
    if isinstance(attribute, dict) and not attribute.get("values"):
        if attribute.get("type") == "text":
            attribute["values"] = []
        elif attribute.get("type") == "checkbox":
            attribute["values"] = [True, False]


def check(
    settings: FiftyoneSettings, schema: Mapping[str, Mapping[str, Any]], seen: Mapping[str, Any], facts: ServerFacts
) -> Findings:
    """Everything that is known beforehand. `seen` is what the worker's `describe` says of a dataset that exists."""
    found = Findings()
    media_type = seen["media_type"]
    if media_type not in ("image", "video"):
        found.problems.append(_other_media(media_type))
        return found
    _check_dataset(settings, seen, found)
    for name, info in schema.items():
        _check_field(settings, name, info, seen, found)
        _check_names(name, info, found)
    _check_clashes(schema, found)
    _check_project(settings, schema, facts, found)
    if facts.unknown_users:
        found.problems.append(f"CVAT knows no user {', '.join(map(repr, facts.unknown_users))} (assignees)")
    return found


def _other_media(media_type: str | None) -> str:
    if media_type == "group":
        return "the dataset is a grouped one: make a dataset of one slice (dataset.select_group_slices(…).clone(…))"
    if media_type is None:
        return "the dataset is empty"
    return f"the dataset holds media of type {media_type!r}: only images and videos are supported"


def _check_dataset(settings: FiftyoneSettings, seen: Mapping[str, Any], found: Findings) -> None:
    if settings.anno_key in seen["runs"]:
        found.problems.append(
            f"FiftyOne already has an annotation run {settings.anno_key!r} that was not made from here: choose another "
            "FIFTYONE_SYNC_ANNO_KEY"
        )
    view = seen["view"]
    if view["missing_count"]:
        found.problems.append(
            f"FIFTYONE_SYNC_VIEW names {plural(view['missing_count'], 'id')} that no sample has: {_some(view['missing_ids'])}"
        )
    if not view["samples"]:
        found.problems.append("there are no samples to send: the dataset or FIFTYONE_SYNC_VIEW leaves none")
    if view.get("gone_count"):
        found.problems.append(f"{plural(view['gone_count'], 'file')} of samples not found: {_some(view['gone'])}")
    if view.get("unreadable_count"):
        found.problems.append(
            f"{plural(view['unreadable_count'], 'file')} cannot be read as {seen['media_type']}s: "
            f"{_some(view['unreadable'])}; leave these samples out"
        )
    if not seen["persistent"]:
        found.warnings.append(
            "the dataset is not persistent: FiftyOne deletes it with all labels at its next start (dataset.persistent = True)"
        )
    large = max(view.get("uploads") or [0])
    if large > LARGE_UPLOAD_BYTES:
        found.warnings.append(
            f"one task has {size(large)} of files, which go in one request: servers may refuse that; lower "
            "FIFTYONE_SYNC_TASK_SIZE"
        )
    if seen["media_type"] == "image":
        given = [name for name in ("frame_start", "frame_stop", "frame_step") if getattr(settings, name) is not None]
        if given:
            found.problems.append(
                f"{', '.join('FIFTYONE_SYNC_' + name.upper() for name in given)}: only videos have frames"
            )
    elif settings.frame_stop is not None and settings.frame_stop < (settings.frame_start or 0):
        found.problems.append("FIFTYONE_SYNC_FRAME_STOP is before FIFTYONE_SYNC_FRAME_START")


def _check_field(
    settings: FiftyoneSettings, name: str, info: Mapping[str, Any], seen: Mapping[str, Any], found: Findings
) -> None:
    video, label_type = seen["media_type"] == "video", info.get("type")
    in_frames = name.startswith("frames.")
    if video and not in_frames:
        found.problems.append(f"{name}: labels of videos are in fields of frames: frames.{name}")
    if in_frames and not video:
        found.problems.append(f"{name}: only videos have fields of frames; images have {name.removeprefix('frames.')}")
    if name.removeprefix("frames.") in _NO_LABELS:
        found.problems.append(f"{name}: this field is FiftyOne's own and cannot be annotated")
        return
    there = seen["fields"].get(name) or {"exists": False}
    if there["exists"]:
        kinds = _TYPES_OF.get(there["kind"])
        if kinds is None:
            found.problems.append(f"{name}: a field of type {there['kind']} cannot be annotated in CVAT")
            return
        if label_type and label_type not in kinds:
            found.problems.append(
                f"{name} holds {there['kind']}, which go as {' or '.join(kinds)}, not as {label_type}"
            )
            return
        _check_labels(name, label_type or kinds[0], there, found)
        known = info.get("mask_targets") or seen["mask_targets"].get(name)
        if there["kind"] == "Segmentation" and not known:
            found.warnings.append(f"{name}: no mask targets are known: pixel values 1 to 255 become classes 1 to 255")
    elif not label_type:
        found.problems.append(f"{name} is a new field: say FIFTYONE_SYNC_LABEL_TYPE ({', '.join(LABEL_TYPES)})")
    elif label_type == "segmentation":
        if not info.get("mask_targets"):
            found.problems.append(f"{name} is a new field of segmentations: say FIFTYONE_SYNC_MASK_TARGETS")
    elif label_type != "scalar" and not info.get("classes"):
        found.problems.append(f"{name} is a new field: say FIFTYONE_SYNC_CLASSES")
    if video:
        _check_video(settings, name, label_type, there, found)


def _check_labels(name: str, label_type: str, there: Mapping[str, Any], found: Findings) -> None:
    labels = there.get("labels") or 0
    if label_type in ("instance", "instances"):
        without = labels - there.get("masks", 0)
        if labels and not there.get("masks"):
            found.problems.append(
                f"{name}: none of its {plural(labels, 'label')} has a mask, so FiftyOne would send nothing: {label_type[:-1]}s "
                "need masks; plain boxes go as detections"
            )
        elif without:
            found.warnings.append(
                f"{name}: {plural(without, 'label')} without a mask {_is(without)} not sent and stays as it is"
            )
    elif label_type in ("detection", "detections") and there.get("masks"):
        found.warnings.append(
            f"{name}: {plural(there['masks'], 'label')} with a mask {_is(there['masks'])} not sent and stays as it is "
            "(they go as instances)"
        )
    elif label_type in ("polyline", "polylines", "polygon", "polygons") and labels:
        filled = there.get("filled", 0)
        sent = filled if label_type.startswith("polygon") else labels - filled
        if not sent:
            found.problems.append(f"{name}: none of its {plural(labels, 'label')} is a {label_type.removesuffix('s')}")
        elif sent < labels:
            rest = labels - sent
            found.warnings.append(
                f"{name}: {plural(rest, 'label')} of the other kind {_is(rest)} not sent and stays as it is"
            )
    if there.get("nan_points"):
        found.problems.append(
            f"{name}: {plural(there['nan_points'], 'keypoint')} with points that are not there (NaN): CVAT cannot hold them"
        )


def _check_video(
    settings: FiftyoneSettings, name: str, label_type: str | None, there: Mapping[str, Any], found: Findings
) -> None:
    if settings.segment_size is not None and label_type not in _NOT_TRACKED:
        found.problems.append(
            f"{name}: FIFTYONE_SYNC_SEGMENT_SIZE would spread tracks over several jobs, where they come back wrong: leave it "
            "empty for videos (one job each)"
        )
    if there.get("parts_in_tracks"):
        found.problems.append(
            f"{name}: {plural(there['parts_in_tracks'], 'label')} in tracks with several parts: CVAT moves one part of a track "
            "only; send them without their index, or leave these samples out"
        )
    if settings.frame_step is not None and there.get("tracks"):
        found.problems.append(
            f"{name}: its labels are tracks, which cannot be sent with FIFTYONE_SYNC_FRAME_STEP (what happens between the "
            "frames would be unknown)"
        )


def _check_names(name: str, info: Mapping[str, Any], found: Findings) -> None:
    names = list(class_names(info))
    for each in names:
        if not isinstance(each, str) or not each.strip():
            found.problems.append(f"{name}: {each!r} is no name of a class")
        elif len(each) > LONGEST_NAME:
            found.problems.append(f"{name}: class {printable(each, 30)!r} is longer than {LONGEST_NAME} characters")
    twice = [each for each, count in Counter(map(str, names)).items() if count > 1]
    if twice:
        found.problems.append(f"{name}: classes given twice: {_some(twice)}")
    for attributes in _attribute_sets(info):
        for attribute, described in attributes.items():
            _check_attribute(f"{name}: attribute {printable(attribute, 30)!r}", attribute, described, found)


def _check_attribute(where: str, attribute: str, described: Any, found: Findings) -> None:
    if attribute in RESERVED:
        found.problems.append(f"{where} has a name that labels use themselves")
    elif not attribute.strip() or len(attribute) > LONGEST_NAME:
        found.problems.append(f"{where}: names have 1 to {LONGEST_NAME} characters")
    if not isinstance(described, dict):
        found.problems.append(f"{where} is described by no object {{…}}")
        return
    kind = described.get("type")
    if kind is not None and kind not in ATTRIBUTE_TYPES:
        found.problems.append(f"{where}: type {kind!r} is none of {', '.join(ATTRIBUTE_TYPES)}")
    if kind in ("select", "radio") and not described.get("values"):
        found.problems.append(f"{where}: {kind} needs values")


def _check_clashes(schema: Mapping[str, Mapping[str, Any]], found: Findings) -> None:
    """Two fields with the same class: FiftyOne appends the field's name to both, which must fit too."""
    owners: dict[str, list[str]] = {}
    for name, info in schema.items():
        for each in set(map(str, class_names(info))):
            owners.setdefault(each, []).append(name)
    for each, fields in owners.items():
        if len(fields) > 1 and any(len(f"{each}_{name}") > LONGEST_NAME for name in fields):
            found.problems.append(
                f"class {printable(each, 30)!r} is in {_some(fields)}: CVAT's name of it, with the field's behind it, is longer "
                f"than {LONGEST_NAME} characters"
            )


def _check_project(
    settings: FiftyoneSettings, schema: Mapping[str, Mapping[str, Any]], facts: ServerFacts, found: Findings
) -> None:
    if len(settings.project_name) > LONGEST_TITLE:
        found.problems.append(f"FIFTYONE_SYNC_PROJECT_NAME is longer than {LONGEST_TITLE} characters")
    if facts.project_id is None:
        return
    name = printable(settings.project_name, 60)
    if not settings.existing_project:
        found.problems.append(
            f"project {name!r} exists (id {facts.project_id}): FiftyOne would add an attribute label_id to all of its labels "
            "for good. FIFTYONE_SYNC_EXISTING_PROJECT=true permits it; or choose another FIFTYONE_SYNC_PROJECT_NAME"
        )
    found.warnings.append(
        f"project {name!r} exists: its labels and attributes are used, the classes and attributes of the settings are not; "
        "labels of classes that it does not have are not sent"
    )
    missing = sorted({str(each) for info in schema.values() for each in class_names(info)} - set(facts.project_labels))
    if missing:
        found.warnings.append(
            f"project {name!r} does not have {plural(len(missing), 'class', 'classes')}: {_some(missing)}"
        )
    kinds = Counter(_COMES_BACK_AS.get(str(info.get("type")), str(info.get("type"))) for info in schema.values())
    doubled = [kind for kind, count in kinds.items() if count > 1]
    if doubled:
        found.problems.append(
            f"an existing project takes one field of each type only, but there are several of {_some(doubled)}: send them in "
            "several rounds"
        )
    for field_name, info in schema.items():
        for attributes in _attribute_sets(info):
            if any(
                isinstance(each, dict) and each.get("type") in ("occluded", "group_id") for each in attributes.values()
            ):
                found.problems.append(
                    f"{field_name}: in an existing project, occluded and group are given by FIFTYONE_SYNC_OCCLUDED_ATTR and "
                    "FIFTYONE_SYNC_GROUP_ID_ATTR"
                )


def class_names(info: Mapping[str, Any]) -> Iterable[Any]:
    """All names of classes of a field's schema, also those in groups with attributes of their own."""
    for each in info.get("classes") or ():
        if isinstance(each, dict):
            inner = each.get("classes") or ()
            yield from [inner] if isinstance(inner, str) else inner
        else:
            yield each
    if info.get("type") == "segmentation":
        yield from (each for value, each in (info.get("mask_targets") or {}).items() if str(value) != "0")


def _attribute_sets(info: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    if isinstance(info.get("attributes"), dict):
        yield info["attributes"]
    for each in info.get("classes") or ():
        if isinstance(each, dict) and isinstance(each.get("attributes"), dict):
            yield each["attributes"]


def _some(names: Sequence[Any]) -> str:
    shown = ", ".join(printable(str(each), 80) for each in names[:5])
    return shown + (", …" if len(names) > 5 else "")


def _is(count: int) -> str:
    return "is" if count == 1 else "are each"
