#!/usr/bin/env python3
"""Puts backups back into a CVAT server, looks at them, and proves that they can be put back.

A run: find what is meant, read it through, sign in, send it under a name that no other has, wait, rename it, put back
what CVAT's archive loses, compare, report. It never overwrites or deletes anything on the server.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.backups.store import Overlooked
from common.backups.survey import require_all_servers
from common.cvat.address import server_key
from common.cvat.client import connect
from common.cvat.settings import missing_server_settings
from common.exits import Exit
from common.restoring.annotations import put_annotations_back
from common.restoring.choice import chosen_archives, say_overlooked, wrong_arguments
from common.restoring.drill import missing_drill_settings, run_drill
from common.restoring.extract import extract_all
from common.restoring.find import Chosen
from common.restoring.folder import held
from common.restoring.order import Order, Restored, Target, open_target
from common.restoring.report import exit_code, print_restored
from common.restoring.run import restore_all
from common.restoring.settings import RestoreSettings
from common.restoring.verify import when_read_again
from common.restoring.verify_run import verify_some
from common.run import Run, frame, leave
from common.saving.shelf import list_backups


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="restore.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    what = parser.add_argument_group("what to do (without any of these: restore)")
    what.add_argument("--list", action="store_true", help="show the backups that are on the disk, newest first")
    what.add_argument("--verify", nargs="?", const="all", metavar="all|ID|NAME|FILE",
                      help="read backups again, every byte; bad ones are marked and no longer counted")  # fmt: skip
    what.add_argument("--share", metavar="1/7", help="with --verify: so much of them, what was read longest ago first")
    what.add_argument("--annotations-only", action="store_true",
                      help="put saved annotations (backup.py --mode a) back into tasks that exist")  # fmt: skip
    what.add_argument("--extract", metavar="DIR", help="write media and annotations as plain files, without a server")
    what.add_argument("--drill", nargs="?", const="smallest", choices=["smallest", "rotate", "given"],
                      help="restore one backup into CVAT_DRILL_URL, compare it value by value, delete it again")  # fmt: skip
    which = parser.add_argument_group("which backup")
    which.add_argument("--project", metavar="ID|NAME", help="this project")
    which.add_argument("--task", metavar="ID|NAME", help="this task, in a project or not")
    which.add_argument("--all", action="store_true", help="everything that has a backup and is no longer on the server")
    which.add_argument("--at", default="latest", metavar="latest|TIMESTAMP|FILE",
                       help="the newest backup (default), the newest at that moment (UTC), or this file")  # fmt: skip
    which.add_argument(
        "--from", dest="server", metavar="SERVER", help="backups of this server, where there are several"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--name", help="restore it under this name")
    how.add_argument("--again", action="store_true", help="restore it although the server has one of that name")
    how.add_argument("--without-metadata", action="store_true", help="leave out owners, job states, issues and so on")
    how.add_argument("--frames", metavar="0-9,15", help="with --annotations-only: only these frames")
    how.add_argument("--labels", metavar="LABEL,…", help="with --annotations-only: only these labels")
    how.add_argument("--yes", action="store_true", help="with --annotations-only: do not ask")
    return frame(RestoreSettings, parser, argv, run_restore, also_check=what_is_missing)


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What this call needs and does not have; looking at the disk needs no server."""
    problems = wrong_arguments(arguments)
    if arguments.drill:
        return problems + missing_drill_settings(raw)
    on_disk = arguments.list or arguments.verify or arguments.extract
    return problems + ([] if on_disk else missing_server_settings(raw))


def run_restore(run: Run[RestoreSettings]) -> int:
    """One run of the script."""
    arguments, settings = run.arguments, run.settings
    require_all_servers(settings.dir)
    if arguments.list:
        return list_backups(settings.dir, when_read_again())
    if arguments.verify:
        return verify_some(settings, arguments, run.stop)
    if arguments.extract:
        return extract_files(run)
    if arguments.drill:
        return run_drill(run)
    if arguments.annotations_only:
        target = sign_in(run)
        with held(target.folder, "restore.py", run.patience):
            return put_annotations_back(target, arguments)
    return restore(run)


def restore(run: Run[RestoreSettings]) -> int:
    """Projects and tasks, into CVAT_URL."""
    arguments = run.arguments
    chosen, complete = choose(run, server_key(run.settings.url))
    target = sign_in(run)
    order = Order(
        arguments.name or "",
        again=arguments.again,
        missing_only=arguments.all,
        with_metadata=not arguments.without_metadata,
    )
    results: list[Restored] = []
    with held(target.folder, "restore.py", run.patience):
        try:
            restore_all(target, chosen, order, results)
        finally:
            if results:
                print_restored(results)
    return exit_code(results) or complete


def choose(run: Run[RestoreSettings], preferred: str) -> tuple[list[Chosen], Exit]:
    """What is meant; and 3 instead of 0 when not all that lies on the disk could be looked at. Raises NotThere."""
    overlooked: list[Overlooked] = []
    chosen: list[Chosen] = []
    try:
        chosen = chosen_archives(run.settings, run.arguments, preferred, overlooked=overlooked)
    finally:
        incomplete = say_overlooked(overlooked, chosen, run.arguments.at)
    return chosen, Exit.SOME_FAILED if incomplete else Exit.ALL_GOOD


def extract_files(run: Run[RestoreSettings]) -> int:
    """Backups as plain files, without a server."""
    folder = Path(run.arguments.extract).expanduser().absolute()
    preferred = server_key(run.settings.url) if run.settings.url else ""
    chosen, complete = choose(run, preferred)
    return extract_all(chosen, folder, int(run.settings.min_free_gb * 1e9), run.stop.check) or complete


def sign_in(run: Run[RestoreSettings]) -> Target:
    """Signs in to CVAT_URL. Raises RunEnds."""
    client, version, account = connect(run.settings, run.stop)
    return open_target(run.settings, client, version, account, run.stop)


if __name__ == "__main__":
    leave(main())
