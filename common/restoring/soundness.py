"""Whether an archive may be sent: read through before a single byte leaves, whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from common import log
from common.backups.archive import Archive, BadArchive
from common.backups.contents import ArchiveContents, inspect
from common.backups.store import Backup
from common.exits import Trouble
from common.files import DiskFull
from common.hashing import sha256_of
from common.restoring.find import Chosen
from common.sources import Kind
from common.text import plural, size

# CVAT stores its members unpacked. An archive that unpacks to more than this is a bomb or a mistake.
LARGEST_RATIO = 20
ALWAYS_ALLOWED_BYTES = 1 << 30


class Refused(Trouble):
    """This archive is not sent: the text says why."""

    remedy = "Nothing was sent. restore.py --list shows the other backups; --at chooses one."


class TooLarge(Refused):
    """No upload that the server accepts can carry it, whichever backup is chosen."""

    remedy = "Nothing was sent."


@dataclass(frozen=True)
class Sound:
    """An archive that was read through. `dropped` are tasks that are left out, by N of `task_N/`, with the reason."""

    path: Path
    kind: Kind
    contents: ArchiveContents
    size_bytes: int
    sha256: str
    dropped: dict[int, str]
    # One task of a project's archive, which makes a task.
    only: int | None = None

    @property
    def name(self) -> str:
        """What it is called in the archive."""
        return self.contents.name if self.only is None else str(self.contents.tasks[self.only].raw["name"])

    @property
    def kept(self) -> list[int]:
        if self.only is not None:
            return [self.only]
        return [index for index in sorted(self.contents.tasks) if index not in self.dropped]


def check(chosen: Chosen, between: Callable[[], None] = lambda: None) -> Sound:
    """Reads every byte of an archive and of its record's promise. Raises Refused."""
    path, backup = chosen.path, chosen.backup
    try:
        if backup is not None and (problem := backup.missing_or_short()):
            raise Refused(f"{path.name}: {problem}")
        kind = kind_of(path)
        if chosen.kind is not None and kind != chosen.kind:
            raise Refused(f"{path.name} is a backup of a {kind}, not of a {chosen.kind}")
        require_modest(path)
        digest = sha256_of(path, between)
        if backup is not None and digest != backup.record.main_file.sha256:
            _mark(backup, "its SHA-256 is not that of the record")
            raise Refused(f"{path.name} is not the file that was saved: its SHA-256 differs from the record's")
        contents = inspect(path, kind, between=between)
    except BadArchive as error:
        raise Refused(f"{path.name} is no sound archive: {error}") from None
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror or error}") from None
    dropped = {
        index: "its data upload failed: CVAT refuses to restore it"
        for index, task in contents.tasks.items()
        if task.upload_failed
    }
    if kind == "task" and dropped:
        raise Refused(f"{path.name}: the data upload of this task failed: CVAT cannot restore it")
    for index, task in contents.tasks.items():
        if index not in dropped:
            try:
                task.contents()
            except BadArchive as error:
                raise Refused(f"{path.name}: {error}") from None
    if chosen.task is not None and chosen.index is not None:
        archived = contents.tasks.get(chosen.index)
        if archived is None or archived.raw.get("name") != chosen.task.name or chosen.index in dropped:
            raise Refused(
                f"{path.name} does not hold task {chosen.task.id} ({chosen.task.name}): it is not restored alone"
            )
        return Sound(path, "task", contents, path.stat().st_size, digest, {}, chosen.index)
    return Sound(path, kind, contents, path.stat().st_size, digest, dropped)


def _mark(backup: Backup, reason: str) -> None:
    try:
        backup.mark_bad(reason)
    except (OSError, DiskFull) as error:  # somebody else's folder: the file is no better for that
        log.get().warning("backup_not_marked", file=str(backup.path), reason=reason, detail=str(error))


def kind_of(path: Path) -> Kind:
    """Whether an archive is a project's or a task's. Raises BadArchive when it is neither."""
    found: Kind | None = None
    with Archive(path) as archive:
        for member in archive.members():
            if member.name == "project.json":
                return "project"
            if member.name == "task.json":
                found = "task"
            if member.name == "source.json":
                raise BadArchive("it holds saved annotations: use --annotations-only to put them back")
    if found is None:
        raise BadArchive("it holds neither project.json nor task.json: it is no CVAT backup")
    return found


def require_modest(path: Path) -> None:
    """Refuses archives that claim to unpack to very much more than they are. Raises BadArchive."""
    with Archive(path) as archive:
        total = sum(member.size_bytes for member in archive.members())
        if total > ALWAYS_ALLOWED_BYTES + LARGEST_RATIO * archive.size_bytes:
            raise BadArchive(
                f"its {plural(archive.count, 'member')} claim to unpack to {size(total)} from {size(archive.size_bytes)}"
            )
