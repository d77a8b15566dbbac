"""A small S3 on real sockets that fails as it is told to: what moto cannot be made to do."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

# What becomes of one request: None = an honest answer; (status, code) = an error; ("cut", n) = the connection ends
# after n bytes of the body; ("wait", event) = the answer comes when the event is set; ("raw", bytes) = just that.
Fault = tuple[Any, Any] | None


class FakeS3:
    """`objects` by key, in the bucket `bkt`. `fault(kind, key, number)` decides: kind is list or get, number from 1."""

    def __init__(
        self,
        objects: dict[str, bytes],
        fault: Callable[[str, str, int], Fault] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.objects = objects
        self.fault = fault or (lambda kind, key, number: None)
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []  # of each request; "" is what was asked for
        self.page_keys = 1000
        self.etag = lambda data: hashlib.md5(data).hexdigest()
        self.more_headers: dict[str, str] = {}  # of every object
        # What talks on the socket instead, for one request; None = nobody.
        self.hijack: Callable[[str, str], Callable[[socket.socket], None] | None] = lambda kind, key: None
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                return

            def do_GET(self) -> None:
                outer.answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                return

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeS3:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def count(self, kind: str) -> int:
        return sum(each == kind for each, _ in self.asked)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        key = unquote(parts.path).removeprefix("/bkt").removeprefix("/")
        kind = "get" if key else "list"
        with self.lock:
            self.asked.append((kind, key))
            self.headers.append({name.lower(): value for name, value in handler.headers.items()} | {"": handler.path})
            number = self.asked.count((kind, key))
        if instead := self.hijack(kind, key):
            handler.close_connection = True
            with contextlib.suppress(OSError):
                instead(handler.connection)
            return None
        fault = self.fault(kind, key, number)
        if fault and fault[0] == "raw":
            handler.wfile.write(fault[1])
            handler.close_connection = True
            return None
        if fault and fault[0] == "wait":
            fault[1].wait(60)
            fault = None
        if fault and isinstance(fault[0], int):
            body = f"<Error><Code>{fault[1]}</Code><Message>as told</Message></Error>".encode()
            return self._send(handler, fault[0], body, {"Content-Type": "application/xml"})
        if kind == "list":
            return self._send(handler, 200, self._page(parse_qs(parts.query)), {"Content-Type": "application/xml"})
        data = self.objects.get(key)
        if data is None:
            return self._send(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        headers = {"ETag": f'"{self.etag(data)}"', **self.more_headers}
        status, body = 200, data
        if wanted := handler.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            body = data[int(first) : int(last) + 1]
            status = 206
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(body) - 1}/{len(data)}"
        return self._send(handler, status, body, headers, cut=fault[1] if fault else None)

    def _page(self, query: dict[str, list[str]]) -> bytes:
        prefix = query.get("prefix", [""])[0]
        begin = query.get("continuation-token", query.get("start-after", [""]))[0]
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > begin)
        page, rest = keys[: self.page_keys], keys[self.page_keys :]
        following = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        contents = "".join(
            f"<Contents><Key>{escape(quote(key))}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;{self.etag(self.objects[key])}&quot;</ETag><Size>{len(self.objects[key])}</Size></Contents>"
            for key in page
        )
        return (
            "<?xml version='1.0'?><ListBucketResult><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{following}{contents}</ListBucketResult>"
        ).encode()

    @staticmethod
    def _send(
        handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str], cut: int | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            handler.close_connection = True
