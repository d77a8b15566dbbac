"""One source's folder as retention sees it: its histories, what is doubtful, and the debris of crashes."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

from common.backups.journal import Journal
from common.backups.names import folder_key, is_of_folder, server_folder, source_key, stamp_of
from common.backups.record import BadRecord, Content, Record, read
from common.backups.retention import Copy
from common.backups.standing import Key
from common.backups.store import PENDING, Backup
from common.exits import Exit, RunEnds
from common.files import is_folder, is_there
from common.sources import Source
from common.text import parse_time

CONTENTS: tuple[Content, ...] = get_args(Content)
DEBRIS_AFTER = timedelta(days=1)
# Our own unfinished files: downloads with their marks, rewritten archives, records and sidecars half written.
_UNFINISHED = re.compile(
    r"\.\.?(backup|annotations)[-.a-z0-9]*\.(part|part\.json|part\.json\.tmp|staged|rewritten|tmp)"
    r"|\.\.?(project-\d+|task-\d+|metadata)(-\S*)?_\S*\d{8}T\d{6}Z\S*\.tmp|\.acknowledged\.json\.tmp"
)
# What `server_folder` may give: no lost+found, no .Trash-1000, no @eaDir.
_SERVER = re.compile(r"[a-z0-9-][a-z0-9._-]*")
_FILE = re.compile(r"(?:\.zip|_left-out\.json)$")


@dataclass(frozen=True)
class Debris:
    """A file that a crash left behind."""

    name: str
    size_bytes: int
    reason: str
    # A whole file under a backup's name that only lacks its record: goes only where backups may go, too.
    is_whole: bool = False


@dataclass
class History:
    """All backups of one source and content in one folder. `broken` says what is wrong with the folder itself."""

    source: Source
    content: Content
    copies: list[Copy] = field(default_factory=list)
    broken: str = ""

    @property
    def key(self) -> Key:
        return self.source.key


@dataclass
class Survey:
    """What lies in one folder. `unreadable` maps a record to what is wrong with it."""

    folder: Path
    histories: list[History] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    debris: list[Debris] = field(default_factory=list)


def server_folders(backup_dir: Path) -> list[Path]:
    """The folders that may be those of servers: they hold a journal or the folder of a source. See `names_itself`.

    Those that this user may not read are passed over, such as the lost+found of a file system; see `closed_folders`.
    """
    found = []
    for path in sorted(path for path in backup_dir.iterdir() if is_folder(path)):
        with contextlib.suppress(PermissionError), os.scandir(path) as entries:
            if any(entry.name == "runs.jsonl" or (folder_key(entry.name) and entry.is_dir()) for entry in entries):
                found.append(path)
    return found


def closed_folders(backup_dir: Path) -> list[Path]:
    """Folders that this user may not read and that may be a server's by their names."""
    found = []
    for path in sorted(path for path in backup_dir.iterdir() if is_folder(path) and _SERVER.fullmatch(path.name)):
        try:
            os.scandir(path).close()
        except PermissionError:
            found.append(path)
    return found


def names_itself(server: Path) -> bool:
    """Whether a record or the journal in this folder is of the server that the folder is called after.

    Only then it is that server's. Any other one is a person's: an archive, a copy under another name.
    """
    with contextlib.suppress(OSError):
        if any(server_folder(attempt.source.server) == server.name for attempt in Journal(server).attempts()):
            return True
    return any(server_folder(record.source.server) == server.name for record in _a_record_of_each(server))


def looks_like_a_servers(server: Path) -> bool:
    """Whether a folder that does not name itself may all the same be one that backup.py wrote to.

    With a journal it is a copy, or was renamed; with records of which none can be read, it may be damaged.
    """
    if is_there(server / "runs.jsonl"):
        return any(True for _ in source_folders(server))
    return any(map(_records_in, source_folders(server))) and not any(True for _ in _a_record_of_each(server))


def _a_record_of_each(server: Path) -> Iterator[Record]:
    """One readable record of each source's folder."""
    for folder in source_folders(server):
        for name in _records_in(folder):
            with contextlib.suppress(BadRecord):
                yield read(folder / name)
                break


def _records_in(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if _is_record(name))
    except OSError:
        return []


def _is_record(name: str) -> bool:
    return name.endswith(".zip.json") and any(stamp_of(name, content) for content in CONTENTS)


def require_all_servers(backup_dir: Path) -> None:
    """Raises RunEnds when CVAT_BACKUP_DIR is one server's own folder: its backups would look like none at all."""
    with contextlib.suppress(OSError):  # a folder that cannot be read is told of where it is read
        if is_there(backup_dir / "runs.jsonl") and not server_folders(backup_dir):
            what = f"CVAT_BACKUP_DIR={backup_dir} is the folder of one server, not that of all backups."
            raise RunEnds(what, f"Set it to {backup_dir.parent}.", Exit.BAD_CONFIGURATION)


def source_folders(server: Path) -> list[Path]:
    """The folders of one server's sources, projects first, by id."""
    found = [(folder_key(entry.name), entry.name) for entry in os.scandir(server) if entry.is_dir()]
    return [server / name for key, name in sorted((key, name) for key, name in found if key is not None)]


