"""The end of every save: the finished files get their names and a record, and are a backup from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.backups.names import next_stamp, stem
from common.backups.record import Content, Export, LeftOut, Original, Record, Server, StoredFile, Verified
from common.cvat.listing import Look
from common.saving.desk import Desk
from common.text import iso, now
from common.version import VERSION


@dataclass(frozen=True)
class Finished:
    """A checked file that still has its working name; `ending` is what follows the backup's stem, e.g. `.zip`."""

    path: Path
    role: str
    ending: str
    size_bytes: int
    sha256: str


def commit(
    desk: Desk,
    look: Look,
    content: Content,
    started_at: datetime,
    finished: Sequence[Finished],
    verified: Verified,
    *,
    changed: bool,
    warnings: Sequence[str],
    left_out: Sequence[LeftOut],
    export: Export | None = None,
    alterations: Sequence[str] = (),
    original: Original | None = None,
) -> Record:
    """Makes a backup of these files, the main one first, and removes what the save no longer needs. Raises OSError."""
    source = look.state.source
    stamp = next_stamp(started_at, desk.store.newest_stamp(source, content))
    name = stem(source, content, stamp)
    files = [(each.path, StoredFile(each.role, name + each.ending, each.size_bytes, each.sha256)) for each in finished]
    record = Record(
        source=source,
        server=Server(desk.client.url, desk.server_version),
        content=content,
        stamp=stamp,
        files=tuple(file for _, file in files),
        started_at=iso(started_at),
        finished_at=iso(now()),
        fingerprint=look.state.fingerprint,
        export=export or Export(),
        verified=verified,
        tool_version=VERSION,
        run_id=desk.run_id,
        changed_while_exporting=changed,
        warnings=tuple(warnings),
        alterations=tuple(alterations),
        original=original,
        left_out=tuple(left_out),
    )
    desk.store.add(record, files)
    desk.store.tidy(source, content)
    return record
