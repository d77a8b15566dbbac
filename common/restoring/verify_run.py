"""`--verify`: which backups are read in this run, and what is said of them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from common.backups.names import folder_key
from common.backups.record import BadRecord
from common.backups.sidecar import read_sidecar, sidecar_path, sidecar_stamps
from common.backups.store import Backup, Overlooked, all_backups
from common.exits import Exit
from common.files import is_folder, is_there
from common.ownership import how_to_make_writable
from common.progress import Display
from common.restoring.find import NotThere, by_file, matching
from common.restoring.settings import RestoreSettings
from common.restoring.verify import VerifiedLog, due, parse_share, verify
from common.stdout import console
from common.text import plural, printable, size
from common.waiting import StopSignal


@dataclass
class _Meant:
    """The backups that are to be read, and what had to be passed over while they were looked for."""

    backups: list[Backup] = field(default_factory=list)
    overlooked: list[Overlooked] = field(default_factory=list)


@dataclass
class _Found:
    """What is wrong, counted; each with its line on the screen."""

    bad: int = 0
    unread: int = 0
    # Every byte is as it was saved, and what was saved lacked something: no trouble of this run.
    incomplete: int = 0
    unmarked: int = 0
    other: list[Overlooked] = field(default_factory=list)
    # What could not be written, by its folder: said once, not for each backup.
    unkept: dict[Path, str] = field(default_factory=dict)

    @property
    def all_good(self) -> bool:
        return not (self.bad or self.unread or self.other or self.unkept)


def verify_some(settings: RestoreSettings, arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Reads them, prints what is wrong, and gives the exit code."""
    meant = _meant(settings, arguments)
    backups, found, read = meant.backups, _Found(), 0
    if arguments.share:
        last = {path: VerifiedLog(path).last(tried=True) for path in {backup.folder.parent for backup in backups}}
        times = [last[backup.folder.parent].get(backup.path.name, "") for backup in backups]
        chosen = due([backup.record.size_bytes for backup in backups], times, parse_share(arguments.share))
        backups = [backups[index] for index in chosen]
    for each in meant.overlooked:
        _say(f"{each}\n     {each.path}")
        if not each.is_record:
            found.other.append(each)
        elif each.is_damaged:
            found.bad += 1
        else:
            found.unread += 1
    records = sum(each.is_record for each in meant.overlooked)
    folders = dict.fromkeys(backup.folder for backup in backups)
    with Display("verifying", len(backups)) as display:
        for backup in backups:
            stop.check()
            item = display.item(backup.path.name)
            item.phase("reading")
            read += _read(backup, found, stop.check)
            item.close()
            display.advance()
            display.tick()
    for each in _bad_metadata(folders, stop.check):
        _say(f"{each}\n     {each.path}")
        found.other.append(each)
    _say_sum(len(backups) + records, read, found)
    return Exit.ALL_GOOD if found.all_good else Exit.SOME_FAILED


def _read(backup: Backup, found: _Found, between: Callable[[], None]) -> int:
    """Reads one backup; how many bytes."""
    reading = verify(backup, between)
    what = f"{backup.record.source} ({printable(backup.record.source.name, 60)})"
    if reading.bad:
        found.bad += 1
        found.unmarked += reading.unmarked
        _say(f"BAD  {what}: {reading.bad}\n     {backup.path}")
    if reading.unread:
        found.unread += 1
        _say(f"NOT READ  {what}: {reading.unread}\n     {backup.path}")
    if not (reading.bad or reading.unread) and backup.record.verified.result == "incomplete":
        found.incomplete += 1
        lacks = printable("; ".join(backup.record.warnings), 300)
        _say(f"INCOMPLETE  {what}: as it was saved, which lacked something: {lacks}\n     {backup.path}")
    for error in reading.unkept:
        path = Path(os.fsdecode(error.filename2 or error.filename or backup.folder))
        folder = path if is_folder(path) else path.parent
        if folder not in found.unkept:
            found.unkept[folder] = f"{path.name} cannot be written: {error.strerror or error}"
    return 0 if reading.unread else backup.record.size_bytes


def _say(text: str) -> None:
    console().print(Text(text, style="red"), soft_wrap=True)


