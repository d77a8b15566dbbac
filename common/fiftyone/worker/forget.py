"""Deletes FiftyOne's record of an annotation run; labels stay."""

from __future__ import annotations

from typing import Any

from common.fiftyone.worker.channel import Tell
from common.fiftyone.worker.marks import is_ours
from common.fiftyone.worker.views import open_dataset


def forget(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"do": "forget", "dataset", "anno_key", "marker", "recorded_at", "look"} -> {"forgotten": whether there was one}.
    Raises Failed.

    A record that is not of the round with this mark and moment stays: it is somebody else's. With `look` all stay.
    """
    import fiftyone as fo

    if not fo.dataset_exists(request["dataset"]):
        return {"forgotten": False}
    dataset = open_dataset(request["dataset"])
    key = request["anno_key"]
    if not dataset.has_annotation_run(key):
        return {"forgotten": False}
    if not is_ours(dataset.get_annotation_info(key), request["marker"], request["recorded_at"]):
        return {"forgotten": False}
    if not request.get("look"):
        dataset.delete_annotation_run(key)
    return {"forgotten": True}
