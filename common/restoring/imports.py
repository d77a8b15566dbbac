"""One archive into the server, exactly once.

The request that starts an import cannot be repeated: each makes a new project. So the archive bears a name that no
other has, every step is on disk before it is taken, and after anything unknown (a timeout, a 504, a kill of ours) the
server is asked for that name before anything is done again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from common import log
from common.backups.compose import Composed
from common.cvat import errors
from common.cvat.client import Client
from common.cvat.listing import items
from common.restoring.identity import is_ours
from common.restoring.journal import Journal, Piece
from common.restoring.upload import UploadLost, begin_upload, send_rest
from common.sources import Kind
from common.text import duration, iso, now, parse_time, printable
from common.waiting import FOREVER, Deadline, poll_pause

MOST_ATTEMPTS = 4
# How long after a request without an answer the server may still be about to carry it out.
SETTLE_SECONDS = 20.0
_WORKER_DIED = ("Work-horse terminated", "Job was stuck", "moved to the FailedJobRegistry", "abandoned")
_RUNNING = ("queued", "started", "deferred", "scheduled")


class ImportFailed(errors.CvatError):
    """CVAT's import worker said that it failed; nothing of it stays on the server."""

    remedy = "Try the same file in CVAT's own page (Create from backup); its import worker's log says more."


class ImportTooSlow(errors.CvatError):
    """The deadline of an import passed. The server may still finish it."""

    remedy = "Run the same command again: it waits for the import that is under way. CVAT_RESTORE_TIMEOUT_HOURS is the limit."


@dataclass
class Bringing:
    """What bringing in one piece needs."""

    client: Client
    journal: Journal
    piece: Piece
    open_archive: Callable[[], AbstractContextManager[Composed]]
    params: Mapping[str, Any]
    chunk_bytes: int
    timeout_seconds: float
    phase: Callable[[str], None]
    on_progress: Callable[[int, int | None], None]
    # Of the import, not of the upload: sending ends when there is no progress.
    deadline: Deadline = FOREVER


def bring_in(work: Bringing) -> int:
    """The id of what was made of the archive, by this run or by the one before it. Raises CvatError."""
    piece, journal = work.piece, work.journal
    for _attempt in range(MOST_ATTEMPTS):
        work.deadline = Deadline(work.timeout_seconds)
        if piece.state in ("imported", "named") and piece.result_id is not None:
            if _is_there(work, piece.result_id):
                return piece.result_id
            piece.state, piece.request_id, piece.upload_id = "new", "", ""
            piece.result_id, piece.result_created = None, ""
        if piece.state in ("finishing", "importing"):
            work.phase("looking what became of the import")
            found = _what_became_of_it(work)
            if found is not None and _imported(work, found):
                return found
            piece.state, piece.request_id = "uploaded" if piece.state == "finishing" else "new", ""
        if piece.state in ("new", "uploading"):
            _upload(work)
            work.deadline = Deadline(work.timeout_seconds)
        piece.state, piece.finish_at = "finishing", iso(now())
        journal.save()
        work.phase("importing")
        try:
            piece.request_id = _finish(work)
        except errors.OutcomeUnknown as error:
            log.get().warning("import_unknown", reason=str(error))
            continue
        except errors.Refused as error:
            if error.status != 400 or "uploaded" not in error.said:
                raise
            found = _what_became_of_it(work)
            if found is not None and _imported(work, found):
                return found
            piece.state = "new"
            continue
        piece.state = "importing"
        journal.save()
    raise ImportFailed(f"CVAT did not take the archive in {MOST_ATTEMPTS} attempts")


def _imported(work: Bringing, found: int) -> bool:
    """Puts down what was made, by its number and the moment it was made. False when it is gone again."""
    try:
        item = work.client.get(f"/api/{work.piece.kind}s/{found}")
    except errors.NotFound:
        return False
    work.piece.state, work.piece.result_id = "imported", found
    work.piece.result_created = str(item.get("created_date") or "")
    work.journal.save()
    return True


def _upload(work: Bringing) -> None:
    piece = work.piece
    with work.open_archive() as archive:
        for _attempt in range(MOST_ATTEMPTS):
            if piece.state == "new":
                piece.upload_id = begin_upload(work.client, piece.kind, archive, work.params, FOREVER)
                piece.state = "uploading"
                work.journal.save()
            work.phase("sending")
            try:
                send_rest(
                    work.client, piece.kind, piece.upload_id, archive, work.params, work.chunk_bytes, FOREVER,
                    work.on_progress,
                )  # fmt: skip
            except UploadLost as error:
                log.get().warning("upload_begun_anew", reason=str(error))
                piece.state = "new"
                continue
            piece.state = "uploaded"
            return
    raise errors.ServerError(f"the server lost the upload {MOST_ATTEMPTS} times")


