"""`restores/<server>`, where restore.py keeps what it has done: ours and writable, or a sentence that says what is wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from common.exits import Exit, RunEnds
from common.lock import Patience, locked
from common.ownership import how_to_make_writable

_DENIED = (errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)


def prepare(folder: Path) -> None:
    """Makes it, and tries whether it takes files: without a journal nothing is exactly once. Raises RunEnds."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Rights alone do not tell: the file system may be mounted read-only, or a server may decide.
            tempfile.TemporaryFile(prefix=".try-", dir=folder).close()
        except OSError as error:
            error.filename = str(folder)  # not a name that nobody has ever seen
            raise
    except OSError as error:
        raise refused(folder, error) from None


@contextlib.contextmanager
def held(folder: Path, job: str, patience: Patience) -> Iterator[None]:
    """Keeps other restores into this server out. Raises RunEnds, Locked, Stopped."""
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(locked(folder / ".lock-restore", job, patience))
        except OSError as error:
            raise refused(folder, error) from None
        yield


def refused(folder: Path, error: OSError, what: str = "CVAT_BACKUP_DIR", instead: str = "") -> RunEnds:
    """What a folder refused, and what to do about it, or `instead` of that."""
    name = error.filename2 or error.filename
    path = Path(os.fsdecode(name)) if isinstance(name, str | bytes) else folder
    why = f"{what} cannot be written: {error.strerror or error} ({path})."
    remedy = " ".join(text for text in (remedy_for(folder, error), instead) if text)
    return RunEnds(why, remedy, Exit.BAD_CONFIGURATION)


def remedy_for(folder: Path, error: OSError) -> str:
    """What to do about a folder that refused."""
    if error.errno in _DENIED:
        # Where it could not even be made, that above it. Unlike Path's, these two do not raise where they may not look.
        there = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110
        return how_to_make_writable(there, "restore.py")
    if error.errno in _IN_THE_WAY:
        return "Move away what is in the way there."
    return ""
