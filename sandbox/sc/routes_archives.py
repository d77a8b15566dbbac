"""Whole projects as one file (2.x): export, download, the resumable upload (TUS 1.0.0), import; and the jobs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from sandbox.http import Response
from sandbox.sc.answering import answer, bad_request, body_object, not_found, number, refusal
from sandbox.sc.archive import read_archive, write_archive
from sandbox.sc.routes import WHOLE, Call, Router
from sandbox.sc.world import Job

routes = Router()
NEW = ("2.x",)
UPLOADS = "projects/uploads/resumable"
VERSION = ("Tus-Resumable", "1.0.0")
MAX_ARCHIVE = 200 * 1000**3


@dataclass
class Upload:
    path: Path
    length: int

    @property
    def offset(self) -> int:
        return self.path.stat().st_size


# --- jobs --------------------------------------------------------------------------------------------------------------


@routes.add("GET", "jobs", WHOLE)
def jobs(call: Call) -> Response:
    found = [job for job in call.world.jobs.values() if call.query.get("project_id") in (None, job.project_id)]
    rows = [call.server.jobs.written(job) for job in reversed(found)]
    if call.generation.name == "1.1":
        return answer({"items": rows})
    skip = number(call.query, "skip", 0, 0, 1 << 31)
    limit = number(call.query, "limit", 10, 1, 100)
    states = ("scheduled", "running", "finished", "failed", "cancelled")
    counts = {f"n_{state}_jobs": sum(job.state == state for job in found) for state in states}
    return answer({"jobs": rows[skip : skip + limit], "jobs_count": counts})


@routes.add("GET", "jobs/{jid}", WHOLE)
def job(call: Call) -> Response:
    return answer(call.server.jobs.written(_job(call)))


@routes.add("POST", "jobs/{jid}:cancel", ("1.x", "2.x"))
def cancel(call: Call) -> Response:
    found = _job(call)
    if found.open:
        found.state = "cancelled"
    return Response(202)


@routes.add("DELETE", "jobs/{jid}", WHOLE)
def delete(call: Call) -> Response:
    found = _job(call)
    if found.open:
        found.state = "cancelled"
    return answer({"message": "Job was cancelled"})


def _job(call: Call) -> Job:
    found = call.world.jobs.get(call.parts["jid"])
    if found is None:
        raise not_found("job", call.parts["jid"])
    return found


# --- export ------------------------------------------------------------------------------------------------------------


@routes.add("POST", "projects/{pid}:export", NEW)
def export(call: Call) -> Response:
    """Faults: those of exports, of which "no_download_url" is a job that finishes without telling where its file is."""
    project, world = call.project(), call.world
    models = call.query.get("include_models", "all")
    if models not in ("all", "none", "latest_active"):
        raise bad_request("'include_models' must be one of all, none, latest_active.")
    call.server.jobs.refuse_while_running(project)
    untold = call.faults.get("no_download_url") is not None
    home = call.write.home(project.workspace_id).lstrip("/")

    def ending(job: Job) -> None:
        path = world.directory / f"export-{job.id}.zip"
        write_archive(project, path, models)
        world.archives[job.id] = path
        job.metadata["size"] = path.stat().st_size
        if not untold:
            job.metadata["download_url"] = f"{home}/projects/{project.id}/exports/{job.id}/download"

    job = call.server.jobs.start("export_project", project, project.name, ending, call.faults)
    return answer({"job_id": job.id}, 202)


@routes.add("GET", "projects/{pid}/exports/{eid}/download", NEW)
def download(call: Call) -> Response:
    path = call.world.archives.get(call.parts["eid"])
    if path is None:
        raise not_found("export", call.parts["eid"])
    return call.server.presigned(call.request, call.faults, path, "application/zip")


# --- resumable upload --------------------------------------------------------------------------------------------------


@routes.add("OPTIONS", UPLOADS, NEW)
def capabilities(call: Call) -> Response:
    if not call.server.tus_options:
        raise refusal(403, "forbidden", "You are not authorized to perform this operation.")
    return Response(
        204, [VERSION, ("Tus-Version", "1.0.0"), ("Tus-Extension", "creation"), ("Tus-Max-Size", str(MAX_ARCHIVE))]
    )


def _check_version(call: Call) -> None:
    if call.request.headers.get("tus-resumable") != "1.0.0":
        raise refusal(412, "precondition_failed", "The version of the TUS protocol is not supported.")


@routes.add("POST", UPLOADS, NEW)
def begin(call: Call) -> Response:
    _check_version(call)
    try:
        length = int(call.request.headers.get("upload-length", ""))
    except ValueError:
        raise bad_request("The header Upload-Length is missing.") from None
    if length > min(MAX_ARCHIVE, call.server.max_archive_bytes):
        raise refusal(413, "payload_too_large", "The file is too large.")
    name = secrets.token_hex(12)
    path = call.world.directory / f"upload-{name}"
    path.touch()
    call.server.uploads[name] = Upload(path, length)
    home = call.write.home(call.parts["wid"])
    where = f"{call.server.base_of(call.request)}{home}/{UPLOADS}/{name}"
    return Response(201, [VERSION, ("Location", where)])


def _upload(call: Call) -> Upload:
    found = call.server.uploads.get(call.parts["fid"])
    if found is None:
        raise not_found("file", call.parts["fid"])
    return found


@routes.add("HEAD", f"{UPLOADS}/{{fid}}", NEW)
def progress(call: Call) -> Response:
    _check_version(call)
    found = _upload(call)
    return Response(204, [VERSION, ("Upload-Offset", str(found.offset)), ("Upload-Length", str(found.length))])


@routes.add("PATCH", f"{UPLOADS}/{{fid}}", NEW, locked=False)
def append(call: Call) -> Response:
    """What arrived is kept also when the connection ends early."""
    _check_version(call)
    found, request = _upload(call), call.request
    if request.headers.get("content-type") != "application/offset+octet-stream":
        raise refusal(415, "unsupported_media_type", "The content type must be application/offset+octet-stream.")
    if request.headers.get("upload-offset") != str(found.offset):
        raise refusal(409, "conflict", f"The offset is {found.offset}.")
    left = found.length - found.offset
    cut = request.cut_upload_after
    with found.path.open("ab") as stream:
        while piece := request.chunk(1 << 20 if cut is None else max(1, min(cut, 1 << 20))):
            stream.write(piece[:left])
            left -= min(left, len(piece))
            if cut is not None:
                cut -= len(piece)
                if cut <= 0:
                    break
    return Response(204, [VERSION, ("Upload-Offset", str(found.offset))])


@routes.add("POST", "projects:import", NEW)
def bring_in(call: Call) -> Response:
    raw = body_object(call.request)
    found = call.server.uploads.get(str(raw.get("file_id")))
    if found is None:
        raise not_found("file", str(raw.get("file_id")))
    if found.offset != found.length:
        raise bad_request("The file was not uploaded completely.")
    if len(call.world.projects) >= call.server.max_projects:
        raise refusal(409, "max_projects_reached", "The maximum number of projects is reached.")
    world = call.world
    name = str(raw.get("project_name") or "Imported project")

    def ending(job: Job) -> None:
        project = read_archive(world, found.path, name)
        world.projects[project.id] = project
        job.metadata["project"] = {"id": project.id, "name": project.name}

    job = call.server.jobs.start(
        "import_project", None, name, ending, call.faults, {"file_id": raw.get("file_id"), "project": {}}
    )
    return answer({"job_id": job.id}, 202)
