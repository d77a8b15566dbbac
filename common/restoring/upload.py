"""Sending one archive (TUS): resumed after cut connections, server restarts and a kill of ours."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from common import log
from common.backups.compose import Composed
from common.cvat import errors
from common.cvat.client import Client
from common.sources import Kind
from common.text import size
from common.waiting import Deadline, growing_pauses

MOST_FRUITLESS_ATTEMPTS = 8
# CVAT sits behind a proxy that sets X-Forwarded-Host; where it does not, CVAT asks for an Origin (measured).
_TUS = {"Tus-Resumable": "1.0.0"}


class UploadLost(errors.CvatError):
    """The server no longer knows the upload: it is sent from the beginning."""


class TooLarge(errors.CvatError):
    """The server accepts no upload of this size."""

    remedy = (
        "Set CVAT_RESTORE_UPLOAD_LIMIT_GB to what the server accepts: larger projects are then sent in parts. "
        "A single task cannot be: raise TUS_MAX_FILE_SIZE in the CVAT server's settings (25 GiB by default)."
    )


def begin_upload(client: Client, kind: Kind, archive: Composed, params: Mapping[str, Any], deadline: Deadline) -> str:
    """The id of a new upload. Asking twice leaves an empty upload behind, which CVAT throws away. Raises CvatError."""
    place = f"/api/{kind}s/backup/"
    headers = {"Origin": _origin(client)}
    client.change("POST", place, params=params, headers={**headers, "Upload-Start": ""}, repeat=True, deadline=deadline)
    name = base64.b64encode(b"backup.zip").decode()
    headers |= {
        **_TUS,
        "Upload-Length": str(archive.size_bytes),
        "Upload-Metadata": f"filename {name},filetype {base64.b64encode(b'application/zip').decode()}",
    }
    try:
        answer = client.change("POST", place, params=params, headers=headers, repeat=True, deadline=deadline)
    except errors.Refused as error:
        if error.status == 413:
            raise TooLarge(f"the server accepts no upload of {size(archive.size_bytes)}") from None
        raise
    # The host in Location comes from request headers and may be anybody's; only the id at its end is used.
    path = urlsplit(answer.headers.get("Location", "")).path
    upload_id = answer.headers.get("Upload-Filename") or path.rstrip("/").rsplit("/", 1)[-1]
    if not re.fullmatch(r"[\w.-]+", upload_id):
        raise errors.ServerError(f"POST {place}: CVAT named no place for the upload")
    return upload_id


def send_rest(
    client: Client,
    kind: Kind,
    upload_id: str,
    archive: Composed,
    params: Mapping[str, Any],
    chunk_bytes: int,
    deadline: Deadline,
    on_progress: Callable[[int, int | None], None],
) -> None:
    """Sends what the server does not have yet. Raises UploadLost and other CvatErrors."""
    address = f"/api/{kind}s/backup/{upload_id}"
    offset = _offset(client, address, params, deadline)
    if offset:
        log.get().info("upload_resumed", at=size(offset), of=size(archive.size_bytes))
    farthest, fruitless, pauses = offset, 0, growing_pauses(0.5, longest=15)
    while offset < archive.size_bytes:
        client.stop.check()
        on_progress(offset, archive.size_bytes)
        piece = archive.read_at(offset, chunk_bytes)
        headers = {**_TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        headers["Origin"] = _origin(client)
        try:
            answer = client.change("PATCH", address, piece, params=params, headers=headers, deadline=deadline)
            offset = int(answer.headers.get("Upload-Offset", offset + len(piece)))
        except errors.NotFound as error:
            raise UploadLost(str(error)) from None
        except (errors.OutcomeUnknown, errors.Refused, ValueError) as error:
            if isinstance(error, errors.Refused) and error.status == 413:
                raise TooLarge(f"the server or a proxy before it refused a piece of {size(len(piece))}") from None
            if isinstance(error, errors.Refused) and error.status != 409:
                raise
            log.get().warning("upload_interrupted", at=size(offset), reason=str(error))
            offset = _offset(client, address, params, deadline)
        if offset > farthest:
            farthest, fruitless, pauses = offset, 0, growing_pauses(0.5, longest=15)
            continue
        fruitless += 1
        if fruitless >= MOST_FRUITLESS_ATTEMPTS or deadline.is_over:
            raise errors.Unreachable(f"the upload does not get beyond {size(offset)} of {size(archive.size_bytes)}")
        client.stop.sleep(next(pauses))
    on_progress(offset, archive.size_bytes)


def _offset(client: Client, address: str, params: Mapping[str, Any], deadline: Deadline) -> int:
    try:
        answer = client.send("HEAD", address, params=params, headers=_TUS, deadline=deadline)
        return int(answer.headers["Upload-Offset"])
    except (errors.NotFound, KeyError, ValueError) as error:
        raise UploadLost(f"the server no longer knows the upload ({error})") from None


def _origin(client: Client) -> str:
    parts = urlsplit(client.url)
    return f"{parts.scheme}://{parts.netloc}"
