"""Backups and datasets: asking, waiting, downloading; uploads that become projects, tasks and frames."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.cvat.datasets import EXPORTER_NAMES
from sandbox.cvat.downloads import file_response
from sandbox.cvat.exports import BackgroundRequest, export_id
from sandbox.cvat.faults import EXPORT_KINDS
from sandbox.cvat.http import (
    FORBIDDEN,
    Response,
    detail,
    json_response,
    plain,
    refuse,
    server_error,
)
from sandbox.cvat.media import MediaFile
from sandbox.cvat.restore import restore_project, restore_task
from sandbox.cvat.routes import Call, Router
from sandbox.cvat.world import NoSuchObject, Project, Task

GONE = """This endpoint is no longer supported.
To initiate the export process, use POST /api/{target}/id/{new}.
To check the process status, use GET /api/requests/rq_id,
where rq_id is obtained from the response of the previous request.
To download the prepared file, use the result_url obtained from the response of the previous request.
"""
REQUEST_ID = re.compile(r"action=(export|import|create)&target=(project|task|job)&(target_id=(\d+)|id=.+).*")


def _thing(call: Call, target: str, thing_id: str) -> Project | Task:
    return call.project(thing_id) if target == "project" else call.task(thing_id)


def _register_exports(router: Router, target: str) -> None:
    base = f"/api/{target}s/{{id}}"

    @router.add("POST", f"{base}/backup/export", by_read_only=True)
    def ask_backup(call: Call, thing_id: str) -> Response:
        thing = _thing(call, target, thing_id)
        if isinstance(thing, Task) and thing.data is None:
            raise refuse(400, ["Backup of a task without data is not allowed"])
        return _ask(call, target, thing, "backup", None)

    @router.add("POST", f"{base}/dataset/export", by_read_only=True)
    def ask_dataset(call: Call, thing_id: str) -> Response:
        thing = _thing(call, target, thing_id)
        format_name = call.query.get("format", "")
        if format_name not in EXPORTER_NAMES:
            raise refuse(400, ["Unknown format specified for the request"])
        wanted = call.query.get("save_images", "false").lower()
        if wanted not in ("true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"):
            raise server_error()
        images = wanted in ("true", "1", "yes", "on", "t", "y")
        return _ask(call, target, thing, "dataset" if images else "annotations", format_name)

    @router.add("GET", f"{base}/backup/download")
    def download_backup(call: Call, thing_id: str) -> Response:
        return _download(call, target, thing_id, ("backup",))

    @router.add("GET", f"{base}/dataset/download")
    def download_dataset(call: Call, thing_id: str) -> Response:
        return _download(call, target, thing_id, ("dataset", "annotations"))

    def gone(new: str) -> Callable[..., Any]:
        def answer(call: Call, thing_id: str) -> Any:
            raise plain(410, GONE.format(target=f"{target}s", new=new))

        return answer

    router.add("GET", f"{base}/backup")(gone("backup/export"))
    router.add("GET", f"{base}/dataset")(gone("dataset/export?save_images=True"))
    if target == "project":
        router.add("GET", f"{base}/annotations")(gone("dataset/export?save_images=False"))


def _ask(call: Call, target: str, thing: Project | Task, subresource: str, format_name: str | None) -> Response:
    # lightweight is accepted and, without data in a cloud storage, silently dropped.
    storage = thing.target_storage or {}
    request = BackgroundRequest(
        id=export_id(target, thing.id, call.user.id, subresource, format_name),
        type=f"export:{subresource}",
        target=target,
        user_id=call.user.id,
        created_date=call.world.now(),
        target_id=thing.id,
        project_id=thing.id if isinstance(thing, Project) else thing.project_id,
        format=format_name,
        filename=call.query.get("filename") or None,
        base=call.request.base,
        local=call.query.get("location", storage.get("location", "local")) == "local",
        faults=call.faults.of(EXPORT_KINDS | {"result_host"}),
    )
    accepted = call.server.exports.ask(request)
    return json_response({"rq_id": request.id}, 202 if accepted else 409)


def _download(call: Call, target: str, thing_id: str, subresources: tuple[str, ...]) -> Response:
    if call.request.method == "HEAD":
        raise server_error()  # an assertion in the permission code
    _thing(call, target, thing_id)
    request_id = call.query.get("rq_id")
    if not request_id:
        raise refuse(400, ["Missing request id in the query parameters"])
    match = REQUEST_ID.fullmatch(request_id)
    if match is None:
        raise refuse(400, ["Unexpected request id format"])
    fits = (match.group(1), match.group(2), match.group(4)) == ("export", target, thing_id)
    if not fits or not request_id.endswith(tuple(f"subresource={name}" for name in subresources)):
        raise refuse(400, ["Invalid export request id"])
    request = call.server.exports.find(request_id)
    if request is None:
        raise plain(400, "Unknown export request id")
    if request.user_id != call.user.id and not call.user.is_superuser:
        raise detail(403, FORBIDDEN)
    if request.status != "finished" or not request.local:
        raise plain(400, "The export process is not finished")
    if request.path is None or not request.path.exists():
        raise refuse(404, "The exported file has expired, please retry exporting")
    ranges = call.faults.get("drop_range") is None
    return file_response(call.request, request.path, request.download_name, ranges=ranges)


def _register_requests(router: Router) -> None:
    @router.add("GET", "/api/requests")
    def list_requests(call: Call) -> Response:
        exports = call.server.exports
        with call.world.lock:
            known = [exports.find(request_id) for request_id in list(exports.requests)]
            own = [one for one in known if one is not None and one.user_id == call.user.id]
            terms = {
                "created_date": lambda r: r.created_date,
                "id": lambda r: r.id,
                "status": lambda r: r.status,
                "target": lambda r: r.target,
                "subresource": lambda r: r.subresource,
                "action": lambda r: r.type.partition(":")[0],
                "format": lambda r: r.format,
                "project_id": lambda r: r.project_id,
                "task_id": lambda r: r.target_id if r.target == "task" else None,
            }
            if "sort" not in call.query:
                call.query["sort"] = "-created_date"
            exact = ("id", "status", "target", "subresource", "action", "format", "project_id", "task_id")
            base = call.request.base
            return call.page(own, lambda one: exports.answer(one, base), terms, exact=exact)

    def find(call: Call, request_id: str) -> BackgroundRequest:
        from urllib.parse import unquote

        request = call.server.exports.find(unquote(request_id))
        if request is None:
            raise plain(404, "There is no request with specified id")
        if request.user_id != call.user.id and not call.user.is_superuser:
            raise detail(403, FORBIDDEN)
        return request

    @router.add("POST", "/api/requests/{rq_id}/cancel")
    def cancel(call: Call, request_id: str) -> Response:
        if not call.server.exports.cancel(find(call, request_id)):
            raise plain(400, "Only requests that have not yet been started can be cancelled")
        return Response(200)

    @router.add("GET", "/api/requests/{rq_id}")
    def one(call: Call, request_id: str) -> Any:
        never_cached = ("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private")
        answer = call.server.exports.answer(find(call, request_id), call.request.base)
        return json_response(answer, headers=[never_cached])


# --- restore ------------------------------------------------------------------------------------------------------


def _register_restore(router: Router, target: str) -> None:
    place = f"{target}s/backup"

    def post(call: Call) -> Response:
        headers = call.request.headers
        _, org = call.org()
        if "upload-start" in headers:
            return Response(202)
        limit = call.world.upload_limit_bytes
        if "upload-length" in headers:
            return call.server.uploads.begin(call.request, call.user.id, place, limit)
        if "upload-finish" in headers:
            raw = call.request.json()
            upload = call.server.uploads.take(call.query.get("filename") or raw.get("filename") or "", call.user.id)
            user, org_id, world = call.user, org.id if org else None, call.world

            def work() -> int:
                make = restore_project if target == "project" else restore_task
                try:
                    return make(world, upload.path, user, org_id)
                finally:
                    upload.path.unlink(missing_ok=True)

            return _later(call, f"action=import&target={target}&id={uuid.uuid4()}&subresource=backup",
                          "import:backup", target, work)  # fmt: skip
        raise refuse(400, ["No upload headers"])  # not recorded

    router.add("POST", f"/api/{place}/")(post)
    router.add("POST", f"/api/{place}")(post)
    _register_pieces(router, f"/api/{place}/{{uuid}}", place)


def _register_pieces(router: Router, address: str, place: str) -> None:
    @router.add("PATCH", address)
    def receive(call: Call, *ids: str) -> Response:
        upload = call.server.uploads.known.get(ids[-1])
        if upload is None or upload.user_id != call.user.id:
            return Response(404)
        return call.server.uploads.receive(call.request, upload, call.world.upload_limit_bytes)

    @router.add("HEAD", address)
    def state(call: Call, *ids: str) -> Response:
        upload = call.server.uploads.known.get(ids[-1])
        if upload is None or upload.user_id != call.user.id:
            return Response(404)
        return call.server.uploads.state(upload, call.world.upload_limit_bytes)


def _later(
    call: Call,
    request_id: str,
    kind: str,
    target: str,
    work: Callable[[], int | None],
    target_id: int | None = None,
) -> Response:
    request = BackgroundRequest(
        id=request_id,
        type=kind,
        target=target,
        user_id=call.user.id,
        created_date=call.world.now(),
        target_id=target_id,
        project_id=call.world.tasks[target_id].project_id if target_id else None,
        faults=call.faults.of(EXPORT_KINDS),
        work=work,
    )
    call.server.exports.import_later(request)
    return json_response({"rq_id": request.id}, 202)


# --- frames of a new task -----------------------------------------------------------------------------------------


def _register_task_data(router: Router) -> None:
    def post(call: Call, task_id: str) -> Response:
        headers = call.request.headers
        task = call.task(task_id, change=True)
        waiting = call.server.waiting_files.setdefault(task.id, {})
        if "upload-start" in headers:
            return Response(202)
        if "upload-length" in headers:
            limit = call.world.upload_limit_bytes
            return call.server.uploads.begin(call.request, call.user.id, f"tasks/{task.id}/data", limit)
        parts = []
        if headers.get("content-type", "").startswith("multipart/form-data"):
            parts = call.request.parts()
            for part in parts:
                if part.filename is not None:
                    waiting[part.filename] = call.world.media.add(part.filename, part.content)
        if "upload-multiple" in headers:
            return Response(200)
        # Either "Upload-Finish" or everything in one form.
        settings: dict[str, Any] = (
            {part.name: part.content.decode() for part in parts if part.filename is None}
            if parts
            else call.request.json()
        )
        _check_settings(settings)
        for upload in list(call.server.uploads.known.values()):
            if upload.place == f"tasks/{task.id}/data" and upload.offset == upload.length:
                taken = call.server.uploads.take(upload.id, call.user.id)
                waiting[taken.filename] = call.world.media.add_from(taken.filename, taken.path)
        files = dict(waiting)
        waiting.clear()

        def work() -> None:
            _attach(call, task, files, settings)

        return _later(call, f"action=create&target=task&target_id={task.id}", "create:task", "task", work, task.id)

    router.add("POST", "/api/tasks/{id}/data")(post)
    router.add("POST", "/api/tasks/{id}/data/")(post)
    _register_pieces(router, "/api/tasks/{id}/data/{uuid}", "")


def _check_settings(settings: dict[str, Any]) -> None:
    """What the serializer of the data refuses; the task stays without data."""
    quality = str(settings.get("image_quality") or 70)
    if not re.fullmatch(r"-?\d+", quality):
        raise refuse(400, {"image_quality": ["A valid integer is required."]})
    if int(quality) > 100:
        raise refuse(400, {"image_quality": ["Ensure this value is less than or equal to 100."]})
    if int(quality) < 0:
        raise refuse(400, {"image_quality": ["Ensure this value is greater than or equal to 0."]})


def _attach(call: Call, task: Task, files: dict[str, MediaFile], settings: dict[str, Any]) -> None:
    """What the import worker does with uploaded files."""
    world = call.world
    if task.id not in world.tasks:
        raise NoSuchObject("cvat.apps.engine.models.Task.DoesNotExist: Task matching query does not exist.")
    sound = [file for file in files.values() if file.width]
    broken = [file for file in files.values() if not file.width]
    if broken or not sound:
        name = Path(broken[0].name).name if broken else "nothing"
        world.fail_upload(task, name)
        if broken:
            assert task.data is not None
            task.data.files = broken
            path = f"/home/django/data/data/{task.data.id}/raw/{name}"
            raise OSError(f"PIL.UnidentifiedImageError: cannot identify image file '{path}'\n")
        raise OSError("No media data found")
    video = sound[0].frame_count > 1
    order = settings.get("upload_file_order")
    sorting = str(settings.get("sorting_method") or "lexicographical")
    if sorting == "predefined" and isinstance(order, list):
        sound = [files[name] for name in order]
    world.attach_files(
        task,
        sound,
        kind="video" if video else "images",
        segment_size=task.segment_size,
        overlap=task.overlap,
        image_quality=int(settings.get("image_quality") or 70),
        chunk_size=int(settings["chunk_size"]) if settings.get("chunk_size") else None,
        sorting_method=sorting,
        start_frame=int(settings.get("start_frame") or 0),
        stop_frame=int(settings["stop_frame"]) if settings.get("stop_frame") else None,
        frame_filter=str(settings.get("frame_filter") or ""),
        zip_chunks=str(settings.get("use_zip_chunks", "false")).lower() == "true",
    )
    task.assignee_updated_date = None  # recorded: the import forgets it, and the assignee stays
    world.touch(world.project_of(task))


def _table() -> Router:
    router = Router()
    for target in ("project", "task"):
        _register_exports(router, target)
        _register_restore(router, target)
    _register_task_data(router)
    _register_requests(router)
    return router


routes = _table()
