#!/usr/bin/env python3
"""Saves everything on a CVAT server as files that CVAT itself can restore.

A run: lock the modes, sign in once, list everything the account can see, decide what has changed, save it side by
side, report. What every setting means stands in .env; what every file on disk is, in docs/backups.md.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence

from common import log
from common.backups.journal import Journal, history
from common.backups.store import Store
from common.backups.survey import require_all_servers
from common.cvat.address import server_key
from common.cvat.client import Account, Client, connect
from common.cvat.compatibility import version_warnings
from common.cvat.listing import Observer, inventory, nobody
from common.cvat.settings import missing_server_settings
from common.exits import Exit, RunEnds
from common.files import disk_full_named
from common.lock import all_locked, locks_of
from common.ownership import how_to_make_writable
from common.progress import Display
from common.run import Run, frame, leave
from common.saving.absent import absent_sources
from common.saving.book import Book
from common.saving.choose import Mode, content_of, parse_modes
from common.saving.crew import Crew, open_desk
from common.saving.desk import Desk
from common.saving.plan import (
    Plan,
    clear_debris,
    idle_patterns,
    known_format,
    make_plan,
    offered_formats,
    require_something,
)
from common.saving.settings import BackupSettings
from common.saving.shelf import list_backups, print_plan, require_folder
from common.saving.sidecars import Sidecars
from common.text import now


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="backup.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "--mode", action="append", nargs="+", metavar="p|a|t",
        help="p: projects (default), a: annotations, t: tasks in no project; several are allowed",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="save unchanged projects too")
    parser.add_argument("--dry-run", action="store_true", help="show what would be saved and why, and save nothing")
    parser.add_argument("--list", action="store_true", help="show the backups that are on the disk, newest first")
    return frame(BackupSettings, parser, argv, run_backup, also_check=what_is_missing)


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What this call needs and does not have; --list looks at the disk only."""
    return parse_modes(arguments.mode)[1] + ([] if arguments.list else missing_server_settings(raw))


def run_backup(run: Run[BackupSettings]) -> int:
    """One run of the script."""
    settings = run.settings
    require_folder(settings.dir)
    require_all_servers(settings.dir)
    if run.arguments.list:
        return list_backups(settings.dir)
    modes, _ = parse_modes(run.arguments.mode)
    store = Store(settings.dir, server_key(settings.url))
    if run.arguments.dry_run:
        store.learn()
        with run.stop.breaking_off():
            client, _version, account = sign_in(run)
            plan = decide_what(run, client, account, store, modes, nobody)
        print_plan(plan.candidates, list(plan.tallies.values()))
        return Exit.ALL_GOOD
    with lock_modes(run, store, modes), Book(run, store, modes) as book, Sidecars(store, modes) as sidecars:
        with run.stop.breaking_off():
            client, version, account = sign_in(run)
            book.server = {"url": client.url, "version": version}
            plan = decide_what(run, client, account, store, modes, sidecars.see)
        book.begin(plan)
        clear_debris(store, plan)
        sidecars.keep(client, version, account, plan)
        save_all(open_desk(run, client, version, store, plan), plan, book)
        book.note_absent(absent_sources(client, store, plan, settings.organization))
        return book.finish()


def sign_in(run: Run[BackupSettings]) -> tuple[Client, str, Account]:
    """Signs in, and says once what about the server is worth knowing."""
    client, version, account = connect(run.settings, run.stop)
    log.get().info(
        "signed_in", server=client.url, version=version, user=account.username, superuser=account.is_superuser
    )
    for warning in version_warnings(version):
        log.get().warning("server_version", detail=warning)
    return client, version, account


def decide_what(
    run: Run[BackupSettings], client: Client, account: Account, store: Store, modes: Sequence[Mode], see: Observer
) -> Plan:
    """Lists the server and decides about everything it has."""
    settings = run.settings
    formats = offered_formats(client) if "a" in modes else {}
    if "a" in modes:
        settings = settings.model_copy(update={"format": known_format(settings.format, formats)})
    listed = inventory(client, see)
    log.get().info("server_listed", projects=listed.projects, tasks=listed.tasks)
    if not account.is_superuser and not settings.organization:
        log.get().warning(
            "account_sees_a_part",
            user=account.username,
            detail="no superuser: only what this account is shown is backed up",
        )
    journal = Journal(store.folder)
    histories = {}
    if settings.max_gb_per_day:
        histories = {mode: history(journal, mode, now(), is_ours=settings.shard.holds) for mode in modes}
    plan = make_plan(listed, modes, settings, store, formats, histories, now(), force=run.arguments.force)
    require_something(listed, plan, account, settings)
    if idle := idle_patterns(listed, settings):
        log.get().warning("pattern_matches_nothing", patterns=idle)
    return plan


def save_all(desk: Desk, plan: Plan, book: Book) -> None:
    """Saves what the plan says, side by side, with progress. Raises what ends the run."""
    with Display("saving", len(plan.candidates)) as display:
        crew = Crew(
            desk,
            plan.candidates,
            lambda candidate: display.item(f"{candidate.state.source} {candidate.state.source.name}"),
        )
        for result in crew.results(every=display.tick):
            book.add(result)
            display.advance()


@contextlib.contextmanager
def lock_modes(run: Run[BackupSettings], store: Store, modes: Sequence[Mode]) -> Iterator[None]:
    """Locks what the modes write: p and t both write backups, a writes beside them and may run at the same time."""
    shard = run.settings.shard
    job = f"backup.py --mode {' '.join(modes)}" + ("" if shard.is_whole else f", shard {shard}")
    with contextlib.ExitStack() as stack:
        try:
            with disk_full_named(store.folder.parent):
                store.prepare()
                contents = sorted({content_of(mode) for mode in modes})
                locks = [lock for content in contents for lock in locks_of(store.folder, content, shard)]
                stack.enter_context(all_locked(locks, job, run.patience))
        except OSError as error:
            remedy = how_to_make_writable(store.folder.parent, "backup.py")
            raise RunEnds(f"CVAT_BACKUP_DIR cannot be written: {error}", remedy, Exit.BAD_CONFIGURATION) from None
        yield


if __name__ == "__main__":
    leave(main())
