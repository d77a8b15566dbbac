"""HTTP/1.1 for GETs over one kept-open socket: the few parts of it that fetching many small objects needs.

Measured (docs/benchmarks.md): http.client costs three times the processor time of this for an object of 20 kB, and
boto3 thirty times. Whatever an answer says that is not understood here is a broken answer, never a guess.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from common.s3.bucket import Into
from common.s3.errors import Transient
from common.s3.secured import SecuredSocket
from common.s3.tls import tls_problem
from common.tls import tls_words

BUFFER_BYTES = 128 << 10
MOST_HEADER_BYTES = 64 << 10
MOST_ERROR_BYTES = 64 << 10
CONNECT_SECONDS = 15.0
# From so many bytes on they go from a plain socket to the file within the kernel (splice), through a pipe of this size;
# with smaller pipes that is slower than copying. Measured: a quarter less processor time.
SPLICED_BYTES = 256 << 10
PIPE_BYTES = 1 << 20
_CANNOT_SPLICE = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM))
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;|\Z)")
# A body that brings less than this over `timeout_seconds` counts as broken.
SLOWEST_BYTES_PER_SECOND = 1024


@dataclass(frozen=True)
class Address:
    """Where the sockets go. `tls` is None for plain HTTP."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    timeout_seconds: float = 60.0


class Headers:
    """The headers of an answer, looked for when they are asked for: of the ten that come with an object three are used."""

    def __init__(self, text: str) -> None:
        """`text` is all of them, each with CRLF before and behind it."""
        self._text = text
        self._lower = text.lower()

    def get(self, name: str, otherwise: str = "") -> str:
        """The value of a header, `name` in lower case."""
        begin = self._lower.find(f"\r\n{name}:")
        if begin < 0:
            return otherwise
        begin += len(name) + 3
        return self._text[begin : self._text.index("\r\n", begin)].strip()

    def __contains__(self, name: str) -> bool:
        return f"\r\n{name}:" in self._lower


@dataclass
class Answer:
    """Status and headers of one answer; `length` is None when the body is chunked or open-ended."""

    status: int
    headers: Headers
    length: int | None = None
    chunked: bool = False
    keeps_open: bool = True


