"""Which backup is meant: by project or task, by moment, or by file. Decisions about lists of records, no I/O but reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.backups.names import stamp_time
from common.backups.record import BadRecord, Content, read
from common.backups.sidecar import Task, newest_sidecar
from common.backups.store import Backup, Overlooked, all_backups
from common.exits import Exit, RunEnds
from common.files import is_file, is_folder, is_there
from common.sources import Kind, Source
from common.text import parse_time, printable

MOST_NAMED = 12


class NotThere(RunEnds):
    """What was asked for is not on the disk, or it is not clear which one is meant."""

    exit_code = Exit.BAD_CONFIGURATION


@dataclass(frozen=True)
class Chosen:
    """One archive to be put back. Without `backup` it is somebody else's file; its kind is seen when it is opened.

    With `task` only that one task of a project is meant, and `index` is N of its `task_N/`.
    """

    path: Path
    backup: Backup | None
    kind: Kind | None = None
    task: Task | None = None
    index: int | None = None

    @property
    def name(self) -> str:
        if self.task is not None:
            return self.task.name
        return self.backup.record.source.name if self.backup else self.path.name

    def __str__(self) -> str:
        if self.task is not None and self.backup is not None:
            return f"task {self.task.id} ({printable(self.name, 60)}) of {self.backup.record.source}"
        return f"{self.backup.record.source} ({printable(self.name, 60)})" if self.backup else str(self.path)


def sources_on_disk(
    backup_dir: Path, content: Content | None, server: str | None, preferred: str,
    overlooked: list[Overlooked] | None = None,
) -> list[list[Backup]]:  # fmt: skip
    """The backups of each source, newest first: those of `server`, else of the preferred one, else of the only one.

    After a disaster CVAT often comes back under another address: then the only server that has backups is meant.
    `overlooked` is told of what could not be read.
    """
    groups = []
    if is_folder(backup_dir):
        for backups in all_backups(backup_dir, overlooked):
            kept = [backup for backup in backups if content in (None, backup.record.content)]
            if kept:
                groups.append(kept)
    servers = sorted({group[0].record.source.server for group in groups})
    if not servers:
        what = "annotations (--mode a)" if content == "annotations" else "projects or tasks"
        raise NotThere(f"There are no backups of {what} in {backup_dir}.", "CVAT_BACKUP_DIR names their folder.")
    if server is not None and server not in servers:
        raise NotThere(f"There are no backups of {server!r}.", f"There are backups of: {', '.join(servers)}.")
    if server is None:
        server = preferred if preferred in servers else servers[0] if len(servers) == 1 else None
    if server is None:
        raise NotThere("There are backups of several servers.", f"Choose one with --from: {', '.join(servers)}.")
    return [group for group in groups if group[0].record.source.server == server]


def matching(groups: Iterable[list[Backup]], kind: Kind | None, text: str) -> list[list[Backup]]:
    """The sources that "12", "project:12" or a name means: an id wins over a name, an exact name over one in other case."""
    if match := re.fullmatch(r"(project|task)[: ](\d+)", text):
        kind, text = "project" if match[1] == "project" else "task", match[2]
    mine = [group for group in groups if kind in (None, group[0].record.source.kind)]
    tests: list[Callable[[Source], bool]] = [
        lambda source: text.isdecimal() and source.id == int(text),
        lambda source: source.name == text,
        lambda source: source.name.strip().casefold() == text.strip().casefold(),
    ]
    for test in tests:
        found = [group for group in mine if test(group[0].record.source)]
        if found:
            return found
    return []


def the_one(groups: Sequence[list[Backup]], kind: Kind | None, text: str) -> list[Backup]:
    """The one source that is meant. Raises NotThere when there is none, or more than one."""
    found = matching(groups, kind, text)
    what = kind or "project or task"
    if not found:
        named = sorted({group[0].record.source.name for group in groups if kind in (None, group[0].record.source.kind)})
        listed = ", ".join(printable(name, 40) for name in named[:MOST_NAMED])
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise NotThere(f"There is no backup of a {what} {text!r}.", f"There are: {listed}{more} (--list shows all).")
    if len(found) > 1:
        said = "; ".join(_told_apart(group[0].record.source, group[0]) for group in found[:MOST_NAMED])
        ids = {(group[0].record.source.kind, group[0].record.source.id) for group in found}
        # After a reinstall of CVAT the same id is another source's: then only a file tells them apart.
        by_id = "by its id (project:12 or task:7), or " if len(ids) == len(found) else ""
        raise NotThere(f"{text!r} means {len(found)} sources: {said}.", f"Choose one {by_id}with --at FILE.")
    return found[0]


def _told_apart(source: Source, newest: Backup) -> str:
    return f"{source}, created {source.created_at[:19].replace('T', ' ')} (newest: {newest.path.name})"


def moment_of(text: str) -> datetime | None:
    """The moment that --at means: a file name's stamp, a date (its end), a date with a time. UTC unless it says otherwise."""
    if (stamp := stamp_time(text)) is not None:
        return stamp
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1) - timedelta(microseconds=1)
        moment = parse_time(text)
    except ValueError:
        return None
    # "13:05" and "20261121T130500Z" mean that whole minute or second.
    span = timedelta(minutes=1) if re.search(r"[T ]\d\d:\d\d(Z|[+-]\d\d:?\d\d)?$", text) else timedelta(seconds=1)
    return moment + span - timedelta(microseconds=1)


