"""All that a backup keeps of a played project or task, without ids and in an order of its own: equal when restored."""

from __future__ import annotations

import json
import re
from typing import Any

from sandbox.cvat.archive import label_json, portable
from sandbox.cvat.world import Project, Task, World


def portrait(world: World, project: Project) -> Any:
    tasks = sorted(world.tasks_of(project), key=lambda task: task.id)
    return {
        "name": project.name,
        "bug_tracker": project.bug_tracker,
        "labels": [label_json(label) for label in project.labels],
        "guide": _guide(world, project),
        "tasks": [task_portrait(world, task) for task in tasks if task.data is not None and task.data.size],
    }


def task_portrait(world: World, task: Task) -> Any:
    data = task.data
    assert data is not None
    index = world.label_index(task)
    jobs = []
    for job in world.jobs_of(task):
        held = portable(job.annotations.as_json(), index)
        kinds = {kind: sorted(_flat(item) for item in held[kind]) for kind in ("tags", "shapes", "tracks")}
        jobs.append((job.type, job.start_frame, job.stop_frame, job.included_frames, job.status, kinds))
    return {
        "name": task.name,
        "subset": task.subset,
        "mode": task.mode,
        "frames": data.frames,
        "size": data.size,
        "deleted": data.deleted_frames,
        "media": sorted((file.name, file.path.read_bytes()) for file in data.files),
        "jobs": jobs,
        "validation": task.validation,
        "segment_size": task.segment_size,
        "consensus_replicas": task.consensus_replicas,
        "guide": _guide(world, task),
    }


def _flat(item: Any) -> str:
    return json.dumps(item, sort_keys=True, ensure_ascii=False)


def _guide(world: World, thing: Project | Task) -> str | None:
    guide = world.guides.get(thing.guide_id or 0)
    return re.sub(r"/api/assets/[0-9a-f-]+", "ASSET", guide.markdown) if guide else None
