"""Which of the metadata that was saved beside a backup goes back with it."""

from __future__ import annotations

import dataclasses

from common.backups.sidecar import Sidecar, Task, newest_sidecar
from common.restoring.find import Chosen
from common.restoring.order import Order


def sidecar_of(chosen: Chosen, order: Order) -> Sidecar | None:
    if order.purpose == "drill":
        return drill_sidecar(chosen)
    sidecar = newest_sidecar(chosen.backup.folder, chosen.backup.record.stamp) if chosen.backup else None
    return sidecar if sidecar is None or chosen.task is None else _of_one_task(sidecar, chosen.task)


def _of_one_task(sidecar: Sidecar, task: Task) -> Sidecar:
    source = dataclasses.replace(sidecar.source, kind="task", id=task.id, created_at=task.created_at, name=task.name)
    jobs = {job.id for job in task.jobs}
    issues = tuple(issue for issue in sidecar.issues if issue.job_id in jobs)
    return dataclasses.replace(
        sidecar, source=source, owner=task.owner, assignee=task.assignee, tasks=(task,), issues=issues, webhooks=(),
        quality=None, source_storage=task.source_storage, target_storage=task.target_storage,
    )  # fmt: skip


def drill_sidecar(chosen: Chosen) -> Sidecar | None:
    """What a drill puts back of the metadata, and compares."""
    sidecar = newest_sidecar(chosen.backup.folder, chosen.backup.record.stamp) if chosen.backup else None
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
