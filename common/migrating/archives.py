"""The server's own archive to a file and back, resumable in every step."""

from __future__ import annotations

import json
import time
import zipfile
from datetime import timedelta
from pathlib import Path

from common.exits import Trouble
from common.files import publish, write_json
from common.lock import locked
from common.migrating.names import project_folder
from common.migrating.report import Report
from common.progress import Display
from common.sc import archives
from common.sc.address import server_key
from common.sc.client import Client
from common.sc.projects import Project, list_projects
from common.text import iso, now, parse_time
from common.transfer import PartFile
from common.waiting import Deadline
from common.web import errors

# A server's own archive shows the project as it was when its job ran: an older one is made anew.
FRESH = timedelta(hours=24)


class BadArchive(Trouble):
    """The file is no archive that a server made."""


def export_archive(
    client: Client, project: Project, folder: Path, include_models: str, hours: float, reserve_bytes: int
) -> Report:
    """The server's archive of a project as <id>_<name>.zip, with a record beside it, written last. Raises Trouble."""
    archives.require_archives(client)
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{project_folder(str(project['id']), str(project['name']))}.zip"
    report = Report(str(project["name"]), where=str(final))
    begun = final.with_name(f".{final.name}.job")
    with (
        locked(final.with_name(f".{final.name}.lock"), "sc_migrate.py", client.patience_with_runs),
        Display(f"exporting {project['name']}", 1) as display,
    ):
        item = display.item(str(project["name"]))
        job_id = _running(client, begun, include_models)
        if not job_id:
            job_id = archives.begin_export(client, str(project["id"]), include_models)
            write_json(begun, {"job_id": job_id, "include_models": include_models, "begun_at": iso(now())})
        job = archives.wait_for(client, job_id, Deadline(hours * 3600), item.phase)
        part = PartFile(final.with_name(f".{final.name}.part"))
        item.phase("downloading")
        fetched = archives.fetch_archive(client, job, part, job_id, reserve_bytes, item.bytes)
        if not zipfile.is_zipfile(part.path):
            part.discard()
            raise BadArchive("what arrived is no zip archive")
        publish(part.path, final)
        part.discard()
        write_json(
            final.with_name(final.name + ".json"),
            {
                "version": 1,
                "server": server_key(client.url),
                "server_version": client.generation.version,
                "project": {"id": project["id"], "name": project["name"]},
                "include_models": include_models,
                "size_bytes": fetched.size_bytes,
                "sha256": fetched.sha256,
                "finished_at": iso(now()),
            },
        )
        begun.unlink(missing_ok=True)
        item.close()
        display.advance()
    report.bytes = fetched.size_bytes
    report.seconds = time.monotonic() - began
    return report


def _running(client: Client, begun: Path, include_models: str) -> str:
    """The job that an earlier run began, if it is of the same order and not old, and the server has not failed at it."""
    try:
        record = json.loads(begun.read_text(encoding="utf-8"))
        if record["include_models"] != include_models or now() - parse_time(str(record["begun_at"])) > FRESH:
            return ""
        job = client.get(f"{client.home}/jobs/{record['job_id']}")
        state = str(job["state"]).lower()
    except (OSError, ValueError, KeyError, TypeError, errors.NotFound, errors.NotJson, errors.Refused):
        return ""
    return str(record["job_id"]) if state in ("scheduled", "running", "finished") else ""


def import_archive(client: Client, file: Path, name: str, hours: float) -> Report:
    """Makes a project of an archive. A second run goes on; an existing name is refused. Raises Trouble."""
    archives.require_archives(client)
    began = time.monotonic()
    if not file.is_file():
        raise BadArchive(f"{file} is not there")
    if not zipfile.is_zipfile(file):
        raise BadArchive(f"{file} is no zip archive")
    name = name or _name_of(file)
    report = Report(name, where=client.url)
    marker = file.with_name(f".{file.name}.import")
    with (
        locked(file.with_name(f".{file.name}.lock"), "sc_migrate.py", client.patience_with_runs),
        Display(f"importing {name}", 1) as display,
    ):
        item = display.item(name)
        state = _state(marker, client, name, file)
        if not state.get("job_id"):
            if any(each.get("name") == name for each in list_projects(client)):
                raise BadArchive(f"{client.url} already has a project {name!r}: choose another --name")
            file_id = _upload(client, file, state, marker, item.bytes)
            state["job_id"] = archives.begin_import(client, file_id, name)
            write_json(marker, state)
        try:
            job = archives.wait_for(client, state["job_id"], Deadline(hours * 3600), item.phase)
        except (archives.JobEnded, errors.NotFound):
            marker.unlink(missing_ok=True)  # nothing comes of this job any more: the next run begins anew
            raise
        item.close()
        display.advance()
    made = (job.get("metadata") or {}).get("project") or {}
    marker.unlink(missing_ok=True)
    report.where = f"{client.url} {made.get('id', '')}"
    report.bytes = file.stat().st_size
    report.seconds = time.monotonic() - began
    return report


def _name_of(file: Path) -> str:
    try:
        record = json.loads(file.with_name(file.name + ".json").read_text(encoding="utf-8"))
        return str(record["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return file.stem


def _state(marker: Path, client: Client, name: str, file: Path) -> dict[str, str]:
    there = file.stat()
    wanted = {
        "server": f"{server_key(client.url)}{client.home}", "name": name, "size": str(there.st_size),
        "modified": str(there.st_mtime_ns),  # bytes of two archives must not become one
    }  # fmt: skip
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return wanted
    return (
        found if isinstance(found, dict) and all(found.get(key) == value for key, value in wanted.items()) else wanted
    )


def _upload(client: Client, file: Path, state: dict[str, str], marker: Path, on_progress: archives.Progress) -> str:
    if not state.get("upload"):
        state["upload"] = archives.begin_upload(client, file)
        write_json(marker, state)
    try:
        return archives.send_rest(client, state["upload"], file, on_progress)
    except errors.NotFound:
        # The server no longer knows the upload: from the beginning.
        state["upload"] = archives.begin_upload(client, file)
        write_json(marker, state)
        return archives.send_rest(client, state["upload"], file, on_progress)
