"""The HTTP listener: `/` for people, `/healthz` and `/metrics` for machines. It only reads, and only what was prepared.

The standard library's server is enough for a handful of readers, with what it lacks: a limit on connections, and a
deadline for each, so that nobody holds one by sending a byte a minute.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import hmac
import http.cookies
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from common import log
from common.health import page

MOST_CONNECTIONS = 32
# The longest silence of a client, and the longest time that one request may take altogether (seconds).
SILENCE_SECONDS = 10.0
REQUEST_SECONDS = 30.0
COOKIE = "cvat-backups"
LONGEST_TARGET = 2048


@dataclass(frozen=True)
class Shown:
    """What is answered, as bytes; made once for every snapshot. `search` renders the page filtered by a query."""

    healthy: bool
    health: bytes  # with reasons
    health_in_short: bytes  # without, for those who have no token
    metrics: bytes
    metrics_type: str
    page: bytes
    search: Callable[[str], bytes]


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Listener:
    """Listens from `start` to `close`. `shown` gives what there is to show at this moment."""

    def __init__(self, host: str, port: int, token: str, shown: Callable[[], Shown]) -> None:
        self._host = host
        self._port = port
        self._token = token
        self._shown = shown
        # The cookie tells nobody the token, and is worth nothing after a restart.
        self._pass = hmac.new(secrets.token_bytes(32), token.encode(), hashlib.sha256).hexdigest()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises OSError when the address cannot be listened on."""
        self._server = _Server(self._host, self._port, self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="health-listener", daemon=True
        )
        self._thread.start()

    @property
    def is_listening(self) -> bool:
        return self._server is not None

    @property
    def port(self) -> int:
        """The port that was given, or that the system chose for 0."""
        return int(self._server.server_address[1]) if self._server else self._port

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # --- what is answered -------------------------------------------------------------------------------------------

    def _answer(self, target: str, authorization: str, cookie: str) -> Answer:
        try:
            parts = urlsplit(target)
            query = parse_qs(parts.query, max_num_fields=10) if len(target) <= LONGEST_TARGET else {}
        except ValueError:
            return Answer(HTTPStatus.BAD_REQUEST, "text/plain", b"This address is not understood.\n")
        asked = query.get("token", [""])[0]
        known = not self._token or self._is_known(authorization, asked, cookie)
        shown = self._shown()
        match parts.path:
            case "/healthz":
                status = HTTPStatus.OK if shown.healthy else HTTPStatus.SERVICE_UNAVAILABLE
                return Answer(status, "application/json", shown.health if known else shown.health_in_short)
            case "/metrics" | "/":
                if not known:
                    return _refusal()
                if parts.path == "/metrics":
                    return Answer(HTTPStatus.OK, shown.metrics_type, shown.metrics)
                if asked and self._token:  # a token in the address would stay in the browser's history
                    allowed = f"{COOKIE}={self._pass}; Path=/; HttpOnly; SameSite=Strict; Max-Age=86400"
                    return Answer(HTTPStatus.SEE_OTHER, "text/plain", b"", (("Location", "."), ("Set-Cookie", allowed)))
                words = query.get("q", [""])[0]
                return Answer(HTTPStatus.OK, "text/html; charset=utf-8", shown.search(words) if words else shown.page)
        return Answer(HTTPStatus.NOT_FOUND, "text/plain", b"There are /, /healthz and /metrics.\n")

    def _is_known(self, authorization: str, asked: str, cookie: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        bearer = given.strip() if scheme.lower() == "bearer" else ""
        morsels: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
        with contextlib.suppress(http.cookies.CookieError):
            morsels.load(cookie)
        held = morsels[COOKIE].value if COOKIE in morsels else ""
        pairs = ((bearer, self._token), (asked, self._token), (held, self._pass))
        return any(hmac.compare_digest(mine.encode(errors="replace"), right.encode()) for mine, right in pairs)


def _refusal() -> Answer:
    text = b"A token is asked for here: Authorization: Bearer <CVAT_HEALTH_TOKEN>, or ?token=... in a browser.\n"
    return Answer(HTTPStatus.UNAUTHORIZED, "text/plain", text, (("WWW-Authenticate", 'Bearer realm="cvat-backups"'),))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, host: str, port: int, answer: Callable[[str, str, str], Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self._open: dict[socket.socket, float] = {}
        self._guard = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            full = len(self._open) >= MOST_CONNECTIONS
            if not full:
                self._open[request] = time.monotonic() + REQUEST_SECONDS
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called a few times a second: breaks off what has taken too long."""
        now = time.monotonic()
        with self._guard:
            late = [request for request, until in self._open.items() if until < now]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; anything else is our fault and is told, without ending the listener."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.get().error("health_request_failed", reason=f"{type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    """One request a connection (HTTP/1.0): nobody keeps a connection that somebody else waits for."""

    server: _Server
    timeout = SILENCE_SECONDS

    def version_string(self) -> str:
        return "cvat-backups"

    def do_GET(self) -> None:
        self._send(self.server.answer(self.path, self.headers.get("Authorization", ""), self.headers.get("Cookie", "")))

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _refuse_method(self) -> None:
        text = b"Only GET and HEAD are answered here.\n"
        self._send(Answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", text, (("Allow", "GET, HEAD"),)))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method  # noqa: N815

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, list(answer.headers)
        if len(body) > 1000 and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, 5)
            headers.append(("Content-Encoding", "gzip"))
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept-Encoding, Authorization, Cookie"),
            ("Content-Security-Policy", page.POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Requests are not logged: their addresses may hold a token."""


def health_json(verdict: dict[str, Any]) -> bytes:
    return (json.dumps(verdict, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")
