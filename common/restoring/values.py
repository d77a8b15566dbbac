"""Whether a restored project or task equals its archive, value by value: what a drill proves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from common.backups.archive import Archive, Member
from common.backups.sidecar import Sidecar
from common.cvat.client import Client
from common.cvat.listing import items
from common.restoring.jobs import KINDS, multiset
from common.restoring.labels import Labels, labels_of
from common.restoring.soundness import Sound
from common.text import plural, printable


def value_differences(client: Client, sound: Sound, result_id: int, sidecar: Sidecar | None) -> list[str]:
    """What differs, one sentence each; empty when everything is equal."""
    with Archive(sound.path) as archive:
        members = {
            member.name: member
            for member in archive.members()
            if member.name.endswith((".json", "manifest.jsonl")) or "/" not in member.name
        }
        return _compared(client, sound, result_id, sidecar, archive, members)


def _compared(
    client: Client, sound: Sound, result_id: int, sidecar: Sidecar | None, archive: Archive, members: dict[str, Member]
) -> list[str]:
    raw_labels = [
        label
        for label in items(client, "/api/labels", {f"{sound.kind}_id": result_id})
        if label.get(f"{sound.kind}_id", result_id) == result_id
    ]
    labels = labels_of(raw_labels)
    described = json.loads(archive.read_small(members[f"{sound.kind}.json"]))
    said = []
    if _labels(described["labels"]) != _labels(raw_labels):
        said.append("its labels or attributes differ")
    if sound.kind == "project":
        found = items(client, "/api/tasks", {"project_id": result_id})
        tasks = [task for task in found if task.get("project_id") == result_id]
    else:
        tasks = [client.get(f"/api/tasks/{result_id}")]
    if len(tasks) != len(sound.kept):
        return [*said, f"{plural(len(tasks), 'task')} instead of {len(sound.kept)}"]
    kept = [task for task in sidecar.tasks if task.has_data] if sidecar else []
    for number, (index, task) in enumerate(zip(sound.kept, tasks, strict=True)):
        prefix = f"task_{index}/" if sound.kind == "project" else ""
        name = printable(str(task["name"]), 60)
        jobs = [job for job in items(client, "/api/jobs", {"task_id": task["id"]}) if job["task_id"] == task["id"]]
        said += [f"task {name!r}: {text}" for text in _frames(client, task, archive, members, prefix)]
        said += [f"task {name!r}: {text}" for text in _annotations(client, jobs, labels, archive, members, prefix)]
        if len(kept) == len(tasks):
            states = [(job.type, job.start_frame, job.stop_frame, job.stage, job.state) for job in kept[number].jobs]
            there = [(j["type"], j["start_frame"], j["stop_frame"], j["stage"], j["state"]) for j in jobs]
            if sorted(states) != sorted(there):
                said.append(f"task {name!r}: its jobs have other stages or states")
    return said


def _labels(raw: Iterable[Mapping[str, Any]]) -> list[str]:
    def plain(label: Mapping[str, Any]) -> list[Any]:
        attributes = [
            [spec["name"], bool(spec.get("mutable")), spec.get("input_type"), spec.get("default_value"), _lines(spec)]
            for spec in label.get("attributes") or ()
        ]
        inner = sorted((plain(each) for each in label.get("sublabels") or ()), key=str)
        return [label["name"], label.get("type"), label.get("color"), sorted(attributes, key=str), inner]

    return sorted(json.dumps(plain(label), ensure_ascii=False) for label in raw)


def _lines(spec: Mapping[str, Any]) -> list[str]:
    values = spec.get("values") or []
    return values.split("\n") if isinstance(values, str) else [str(value) for value in values]


def _frames(
    client: Client, task: Mapping[str, Any], archive: Archive, members: dict[str, Member], prefix: str
) -> list[str]:
    member = members.get(f"{prefix}data/manifest.jsonl")
    if member is None or task.get("mode") == "interpolation":
        return []  # counted already; a video's frames have no names of their own
    meta = client.get(f"/api/tasks/{task['id']}/data/meta")
    rows = [json.loads(line) for line in archive.read_small(member).decode().splitlines()[2:] if line.strip()]
    said = {(f"{row['name']}{row['extension']}", row.get("width"), row.get("height")) for row in rows if "name" in row}
    there = {(frame["name"], frame["width"], frame["height"]) for frame in meta["frames"]}
    strangers = sorted(str(name) for name, _width, _height in there - said)
    return [f"frames of other names or sizes: {', '.join(strangers[:3])}"] if strangers and said else []


def _annotations(
    client: Client,
    jobs: list[dict[str, Any]],
    labels: Labels,
    archive: Archive,
    members: dict[str, Member],
    prefix: str,
) -> list[str]:
    archived = json.loads(archive.read_small(members[f"{prefix}annotations.json"], 2 << 30))
    if len(archived) != len(jobs):
        return [f"{plural(len(jobs), 'job')} instead of {len(archived)}"]
    said = []
    for number, (wanted, job) in enumerate(zip(archived, sorted(jobs, key=lambda job: int(job["id"])), strict=True)):
        there = client.get(f"/api/jobs/{job['id']}/annotations")
        for kind in KINDS:
            one = multiset([_named(item, None) for item in wanted[kind]])
            other = multiset([_named(item, labels) for item in there[kind]])
            if one != other:
                count = sum(((one - other) + (other - one)).values())
                said.append(f"job {number}: {count} {kind} differ")
    return said


def _named(item: Mapping[str, Any], labels: Labels | None) -> dict[str, Any]:
    """An item with names in the place of ids, in the words of an archive."""
    made = {key: value for key, value in item.items() if key not in ("label_id", "id", "keyframe")}
    if labels is not None and "label_id" in item:
        made["label"] = labels.path_of.get(int(item["label_id"]), ("?",))[-1]
    if labels is not None:
        made["attributes"] = [
            {"name": labels.spec_name.get(int(each["spec_id"]), ((), "?"))[1], "value": each["value"]}
            for each in item.get("attributes") or ()
        ]
    for inner in ("shapes", "elements"):
        if isinstance(item.get(inner), list):
            made[inner] = [_named(each, labels) for each in item[inner]]
    return made
