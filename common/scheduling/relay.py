"""What jobs print, brought to our own standard output line by line, with the job's name and run id.

As JSON, a job's own JSON objects stay objects; anything else becomes `{"event": "output", "line": …}`. Nothing here
holds more than one bounded line per stream and the last lines of each job.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

from common import log
from common.text import iso, now, printable
from common.waiting import Deadline

LONGEST_LINE_BYTES = 32_768
TAIL_LINES = 50
LONGEST_TAIL_LINE = 1_000


class Output:
    """Our standard output, shared by all jobs: whole lines only, and no error when nobody takes them."""

    def __init__(self, style: Literal["text", "json"]) -> None:
        self.style = style
        self._lock = threading.Lock()

    def line(self, job: str, run_id: str, stream: str, text: str) -> None:
        rendered = f"[{job} {run_id}] {text}" if self.style == "text" else as_json(job, run_id, stream, text)
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(rendered + "\n")
            sys.stdout.flush()


def as_json(job: str, run_id: str, stream: str, text: str) -> str:
    """One line of a job as a JSON object that names the job."""
    own = _object(text)
    with contextlib.suppress(ValueError):  # NaN, or a number that became infinite: no JSON, though Python reads it
        if own is not None:
            return json.dumps({**own, "job": job, "run": run_id}, ensure_ascii=False, allow_nan=False)
    output = {"event": "output", "level": "info", "timestamp": iso(now()), "stream": stream, "line": text}
    return json.dumps({**output, "job": job, "run": run_id}, ensure_ascii=False)


def readable(text: str) -> str:
    """A line for people: a log object as `WARNING export_failed item=…`, anything else as it is, cut to a length."""
    own = _object(text)
    if own is not None and "event" in own:
        fields = " ".join(
            f"{key}={value}" for key, value in own.items() if key not in ("event", "level", "timestamp", "run", "job")
        )
        text = f"{str(own.get('level', '')).upper()} {own['event']} {fields}".strip()
    return printable(text, LONGEST_TAIL_LINE)


def _object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bounded_lines(descriptor: int, longest: int = LONGEST_LINE_BYTES) -> Iterator[str]:
    """Lines read from a descriptor until its end; of a longer one the beginning, and how much is left out."""
    buffer = b""
    dropped = 0
    while chunk := os.read(descriptor, 65_536):
        *whole, rest = (buffer + chunk).split(b"\n")
        for line in whole:
            yield _text(line, dropped, longest)
            dropped = 0
        if len(rest) > longest:
            dropped += len(rest) - longest
            rest = rest[:longest]
        buffer = rest
    if buffer:
        yield _text(buffer, dropped, longest)


def _text(line: bytes, dropped: int, longest: int) -> str:
    dropped += max(0, len(line) - longest)
    text = line[:longest].rstrip(b"\r").decode("utf-8", "replace")
    return f"{text} … ({dropped:,} more bytes)" if dropped else text


class Listener:
    """Reads one job's streams in threads of its own, so that a job never waits for anything but our output.

    Raises OSError when there can be no more threads; what it was given is closed then, too.
    """

    def __init__(self, output: Output, job: str, run_id: str, streams: dict[str, int]) -> None:
        self._output, self._job, self._run_id = output, job, run_id
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._threads: list[threading.Thread] = []
        left = dict(streams)
        try:
            for stream, descriptor in streams.items():
                thread = threading.Thread(
                    target=self._listen, args=(stream, descriptor), name=f"{job} {stream}", daemon=True
                )
                thread.start()
                del left[stream]
                self._threads.append(thread)
        except RuntimeError as error:  # no more threads: pids_limit, ulimit -u
            for descriptor in left.values():
                os.close(descriptor)
            raise OSError(errno.EAGAIN, str(error)) from None

    def _listen(self, stream: str, descriptor: int) -> None:
        try:
            for line in bounded_lines(descriptor):
                text = log.without_secrets(line)
                self._output.line(self._job, self._run_id, stream, text)
                if text.strip():
                    self.tail.append(readable(text))
        finally:
            os.close(descriptor)

    def finish(self, seconds: float) -> bool:
        """Waits for what is still in the pipes, so long at most; whether that was all."""
        deadline = Deadline(seconds)
        for thread in self._threads:
            thread.join(max(0.0, deadline.left_seconds))
        return not any(thread.is_alive() for thread in self._threads)
