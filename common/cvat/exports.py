"""Asking CVAT for an export and waiting for it, without ever asking twice for the same thing.

A request id is the same for the same (project or task, user, kind, format): an export that already runs is
adopted (409), one whose result has expired is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from common import log
from common.cvat.client import Client
from common.cvat.errors import CvatError, ExportFailed, NotFound, Refused, TooSlow
from common.sources import Kind
from common.text import duration, parse_time, printable
from common.waiting import Deadline, poll_pause

# A worker that was killed shows as one of these; asking again works once the server has noticed (measured).
_WORKER_DIED = ("Work-horse terminated", "Job was stuck", "moved to the FailedJobRegistry", "abandoned")
MOST_ATTEMPTS = 3
AGAIN_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class ExportOrder:
    """What to ask for. `dataset_format` None means a backup."""

    kind: Kind
    id: int
    dataset_format: str | None = None
    save_images: bool = False

    @property
    def path(self) -> str:
        return f"/api/{self.kind}s/{self.id}/{'dataset' if self.dataset_format else 'backup'}"

    @property
    def params(self) -> dict[str, str]:
        # location=local: otherwise a project's target storage may send the result to a bucket.
        if self.dataset_format:
            return {"format": self.dataset_format, "save_images": str(self.save_images).lower(), "location": "local"}
        return {"location": "local"}

    @property
    def mark(self) -> str:
        """Everything that is asked for, in one word without blanks: two orders with the same mark get the same file."""
        return f"{self.path}?{urlencode(self.params)}"


@dataclass(frozen=True)
class ReadyExport:
    """A finished export: where to fetch it (path and query on our own base address), and its request's marks."""

    order: ExportOrder
    request_id: str
    path: str
    # The request's creation time as the server says: tells one export of a source from the next.
    created_at: str


class ResultExpired(CvatError):
    """The server threw the finished file away before it was fetched."""


def ask(client: Client, order: ExportOrder, deadline: Deadline, changed_at: str = "") -> ReadyExport:
    """Asks for an export, or adopts the one that already runs, and waits until it is ready.

    An adopted export that began before `changed_at` (the newest date of the source, server's clock) may lack that
    change: it is waited for, and asked for once more. Raises ExportFailed, TooSlow, NotFound and other CvatErrors.
    """
    for attempt in range(1, MOST_ATTEMPTS + 1):
        request_id, adopted = _post(client, order, deadline)
        try:
            ready = wait_until_ready(client, order, request_id, deadline)
        except (ExportFailed, NotFound) as error:
            gone = isinstance(error, NotFound)
            if attempt == MOST_ATTEMPTS or not (gone or any(mark in str(error) for mark in _WORKER_DIED)):
                raise
            log.get().warning("export_asked_again", what=f"{order.kind} {order.id}", reason=str(error))
            client.stop.sleep(min(AGAIN_PAUSE_SECONDS, max(0, deadline.left_seconds)))
            continue
        if adopted:
            log.get().info("export_adopted", what=f"{order.kind} {order.id}", began=ready.created_at)
            if _older(ready.created_at, changed_at) and attempt < MOST_ATTEMPTS:
                continue
        return ready
    raise ExportFailed(f"the export of {order.kind} {order.id} was lost {MOST_ATTEMPTS} times")


def _post(client: Client, order: ExportOrder, deadline: Deadline) -> tuple[str, bool]:
    """The request id of a new or an adopted export, and whether it was adopted."""
    adopted = False
    try:
        answer = client.post(f"{order.path}/export", order.params, deadline=deadline).json()
    except Refused as error:
        if error.status != 409:
            raise
        adopted, answer = True, error.payload
    except ValueError:
        answer = None
    request_id = answer.get("rq_id") if isinstance(answer, dict) else None
    if not isinstance(request_id, str) or not request_id:
        raise ExportFailed(f"POST {order.path}/export: CVAT named no request to wait for")
    return request_id, adopted


def find(client: Client, order: ExportOrder, request_id: str) -> ReadyExport | None:
    """The finished export of an earlier run that still waits on the server, if there is one."""
    try:
        answer = _status(client, request_id, Deadline(60))
        return _ready(order, answer) if answer.get("status") == "finished" else None
    except CvatError:
        return None


def wait_until_ready(
    client: Client, order: ExportOrder, request_id: str, deadline: Deadline, clock: Callable[[], float] = time.monotonic
) -> ReadyExport:
    """Polls one request: quickly at first, every five seconds after a minute."""
    began = clock()
    while True:
        answer = _status(client, request_id, deadline)
        match answer.get("status"):
            case "finished":
                return _ready(order, answer)
            case "failed":
                lines = str(answer.get("message") or "").strip().splitlines()
                # Some messages are whole tracebacks: the last line says what happened.
                raise ExportFailed(f"CVAT's export failed: {printable(lines[-1], 300) if lines else 'no reason given'}")
            case "queued" | "started" | "deferred" | "scheduled" | None:
                pass
            case other:
                log.get().warning("unknown_export_status", status=printable(str(other)))
        waited = clock() - began
        if deadline.is_over:
            state = answer.get("status", "waiting")
            raise TooSlow(
                f"CVAT has not finished the export in {duration(deadline.seconds)} (it is {state!r} for {duration(waited)})"
            )
        client.stop.sleep(min(poll_pause(waited), max(0.01, deadline.left_seconds)))


def _status(client: Client, request_id: str, deadline: Deadline) -> dict[str, Any]:
    try:
        answer = client.get(f"/api/requests/{quote(request_id, safe='')}", deadline=deadline)
    except NotFound as error:
        raise NotFound(f"the server no longer knows the export request ({error})") from None
    if not isinstance(answer, dict):
        raise ExportFailed("the state of the export request is not a JSON object")
    return answer


def _ready(order: ExportOrder, answer: dict[str, Any]) -> ReadyExport:
    url = answer.get("result_url")
    if not isinstance(url, str) or not url:
        raise ExportFailed("the export is finished but names no file to fetch (was it sent to a cloud storage?)")
    # The host in result_url comes from request headers and may be anybody's: only path and query are used.
    parts = urlsplit(url)
    marker = parts.path.find("/api/")
    path = parts.path[marker:] if marker >= 0 else parts.path
    if not path.startswith("/api/"):
        raise ExportFailed(f"the export's address is not one of CVAT's: {printable(parts.path, 100)}")
    return ReadyExport(
        order, str(answer.get("id") or ""), f"{path}?{parts.query}", str(answer.get("created_date") or "")
    )


def _older(began: str, changed_at: str) -> bool:
    try:
        times: list[datetime] = [parse_time(began), parse_time(changed_at)]
    except ValueError:
        return False
    return times[0] <= times[1]