def _say_sum(count: int, read: int, found: _Found) -> None:
    out = console()
    good = count - found.bad - found.unread - found.incomplete
    said = f"{plural(count, 'backup')} read ({size(read)}): {good} good, {found.bad} bad"
    said += f", {found.incomplete} incomplete" if found.incomplete else ""
    said += f", {found.unread} could not be read" if found.unread else ""
    out.print(f"{said}.", soft_wrap=True)
    if metadata := sum(each.path.suffix == ".json" for each in found.other):
        out.print(
            f"{plural(metadata, 'file')} of metadata cannot be read: a restore puts back what an older one has, or no owners, "
            "assignees, job states and issues. The next backup.py writes a new one; move the bad one away then.",
            soft_wrap=True,
        )
    if folders := sum(each.path.suffix != ".json" for each in found.other):
        out.print(f"{plural(folders, 'folder')} could not be read: what lies there is not counted.", soft_wrap=True)
    if found.bad:
        out.print(
            "Bad ones are marked (….bad.json beside them) and count no more. Where the newest is bad, the next backup.py "
            "saves that source again; once a newer good one is there, a bad one may be deleted by hand.",
            soft_wrap=True,
        )
    if found.unmarked:
        out.print(
            f"Not so {found.unmarked} of them, which could not be marked: other runs take it for good.", soft_wrap=True
        )
    if found.unread:
        out.print(
            "What could not be read is not marked: nobody knows whether it is good. Let this user read it, or look at the "
            "disk, and verify again.",
            soft_wrap=True,
        )
    for folder, why in found.unkept.items():
        out.print(
            f"What was found out is not kept in {folder}: {why}. {how_to_make_writable(folder, 'restore.py')}",
            soft_wrap=True,
        )


def _bad_metadata(folders: Iterable[Path], between: Callable[[], None]) -> Iterable[Overlooked]:
    """The metadata files beside the backups that are no such thing, or cannot be read."""
    for folder in folders:
        try:
            stamps = sidecar_stamps(folder)
        except OSError as error:
            yield Overlooked(folder, error.strerror or str(error))
            continue
        for stamp in stamps:
            between()
            path = sidecar_path(folder, stamp)
            try:
                read_sidecar(path)
            except FileNotFoundError:
                continue  # deleted since we looked
            except OSError as error:
                yield Overlooked(path, f"it could not be read ({error.strerror or error})")
            except BadRecord as error:
                yield Overlooked(path, str(error), is_damaged=True)


def _meant(settings: RestoreSettings, arguments: argparse.Namespace) -> _Meant:
    overlooked: list[Overlooked] = []
    groups = list(all_backups(settings.dir, overlooked)) if is_folder(settings.dir) else []
    every = [backup for group in groups for backup in group]
    if not every and not overlooked:
        raise NotThere(f"There are no backups in {settings.dir}.", "CVAT_BACKUP_DIR names their folder.")
    text = arguments.verify
    if text == "all":
        return _Meant(every, overlooked)
    found = [backup for group in matching(groups, None, text) for backup in group]
    folders = {backup.folder for backup in found}
    beside = [each for each in overlooked if _belongs(each, folders, text)]
    if found or beside:
        return _Meant(found, beside)
    chosen = by_file(text, settings.dir, every)
    if chosen is None:
        raise NotThere(f"--verify {text!r}: there is no backup of that id or name, and no such file.")
    if chosen.backup is None:
        record = chosen.path.with_name(f"{chosen.path.name}.json")
        if is_there(record):
            damaged = Overlooked(record, "it is no record of this file, or cannot be read", is_damaged=True)
            return _Meant([], [next((each for each in overlooked if each.path == record), damaged)])
        raise NotThere(f"{chosen.path} has no record beside it: nothing says what it should be.")
    return _Meant([chosen.backup])


def _belongs(each: Overlooked, folders: set[Path], text: str) -> bool:
    """Whether what was passed over is, or lies in, the folder of a source that is meant."""
    folder = each.path.parent if each.is_record else each.path
    if folder in folders or (each.is_record and text in (each.path.stem, each.path.stem.removesuffix(".zip"))):
        return True
    key, match = folder_key(folder.name), re.fullmatch(r"(?:(project|task)[: ])?(\d+)", text)
    return key is not None and match is not None and match[1] in (None, key[0]) and int(match[2]) == key[1]
