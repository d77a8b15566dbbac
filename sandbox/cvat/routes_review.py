"""What a backup zip loses: issues and comments, webhooks, quality and consensus settings, guides and assets."""

from __future__ import annotations

from typing import Any

from sandbox.cvat.answers import content_disposition
from sandbox.cvat.http import FORBIDDEN, Response, detail, json_response, refuse, server_error
from sandbox.cvat.routes import Call, Router, required
from sandbox.cvat.world import NoSuchObject, Project, Task, iso

EVENTS = {
    f"{verb}:{what}"
    for verb in ("create", "update", "delete")
    for what in ("project", "task", "job", "issue", "comment", "organization", "membership", "invitation")
}


routes = Router()


@routes.add("GET", "/api/cloudstorages")
def cloud_storages(call: Call) -> Response:
    rows = list(call.world.cloud_storages.values())
    return call.page(rows, lambda row: row, {"id": lambda row: row["id"]})


@routes.add("GET", "/api/issues")
def list_issues(call: Call) -> Response:
    world = call.world
    with world.lock:
        rows = [row for row in world.issues.values() if call.may_see(world.jobs[row["job"]])]
        rows = [row for row in rows if call.in_context(world.tasks[world.jobs[row["job"]].task_id].organization_id)]
        # project_id is not among them: as a parameter it is ignored, in a filter it is refused.
        terms = {
            "id": lambda r: r["id"],
            "task_id": lambda r: world.jobs[r["job"]].task_id,
            "job_id": lambda r: r["job"],
            "frame_id": lambda r: r["frame"],
            "resolved": lambda r: r["resolved"],
        }
        return call.page(rows, call.answers.issue, terms, exact=("task_id", "job_id", "frame_id", "resolved"))


@routes.add("POST", "/api/issues")
def make_issue(call: Call) -> Response:
    raw, world = call.request.json(), call.world
    required(raw, "message")
    if not str(raw["message"]).strip():
        raise refuse(400, {"message": ["This field may not be blank."]})
    required(raw, "position", "job", "frame")
    if not raw["position"]:
        raise refuse(400, {"position": ["This list may not be empty."]})
    if raw["job"] not in world.jobs:
        raise refuse(400, ["Job matching query does not exist."])
    with world.lock:
        call.job(str(raw["job"]))
        moment = world.now()
        row: dict[str, Any] = {
            "id": world.next_id("issue"),
            "job": raw["job"],
            "frame": raw["frame"],
            "position": [float(value) for value in raw["position"]],
            "owner_id": call.user.id,  # whatever was asked for
            "assignee_id": raw.get("assignee"),
            "created_date": moment,
            "updated_date": moment,
            "resolved": bool(raw.get("resolved")),
        }
        world.issues[row["id"]] = row
        _comment(call, row["id"], str(raw["message"]))
        return json_response(call.answers.issue(row), 201)


@routes.add("GET", "/api/issues/{id}")
def one_issue(call: Call, issue_id: str) -> Any:
    return call.answers.issue(_row(call.world.issues, issue_id, "Issue"))


@routes.add("PATCH", "/api/issues/{id}")
def patch_issue(call: Call, issue_id: str) -> Any:
    row, raw = _row(call.world.issues, issue_id, "Issue"), call.request.json()
    if "resolved" in raw:
        row["resolved"] = bool(raw["resolved"])
    if "assignee" in raw:
        row["assignee_id"] = raw["assignee"]
    if raw.get("position"):
        row["position"] = [float(value) for value in raw["position"]]
    row["updated_date"] = call.world.now()
    return call.answers.issue(row)


@routes.add("GET", "/api/comments")
def list_comments(call: Call) -> Response:
    world = call.world
    with world.lock:
        rows = [row for row in world.comments.values() if call.may_see(world.jobs[world.issues[row["issue"]]["job"]])]
        terms = {
            "id": lambda r: r["id"],
            "issue_id": lambda r: r["issue"],
            "job_id": lambda r: world.issues[r["issue"]]["job"],
            "frame_id": lambda r: world.issues[r["issue"]]["frame"],
        }
        return call.page(rows, call.answers.comment, terms, exact=("issue_id", "job_id", "frame_id"))


@routes.add("POST", "/api/comments")
def make_comment(call: Call) -> Response:
    raw = call.request.json()
    required(raw, "issue", "message")
    issue = _row(call.world.issues, str(raw["issue"]), "Issue")
    call.job(str(issue["job"]))
    return json_response(call.answers.comment(_comment(call, issue["id"], str(raw["message"]))), 201)


