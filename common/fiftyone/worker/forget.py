"""Deletes FiftyOne's record of an annotation run; labels stay."""

from __future__ import annotations

from typing import Any

from common.fiftyone.worker.channel import Tell
from common.fiftyone.worker.views import open_dataset

# The database keeps milliseconds of a moment that had microseconds when it was noted.
CLOCK_SECONDS = 0.002


def forget(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"do": "forget", "dataset", "anno_key", "since"} -> {"forgotten": whether there was one}. Raises Failed.

    With `since` (seconds since 1970) a record that is older stays: it is somebody else's.
    """
    import fiftyone as fo

    if not fo.dataset_exists(request["dataset"]):
        return {"forgotten": False}
    dataset = open_dataset(request["dataset"])
    key = request["anno_key"]
    if not dataset.has_annotation_run(key):
        return {"forgotten": False}
    since = request.get("since")
    if since is not None and made_at(dataset, key) < float(since) - CLOCK_SECONDS:
        return {"forgotten": False}
    dataset.delete_annotation_run(key)
    return {"forgotten": True}


def made_at(dataset: Any, key: str) -> float:
    """When a run was recorded, in seconds since 1970 (FiftyOne keeps naive UTC)."""
    from datetime import timezone

    moment = dataset.get_annotation_info(key).timestamp
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - this interpreter may be older than 3.11
    return float(moment.timestamp())
