"""Files that are there whole or not at all, and names that are safe on every file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.exits import Trouble

LONGEST_TURN_SECONDS = 10
_DEVICES = frozenset(("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789¹²³")))


_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP))


class DiskFull(Trouble):
    """Our own disk has not enough room."""

    remedy = (
        "Make room on the disk of that folder (or lower CVAT_BACKUP_MIN_FREE_GB, if it is that of CVAT_BACKUP_DIR)."
    )


def is_there(path: Path) -> bool:
    """Whether there is something, at the end of a link too. Raises OSError where that cannot be told.

    Path.exists() and its sisters call a file that may not be looked at, or not be read for now, not there since
    Python 3.14: a backup that seems to be missing, and is not, is the worst that we could believe.
    """
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether there is a folder. Raises OSError where that cannot be told."""
    return stat.S_ISDIR(_mode(path) or 0)


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file. Raises OSError where that cannot be told."""
    return stat.S_ISREG(_mode(path) or 0)


def is_link(path: Path) -> bool:
    """Whether there is a link, wherever it leads. Raises OSError where that cannot be told."""
    return stat.S_ISLNK(_mode(path, follows=False) or 0)


def _mode(path: Path, *, follows: bool = True) -> int | None:
    try:
        return path.stat(follow_symlinks=follows).st_mode
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    except ValueError:  # a NUL in its name
        pass
    return None


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk(), but a folder that cannot be read is an OSError, not an empty one. One that is not there is empty."""

    def refuse(error: OSError) -> None:
        if error.errno not in _NOT_THERE:
            raise error

    return os.walk(folder, onerror=refuse)


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable. Some network file systems refuse; they are then as durable as they get."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EACCES):
            raise
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Gives a finished temporary file of the same folder its final name: fsync, rename, fsync of the folder."""
    descriptor = os.open(temporary, os.O_RDWR)  # some network file systems refuse to sync what is open for reading
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, final)
    sync_folder(final.parent)


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Writes JSON atomically and durably. Raises DiskFull."""
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(content, ensure_ascii=False, indent=indent) + "\n"
    with disk_full_named(path.parent):
        try:
            # surrogatepass is not used: a lone surrogate cannot be stored as UTF-8 and is escaped instead.
            temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def append_lines(path: Path, lines: list[str]) -> None:
    """Appends whole lines durably. A torn last line left by a crash is closed first, so that it stays alone.

    Under a short lock: on NFS two machines that append at once would overwrite each other's lines.
    """
    data = "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")
    with disk_full_named(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            _take_turns(descriptor)
            end = os.lseek(descriptor, 0, os.SEEK_END)
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                data = b"\n" + data
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _take_turns(descriptor: int) -> None:
    """Waits for the file's lock, which goes with the descriptor; no longer than a write takes that hangs."""
    deadline = time.monotonic() + LONGEST_TURN_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                return  # a file system without locks
            time.sleep(0.01)


@contextlib.contextmanager
def disk_full_named(folder: Path) -> Iterator[None]:
    """Turns "no space left" and "quota exceeded" into DiskFull with the folder's name."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"no room left in {folder} ({os.strerror(error.errno)})") from error
        raise


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write in `folder`'s file system."""
    return shutil.disk_usage(folder).free


def is_device(name: str) -> bool:
    """Whether Windows and its file servers keep this name for a device, whatever follows its first dot.

    https://learn.microsoft.com/windows/win32/fileio/naming-a-file (com0 and lpt0 are refused by some versions)
    """
    return name.partition(".")[0].rstrip(" ").casefold() in _DEVICES


def slug(name: str, longest_bytes: int = 60) -> str:
    """A readable, harmless piece of a file name made of a stranger's name; empty when nothing readable is left.

    Lower case letters and digits of any script, joined by single hyphens; never a dot, slash, quote or
    control character, so that it is safe on ext4, SMB and exFAT and cannot leave its folder.
    """
    pieces: list[str] = []
    for character in unicodedata.normalize("NFC", name).casefold():
        if unicodedata.category(character)[0] in "LN":
            pieces.append(character)
        elif unicodedata.category(character)[0] == "M" and pieces and pieces[-1] != "-":
            pieces.append(character)  # vowel signs of Indic scripts are part of their letter
        elif pieces and pieces[-1] != "-":
            pieces.append("-")
    text = "".join(pieces).encode("utf-8")[:longest_bytes].decode("utf-8", "ignore")
    return text.strip("-")
