"""One run of a job at a time: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.text import iso, now


class Locked(Exception):
    """Another run holds the lock; the text says who."""


@contextlib.contextmanager
def locked(path: Path, job: str) -> Iterator[None]:
    """Holds the lock file at `path` for the length of the block. Raises Locked at once when somebody else does.

    flock and not a pid file: nothing stale is left by kill -9. The file stays; its content is only for people.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise
            raise Locked(f"{_holder(descriptor, job)} (lock file {path})") from None
        holder = {"job": job, "pid": os.getpid(), "host": socket.gethostname(), "since": iso(now())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int, job: str) -> str:
    """Who is at work: its own name for its job, which need not be ours."""
    try:
        holder: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        return f"{holder['job']} is already running here: {who}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"{job} is already running here: by a process that left no name"
