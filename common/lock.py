"""One run of a job at a time: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import log
from common.files import is_link
from common.shards import WHOLE, Shard
from common.text import duration, iso, now
from common.waiting import Deadline, StopSignal, poll_pause


class Locked(Exception):
    """Another run holds the lock; the text says who."""


@dataclass(frozen=True)
class Patience:
    """How long somebody else's lock is waited for; a stop ends the wait."""

    seconds: float = 0.0
    stop: StopSignal | None = None


AT_ONCE = Patience()


@dataclass(frozen=True)
class Shared:
    """A lock file that several may hold at once, but nobody beside somebody who holds it alone."""

    path: Path


@contextlib.contextmanager
def locked(path: Path, job: str, patience: Patience = AT_ONCE) -> Iterator[None]:
    """Holds the lock file at `path` for the length of the block. Raises Locked when somebody else does, Stopped."""
    with all_locked([path], job, patience):
        yield


@contextlib.contextmanager
def all_locked(paths: Sequence[Path | Shared], job: str, patience: Patience = AT_ONCE) -> Iterator[None]:
    """Holds all of these lock files. Raises Locked when somebody else holds one longer than `patience`; Stopped.

    Who waits holds none of them: whatever needs only the others goes on meanwhile, and nobody waits in a circle.
    flock and not a pid file: nothing stale is left by kill -9. The files stay; their content is only for people.
    """
    deadline = Deadline(patience.seconds)
    said = False
    while True:
        with contextlib.ExitStack() as held:
            try:
                for path in paths:
                    held.enter_context(_held(path, job))
            except Locked as error:
                if deadline.is_over or patience.stop is None:
                    waited = f", also after a wait of {duration(patience.seconds)}" if said else ""
                    raise Locked(f"{error}{waited}") from None
                who = str(error)
            else:
                if said:
                    log.get().info("lock_taken", seconds=round(patience.seconds - deadline.left_seconds, 1))
                yield
                return
        if not said:
            log.get().info("waiting_for_lock", held_by=who, at_most=duration(patience.seconds))
            said = True
        patience.stop.sleep(min(poll_pause(patience.seconds - deadline.left_seconds), max(0.0, deadline.left_seconds)))


@contextlib.contextmanager
def _held(lock: Path | Shared, job: str) -> Iterator[None]:
    path, how = (lock.path, fcntl.LOCK_SH) if isinstance(lock, Shared) else (lock, fcntl.LOCK_EX)
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise
            raise Locked(f"{_holder(descriptor, job)} (lock file {path})") from None
        holder = {"job": job, "pid": os.getpid(), "host": socket.gethostname(), "since": iso(now())}
        os.ftruncate(descriptor, 0)
        with contextlib.suppress(OSError):  # on a full disk it is held without a name: the sweeper must be able to run
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
        if how == fcntl.LOCK_EX:  # what others that share it have written stays
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """The descriptor of a lock file, which is made if need be. Raises OSError, also for a link, which leads elsewhere."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP or not is_link(path):
            raise
        # As of a file that may not be written, which is what every script can explain.
        raise PermissionError(errno.ELOOP, f"this lock file is a link to {path.readlink()}", str(path)) from None


def locks_of(folder: Path, content: str, shard: Shard = WHOLE) -> list[Path | Shared]:
    """What a run must hold that writes one kind of content of one server's folder. Raises OSError.

    The shards of one division share the content's lock and hold one of their own each. A run without shards, the
    sweeper and a run of another division (which would meet the same sources) find it taken.
    """
    everything = folder / f".lock-{content}"
    if shard.is_whole:
        return [everything]
    own = folder / f".lock-{content}{shard.ending}"
    os.close(_open(own))  # before the look: of two divisions that begin at the same moment, at least one sees the other
    others = [
        path for path in sorted(folder.glob(f".lock-{content}.*of*")) if not path.name.endswith(f"of{shard.count}")
    ]
    return [own, Shared(everything), *(Shared(path) for path in others)]


def _holder(descriptor: int, job: str) -> str:
    """Who is at work: its own name for its job, which need not be ours."""
    try:
        holder: dict[str, Any] = json.loads(os.pread(descriptor, 4096, 0))
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        return f"{holder['job']} is already running here: {who}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"{job} is already running here: by a process that left no name"