@routes.add("PATCH", "/api/comments/{id}")
def patch_comment(call: Call, comment_id: str) -> Any:
    row = _row(call.world.comments, comment_id, "Comment")
    row["message"] = str(call.request.json().get("message", row["message"]))
    row["updated_date"] = call.world.now()
    return call.answers.comment(row)


def _comment(call: Call, issue_id: int, message: str) -> dict[str, Any]:
    moment = call.world.now()
    row: dict[str, Any] = {
        "id": call.world.next_id("comment"),
        "issue": issue_id,
        "owner_id": call.user.id,
        "message": message,
        "created_date": moment,
        "updated_date": moment,
    }
    call.world.comments[row["id"]] = row
    return row


def _row(table: dict[int, Any], row_id: str, model: str) -> dict[str, Any]:
    row = table.get(int(row_id))
    if row is None:
        raise NoSuchObject(model)
    found: dict[str, Any] = row
    return found


def visible(call: Call, row: dict[str, Any]) -> bool:
    world = call.world
    thing: Project | Task
    project_id = row.get("project_id")
    thing = world.projects[project_id] if project_id is not None else world.tasks[row["task_id"]]
    return call.may_see(thing) and call.in_context(thing.organization_id)


@routes.add("GET", "/api/quality/settings")
def list_quality(call: Call) -> Response:
    world = call.world
    with world.lock:
        rows = [row for row in world.quality_settings.values() if visible(call, row)]
        project_id = call.query.get("project_id")
        if project_id is not None:
            # The project's own row and those of its tasks.
            rows = [
                row
                for row in rows
                if str(row["project_id"]) == project_id
                or (row["task_id"] is not None and str(world.tasks[row["task_id"]].project_id) == project_id)
            ]
        parent = call.query.get("parent_type")
        if parent in ("project", "task"):
            rows = [row for row in rows if row[f"{parent}_id"] is not None]
        terms = {
            "id": lambda r: r["id"],
            "task_id": lambda r: r["task_id"],
            "project_id": lambda r: r["project_id"],
        }
        return call.page(rows, lambda row: row, terms, exact=("task_id",))


@routes.add("GET", "/api/quality/settings/{id}")
def one_quality(call: Call, row_id: str) -> Any:
    return _row(call.world.quality_settings, row_id, "QualitySettings")


@routes.add("PATCH", "/api/quality/settings/{id}")
def patch_quality(call: Call, row_id: str) -> Any:
    row, raw = _row(call.world.quality_settings, row_id, "QualitySettings"), call.request.json()
    fixed = ("id", "task_id", "project_id", "created_date", "updated_date")
    row.update({key: value for key, value in raw.items() if key in row and key not in fixed})
    row["updated_date"] = iso(call.world.now())
    return row


@routes.add("GET", "/api/consensus/settings")
def list_consensus(call: Call) -> Response:
    rows = [row for row in call.world.consensus_settings.values() if visible(call, row)]
    terms = {"id": lambda r: r["id"], "task_id": lambda r: r["task_id"]}
    return call.page(rows, lambda row: row, terms, exact=("task_id",))


@routes.add("PATCH", "/api/consensus/settings/{id}")
def patch_consensus(call: Call, row_id: str) -> Any:
    row, raw = _row(call.world.consensus_settings, row_id, "ConsensusSettings"), call.request.json()
    row.update({key: raw[key] for key in ("iou_threshold", "quorum") if key in raw})
    return row


@routes.add("GET", "/api/webhooks")
def list_webhooks(call: Call) -> Response:
    asked, org = call.org()
    org_id = org.id if org else None
    rows = [
        row
        for row in call.world.webhooks.values()
        if (not asked or row["organization"] == org_id) and (call.user.is_superuser or row["owner_id"] == call.user.id)
    ]
    terms = {
        "id": lambda r: r["id"],
        "project_id": lambda r: r["project_id"],
        "type": lambda r: r["type"],
        "target_url": lambda r: r["target_url"],
    }
    return call.page(rows, call.answers.webhook, terms, exact=("project_id", "type", "target_url"))


