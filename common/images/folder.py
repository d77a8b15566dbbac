"""The output folder of --mode images: ours and writable, for one run at a time, or a sentence that says what is wrong."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from common.exits import Exit, RunEnds
from common.files import DiskFull, disk_full_named, free_bytes, is_folder, is_link, is_there
from common.images.journal import OWN_FOLDER, parts_of
from common.lock import Patience, locked
from common.ownership import is_refusal, refused, try_to_write

Doing = Literal["read", "written"]


@contextlib.contextmanager
def held(folder: Path, patience: Patience) -> Iterator[None]:
    """Makes the output folder and our own in it, and keeps other runs out. Raises RunEnds, Locked, Stopped."""
    with contextlib.ExitStack() as lock:
        try:
            with trouble_named(folder):
                _require_own(folder)
                parts_of(folder).mkdir(parents=True, exist_ok=True)
                # Of an earlier run as another user: better to know it now than after the listing.
                for each in (folder, parts_of(folder)):
                    try_to_write(each)
                lock.enter_context(locked(folder / OWN_FOLDER / "lock", "downloader.py --mode images", patience))
        except OSError as error:  # a file system without locks, for one
            raise _refused(folder, "written", error) from None
        yield


def _require_own(folder: Path) -> None:
    """Raises RunEnds when what should be ours leads elsewhere: unfinished files are deleted there, and renamed from there."""
    for each in (folder / OWN_FOLDER, parts_of(folder)):
        if is_link(each):
            what = f"CVAT_IMAGES_OUTPUT_DIR={folder} cannot be used: {each} is a link to {each.readlink()}."
            remedy = (
                "Delete the link (not what it leads to): this folder is for unfinished files, and for nothing else."
            )
            raise RunEnds(what, remedy, Exit.BAD_CONFIGURATION)


def look_into_folder(folder: Path) -> None:
    """For a dry run, which makes no folder: it need not be there, but where it is, it can be read. Raises RunEnds."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _refused(folder, "read", error) from None


@contextlib.contextmanager
def trouble_named(folder: Path, doing: Doing = "written") -> Iterator[None]:
    """What the folder refuses is said as what it is, and so is a disk with no room even for plan and journal.

    Raises RunEnds.
    """
    remedy = "Make room there, then run the same command again: it goes on from here."
    try:
        with disk_full_named(folder):
            yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_FULL:
            raise
        raise RunEnds(f"No room left in {folder} ({error}).", remedy) from None
    except DiskFull as error:
        raise RunEnds(f"{str(error)[:1].upper()}{str(error)[1:]}.", remedy) from None
    except OSError as error:
        if not is_refusal(folder, error):
            raise
        raise _refused(folder, doing, error) from None


def _refused(folder: Path, doing: Doing, error: OSError) -> RunEnds:
    return refused("CVAT_IMAGES_OUTPUT_DIR", folder, doing, error, "downloader.py")


def room_for_plans(output_dir: Path) -> Path | None:
    """Where nameless files find room: where the images will lie (in a container /tmp is small).

    A dry run makes no folder, so that it may have to take one above; and it may be allowed to write to none: None.
    """
    there = (output_dir / OWN_FOLDER, output_dir, *output_dir.parents)
    folder = next((folder for folder in there if is_folder(folder)), None)
    return folder if folder is not None and os.access(folder, os.W_OK | os.X_OK) else None


def free_bytes_for(folder: Path) -> int:
    """Bytes that are free where the folder is, or would be."""
    while not is_there(folder) and folder != folder.parent:
        folder = folder.parent
    return free_bytes(folder)
