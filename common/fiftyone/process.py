"""The product's side of the wall: starts the worker, feeds it, listens, and ends it in time.

FiftyOne runs in a process of its own because wrong credentials stick inside one, its waits have no end, and its log
repeats the bytes of what it uploads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import log
from common.exits import Exit, RunEnds
from common.fiftyone import protocol
from common.settings import ROOT
from common.text import duration, printable
from common.waiting import Stopped, StopSignal

# How long the worker may end in its own way before it is killed (seconds).
GRACE_SECONDS = 5.0
LONGEST_LINE_BYTES = 64 << 20
LAST_LINES = 20
LONGEST_SAID = 300
# What the child never needs: our settings hold secrets that are none of FiftyOne's business.
_OURS = re.compile(r"(CVAT|SC|AWS|FIFTYONE_SYNC|FIFTYONE_CVAT|CVAT_PING)_")
_REMEDIES = {
    protocol.BAD_REQUEST: "Correct the settings (FIFTYONE_SYNC_…) or the dataset, then run the same command again.",
    protocol.CREDENTIALS: "Correct CVAT_USERNAME and CVAT_PASSWORD. Nothing else was tried.",
    protocol.SERVER: "",
    protocol.UNREACHABLE: "Look whether the server runs and can be reached from here, then run the same command again.",
    protocol.DATA: "Look at the files named, or leave their samples out (FIFTYONE_SYNC_VIEW).",
    protocol.DEADLINE: "Look at CVAT's workers (its import queue), or raise FIFTYONE_SYNC_JOBS_DEADLINE.",
    protocol.DATABASE: "Look whether MongoDB runs at FIFTYONE_DATABASE_URI. Without that setting FiftyOne starts a MongoDB "
    "of its own, which serves one command at a time: try again when the other one is through.",
    protocol.DISK: "Make room on the disk of CVAT_STATE_DIR (and on that of FiftyOne's database), then run the same command "
    "again: it goes on.",
    protocol.STATE: "Make it readable and writable for the user that runs fiftyone_sync.py, or put a good copy of it (from the "
    "backup of CVAT_STATE_DIR) in its place; then run the same command again.",
    protocol.VERSION: "Install the version that requirements-fiftyone.txt names.",
    protocol.UNEXPECTED: "LOG_LEVEL=DEBUG shows what FiftyOne printed.",
}
_CODES = {
    protocol.BAD_REQUEST: Exit.BAD_CONFIGURATION,
    protocol.VERSION: Exit.BAD_CONFIGURATION,
    protocol.CREDENTIALS: Exit.CREDENTIALS_REFUSED,
}


class WorkerFailed(RunEnds):
    """The worker could not do what it was asked to; `kind` is one of common/fiftyone/protocol.py."""

    def __init__(self, kind: str, reason: str, status: int | None = None) -> None:
        sentence = printable(reason, 2 * protocol.LONGEST_REASON).rstrip(".") + "."
        super().__init__(sentence[:1].upper() + sentence[1:], _REMEDIES.get(kind, ""), _CODES.get(kind))
        self.kind = kind
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How long a worker may take: without a word, and altogether (seconds)."""

    idle_seconds: float
    total_seconds: float


@dataclass
class Worker:
    """What every request needs: the interpreter, the environment of the child, who may stop it, and deadlines."""

    python: Path
    stop: StopSignal
    limits: Limits
    environment: Mapping[str, str] = field(default_factory=dict)

    def ask(self, request: Mapping[str, Any], heard: Callable[[dict[str, Any]], None] = lambda event: None) -> Any:
        """The result of one request; `heard` gets every event on the way. Raises WorkerFailed, Stopped."""
        with _Running(self, request, heard) as running:
            running.listen()
        return running.result()


