"""Videos of which every n-th frame was sent: a track made in CVAT is also on the frames between those it was drawn on.

So that tracks can be looked at frame by frame of the video, frames are counted n times as finely as the task counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bson import ObjectId

from common.fiftyone.worker.task_files import Frame


def step_of(frames: Sequence[Frame]) -> int:
    """How many frames of the video one frame of the task stands for; 1 for photographs."""
    first, second = (frames[0].frame, frames[1].frame) if len(frames) > 1 else (None, None)
    if first is None or second is None or frames[0].sample != frames[1].sample:
        return 1
    return max(1, second - first)


def finer(dataset: Any, frames: Sequence[Frame], step: int) -> list[Frame]:
    """The task's frames and those between them that are in the dataset, counted `step` times as finely."""
    if step == 1:
        return list(frames)
    by_video_frame = {frame.frame: replace(frame, number=frame.number * step) for frame in frames}
    first, last = frames[0], frames[-1]
    query = {"_sample_id": ObjectId(first.sample), "frame_number": {"$gt": first.frame, "$lt": last.frame}}
    for found in dataset._frame_collection.find(query, {"frame_number": 1}):
        number = int(found["frame_number"])
        if number not in by_video_frame and first.frame is not None:
            at = first.number * step + number - first.frame
            by_video_frame[number] = Frame(at, first.sample, number, str(found["_id"]), first.size)
    return sorted(by_video_frame.values(), key=lambda frame: frame.number)


def counted_finer(content: Mapping[str, Any], step: int) -> Mapping[str, Any]:
    """What the server told of a task, with its frames counted `step` times as finely."""
    if step == 1:
        return content
    annotations = {
        kind: [_moved(one, step) for one in content["annotations"].get(kind) or []]
        for kind in ("tags", "shapes", "tracks")
    }
    meta = dict(content.get("meta") or {})
    meta["deleted_frames"] = [int(number) * step for number in meta.get("deleted_frames") or []]
    return {**content, "annotations": annotations, "meta": meta}


def _moved(one: Mapping[str, Any], step: int) -> dict[str, Any]:
    told = {**one, "frame": int(one["frame"]) * step}
    if "shapes" in one:
        told["shapes"] = [_moved(shape, step) for shape in one["shapes"] or []]
    return told
