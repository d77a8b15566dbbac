"""What the commands ask of CVAT and do there, with our own client."""

from __future__ import annotations

from typing import Any

from common import log
from common.annotating.state import Made, Project, Round
from common.cvat.client import Client
from common.cvat.errors import NotFound, NotJson
from common.cvat.listing import items
from common.web.answers import json_of

NO_CONTENT = 204


def find_project(client: Client, name: str) -> dict[str, Any] | None:
    """The first project of exactly this name, as FiftyOne would take it. Raises CvatError."""
    return next((each for each in items(client, "/api/projects", {"search": name}) if each["name"] == name), None)


def labels_of(client: Client, **owner: int) -> list[dict[str, Any]]:
    """The labels of a task or project: `labels_of(client, task_id=7)`. Raises CvatError."""
    return list(items(client, "/api/labels", dict(owner)))


def users(client: Client, names: set[str]) -> dict[str, int]:
    """The ids of those users that the server knows and shows us. Raises CvatError."""
    found = {}
    for name in sorted(names):
        for each in items(client, "/api/users", {"search": name}):
            if each["username"] == name:
                found[name] = int(each["id"])
    return found


def task_of(client: Client, made: Made) -> dict[str, Any] | None:
    """A task that this round made; None when it is gone, or its id belongs to another one by now. Raises CvatError."""
    return _ours(client, f"/api/tasks/{made.id}", made.created_date)


def is_taken(client: Client, made: Made) -> bool:
    """Whether the id of a task of ours belongs to something else by now: this is another server, or a new one. Raises
    CvatError."""
    return _ours(client, f"/api/tasks/{made.id}", "") is not None and task_of(client, made) is None


def project_of(client: Client, project: Project) -> dict[str, Any] | None:
    """Like `task_of`, of the project."""
    return _ours(client, f"/api/projects/{project.id}", project.created_date)


def _ours(client: Client, path: str, created_date: str) -> dict[str, Any] | None:
    try:
        found = client.get(path)
    except NotFound:
        return None
    if not isinstance(found, dict) or found.get("id") != int(path.rsplit("/", 1)[-1]):
        raise NotJson(f"GET {path}: the answer is not what CVAT answers")  # not gone: it would be left behind
    if created_date and found.get("created_date") != created_date:
        log.get().warning("not_ours", what=path, detail="the server gave this id to something else")
        return None
    return dict(found)


def jobs_of(client: Client, task_id: int) -> list[dict[str, Any]]:
    """The jobs that people annotate in, by their first frame: no ground truth, no replicas. Raises CvatError."""
    jobs = [each for each in items(client, "/api/jobs", {"task_id": task_id}) if each.get("type") == "annotation"]
    return sorted(jobs, key=lambda each: (each.get("start_frame") or 0, each["id"]))


def changed_at(client: Client, task_id: int) -> str:
    """The newest date of a task and its jobs, as the server writes it: a job's state touches only the job. Raises
    CvatError."""
    task = client.get(f"/api/tasks/{task_id}")
    jobs = items(client, "/api/jobs", {"task_id": task_id})
    return max(str(each.get("updated_date") or "") for each in [task, *jobs])


def held(client: Client, task_id: int) -> dict[str, Any]:
    """What the server holds of a task: annotations, labels, meta, as baseline/ and current/ keep it.

    An answer that is no description of a task is refused: `{}` in place of annotations (a proxy's, a broken server's)
    would look as if somebody had deleted every label. Raises CvatError.
    """
    found = {
        "annotations": client.get(f"/api/tasks/{task_id}/annotations"),
        "labels": labels_of(client, task_id=task_id),
        "meta": client.get(f"/api/tasks/{task_id}/data/meta"),
    }
    if wrong := _what_is_wrong(found):
        raise NotJson(f"GET /api/tasks/{task_id}/{wrong}: the answer is not what CVAT answers")
    return found


