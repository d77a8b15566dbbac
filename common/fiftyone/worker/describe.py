"""What a dataset is like, as far as the checks before an upload need it. Nothing is changed but missing metadata."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common.fiftyone.worker.channel import Tell
from common.fiftyone.worker.marks import moment_of
from common.fiftyone.worker.versions import installed_version
from common.fiftyone.worker.views import chosen, open_dataset

MOST_NAMES = 10
MOST_CLASSES = 2000


def describe(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"do": "describe", "dataset", "view", "fields": names, "task_size", "files": whether to look at the files} ->

    {"fiftyone", "exists"} and, of a dataset that exists, "media_type", "persistent", "samples", "field_names",
    "runs": {key: seconds since 1970}, "view": see `of_view`, "fields": {name: see `of_field`}. Raises Failed.
    """
    import fiftyone as fo

    found: dict[str, Any] = {"fiftyone": installed_version(), "exists": fo.dataset_exists(request["dataset"])}
    if not found["exists"]:
        return {**found, "datasets": sorted(fo.list_datasets())[:MOST_NAMES]}
    dataset = open_dataset(request["dataset"])
    found.update(
        media_type=dataset.media_type,
        persistent=bool(dataset.persistent),
        samples=len(dataset),
        runs={key: moment_of(dataset.get_annotation_info(key)) for key in dataset.list_annotation_runs()},
        field_names=sorted(dataset.get_field_schema(flat=False)),
    )
    if dataset.media_type in ("image", "video"):
        view, missing = chosen(dataset, request.get("view") or {})
        found["view"] = of_view(view, missing, request, tell)
        found["fields"] = {name: of_field(view, name) for name in request.get("fields") or ()}
        found["mask_targets"] = {
            name: bool(dataset.mask_targets.get(name) or dataset.default_mask_targets) for name in found["fields"]
        }
    return found


def of_view(view: Any, missing: list[str], request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"samples", "missing_ids", "uploads": bytes of each task, "gone": paths that are no files, "unreadable": paths
    without metadata, "frames": the most frames of a video}; the lists of paths end after ten, "…_count" counts all."""
    found: dict[str, Any] = {"samples": len(view), "missing_ids": missing[:MOST_NAMES], "missing_count": len(missing)}
    if not request.get("files"):
        return found
    tell("looking_at_files", samples=found["samples"])
    paths = view.values("filepath")
    sizes: list[int | None] = []
    for path in paths:
        try:
            sizes.append(Path(path).stat().st_size)
        except OSError:
            sizes.append(None)
    gone = [path for path, size in zip(paths, sizes) if size is None]  # noqa: B905 - both are of one view
    unreadable = []
    if not gone:
        view.compute_metadata(skip_failures=True, warn_failures=False, progress=False)
        width = "metadata.frame_width" if view.media_type == "video" else "metadata.width"
        unreadable = [path for path, known in zip(paths, view.values(width)) if not known]  # noqa: B905
    step = 1 if view.media_type == "video" else int(request.get("task_size") or 0) or max(1, len(paths))
    found["uploads"] = [sum(size or 0 for size in sizes[at : at + step]) for at in range(0, len(sizes), step)]
    found.update(gone=gone[:MOST_NAMES], gone_count=len(gone))
    found.update(unreadable=unreadable[:MOST_NAMES], unreadable_count=len(unreadable))
    if view.media_type == "video" and not unreadable:
        found["frames"] = max((int(each or 0) for each in view.values("metadata.total_frame_count")), default=0)
    return found


def of_field(view: Any, name: str) -> dict[str, Any]:
    """{"exists"} and, of one that exists: "kind" (Detections, IntField, …), "labels", "classes", and what can be in the
    way: "masks", "filled", "tracks", "nan_points", "parts_in_tracks": polylines of several parts that are in tracks."""
    field = view.get_field(name)
    if field is None:
        return {"exists": False}
    label_class = getattr(field, "document_type", None)
    if label_class is None:
        return {"exists": True, "kind": type(field).__name__, "labels": view.count(name)}
    kind = label_class.__name__
    inner = {
        "Detections": "detections", "Polylines": "polylines", "Keypoints": "keypoints",
        "Classifications": "classifications",
    }.get(kind)  # fmt: skip
    path = f"{name}.{inner}" if inner else name
    found: dict[str, Any] = {"exists": True, "kind": kind}
    if kind == "Segmentation":
        return {**found, "labels": view.count(name)}
    found["labels"] = view.count(f"{path}.id")
    found["classes"] = [each for each in view.distinct(f"{path}.label") if each is not None][:MOST_CLASSES]
    if kind in ("Detection", "Detections"):
        found["masks"] = _count_masks(view, path)
    if kind in ("Polyline", "Polylines"):
        found["filled"] = view.count_values(f"{path}.filled").get(True, 0)
    if kind in ("Keypoint", "Keypoints"):
        found["nan_points"] = sum(_has_nan(points) for points in _flat(view.values(f"{path}.points", unwind=False)))
    if name.startswith("frames.") and kind not in ("Classification", "Classifications"):
        found["tracks"] = view.count(f"{path}.index")
        if kind in ("Polyline", "Polylines"):
            found["parts_in_tracks"] = _count_parts_in_tracks(view, name, path)
    return found


def _count_masks(view: Any, path: str) -> int:
    from fiftyone import ViewField as F

    has_one = (F("mask") != None) | (F("mask_path") != None)  # noqa: E711 - an expression, not a comparison
    inner = view.get_field(path)
    if type(inner).__name__ == "ListField":
        return int(view.filter_labels(path.rsplit(".", 1)[0], has_one).count(f"{path}.id"))
    return int(view.filter_labels(path, has_one).count(f"{path}.id"))


def _count_parts_in_tracks(view: Any, name: str, path: str) -> int:
    from fiftyone import ViewField as F

    several = (F("index") != None) & (F("points").length() > 1)  # noqa: E711 - an expression, not a comparison
    return int(view.filter_labels(name, several).count(f"{path}.id"))


def _flat(values: Any) -> Iterable[Any]:
    """The lists of points in however many lists of samples, frames and labels: a point is a list of two numbers."""
    if not isinstance(values, (list, tuple)):
        return
    if values and _is_point(values[0]):
        yield values
        return
    for each in values:
        yield from _flat(each)


def _is_point(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and not isinstance(value[0], (list, tuple))


def _has_nan(points: Any) -> bool:
    return any(
        number is None or (isinstance(number, float) and math.isnan(number)) for point in points for number in point
    )
