"""The folder of one server's backups: finding, adding and tidying up. Nothing else touches it by path.

<CVAT_BACKUP_DIR>/cvat.example.com/
    runs.jsonl                                                 every attempt, one line each
    last-run-p.json                                            the last run of each mode
    project-12-road-signs-2024-1f0c9a3b/
        project-12-road-signs-2024_backup_20261121T013300Z.zip         restorable in CVAT's own UI
        project-12-road-signs-2024_backup_20261121T013300Z.zip.json    its record, written last
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common import log
from common.backups.names import folder_key, server_folder, source_folder, source_key, stamp_of
from common.backups.record import BadRecord, Content, Record, StoredFile, UnreadRecord, read, to_json
from common.exits import Exit, RunEnds
from common.files import disk_full_named, is_folder, is_link, is_there, publish, sync_folder, write_json
from common.hashing import sha256_of
from common.sources import Source
from common.text import iso, now
from common.transfer import PartFile

PENDING = ".json.pending"
# What a server keeps of an export is gone after a day; a part of it is then of no use any more.
DEBRIS_SECONDS = 7 * 86400
# In CVAT_BACKUP_DIR, but no server's folder: what cannot be read there hides no backups.
_NO_SERVERS = ("restores", "lost+found")


@dataclass(frozen=True)
class Overlooked:
    """A record, or a whole folder, that a look at the disk had to pass over, and why.

    `is_damaged`: its bytes were read, and are no record; else they could not be read, whatever they are.
    """

    path: Path
    reason: str
    is_damaged: bool = False

    @property
    def is_record(self) -> bool:
        return self.path.name.endswith(".zip.json")

    def __str__(self) -> str:
        what = "its record" if self.is_record else "metadata" if self.path.suffix == ".json" else "the folder"
        return f"{'BAD ' if self.is_damaged else 'NOT READ'} {what}: {self.reason}"


@dataclass(frozen=True)
class Backup:
    """A backup on disk: its record and the folder that both lie in."""

    record: Record
    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / self.record.main_file.name

    def missing_or_short(self) -> str:
        """What is wrong with it at a glance (existence, length, marked as bad); empty when nothing is."""
        for file in self.record.files:
            try:
                length = (self.folder / file.name).stat().st_size
            except FileNotFoundError:
                return f"{file.name} is missing"
            except OSError as error:
                return f"{file.name} cannot be looked at ({error.strerror or error})"
            if length != file.size_bytes:
                return _other_length(file, length)
        return self.marked_bad()

    def changed(self, file: StoredFile, between: Callable[[], None] = lambda: None) -> str:
        """Reads every byte of one of its files; how that differs from the record, empty when in nothing. Raises OSError."""
        path = self.folder / file.name
        if (length := path.stat().st_size) != file.size_bytes:
            return _other_length(file, length)
        if sha256_of(path, between) != file.sha256:
            return f"{file.name}: its SHA-256 is not that of the record"
        return ""

    # --- the mark of a file that went bad: <main file>.bad.json, so that nothing counts it as a good copy any more

    @property
    def mark_path(self) -> Path:
        return self.folder / f"{self.record.main_file.name}.bad.json"

    def marked_bad(self) -> str:
        """Why a verification marked it as bad; empty when none did."""
        try:
            text = self.mark_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"it is marked as bad ({error.strerror})"
        try:
            return f"it went bad: {json.loads(text)['reason']}"
        except (ValueError, KeyError, TypeError):
            return "it is marked as bad"

    def mark_bad(self, reason: str) -> None:
        """Raises DiskFull, OSError."""
        write_json(self.mark_path, {"at": iso(now()), "reason": reason})

    def unmark(self) -> None:
        self.mark_path.unlink(missing_ok=True)


def _other_length(file: StoredFile, length: int) -> str:
    return f"{file.name} has {length:,} bytes instead of {file.size_bytes:,}"


class Store:
    """All backups of one server."""

    def __init__(self, backup_dir: Path, server: str) -> None:
        self.server = server
        self.folder = backup_dir / server_folder(server)
        self._folders: dict[tuple[str, int, str], Path] = {}
        self._only_reads = True

    def prepare(self) -> None:
        """Makes the folder and learns which sources it holds; from now on this store writes. Raises OSError."""
        # Private when it is new: other people's images lie in it. A folder that somebody has opened to a group stays so.
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._only_reads = False
        self.learn()

    def learn(self) -> None:
        """Learns which sources the folder holds; it need not exist."""
        self._folders = {}
        for key, paths in folders_of_sources(self.folder).items() if is_folder(self.folder) else ():
            self._folders[key] = paths[0]
            for copy in paths[1:]:
                log.get().warning("folder_of_a_source_twice", used=str(paths[0]), left_alone=str(copy))

    def folder_of(self, source: Source) -> Path | None:
        """The folder of a source that has one, whatever it was called at the time of the first backup."""
        return self._folders.get(source_key(source))

    def make_folder(self, source: Source) -> Path:
        """The folder of a source, made if need be. Raises DiskFull, OSError."""
        folder = self.folder_of(source)
        if folder is None:
            folder = self.folder / source_folder(source)
            with disk_full_named(self.folder):
                folder.mkdir(exist_ok=True)
                sync_folder(self.folder)
            self._folders[source_key(source)] = folder
        return folder

    def newest(self, source: Source, content: Content) -> Backup | None:
        """The newest backup of a source whose files are there in full length."""
        folder = self.folder_of(source)
        if folder is None:
            return None
        if not self._only_reads:  # a dry run holds no lock: what is pending may be somebody's who is just writing it
            self._finish_commits(folder, content)
        for backup in backups_in(folder, content):
            if backup.record.source.key != source.key:
                continue
            if problem := backup.missing_or_short():
                log.get().warning("backup_not_counted", source=str(source), reason=problem)
                continue
            return backup
        return None

    def newest_stamp(self, source: Source, content: Content) -> str | None:
        """The newest stamp in the source's folder, of records and files alike: a new one must be later."""
        folder = self.folder_of(source)
        names = os.listdir(folder) if folder else []
        return max((stamp for name in names if (stamp := stamp_of(name, content))), default=None)

    def part(self, source: Source, name: str) -> PartFile:
        """The part file for one download of a source; `name` tells apart what is fetched at the same time."""
        return PartFile(self.make_folder(source) / f".{name}.part")

    def add(self, record: Record, files: list[tuple[Path, StoredFile]]) -> Backup:
        """Gives verified temporary files their final names; the record's name comes last. Raises DiskFull, OSError.

        The record is written under a pending name first: a crash between the renames is completed by the next run.
        """
        folder = self.make_folder(record.source)
        pending = folder / f".{record.main_file.name}{PENDING}"
        write_json(pending, to_json(record))
        for temporary, file in files:
            if is_there(folder / file.name):
                pending.unlink()
                raise FileExistsError(f"{folder / file.name} exists already")
            publish(temporary, folder / file.name)
        publish(pending, folder / f"{record.main_file.name}.json")
        return Backup(record, folder)

    def _finish_commits(self, folder: Path, content: Content) -> None:
        """Completes what a crash interrupted between the first and the last rename of `add`."""
        for name in os.listdir(folder):
            final = name.removeprefix(".").removesuffix(PENDING)
            if not (name.startswith(".") and name.endswith(PENDING) and stamp_of(final, content)):
                continue
            try:
                backup = Backup(read(folder / name), folder)
            except UnreadRecord as error:
                log.get().warning("interrupted_save_unreadable", file=name, reason=str(error))
                continue
            except BadRecord:
                (folder / name).unlink()
                continue
            try:
                lengths = [_length(folder / file.name) for file in backup.record.files]
            except OSError as error:
                # A disk or network that fails at this moment is no reason to delete anything.
                log.get().warning("interrupted_save_unreadable", file=name, reason=str(error))
                continue
            if lengths != [file.size_bytes for file in backup.record.files]:
                # Not all files had their names yet; what has none is a part file, and is fetched again.
                for file in backup.record.files:
                    (folder / file.name).unlink(missing_ok=True)
                (folder / name).unlink()
            else:
                publish(folder / name, folder / f"{backup.record.main_file.name}.json")
                log.get().info(
                    "interrupted_save_completed", source=str(backup.record.source), file=backup.record.main_file.name
                )

    def tidy(self, source: Source, content: Content) -> None:
        """Removes all temporary files of one source and content: once it is saved, none of them is of use."""
        folder = self.folder_of(source)
        for name in os.listdir(folder) if folder else ():
            if folder and _is_temporary(name, content):
                (folder / name).unlink(missing_ok=True)

    def sweep(
        self, settled: Iterable[Source], content: Content, is_ours: Callable[[int], bool] = lambda source_id: True
    ) -> None:
        """Removes the temporary files of killed runs: at once for `settled` sources, for all others once they are old.

        Sources whose id is not ours are another run's, which may be at work with them.
        """
        keys, old = {source_key(source) for source in settled}, time.time() - DEBRIS_SECONDS
        for key, folder in self._folders.items():
            if not is_ours(key[1]):
                continue
            try:
                names = os.listdir(folder)
            except OSError as error:
                log.get().warning("folder_unreadable", folder=str(folder), reason=error.strerror)
                continue
            for name in names:
                if _is_temporary(name, content):
                    path = folder / name
                    with contextlib.suppress(FileNotFoundError):
                        if key in keys or path.stat().st_mtime < old:
                            path.unlink()


