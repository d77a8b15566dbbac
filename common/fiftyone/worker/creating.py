"""Sends samples to CVAT with FiftyOne's `annotate()`, after the labels as they are have been written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import requests

from common.fiftyone.protocol import BAD_REQUEST, SERVER, UNEXPECTED, Failed, one_line
from common.fiftyone.worker.careful import Connection, Making, wrap
from common.fiftyone.worker.channel import Tell
from common.fiftyone.worker.marks import is_ours, moment_of
from common.fiftyone.worker.versions import check_version
from common.fiftyone.worker.views import chosen, open_dataset


def create(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"do": "create", "dataset", "anno_key", "view", "folder", "fields", "marker", "new_project", "connection",
    "annotate": arguments of annotate()} -> {"samples", "originals", "tasks": [{"id", "samples"}], "projects",
    "label_schema", "classes"}. Raises Failed.

    Events: originals_written, project_made, task_made (id, name), uploading, … Of what fails, FiftyOne's record of the
    run is deleted here; tasks and the project are the product's to remove: it must, when this process is killed.
    """
    check_version()
    from common.fiftyone.worker.originals import write_frames, write_originals

    dataset = open_dataset(request["dataset"])
    key, folder = request["anno_key"], Path(request["folder"])
    if dataset.has_annotation_run(key):
        raise Failed(BAD_REQUEST, f"dataset {dataset.name!r} already has an annotation run {key!r}")
    samples, _ = chosen(dataset, request["view"])
    connection = Connection(**request["connection"])
    making = Making(request["marker"], request["new_project"])
    wrap(connection, making, tell)
    count = write_originals(samples, request["fields"], folder / "originals.jsonl")
    tell("originals_written", lines=count)
    try:
        results = samples.annotate(key, **arguments(request["annotate"], connection))
        write_frames(samples, results, folder / "frames.jsonl")
        return {
            "samples": len(samples),
            "originals": count,
            "recorded_at": moment_of(dataset.get_annotation_info(key)),
            "tasks": [
                {"id": int(task), "samples": len({each["sample_id"] for each in results.frame_id_map[task].values()})}
                for task in results.task_ids
            ],
            "projects": [int(each) for each in results.project_ids],
            "label_schema": plain(results.config.label_schema),
            "classes": making.classes,
        }
    except BaseException as error:
        if dataset.has_annotation_run(key) and is_ours(dataset.get_annotation_info(key), making.marker):
            dataset.delete_annotation_run(key)
            tell("record_deleted")
        if isinstance(error, (Failed, KeyboardInterrupt, SystemExit)):
            raise
        if isinstance(error, requests.exceptions.JSONDecodeError):
            raise Failed(SERVER, "CVAT's answer is damaged: something in the way may cut it off") from error
        if isinstance(error, ValueError):
            raise Failed(BAD_REQUEST, f"FiftyOne says: {one_line(str(error))}") from error
        if isinstance(error, MemoryError):
            raise Failed(
                UNEXPECTED, "there is not enough memory for one task: lower FIFTYONE_SYNC_TASK_SIZE"
            ) from error
        raise


def arguments(wanted: dict[str, Any], connection: Connection) -> dict[str, Any]:
    """The arguments of annotate(). The credentials are given with every call, as texts.

    What FiftyOne takes from FIFTYONE_CVAT_… it makes numbers and lists of: a password of digits would not be one.
    """
    organization = connection.organization if connection.organization != "@personal" else ""
    given = {
        "backend": "cvat", "url": connection.url, "username": connection.username, "password": connection.password,
        "email": connection.email or None, "organization": organization or None, **wanted,
    }  # fmt: skip
    for info in (given.get("label_schema") or {}).values():
        if info.get("mask_targets"):
            info["mask_targets"] = {_pixel(value): name for value, name in info["mask_targets"].items()}
    return given


def _pixel(value: str) -> int | str:
    """A pixel value of mask targets: JSON knows texts only. Colours (#rrggbb) stay texts."""
    return int(value) if value.lstrip("-").isdigit() else value


def plain(content: Any) -> Any:
    """Something of FiftyOne's as plain JSON data."""
    return json.loads(json.dumps(content, default=str))
