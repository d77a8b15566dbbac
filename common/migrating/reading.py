"""Datasets of other tools, read by datumaro: COCO, Pascal VOC, YOLO, Datumaro, CVAT, folder per class and more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.exits import Trouble
from common.files import is_there
from common.migrating.pictures import Figure, Keypoints, Picture

# What people call a format: datumaro's name of it.
FORMATS = {"folders": "imagenet", "folder-per-class": "imagenet", "pascal": "voc", "pascal_voc": "voc"}


class NoDataset(Trouble):
    """The dataset cannot be read; the text says why."""


class NoReader(NoDataset):
    """datumaro is not installed."""

    remedy = (
        "Install it with: .venv/bin/pip install -r requirements-datasets.txt (or pip install 'cvat-backups[datasets]')."
    )


@dataclass
class ReadDataset:
    """A dataset that is open: its labels, its keypoints if it has any, and its pictures one by one."""

    labels: list[str]
    keypoints: Keypoints | None
    _dataset: Any

    def pictures(self) -> Iterator[Picture]:
        """Every item; of those without an image file the path leads nowhere. Two subsets may hold the same name: both come."""
        import datumaro.components.annotation as forms

        for item in self._dataset:
            path = Path(getattr(item.media, "path", None) or "")
            figures = [made for each in item.annotations for made in _figures(forms, each, self.labels)]
            yield Picture(path, path.stem or str(item.id), tuple(figures))


def read_dataset(path: Path, data_format: str = "") -> ReadDataset:
    """Opens a dataset; without a format it is found out. Raises NoDataset."""
    try:
        import datumaro
        from datumaro.components.annotation import AnnotationType
    except ImportError:
        raise NoReader("datumaro, which reads datasets, is not installed") from None
    if not is_there(path):
        raise NoDataset(f"{path} is not there")
    name = FORMATS.get(data_format.lower(), data_format.lower()) or None
    try:
        name = name or _found_out(datumaro.Environment().detect_dataset(str(path)))
        dataset = datumaro.Dataset.import_from(str(path), name)
        categories = dataset.categories()
    except Exception as error:  # noqa: BLE001 - its readers raise whatever their parsers raise
        raise NoDataset(f"{path} cannot be read as {name or 'any known format'}: {_reasons(error)}") from None
    found = categories.get(AnnotationType.label)
    labels = [each.name for each in found.items] if found is not None else []
    points = categories.get(AnnotationType.points)
    keypoints = None
    if points is not None and points.items:
        first = next(iter(points.items.values()))
        joints = sorted(tuple(sorted(int(each) for each in joint)) for joint in first.joints)
        # COCO counts joints from 1.
        offset = 1 if joints and max(max(each) for each in joints) >= len(first.labels) else 0
        keypoints = Keypoints(tuple(first.labels), tuple((a - offset, b - offset) for a, b in joints))
    return ReadDataset(labels, keypoints, dataset)


def _reasons(error: BaseException) -> str:
    """What a reader says, and the innermost reason of it: the rest are layers around it."""
    inner = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    said, reason = (str(each).rstrip(".") or type(each).__name__ for each in (error, inner))
    return said if inner is error or reason in said else f"{said}: {reason}"


def _found_out(matches: list[str]) -> str | None:
    """The format of a dataset: the plain one where only its own variants fit as well (voc beside voc_detection)."""
    plainest = min(matches, key=len, default=None)
    if plainest is None or not all(each == plainest or each.startswith(f"{plainest}_") for each in matches):
        return None
    return plainest


def _figures(forms: Any, annotation: Any, labels: list[str]) -> Iterator[Figure]:
    index = getattr(annotation, "label", None)
    if index is None or not 0 <= int(index) < len(labels):
        return
    label, group = labels[int(index)], int(getattr(annotation, "group", 0) or 0)
    match annotation:
        case forms.RotatedBbox():
            values = (annotation.cx, annotation.cy, annotation.w, annotation.h, annotation.r)
            yield Figure("rotated", label, _numbers(values), group=group)
        case forms.Ellipse():
            yield Figure("ellipse", label, _numbers(annotation.get_bbox()), group=group)
        case forms.Bbox():
            yield Figure("rectangle", label, _numbers(annotation.get_bbox()), group=group)
        case forms.Polygon():
            yield Figure("polygon", label, _numbers(annotation.points), group=group)
        case forms.Points():
            visible = tuple(int(each) == 2 for each in annotation.visibility)
            yield Figure("points", label, _numbers(annotation.points), visible, group)
        case forms.Mask():
            yield from _polygons_of_mask(annotation, label, group)
        case forms.Label():
            yield Figure("tag", label, group=group)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(each) for each in values)


def _polygons_of_mask(mask: Any, label: str, group: int) -> Iterator[Figure]:
    """The outlines of a mask; holes are filled: no polygon of the server has any."""
    import cv2
    import numpy

    contours, _ = cv2.findContours(
        numpy.ascontiguousarray(mask.image, dtype=numpy.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    for contour in contours:
        if len(contour) >= 3:
            yield Figure("polygon", label, _numbers(contour.reshape(-1)), group=group)
