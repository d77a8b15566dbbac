"""The folders of downloaded datasets: there whole or not at all, replaced in one step."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from common.exits import Exit, RunEnds
from common.files import disk_full_named, is_folder, is_link, sync_folder
from common.ownership import is_refusal, refused

STAGING = ".staging"
# What lies there: a task's archive as far as it has come, what is unpacked of it, and a folder that is being replaced.
_OURS = re.compile(r"task_\d+(\.index|\.zip\.part(\.json(\.tmp)?)?)?|aside_.+", re.DOTALL)
# CVAT keeps a finished export for ten hours, unless its administrator wants it otherwise.
OLDEST_PART_SECONDS = 7 * 86400
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def publish_folder(new: Path, final: Path, aside: Path, kept: Path | None = None) -> None:
    """Gives a finished folder its final name; what has it already is replaced in one step, and deleted or `kept`.

    All are on one file system. Where two folders cannot be exchanged in one step, the old one is renamed to
    `aside` first; `recover` puts it back if we die in between. What is to be kept is never called anything but its two
    names: nothing of a killed run that may be deleted is somebody's own. Once the new one is in its place, nothing fails.
    """
    sync_tree(new)
    old = aside
    if not os.path.lexists(final):
        new.rename(final)
    elif kept is not None:
        new.rename(kept)
        if not _exchanged(kept, final):
            kept.rename(new)
            final.rename(kept)
            new.rename(final)
    elif _exchanged(new, final):
        old = new
    else:
        clear_away(aside)
        final.rename(aside)
        new.rename(final)
    sync_folder(final.parent)
    clear_away(old)


def clear_away(path: Path) -> None:
    """As far as it can be: the next run tries again. Of a link, what it leads to stays."""
    if is_folder(path) and not is_link(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def find_later(folder: Path, last: Path) -> str:
    """What was added to a folder, or changed in it, after we had written its `last` file; "" where nothing was.

    By the times that nobody can set (ctime): a file that was only moved there has a new one, too. The folder itself
    has one of its renaming.
    """
    if is_link(folder):
        return f"it is a link to {folder.readlink()}"
    since, todo = last.lstat().st_ctime_ns, [folder]
    while todo:
        for entry in os.scandir(todo.pop()):
            if entry.stat(follow_symlinks=False).st_ctime_ns > since:
                return f"{Path(entry.path).relative_to(folder)} was added or changed"
            if entry.is_dir(follow_symlinks=False):
                todo.append(Path(entry.path))
    return ""


def name_to_keep(final: Path, moment: datetime) -> Path:
    """Where a folder that somebody has made their own is left when its name is needed: `fog.kept-20261122-0105`."""
    plain = f"{final.name}.kept-{moment:%Y%m%d-%H%M}"
    names = (plain, *(f"{plain}-{number}" for number in range(2, 1000)))
    return next(path for path in map(final.with_name, names) if not os.path.lexists(path))


@contextlib.contextmanager
def trouble_named(folder: Path) -> Iterator[None]:
    """What the run's own folder refuses, a disk without room among it, is said as what it is. Raises RunEnds, DiskFull."""
    try:
        with disk_full_named(folder):
            yield
    except OSError as error:
        if not is_refusal(folder, error):
            raise
        raise refused("CVAT_DOWNLOAD_OUTPUT_DIR", folder, "written", error, "downloader.py") from None


def recover(staging: Path) -> None:
    """Clears what a killed run left in the staging folder; a folder that it had set aside comes back.

    Nothing goes but what we have named: the folder may turn out to be another than we think. Raises RunEnds.
    """
    if is_link(staging):
        what = f"{staging} is a link to {staging.readlink()}, and is for this program's own files only."
        raise RunEnds(what, "Delete the link (not what it leads to).", Exit.BAD_CONFIGURATION)
    for path in list(staging.iterdir()) if is_folder(staging) else []:
        if not _OURS.fullmatch(path.name):
            continue
        if path.name.startswith("aside_"):
            final = staging.parent / path.name.removeprefix("aside_")
            if not os.path.lexists(final):
                path.rename(final)
                continue
        if not path.name.endswith((".part", ".part.json")) or _is_given_up(path):
            clear_away(path)


def _is_given_up(part: Path) -> bool:
    """Whether nobody can go on with what has come of an archive: the server has thrown the rest away long ago."""
    return time.time() - part.lstat().st_mtime > OLDEST_PART_SECONDS


def aside_of(staging: Path, folder: str) -> Path:
    """Where a folder is set aside."""
    return staging / f"aside_{folder}"


def _exchanged(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot (not Linux, some network file systems)."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = (os.fsencode(one), os.fsencode(other))
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def sync_tree(folder: Path) -> None:
    """Makes everything in a folder durable: the whole file system at once, since a sync per file takes ages.

    Raises OSError where the disk could not write what it had taken.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # macOS
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        number = ctypes.get_errno() if syncfs(descriptor) != 0 else 0
    finally:
        os.close(descriptor)
    if number == errno.ENOSYS:
        os.sync()
    elif number:
        raise OSError(number, os.strerror(number), str(folder))
