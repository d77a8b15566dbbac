"""Whether what a file of a folder says is what this program, or geti-sdk, writes: files are edited and damaged too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def wrong_with_project(found: Any) -> str:
    """What of a project.json is not as it should be; "" where all is."""
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or not found["name"]:
        return "it names no project"
    pipeline = found.get("pipeline")
    if not isinstance(pipeline, dict):
        return "it has no pipeline"
    if not _rows(pipeline.get("tasks"), ("title", "task_type")):
        return "its tasks are not a list with titles and types"
    if not _rows(pipeline.get("connections"), ("from", "to")):
        return "its connections are not a list of from and to"
    if not _rows(found.get("datasets") or [], ("name",)):
        return "its datasets are not a list with names"
    for task in pipeline["tasks"]:
        if not _rows(task.get("labels") or [], ("name",)):
            return f"the labels of task {task['title']!r} are not a list with names"
    return ""


def wrong_with_scene(found: Any) -> str:
    """What of the annotations of an image or frame is not as it should be; "" where all is."""
    annotations = found.get("annotations") if isinstance(found, dict) else None
    if not isinstance(annotations, list):
        return "it is no list of annotations"
    for each in annotations:
        shape = each.get("shape") if isinstance(each, dict) else None
        if not isinstance(shape, dict) or not isinstance(shape.get("type"), str):
            return "an annotation has no shape"
        if not _rows(each.get("labels") or [], ()):
            return "the labels of an annotation are no list"
    return ""


def is_entry(row: Any) -> bool:
    """Whether a line of media.jsonl has values of the kinds that an Entry has."""
    if not isinstance(row, dict) or row.get("kind") not in ("image", "video"):
        return False
    for key, value in row.items():
        wanted: Any = str
        if key in ("size_bytes", "width", "height", "frame_count", "shapes"):
            wanted = int
        elif key in ("scenes", "predictions"):
            wanted = dict
        elif key == "gone":
            wanted = bool
        if not isinstance(value, wanted) and not (key == "scenes" and value is None):
            return False
    return all(isinstance(sha256, str) for key in ("scenes", "predictions") for sha256 in (row.get(key) or {}).values())


def _rows(found: Any, texts: Iterable[str]) -> bool:
    return isinstance(found, list) and all(
        isinstance(each, dict) and all(isinstance(each.get(key), str) for key in texts) for each in found
    )