def environment_of(environ: Mapping[str, str], handed_on: Mapping[str, str], database_uri: str) -> dict[str, str]:
    """What the child gets: ours without our secrets, FIFTYONE_CVAT_… of the settings that are not empty."""
    kept = {name: value for name, value in environ.items() if not _OURS.match(name)}
    for name in ("FIFTYONE_ANNOTATION_BACKENDS", "FIFTYONE_ANNOTATION_DEFAULT_BACKEND", "PYTHONSTARTUP"):
        kept.pop(name, None)
    kept.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    kept["FIFTYONE_SHOW_PROGRESS_BARS"] = "false"
    kept["PYTHONPATH"] = str(ROOT)
    kept["PYTHONUNBUFFERED"] = "1"
    kept["PYTHONUTF8"] = "1"
    if database_uri:
        kept["FIFTYONE_DATABASE_URI"] = database_uri
    return kept | {name: value for name, value in handed_on.items() if value}


def handed_on(url: str, username: str, password: str, email: str) -> dict[str, str]:
    """What FiftyOne's own backend reads, of the settings that are not empty."""
    given = {"URL": url, "USERNAME": username, "PASSWORD": password, "EMAIL": email}
    return {f"FIFTYONE_CVAT_{name}": value for name, value in given.items() if value}