@routes.add("POST", "/api/webhooks")
def make_webhook(call: Call) -> Response:
    raw, world = call.request.json(), call.world
    required(raw, "target_url", "type", "events")
    _check_events(raw["events"])
    _, org = call.org()
    project_id = raw.get("project_id") if raw["type"] == "project" else None
    if project_id is not None:
        project = call.project(str(project_id), change=True)
        organization = project.organization_id
    else:
        organization = org.id if org else None
    moment = world.now()
    row: dict[str, Any] = {
        "id": world.next_id("webhook"),
        "target_url": raw["target_url"],
        "description": raw.get("description") or "",
        "type": raw["type"],
        "content_type": raw.get("content_type") or "application/json",
        "is_active": bool(raw.get("is_active", True)),
        "enable_ssl": bool(raw.get("enable_ssl", True)),
        "created_date": moment,
        "updated_date": moment,
        "owner_id": call.user.id,
        "project_id": project_id,
        "organization": organization,
        "events": sorted(raw["events"]),
    }
    world.webhooks[row["id"]] = row
    location = ("Location", f"{call.request.base}/api/webhooks/{row['id']}")
    return json_response(call.answers.webhook(row), 201, [location])


@routes.add("GET", "/api/webhooks/{id}")
def one_webhook(call: Call, row_id: str) -> Any:
    return call.answers.webhook(_row(call.world.webhooks, row_id, "Webhook"))


@routes.add("PATCH", "/api/webhooks/{id}")
def patch_webhook(call: Call, row_id: str) -> Any:
    row, raw = _row(call.world.webhooks, row_id, "Webhook"), call.request.json()
    if "events" in raw:
        _check_events(raw["events"])
        row["events"] = sorted(raw["events"])
    for key in ("target_url", "description", "content_type", "is_active", "enable_ssl"):
        row[key] = raw.get(key, row[key])
    row["updated_date"] = call.world.now()
    return call.answers.webhook(row)


def _check_events(events: list[str]) -> None:
    unknown = [event for event in events if event not in EVENTS]
    if unknown:
        raise refuse(400, {"events": [f'"{unknown[0]}" is not a valid choice.']})


@routes.add("POST", "/api/guides")
def make_guide(call: Call) -> Response:
    raw = call.request.json()
    thing: Project | Task
    if raw.get("project_id") is not None:
        thing = call.project(str(raw["project_id"]), change=True)
    else:
        required(raw, "task_id")
        thing = call.task(str(raw["task_id"]), change=True)
    if thing.guide_id is not None:
        raise server_error()  # measured: a second guide for the same thing
    guide = call.world.add_guide(thing, raw.get("markdown") or "")
    return json_response(call.answers.guide(guide, dates=False), 201)


@routes.add("GET", "/api/guides/{id}")
def one_guide(call: Call, guide_id: str) -> Any:
    return call.answers.guide(_guide(call, guide_id))


@routes.add("PATCH", "/api/guides/{id}")
def patch_guide(call: Call, guide_id: str) -> Any:
    guide = _guide(call, guide_id)
    guide.markdown = str(call.request.json().get("markdown", guide.markdown))
    guide.updated_date = call.world.now()
    return call.answers.guide(guide, dates=False)


@routes.add("POST", "/api/assets")
def make_asset(call: Call) -> Response:
    parts = {part.name: part for part in call.request.parts()}
    guide = _guide(call, parts["guide_id"].content.decode())
    # The real server writes the picture anew; here its bytes stay what they were.
    asset = call.world.add_asset(guide, parts["file"].filename or "asset", parts["file"].content, call.user)
    return json_response(call.answers.asset(asset), 201)


@routes.add("GET", "/api/assets/{uuid}")
def one_asset(call: Call, uuid: str) -> Response:
    asset = call.world.assets.get(uuid)
    if asset is None:
        raise NoSuchObject("Asset")
    _guide(call, str(asset.guide_id))
    headers = [
        ("Content-Type", "image/jpeg"),
        ("Content-Disposition", content_disposition(asset.filename, "inline")),
        ("Accept-Ranges", "bytes"),
    ]
    return Response(200, headers, asset.content)


def _guide(call: Call, guide_id: str) -> Any:
    guide = call.world.guides.get(int(guide_id))
    if guide is None:
        raise NoSuchObject("AnnotationGuide")
    thing: Project | Task
    if guide.project_id is not None:  # noqa: SIM108 (two kinds of thing)
        thing = call.world.project(guide.project_id)
    else:
        thing = call.world.task(guide.task_id or 0)
    if not call.may_see(thing):
        raise detail(403, FORBIDDEN)
    return guide