def at_moment(backups: Sequence[Backup], at: str) -> Backup:
    """The newest good backup that was begun at or before the moment; `latest`: the newest good one. Raises NotThere."""
    limit = None if at == "latest" else moment_of(at)
    if limit is None and at != "latest":
        raise NotThere(
            f"--at {at!r} is no file, and no moment either.",
            "It takes latest, a date (2026-11-21), a date with a time (2026-11-21T13:05, in UTC) or the path of a file.",
        )
    wrong = []
    for backup in backups:
        begun = stamp_time(backup.record.stamp)
        if limit is not None and (begun is None or begun > limit):
            continue
        problem = backup.missing_or_short()
        if not problem:
            return backup
        wrong.append(f"{backup.record.main_file.name}: {problem}")
    source = backups[0].record.source
    if wrong:
        raise NotThere(f"{source} has no good backup of that time: {'; '.join(wrong[:3])}.")
    oldest = min(backup.record.stamp for backup in backups)
    raise NotThere(f"{source} has no backup that old: its first is of {oldest}.")


def by_file(text: str, backup_dir: Path, among: Iterable[Backup] = ()) -> Chosen | None:
    """The file that --at names: a path, or the name of a backup's file. None when it names none."""
    for backup in among:
        if text in (backup.record.main_file.name, backup.record.main_file.name.removesuffix(".zip")):
            return of_backup(backup)
    path = Path(text).expanduser()
    if not is_file(path):
        if "/" in text or text.endswith(".zip"):
            raise NotThere(f"--at {text!r}: there is no such file.")
        return None
    return of_path(path.absolute())


def of_path(path: Path) -> Chosen:
    """A file, with its record if one lies beside it and means it."""
    record_path = path.with_name(path.name + ".json")
    try:
        backup = Backup(read(record_path), path.parent) if is_there(record_path) else None
    except BadRecord:
        backup = None
    if backup is not None and backup.record.main_file.name != path.name:
        backup = None
    return Chosen(path, backup, backup.record.source.kind if backup else None)


def of_backup(backup: Backup) -> Chosen:
    return Chosen(backup.path, backup, backup.record.source.kind)


def inside_projects(groups: Iterable[list[Backup]], text: str, at: str) -> list[Chosen]:
    """Tasks inside projects of that id or name, as the metadata saved with the backups names them."""
    found: list[tuple[bool, Chosen]] = []
    for group in groups:
        if group[0].record.source.kind != "project":
            continue
        try:
            backup = at_moment(group, at)
        except NotThere:
            continue
        sidecar = newest_sidecar(backup.folder, backup.record.stamp)
        # N counts all tasks in the order of their ids, also those that are not in the archive (measured).
        for index, task in enumerate(sidecar.tasks if sidecar else ()):
            by_id = text.isdecimal() and task.id == int(text)
            if task.has_data and (by_id or task.name == text):
                found.append((by_id, Chosen(backup.path, backup, "project", task, index)))
    best = [chosen for by_id, chosen in found if by_id] or [chosen for _by_id, chosen in found]
    if len(best) > 1:
        listed = "; ".join(str(chosen) for chosen in best[:MOST_NAMED])
        raise NotThere(f"{text!r} means {len(best)} tasks: {listed}.", "Choose one by its id.")
    return best
