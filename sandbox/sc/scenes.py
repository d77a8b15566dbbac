"""Annotations: what is refused, what is kept, how a scene is written in each generation.

Shapes are kept in the units they came in: fractions of the picture in SC 1.1, pixels since Geti 1.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from sandbox.sc.answering import bad_request, not_found
from sandbox.sc.generations import Generation
from sandbox.sc.projects import GLOBAL
from sandbox.sc.world import Json, Label, Media, Project, Scene, Task, World

MAX_POINTS = 5000
ROUNDED = frozenset({"RECTANGLE", "ELLIPSE", "POLYGON", "KEYPOINT"})
FIELDS = {
    "RECTANGLE": ("x", "y", "width", "height"),
    "ELLIPSE": ("x", "y", "width", "height"),
    "ROTATED_RECTANGLE": ("x", "y", "width", "height", "angle"),
    "KEYPOINT": ("x", "y"),
}


def take(
    world: World, generation: Generation, project: Project, media: Media, frame: int, raw: Json, *, kind: str = "image"
) -> Scene:
    """The body of POST annotations as the latest scene of this picture; what was there before is replaced."""
    given = raw.get("annotations")
    if not isinstance(given, list):
        raise bad_request("'annotations' is a required property")
    _check_identifier(raw.get("media_identifier"), media, frame, kind)
    extent = (1.0, 1.0) if generation.normalised else (float(media.width), float(media.height))
    kept: list[Json] = []
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("labels"), list):
            raise bad_request("'labels' is a required property of an annotation")
        labels = _labels(project, one["labels"])
        shape = _shape(one.get("shape"), extent, generation.normalised)
        _check_use(project, labels, shape, extent)
        kept.append(
            {
                "id": str(one.get("id") or (world.new_id() if generation.normalised else world.new_uuid())),
                "labels": [
                    {"id": label.id, "probability": float(entry.get("probability", 1.0) or 0.0)}
                    for label, entry in labels
                ],
                "shape": shape,
                "modified": world.now(),
                "labels_to_revisit": list(one.get("labels_to_revisit") or []),
            }
        )
    if len({one["id"] for one in kept}) != len(kept):
        raise bad_request("Annotation IDs must be unique.")
    _check_together(project, kept, extent)
    scene = Scene(world.new_id(), kept, world.now(), list(raw.get("labels_to_revisit_full_scene") or []))
    media.scenes[frame] = scene
    return scene


def _check_identifier(given: Any, media: Media, frame: int, kind: str) -> None:
    if given is None:
        return
    wanted: Json = {"type": "image", "image_id": media.id}
    if kind == "video_frame":
        wanted = {"type": "video_frame", "video_id": media.id, "frame_index": frame}
    if not isinstance(given, dict) or any(given.get(name) != value for name, value in wanted.items()):
        raise bad_request(f"The media identifier {given} does not fit the address of the request.")


def _labels(project: Project, raw: list[Any]) -> list[tuple[Label, Json]]:
    """The labels by id, each with what was sent; ancestors that were left out are added."""
    found: dict[str, tuple[Label, Json]] = {}
    for one in raw:
        label_id = one.get("id") if isinstance(one, dict) else None
        hit = project.task_of(label_id) if isinstance(label_id, str) else None
        if hit is None or hit[1].deleted:
            raise not_found("label", str(label_id))
        task, label = hit
        found[label.id] = (label, one)
        while label.parent_id is not None:
            parent = task.label(label.parent_id)
            assert parent is not None
            found.setdefault(parent.id, (parent, {"probability": one.get("probability", 1.0)}))
            label = parent
    if not found:
        raise bad_request("An annotation needs at least one label.")
    groups: dict[str, str] = {}
    for label, _ in found.values():
        hit = project.task_of(label.id)
        assert hit is not None
        key = f"{hit[0].id}/{label.group}"
        if key in groups:
            raise bad_request(f"Labels '{groups[key]}' and '{label.name}' exclude each other.")
        groups[key] = label.name
    return list(found.values())


def _shape(raw: Any, extent: tuple[float, float], normalised: bool) -> Json:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind == "POLYGON":
        points = raw.get("points")
        if not isinstance(points, list) or not 3 <= len(points) <= MAX_POINTS:
            raise bad_request(f"A polygon has 3 to {MAX_POINTS} points.")
        return {"type": kind, "points": [{axis: _finite(point, axis) for axis in ("x", "y")} for point in points]}
    if kind not in FIELDS:
        raise bad_request(f"'{kind}' is not a shape.")
    shape: Json = {"type": kind} | {name: _finite(raw, name) for name in FIELDS[kind]}
    if kind == "KEYPOINT":
        return shape | {"is_visible": bool(raw.get("is_visible", True))}
    least = 0.0 if normalised else 1.0
    if shape["width"] < least or shape["height"] < least or 0.0 in (shape["width"], shape["height"]):
        raise bad_request(f"Shape {shape} is too small.")
    slack = 1e-6 if normalised else 1.0  # a pixel, as clients round
    if kind == "RECTANGLE":
        inside = (
            shape["x"] >= -1e-9
            and shape["y"] >= -1e-9
            and shape["x"] + shape["width"] <= extent[0] + slack
            and shape["y"] + shape["height"] <= extent[1] + slack
        )
        if not inside:
            raise bad_request(f"Rectangle {shape} is not inside the image of {extent[0]:g} x {extent[1]:g}.")
    if kind == "ELLIPSE":
        right, lower = shape["x"] + shape["width"], shape["y"] + shape["height"]
        if right <= 0 or lower <= 0 or shape["x"] >= extent[0] or shape["y"] >= extent[1]:
            raise bad_request(f"Ellipse {shape} is outside the image.")
    if normalised and kind in ("ELLIPSE", "ROTATED_RECTANGLE") and max(shape["width"], shape["height"]) > 2:
        raise bad_request(f"Shape {shape} is not given in fractions of the image.")
    return shape


def _finite(raw: Any, name: str) -> float:
    value = raw.get(name) if isinstance(raw, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise bad_request(f"'{name}' of a shape must be a number, got {value!r}.")
    return value


def full_box(extent: tuple[float, float]) -> Json:
    return {"type": "RECTANGLE", "x": 0, "y": 0, "width": extent[0], "height": extent[1]}


def _is_full(shape: Json, extent: tuple[float, float]) -> bool:
    return bool(
        shape["type"] == "RECTANGLE"
        and abs(shape["x"]) < 1e-6
        and abs(shape["y"]) < 1e-6
        and abs(shape["width"] - extent[0]) < 1e-6
        and abs(shape["height"] - extent[1]) < 1e-6
    )


def _check_use(project: Project, labels: list[tuple[Label, Json]], shape: Json, extent: tuple[float, float]) -> None:
    """A shape must be one that the tasks of its labels can have."""
    first = project.trainable[0]
    used = {task.id: task for label, _ in labels if (task := _owner(project, label))}
    empty = any(label.is_empty for label, _ in labels)
    if first.id in used and (first.task_type in GLOBAL or (empty and len(used) == 1)) and not _is_full(shape, extent):
        raise bad_request(f"Labels of the task '{first.title}' need the full-image rectangle, got {shape}.")
    for task in used.values():
        if task.task_type == "rotated_detection" and not empty and shape["type"] != "ROTATED_RECTANGLE":
            raise bad_request(f"A rotated detection task needs a ROTATED_RECTANGLE, got {shape['type']}.")
        if (task.task_type == "keypoint_detection") != (shape["type"] == "KEYPOINT") and not empty:
            raise bad_request(f"Shape {shape['type']} does not fit a {task.task_type} task.")
        if task is not first and task.task_type in GLOBAL and first.id not in used:
            raise bad_request(f"A label of '{task.title}' needs one of '{first.title}' on the same shape.")


def _owner(project: Project, label: Label) -> Task | None:
    hit = project.task_of(label.id)
    return hit[0] if hit else None


def _check_together(project: Project, kept: list[Json], extent: tuple[float, float]) -> None:
    """The first task's empty label stands alone."""
    first = project.trainable[0]
    empty = {label.id for label in first.labels if label.is_empty}
    own = {label.id for label in first.labels}
    with_empty = [one for one in kept if any(label["id"] in empty for label in one["labels"])]
    objects = [one for one in kept if any(label["id"] in own - empty for label in one["labels"])]
    if len(with_empty) > 1 or (with_empty and objects):
        raise bad_request("An image with the empty label has no other objects.")


