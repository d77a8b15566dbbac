"""Coordinates between generations: SC counts in fractions of the image (0 to 1), Geti in pixels.

Both ways are exact: a pixel that becomes a fraction and a pixel again is the same number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = dict[str, Any]
# What a double may be off after a division and a multiplication; nearer to a whole number means that number.
_NEAR = 1e-6
_ACROSS, _DOWN = ("x", "width"), ("y", "height")


def _scaled(shape: Mapping[str, Any], across: float, down: float, tidy: bool) -> Shape:
    def times(value: Any, factor: float) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        found = value * factor
        if tidy and abs(found - round(found)) < _NEAR:
            return round(found)
        return found

    result: Shape = {}
    for key, value in shape.items():
        if key in _ACROSS:
            result[key] = times(value, across)
        elif key in _DOWN:
            result[key] = times(value, down)
        elif key == "points" and isinstance(value, list):
            result[key] = [_scaled(point, across, down, tidy) for point in value]
        else:
            result[key] = value
    return result


def to_pixels(shape: Mapping[str, Any], width: int, height: int) -> Shape:
    """A normalised shape in pixels of an image of this size (pixels)."""
    return _scaled(shape, width, height, tidy=True)


def to_fractions(shape: Mapping[str, Any], width: int, height: int) -> Shape:
    """A shape in pixels as fractions of an image of this size (pixels)."""
    # A division, not a multiplication by the inverse: n/n is 1 exactly.
    result: Shape = {}
    for key, value in shape.items():
        if key == "points" and isinstance(value, list):
            result[key] = [to_fractions(point, width, height) for point in value]
        elif key in (*_ACROSS, *_DOWN) and isinstance(value, int | float):
            result[key] = value / (width if key in _ACROSS else height)
        else:
            result[key] = value
    return result


def converted(
    shape: Mapping[str, Any], width: int, height: int, *, from_normalised: bool, to_normalised: bool
) -> Shape:
    """A shape for a server of the other kind, or unchanged. Raises ValueError where the size of the image is unknown."""
    if from_normalised == to_normalised:
        return dict(shape)
    if width <= 0 or height <= 0:
        raise ValueError("the size of the image is unknown: coordinates cannot be converted")
    return to_fractions(shape, width, height) if to_normalised else to_pixels(shape, width, height)


def is_whole_image(shape: Mapping[str, Any], width: int, height: int, *, normalised: bool) -> bool:
    """Whether it is the rectangle that stands for the image itself: what global labels and empty labels hang on."""
    if shape.get("type") != "RECTANGLE":
        return False
    across, down = (1, 1) if normalised else (width, height)
    wanted = {"x": 0, "y": 0, "width": across, "height": down}
    return all(abs(float(shape.get(key, -1)) - value) < 1e-9 for key, value in wanted.items())


def look_normalised(shapes: list[Mapping[str, Any]]) -> bool | None:
    """Whether shapes of unknown origin are fractions: None when they could be either.

    Pixel shapes of any image reach beyond 1, except those in its first corner.
    """
    seen_fraction = False
    for shape in shapes:
        numbers = [shape[key] for key in (*_ACROSS, *_DOWN) if isinstance(shape.get(key), int | float)]
        for point in shape.get("points") or []:
            numbers += [point[key] for key in ("x", "y") if isinstance(point.get(key), int | float)]
        if any(number > 1.0001 for number in numbers):
            return False
        seen_fraction = seen_fraction or any(number != int(number) for number in numbers)
        if shape.get("type") == "RECTANGLE" and (shape.get("width"), shape.get("height")) == (1, 1):
            seen_fraction = True  # no rectangle of one pixel is drawn by hand, every image has its whole
    return True if seen_fraction else None


def same(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float) -> bool:
    """Whether two shapes are the same up to this much in each coordinate (servers round to whole pixels)."""
    if one.get("type") != other.get("type"):
        return False
    if "points" in one or "points" in other:
        first, second = one.get("points") or [], other.get("points") or []
        return len(first) == len(second) and all(
            same({**a, "type": ""}, {**b, "type": ""}, tolerance) for a, b in zip(first, second, strict=True)
        )
    for key in (*_ACROSS, *_DOWN, "angle"):
        if (key in one) != (key in other):
            return False
        if key in one and abs(float(one[key]) - float(other[key])) > tolerance:
            return False
    return bool(one.get("is_visible", True)) == bool(other.get("is_visible", True))
