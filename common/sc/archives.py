"""The server's own archive of a whole project (Geti 2.x): the only way in which models travel."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from common import log
from common.exits import Trouble
from common.sc.client import Client
from common.sc.media import opener
from common.text import printable, size
from common.transfer import Changed, Fetched, Interrupted, PartFile, fetch
from common.waiting import Deadline, growing_pauses, poll_pause
from common.web import errors

PIECE_BYTES = 16 << 20
MOST_FRUITLESS_ATTEMPTS = 8
_TUS = {"tus-resumable": "1.0.0"}
Progress = Callable[[int, int | None], None]


class JobFailed(Trouble):
    """A job of the server ended without success."""

    remedy = "The same action in the server's own page may say more."


class JobEnded(JobFailed):
    """The server has given the job up: waiting once more brings nothing."""


def require_archives(client: Client) -> None:
    """Raises JobFailed where the server has no archives of its own."""
    if not client.generation.has_archives:
        raise JobFailed(f"{client.generation.name} exports no projects itself: use download and upload")


# --- export -----------------------------------------------------------------------------------------------------


def begin_export(client: Client, project_id: str, include_models: str) -> str:
    """The id of a new export job. `include_models` (all, none, latest_active) is understood from 2.12 on."""
    path = f"{client.home}/projects/{project_id}:export"
    params = {"include_models": include_models} if client.generation.number >= (2, 12) else None
    # Repeating makes a second job, which costs the server work and nothing else.
    answer = client.json("POST", path, {}, params=params, repeat=True)
    return _job_of(answer)


def _job_of(answer: Any) -> str:
    if not isinstance(answer, dict) or not answer.get("job_id"):
        raise errors.NotJson("the server's answer names no job")
    return str(answer["job_id"])


def wait_for(
    client: Client, job_id: str, deadline: Deadline, say: Callable[[str], None] = lambda text: None
) -> Mapping[str, Any]:
    """The finished job. Raises JobFailed."""
    waited = Deadline(0)
    while True:
        job = client.get(f"{client.home}/jobs/{job_id}")
        if not isinstance(job, dict):
            raise errors.NotJson(f"job {job_id}: the server's answer is no job")
        state = str(job.get("state", "")).lower()
        steps = job.get("steps") or []
        if state == "finished":
            return dict(job)
        if state in ("failed", "cancelled"):
            said = "; ".join(printable(str(step.get("message") or ""), 200) for step in steps if step.get("message"))
            raise JobEnded(f"the server's job {job_id} {state}" + (f": {said}" if said else ""))
        if deadline.is_over:
            raise JobFailed(f"the server's job {job_id} was not finished in time (SC_JOB_TIMEOUT_HOURS)")
        step: Mapping[str, Any] = next((each for each in steps if each.get("state") == "running"), {})
        say(f"{step.get('step_name', state)} {step.get('progress', '')}")
        client.stop.sleep(poll_pause(-waited.left_seconds))


def fetch_archive(
    client: Client, job: Mapping[str, Any], part: PartFile, label: str, reserve_bytes: int, on_progress: Progress
) -> Fetched:
    """Fetches the archive of a finished job whole: as many bytes as the job says. Raises JobFailed, WebError.

    The address behind it expires after minutes on some servers: every attempt asks for it anew, and goes on.
    """
    metadata = job.get("metadata") or {}
    path = str(metadata.get("download_url") or "")
    if not path:
        raise JobFailed(f"the server's job {job.get('id')} finished and names no archive to fetch")
    path = "/" + urlsplit(path).path.lstrip("/")
    wanted = metadata.get("size")
    try:
        got = fetch(
            opener(client, path), part, label, client.stop, reserve_bytes=reserve_bytes, on_progress=on_progress,
            stall_seconds=client.server.timeout_seconds,
        )  # fmt: skip
    except (Changed, Interrupted) as error:
        reason = str(error) or "it changed while it was fetched"
        raise errors.Unreachable(f"the archive did not arrive whole: {reason}") from None
    if isinstance(wanted, int) and wanted > 0 and got.size_bytes != wanted:
        part.discard()
        raise errors.Unreachable(f"{got.size_bytes:,} bytes of the archive arrived, the server's job says {wanted:,}")
    return got


# --- import -----------------------------------------------------------------------------------------------------


def begin_upload(client: Client, archive: Path) -> str:
    """The address of a new resumable upload. OPTIONS is not asked: some servers answer it 403. Raises WebError."""
    headers = {**_TUS, "upload-length": str(archive.stat().st_size)}
    response = client.send("POST", f"{client.home}/projects/uploads/resumable", headers=headers, repeat=True)
    # Its host may be any; only the path is used.
    path = urlsplit(response.headers.get("Location", "")).path
    if not re.search(r"/uploads/resumable/[\w.-]+$", path):
        raise errors.ServerError("the server named no place for the upload")
    return path


def send_rest(client: Client, upload: str, archive: Path, on_progress: Progress) -> str:
    """Sends what the server does not have yet; the id of the file there. Raises WebError; NotFound: upload anew."""
    total = archive.stat().st_size
    offset = _offset(client, upload)
    farthest, fruitless, pauses = offset, 0, growing_pauses(0.5, longest=15)
    with open(archive, "rb") as file:
        while offset < total:
            client.stop.check()
            on_progress(offset, total)
            file.seek(offset)
            piece = file.read(PIECE_BYTES)
            headers = {**_TUS, "upload-offset": str(offset), "Content-Type": "application/offset+octet-stream"}
            try:
                response = client.send("PATCH", upload, body=piece, headers=headers)
                offset = int(response.headers.get("Upload-Offset", offset + len(piece)))
            except (errors.OutcomeUnknown, errors.Refused, ValueError) as error:
                if isinstance(error, errors.Refused) and error.status != 409:
                    raise
                log.get().warning("upload_interrupted", at=size(offset), reason=str(error))
                offset = _offset(client, upload)
            if offset > farthest:
                farthest, fruitless, pauses = offset, 0, growing_pauses(0.5, longest=15)
                continue
            fruitless += 1
            if fruitless >= MOST_FRUITLESS_ATTEMPTS:
                raise errors.Unreachable(f"the upload does not get beyond {size(offset)} of {size(total)}")
            client.stop.sleep(next(pauses))
    on_progress(total, total)
    return upload.rsplit("/", 1)[1]


def _offset(client: Client, upload: str) -> int:
    response = client.send("HEAD", upload, headers=_TUS, repeat=True)
    return int(response.headers.get("Upload-Offset", 0))


def begin_import(client: Client, file_id: str, name: str) -> str:
    """Starts making a project of an uploaded archive; sent once. Raises WebError, OutcomeUnknown."""
    answer = client.json("POST", f"{client.home}/projects:import", {"file_id": file_id, "project_name": name})
    return _job_of(answer)