def _what_is_wrong(found: dict[str, Any]) -> str:
    """Which of the answers is none; "" when all are."""
    annotations, meta = found["annotations"], found["meta"]
    known = {label.get("id") for label in found["labels"]}
    for kind in ("tags", "shapes", "tracks"):
        listed = annotations.get(kind) if isinstance(annotations, dict) else None
        if not isinstance(listed, list) or not all(_is_annotation(each, known) for each in listed):
            return "annotations"
    deleted = (meta.get("deleted_frames") or []) if isinstance(meta, dict) else None
    if not isinstance(deleted, list) or not all(type(each) is int for each in deleted):
        return "data/meta"
    return "" if type(meta.get("size")) is int else "data/meta"


def _is_annotation(one: Any, labels: set[Any]) -> bool:
    if not isinstance(one, dict) or one.get("label_id") not in labels:
        return False
    return type(one.get("id")) is int and type(one.get("frame")) is int


def leftovers(client: Client, state: Round) -> tuple[list[int], list[int]]:
    """The tasks and projects that this round made and that are there: by our mark in their names, and those that we
    know of by id and date. Raises CvatError."""
    tasks = {int(each["id"]) for each in _marked(client, "/api/tasks", state)}
    tasks |= {made.id for made in state.tasks if made.id not in tasks and _still(client, state, made)}
    projects = {int(each["id"]) for each in _marked(client, "/api/projects", state)}
    project = state.project
    known = project is not None and project.made_by_us and project.created_date
    if project is not None and known and project_of(client, project) is not None:
        projects.add(project.id)
    return sorted(tasks), sorted(projects)


def _still(client: Client, state: Round, made: Made) -> bool:
    return bool(made.created_date) and task_of(client, made) is not None


def _marked(client: Client, path: str, state: Round) -> list[dict[str, Any]]:
    mark = f"[{state.marker}]"
    return [each for each in items(client, path, {"search": state.marker.split()[-1]}) if mark in str(each.get("name"))]


def delete(client: Client, path: str) -> bool:
    """Deletes; whether it was there. Safe to repeat: what is gone is gone. Raises CvatError."""
    try:
        answer = client.change("DELETE", path, repeat=True)
    except NotFound:
        return False
    if answer.status_code == NO_CONTENT:
        return True
    try:
        client.get(path)  # CVAT says 204; what stands in front of it may say anything
    except NotFound:
        return True
    raise NotJson(f"DELETE {path}: the answer ({answer.status_code}) is not what CVAT answers, and it is still there")


def change(client: Client, path: str, content: dict[str, Any]) -> None:
    """A PATCH, whose answer must describe what was changed. Raises CvatError."""
    answer = json_of(client.change("PATCH", path, content, repeat=True))
    if not isinstance(answer, dict) or answer.get("id") != int(path.rsplit("/", 1)[-1]):
        raise NotJson(f"PATCH {path}: the answer is not what CVAT answers")


def without_label_id(client: Client, project: Project) -> list[str]:
    """Asks the server to take the attribute that FiftyOne added off the labels; the names of those that still have it.

    CVAT adds and changes attributes of labels that exist; whether it removes one depends on the server, so that the
    answer is looked at and not believed. Labels that had the attribute before are left alone. Raises CvatError.
    """
    ours = [each for each in labels_of(client, project_id=project.id) if each["id"] in project.labels]
    have = [each for each in ours if any(attribute["name"] == "label_id" for attribute in each["attributes"])]
    for label in have:
        kept = [attribute for attribute in label["attributes"] if attribute["name"] != "label_id"]
        changed = {"id": label["id"], "name": label["name"], "color": label.get("color"), "attributes": kept}
        change(client, f"/api/projects/{project.id}", {"labels": [changed]})
    after = {each["id"]: each for each in labels_of(client, project_id=project.id)}
    return [
        label["name"]
        for label in have
        if any(attribute["name"] == "label_id" for attribute in after.get(label["id"], label)["attributes"])
    ]
