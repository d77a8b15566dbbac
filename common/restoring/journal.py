"""What a restore has done so far, on disk before it does the next thing: `restores/<server>/<id>/restore.json`.

A run that was killed is taken up by the next one with the same order; it never begins a second copy.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from common.backups.names import server_folder
from common.cvat.address import server_key
from common.files import write_json
from common.restoring.folder import refused
from common.sources import Kind, Source
from common.text import iso, now

JOURNAL_VERSION = 1
# What a piece has reached. In "finishing" the request that starts the import may or may not have been carried out.
State = Literal["new", "uploading", "uploaded", "finishing", "importing", "imported", "named"]


@dataclass
class Piece:
    """One upload: the project (index None), one task of it that is sent by itself, or a task alone."""

    kind: Kind
    index: int | None
    name: str
    marker: str
    state: State = "new"
    upload_id: str = ""
    request_id: str = ""
    finish_at: str = ""
    result_id: int | None = None
    # Exactly as the server says it: on a server set up anew the same number is something else. "" in older journals.
    result_created: str = ""

    @property
    def marked_name(self) -> str:
        """The name it bears until it is there whole: found again by the marker, whatever became of the answer."""
        return f"restoring «{self.name[:180]}» [cvat-backups {self.marker}]"


@dataclass
class Journal:
    """One restore of one archive into one server."""

    path: Path
    id: str
    target: str
    file: str
    sha256: str
    kind: Kind
    name: str
    organization: str
    purpose: Literal["restore", "drill"]
    source: str
    at: str
    pieces: list[Piece] = field(default_factory=list)
    state: Literal["under way", "done", "failed", "deleted"] = "under way"
    created_at: str = ""
    # When the file was last written, as it was read: nothing that it names was made later.
    last_saved: str = ""

    @property
    def result_id(self) -> int | None:
        return self.pieces[0].result_id if self.pieces else None

    @property
    def folder(self) -> Path:
        return self.path.parent

    def save(self) -> None:
        """Raises DiskFull, OSError."""
        value = dataclasses.asdict(self)
        del value["path"], value["last_saved"]
        write_json(self.path, {"version": JOURNAL_VERSION, **value})


def source_text(source: Source) -> str:
    """A source in one text: server, kind, id, created date."""
    return " ".join(str(part) for part in source.key)


def restores_folder(backup_dir: Path, target_url: str) -> Path:
    return backup_dir / "restores" / server_folder(server_key(target_url))


def begin(
    folder: Path, *, target: str, file: Path, sha256: str, kind: Kind, name: str, organization: str,
    purpose: Literal["restore", "drill"], source: str,
) -> Journal:  # fmt: skip
    """A new journal, not yet on disk. Raises RunEnds when its folder cannot be made."""
    identity = secrets.token_hex(6)
    path = folder / identity / "restore.json"
    try:
        path.parent.mkdir(parents=True)
    except OSError as error:
        raise refused(folder, error) from None
    return Journal(path, identity, target, str(file), sha256, kind, name, organization, purpose, source, iso(now()))


def all_journals(folder: Path) -> Iterator[Journal]:
    """The journals of one target, oldest first. What cannot be read is passed over: it was killed before it began."""
    found = []
    for path in folder.glob("*/restore.json"):
        try:
            found.append(_read(path))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    yield from sorted(found, key=lambda journal: journal.at)


def _read(path: Path) -> Journal:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if value.pop("version") != JOURNAL_VERSION:
        raise ValueError("another version")
    pieces = [Piece(**piece) for piece in value.pop("pieces")]
    last_saved = iso(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    return Journal(path=path, pieces=pieces, last_saved=last_saved, **value)
