"""Projects, tasks, jobs, labels and annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.cvat.annotations import (
    Annotations,
    BadAnnotations,
    Json,
    ServerTripped,
    holds_poison,
    stored_annotations,
)
from sandbox.cvat.downloads import file_response
from sandbox.cvat.http import FORBIDDEN, Response, detail, json_response, plain, refuse, server_error
from sandbox.cvat.media import draw_street
from sandbox.cvat.routes import Call, Router, required
from sandbox.cvat.spreading import part_of
from sandbox.cvat.world import STAGES, STATES, Job, Project, Task

PROJECT_FIELDS = {
    "name", "bug_tracker", "assignee_id", "owner_id", "source_storage", "target_storage", "organization_id", "labels",
}  # fmt: skip
TASK_FIELDS = {
    "name", "subset", "bug_tracker", "assignee_id", "owner_id", "project_id", "source_storage", "target_storage",
    "organization_id", "labels",
}  # fmt: skip
JOB_FIELDS = {"stage", "state", "assignee"}


routes = Router()


def username(call: Call, user_id: int | None) -> str | None:
    user = call.world.users.get(user_id) if user_id is not None else None
    return user.username if user else None


def project_terms(call: Call) -> dict[str, Callable[[Project], Any]]:
    return {
        "id": lambda p: p.id,
        "name": lambda p: p.name,
        "owner": lambda p: username(call, p.owner_id),
        "assignee": lambda p: username(call, p.assignee_id),
        "status": lambda p: p.status,
        "updated_date": lambda p: p.updated_date,
    }


def task_terms(call: Call) -> dict[str, Callable[[Task], Any]]:
    def project_name(task: Task) -> str | None:
        project = call.world.project_of(task)
        return project.name if project else None

    return {
        "id": lambda t: t.id,
        "project_id": lambda t: t.project_id,
        "project_name": project_name,
        "name": lambda t: t.name,
        "owner": lambda t: username(call, t.owner_id),
        "assignee": lambda t: username(call, t.assignee_id),
        "status": lambda t: t.status,
        "subset": lambda t: t.subset,
        "mode": lambda t: t.mode,
        "dimension": lambda t: t.dimension,
        "updated_date": lambda t: t.updated_date,
        "tracker_link": lambda t: t.bug_tracker,
    }


def job_terms(call: Call) -> dict[str, Callable[[Job], Any]]:
    tasks = call.world.tasks
    return {
        "id": lambda j: j.id,
        "task_id": lambda j: j.task_id,
        "project_id": lambda j: tasks[j.task_id].project_id,
        "task_name": lambda j: tasks[j.task_id].name,
        "assignee": lambda j: username(call, j.assignee_id),
        "type": lambda j: j.type,
        "stage": lambda j: j.stage,
        "state": lambda j: j.state,
        "dimension": lambda j: tasks[j.task_id].dimension,
        "updated_date": lambda j: j.updated_date,
        "parent_job_id": lambda j: j.parent_job_id,
    }


def known_fields(raw: Json, allowed: set[str]) -> None:
    if set(raw) - allowed:
        raise detail(403, "Attempted to update an unknown field")


def known_user(call: Call, raw: Json, *names: str) -> None:
    for name in names:
        value = raw.get(name)
        if value is not None and (not isinstance(value, int) or value not in call.world.users):
            raise server_error()  # measured: an unknown user id is a 500


# --- projects -----------------------------------------------------------------------------------------------


@routes.add("GET", "/api/projects")
def list_projects(call: Call) -> Response:
    world = call.world
    asked, org = call.org()
    org_id = org.id if org else None
    with world.lock:
        items = [
            project
            for project in world.projects.values()
            if (not asked or project.organization_id == org_id) and call.may_see(project)
        ]
        search = (
            lambda p: p.name,
            lambda p: username(call, p.owner_id),
            lambda p: username(call, p.assignee_id),
            lambda p: p.status,
        )
        exact = ("id", "name", "owner", "assignee", "status")
        return call.page(items, call.answers.project, project_terms(call), search, exact)


@routes.add("POST", "/api/projects")
def make_project(call: Call) -> Response:
    raw = call.request.json()
    required(raw, "name")
    name = str(raw["name"]).strip()
    if not name:
        raise refuse(400, {"name": ["This field may not be blank."]})
    if len(name) > 256:
        raise refuse(400, {"name": ["Ensure this field has no more than 256 characters."]})
    _, org = call.org()
    project = call.world.add_project(
        name,
        org,
        owner=call.user,
        labels=raw.get("labels") or [],
        bug_tracker=raw.get("bug_tracker") or "",
        target_storage=raw.get("target_storage"),
        source_storage=raw.get("source_storage"),
        assignee_id=raw.get("assignee_id"),
    )
    location = ("Location", f"{call.request.base}/api/projects/{project.id}")
    return json_response(call.answers.project(project), 201, [location])


@routes.add("GET", "/api/projects/{id}")
def one_project(call: Call, project_id: str) -> Any:
    with call.world.lock:
        return call.answers.project(call.project(project_id))


@routes.add("PATCH", "/api/projects/{id}")
def patch_project(call: Call, project_id: str) -> Any:
    project = call.project(project_id, change=True)
    raw = call.request.json()
    known_fields(raw, PROJECT_FIELDS)
    known_user(call, raw, "assignee_id", "owner_id")
    if "owner_id" in raw and not call.user.is_superuser:
        raise detail(403, FORBIDDEN)
    with call.world.lock:
        labels = raw.pop("labels", None)
        if "name" in raw:
            raw["name"] = str(raw["name"]).strip()
        if "organization_id" in raw and raw["organization_id"] != project.organization_id:
            project.owner_id = call.user.id  # measured: whoever moves it owns it
            for task in call.world.tasks_of(project):
                task.owner_id = call.user.id
        call.world.patch_project(project, raw)
        if labels:
            call.world.change_labels(project, labels)
        return call.answers.project(project)


@routes.add("DELETE", "/api/projects/{id}")
def drop_project(call: Call, project_id: str) -> Response:
    call.world.delete_project(call.project(project_id, change=True).id)
    return Response(204)


# --- tasks --------------------------------------------------------------------------------------------------


@routes.add("GET", "/api/tasks")
def list_tasks(call: Call) -> Response:
    world = call.world
    asked, org = call.org()
    org_id = org.id if org else None
    with world.lock:
        items = [
            task
            for task in world.tasks.values()
            if (not asked or task.organization_id == org_id) and call.may_see(task)
        ]
        search = (
            task_terms(call)["project_name"],
            lambda t: t.name,
            lambda t: username(call, t.owner_id),
            lambda t: username(call, t.assignee_id),
            lambda t: t.status,
            lambda t: t.subset,
            lambda t: t.mode,
        )
        exact = ("id", "project_id", "name", "owner", "assignee", "status", "subset", "mode", "dimension")
        return call.page(items, call.answers.task, task_terms(call), search, exact)


@routes.add("POST", "/api/tasks")
def make_task(call: Call) -> Response:
    raw = call.request.json()
    required(raw, "name")
    asked, org = call.org()
    project = None
    if raw.get("project_id") is not None:
        project = call.project(str(raw["project_id"]))
        if project.organization_id is not None and not asked:
            # Measured: a task of an organization's project needs ?org= too.
            raise refuse(400, ["The task and its project should be in the same organization."])
    task = call.world.add_empty_task(
        str(raw["name"]).strip(),
        project,
        owner=call.user,
        org=org,
        labels=raw.get("labels") or [],
        subset=raw.get("subset") or "",
        bug_tracker=raw.get("bug_tracker") or "",
        segment_size=int(raw.get("segment_size") or 0),
        overlap=raw.get("overlap"),
        assignee_id=raw.get("assignee_id"),
        target_storage=raw.get("target_storage"),
        source_storage=raw.get("source_storage"),
        consensus_replicas=int(raw.get("consensus_replicas") or 0),
    )
    location = ("Location", f"{call.request.base}/api/tasks/{task.id}")
    return json_response(call.answers.task(task), 201, [location])


@routes.add("GET", "/api/tasks/{id}")
def one_task(call: Call, task_id: str) -> Any:
    with call.world.lock:
        return call.answers.task(call.task(task_id))


@routes.add("PATCH", "/api/tasks/{id}")
def patch_task(call: Call, task_id: str) -> Any:
    task = call.task(task_id, change=True)
    raw = call.request.json()
    known_fields(raw, TASK_FIELDS)
    known_user(call, raw, "assignee_id", "owner_id")
    with call.world.lock:
        if "organization_id" in raw and raw["organization_id"] != task.organization_id and task.project_id:
            text = "Only top-level resources can be moved between workspaces"
            raise refuse(400, {"non_field_errors": [text]})
        if "project_id" in raw and raw["project_id"] != task.project_id:
            if raw["project_id"] is None:
                raise server_error()  # measured: a task cannot leave its project
            call.world.move_task(task.id, call.project(str(raw["project_id"]), change=True).id)
            return call.answers.task(task)  # the other fields of the same PATCH are ignored
        labels = raw.pop("labels", None)
        raw.pop("project_id", None)
        call.world.patch_task(task, raw)
        if labels:
            call.world.change_labels(task, labels)
        return call.answers.task(task)


@routes.add("DELETE", "/api/tasks/{id}")
def drop_task(call: Call, task_id: str) -> Response:
    call.world.delete_task(call.task(task_id, change=True).id)
    return Response(204)


@routes.add("GET", "/api/tasks/{id}/data/meta")
def task_meta(call: Call, task_id: str) -> Any:
    with call.world.lock:
        task = call.task(task_id)
        if task.data is None:
            raise server_error()
        return call.answers.data_meta(task)


@routes.add("PATCH", "/api/tasks/{id}/data/meta")
def patch_task_meta(call: Call, task_id: str) -> Any:
    with call.world.lock:
        task = call.task(task_id, change=True)
        if task.data is None:
            raise server_error()
        frames = call.request.json().get("deleted_frames")
        if frames is not None:
            check_frames(frames, range(task.data.size))
            call.world.set_deleted_frames(task, frames)
        return call.answers.data_meta(task)


@routes.add("GET", "/api/tasks/{id}/validation_layout")
def validation_layout(call: Call, task_id: str) -> Any:
    return call.answers.validation_layout(call.task(task_id))


@routes.add("PATCH", "/api/tasks/{id}/validation_layout")
def patch_validation_layout(call: Call, task_id: str) -> Any:
    task = call.task(task_id, change=True)
    frames = call.request.json().get("disabled_frames")
    if task.validation is not None and frames is not None:
        task.validation.disabled_frames = sorted(frames)
        call.world.touch(task)
    return call.answers.validation_layout(task)


@routes.add("GET", "/api/tasks/{id}/data")
def task_frame(call: Call, task_id: str) -> Response:
    return _frame(call, call.task(task_id), None)


@routes.add("GET", "/api/jobs/{id}/data")
def job_frame(call: Call, job_id: str) -> Response:
    job = call.job(job_id)
    return _frame(call, call.world.tasks[job.task_id], job)


# --- jobs ---------------------------------------------------------------------------------------------------


@routes.add("GET", "/api/jobs")
def list_jobs(call: Call) -> Response:
    world = call.world
    asked, org = call.org()
    org_id = org.id if org else None
    with world.lock:
        items = [
            job
            for job in world.jobs.values()
            if (not asked or world.tasks[job.task_id].organization_id == org_id) and call.may_see(job)
        ]
        terms = job_terms(call)
        search = (terms["task_name"], terms["assignee"], terms["state"], terms["stage"])
        exact = ("id", "task_id", "project_id", "type", "stage", "state", "assignee", "parent_job_id")
        return call.page(items, call.answers.job, terms, search, exact)


@routes.add("POST", "/api/jobs")
def make_job(call: Call) -> Response:
    """A ground truth job, the only kind that can be made by hand."""
    raw = call.request.json()
    required(raw, "task_id", "type")
    with call.world.lock:
        task = call.task(str(raw["task_id"]), change=True)
        if raw["type"] != "ground_truth" or task.data is None:
            raise refuse(400, {"type": [f'"{raw["type"]}" is not a valid choice.']})
        job = call.world.add_ground_truth(task, raw.get("frames") or [0])
        call.world.touch(task)
        return json_response(call.answers.job(job), 201)


@routes.add("GET", "/api/jobs/{id}")
def one_job(call: Call, job_id: str) -> Any:
    with call.world.lock:
        return call.answers.job(call.job(job_id))


@routes.add("PATCH", "/api/jobs/{id}")
def patch_job(call: Call, job_id: str) -> Any:
    job = call.job(job_id, change=True)
    raw = call.request.json()
    known_fields(raw, JOB_FIELDS)
    for name, choices in (("stage", STAGES), ("state", STATES)):
        if name in raw and raw[name] not in choices:
            raise refuse(400, {name: [f'"{raw[name]}" is not a valid choice.']})
    known_user(call, raw, "assignee")
    with call.world.lock:
        more = {"assignee_id": raw["assignee"]} if "assignee" in raw else {}
        call.world.set_job(job, state=raw.get("state"), stage=raw.get("stage"), **more)
        return call.answers.job(job)


@routes.add("GET", "/api/jobs/{id}/data/meta")
def job_meta(call: Call, job_id: str) -> Any:
    with call.world.lock:
        job = call.job(job_id)
        return call.answers.data_meta(call.world.tasks[job.task_id], job)


@routes.add("PATCH", "/api/jobs/{id}/data/meta")
def patch_job_meta(call: Call, job_id: str) -> Any:
    with call.world.lock:
        job = call.job(job_id, change=True)
        task = call.world.tasks[job.task_id]
        frames = call.request.json().get("deleted_frames")
        if frames is not None:
            check_frames(frames, job.frame_numbers)
            call.world.set_deleted_frames(task, frames, within=job.frame_numbers)
        return call.answers.data_meta(task, job)


# --- labels -------------------------------------------------------------------------------------------------


@routes.add("GET", "/api/labels")
def list_labels(call: Call) -> Response:
    world = call.world
    with world.lock:
        owners: list[Project | Task]
        if "project_id" in call.query:
            owners = [call.project(call.query["project_id"])]
        elif "task_id" in call.query:
            owners = [call.task(call.query["task_id"])]
        elif "job_id" in call.query:
            owners = [world.tasks[call.job(call.query["job_id"]).task_id]]
        else:
            owners = [p for p in world.projects.values() if call.may_see(p)]
            owners += [t for t in world.tasks.values() if t.project_id is None and call.may_see(t)]
            owners = [thing for thing in owners if call.in_context(thing.organization_id)]
        rows = [row for thing in owners for row in call.answers.labels_of(thing)]
        terms = {"id": lambda r: r["id"], "name": lambda r: r["name"], "type": lambda r: r["type"]}
        if "sort" not in call.query:
            call.query["sort"] = "id"  # recorded: labels come oldest first
        return call.page(rows, lambda row: row, terms, (lambda r: r["name"],), ("name", "type"))


# --- annotations --------------------------------------------------------------------------------------------


@routes.add("GET", "/api/jobs/{id}/annotations")
def job_annotations(call: Call, job_id: str) -> Any:
    with call.world.lock:
        job = call.job(job_id)
        if holds_poison(job.annotations):
            raise server_error()
        return json_response(call.world.held(job).as_json())


@routes.add("PUT", "/api/jobs/{id}/annotations")
def put_job_annotations(call: Call, job_id: str) -> Any:
    return _change_annotations(call, call.job(job_id, change=True), "put")


@routes.add("PATCH", "/api/jobs/{id}/annotations")
def patch_job_annotations(call: Call, job_id: str) -> Any:
    return _change_annotations(call, call.job(job_id, change=True), _action(call))


@routes.add("DELETE", "/api/jobs/{id}/annotations")
def drop_job_annotations(call: Call, job_id: str) -> Any:
    job = call.job(job_id, change=True)
    if holds_poison(job.annotations):
        raise server_error()
    call.world.put_annotations(job, {})
    return Response(204)


@routes.add("GET", "/api/tasks/{id}/annotations")
def task_annotations(call: Call, task_id: str) -> Any:
    with call.world.lock:
        task = _task_with_data(call, task_id)
        _no_poison(call, task)
        return json_response(call.world.task_annotations(task).as_json())


@routes.add("PUT", "/api/tasks/{id}/annotations")
def put_task_annotations(call: Call, task_id: str) -> Any:
    return _change_task_annotations(call, call.task(task_id, change=True), "put")


@routes.add("PATCH", "/api/tasks/{id}/annotations")
def patch_task_annotations(call: Call, task_id: str) -> Any:
    return _change_task_annotations(call, call.task(task_id, change=True), _action(call))


@routes.add("DELETE", "/api/tasks/{id}/annotations")
def drop_task_annotations(call: Call, task_id: str) -> Any:
    task = call.task(task_id, change=True)
    _no_poison(call, task)
    call.world.put_task_annotations(task, {})
    return Response(204)


def check_frames(frames: list[int], known: Any) -> None:
    if len(set(frames)) != len(frames):
        raise refuse(400, {"deleted_frames": ["Deleted frames cannot repeat"]})
    unknown = [frame for frame in frames if frame not in known]
    if unknown:
        text = ", ".join(str(frame) for frame in unknown)
        raise refuse(400, {"deleted_frames": [f"Unknown frames {text} requested for removal"]})


def _task_with_data(call: Call, task_id: str) -> Task:
    task = call.task(task_id)
    if task.data is None:
        raise plain(400, "Exporting annotations from a task without data is not allowed")
    return task


def _no_poison(call: Call, task: Task) -> None:
    if any(holds_poison(job.annotations) for job in call.world.jobs_of(task)):
        raise server_error()


def _action(call: Call) -> str:
    action = call.query.get("action", "")
    if action not in ("create", "update", "delete"):
        raise refuse(400, ["Please specify a correct 'action' for the request"])
    return action


def _change_annotations(call: Call, job: Job, action: str) -> Response:
    """PUT, or PATCH with its action; nothing is changed unless everything is sound."""
    world = call.world
    raw = call.request.json()
    with world.lock:
        if action == "put" and holds_poison(job.annotations):
            raise server_error()
        try:
            if action == "put":
                answer = world.put_annotations(job, raw).as_json()
            elif action == "create":
                answer = world.put_annotations(job, raw, keep=True).as_json()
            else:
                answer = _update_or_delete(call, [job], raw, action)
        except BadAnnotations as error:
            raise refuse(400, error.answer) from None
        except ServerTripped:
            raise server_error() from None
        return json_response(answer)


def _change_task_annotations(call: Call, task: Task, action: str) -> Response:
    world = call.world
    raw = call.request.json()
    with world.lock:
        if task.data is None:
            raise plain(400, "Exporting annotations from a task without data is not allowed")
        _no_poison(call, task)
        jobs = [job for job in world.jobs_of(task) if job.type == "annotation"]
        try:
            if action == "put":
                answer = world.put_task_annotations(task, raw).as_json()
            elif action == "create":
                answer = world.put_task_annotations(task, raw, keep=True).as_json()
            else:
                answer = _update_or_delete(call, jobs, raw, action)
        except BadAnnotations as error:
            raise refuse(400, error.answer) from None
        except ServerTripped:
            raise server_error() from None
        return json_response(answer)


def _update_or_delete(call: Call, jobs: list[Job], raw: Json, action: str) -> Json:
    world = call.world
    ids = {kind: {item["id"] for item in raw.get(kind) or []} for kind in ("tags", "shapes", "tracks")}
    fresh = Annotations()
    index = world.label_index(jobs[0])
    if action == "update":
        fresh = stored_annotations(raw, index, world.annotation_id, ids=True)
    parts = [fresh if len(jobs) == 1 else part_of(fresh, job.start_frame, job.stop_frame) for job in jobs]
    if sum(len(part.tracks) for part in parts) > len(fresh.tracks):
        # Measured: the second part of the track is stored under the id of the first.
        raise refuse(400, ["duplicate key value violates unique constraint engine_labeledtrack_pkey"])
    for job, part in zip(jobs, parts, strict=True):
        job.annotations = job.annotations.without_ids(ids)
        if action == "update":
            job.annotations = job.annotations.joined(part.completed(index))
        world.annotations_changed(job)
    return fresh.as_json() if action == "update" else {"version": 0, **{kind: raw.get(kind) or [] for kind in ids}}


def _frame(call: Call, task: Task, job: Job | None) -> Response:
    """One frame as a picture. Chunks are not played: nothing that backs up or restores asks for them."""
    data = task.data
    if data is None or data.failed:
        raise server_error()
    if call.query.get("type", "frame") not in ("frame", "preview"):
        raise refuse(400, ["The sandbox gives frames, no chunks"])
    number = int(call.query.get("number", "0"))
    if not 0 <= number < data.size:
        raise refuse(400, [f"Unexpected frame number {number}"])
    if data.kind == "video":
        picture = draw_street(number, (data.frames[0].width, data.frames[0].height))
        return Response(200, [("Content-Type", "image/jpeg")], picture)
    path = next(file.path for file in data.files if file.name == data.frames[number].name)
    return file_response(call.request, path, data.frames[number].name, "image/jpeg")