def survey(folder: Path, now: datetime) -> Survey:
    """Reads every record of a folder and looks at every file. Raises OSError when the folder cannot be read."""
    stats: dict[str, os.stat_result] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):  # a dry run holds no lock
                if entry.is_file():
                    stats[entry.name] = entry.stat()
    found, read_records = Survey(folder), []
    for name in sorted(stats):
        if not _is_record(name):
            continue
        try:
            read_records.append((name, read(folder / name)))
        except BadRecord as error:
            found.unreadable[name] = str(error)
    owners = Counter(file.name for _, record in read_records for file in record.files)
    histories: dict[tuple[Key, Content], History] = {}
    newest: dict[tuple[Key, Content], str] = {}
    for name, record in read_records:
        source = record.source
        history = histories.setdefault((source.key, record.content), History(source, record.content))
        if record.stamp > newest.get((source.key, record.content), ""):
            newest[source.key, record.content] = record.stamp
            history.source = source  # it may have been renamed since
        history.copies.append(_copy(folder, name, record, stats, owners))
    is_copy = False
    for history in histories.values():
        history.copies.sort(key=lambda copy: copy.stamp, reverse=True)
        if any(stamp_of(name, history.content) for name in found.unreadable):
            history.broken = "one of its records cannot be read"
        elif server_folder(history.source.server) != folder.parent.name:
            history.broken = "its records name another server than its folder"
        elif source_key(history.source) != folder_key(folder.name):
            history.broken = "its records are of another source than its folder, which may be a copy"
            is_copy = True
    found.histories = sorted(histories.values(), key=lambda history: (history.content != "backup", history.key))
    if not is_copy:  # in a person's copy nothing is ours to clear
        found.debris = sorted(_debris(found, stats, owners, now), key=lambda debris: debris.name)
    return found


def _copy(folder: Path, name: str, record: Record, stats: Mapping[str, os.stat_result], owners: Counter[str]) -> Copy:
    copy = Copy(
        stamp=record.stamp,
        at=parse_time(record.finished_at),
        size_bytes=record.size_bytes,
        annotations=record.verified.counts.total,
        form=f"{record.export.formats} {record.export.save_images}",
        record=name,
        files=tuple(file.name for file in record.files),
    )
    if f"{record.main_file.name}.bad.json" in stats:
        return replace(copy, doubt=Backup(record, folder).marked_bad() or "it is marked as bad", is_marked=True)
    return replace(copy, doubt=doubt) if (doubt := _doubt(name, record, stats, owners)) else copy


def _doubt(name: str, record: Record, stats: Mapping[str, os.stat_result], owners: Counter[str]) -> str:
    """In what a record disagrees with its name or its files; empty when it does not."""
    if name != f"{record.main_file.name}.json" or stamp_of(name, record.content) != record.stamp:
        return "its record was written for another file"
    if record.verified.result not in ("good", "good with warnings"):
        return f"its record says that it is {record.verified.result!r}"
    for file in record.files:
        if file.name not in stats:
            return f"{file.name} is missing"
        if (length := stats[file.name].st_size) != file.size_bytes:
            return f"{file.name} has {length:,} bytes instead of {file.size_bytes:,}"
        if owners[file.name] > 1:
            return f"{file.name} stands in another record too"
    return ""


def _debris(found: Survey, stats: Mapping[str, os.stat_result], owners: Counter[str], now: datetime) -> list[Debris]:
    """What crashes left behind more than a day ago. Whoever asks holds the locks, so nobody is writing it now."""
    newest = {
        history.content: max((copy.stamp for copy in history.copies if copy.is_good), default="")
        for history in found.histories
    }
    pending = {name for name in stats if name.startswith(".") and name.endswith(PENDING)}
    promised = {stamp for name in (*pending, *found.unreadable) if (stamp := _any_stamp(name))}
    left = []
    for name, stat in stats.items():
        if now.timestamp() - stat.st_mtime <= DEBRIS_AFTER.total_seconds() or name in owners:
            continue
        is_ours, reason = is_of_folder(name.lstrip("."), found.folder.name), ""
        if name in pending:
            # With all its files it is a backup that only lacks its last rename: the next run of backup.py gives it.
            reason = (
                "a record that a crash left without its files" if is_ours and _is_hopeless(found.folder / name) else ""
            )
        elif _UNFINISHED.fullmatch(name):
            reason = "what a run that broke off left behind"
        elif is_ours and _FILE.search(name) and f"{name}.json" not in stats:
            for content in CONTENTS:
                stamp = stamp_of(name, content) or ""
                if stamp and stamp < newest.get(content, "") and stamp not in promised:
                    reason = "a file without a record, older than a good backup"
        if reason:
            left.append(
                Debris(name, stat.st_size, reason, is_whole=name not in pending and not _UNFINISHED.fullmatch(name))
            )
    return left


def _is_hopeless(pending: Path) -> bool:
    try:
        return bool(Backup(read(pending), pending.parent).missing_or_short())
    except BadRecord:
        return True


def _any_stamp(name: str) -> str:
    match = re.search(r"_(\d{8}T\d{6}Z)", name)
    return match[1] if match else ""
