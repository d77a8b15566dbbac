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

from common.datasets.extract import JOB_STATUS, MANIFEST
from common.files import disk_full_named, publish
from common.hashing import sha256_of

VERSION = 1


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
    temporary, total, count = folder / (MANIFEST + ".tmp"), 0, 0
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


def holds_more(folder: Path) -> bool:
    """Whether a folder without damage holds files besides those of its manifest: then somebody put them there."""
    with open(folder / MANIFEST, encoding="utf-8") as lines:
        ours = sum(1 for _ in lines) - 1  # without head and end, with the manifest itself
    return sum(len(files) for _, _, files in os.walk(folder)) > ours


def find_damage(folder: Path, check: Callable[[], None] = lambda: None) -> tuple[str, int]:
    """What is wrong with the files of a folder ("" when nothing is), and their bytes.

    A file whose size and modification time are as they were is taken as unchanged; any other is hashed.
    """
    total, count = 0, 0
    try:
        with open(folder / MANIFEST, encoding="utf-8") as lines:
            next(lines)
            for line in lines:
                check()
                entry = json.loads(line)
                if "end" in entry:
                    return ("" if entry["end"] == count else "its manifest is not complete"), total
                path = folder / entry["path"]
                found = os.lstat(path)
                same = found.st_size == entry["bytes"]
                if same and found.st_mtime_ns != entry["mtime_ns"]:
                    same = sha256_of(path, check) == entry["sha256"]
                if not same:
                    return f"{entry['path']} is not as it was downloaded", total
                total, count = total + entry["bytes"], count + 1
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).relative_to(folder)} is missing", total
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        return f"its manifest cannot be read ({error})", total
    return "its manifest is not complete", total
