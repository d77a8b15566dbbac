"""The clock: APScheduler, told by cronsim when a line is due, and driven by the daemon's own loop.

No thread waits for the next moment: the loop calls `tick` about every second, and whatever has become due is rung,
once however often it was missed. A wait on a monotonic clock would oversleep when the host sleeps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger

from common import log
from common.scheduling.crontab import Entry
from common.text import now

# A wall clock that was set back by more than this makes all lines count anew from the new present (seconds).
SET_BACK_SECONDS = 60.0

Ring = Callable[[Entry, datetime], None]


class CronTrigger(BaseTrigger):  # type: ignore[misc]
    """A line's schedule as APScheduler asks for it. APScheduler's own cron trigger fires Sunday's lines on Monday."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """Always later than `now`: what was missed in between is rung once, not once for every time."""
        assert self.entry.schedule is not None
        due = self.entry.schedule.after(max(previous_fire_time or now, now))
        # Moments of one zone compare by their wall clocks, which autumn repeats.
        return due.astimezone(UTC) if due else None


class _Bell(BaseExecutor):  # type: ignore[misc]
    """Executes nothing: tells the daemon which line is due, and since when."""

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring = ring

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        self._ring(job.trigger.entry, run_times[0])

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        raise NotImplementedError("submit_job does it")


class _Driven(BaseScheduler):  # type: ignore[misc]
    """A scheduler without a loop of its own."""

    def wakeup(self) -> None:
        pass

    def shutdown(self, wait: bool = True) -> None:
        super().shutdown(wait)

    def process(self) -> None:
        self._process_jobs()


class Clock:
    """Rings for every line that is due, out of `tick` and nowhere else."""

    def __init__(self, ring: Ring) -> None:
        self._scheduler = _Driven(timezone=UTC)
        self._scheduler.add_executor(_Bell(self._rings))
        self._scheduler.start()
        self._ring = ring
        self._entries: Sequence[Entry] = ()
        self._measured = (time.time(), time.monotonic())
        # Whatever was due up to here has rung; None before the first tick.
        self._rung_to: datetime | None = None

    def set(self, entries: Sequence[Entry]) -> None:
        """Forgets all lines and takes these, counted from the last tick: what has become due since then still rings."""
        moment = now()
        start = min(self._rung_to or moment, moment)
        self._scheduler.remove_all_jobs()
        self._entries = entries
        for entry in entries:
            if entry.schedule is not None and (due := entry.schedule.after(start)) is not None:
                self._scheduler.add_job(
                    _never_called,
                    CronTrigger(entry),
                    id=f"{entry.number:06d}",
                    next_run_time=due.astimezone(UTC),
                    misfire_grace_time=None,
                    coalesce=True,
                    max_instances=1,
                )

    def tick(self) -> None:
        wall, monotonic = time.time(), time.monotonic()
        set_back = (monotonic - self._measured[1]) - (wall - self._measured[0])
        self._measured = (wall, monotonic)
        if set_back > SET_BACK_SECONDS:
            log.get().warning("clock_set_back", seconds=round(set_back))
            self._rung_to = None
            self.set(self._entries)
        begun = now()
        self._scheduler.process()
        self._rung_to = max(begun, self._rung_to or begun)

    def _rings(self, entry: Entry, due_at: datetime) -> None:
        self._rung_to = max(due_at, self._rung_to or due_at)
        self._ring(entry, due_at)

    def next_at(self, job: str) -> datetime | None:
        """When a job is due next by the clock; None for one that is not."""
        times = [each.next_run_time for each in self._scheduler.get_jobs() if each.trigger.entry.job == job]
        return min(times) if times else None


def _never_called() -> None:
    raise NotImplementedError


def next_runs(entries: Sequence[Entry], count: int, moment: datetime | None = None) -> list[tuple[datetime, Entry]]:
    """The next `count` times that a line is due by the clock, earliest first; each in the zone of its line."""
    timed = [(entry, entry.schedule.coming(moment or now())) for entry in entries if entry.schedule is not None]
    ahead = [(due, entry, coming) for entry, coming in timed if (due := next(coming, None)) is not None]
    found: list[tuple[datetime, Entry]] = []
    while ahead and len(found) < count:
        due, entry, coming = min(ahead, key=lambda each: (each[0].astimezone(UTC), each[1].number))
        found.append((due, entry))
        ahead.remove((due, entry, coming))
        if (following := next(coming, None)) is not None:
            ahead.append((following, entry, coming))
    return found
