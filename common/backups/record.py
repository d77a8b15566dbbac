"""The record beside every backup: what it is, where it came from, and what verification saw.

It is written last. A file without a record is not a backup but the debris of a crash.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.sources import Counts, Fingerprint, Source
from common.text import parse_time

RECORD_VERSION = 1
Content = Literal["backup", "annotations"]


class BadRecord(Exception):
    """A record that cannot be read: damaged, or written by a later version of this program."""


class UnreadRecord(BadRecord):
    """A record whose bytes could not be read (no right to, a disk that fails): what it says is not known."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a backup, in the record's own folder. `role`: backup, dataset, api or left-out."""

    role: str
    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Server:
    url: str
    version: str


@dataclass(frozen=True)
class Export:
    """How the server was asked. `formats` are dataset formats, empty for a CVAT backup."""

    formats: tuple[str, ...] = ()
    save_images: bool = False
    result: str = "local"


@dataclass(frozen=True)
class Verified:
    """What verification saw. `frames` counts from the first to the last frame of each task, deleted ones included.

    "incomplete": the archive is sound but lacks something that the server has; it counts as no good copy, and the next
    run saves the source again. `compared_with_server`: what is in it was compared with the server's own word.
    """

    result: Literal["good", "good with warnings", "incomplete"]
    tasks: int
    jobs: int
    frames: int
    counts: Counts
    members: int
    media_files: int
    compared_with_server: bool


@dataclass(frozen=True)
class LeftOut:
    """A task that is not in the archive, and why. Its JSON stands in the file with the role left-out."""

    task_id: int
    name: str
    reason: str


@dataclass(frozen=True)
class Original:
    """What the server sent, where the main file is not that byte for byte."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Record:
    """One backup of one source. Times are ISO 8601 in UTC; sizes are bytes."""

    source: Source
    server: Server
    content: Content
    stamp: str
    files: tuple[StoredFile, ...]
    started_at: str
    finished_at: str
    fingerprint: Fingerprint
    export: Export
    verified: Verified
    tool_version: str
    run_id: str
    changed_while_exporting: bool = False
    warnings: tuple[str, ...] = ()
    # In what the main file differs from what the server sent, and the hash of that.
    alterations: tuple[str, ...] = ()
    original: Original | None = None
    left_out: tuple[LeftOut, ...] = ()
    offsite: tuple[dict[str, Any], ...] = ()
    version: int = field(default=RECORD_VERSION, kw_only=True)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @property
    def main_file(self) -> StoredFile:
        return self.files[0]


def to_json(record: Record) -> dict[str, Any]:
    """The record as it stands on disk."""
    value = dataclasses.asdict(record)
    return {"version": value.pop("version"), **value}


def from_json(value: Any) -> Record:
    """Raises BadRecord."""
    if not isinstance(value, dict):
        raise BadRecord("it is not a JSON object")
    version = value.get("version")
    if not isinstance(version, int) or version > RECORD_VERSION:
        raise BadRecord(f"it has version {version!r}; this program knows versions up to {RECORD_VERSION}")
    try:
        for moment in (value["started_at"], value["finished_at"]):
            parse_time(moment)
        if not value["files"]:
            raise ValueError("it names no file")
        original = value.get("original")
        verified = {**value["verified"], "counts": Counts(**value["verified"]["counts"])}
        return Record(
            source=Source(**value["source"]),
            server=Server(**value["server"]),
            content=value["content"],
            stamp=value["stamp"],
            files=tuple(_stored(file) for file in value["files"]),
            started_at=value["started_at"],
            finished_at=value["finished_at"],
            fingerprint=Fingerprint(**value["fingerprint"]),
            export=Export(**{**value["export"], "formats": tuple(value["export"]["formats"])}),
            verified=Verified(**verified),
            tool_version=value["tool_version"],
            run_id=value["run_id"],
            changed_while_exporting=value["changed_while_exporting"],
            warnings=tuple(value["warnings"]),
            alterations=tuple(value["alterations"]),
            original=Original(**original) if original else None,
            left_out=tuple(LeftOut(**item) for item in value["left_out"]),
            offsite=tuple(value.get("offsite", ())),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"it is damaged ({type(error).__name__}: {error})") from None


def _stored(value: dict[str, Any]) -> StoredFile:
    file = StoredFile(**value)
    # A record is a file that anybody may have edited: its names must stay in its own folder.
    if Path(file.name).name != file.name or file.name in ("", ".", "..") or not isinstance(file.size_bytes, int):
        raise ValueError(f"file name {file.name!r}")
    return file


def read(path: Path) -> Record:
    """The record at `path`. Raises BadRecord."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UnreadRecord(f"it cannot be read ({error})") from error
    except ValueError as error:
        raise BadRecord(f"it cannot be read ({error})") from None
