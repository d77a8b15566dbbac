"""What a restore made, and which of its tasks and jobs stand for which old ones."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from common.backups import sidecar as kept
from common.backups.sidecar import Sidecar
from common.cvat.client import Client
from common.cvat.errors import Forbidden, NotFound
from common.cvat.listing import items
from common.sources import Kind

Item = dict[str, Any]


@dataclass(frozen=True)
class RestoredSource:
    """What the restore made: the new project with its new tasks in the order of the archive's, or one new task.

    Without `task_ids` the server is asked for the project's tasks, in the order of their ids.
    """

    kind: Kind
    id: int
    task_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Place:
    """The restored source as the server shows it now, and which of its tasks and jobs stand for the old ones."""

    raw: Item
    is_project: bool
    tasks: dict[int, Item]  # by the old task's id
    jobs: dict[int, Item]  # by the old job's id
    users: dict[str, int]
    is_superuser: bool
    organization: str  # its slug, or empty


def look_around(client: Client, sidecar: Sidecar, restored: RestoredSource) -> Place:
    """Raises CvatError, and KeyError, TypeError or ValueError for an answer that is not as CVAT gives it."""
    raw = client.get(f"/api/{restored.kind}s/{restored.id}")
    if restored.kind == "task":
        found = {restored.id: raw}
    else:
        listed = items(client, "/api/tasks", {"project_id": restored.id})
        # An unknown query parameter is ignored with 200 (measured): check what was answered.
        found = {item["id"]: item for item in listed if item.get("project_id") == restored.id}
    present = [found[task_id] for task_id in restored.task_ids or sorted(found) if task_id in found]
    by_task: dict[int, list[Item]] = {item["id"]: [] for item in present}
    for item in items(client, "/api/jobs", {f"{restored.kind}_id": restored.id}):
        if item["task_id"] in by_task:
            by_task[item["task_id"]].append(item)
    pairs = paired(sidecar.tasks, [(str(item["name"]), by_task[item["id"]]) for item in present])
    tasks = {old.id: present[index] for old, index in pairs}
    jobs: dict[int, Item] = {}
    for old, index in pairs:
        jobs |= matched_jobs(old.jobs, by_task[present[index]["id"]])
    myself = client.get("/api/users/self")
    users = {str(myself["username"]): int(myself["id"])}
    with contextlib.suppress(Forbidden, NotFound):
        users |= {str(item["username"]): int(item["id"]) for item in items(client, "/api/users")}
    organization_id, slug = raw.get("organization_id") or raw.get("organization"), ""
    with contextlib.suppress(Forbidden, NotFound):
        slug = str(client.get(f"/api/organizations/{organization_id}")["slug"]) if organization_id else ""
    return Place(
        raw,
        restored.kind == "project" == sidecar.source.kind,
        tasks,
        jobs,
        users,
        bool(myself.get("is_superuser")),
        slug,
    )


def _ranges(jobs: Sequence[kept.Job] | Sequence[Item]) -> list[tuple[str, int, int]]:
    """What tells a job in every restored copy of its task (measured)."""
    rows = [job if isinstance(job, dict) else vars(job) for job in jobs]
    return [(str(row.get("type") or "annotation"), int(row["start_frame"]), int(row["stop_frame"])) for row in rows]


def matched_jobs(old: Sequence[kept.Job], present: Sequence[Item]) -> dict[int, Item]:
    """The new job for each old one: by type and frames, those that are alike in the order of their ids."""
    waiting: dict[tuple[str, int, int], list[Item]] = defaultdict(list)
    for key, item in zip(_ranges(present), present, strict=True):
        waiting[key].append(item)
    return {job.id: waiting[key].pop(0) for key, job in zip(_ranges(old), old, strict=True) if waiting[key]}


def paired(old: Sequence[kept.Task], present: Sequence[tuple[str, Sequence[Item]]]) -> list[tuple[kept.Task, int]]:
    """Each old task with the place of its copy among the new ones, which are given as name and jobs.

    Both are in the old order; some may be missing on either side. First those whose name and jobs are the same, in
    order, then those whose name is the only one of its kind on both sides.
    """
    rest = [task for task in old if task.has_data]
    if len(rest) == len(present) == 1:
        return [(rest[0], 0)]
    before = [(task.name, tuple(_ranges(task.jobs))) for task in rest]
    after = [(name, tuple(_ranges(jobs))) for name, jobs in present]
    pairs: list[tuple[kept.Task, int]] = []
    for block in SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks():
        pairs += [(rest[block.a + step], block.b + step) for step in range(block.size)]
    done = {task.id for task, _ in pairs}
    free = [index for index in range(len(present)) if index not in {index for _, index in pairs}]
    left = [task for task in rest if task.id not in done]
    for task in left:
        same = [index for index in free if present[index][0] == task.name]
        if len(same) == 1 and sum(other.name == task.name for other in left) == 1:
            pairs.append((task, same[0]))
    return pairs
