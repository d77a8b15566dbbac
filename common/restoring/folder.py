"""`restores/<server>`, where restore.py keeps what it has done: ours and writable, or a sentence that says what is wrong."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from common.exits import Exit, RunEnds
from common.files import disk_full_named
from common.lock import Patience, locked
from common.ownership import path_of, try_to_write, what_to_do


def prepare(folder: Path) -> None:
    """Makes it, and tries whether it takes files: without a journal nothing is exactly once. Raises RunEnds, DiskFull."""
    try:
        with disk_full_named(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)
            try_to_write(folder)
    except OSError as error:
        raise refused(folder, error) from None


@contextlib.contextmanager
def held(folder: Path, job: str, patience: Patience) -> Iterator[None]:
    """Keeps other restores into this server out. Raises RunEnds, DiskFull, Locked, Stopped."""
    with contextlib.ExitStack() as lock:
        try:
            with disk_full_named(folder):
                lock.enter_context(locked(folder / ".lock-restore", job, patience))
        except OSError as error:
            raise refused(folder, error) from None
        yield


def refused(folder: Path, error: OSError, what: str = "CVAT_BACKUP_DIR", instead: str = "") -> RunEnds:
    """What a folder refused, and what to do about it, or `instead` of that."""
    why = f"{what} cannot be written: {error.strerror or error} ({path_of(error) or folder})."
    remedy = " ".join(text for text in (remedy_for(folder, error), instead) if text)
    return RunEnds(why, remedy, Exit.BAD_CONFIGURATION)


def remedy_for(folder: Path, error: OSError) -> str:
    """What to do about a folder that refused."""
    return what_to_do(folder, error, "restore.py")