# --- state -----------------------------------------------------------------------------------------------------------


def scene_states(project: Project, scene: Scene | None) -> dict[str, str]:
    """none, partially_annotated, annotated or to_revisit, per trainable task."""
    states = {}
    first, *later = project.trainable
    for task in project.trainable:
        own = {label.id for label in task.labels}
        carrying = [
            one for one in (scene.annotations if scene else []) if own & {label["id"] for label in one["labels"]}
        ]
        states[task.id] = "annotated" if carrying else "none"
        if scene and (set(scene.revisit) & own or any(set(one["labels_to_revisit"]) & own for one in carrying)):
            states[task.id] = "to_revisit"
    if scene and later and states[first.id] != "none":
        states[later[0].id] = _second_state(first, later[0], scene, states[later[0].id])
    return states


def _second_state(first: Task, second: Task, scene: Scene, state: str) -> str:
    own = {label.id for label in second.labels}
    empty = {label.id for label in first.labels if label.is_empty}
    if any(empty & {label["id"] for label in one["labels"]} for one in scene.annotations):
        return "annotated"  # no object, so nothing to look into
    if second.task_type not in GLOBAL or state == "to_revisit":
        return state
    without = [one for one in scene.annotations if not own & {label["id"] for label in one["labels"]}]
    return "partially_annotated" if without and state == "annotated" else state