def _is_temporary(name: str, content: Content) -> bool:
    """Whether it is the working name of a file that a save of this content writes.

    Two dots: a small file (a part's mark, a record that was not even pending yet) that was being written when the
    program was killed.
    """
    torn = (
        name.endswith(f"{PENDING}.tmp")
        and stamp_of(name.lstrip(".").removesuffix(f"{PENDING}.tmp"), content) is not None
    )
    return torn or name.startswith((f".{content}", f"..{content}"))


def _length(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _source_folders(folder: Path) -> Iterator[tuple[Path, tuple[str, int, str]]]:
    try:
        names = sorted(os.listdir(folder), reverse=True)
    except PermissionError:
        log.get().warning("folder_unreadable", folder=str(folder))
        return
    # Should two folders ever stand for one source, the same one is taken every time.
    for name in names:
        key = folder_key(name)
        if key is not None and is_folder(folder / name):
            yield folder / name, key


def folders_of_sources(server: Path) -> dict[tuple[str, int, str], list[Path]]:
    """The folders of each source, the one to use first. Any other one is a person's copy, made under such a name."""
    found: dict[tuple[str, int, str], list[Path]] = {}
    for path, key in _source_folders(server):
        found.setdefault(key, []).append(path)
    return {key: paths if len(paths) == 1 else _home_first(key, paths) for key, paths in found.items()}


def _home_first(key: tuple[str, int, str], paths: list[Path]) -> list[Path]:
    """First the folder that is called as backup.py calls it by one of the records; then that of the oldest record.

    All their records together tell the names: of a renamed source, retention may have left the old name in a copy only.
    """
    stamps: dict[Path, list[str]] = {path: [] for path in paths}
    named = set()
    for path in paths:
        with contextlib.suppress(OSError):
            for backup in backups_in(path):
                if source_key(backup.record.source) == key:
                    stamps[path].append(backup.record.stamp)
                    named.add(source_folder(backup.record.source))
    # The newest record decides between a copy and what backup.py went on with; sorting is stable and goes by name before.
    newest_first = sorted(sorted(paths), key=lambda path: max(stamps[path], default=""), reverse=True)
    return sorted(newest_first, key=lambda path: (path.name not in named, min(stamps[path], default="9")))


def backups_in(
    folder: Path, content: Content | None = None, overlooked: list[Overlooked] | None = None
) -> Iterator[Backup]:
    """The backups in one source's folder, newest first. Unreadable records are logged, noted and passed over.

    Raises OSError when the folder itself cannot be read: no caller must take that for a folder without backups.
    """
    contents: tuple[Content, ...] = (content,) if content else ("backup", "annotations")
    found = []
    for name in os.listdir(folder):
        if name.endswith(".zip.json"):
            found += [(stamp, name) for each in contents if (stamp := stamp_of(name, each))]
    for _stamp, name in sorted(found, reverse=True):
        path = folder / name
        try:
            yield Backup(read(path), folder)
        except BadRecord as error:
            if isinstance(error.__cause__, FileNotFoundError) and not is_link(path):
                continue  # deleted by the sweeper since we looked
            log.get().warning("record_unreadable", record=str(path), reason=str(error))
            if overlooked is not None:
                overlooked.append(Overlooked(path, str(error), is_damaged=not isinstance(error, UnreadRecord)))


def all_backups(backup_dir: Path, overlooked: list[Overlooked] | None = None) -> Iterator[list[Backup]]:
    """The backups of each source of each server, newest first, source by source.

    For looking only, never for deciding what may go: a folder that cannot be read is passed over, logged and added to
    `overlooked`, as is a record. Raises RunEnds when CVAT_BACKUP_DIR itself cannot be read.
    """
    noted: list[Overlooked] = [] if overlooked is None else overlooked
    try:
        names = sorted(os.listdir(backup_dir))
    except OSError as error:
        what = f"CVAT_BACKUP_DIR cannot be read: {backup_dir} ({error.strerror or error})."
        raise RunEnds(what, "Let this user read it and all that is in it.", Exit.BAD_CONFIGURATION) from None
    for name in names:
        server, folders = backup_dir / name, []
        try:
            if not is_folder(server):
                continue
            keys = [(key, each) for each in os.listdir(server) if (key := folder_key(each)) is not None]
            folders = [server / each for _key, each in sorted(keys) if is_folder(server / each)]
        except OSError as error:
            if name not in _NO_SERVERS:
                _overlook(noted, server, error)
        for folder in folders:
            try:
                found = list(backups_in(folder, overlooked=noted))
            except FileNotFoundError:
                continue  # deleted since we looked
            except OSError as error:
                _overlook(noted, folder, error)
                continue
            if found:
                yield sorted(found, key=lambda backup: backup.record.stamp, reverse=True)


def _overlook(noted: list[Overlooked], folder: Path, error: OSError) -> None:
    log.get().warning("folder_unreadable", folder=str(folder), reason=str(error))
    noted.append(Overlooked(folder, error.strerror or str(error)))
