"""Which of the metadata that was saved beside a backup goes back with it."""

from __future__ import annotations

import dataclasses

from common.backups.sidecar import Sidecar, Task, newest_sidecar
from common.restoring.find import Chosen
from common.restoring.order import Order


def sidecar_of(chosen: Chosen, order: Order, unread: list[str] | None = None) -> Sidecar | None:
    """What was saved, if anything; `unread` is told of files that are there but cannot be read."""
    if order.purpose == "drill":
        return drill_sidecar(chosen, unread)
    sidecar = _beside(chosen, unread)
    return sidecar if sidecar is None or chosen.task is None else _of_one_task(sidecar, chosen.task)


def _of_one_task(sidecar: Sidecar, task: Task) -> Sidecar:
    source = dataclasses.replace(sidecar.source, kind="task", id=task.id, created_at=task.created_at, name=task.name)
    jobs = {job.id for job in task.jobs}
    issues = tuple(issue for issue in sidecar.issues if issue.job_id in jobs)
    return dataclasses.replace(
        sidecar, source=source, owner=task.owner, assignee=task.assignee, tasks=(task,), issues=issues, webhooks=(),
        quality=None, source_storage=task.source_storage, target_storage=task.target_storage,
    )  # fmt: skip


def _beside(chosen: Chosen, unread: list[str] | None) -> Sidecar | None:
    if chosen.backup is None:
        return None
    try:
        return newest_sidecar(chosen.backup.folder, chosen.backup.record.stamp, unread)
    except OSError as error:
        if unread is not None:
            unread.append(f"{chosen.backup.folder}: {error.strerror or error}")
        return None


def drill_sidecar(chosen: Chosen, unread: list[str] | None = None) -> Sidecar | None:
    """What a drill puts back of the metadata, and compares."""
    sidecar = _beside(chosen, unread)
    if sidecar is None:
        return None
    # A drill must not give work to people, make organizations or call webhooks: the jobs' states are what it compares.
    tasks = tuple(
        dataclasses.replace(
            task, owner=None, assignee=None, jobs=tuple(dataclasses.replace(job, assignee=None) for job in task.jobs)
        )
        for task in sidecar.tasks
    )
    return dataclasses.replace(
        sidecar, owner=None, assignee=None, organization=None, webhooks=(), issues=(), tasks=tasks
    )
