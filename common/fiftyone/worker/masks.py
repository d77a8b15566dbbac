"""Masks of FiftyOne as arrays: from the database's bytes or a file, pixels changed, and back into bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import fiftyone.core.utils as fou
import numpy as np

from common.fiftyone.geometry import (
    Edges,
    Row,
    edges,
    ellipse,
    mask_rows,
    moved_box,
    new_box,
    pairs,
    relative,
    rows_box,
)
from common.fiftyone.things import Thing


def array_of(label: Mapping[str, Any]) -> Any:
    """A label's mask, from the database or else from its file; None: it has none. Raises OSError, ValueError."""
    if label.get("mask") is not None:
        return fou.deserialize_numpy_array(bytes(label["mask"]))
    if label.get("mask_path"):
        import fiftyone.core.labels as fol

        kind = fol.Segmentation if label.get("_cls") == "Segmentation" else fol.Detection
        return np.array(kind(mask_path=label["mask_path"]).get_mask())
    return None


def bytes_of(array: Any) -> bytes:
    """The stored form of an array."""
    return bytes(fou.serialize_numpy_array(array))


def rows_of(thing: Thing, size: tuple[int, int]) -> list[Row]:
    """The pixels that a mask, polygon or ellipse covers, as rows of the frame."""
    if thing.shape == "mask":
        return [
            (y, max(0, start), min(size[0], stop))
            for y, start, stop in mask_rows(thing.points)
            if 0 <= y < size[1] and start < size[0] and stop > 0
        ]
    flat = ellipse(thing.points, thing.rotation) if thing.shape == "ellipse" else thing.points
    if thing.shape == "rectangle":
        left, top, right, bottom = thing.points[:4]
        flat = [left, top, right, top, right, bottom, left, bottom]
    return _rows_of_array(_filled(pairs(flat), size))


def paint(array: Any, rows: Sequence[Row], value: Any) -> None:
    for y, start, stop in rows:
        array[y, start:stop] = value


def instance(thing: Thing, size: tuple[int, int]) -> dict[str, Any] | None:
    """bounding_box and mask of a new instance; None: it has no pixel. Polygons as FiftyOne makes masks of polylines."""
    if thing.shape in ("polygon", "ellipse"):
        import fiftyone.core.labels as fol

        flat = ellipse(thing.points, thing.rotation) if thing.shape == "ellipse" else thing.points
        polyline = fol.Polyline(label="", points=[relative(flat, size)], closed=True, filled=True)
        detection = polyline.to_detection(frame_size=size)
        return {"bounding_box": [float(one) for one in detection.bounding_box], "mask": bytes_of(detection.mask)}
    rows = rows_of(thing, size)
    box = rows_box(rows)
    if box is None:
        return None
    return {"bounding_box": new_box(box, size), "mask": bytes_of(_cut_out(rows, box, np.dtype(bool), True))}


def edited_instance(
    original: Mapping[str, Any], before: Thing, now: Thing, size: tuple[int, int]
) -> dict[str, Any] | None:
    """bounding_box and mask of an instance whose mask was edited; None: no pixel is left.

    As long as the pixels stay within the box that was sent, the box is left alone; where the array had one element for
    each pixel, only the elements of edited pixels change. The array keeps its type and the value that means "set".
    """
    rows, was_rows = rows_of(now, size), rows_of(before, size)
    tight = rows_box(rows)
    if tight is None:
        return None
    array = array_of(original)
    kind, value = (np.dtype(bool), True) if array is None else (array.dtype, array.max() if array.any() else 1)
    was = edges("mask", before.points) if before.shape == "mask" else rows_box(was_rows)
    inside = was is not None and was[0] <= tight[0] and was[1] <= tight[1] and was[2] >= tight[2] and was[3] >= tight[3]
    if was is None or original.get("bounding_box") is None:
        return {"bounding_box": new_box(tight, size), "mask": bytes_of(_cut_out(rows, tight, kind, value))}
    if not inside:
        box = moved_box(original["bounding_box"], was, tight, size)
        return {"bounding_box": box, "mask": bytes_of(_cut_out(rows, tight, kind, value))}
    changed = _cut_out(rows, was, kind, value)
    if array is not None and array.shape == changed.shape:
        edited = _cut_out(rows, was, np.dtype(bool), True) != _cut_out(was_rows, was, np.dtype(bool), True)
        changed = np.where(edited, changed, array)
    return {"bounding_box": list(original["bounding_box"]), "mask": bytes_of(changed)}


