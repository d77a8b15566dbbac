#!/usr/bin/env python3
"""Deletes old backups, and only those that every rule lets go and no law protects.

A run: lock what backup.py writes, judge every source of every server by its records and its journal, delete, report.
What every setting means stands in .env; the rules and the laws, in docs/retention.md.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path

from common import log
from common.backups.legacy import legacy_groups
from common.backups.survey import closed_folders, names_itself, require_all_servers, server_folders
from common.exits import Exit, RunEnds
from common.run import Run, frame, leave
from common.sweeping.carry_out import acknowledge_source, carry_out, carry_out_legacy, lock_servers
from common.sweeping.judge import Judge, SizeLimit
from common.sweeping.report import Ledger
from common.sweeping.settings import SweepSettings
from common.text import now


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sweeper.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--dry-run", action="store_true", help="show each file with keep or delete and why; delete none"
    )
    parser.add_argument(
        "--even-if-stale", action="store_true",
        help="sweep also sources whose newest attempt failed, or that nothing confirmed within CVAT_BACKUP_TTL",
    )  # fmt: skip
    parser.add_argument(
        "--acknowledge", metavar="SOURCE",
        help="a sudden drop of this source (project:12, task:7 or its folder's name) is meant: sweep it again, and end",
    )  # fmt: skip
    return frame(SweepSettings, parser, argv, run_sweep)


def run_sweep(run: Run[SweepSettings]) -> int:
    """One run of the script."""
    settings, dry_run = run.settings, bool(run.arguments.dry_run)
    require_all_servers(settings.dir)
    servers, strangers = servers_in(settings.dir)
    judge = Judge(settings.rules, now(), settings.drop_percent / 100, run.arguments.even_if_stale)
    if run.arguments.acknowledge:
        for line in acknowledge_source(servers, judge, run.arguments.acknowledge):
            log.get().info("drop_acknowledged", what=line)
            print(f"Acknowledged: {line}. The next sweep deletes again by the rules.")
        return Exit.ALL_GOOD
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(lock_servers(servers, run.patience))
        ledger = stack.enter_context(Ledger(run, dry_run=dry_run))
        for folder in closed_folders(settings.dir):
            ledger.look(str(folder), "it cannot be read by the user that runs sweeper.py", "folder_unreadable")
        for folder in strangers:
            ledger.stranger(folder)
        limit = size_limit(run, servers, judge)
        for server in servers:
            sweep_server(run, server, judge, limit, ledger)
        left = sweep_legacy(run, judge, ledger)
        return ledger.finish(limit, left)


def servers_in(backup_dir: Path) -> tuple[list[Path], list[Path]]:
    """The folders of all servers, and those that only look like one: in these nothing is locked, written or deleted.

    Raises RunEnds when there is no such folder as a whole: a wrong path must not look like peace.
    """
    try:
        found = server_folders(backup_dir)
        servers = [folder for folder in found if names_itself(folder)]
        return servers, [folder for folder in found if folder not in servers]
    except OSError as error:
        remedy = "Set CVAT_BACKUP_DIR to the folder that backup.py writes to."
        raise RunEnds(f"CVAT_BACKUP_DIR cannot be read: {backup_dir} ({error.strerror})", remedy) from None


def size_limit(run: Run[SweepSettings], servers: Sequence[Path], judge: Judge) -> SizeLimit | None:
    """What CVAT_BACKUP_MAX_SIZE takes beyond the rules."""
    if not run.settings.max_size_gb:
        return None
    return judge.size_limit(list(servers), int(run.settings.max_size_gb * 1e9), run.stop.check)


def sweep_server(run: Run[SweepSettings], server: Path, judge: Judge, limit: SizeLimit | None, ledger: Ledger) -> None:
    """Source by source, so that memory does not grow with the number of backups."""
    for case in judge.cases(server, run.stop.check):
        if limit is not None:
            for judged in case.judged:
                judged.verdicts = limit.apply(judged.verdicts)
        ledger.show(case)
        if not run.arguments.dry_run:
            carry_out(case, ledger, run.stop)


def sweep_legacy(run: Run[SweepSettings], judge: Judge, ledger: Ledger) -> int:
    """Files of the predecessor, when asked for; gives how many are left alone because they were not."""
    groups = legacy_groups(run.settings.dir, look_inside=run.settings.sweep_legacy)
    if not run.settings.sweep_legacy:
        return sum(len(group.copies) + len(group.undated) for group in groups)
    for group in groups:
        verdicts = judge.legacy(group)
        ledger.legacy(group, verdicts)
        if not run.arguments.dry_run:
            carry_out_legacy(run.settings.dir, verdicts, ledger, run.stop)
    return 0


if __name__ == "__main__":
    leave(main())
