"""What every played server shares: sockets, connections, what is sent and how it is made to go wrong."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Any, Self

from sandbox.faults import Fault, FaultBook, FaultsMet
from sandbox.http import (
    SERVER_ERROR_PAGE,
    FileBody,
    Request,
    Response,
    json_response,
    nginx_page,
    text_response,
)

PIECE = 64 * 1024
HANDSHAKE_SECONDS = 30.0
REASONS = {416: "Requested Range Not Satisfiable", 302: "Found", 499: "Client Closed Request"}


@dataclass(frozen=True)
class Exchange:
    """One request that was answered (status 0: it was cut off)."""

    method: str
    path: str
    query: str
    status: int
    user: str | None
    at: datetime

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


class SocketServer:
    """A server on a socket of its own, with faults and a log. A context manager: it serves inside `with`."""

    def __init__(self, *, host: str, port: int, control: bool, tls: ssl.SSLContext | None = None) -> None:
        self.host = host
        self.port = port
        self.control = control
        self.tls = tls
        self.faults = FaultBook()
        self.log: deque[Exchange] = deque(maxlen=500_000)
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._down: tuple[int, float] | None = None  # status and until when (monotonic)

    # --- what a server of a kind adds ------------------------------------------------------------------------------

    def handle(self, request: Request, faults: FaultsMet) -> tuple[Response, str | None]:
        """The answer and who asked."""
        raise NotImplementedError

    def switch(self, request: Request) -> Response:
        """The answer to a request below /sandbox/."""
        raise NotImplementedError

    def always(self) -> list[str]:
        """Header lines that every answer carries."""
        return []

    def on_stop(self) -> None:
        """What else is to be ended."""

    # --- life ----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls is not None else 'http'}://{self.host}:{self.port}"

    def start(self) -> None:
        self._listen(self._bound())

    def _bound(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        return listener

    def _listen(self, listener: socket.socket) -> None:
        listener.listen(256)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="accept", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._close_everything()
        self.on_stop()

    def restart(self, down_seconds: float = 1.0, mode: str = "refused") -> None:
        """Goes away and comes back on the same port with its state; returns at once.

        "refused": nothing listens and what was open is cut. "502" or "503": nginx is there, what is behind it is not.
        """
        if mode in ("502", "503"):
            self._down = (int(mode), time.monotonic() + down_seconds)
            return
        self._close_everything()
        # Bound but not listening: connections are refused, and nobody else gets the port meanwhile.
        reserved = self._bound()

        def come_back() -> None:
            if self._stopped.wait(down_seconds):
                reserved.close()
            else:
                self._listen(reserved)

        threading.Thread(target=come_back, name="restart", daemon=True).start()

    def _close_everything(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            open_now, self._open = list(self._open), set()
        if listener is not None:
            # close() alone would leave accept() waiting in its thread.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._open.add(connection)
            threading.Thread(target=self._talk, args=(connection, address), name="connection", daemon=True).start()

    def _talk(self, connection: socket.socket, address: tuple[str, int]) -> None:
        wrapped = connection
        try:
            if self.tls is not None:
                # Here and not in accept(): one client that is slow to shake hands must not keep the others out.
                connection.settimeout(HANDSHAKE_SECONDS)
                wrapped = self.tls.wrap_socket(connection, server_side=True)
                wrapped.settimeout(None)
                with self._lock:
                    if connection not in self._open:
                        return  # stopped or restarted during the handshake
                    self._open.discard(connection)
                    self._open.add(wrapped)
            Conversation(wrapped, address, self)
        except OSError:
            pass  # the client went away, or we did
        except (AttributeError, ValueError):
            # What SSLSocket raises when another thread, stop() or restart(), has shut it down meanwhile.
            if self.tls is None:
                raise
        finally:
            with self._lock:
                self._open.discard(connection)
                self._open.discard(wrapped)
            wrapped.close()

    # --- answering -------------------------------------------------------------------------------------------------

    def answer(self, request: Request, faults: FaultsMet) -> Response:
        """The answer to one request, before faults get at how it is sent."""
        down = self._down
        if down is not None:
            if time.monotonic() < down[1]:
                reason = {502: "Bad Gateway", 503: "Service Temporarily Unavailable"}[down[0]]
                return nginx_page(down[0], reason)
            self._down = None
        fault = faults.get("status")
        if fault is not None and not fault.after_handling:
            return faulty_answer(fault)
        try:
            response, user = self.handle(request, faults)
        except OSError:
            raise
        except Exception:  # noqa: BLE001 (see below)
            # A slip of ours shows as what a slip of the real server shows as; its text goes to stderr.
            import traceback

            traceback.print_exc()
            response, user = text_response(SERVER_ERROR_PAGE, 500), None
        self.note(request, response.status, user)
        if fault is not None:
            return faulty_answer(fault)
        return response

    def note(self, request: Request, status: int, user: str | None) -> None:
        query = request.target.partition("?")[2]
        self.log.append(Exchange(request.method, request.path, query, status, user, datetime.now(UTC)))

    def log_count(self, pattern: str) -> int:
        """How many logged requests are this "METHOD /path" (a regular expression for the whole of it)."""
        return sum(re.fullmatch(pattern, exchange.line) is not None for exchange in list(self.log))


def faulty_answer(fault: Fault) -> Response:
    headers = list(fault.headers.items())
    if isinstance(fault.body, str) and fault.body == "" and fault.status in (502, 503, 504):
        reason = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
        page = nginx_page(fault.status, reason[fault.status])
        page.headers += headers
        return page
    if isinstance(fault.body, str):
        page = text_response(fault.body or (SERVER_ERROR_PAGE if fault.status == 500 else ""), fault.status)
        page.headers += headers
        return page
    return json_response(fault.body, fault.status, headers)


class _ChunkedBody:
    """A body that comes in chunks, as clients send what they cannot tell the length of."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._left = 0
        self._ended = False

    def read(self, limit: int) -> bytes:
        if self._ended:
            return b""
        if self._left == 0:
            self._left = int(self._stream.readline(1024).split(b";")[0].strip() or b"0", 16)
            if self._left == 0:
                while self._stream.readline(65536).strip():
                    pass
                self._ended = True
                return b""
        piece = self._stream.read(min(limit, self._left))
        self._left -= len(piece)
        if self._left == 0:
            self._stream.readline(8)
        return piece