class Connection:
    """One connection, opened when it is needed and again after it broke. For one thread."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | SecuredSocket | None = None
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._window_began, self._window_bytes = 0.0, 0  # for how long the speed was not looked at, and what came
        self._begin = self._end = 0  # what of the buffer is received and not yet used
        self._pipe: tuple[int, int] | None = None
        self._splices = address.tls is None and hasattr(os, "splice") and hasattr(fcntl, "F_SETPIPE_SZ")

    def ask(self, request: bytes) -> Answer:
        """Sends a request and reads the head of its answer; the body must be read next. Raises Transient."""
        reused = self._socket is not None
        try:
            return self._ask(request)
        except Transient:
            if not reused:
                raise
            # A server closes an idle connection whenever it likes: that says nothing yet.
            return self._ask(request)

    def _ask(self, request: bytes) -> Answer:
        try:
            if self._socket is None:
                self._open()
            assert self._socket is not None
            self._begin = self._end = 0
            self._socket.sendall(request)
            while True:
                answer = self._head()
                if answer.status >= 200:
                    return answer
        except Transient:
            self.close()
            raise
        except (OSError, ValueError) as error:
            self.close()
            raise Transient(_plain(error)) from None

    def _open(self) -> None:
        address = self._address
        plain = socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened = SecuredSocket(plain, address.tls, address.host) if address.tls else plain
            # The kernel's own time limit: Python's costs a poll() before every recv().
            plain.settimeout(None)
            limit = struct.pack("ll", int(address.timeout_seconds), int(address.timeout_seconds % 1 * 1e6))
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        except ssl.SSLError as error:
            plain.close()
            raise tls_problem(f"{address.host}:{address.port}", str(error)) from None
        except BaseException:
            plain.close()
            raise
        self._socket = opened

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _receive(self) -> int:
        """Receives something behind what is there; 0 at the end of the stream."""
        assert self._socket is not None
        try:
            count = self._socket.recv_into(self._view[self._end :])
        except OSError as error:
            raise Transient(_plain(error)) from None
        self._end += count
        self._window_bytes += count
        return count

    def _head(self) -> Answer:
        began = time.monotonic()
        while (at := self._buffer.find(b"\r\n\r\n", self._begin, self._end)) < 0:
            if time.monotonic() - began > 2 * self._address.timeout_seconds:
                raise ValueError("the answer's headers come too slowly")
            if self._end - self._begin > MOST_HEADER_BYTES:
                raise ValueError("the answer's headers have no end")
            if not self._receive():
                raise ValueError("the server closed the connection without an answer")
        text = self._buffer[self._begin : at + 2].decode("latin-1")
        self._begin = at + 4
        version, _, rest = text[: text.index("\r\n")].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(f"this is no HTTP: {text[:60]!r}")
        headers = Headers(text)
        answer = Answer(int(rest[:3]), headers)
        answer.keeps_open = version != "HTTP/1.0" and headers.get("connection", "").lower() != "close"
        if answer.status < 200 or answer.status in (204, 304):
            answer.length = 0
        elif encoding := headers.get("transfer-encoding"):
            if encoding.lower() != "chunked":
                raise ValueError(f"transfer-encoding {encoding[:40]!r} is not understood")
            answer.chunked = True
        elif length := headers.get("content-length"):
            if not length.isdecimal():
                raise ValueError("content-length is no number")
            answer.length = int(length)
        else:
            answer.keeps_open = False
        return answer

    def pieces(self, answer: Answer, use: Callable[[memoryview], None], into: Into | None = None) -> int:
        """Hands the body to `use` piece by piece, or puts it `into` a file; gives its length.

        Raises Transient when it breaks off; what `use` raises, and OSError when the file takes no more.
        """
        self._window_began, self._window_bytes = time.monotonic(), self._end - self._begin
        try:
            if answer.chunked:
                count = self._chunks(use)
            elif answer.length is None:
                count = self._until_closed(use)
            else:
                self._exactly(answer.length, use, into)
                count = answer.length
        except ValueError as error:
            self.close()
            raise Transient(str(error)) from None
        except BaseException:
            self.close()  # what is left of the body must not be taken for the next answer
            raise
        if not answer.keeps_open:
            self.close()
        return count

    def whole(self, answer: Answer, most_bytes: int = 64 << 20) -> bytes:
        """The body in one piece. Raises Transient, also when it is longer than anything expected."""
        body = bytearray()

        def use(piece: memoryview) -> None:
            if len(body) + len(piece) > most_bytes:
                raise ValueError(f"the answer is longer than {most_bytes:,} bytes")
            body.extend(piece)

        self.pieces(answer, use)
        return bytes(body)

    def _require_speed(self) -> None:
        """Raises ValueError when what arrived since the last look came too slowly: one byte a minute is never silent."""
        at = time.monotonic()
        passed = at - self._window_began
        if passed > self._address.timeout_seconds:
            if self._window_bytes < SLOWEST_BYTES_PER_SECOND * passed:
                raise ValueError(f"only {self._window_bytes} bytes arrived in {passed:.0f} seconds")
            self._window_began, self._window_bytes = at, 0

    def _exactly(self, count: int, use: Callable[[memoryview], None], into: Into | None = None) -> None:
        left = count
        while left:
            target = into if self._splices and left >= SPLICED_BYTES else None
            if target is not None and self._begin == self._end:
                left = self._spliced(left, use, target, target.offset + count - left)
                continue
            if self._begin == self._end:
                self._begin = self._end = 0
            # Gathered until the buffer is full: one write is cheaper than three, and TLS gives 16 kB at a time.
            if target is None:
                self._gather(left)
            take = min(left, self._end - self._begin)
            use(self._view[self._begin : self._begin + take])
            self._begin += take
            left -= take

    def _gather(self, left: int) -> None:
        """Receives until the buffer is full, or holds all that is `left`. In one loop: this runs for every 16 kB of TLS."""
        assert self._socket is not None
        receive, view, clock, end = self._socket.recv_into, self._view, time.monotonic, self._end
        enough = min(self._begin + left, BUFFER_BYTES)
        look_at = self._window_began + self._address.timeout_seconds
        try:
            while end < enough:
                if clock() > look_at:
                    self._window_bytes, self._end = self._window_bytes + end - self._end, end
                    self._require_speed()
                    look_at = self._window_began + self._address.timeout_seconds
                count = receive(view[end:], BUFFER_BYTES - end)
                if not count:
                    raise ValueError(f"the connection ended {self._begin + left - end:,} bytes too early")
                end += count
        except OSError as error:
            raise Transient(_plain(error)) from None
        self._window_bytes, self._end = self._window_bytes + end - self._end, end

    def _spliced(self, left: int, use: Callable[[memoryview], None], into: Into, at: int) -> int:
        """Moves the rest of the body to `at` in the file, within the kernel; gives what is left where that cannot be done."""
        assert isinstance(self._socket, socket.socket)
        if (pipe := self._open_pipe()) is None:
            return left
        while left and self._splices:
            self._require_speed()
            try:
                waiting = os.splice(self._socket.fileno(), pipe[1], min(left, PIPE_BYTES))
            except OSError as error:
                if error.errno in _CANNOT_SPLICE:
                    self._splices = False
                    return left
                raise Transient(_plain(error)) from None
            if not waiting:
                raise ValueError(f"the connection ended {left:,} bytes too early")
            self._window_bytes += waiting
            left -= waiting
            while waiting:
                try:
                    with into.turn:
                        count = os.splice(pipe[0], into.descriptor, waiting, offset_dst=at)
                    into.moved(count)
                except OSError as error:
                    if error.errno not in _CANNOT_SPLICE:
                        raise
                    # A file system that cannot: what is in the pipe already is written as everything after it.
                    self._splices = False
                    piece = os.read(pipe[0], waiting)
                    count = len(piece)
                    use(memoryview(piece))
                waiting -= count
                at += count
        return left

    def _open_pipe(self) -> tuple[int, int] | None:
        """None when the system grants none of that size (a limit for each user): then nothing is spliced."""
        if self._pipe is None:
            self._pipe = os.pipe()
            try:
                fcntl.fcntl(self._pipe[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            except OSError:
                self._splices = False
        return self._pipe if self._splices else None

    def _until_closed(self, use: Callable[[memoryview], None]) -> int:
        count = 0
        while True:
            if self._begin == self._end:
                self._begin = self._end = 0
                self._require_speed()
                if not self._receive():
                    return count
            use(self._view[self._begin : self._end])
            count += self._end - self._begin
            self._begin = self._end

    def _line(self) -> bytes:
        while (at := self._buffer.find(b"\r\n", self._begin, self._end)) < 0:
            if self._end - self._begin > 4096:
                raise ValueError("a chunk has no length")
            if self._begin and BUFFER_BYTES - self._end < 8192:
                kept = bytes(self._view[self._begin : self._end])
                self._view[: len(kept)] = kept
                self._begin, self._end = 0, len(kept)
            self._require_speed()
            if not self._receive():
                raise ValueError("the connection ended within a chunk")
        line = bytes(self._view[self._begin : at])
        self._begin = at + 2
        return line

    def _chunks(self, use: Callable[[memoryview], None]) -> int:
        total = 0
        while count := _chunk_length(self._line()):
            self._exactly(count, use)
            total += count
            if self._line():
                raise ValueError("a chunk is longer than it said")
        while self._line():
            pass
        return total


def _chunk_length(line: bytes) -> int:
    """What stands before a chunk (RFC 9112, 7.1). Raises ValueError; int() alone also takes `-5`, `0x5` and `1_0`."""
    if not (found := _CHUNK.match(line)):
        raise ValueError("a chunk has no length")
    return int(found[1], 16)


def _plain(error: Exception) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, (BlockingIOError, socket.timeout, ssl.SSLWantReadError)):
        return "the server was silent for too long"
    if isinstance(error, socket.gaierror):
        return f"the server's name is not known: {error.strerror}"
    if isinstance(error, ssl.SSLError):  # its errno is one of OpenSSL's
        return f"TLS failed: {tls_words(str(error))[1]}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error)
