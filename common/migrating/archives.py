"""The server's own archive to a file and back, resumable in every step."""

from __future__ import annotations

import json
import lzma
import time
import zipfile
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

from common.exits import Trouble
from common.files import is_file, is_there, publish, write_json
from common.hashing import PIECE_BYTES, sha256_of
from common.lock import locked
from common.migrating.names import project_folder
from common.migrating.report import Report
from common.progress import Display
from common.sc import archives
from common.sc.address import server_key
from common.sc.client import Client
from common.sc.projects import Project, get_project, list_projects
from common.text import iso, now, parse_time
from common.transfer import PartFile
from common.waiting import Deadline, StopSignal
from common.web import errors

# A server's own archive shows the project as it was when its job ran: an older one is made anew.
FRESH = timedelta(hours=24)


class BadArchive(Trouble):
    """The file is no archive that a server made."""


def require_replaceable(file: Path, is_ours: bool, remedy: str) -> None:
    """Raises BadArchive where a file of this name is there that this program did not write."""
    if is_there(file) and not is_ours:
        raise BadArchive(f"{file} is there already, and this program did not write it: {remedy}")


def damage_of(file: Path, stop: StopSignal) -> str:
    """What in a zip is not as it was packed, by its own checksums; "" where nothing is, or where they cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    while stream.read(PIECE_BYTES):
                        stop.check()
    except RuntimeError:
        return ""  # encrypted, or packed in a way that Python does not know
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


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
    record = _record_of(final)
    # A run that was killed between the file and its record has left the note of its job.
    is_ours = is_there(begun) or (is_there(final) and record.get("size_bytes") == final.stat().st_size)
    require_replaceable(final, is_ours, "move it away, or choose another --into")
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
        item.phase("testing")
        damage = damage_of(part.path, client.stop) if zipfile.is_zipfile(part.path) else "it is no zip archive"
        if damage:
            part.discard()
            begun.unlink(missing_ok=True)  # the next run has the server make another one
            raise BadArchive(f"what the server exported is damaged ({damage}): run the same command again")
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
    if not is_file(file):
        raise BadArchive(f"{file} is not there")
    if not zipfile.is_zipfile(file):
        raise BadArchive(f"{file} is no zip archive")
    _require_sound(file, client.stop)
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
    try:
        report.project_id = _made(client, (job.get("metadata") or {}).get("project"), name)
    except archives.JobFailed:
        marker.unlink(missing_ok=True)
        raise
    # Not before: should that look fail for another reason, the next run looks again and sends nothing twice.
    marker.unlink(missing_ok=True)
    report.where = f"{client.url} {report.project_id}"
    report.bytes = file.stat().st_size
    report.seconds = time.monotonic() - began
    return report


def _record_of(file: Path) -> dict[str, Any]:
    """What was written down of an archive when it was exported; nothing where there is no such record."""
    try:
        found = json.loads(file.with_name(file.name + ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name_of(file: Path) -> str:
    project = _record_of(file).get("project")
    return str(project["name"]) if isinstance(project, dict) and project.get("name") else file.stem


def _require_sound(file: Path, stop: StopSignal) -> None:
    """Raises BadArchive where a file is not what was exported: by its record, else by its own checksums."""
    record = _record_of(file)
    if record.get("sha256"):
        if record.get("size_bytes") != file.stat().st_size or record["sha256"] != sha256_of(file, stop.check):
            raise BadArchive(f"{file} is damaged: it is not what {file.name}.json says. Export it again")
    elif damage := damage_of(file, stop):
        raise BadArchive(f"{file} is damaged ({damage})")


def _made(client: Client, project: Any, name: str) -> str:
    """The id of the project that an import made. Raises JobFailed where it made none, WebError."""
    identity = str(project.get("id") or "") if isinstance(project, dict) else ""
    if not identity:  # no other of this name was there when it began
        identity = next((str(each["id"]) for each in list_projects(client) if each.get("name") == name), "")
    try:
        return str(get_project(client, identity)["id"]) if identity else _made_nothing(name)
    except errors.NotFound:
        return _made_nothing(name)


def _made_nothing(name: str) -> str:
    raise archives.JobFailed(f"the server's import finished, and there is no project {name!r}")


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
