"""Brings what people did in CVAT into FiftyOne, and takes it back: the requests `load` and `undo`.

The law: what nobody touched in CVAT stays as it is, to the bit; what was touched changes only in what was touched.
The parent has written baseline/ and current/ of the tasks into the run's folder (common/annotating/state.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import fiftyone as fo

from common.fiftyone.permissions import permissions_of
from common.fiftyone.schema import fields_of
from common.fiftyone.worker import dataset_fields
from common.fiftyone.worker.counting import MISSING_TOLD, Counts
from common.fiftyone.worker.originals import FRAMES
from common.fiftyone.worker.records import Records, unchanged, value_hash
from common.fiftyone.worker.skipped_frames import counted_finer, finer, step_of
from common.fiftyone.worker.task_files import Frame, OriginalValues, held_by, tasks_of
from common.fiftyone.worker.task_merge import IGNORE, KEEP, REFUSE, Run, TaskMerge, UnexpectedRefused

# tell("task_loaded", task=7, done=1, of=3)
Tell = Callable[..., None]
PUT_BACK_AT_ONCE = 200


class BadRequest(ValueError):
    """The request cannot be carried out."""

    kind = "bad_request"


def load(request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Merges the tasks named in the request, one after the other. Nothing is changed that was not saved before.

    Returns {"fields": {field: counts}, "deleted_frames": […], "missing": […], "missing_count", "not_placed" and "not_held"
    ({task: how many edits are in CVAT only}), "renamed": {class: its new name in CVAT}, "saved": file or null}.
    Raises BadRequest, UnexpectedRefused, FieldRefused, and what the database raises.
    """
    folder = Path(request["folder"])
    records = Records(folder)
    run = _run(request, records)
    wanted = {int(task) for task in request["tasks"]}
    if run.unexpected == REFUSE:
        _refuse_unexpected(replace(run, counts=Counts([])), folder, wanted)
    records.begin()
    done = 0
    renamed: dict[str, str] = {}
    for merge in _merges(run, folder, wanted):
        run.counts.task = merge.task
        renamed |= merge.renamed
        merge.apply()
        done += 1  # noqa: SIM113 - enumerate would hold on to the last one
        tell("task_loaded", task=merge.task, done=done, of=len(wanted))
        del merge  # before the next one is read: two tasks at once would be twice the memory
    saved = records.saved_path
    records.finish()
    return {
        "fields": run.counts.told(),
        "deleted_frames": run.counts.deleted_frames,
        "missing": run.counts.missing,
        "missing_count": run.counts.missing_count,
        **run.counts.left_behind(),
        "renamed": renamed,
        "saved": str(saved.relative_to(folder)) if saved else None,
    }


