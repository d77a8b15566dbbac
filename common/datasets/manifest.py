"""The manifest in the folder of a downloaded dataset: what it is, of which state of the task, with every file's hash.

JSON lines: a head, one line a file, an end with their number. Written last; without its end it counts for nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.files import disk_full_named, is_link, publish, walk
from common.hashing import sha256_of
from common.text import plural

VERSION = 1
MANIFEST = ".cvat-download.jsonl"
JOB_STATUS = "jobs.json"
_UNFINISHED = MANIFEST + ".tmp"
# What this program writes into the folder of a dataset, also for a moment (`write_json` has such a name, too).
RESERVED = frozenset({MANIFEST, _UNFINISHED, JOB_STATUS, f".{JOB_STATUS}.tmp"})
# What a look into a folder leaves there, in the file browsers of macOS and Windows.
_LEFT_BY_LOOKING = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Head:
    """What a folder holds. `fingerprint` stands for the dates of the task and its jobs when it was listed."""

    server: str
    task_id: int
    task_name: str
    task_created_at: str
    updated_at: str
    fingerprint: str
    format: str
    include_images: bool
    check_image_exists: bool
    images_filtered: int = 0
    annotations_filtered: int = 0
    reason: str = ""
    version: int = VERSION

    @property
    def form(self) -> str:
        return f"{self.format} {'with' if self.include_images else 'without'} images"

    def same_order(self, other: Head) -> bool:
        """Whether both are the same state of the same task in the same form."""
        names = (
            "server", "task_id", "task_created_at", "fingerprint", "format", "include_images", "check_image_exists", "version",
        )  # fmt: skip
        return all(getattr(self, name) == getattr(other, name) for name in names)


def write(folder: Path, head: Head, index: Path, removed: set[str], changed: Iterable[str]) -> int:
    """Writes the manifest from the index of extraction; returns the bytes of all files.

    Files that were `removed` are left out, `changed` ones (and new ones) are hashed again.
    """
    again = {*changed, JOB_STATUS}
    temporary, total, count = folder / _UNFINISHED, 0, 0
    with disk_full_named(folder), open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(asdict(head)) + "\n")
        for entry in _entries(index, removed | again):
            total, count = total + entry["bytes"], count + 1
            file.write(json.dumps(entry | {"mtime_ns": (folder / entry["path"]).stat().st_mtime_ns}) + "\n")
        for path in sorted(again - removed):
            found = (folder / path).stat()
            total, count = total + found.st_size, count + 1
            entry = {"path": path, "bytes": found.st_size, "sha256": sha256_of(folder / path)}
            file.write(json.dumps(entry | {"mtime_ns": found.st_mtime_ns}) + "\n")
        file.write(json.dumps({"end": count, "bytes": total}) + "\n")
    publish(temporary, folder / MANIFEST)
    return total


def _entries(index: Path, without: set[str]) -> Iterator[dict[str, Any]]:
    with open(index, encoding="utf-8") as lines:
        for line in lines:
            entry: dict[str, Any] = json.loads(line)
            if entry["path"] not in without:
                yield entry


def read_head(folder: Path) -> Head | None:
    """What a folder says it holds; None without a sound manifest. Raises PermissionError: it may well be one of ours."""
    try:
        with open(folder / MANIFEST, encoding="utf-8") as lines:
            return Head(**json.loads(lines.readline()))
    except PermissionError:
        raise
    except (OSError, ValueError, TypeError):
        return None


def find_theirs(folder: Path, check: Callable[[], None] = lambda: None) -> str:
    """What somebody has added to one of our folders or changed in it; "" where nothing of theirs goes with it.

    A file that is missing is none of that. Where it cannot be told, it is said to be so.
    """
    if is_link(folder):
        return f"it is a link to {folder.readlink()}"
    ours = 1  # the manifest
    try:
        for entry in _lines_of(folder, check):
            if "end" in entry:
                break
            try:
                if not _is_as_written(folder, entry, check):
                    return f"{entry['path']} was changed"
                ours += 1
            except (FileNotFoundError, NotADirectoryError):
                continue
        else:
            return "its manifest is not complete"
        if (more := files_in(folder) - ours) > 0:
            return f"{plural(more, 'file was', 'files were')} added to it"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"what is in it cannot be told ({error})"
    return ""


def _lines_of(folder: Path, check: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """The lines below the head: a file each, and the end. Raises OSError, ValueError."""
    with open(folder / MANIFEST, encoding="utf-8") as lines:
        if not lines.readline():
            raise ValueError("it is empty")
        for line in lines:
            check()
            yield json.loads(line)


def files_in(folder: Path) -> int:
    """Files and links, without what nobody has put there on purpose. Raises OSError."""
    count = 0
    for at, folders, files in walk(folder):
        count += len([name for name in files if name not in _LEFT_BY_LOOKING])
        count += sum(is_link(Path(at) / name) for name in folders)
    return count


def _is_as_written(folder: Path, entry: dict[str, Any], check: Callable[[], None]) -> bool:
    """A file whose size and modification time are as they were is taken as unchanged; any other is hashed."""
    path = folder / entry["path"]
    found = os.lstat(path)
    if found.st_size != entry["bytes"]:
        return False
    return bool(found.st_mtime_ns == entry["mtime_ns"] or sha256_of(path, check) == entry["sha256"])


def find_damage(folder: Path, check: Callable[[], None] = lambda: None) -> tuple[str, int]:
    """What is wrong with the files of a folder ("" when nothing is), and their bytes."""
    total, count = 0, 0
    try:
        for entry in _lines_of(folder, check):
            if "end" in entry:
                return ("" if entry["end"] == count else "its manifest is not complete"), total
            if not _is_as_written(folder, entry, check):
                return f"{entry['path']} is not as it was downloaded", total
            total, count = total + entry["bytes"], count + 1
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).relative_to(folder)} is missing", total
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read ({error})", total
    return "its manifest is not complete", total
