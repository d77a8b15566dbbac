"""Doing what was decided: locks, deleting, and a person's acknowledgement."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.backups.names import folder_key
from common.backups.removal import acknowledge, remove_backups, remove_debris
from common.backups.retention import Copy, Verdict
from common.backups.survey import CONTENTS, source_folders
from common.exits import Exit, RunEnds
from common.lock import AT_ONCE, Patience, all_locked
from common.ownership import how_to_make_writable
from common.sweeping.judge import Case, Judge
from common.sweeping.report import Ledger
from common.waiting import StopSignal


@contextlib.contextmanager
def lock_servers(servers: Sequence[Path], patience: Patience = AT_ONCE) -> Iterator[None]:
    """Holds the locks of backup.py for every server: while it writes, nothing is swept. Raises Locked, Stopped."""
    paths = [server / f".lock-{content}" for server in servers for content in sorted(CONTENTS)]
    with contextlib.ExitStack() as locks:
        try:
            locks.enter_context(all_locked(paths, "backup.py or sweeper.py", patience))
        except OSError as error:
            folder = Path(error.filename).parent if error.filename else servers[0]
            raise RunEnds(
                f"{error.filename} cannot be locked: {error.strerror}",
                f"Make this folder writable for the user that runs sweeper.py: {folder}",
                Exit.BAD_CONFIGURATION,
            ) from None
        yield


def carry_out(case: Case, ledger: Ledger, stop: StopSignal) -> None:
    """Deletes what was decided about one source."""
    victims = [verdict.copy for judged in case.judged for verdict in judged.verdicts if verdict.delete]
    if victims:
        _remove(case.folder, victims, ledger, stop)
    stuck = remove_debris(case.folder, case.survey.debris)
    for debris, why in stuck:
        ledger.failed(str(case.folder / debris.name), why)
    left = {debris.name for debris, _ in stuck}
    ledger.cleared(debris for debris in case.survey.debris if debris.name not in left)


def carry_out_legacy(backup_dir: Path, verdicts: Sequence[Verdict], ledger: Ledger, stop: StopSignal) -> None:
    """Deletes files of the predecessor; each is its own record."""
    victims = [verdict.copy for verdict in verdicts if verdict.delete]
    if victims:
        _remove(backup_dir, victims, ledger, stop)


def _remove(folder: Path, victims: Sequence[Copy], ledger: Ledger, stop: StopSignal) -> None:
    try:
        failed = remove_backups(folder, victims, stop.check)
    except OSError as error:
        ledger.failed(str(folder), f"deleting was broken off: {error.strerror}")
        failed, left = [], victims
    else:
        left = [copy for copy, _ in failed]
    for _copy, why in failed:
        ledger.failed(str(folder), why)
    ledger.deleted(copy for copy in victims if copy not in left)
    # One whose record is gone and whose files are not is neither: a later sweep takes it away as debris.
    ledger.not_deleted(copy for copy in left if os.path.lexists(folder / copy.record))


def acknowledge_source(servers: Sequence[Path], judge: Judge, wanted: str) -> list[str]:
    """Notes that a person has looked at a source; says for which folders. Raises RunEnds when it is not told which."""
    match = re.fullmatch(r"(project|task)[: ](\d+)", wanted.strip())
    found = []
    for server in servers:
        for folder in source_folders(server):
            key = folder_key(folder.name)
            if folder.name == wanted or (match and key and key[:2] == (match[1], int(match[2]))):
                found.append(folder)
    if len(found) != 1:
        what = "names more than one folder" if found else "is no source that has backups"
        names = ", ".join(str(folder) for folder in found) or "See backup.py --list: project:12, task:7 or a folder."
        raise RunEnds(f"--acknowledge {wanted!r} {what}.", names, Exit.BAD_CONFIGURATION)
    [folder] = found
    try:
        return _acknowledge(folder, judge)
    except OSError as error:
        what = f"--acknowledge: {folder} cannot be read or written: {error.strerror}."
        raise RunEnds(what, how_to_make_writable(folder, "sweeper.py"), Exit.BAD_CONFIGURATION) from None


def _acknowledge(folder: Path, judge: Judge) -> list[str]:
    histories = judge.survey(folder).histories
    newest: dict[str, str] = {
        each.content: max((c.stamp for c in each.copies if c.is_good), default="") for each in histories
    }
    acknowledge(folder, newest)
    return [f"{folder.name}: {content} up to {stamp or 'nothing'}" for content, stamp in newest.items()]