def targets(mask_targets: Mapping[Any, str]) -> dict[str, Any]:
    """{class: its pixel value, a number or (red, green, blue)}."""
    found: dict[str, Any] = {}
    for key, name in mask_targets.items():
        text = str(key)
        if text.startswith("#"):
            found.setdefault(str(name), tuple(int(text[at : at + 2], 16) for at in (1, 3, 5)))
        elif int(text) != 0:
            found.setdefault(str(name), int(text))
    return found


def empty_segmentation(size: tuple[int, int], values: Mapping[str, Any]) -> Any:
    """An array for a frame that had no segmentation, in the smallest type that holds the values."""
    if any(isinstance(value, tuple) for value in values.values()):
        return np.zeros((size[1], size[0], 3), np.uint8)
    return np.zeros((size[1], size[0]), np.min_scalar_type(max([1, *values.values()])))


def repainted(
    shape: Sequence[int],
    before: Sequence[tuple[Thing, Any]],
    after: Sequence[tuple[Thing, Any]],
    size: tuple[int, int],
) -> list[tuple[Row, Any]]:
    """The elements of a segmentation's array that changed and their new values, [(row of the array, value)].

    `before` and `after`: things in drawing order with their pixel values. A pixel that nothing covers any more becomes
    background. An array of another size than the frame takes the pixel in the middle of each of its elements.
    """
    values: list[Any] = [0]
    was, now = (np.zeros((size[1], size[0]), np.int32) for _ in range(2))
    for canvas, things in ((was, before), (now, after)):
        for thing, value in things:
            if value not in values:
                values.append(value)
            paint(canvas, rows_of(thing, size), values.index(value))
    height, width = shape[:2]
    if (width, height) != size:
        ys = ((np.arange(height) + 0.5) * size[1] / height).astype(int).clip(0, size[1] - 1)
        xs = ((np.arange(width) + 0.5) * size[0] / width).astype(int).clip(0, size[0] - 1)
        was, now = was[np.ix_(ys, xs)], now[np.ix_(ys, xs)]
    differs = was != now
    found = []
    for place in np.unique(now[differs]):
        found += [(row, values[place]) for row in _rows_of_array(differs & (now == place))]
    return found


def put_back(array: Any, original: Any, rows: Sequence[Row]) -> None:
    """Gives elements the value they had in the original array."""
    for y, start, stop in rows:
        array[y, start:stop] = original[y, start:stop]


def polygon_parts(thing: Thing, size: tuple[int, int]) -> list[list[list[float]]]:
    """The outlines of a mask, relative to the frame, as FiftyOne makes polylines of masks."""
    import fiftyone.core.labels as fol

    rows = rows_of(thing, size)
    box = rows_box(rows)
    if box is None:
        return []
    mask = _cut_out(rows, box, np.dtype(bool), True)
    polyline = fol.Detection(label="", bounding_box=new_box(box, size), mask=mask).to_polyline(tolerance=2, filled=True)
    return [[[float(x), float(y)] for x, y in part] for part in polyline.points]


def _cut_out(rows: Sequence[Row], box: Edges, kind: Any, value: Any) -> Any:
    left, top, right, bottom = (round(edge) for edge in box)
    array = np.zeros((bottom - top, right - left), kind)
    for y, start, stop in rows:
        if top <= y < bottom:
            array[y - top, max(0, start - left) : max(0, stop - left)] = value
    return array


def _filled(corners: Sequence[tuple[float, float]], size: tuple[int, int]) -> Any:
    """The pixels of a polygon whose middles lie inside of it (even-odd); at least those that it passes through."""
    import cv2

    canvas = np.zeros((size[1], size[0]), np.uint8)
    # Points lie on the corners of pixels, OpenCV's on their middles: half a pixel up and left, in 1/256 of a pixel.
    points = np.round((np.array(corners, float).reshape(-1, 2) - 0.5) * 256).astype(np.int32)
    cv2.fillPoly(canvas, [points], 1, shift=8)
    return canvas.astype(bool)


def _rows_of_array(array: Any) -> list[Row]:
    rows: list[Row] = []
    for y in np.flatnonzero(array.any(axis=1)):
        line = np.diff(np.concatenate(([0], array[y].astype(np.int8), [0])))
        for start, stop in zip(np.flatnonzero(line == 1), np.flatnonzero(line == -1), strict=True):
            rows.append((int(y), int(start), int(stop)))
    return rows