def undo(request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Puts back what the newest load replaced, one that was killed half way included, and forgets that load.

    A value that is not what the load wrote was changed by somebody since: it stays, and is told. What is replaced is kept
    in a file first. Returns {"undone": its stamp or null, "put_back": values, "missing": values whose sample is gone,
    "changed_since": [{sample, field}], "changed_count", "saved": file}.
    """
    records = Records(Path(request["folder"]))
    newest = records.newest()
    if newest is None:
        return {"undone": None, "put_back": 0, "missing": 0, "saved": None}
    dataset = _dataset(request)
    states: dict[int, Any] = {}
    done = missing = 0
    changed_since: list[dict[str, Any]] = []
    waiting = records.entries_of(newest)
    while some := list(islice(waiting, PUT_BACK_AT_ONCE)):
        states.update({int(entry["task"]): entry["state"] for entry in some if "task" in entry})
        values = [entry for entry in some if "task" not in entry]
        found, others = _put_back(dataset, values, lambda present: records.keep_present(newest, present))
        done, missing = done + found, missing + len(values) - found - len(others)
        changed_since += others
        tell("values_put_back", done=done)
    for task, state in states.items():
        records.keep_state(task, state)
    fields_kept = [path for path in newest["fields_made"] if not dataset_fields.unmake(dataset, path)]
    records.forget(newest)
    told = {"undone": newest["stamp"], "put_back": done, "missing": missing, "saved": newest["saved"]}
    told |= {"changed_since": changed_since[:MISSING_TOLD], "changed_count": len(changed_since)}
    return {**told, "fields_kept": fields_kept}


def _put_back(
    dataset: Any, entries: list[dict[str, Any]], keep: Callable[[list[dict[str, Any]]], None]
) -> tuple[int, list[dict[str, Any]]]:
    """How many values are as before again, and those that somebody has changed after the load."""
    now, found = datetime.now(UTC), 0
    others: list[dict[str, Any]] = []
    for name, collection in (("samples", dataset._sample_collection), ("frames", dataset._frame_collection)):
        here = [entry for entry in entries if entry["collection"] == name]
        if not here:
            continue
        wanted = dict.fromkeys({"filepath", "_sample_id", "frame_number", *(entry["key"] for entry in here)}, 1)
        query = {"_id": {"$in": list({entry["id"] for entry in here})}}
        documents = {one["_id"]: one for one in collection.find(query, wanted)}
        there = [(entry, documents[entry["id"]]) for entry in here if entry["id"] in documents]
        keep(
            [
                {**entry, "there": entry["key"] in document, "value": document.get(entry["key"])}
                for entry, document in there
                if _is_of_the_load(document, entry)
            ]
        )
        for entry, document in there:
            key = entry["key"]
            change: dict[str, Any] = {"$set": {"last_modified_at": now}}
            if entry["there"]:
                change["$set"][key] = entry["value"]
            else:
                change["$unset"] = {key: ""}
            if (
                _is_of_the_load(document, entry)
                and collection.update_one(unchanged(document, [key]), change).matched_count
            ):
                found += 1
            else:
                others.append(_place_in_words(document, key))
    return found, others


def _is_of_the_load(document: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether a place holds what the load wrote, or already what was there before. Older versions did not note it."""
    known = value_hash(document.get(entry["key"]))
    return not entry["wrote"] or known in entry["wrote"] or known == value_hash(entry["value"])


def _place_in_words(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    sample = document.get("filepath") or str(document.get("_sample_id") or document["_id"])
    frame = {"frame": document["frame_number"]} if "frame_number" in document else {}
    return {"sample": sample, **frame, "field": key}


def _merges(run: Run, folder: Path, wanted: set[int]) -> Iterator[TaskMerge]:
    """The tasks, read one at a time; one without its files is told as missing."""
    values = OriginalValues(folder)
    try:
        met = set()
        for task, frames in tasks_of(folder, wanted):
            met.add(task)
            merge = _merge(run, folder, values, task, frames)
            if merge is None:
                run.counts.miss(task=task)
                continue
            yield merge
            del merge
        for task in sorted(wanted - met):
            run.counts.miss(task=task)
    finally:
        values.close()


def _merge(run: Run, folder: Path, values: OriginalValues, task: int, frames: list[Frame]) -> TaskMerge | None:
    baseline, current = held_by(folder, "baseline", task), held_by(folder, "current", task)
    if baseline is None or current is None:
        return None
    step = step_of(frames)
    contents = (counted_finer(baseline, step), counted_finer(current, step))
    frames = finer(run.dataset, frames, step)
    return TaskMerge(run, task, frames, contents, values.of([frame.place for frame in frames]), step)


def _refuse_unexpected(run: Run, folder: Path, wanted: set[int]) -> None:
    for merge in _merges(run, folder, wanted):
        if found := merge.unexpected():
            thing = found[0].thing
            raise UnexpectedRefused(
                f"task {merge.task} holds a {thing.shape or 'tag'} of class {thing.label!r} on frame {thing.frame}, "
                f"which no field of the run expects ({len(found)} such things in this task)"
            )


def _run(request: Mapping[str, Any], records: Records) -> Run:
    dataset = _dataset(request)
    infos = request["label_schema"]
    try:
        fields = fields_of(infos, request.get("classes") or {})
    except (KeyError, ValueError) as error:
        raise BadRequest(str(error)) from error
    unexpected = request.get("unexpected") or KEEP
    if unexpected not in (KEEP, IGNORE, REFUSE):
        raise BadRequest(f"unexpected is {unexpected!r}; it can be {KEEP}, {IGNORE} or {REFUSE}")
    names = [field.name for field in fields]
    run = Run(
        dataset=dataset,
        server=str(request["server"]),
        fields=fields,
        infos=infos,
        targets=_targets(names, request.get("dest_field")),
        permissions={name: permissions_of(name, request.get("permissions"), infos[name]) for name in names},
        unexpected=unexpected,
        occluded_attribute=request.get("occluded_attr"),
        group_attribute=request.get("group_id_attr"),
        records=records,
        counts=Counts(names),
    )
    for field in fields:
        if dataset_fields.holds(dataset, run.targets[field.name], field) is False:
            raise dataset_fields.FieldRefused(
                f"labels of field {field.name!r} cannot go into {run.targets[field.name]!r}: it is of another type"
            )
    return run


def _targets(names: list[str], told: Any) -> dict[str, str]:
    """{field: where its labels go}. Raises BadRequest."""
    if isinstance(told, str) and told and len(names) > 1:
        raise BadRequest(f"one destination {told!r} for {len(names)} fields: name one for each")
    asked = {names[0]: told} if isinstance(told, str) and told else dict(told or {})
    if unknown := sorted(set(asked) - set(names)):
        raise BadRequest(f"a destination is told for {unknown[0]!r}, which is no field of the run")
    targets = {}
    for name in names:
        target = str(asked.get(name) or name)
        if name.startswith(FRAMES) and not target.startswith(FRAMES):
            target = FRAMES + target
        targets[name] = target
    if len(set(targets.values())) < len(targets):
        raise BadRequest("two fields have the same destination")
    return targets


def _dataset(request: Mapping[str, Any]) -> Any:
    name = str(request["dataset"])
    if name not in fo.list_datasets():
        raise BadRequest(f"there is no dataset {name!r}")
    return fo.load_dataset(name)
