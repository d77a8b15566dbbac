"""Media and annotations as plain files, without a server. Nothing is written outside the folder, nothing overwritten."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from common.backups.archive import Archive, BadArchive, unsafe_name
from common.exits import Trouble
from common.files import disk_full_named, slug
from common.restoring.find import Chosen
from common.restoring.soundness import Refused, require_modest
from common.transfer import require_room


class NotExtracted(Trouble):
    """The files could not be written."""

    remedy = "Choose an empty folder with enough room: --extract DIR."


def extract(chosen: Chosen, folder: Path, reserve_bytes: int = 0, between: Callable[[], None] = lambda: None) -> int:
    """Writes the members of an archive below a new folder in `folder`; how many files. Raises Refused, NotExtracted."""
    target = folder / chosen.path.name.removesuffix(".zip")
    try:
        with Archive(chosen.path) as archive:
            require_modest(chosen.path)
            for member in archive.members():
                if problem := unsafe_name(member.name):
                    raise BadArchive(f"member {member.name[:100]!r} {problem}")
                archive.data_offset(member)
            folder.mkdir(parents=True, exist_ok=True)
            require_room(folder, sum(member.size_bytes for member in archive.members()), reserve_bytes)
            target.mkdir()
            only = "" if chosen.index is None else f"task_{chosen.index}"
            return _write(archive, target, _task_folders(archive), between, only)
    except BadArchive as error:
        raise Refused(f"{chosen.path.name} is no sound archive: {error}") from None
    except FileExistsError as error:
        raise NotExtracted(f"{error.filename or target} exists already: nothing is overwritten") from None
    except (IsADirectoryError, NotADirectoryError) as error:
        raise NotExtracted(f"{error.filename}: the archive means a file and a folder by the same name") from None


def _write(archive: Archive, target: Path, folders: dict[str, str], between: Callable[[], None], only: str = "") -> int:
    """With `only`, the members of that one `task_N` of a project."""
    written = 0
    with disk_full_named(target):
        for member in archive.members():
            first, slash, rest = member.name.replace("\\", "/").partition("/")
            if only and first != only:
                continue
            path = target / (folders.get(first, first) + slash + rest)
            if member.name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                try:
                    for piece in archive.read(member):
                        between()
                        file.write(piece)
                except BaseException:
                    path.unlink()
                    raise
            written += 1
    return written


def _task_folders(archive: Archive) -> dict[str, str]:
    """`task_0` becomes `task_0-first-batch`, so that people find what they look for."""
    found = {}
    for member in archive.members():
        if match := re.fullmatch(r"(task_\d+)/task\.json", member.name):
            try:
                name = slug(str(json.loads(archive.read_small(member))["name"]))
            except (ValueError, KeyError, TypeError):
                name = ""
            found[match[1]] = f"{match[1]}-{name}" if name else match[1]
    return found
