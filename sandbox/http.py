"""Requests, responses and the errors that become responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

VND_JSON = "application/vnd.cvat+json"
HTML = "text/html; charset=utf-8"
SERVER_ERROR_PAGE = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    "  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)
NOT_FOUND_PAGE = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    "  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)


@dataclass(frozen=True)
class FileBody:
    """A part of a file, sent by the kernel."""

    path: Path
    offset: int
    length: int


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | FileBody = b""

    @property
    def length(self) -> int:
        return self.body.length if isinstance(self.body, FileBody) else len(self.body)


def json_response(value: Any, status: int = 200, headers: list[tuple[str, str]] | None = None) -> Response:
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(status, [("Content-Type", VND_JSON), *(headers or [])], content)


def text_response(text: str, status: int, content_type: str = HTML) -> Response:
    return Response(status, [("Content-Type", content_type)], text.encode())


def nginx_page(status: int, reason: str) -> Response:
    text = (
        f"<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {reason}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return text_response(text, status, "text/html")


class Answered(Exception):
    """Ends the handling of a request with this response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(status: int, value: Any, headers: list[tuple[str, str]] | None = None) -> Answered:
    """A refusal with a JSON body."""
    return Answered(json_response(value, status, headers))


def detail(status: int, text: str, headers: list[tuple[str, str]] | None = None) -> Answered:
    return refuse(status, {"detail": text}, headers)


def plain(status: int, text: str) -> Answered:
    """The bare strings that some refusals are."""
    return Answered(text_response(text, status))


def server_error() -> Answered:
    return Answered(text_response(SERVER_ERROR_PAGE, 500))


FORBIDDEN = "You do not have permission to perform this action."


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]  # names in lower case
    client_host: str
    read: Callable[[int], bytes]  # the body, as far as it has not been read
    content_length: int
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)
    unread: int = 0
    cut_upload_after: int | None = None
    _body: bytes | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.target if not self.target.startswith("//") else "/" + self.target.lstrip("/"))
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.unread = self.content_length

    @property
    def base(self) -> str:
        """What the request says this server is called; links are made from it."""
        scheme = self.headers.get("x-forwarded-proto", "http")
        host = self.headers.get("x-forwarded-host") or self.headers.get("host", "localhost")
        return f"{scheme}://{host}"

    @property
    def url(self) -> str:
        return self.base + self.target

    def chunk(self, limit: int = 1 << 20) -> bytes:
        """The next piece of the body; empty at its end or when the client is gone."""
        if self.unread <= 0:
            return b""
        piece = self.read(min(limit, self.unread))
        self.unread = self.unread - len(piece) if piece else 0
        return piece

    @property
    def body(self) -> bytes:
        if self._body is None:
            pieces = []
            while piece := self.chunk():
                pieces.append(piece)
            self._body = b"".join(pieces)
        return self._body

    def json(self) -> Any:
        """The body as JSON (or a form), an empty one as {}."""
        content = self.body
        if not content.strip():
            return {}
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(content.decode(), keep_blank_values=True))
        if kind.startswith("multipart/form-data"):
            return {part.name: part.content.decode() for part in self.parts() if part.filename is None}
        try:
            return json.loads(content)
        except ValueError as error:
            raise detail(400, f"JSON parse error - {error}") from None

    def parts(self) -> list[FormPart]:
        return form_parts(self.headers.get("content-type", ""), self.body)


@dataclass(frozen=True)
class FormPart:
    name: str
    filename: str | None
    content: bytes


def form_parts(content_type: str, body: bytes) -> list[FormPart]:
    """The parts of a multipart/form-data body."""
    marker = content_type.partition("boundary=")[2].split(";")[0].strip().strip('"')
    if not marker:
        return []
    found = []
    for piece in body.split(b"--" + marker.encode())[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        name = filename = None
        for line in head.decode("utf-8", "replace").splitlines():
            if line.lower().startswith("content-disposition:"):
                for item in line.split(";")[1:]:
                    key, _, value = item.strip().partition("=")
                    value = value.strip('"')
                    if key == "name":
                        name = value
                    elif key == "filename":
                        # Django keeps the last part of the path only; the SDK sends whole local paths.
                        filename = value.replace("\\", "/").rsplit("/", 1)[-1]
        if name is not None:
            found.append(FormPart(name, filename, content[:-2] if content.endswith(b"\r\n") else content))
    return found
