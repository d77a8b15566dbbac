"""Projects in a played CVAT and in played SC servers, made and looked at for the tests of the bridge between them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sandbox.cvat import CvatSandbox, archive


def project_of(cvat: CvatSandbox, name: str, labels: list[dict], annotations: dict, **more: Any) -> Any:
    """A project in CVAT with one task; labels in the annotations stand by name."""
    project = cvat.world.add_project(name, labels=labels)
    task = cvat.world.add_task(project, name, **more)
    job = cvat.world.jobs[task.job_ids[0]]
    index = cvat.world.label_index(job)

    def with_ids(row: dict) -> dict:
        return {**{key: value for key, value in row.items() if key != "label"}, "label_id": index.named(row["label"])}

    cvat.world.put_annotations(job, {kind: [with_ids(row) for row in rows] for kind, rows in annotations.items()})
    return project


def shapes_in(sc: Any, name: str) -> Counter:
    """(frame or image name, label names, shape type) of everything in a project of a played SC."""
    found: Counter = Counter()
    [project] = [each for each in sc.world.projects.values() if each.name == name]
    labels = {label.id: label.name for task in project.trainable for label in task.labels}
    for media in (each for dataset in project.datasets for each in dataset.media.values()):
        for frame, scene in media.scenes.items():
            for each in scene.annotations:
                names = ",".join(sorted(labels[label["id"]] for label in each["labels"]))
                found[media.name if media.kind == "image" else str(frame), names, each["shape"]["type"]] += 1
    return found


def drawn_in(cvat: CvatSandbox, name: str) -> list[dict]:
    """All shapes and tags of a project of a played CVAT, as its own backup has them."""
    [project] = [each for each in cvat.world.projects.values() if each.name == name]
    rows = []
    for task in cvat.world.tasks_of(project):
        index = cvat.world.label_index(task)
        for job_id in task.job_ids:
            held = archive.portable(cvat.world.jobs[job_id].annotations.as_json(), index)
            rows += [{**row, "type": row.get("type", "tag")} for kind in ("tags", "shapes") for row in held[kind]]
    return rows


BOXES = [
    {"name": "car", "type": "rectangle", "color": "#2080c0"},
    {"name": "dog", "type": "any", "color": "#ff0000"},
]


def box(frame: int, label: str = "car", **more: Any) -> dict:
    return {"type": "rectangle", "label": label, "frame": frame, "points": [10.0, 20.0, 50.0, 60.0], **more}
