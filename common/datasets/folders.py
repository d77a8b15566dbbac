"""The folders of downloaded datasets: there whole or not at all, replaced in one step."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import sys
from pathlib import Path

from common.exits import Exit, RunEnds
from common.files import sync_folder

STAGING = ".staging"
# What lies there: a task's archive as far as it has come, what is unpacked of it, and a folder that is being replaced.
_OURS = re.compile(r"task_\d+(\.index|\.zip\.part(\.json(\.tmp)?)?)?|aside_.+", re.DOTALL)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def publish_folder(new: Path, final: Path, aside: Path) -> None:
    """Gives a finished folder its final name; a folder that has it already is replaced in one step and deleted.

    All three are on one file system. Where two folders cannot be exchanged in one step, the old one is renamed to
    `aside` first; `recover` puts it back if we die in between. In the place of a link comes the folder itself; what
    the link leads to is left alone.
    """
    sync_tree(new)
    old = aside
    if not final.exists():
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
    """Deletes a folder of ours; of a link the link alone. What cannot be deleted stays: what counts is in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def recover(staging: Path) -> None:
    """Clears what a killed run left in the staging folder; a folder that it had set aside comes back.

    Nothing goes but what we have named: the folder may turn out to be another than we think. Raises RunEnds.
    """
    if staging.is_symlink():
        what = f"{staging} is a link to {staging.readlink()}, and is for this program's own files only."
        raise RunEnds(what, "Delete the link (not what it leads to).", Exit.BAD_CONFIGURATION)
    for path in list(staging.iterdir()) if staging.is_dir() else []:
        if not _OURS.fullmatch(path.name):
            continue
        if path.name.startswith("aside_"):
            final = staging.parent / path.name.removeprefix("aside_")
            if not final.exists():
                path.rename(final)
                continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.name.endswith((".part", ".part.json")):
            path.unlink(missing_ok=True)


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
    """Makes everything in a folder durable: the whole file system at once, since a sync per file takes ages."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs is not None and syncfs(descriptor) == 0:
            return
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError):
        os.sync()