class _Cut(OSError):
    """The connection is to be ended here."""


class Conversation(BaseHTTPRequestHandler):
    """One connection, HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, connection: socket.socket, address: tuple[str, int], sandbox: SocketServer) -> None:
        self.sandbox = sandbox
        super().__init__(connection, address, sandbox)  # type: ignore[arg-type]

    def log_message(self, *_: Any) -> None:
        pass

    def _one(self) -> None:
        request = Request(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            client_host=self.client_address[0],
            read=self.rfile.read1,
            content_length=int(self.headers.get("Content-Length") or 0),
        )
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            request.read = _ChunkedBody(self.rfile).read
            request.unread = sys.maxsize
        sandbox = self.sandbox
        if sandbox.control and request.path.startswith("/sandbox/"):
            self._send(sandbox.switch(request), FaultsMet())
            return
        met = sandbox.faults.take(f"{request.method} {request.target}")
        cut_upload = met.get("cut_upload")
        if cut_upload is not None:
            request.cut_upload_after = cut_upload.after_bytes
        slow = met.get("slow")
        if slow is not None and slow.seconds:
            time.sleep(slow.seconds)
        cut = met.get("cut")
        if cut is not None and cut.after_bytes == 0 and not cut.after_handling:
            sandbox.note(request, 0, None)
            self._end(cut)
            return
        response = sandbox.answer(request, met)
        if cut_upload is not None:
            self._end(cut_upload)
            return
        if cut is not None and cut.after_bytes == 0:
            self._end(cut)
            return
        self._drain(request)
        try:
            self._send(response, met)
        except _Cut:
            assert cut is not None
            self._end(cut)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _one  # noqa: N815

    def _drain(self, request: Request) -> None:
        """Reads what the handler left of the body, or gives the connection up when that is much."""
        if request.unread > 4 * 1024 * 1024:
            self.close_connection = True
            return
        while request.unread > 0 and request.chunk():
            pass

    def _end(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.rst:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    # --- sending -------------------------------------------------------------------------------------------------

    def _send(self, response: Response, met: FaultsMet) -> None:
        headers = response.headers
        named = met.get("header")
        if named is not None:
            headers = [item for item in headers if item[0].lower() != named.name.lower()]
            headers = [*headers, (named.name, named.value)]
        length = response.length
        wrong = met.get("wrong_length")
        no_length = met.get("no_length") is not None
        has_body = response.status not in (204, 304) and self.command != "HEAD"
        if no_length or wrong is not None:
            self.close_connection = True
        head = [
            f"HTTP/1.1 {response.status} {_reason(response.status)}",
            "Server: nginx",
            f"Date: {format_datetime(datetime.now(UTC), usegmt=True)}",
            f"Connection: {'close' if self.close_connection else 'keep-alive'}",
            *self.sandbox.always(),
            *(f"{name}: {value}" for name, value in headers),
        ]
        if not no_length and response.status not in (204, 304):
            shown = length + (wrong.delta if wrong else 0)
            head.append(f"Content-Length: {shown}")
        start = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1", "replace")
        body = response.body
        if not has_body or length == 0:
            self.connection.sendall(start)
        elif met.of(_TRANSFER_KINDS):
            self.connection.sendall(start)
            self._send_badly(body, met)
        elif isinstance(body, FileBody):
            self.connection.sendall(start)
            with body.path.open("rb") as stream:
                self.connection.sendfile(stream, body.offset, body.length)
        else:
            self.connection.sendall(start + body)

    def _send_badly(self, body: bytes | FileBody, met: FaultsMet) -> None:
        cut, stall, slow, corrupt = (met.get(kind) for kind in ("cut", "stall", "slow", "corrupt"))
        sent = 0
        stops = sorted({fault.after_bytes for fault in (cut, stall) if fault is not None})
        rate = slow.bytes_per_second if slow is not None and slow.bytes_per_second else None
        size = PIECE if rate is None else max(1, min(PIECE, int(rate / 20)))
        for offset, piece in _pieces(body, stops, size):
            if cut is not None and sent >= cut.after_bytes:
                raise _Cut
            if stall is not None and sent == stall.after_bytes:
                time.sleep(stall.seconds or 0.0)
            if corrupt is not None:
                piece = _flipped(piece, offset, corrupt)
            if rate is not None:
                time.sleep(len(piece) / rate)
            self.connection.sendall(piece)
            sent += len(piece)
        if cut is not None and sent >= cut.after_bytes:
            raise _Cut


_TRANSFER_KINDS = frozenset({"cut", "stall", "slow", "corrupt"})


def _pieces(body: bytes | FileBody, stops: list[int], limit: int) -> Iterator[tuple[int, bytes]]:
    """The body in pieces that end where a fault wants to stop, each with its place in the whole file."""
    read: Callable[[int, int], bytes]
    with contextlib.ExitStack() as stack:
        if isinstance(body, FileBody):
            stream = stack.enter_context(body.path.open("rb"))
            first, length = body.offset, body.length

            def read(at: int, size: int) -> bytes:
                stream.seek(at)
                return stream.read(size)

        else:
            content = body
            first, length = 0, len(content)

            def read(at: int, size: int) -> bytes:
                return content[at : at + size]

        sent = 0
        while sent < length:
            size = min(limit, length - sent, *(stop - sent for stop in stops if stop > sent))
            yield first + sent, read(first + sent, size)
            sent += size


def _flipped(piece: bytes, offset: int, fault: Fault) -> bytes:
    first, last = max(fault.offset, offset), min(fault.offset + fault.count, offset + len(piece))
    if first >= last:
        return piece
    changed = bytearray(piece)
    for at in range(first - offset, last - offset):
        changed[at] ^= 0xFF
    return bytes(changed)


def _reason(status: int) -> str:
    if status in REASONS:
        return REASONS[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