def media_states(project: Project, media: Media) -> dict[str, str]:
    if media.kind == "image":
        return scene_states(project, media.scenes.get(0))
    all_states = [scene_states(project, scene) for scene in list(media.scenes.values())]
    result = {}
    for task in project.trainable:
        of_task = [states[task.id] for states in all_states if states[task.id] != "none"]
        complete = len(of_task) >= media.frame_count > 0 and set(of_task) == {"annotated"}
        result[task.id] = "none" if not of_task else "annotated" if complete else "partially_annotated"
    return result


# --- writing ---------------------------------------------------------------------------------------------------------


def written_shape(generation: Generation, shape: Json) -> Json:
    """Geti 2 rounds what it answers, rotated rectangles excepted."""
    if not generation.organizations or shape["type"] not in ROUNDED:
        return shape
    if shape["type"] == "POLYGON":
        return {"type": "POLYGON", "points": [{"x": round(p["x"]), "y": round(p["y"])} for p in shape["points"]]}
    return {name: round(value) if name in FIELDS[shape["type"]] else value for name, value in shape.items()}


def written_scene(
    generation: Generation, project: Project, media: Media, frame: int, scene: Scene, *, label_only: bool = False
) -> Json:
    annotations = [
        {
            "id": one["id"],
            "labels": [written_label(generation, project, label) for label in one["labels"]],
            "labels_to_revisit": one["labels_to_revisit"],
            "modified": one["modified"],
            "shape": written_shape(generation, one["shape"]),
        }
        for one in scene.annotations
    ]
    if label_only:
        annotations = [{"labels": one["labels"]} for one in annotations]
    identifier: Json = {"image_id": media.id, "type": "image"}
    if media.kind == "video":
        identifier = {"frame_index": frame, "type": "video_frame", "video_id": media.id}
    return {
        "annotation_state_per_task": [
            {"state": state, "task_id": task_id} for task_id, state in scene_states(project, scene).items()
        ],
        "annotations": annotations,
        "id": scene.id,
        "kind": "annotation",
        "labels_to_revisit_full_scene": scene.revisit,
        "media_identifier": identifier,
        "modified": scene.modified,
    }


def written_label(generation: Generation, project: Project, entry: Json) -> Json:
    hit = project.task_of(entry["id"])
    assert hit is not None
    label = hit[1]
    source: Json = {"id": "N/A", "type": "N/A"}
    if not generation.normalised:
        source = {"user_id": "sc", "model_id": None, "model_storage_id": None}
    return {
        "color": label.color,
        "id": label.id,
        "name": label.name,
        "probability": entry["probability"],
        "source": source,
    }


def objects_per_label(scenes: Iterable[Scene]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for scene in scenes:
        for one in scene.annotations:
            for label in one["labels"]:
                counts[label["id"]] = counts.get(label["id"], 0) + 1
    return counts
