"""Uploads as they come: a multipart form is read piece by piece, its file goes to the disk and not into memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.http import Request
from sandbox.sc.answering import bad_request, refusal

HEAD_LIMIT = 16 * 1024
FIELD_LIMIT = 1024 * 1024
PIECE = 256 * 1024


@dataclass
class Form:
    path: Path | None = None
    filename: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def receive(request: Request, path: Path, limit: int) -> Form:
    """Reads the form; the part "file" is written to `path` (removed again when the form is not whole).

    Refusals: 400 for no form, 413 for a file of more than `limit` bytes. A connection that ends early: 400.
    """
    boundary = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    if not request.headers.get("content-type", "").startswith("multipart/form-data") or boundary is None:
        raise bad_request("The request must be multipart/form-data.")
    try:
        return _Reader(request, boundary[1].encode(), path, limit).read()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class _Reader:
    def __init__(self, request: Request, boundary: bytes, path: Path, limit: int) -> None:
        self.request = request
        self.marker = b"\r\n--" + boundary
        self.path = path
        self.limit = limit
        self.buffer = b"\r\n"
        self.form = Form()
        self.taken = 0

    def _more(self) -> None:
        """Another piece of the body; with the fault "cut_upload" the body ends where the fault says."""
        cut = self.request.cut_upload_after
        limit = PIECE if cut is None else min(PIECE, cut - self.taken)
        piece = self.request.chunk(limit) if limit > 0 else b""
        if not piece:
            raise bad_request("The form ended before its last boundary.")
        self.taken += len(piece)
        self.buffer += piece

    def _until(self, mark: bytes, limit: int) -> bytes:
        while (at := self.buffer.find(mark)) < 0:
            if len(self.buffer) > limit:
                raise bad_request("The form is malformed.")
            self._more()
        found, self.buffer = self.buffer[:at], self.buffer[at + len(mark) :]
        return found

    def read(self) -> Form:
        self._until(self.marker, HEAD_LIMIT)
        while True:
            while len(self.buffer) < 2:
                self._more()
            if self.buffer[:2] == b"--":
                return self.form
            head = self._until(b"\r\n\r\n", HEAD_LIMIT).decode("utf-8", "replace")
            name = re.search(r'[; ]name="([^"]*)"', head)
            filename = _filename(head)
            if name is not None and name[1] == "file" and filename is not None:
                self.form.path, self.form.filename = self.path, filename
                self._to_disk()
            elif name is not None:
                self.form.fields[name[1]] = self._until(self.marker, FIELD_LIMIT).decode("utf-8", "replace")
            else:
                raise bad_request("The form is malformed.")

    def _to_disk(self) -> None:
        written = 0
        keep = len(self.marker)
        with self.path.open("wb") as stream:
            while (at := self.buffer.find(self.marker)) < 0:
                ready = self.buffer[:-keep]
                self.buffer = self.buffer[-keep:]
                written += stream.write(ready)
                if written > self.limit:
                    raise refusal(413, "payload_too_large", f"The file is larger than {self.limit} bytes.")
                self._more()
            stream.write(self.buffer[:at])
        self.buffer = self.buffer[at + keep :]


def _filename(head: str) -> str | None:
    """The last part of the name that was sent; RFC 5987 (what requests sends for names beyond ASCII) goes first."""
    from urllib.parse import unquote

    encoded = re.search(r"filename\*=utf-8''([^;\r\n]+)", head, re.IGNORECASE)
    plain = re.search(r'filename="((?:[^"\\]|\\.)*)"', head)
    if encoded is not None:
        name = unquote(encoded[1])
    elif plain is not None:
        name = plain[1].replace('\\"', '"').replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
    else:
        return None
    return name.replace("\\", "/").rsplit("/", 1)[-1]
