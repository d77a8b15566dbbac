"""Folders that refuse to be written: whether they do, and which command makes them ours."""

from __future__ import annotations

import errno
import os
import re
import shlex
import tempfile
from pathlib import Path

from common.exits import Exit, RunEnds
from common.files import is_there

MOUNTS = Path("/proc/self/mountinfo")
_DENIED = (errno.EACCES, errno.EPERM)
_IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)
# What the system has too little of is no fault of a folder.
_OF_THE_SYSTEM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def try_to_write(folder: Path) -> None:
    """Access rights alone do not tell: the file system may be mounted read-only, or a server may decide. Raises OSError."""
    try:
        tempfile.TemporaryFile(prefix=".try-", dir=folder).close()
    except OSError as error:
        error.filename = str(folder)  # not a name that nobody has ever seen
        raise


def path_of(error: OSError) -> Path | None:
    """The file that an error is about; of a rename, the one that it was to become."""
    name = error.filename2 or error.filename
    return Path(os.fsdecode(name)) if isinstance(name, str | bytes) else None


def why_refused(folder: Path, error: OSError) -> str:
    """Why a folder refused, in a few words; with the place, where it is another one: one that is there."""
    there = _nearest(path_of(error) or folder)
    if error.errno in _IN_THE_WAY and not os.path.isdir(there):  # noqa: PTH112
        return f"{there} is a file, no folder"
    return f"{error.strerror or error}" + ("" if there == folder else f" ({there})")


def _nearest(path: Path) -> Path:
    """The path, or what is above it where it could not even be made. Does not raise where it may not look."""
    return next((each for each in (path, *path.parents) if os.path.exists(each)), path)  # noqa: PTH110


def is_refusal(folder: Path, error: OSError) -> bool:
    """Whether an error is about something in this folder, or the folder itself."""
    path = path_of(error)
    return path is not None and path.is_relative_to(folder) and error.errno not in _OF_THE_SYSTEM


def refused(setting: str, folder: Path, doing: str, error: OSError, script: str) -> RunEnds:
    """A folder that a setting names and that a run cannot do without: what it refused, and what to do."""
    what = f"{setting}={folder} cannot be {doing}: {why_refused(folder, error)}."
    remedy = what_to_do(folder, error, script)
    remedy = (
        f"{remedy}  (or choose another folder with --output-dir)" if remedy else "Choose another with --output-dir."
    )
    return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)


def what_to_do(folder: Path, error: OSError, script: str) -> str:
    """What to do about a folder that refused; nothing where only another folder helps."""
    if error.errno in _DENIED:
        return how_to_make_writable(_nearest(folder), script)
    if error.errno in _IN_THE_WAY:
        return "Move away what is in the way there."
    if error.errno == errno.ELOOP:
        return "Delete the link (not what it leads to)."
    return ""


def how_to_make_writable(folder: Path, script: str) -> str:
    """What to do about a folder that cannot be written; in a container, the command for the machine around it."""
    where = mounted_from(folder)
    if where is None:
        return f"Make this folder, and what is in it, writable for the user that runs {script}: {folder}"
    owner = f"{os.geteuid()}:{os.getegid()}"
    command = f"sudo chown -R {owner} {shlex.quote(where)}"
    return (
        f"Make it writable for user {owner}, as which this container runs (PUID, PGID). On the host, not in here:  {command}  "
        f"(the folder that is mounted as {folder}; how to look where it is: docker inspect)"
    )


def mounted_from(folder: Path) -> str | None:
    """The folder outside of this container that is mounted at `folder`; None where that cannot be told.

    /proc/self/mountinfo gives it as a path within its file system: the host's path, when that is the root file system.
    """
    if not in_container():
        return None
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return source_of_mount(lines, str(folder))


def source_of_mount(lines: list[str], folder: str) -> str | None:
    """Field 4 of the last line of mountinfo that is mounted at `folder` (man 5 proc); blanks in it are escaped."""
    found = None
    for line in lines:
        fields = line.split(" ")
        if len(fields) > 4 and _plain(fields[4]) == folder and fields[3] != "/":
            found = _plain(fields[3])
    return found


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def in_container() -> bool:
    return (
        is_there(Path("/.dockerenv")) or is_there(Path("/run/.containerenv")) or "KUBERNETES_SERVICE_HOST" in os.environ
    )
