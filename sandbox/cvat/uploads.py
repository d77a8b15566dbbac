"""Uploads in pieces (TUS, with CVAT's Upload-Start and Upload-Finish around it)."""

from __future__ import annotations

import base64
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.cvat.http import Request, Response, refuse, server_error

TUS_HEADERS = [
    ("tus-resumable", "1.0.0"),
    ("tus-version", "1.0.0"),
    ("tus-extension", ""),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "PATCH,HEAD,GET,POST,OPTIONS"),
    (
        "Access-Control-Expose-Headers",
        "Tus-Resumable,upload-length,upload-metadata,Location,Upload-Offset",
    ),
    (
        "Access-Control-Allow-Headers",
        "Tus-Resumable,upload-length,upload-metadata,Location,Upload-Offset,content-type",
    ),
]


@dataclass
class Upload:
    id: str
    user_id: int
    length: int
    path: Path
    filename: str
    place: str  # where it was begun, e.g. "projects/backup" or "tasks/7/data"
    offset: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """The files that are being sent, by the id their Location ends with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, Upload] = {}

    def begin(self, request: Request, user_id: int, place: str, limit: int) -> Response:
        if "x-forwarded-host" not in request.headers and "origin" not in request.headers:
            # Without traefik's header the server looks at Origin, and falls over when there is none.
            raise server_error()
        length = int(request.headers.get("upload-length", "-1"))
        if length < 0:
            raise refuse(400, ["Upload-Length is missing"])  # not recorded
        headers = [*TUS_HEADERS, ("tus-max-size", str(limit))]
        if length > limit:
            return Response(413, headers)  # not recorded with the default limit; the status is TUS's own
        upload_id = f"{user_id}_{uuid.uuid4()}"
        path = self.directory / upload_id
        path.touch()
        self.known[upload_id] = Upload(
            upload_id, user_id, length, path, _metadata(request).get("filename", upload_id), place
        )
        location = f"{request.base}/api/{place}/{upload_id}"
        if not request.path.endswith("/"):
            # Measured: the address is joined wrongly when the request had no trailing slash.
            location = f"{request.base}/api/{place}{upload_id}"
        return Response(201, [*headers, ("Location", location), ("upload-filename", upload_id)])

    def receive(self, request: Request, upload: Upload, limit: int) -> Response:
        headers = [*TUS_HEADERS, ("tus-max-size", str(limit))]
        with upload.lock:
            if int(request.headers.get("upload-offset", "-1")) != upload.offset:
                return Response(409, headers)
            if upload.offset + request.content_length > upload.length:
                return Response(413, headers)
            with upload.path.open("ab") as stream:
                left = request.cut_upload_after
                while piece := request.chunk(1 << 20 if left is None else min(left, 1 << 20)):
                    stream.write(piece)
                    stream.flush()
                    upload.offset += len(piece)
                    if left is not None:
                        left -= len(piece)
                        if left <= 0:
                            break
        return Response(204, [*headers, ("upload-offset", str(upload.offset))])

    def state(self, upload: Upload, limit: int) -> Response:
        return Response(
            200,
            [
                *TUS_HEADERS,
                ("tus-max-size", str(limit)),
                ("upload-offset", str(upload.offset)),
                ("upload-length", str(upload.length)),
                ("Cache-Control", "no-store"),
            ],
        )

    def take(self, upload_id: str, user_id: int) -> Upload:
        """The finished upload, which is then no more known."""
        upload = self.known.get(upload_id)
        if upload is None or upload.user_id != user_id or upload.offset != upload.length:
            raise refuse(400, ["No such file were uploaded"])
        del self.known[upload_id]
        return upload


def _metadata(request: Request) -> dict[str, str]:
    found = {}
    for item in request.headers.get("upload-metadata", "").split(","):
        key, _, value = item.strip().partition(" ")
        if key:
            found[key] = base64.b64decode(value).decode()
    return found
