"""What lies on the disk of one server's backups; a folder is read again only when something in it has changed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path

from common.backups.names import stamp_of, stamp_time
from common.backups.record import BadRecord, Content, read
from common.backups.standing import Key
from common.backups.store import Backup
from common.backups.survey import CONTENTS, source_folders
from common.health.nights import REMEMBERED, night_of
from common.sources import Counts, Source
from common.text import parse_time

# A folder that changed so recently may have changed again within the same tick of its clock.
SETTLED_NS = 2_000_000_000
# So many records are looked through for a good one; they are newest first.
MOST_RECORDS = 50


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest good backup of one source and content."""

    at: datetime
    size_bytes: int
    tasks: int
    frames: int
    counts: Counts
    has_warnings: bool


@dataclass(slots=True)
class Held:
    """All backups of one source and content. `problem`: why the newest of them does not count; empty when it does."""

    source: Source
    content: Content
    newest: Newest | None = None
    problem: str = ""
    backups: int = 0
    size_bytes: int = 0
    nights: frozenset[int] = frozenset()


@dataclass(slots=True)
class _Folder:
    changed_ns: int
    held: list[Held] = field(default_factory=list)
    size_bytes: int = 0


class Holdings:
    """The folder of one server. Memory grows with its sources, not with their backups."""

    def __init__(self, server: Path, zone: tzinfo | None = None) -> None:
        self._server = server
        self._zone = zone
        self._folders: dict[str, _Folder] = {}

    def look(self, *, thoroughly: bool = False, check: Callable[[], None] = lambda: None) -> None:
        """Brings everything up to date; `thoroughly` reads also what seems unchanged. Raises OSError."""
        found: dict[str, _Folder] = {}
        for path in source_folders(self._server):
            check()
            with contextlib.suppress(FileNotFoundError):
                changed_ns = path.stat().st_mtime_ns
                known = self._folders.get(path.name)
                if known is not None and known.changed_ns == changed_ns and not thoroughly:
                    found[path.name] = known
                else:
                    settled = time.time_ns() - changed_ns > SETTLED_NS
                    found[path.name] = self._read(path, changed_ns if settled else -1)
        self._folders = found

    @property
    def held(self) -> dict[tuple[Key, Content], Held]:
        return {(held.source.key, held.content): held for folder in self._folders.values() for held in folder.held}

    @property
    def size_bytes(self) -> int:
        return sum(folder.size_bytes for folder in self._folders.values())

    def _read(self, path: Path, changed_ns: int) -> _Folder:
        folder = _Folder(changed_ns)
        sizes: dict[Content, int] = dict.fromkeys(CONTENTS, 0)
        records: dict[Content, list[tuple[str, str]]] = {content: [] for content in CONTENTS}
        with os.scandir(path) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    length = entry.stat(follow_symlinks=False).st_size
                    folder.size_bytes += length
                    for content in CONTENTS:
                        if f"_{content}_" in entry.name:
                            sizes[content] += length
                            if entry.name.endswith(".zip.json") and (stamp := stamp_of(entry.name, content)):
                                records[content].append((stamp, entry.name))
                            break
        for content in CONTENTS:
            held = self._held(path, content, sorted(records[content], reverse=True))
            if held is not None:
                held.size_bytes = sizes[content]
                folder.held.append(held)
        return folder

    def _held(self, path: Path, content: Content, names: list[tuple[str, str]]) -> Held | None:
        held: Held | None = None
        problem = ""
        for _stamp, name in names[:MOST_RECORDS]:
            try:
                backup = Backup(read(path / name), path)
            except BadRecord as error:
                problem = problem or f"the record of its newest backup {str(error).removeprefix('it ')}"
                continue
            record = backup.record
            if held is None:
                held = Held(record.source, content, backups=len(names))
            # An incomplete one never counted; it does not make the older ones worse.
            if record.verified.result == "incomplete":
                continue
            if wrong := backup.missing_or_short():
                problem = problem or wrong
                continue
            at, seen = parse_time(record.finished_at), record.verified
            held.newest = Newest(at, record.size_bytes, seen.tasks, seen.frames, seen.counts, bool(record.warnings))
            break
        if held is not None:
            held.problem = problem
            moments = [stamp_time(stamp) for stamp, _ in names]
            held.nights = frozenset(
                sorted({night_of(moment, self._zone) for moment in moments if moment is not None})[-REMEMBERED:]
            )
        return held