class _Running:
    """One child while it runs. Leaving the block ends it, however that comes about."""

    def __init__(self, worker: Worker, request: Mapping[str, Any], heard: Callable[[dict[str, Any]], None]) -> None:
        self._worker = worker
        self._heard = heard
        self._do = str(request.get("do"))
        self._to_send = memoryview(json.dumps(request).encode() + b"\n")
        self._result: Any = None
        self._failed: WorkerFailed | None = None
        self._has_result = False
        self._tail: deque[str] = deque(maxlen=LAST_LINES)
        self._parts: dict[str, bytes] = {}

    def __enter__(self) -> _Running:
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [str(self._worker.python), "-m", "common.fiftyone.worker", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                env={**self._worker.environment, protocol.FD_VARIABLE: str(theirs)},
                pass_fds=(theirs,),
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            os.close(ours)
            raise RunEnds(
                f"{self._worker.python} cannot be started ({error.strerror}).", "", Exit.BAD_CONFIGURATION
            ) from None
        finally:
            os.close(theirs)
        self._events = ours
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end()
            self._drain()
        finally:
            os.close(self._events)
            for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
                assert stream is not None
                with contextlib.suppress(OSError):
                    stream.close()

    def listen(self) -> None:
        """Reads until the child has answered or ended. Raises WorkerFailed when it takes too long, Stopped."""
        began = last_word = time.monotonic()
        limits = self._worker.limits
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            while True:
                self._worker.stop.check()
                over = self._process.poll() is not None
                for key, _ in selector.select(0 if over else 0.1):
                    if key.data == "stdin":
                        self._feed(selector)
                    elif key.data == "event":
                        last_word = time.monotonic()
                        if not self._take(key.fd, "event", self._event):
                            selector.unregister(key.fd)
                    elif not self._take(key.fd, key.data, self._said):
                        selector.unregister(key.fd)
                if over:
                    break
                if self._has_result or self._failed:
                    break
                now = time.monotonic()
                if now - began > limits.total_seconds:
                    raise WorkerFailed(
                        protocol.DEADLINE,
                        f"FiftyOne was not done with {self._do!r} after {duration(limits.total_seconds)} "
                        "(FIFTYONE_SYNC_DEADLINE)",
                    )
                if now - last_word > limits.idle_seconds:
                    raise WorkerFailed(
                        protocol.DEADLINE, f"FiftyOne gave no sign for {duration(limits.idle_seconds)} in {self._do!r}"
                    )

    def result(self) -> Any:
        """What the child answered, once it has ended. Raises WorkerFailed."""
        if self._failed:
            raise self._failed
        if not self._has_result:
            raise self._died()
        return self._result

    # --- what comes and goes ---------------------------------------------------------------------------------

    def _register(self, selector: selectors.BaseSelector) -> None:
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for descriptor, name in (
            (self._events, "event"), (process.stdout.fileno(), "stdout"), (process.stderr.fileno(), "stderr"),
        ):  # fmt: skip
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ, name)
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "stdin")

    def _feed(self, selector: selectors.BaseSelector) -> None:
        assert self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        try:
            self._to_send = self._to_send[os.write(descriptor, self._to_send[:65536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._to_send = memoryview(b"")
        if not self._to_send:
            selector.unregister(descriptor)  # stays open: its end would mean that we are gone

    def _take(self, descriptor: int, name: str, each: Callable[[bytes], None]) -> bool:
        """Hands on the whole lines that have come; whether more can come."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        *lines, rest = (self._parts.get(name, b"") + data).split(b"\n")
        if not data and rest:
            lines, rest = [*lines, rest], b""
        limit = LONGEST_LINE_BYTES if name == "event" else 4096
        self._parts[name] = rest[-limit:]
        for line in lines:
            each(line)
        return bool(data)

    def _drain(self) -> None:
        """Hears what is still in the pipe of events when the child has ended: a task that it made must be known."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._events, 1 << 16):
                *lines, self._parts["event"] = (self._parts.get("event", b"") + data).split(b"\n")
                for line in lines:
                    self._event(line)

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            name = event["event"]
        except (ValueError, TypeError, KeyError):
            log.get().warning("worker_said_nonsense", said=printable(line.decode("utf-8", "replace"), 100))
            return
        if name == "result":
            self._result, self._has_result = event.get("result"), True
        elif name == "failed":
            status = event.get("status")
            self._failed = WorkerFailed(
                str(event.get("kind")), str(event.get("reason")), status if isinstance(status, int) else None
            )
        else:
            self._heard(event)

    def _said(self, line: bytes) -> None:
        """What FiftyOne prints: only its text, one line, no bytes of files; secrets are masked by the log."""
        text = said(line)
        if text:
            self._tail.append(text)
            log.get().debug("fiftyone_said", said=text)

    # --- its end ---------------------------------------------------------------------------------------------

    def _died(self) -> WorkerFailed:
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            how += ", perhaps for want of memory"
        last = next((line for line in reversed(self._tail)), "")
        if "No module named" in last:
            return WorkerFailed(protocol.VERSION, f"{self._worker.python} has no FiftyOne ({printable(last, 120)})")
        return WorkerFailed(
            protocol.UNEXPECTED, f"FiftyOne's process ended without an answer ({how})" + (f": {last}" if last else "")
        )

    def _end(self) -> None:
        """Asks the child to end, then ends it and whatever it has started in its group.

        FiftyOne's own mongod is in a group of its own; it shuts down by itself when its clients are gone.
        """
        process = self._process
        if process.poll() is None and (self._has_result or self._failed):
            self._wait(GRACE_SECONDS)
        if process.poll() is None:
            process.terminate()
            self._wait(GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _wait(self, seconds: float) -> None:
        """Waits for the end, and keeps the pipes empty meanwhile: a full one would hold the child up."""
        ends_at = time.monotonic() + seconds
        assert self._process.stdout is not None and self._process.stderr is not None
        streams = ((self._process.stdout.fileno(), "stdout"), (self._process.stderr.fileno(), "stderr"))
        while self._process.poll() is None and time.monotonic() < ends_at:
            for descriptor, name in streams:
                with contextlib.suppress(OSError, ValueError):
                    self._take(descriptor, name, self._said)
            time.sleep(0.02)


def said(line: bytes) -> str:
    """A printed line as one short harmless text; "" for what is no text (FiftyOne dumps the bytes of uploads)."""
    head = line[:2000]
    text = head.decode("utf-8", "replace")
    odd = sum(1 for character in text if not character.isprintable() and character not in "\t\r\x1b")
    odd += text.count("\ufffd") + 2 * text.count("\\x")
    if odd > max(3, len(text) // 20):
        return ""
    clean = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return printable(clean, LONGEST_SAID)


__all__ = ["Limits", "Stopped", "Worker", "WorkerFailed", "environment_of", "handed_on", "said"]
