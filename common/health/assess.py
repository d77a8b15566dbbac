"""Healthy or not, and why: a pure function of what the scheduler, the lists, the journals and the disk say.

Healthy: the scheduler lives, and every source on the server's last list has a verified backup on the disk that was
saved, or confirmed as unchanged, within CVAT_HEALTH_MAX_AGE_HOURS. Nothing on any list is not healthy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from common.backups.record import Content
from common.backups.retention import CLOCKS_DIFFER
from common.health.scheduler_state import SchedulerState, asked_for
from common.sources import Source
from common.text import duration, printable

MOST_REASONS = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """One source on the server's last list, in one content, and what is known about it.

    `good_at`: when a verified backup of it was last saved or confirmed; None when that never happened. `problem`: why
    the newest backup on the disk does not count. `outcome`, `reason`, `tried_at`: those of its newest attempt.
    """

    source: Source
    content: Content
    good_at: datetime | None = None
    on_disk: bool = True
    problem: str = ""
    outcome: str = ""
    reason: str = ""
    tried_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ListedServer:
    """A server that is judged. `missing_modes`: those that backup.py is to run with and has never listed it with.

    `missing_shards`: those of a division that have never listed it: ("p", "3/4"). `broken_off` says of modes why their
    last run broke off.
    """

    server: str
    missing_modes: tuple[str, ...] = ()
    missing_shards: tuple[tuple[str, str], ...] = ()
    broken_off: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reasons`: what concerns all (`general`) first, then source by source; bounded, `more_reasons` counts the others.

    The numbers count pairs of source and content: `wanted` = `good` + `missed` + `without_data`.
    """

    healthy: bool
    reasons: tuple[str, ...]
    more_reasons: int
    general: tuple[str, ...]
    wanted: int
    good: int
    missed: int
    without_data: int
    # Nothing has ever succeeded: a daemon that has just been set up, not one that has stopped working.
    is_new: bool


def why_missed(wanted: Wanted, now: datetime, max_age: timedelta) -> str:
    """Why a source is not backed up, in plain words; empty when it is (or has no data, or was deleted meanwhile).

    That there was nothing to save counts for as long as a backup does: it may have got data since.
    """
    if wanted.outcome in ("without data", "gone"):
        if wanted.tried_at is None or -CLOCKS_DIFFER <= now - wanted.tried_at <= max_age:
            return ""
        found = "had no images or video" if wanted.outcome == "without data" else "was being deleted"
        return f"it {found} {duration(abs(now - wanted.tried_at).total_seconds())} ago; nobody has looked since"
    last = _last_attempt(wanted)
    if wanted.problem:
        return f"its newest backup does not count: {wanted.problem}{last}"
    if wanted.good_at is None:
        return f"no verified backup of it has ever been made{last}"
    if not wanted.on_disk:
        return f"no backup of it lies on the disk any more{last}"
    age = now - wanted.good_at
    if -age > CLOCKS_DIFFER:
        return "its newest backup is dated in the future: the clock of this machine was or is wrong"
    if age > max_age:
        return f"last saved or confirmed {duration(age.total_seconds())} ago{last}"
    return ""


def _last_attempt(wanted: Wanted) -> str:
    if wanted.outcome in ("failed", "postponed"):
        why = f": {wanted.reason}" if wanted.reason else ""
        return f"; its last attempt {'failed' if wanted.outcome == 'failed' else 'was postponed'}{why}"
    return ""


def assess(
    scheduler: SchedulerState | None,
    servers: Sequence[ListedServer],
    wanted: Sequence[Wanted],
    now: datetime,
    max_age: timedelta,
    troubles: Sequence[str] = (),
) -> Verdict:
    """The verdict at one moment. `troubles` are what kept the judge from looking (an unreadable folder, say)."""
    general = list(troubles)
    if scheduler is None:
        general.append("the scheduler is not running: it has left no sign of life")
    elif not scheduler.lives(now):
        ago = duration(abs(now - scheduler.beat_at).total_seconds())
        general.append(f"the scheduler does not live: its last sign of life is {ago} old")
    general += [text for server in servers for text in _unlisted(server, scheduler, now)]
    if not servers:
        general.append("no backup.py has run yet, and CVAT_URL names no server")
    elif not wanted and not general:
        general.append("the server's last list holds no source: there is nothing to back up")
    missed = [(each, why) for each in wanted if (why := why_missed(each, now, max_age))]
    without_data = sum(each.outcome == "without data" and not why_missed(each, now, max_age) for each in wanted)
    # A source that failed for a week stands above one that a new project only just brought.
    missed.sort(
        key=lambda pair: (pair[0].good_at is None, pair[0].good_at or now, pair[0].source.kind, pair[0].source.id)
    )
    if missed:
        general += [text for server in servers for text in _broken_off(server)]
    reasons = general + [f"{label(each.source, each.content)}: {why}" for each, why in missed]
    return Verdict(
        healthy=not reasons,
        reasons=tuple(reasons[:MOST_REASONS]),
        more_reasons=max(0, len(reasons) - MOST_REASONS),
        general=tuple(general),
        wanted=len(wanted),
        good=len(wanted) - len(missed) - without_data,
        missed=len(missed),
        without_data=without_data,
        is_new=all(each.good_at is None for each in wanted),
    )


def _unlisted(server: ListedServer, scheduler: SchedulerState | None, now: datetime) -> list[str]:
    """What to say while a first list is missing: a daemon that has just been started has not failed yet."""
    modes = [f"backup.py --mode {mode} has not listed {server.server} yet{_since(server, mode, scheduler, now)}"
             for mode in server.missing_modes]  # fmt: skip
    return modes + [f"backup.py --mode {mode} --shard {shard} has not listed {server.server} yet: nobody saves its part"
                    for mode, shard in server.missing_shards]  # fmt: skip


def _since(server: ListedServer, mode: str, scheduler: SchedulerState | None, now: datetime) -> str:
    if why := server.broken_off.get(mode):
        return f": its last run broke off ({why})"
    jobs = [job for job in (scheduler.jobs if scheduler else ()) if mode in asked_for([job.command], "").get("", ())]
    if any(job.running_since for job in jobs):
        return ": its first run is under way"
    due = min((job.next_at for job in jobs if job.next_at is not None and job.next_at > now), default=None)
    return f": its first run is due in {duration((due - now).total_seconds())}" if due else ""


def _broken_off(server: ListedServer) -> list[str]:
    return [
        f"the last run of backup.py --mode {mode} on {server.server} broke off: {why}"
        for mode, why in sorted(server.broken_off.items())
        if mode not in server.missing_modes
    ]


def label(source: Source, content: Content) -> str:
    """A source for people: "project 12 (Road signs)", "annotations of task 7 (walkers)"."""
    front = "annotations of " if content == "annotations" else ""
    return f"{front}{source} ({printable(source.name, 60)})"