def _finish(work: Bringing) -> str:
    """The id of the import request. Raises OutcomeUnknown."""
    piece = work.piece
    answer = work.client.change(
        "POST",
        f"/api/{piece.kind}s/backup/",
        {"filename": piece.upload_id},
        params={**work.params, "filename": piece.upload_id},
        headers={"Upload-Finish": "", "Origin": work.client.url},
        deadline=work.deadline,
    )
    try:
        request_id = answer.json()["rq_id"]
    except (ValueError, KeyError, TypeError):
        raise errors.OutcomeUnknown("CVAT named no request to wait for") from None
    return str(request_id)


def _what_became_of_it(work: Bringing) -> int | None:
    """The id of what an import made; None when it surely made nothing. Raises ImportFailed, ImportTooSlow."""
    piece = work.piece
    if piece.request_id:
        with contextlib.suppress(errors.NotFound):
            return _wait(work, piece.request_id)
        # Finished requests are forgotten after an hour: the marker tells.
        return _find(work)
    began = work.deadline.left_seconds
    while True:
        running = _an_import_runs(work.client)
        found = None if running else _find(work)
        if found is not None:
            return found
        since = (now() - parse_time(piece.finish_at)).total_seconds() if piece.finish_at else SETTLE_SECONDS
        waited = began - work.deadline.left_seconds
        if not running and (since >= SETTLE_SECONDS or waited >= SETTLE_SECONDS):
            return None
        if work.deadline.is_over:
            raise ImportTooSlow(f"after {duration(work.deadline.seconds)} CVAT is still at work on an import")
        work.client.stop.sleep(poll_pause(waited, shortest=0.5))


def _wait(work: Bringing, request_id: str) -> int | None:
    """Waits for one import request. Raises NotFound when the server no longer knows it."""
    began = work.deadline.left_seconds
    while True:
        answer = work.client.get(f"/api/requests/{quote(request_id, safe='')}", deadline=work.deadline)
        status = answer.get("status")
        if status == "finished":
            result = answer.get("result_id")
            return int(result) if isinstance(result, int) else _find(work)
        if status == "failed":
            return _after_failure(work, str(answer.get("message") or ""))
        if work.deadline.is_over:
            raise ImportTooSlow(f"CVAT has not taken it in within {duration(work.deadline.seconds)} (it is {status!r})")
        progress = answer.get("progress")
        if isinstance(progress, float | int) and progress:
            work.phase(f"importing {progress:.0%}")
        waited = began - work.deadline.left_seconds
        work.client.stop.sleep(min(poll_pause(waited), max(0.01, work.deadline.left_seconds)))


def _after_failure(work: Bringing, message: str) -> int | None:
    # Some messages are whole tracebacks: the last line says what happened.
    lines = message.strip().splitlines()
    said = printable(lines[-1], 300) if lines else "no reason given"
    if any(mark in message for mark in _WORKER_DIED):
        log.get().warning("import_worker_died", reason=said)
        return _find(work)
    # Nothing of it stays on the server: the next run sends it anew.
    work.piece.state, work.piece.request_id, work.piece.upload_id = "new", "", ""
    work.journal.save()
    raise ImportFailed(f"CVAT's import failed: {said}")


def _an_import_runs(client: Client) -> bool:
    """Whether an import of ours is under way: what it makes may be about to appear."""
    try:
        answer = client.get("/api/requests", {"action": "import", "page_size": 100})
        found = answer["results"]
    except (errors.NotFound, errors.Refused, KeyError, TypeError):
        return False
    return any(
        item.get("status") in _RUNNING and str((item.get("operation") or {}).get("type", "")).startswith("import")
        for item in found
    )


def _find(work: Bringing) -> int | None:
    """What bears the piece's marker on the server."""
    found = with_marker(work.client, work.piece.kind, work.piece.marker)
    if len(found) > 1:
        log.get().warning(
            "import_made_twice", kind=work.piece.kind, ids=found, detail="delete all but the first by hand"
        )
    return found[0] if found else None


def made_by(work: Bringing) -> int | None:
    """What an import that was begun made in the end; None when nothing. Raises ImportFailed, ImportTooSlow."""
    work.deadline = Deadline(work.timeout_seconds)
    return _what_became_of_it(work)


def with_marker(client: Client, kind: Kind, marker: str) -> list[int]:
    """The ids of the projects or tasks whose name holds a marker, the oldest first."""
    wanted = f"[cvat-backups {marker}]"
    # An unknown query parameter is ignored with 200 (measured): every name is looked at.
    found = [int(item["id"]) for item in items(client, f"/api/{kind}s", {"search": marker}) if wanted in item["name"]]
    return sorted(found)


def _is_there(work: Bringing, item_id: int) -> bool:
    """Whether what an earlier run made is still there, and is no other one that has its number now."""
    piece, address = work.piece, f"/api/{work.piece.kind}s/{item_id}"
    try:
        item = work.client.get(address)
    except errors.NotFound:
        return False
    if not is_ours(item, work.journal, piece):
        log.get().warning("restore_number_reused", what=address, detail="the server was set up anew: it is made again")
        return False
    piece.result_created = str(item.get("created_date") or "")
    return True
