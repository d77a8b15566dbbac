#!/usr/bin/env python3
"""The cron daemon: starts the scripts when the crontab says so, and tells how they ended.

What the crontab may hold is explained in it and in docs/scheduling.md; every setting, in .env.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from common.health.check import health_check, state_dir

if __name__ == "__main__" and sys.argv[1:] == ["--health"]:  # asked every minute: without what all others need
    sys.exit(health_check(state_dir(os.environ)))

from common.exits import Exit, RunEnds
from common.health.health import Health
from common.health.settings import HealthSettings
from common.notify.announcer import Announcer, Ending
from common.notify.settings import NotifySettings, missing_for_alerts
from common.run import Run, frame, leave, put, say
from common.scheduling.book import Book
from common.scheduling.cron import zone_of_schedule
from common.scheduling.daemon import Daemon
from common.scheduling.record import JobRun
from common.scheduling.relay import Output
from common.scheduling.settings import DaemonSettings
from common.scheduling.show import coming_runs, what_it_holds
from common.scheduling.signals import Signals
from common.scheduling.watch import Watch, read_crontab, scripts_in
from common.settings import ROOT, variables
from common.text import now


class SchedulerSettings(DaemonSettings, NotifySettings, HealthSettings):
    """All that the daemon asks for."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scheduler.py", description=(__doc__ or "").split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--check", action="store_true", help="check the crontab, say what is wrong with it, and end")
    parser.add_argument("--health", action="store_true", help="say whether everything is backed up, and end")
    parser.add_argument(
        "--next", type=_count, nargs="?", const=10, metavar="N", help="show the next N runs (10) and end"
    )
    return frame(SchedulerSettings, parser, argv, run_scheduler, also_check=what_is_missing)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of runs: 1 or more")
    return int(text)


def what_is_missing(_arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    return missing_for_alerts(raw)


def run_scheduler(run: Run[SchedulerSettings]) -> int:
    """One life of the daemon."""
    if run.arguments.health:  # with other flags; alone it is answered above
        return health_check(run.settings.state_dir)
    if run.arguments.check or run.arguments.next is not None:
        return show(run)
    settings = run.settings
    signals = Signals(run.stop)
    signals.take_over()
    zone = zone_of_schedule(settings.time_zone)
    book = Book(settings.state_dir)
    with book.kept():
        output = Output(style_of(settings))
        # What stands in flags holds for the jobs, too: the status page must not judge other folders than they use.
        flags = {name: value for name in variables(SchedulerSettings) if (value := getattr(run.arguments, name, None))}
        daemon = Daemon(settings, ROOT, Watch(settings.crontab, ROOT, zone), signals, output, book, flags)
        announcer = open_announcer(settings, daemon)
        health = Health(settings, settings.state_dir, run.stop, zone)
        daemon.listeners.changed = health.refresh
        try:
            daemon.begin()
            health.start()
            return daemon.run()
        finally:
            announcer.close()
            health.close()


def open_announcer(settings: SchedulerSettings, daemon: Daemon) -> Announcer:
    """Pings and alerts, connected with the daemon. Raises RunEnds."""
    told = daemon.listeners.told
    try:
        announcer = Announcer(settings, lambda job, channel, state: told.put((job, channel, state)))
    except OSError as error:  # also what ssl says about certificates
        raise RunEnds(
            f"CVAT_CA_BUNDLE={str(settings.ca_bundle)!r}: {error}", exit_code=Exit.BAD_CONFIGURATION
        ) from None

    def ended(job_run: JobRun, ping_id: str, told_before: Mapping[str, str]) -> None:
        ending = Ending(
            job_run.job, job_run.command, job_run.run_id, ping_id, job_run.outcome, job_run.exit_code,
            job_run.started_at, job_run.ended_at, job_run.seconds, job_run.tail, job_run.detail,
        )  # fmt: skip
        announcer.ended(ending, told_before)

    daemon.listeners.started, daemon.listeners.ended = announcer.started, ended
    return announcer


def style_of(settings: SchedulerSettings) -> Literal["text", "json"]:
    """How the output of jobs is written: text or json."""
    if settings.log_format == "auto":
        return "text" if sys.stderr.isatty() else "json"
    return settings.log_format


def show(run: Run[SchedulerSettings]) -> int:
    """--check and --next."""
    path, zone = run.settings.crontab, zone_of_schedule(run.settings.time_zone)
    crontab = read_crontab(path, scripts_in(ROOT), zone).crontab
    if crontab.problems:
        for problem in crontab.problems:
            say(f"{path}: {problem}")
        return Exit.BAD_CONFIGURATION
    lines = what_it_holds(crontab) if run.arguments.check else []
    if run.arguments.next is not None:
        lines += coming_runs(crontab, run.arguments.next, now())
    put("\n".join(lines))
    return Exit.ALL_GOOD


if __name__ == "__main__":
    leave(main())
