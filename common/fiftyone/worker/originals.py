"""Writes down what FiftyOne held before anything was sent, and which frame of a task is which sample.

Values are taken from the database as they are stored (masks as their compressed bytes), in canonical extended JSON,
so that a value put back later is the same to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from bson import ObjectId, json_util

from common.files import publish

FRAMES = "frames."
READ_AT_ONCE = 200


class NotThisView(ValueError):
    """The kind of view cannot be sent without breaking the law of the round trip."""

    kind = "bad_request"


def write_originals(samples: Any, fields: Mapping[str, Mapping[str, Any]], path: Path) -> int:
    """Writes originals.jsonl for all samples of the view, before anything is sent. Returns the number of lines.

    `fields`: label schema, {field: information}; fields that do not exist yet are written as null.
    Raises NotThisView.
    """
    _refuse_views(samples)
    of_samples = [name for name in fields if not name.startswith(FRAMES)]
    of_frames = [name for name in fields if name.startswith(FRAMES)]
    temporary = path.with_name(f".{path.name}.tmp")
    lines = 0
    with open(temporary, "w", encoding="utf-8") as file:
        for document in documents(samples._dataset, samples.values("id"), of_samples):
            size = size_of(document.get("metadata"))
            sample = str(document["_id"])
            # Also without fields: readers know by it that they have met the sample.
            values = {name: document.get(stored_as(samples._dataset, name)) for name in of_samples}
            file.write(_line(sample, None, None, values, size))
            lines += 1
            for frame in _frames_of(samples._dataset, document["_id"], of_frames):
                values = {name: frame.get(stored_as(samples._dataset, name)) for name in of_frames}
                file.write(_line(sample, frame["frame_number"], str(frame["_id"]), values, size))
                lines += 1
    publish(temporary, path)
    return lines


def write_frames(samples: Any, results: Any, path: Path) -> None:
    """Writes frames.jsonl after annotate(): frame `number` of a task (0-based, as in its annotations) → sample, frame.

    A task's frames count what was sent: with frame_start, frame_stop and frame_step the k-th frame of the task is
    frame start + k * step of the video. Raises NotThisView.
    """
    _refuse_views(samples)
    dataset = samples._dataset
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        for place, task in enumerate(results.task_ids):
            known = results.frame_id_map[task]
            about = _about(dataset, {frame["sample_id"] for frame in known.values()})
            for number, absolute in enumerate(_sent(sorted(known), results.config, place, known, about)):
                frame = known[absolute]
                entry = {
                    "task": task,
                    "number": number,
                    "sample": frame["sample_id"],
                    "frame": absolute + 1 if "frame_id" in frame else None,
                    "frame_id": frame.get("frame_id"),
                    "size": about[frame["sample_id"]][1],
                }
                file.write(json.dumps(entry) + "\n")
    publish(temporary, path)


def documents(dataset: Any, samples: Sequence[str], fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The stored documents of samples, in the order asked for: _id, filepath, metadata and `fields`. Missing: left out."""
    wanted = dict.fromkeys(["filepath", "metadata", *(stored_as(dataset, name) for name in fields)], 1)
    waiting = iter(samples)
    while some := [ObjectId(sample) for sample in islice(waiting, READ_AT_ONCE)]:
        found = {one["_id"]: one for one in dataset._sample_collection.find({"_id": {"$in": some}}, wanted)}
        yield from (found[sample] for sample in some if sample in found)


def stored_as(dataset: Any, path: str) -> str:
    """The key under which a field of samples or frames stands in its document."""
    field = dataset.get_field(path)
    name = path.removeprefix(FRAMES)
    return (field.db_field or name) if field is not None else name


def size_of(metadata: Mapping[str, Any] | None) -> list[int] | None:
    """[width, height] in pixels from an image's or a video's metadata; None: not computed yet."""
    for width, height in (("width", "height"), ("frame_width", "frame_height")):
        if metadata and metadata.get(width) and metadata.get(height):
            return [int(metadata[width]), int(metadata[height])]
    return None


def _frames_of(dataset: Any, sample: Any, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
    if not fields:
        return
    wanted = dict.fromkeys(["frame_number", *(stored_as(dataset, name) for name in fields)], 1)
    yield from dataset._frame_collection.find({"_sample_id": sample}, wanted).sort("frame_number", 1)


def _line(sample: str, frame: int | None, frame_id: str | None, values: Mapping[str, Any], size: Any) -> str:
    # "sample" comes first: readers find out whose line it is without parsing the masks in it.
    entry = {"sample": sample, "frame": frame, "frame_id": frame_id, "size": size}
    told = json_util.dumps(values, json_options=json_util.CANONICAL_JSON_OPTIONS)
    return f'{json.dumps(entry)[:-1]}, "fields": {told}}}\n'


def _about(dataset: Any, samples: Iterable[str]) -> dict[str, tuple[str, list[int] | None]]:
    """{sample: (path of its file, size)}."""
    found = documents(dataset, list(samples), [])
    return {str(one["_id"]): (one["filepath"], size_of(one.get("metadata"))) for one in found}


def _sent(
    absolute: Sequence[int], config: Any, place: int, known: Mapping[int, Any], about: Mapping[str, Any]
) -> Sequence[int]:
    """Those of a task's frames that were sent, as FiftyOne picks them; photographs are all sent."""
    if not absolute or "frame_id" not in known[absolute[0]]:
        return absolute
    path = about[known[absolute[0]]["sample_id"]][0]

    def told(setting: Any) -> int | None:
        if isinstance(setting, (list, tuple)):
            setting = setting[place % len(setting)]
        return setting.get(path) if isinstance(setting, dict) else setting

    start, stop, step = told(config.frame_start) or 0, told(config.frame_stop), told(config.frame_step) or 1
    return [at for at in absolute[start::step] if stop is None or at <= stop]


def _refuse_views(samples: Any) -> None:
    for name in ("_is_clips", "_is_frames", "_is_patches"):
        if getattr(samples, name, False):
            raise NotThisView(f"views of {name.removeprefix('_is_')} are not supported: send the dataset's own samples")
