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

from common.shards import WHOLE, Shard
from common.text import iso, now


class Locked(Exception):
    """Another run holds the lock; the text says who."""


@contextlib.contextmanager
def locked(path: Path, job: str, *, shared: bool = False) -> Iterator[None]:
    """Holds the lock file at `path` for the length of the block. Raises Locked at once when somebody else does.

    A shared lock may be held by several at once, but not beside one that is not shared.
    flock and not a pid file: nothing stale is left by kill -9. The file stays; its content is only for people.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise
            raise Locked(f"{_holder(descriptor, job)} (lock file {path})") from None
        holder = {"job": job, "pid": os.getpid(), "host": socket.gethostname(), "since": iso(now())}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        if not shared:  # what others that share it have written stays
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked_content(folder: Path, content: str, job: str, shard: Shard = WHOLE) -> Iterator[None]:
    """Holds what a run needs that writes one kind of content of one server's folder.

    The shards of one division share the content's lock and hold one of their own each. A run without shards, the
    sweeper and a run of another division (which would meet the same sources) find it taken. Raises Locked, OSError.
    """
    if shard.is_whole:
        with locked(folder / f".lock-{content}", job):
            yield
        return
    job, own = f"{job}, shard {shard}", folder / f".lock-{content}{shard.ending}"
    with locked(folder / f".lock-{content}", job, shared=True), locked(own, job):
        # Our own lock is held first: of two divisions that begin at the same moment, at least one sees the other.
        for other in sorted(folder.glob(f".lock-{content}.*of*")):
            if not other.name.endswith(f"of{shard.count}"):
                with locked(other, job):
                    pass
        yield


def _holder(descriptor: int, job: str) -> str:
    """Who is at work: its own name for its job, which need not be ours."""
    try:
        holder: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        return f"{holder['job']} is already running here: {who}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"{job} is already running here: by a process that left no name"
