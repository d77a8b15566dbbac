"""Which task on the server a saved task is: the same id created at the same moment, else a name that leaves no doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from common.cvat.client import Client
from common.cvat.errors import NotFound
from common.cvat.listing import has_data, items
from common.restoring.saved import SavedAnnotations, SavedTask
from common.text import parse_time, plural


@dataclass(frozen=True)
class Match:
    """The task that is meant, and which of its jobs each saved job is."""

    task_id: int
    raw: dict[str, Any]
    frames: int
    jobs: list[tuple[dict[str, Any], int]]


@dataclass(frozen=True)
class NoMatch:
    reason: str


def match_tasks(
    client: Client, saved: SavedAnnotations, tasks: Sequence[SavedTask], *, source_is_unique: bool
) -> Iterator[tuple[SavedTask, Match | NoMatch]]:
    """Asks the server about each task. `source_is_unique`: no other source on the disk bears the source's name."""
    candidates: list[dict[str, Any]] | None = None
    names = Counter(task.name for task in saved.tasks)
    for task in tasks:
        raw = _by_id(client, task)
        by_name = raw is None
        if raw is None:
            if candidates is None:
                candidates = _candidates(client, saved, source_is_unique=source_is_unique)
            found = [item for item in candidates if item["name"] == task.name and has_data(item)]
            if len(found) != 1 or names[task.name] != 1:
                where = "is gone from the server, and " + ("no" if not found else "more than one")
                yield (
                    task,
                    NoMatch(f"{where} task there has its name: restore the project or task itself (--project, --task)"),
                )
                continue
            raw = found[0]
        yield task, _compared(client, saved, task, raw, by_name=by_name)


def _by_id(client: Client, task: SavedTask) -> dict[str, Any] | None:
    try:
        raw: dict[str, Any] = client.get(f"/api/tasks/{task.id}")
    except NotFound:
        return None  # 403 is no absence: it ends here, before anything is taken for something else
    return raw if _moment(raw["created_date"]) == _moment(task.created_at) else None


def _moment(text: Any) -> Any:
    try:
        return parse_time(str(text))
    except ValueError:
        return text


def _candidates(client: Client, saved: SavedAnnotations, *, source_is_unique: bool) -> list[dict[str, Any]]:
    """The tasks among which a name is looked for: those of the project, or those in no project."""
    if saved.kind == "task":
        return (
            [item for item in items(client, "/api/tasks") if item.get("project_id") is None] if source_is_unique else []
        )
    project_id = None
    try:
        project = client.get(f"/api/projects/{saved.source['id']}")
        if _moment(project["created_date"]) == _moment(saved.source["created_date"]):
            project_id = int(project["id"])
    except NotFound:
        pass
    if project_id is None:
        named = [item for item in items(client, "/api/projects") if item["name"] == saved.source["name"]]
        if len(named) != 1 or not source_is_unique:
            return []
        project_id = int(named[0]["id"])
    found = items(client, "/api/tasks", {"project_id": project_id})
    return [item for item in found if item.get("project_id") == project_id]


def _compared(
    client: Client, saved: SavedAnnotations, task: SavedTask, raw: dict[str, Any], *, by_name: bool
) -> Match | NoMatch:
    if not has_data(raw):
        return NoMatch("it has no images or video on the server")
    meta, kept = client.get(f"/api/tasks/{raw['id']}/data/meta"), saved.frames(task)
    if meta.get("size") != kept.get("size"):
        return NoMatch(f"it has {meta.get('size')} frames on the server, {kept.get('size')} when it was saved")
    if by_name and [_frame(each) for each in meta["frames"]] != [_frame(each) for each in kept["frames"]]:
        return NoMatch("a task of its name is on the server, but with other frames")
    there = [job for job in items(client, "/api/jobs", {"task_id": raw["id"]}) if job["task_id"] == raw["id"]]
    jobs, used = [], set()
    for job in task.jobs:
        fitting = [each for each in there if _span(each) == _span(job) and each["id"] not in used]
        chosen = next((each for each in fitting if each["id"] == job["id"]), fitting[0] if fitting else None)
        if chosen is None:
            kind, first, last = _span(job)
            return NoMatch(f"it no longer has the {kind} job of frames {first}-{last} (job {job['id']})")
        used.add(chosen["id"])
        jobs.append((job, int(chosen["id"])))
    if len(there) > len(jobs) and by_name:
        return NoMatch(
            f"a task of its name is on the server, but with {plural(len(there), 'job')} instead of {len(jobs)}"
        )
    return Match(int(raw["id"]), raw, int(meta["size"]), jobs)


def _frame(frame: dict[str, Any]) -> tuple[Any, ...]:
    return frame.get("name"), frame.get("width"), frame.get("height")


def _span(job: dict[str, Any]) -> tuple[str, int, int]:
    return str(job.get("type") or "annotation"), int(job["start_frame"]), int(job["stop_frame"])
