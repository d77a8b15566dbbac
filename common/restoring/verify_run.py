"""`--verify`: which backups are read in this run, and what is said of them."""

from __future__ import annotations

import argparse

from rich.text import Text

from common.backups.store import Backup, all_backups
from common.exits import Exit
from common.progress import Display
from common.restoring.find import NotThere, by_file, matching
from common.restoring.settings import RestoreSettings
from common.restoring.verify import VerifiedLog, due, parse_share, verify
from common.stdout import console
from common.text import plural, printable, size
from common.waiting import StopSignal


def verify_some(settings: RestoreSettings, arguments: argparse.Namespace, stop: StopSignal) -> int:
    """Reads them, prints what is wrong, and gives the exit code."""
    backups = _meant(settings, arguments)
    if arguments.share:
        last = {path: VerifiedLog(path).last() for path in {backup.folder.parent for backup in backups}}
        times = [last[backup.folder.parent].get(backup.path.name, "") for backup in backups]
        chosen = due([backup.record.size_bytes for backup in backups], times, parse_share(arguments.share))
        backups = [backups[index] for index in chosen]
    out, bad, read = console(), 0, 0
    with Display("verifying", len(backups)) as display:
        for backup in backups:
            stop.check()
            item = display.item(backup.path.name)
            item.phase("reading")
            reason = verify(backup, stop.check)
            item.close()
            display.advance()
            display.tick()
            read += backup.record.size_bytes
            if reason:
                bad += 1
                source = backup.record.source
                out.print(
                    Text(f"BAD  {source} ({printable(source.name, 60)}): {reason}\n     {backup.path}", style="red"),
                    soft_wrap=True,
                )
    out.print(
        f"{plural(len(backups), 'backup')} read ({size(read)}): {len(backups) - bad} good, {bad} bad.", soft_wrap=True
    )
    if bad:
        out.print(
            "Bad ones are marked (….bad.json beside them) and count no more. Where the newest is bad, the next backup.py "
            "saves that source again; once a newer good one is there, a bad one may be deleted by hand.",
            soft_wrap=True,
        )
    return Exit.SOME_FAILED if bad else Exit.ALL_GOOD


def _meant(settings: RestoreSettings, arguments: argparse.Namespace) -> list[Backup]:
    groups = list(all_backups(settings.dir)) if settings.dir.is_dir() else []
    every = [backup for group in groups for backup in group]
    if not every:
        raise NotThere(f"There are no backups in {settings.dir}.", "CVAT_BACKUP_DIR names their folder.")
    text = arguments.verify
    if text == "all":
        return every
    found = [backup for group in matching(groups, None, text) for backup in group]
    if found:
        return found
    chosen = by_file(text, settings.dir, every)
    if chosen is None:
        raise NotThere(f"--verify {text!r}: there is no backup of that id or name, and no such file.")
    if chosen.backup is None:
        raise NotThere(f"{chosen.path} has no record beside it: nothing says what it should be.")
    return [chosen.backup]
