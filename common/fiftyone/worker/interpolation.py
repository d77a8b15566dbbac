"""How a track's shapes move between keyframes: FiftyOne's own way, which it has from CVAT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.fiftyone.things import Thing, linear


def between(left: Thing, right: Thing) -> list[tuple[int, Sequence[float]]]:
    """The points on each frame between two keyframes."""
    if left.shape not in ("polygon", "polyline", "points"):
        return list(linear(left, right))
    from fiftyone.utils.cvat import _get_interpolated_shapes

    told = _get_interpolated_shapes([_shape(left), {**_shape(right), "outside": True}])
    return [(int(shape["frame"]), [float(one) for one in shape["points"]]) for shape in told if not shape["keyframe"]]


def _shape(thing: Thing) -> dict[str, Any]:
    return {
        "type": thing.shape,
        "frame": thing.frame,
        "points": list(thing.points),
        "outside": False,
        "attributes": [],
    }
