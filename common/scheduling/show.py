"""What `--check` and `--next` print."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from common.scheduling.clock import next_runs
from common.scheduling.crontab import AFTER, Crontab
from common.text import plural


def what_it_holds(crontab: Crontab) -> list[str]:
    """For --check: how many lines of which kind."""
    timed = sum(entry.schedule is not None for entry in crontab.entries)
    startup = sum(entry.at_startup for entry in crontab.entries)
    after = len(crontab.entries) - timed - startup
    counts = ((timed, "by the clock"), (startup, "at the start of the daemon"), (after, "after another"))
    kinds = [f"{count} {what}" for count, what in counts if count]
    return [f"All good: {plural(len(crontab.entries), 'line')} ({', '.join(kinds)})."]


def coming_runs(crontab: Crontab, count: int, moment: datetime) -> list[str]:
    """For --next: when what will run, in the zone of the line and in UTC."""
    rows = [
        (f"{due:%a %Y-%m-%d %H:%M} {due.tzinfo}", f"{due.astimezone(UTC):%m-%d %H:%M} UTC", shlex.join(entry.command))
        for due, entry in next_runs(crontab.entries, count, moment)
    ]
    width = max((len(row[0]) for row in rows), default=0)
    lines = [f"{local:<{width}}  {utc}  {command}" for local, utc, command in rows]
    for entry in crontab.entries:
        if entry.at_startup:
            lines.append(f"{'at the start of the daemon':<{width}}  {'':<15}  {shlex.join(entry.command)}")
        if entry.after is not None:
            when = next(name for name, partly in AFTER.items() if partly == entry.also_partly)
            lines.append(f"{when} {shlex.join(entry.after)}".ljust(width + 19) + shlex.join(entry.command))
    return lines
