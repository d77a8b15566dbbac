"""The daemon: starts what is due, listens to it, writes down how it ended, and stops in an orderly way.

One loop in the main thread decides everything; only the reading of the jobs' output happens in other threads.
"""

from __future__ import annotations

import os
import queue
import secrets
import shlex
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from common import log
from common.exits import Exit, RunEnds
from common.run import say
from common.scheduling.book import Book, interrupted_runs
from common.scheduling.child import Child, Order, reap_orphans
from common.scheduling.clock import Clock
from common.scheduling.crontab import Crontab, Entry, Problem
from common.scheduling.record import JobRun, is_missed, outcome_of
from common.scheduling.relay import Output
from common.scheduling.settings import DaemonSettings
from common.scheduling.signals import Signals
from common.scheduling.watch import Reading, Watch
from common.settings import RUN_ID
from common.text import duration, iso, now
from common.waiting import Deadline

LOOP_SECONDS = 1.0
BEAT_SECONDS = 10.0
# A line rung so much later than it was due was missed: the host slept or the daemon was stuck (seconds).
LATE_SECONDS = 120.0
_NOT_IN_TIME = "did not end within the grace period (CVAT_STOP_GRACE_SECONDS)"


@dataclass
class Listeners:
    """Who wants to know, beside the books. `ended` gets what every channel of alerts was told last."""

    started: Callable[[str, Sequence[str], str], None] = lambda job, command, ping_id: None
    ended: Callable[[JobRun, str, Mapping[str, str]], None] = lambda run, ping_id, told: None
    changed: Callable[[], None] = lambda: None
    # Filled from another thread: (job, channel, state) of every alert that has arrived.
    told: queue.SimpleQueue[tuple[str, str, str]] = field(default_factory=queue.SimpleQueue)


class Daemon:
    """Use `begin`, then `run`, once."""

    def __init__(
        self,
        settings: DaemonSettings,
        scripts: Path,
        watch: Watch,
        signals: Signals,
        output: Output,
        book: Book,
        flags: Mapping[str, str],
    ) -> None:
        """`flags` are settings of the daemon's command line, which its jobs get as environment variables."""
        self._settings, self._scripts, self._watch = settings, scripts, watch
        self._signals, self._output, self._book, self._flags = signals, output, book, flags
        self.listeners = Listeners()
        self._clock = Clock(self._ring)
        self._crontab = Crontab((), ())
        self._loaded: dict[str, Any] = {}
        self._problems: tuple[Problem, ...] = ()
        self._waiting: deque[Order] = deque()
        self._running: dict[str, Child] = {}
        self._started_at = now()
        self._beat = 0.0
        self._is_process_1 = os.getpid() == 1

    # --- the course of things -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Learns what was, and takes the crontab over. Raises RunEnds when it cannot be used."""
        status = self._book.read()
        reading = self._watch.read()
        if reading.crontab.problems:
            for problem in reading.crontab.problems:
                say(f"{self._watch.path}: {problem}")
            raise RunEnds("The crontab was refused. Nothing was started.", exit_code=Exit.BAD_CONFIGURATION)
        self._note_interrupted(status)
        self._take_over(reading)
        self._order_first_runs()
        self._write_status()

    def run(self) -> int:
        """Until a stop is asked for; gives the exit code."""
        while not self._signals.stop.is_set:
            self._look_at_crontab()
            self._clock.tick()
            self._turn()
            self._signals.wait(LOOP_SECONDS)
        return self._stop()

    def _turn(self) -> None:
        """Whatever is to be done in every round, also in the last ones."""
        for child in [child for child in self._running.values() if child.has_ended]:
            self._ended(child)
        if self._is_process_1:
            reap_orphans({child.pid for child in self._running.values()})
        while not self.listeners.told.empty():
            job, channel, state = self.listeners.told.get()
            self._book.standing(job).told[channel] = state
            self._beat = 0.0
        if not self._signals.stop.is_set:
            self._start_waiting()
        if time.monotonic() - self._beat >= BEAT_SECONDS or not self._beat:
            self._write_status()

    def _stop(self) -> int:
        """Passes the stop on, waits for the grace period, then kills."""
        self._waiting.clear()
        jobs = sorted(self._running)
        log.get().info("stopping", jobs=jobs, grace_seconds=self._settings.stop_grace_seconds)
        for child in self._running.values():
            child.stop()
        self._write_status()
        deadline = Deadline(self._settings.stop_grace_seconds)
        while self._running and not deadline.is_over and not self._signals.is_impatient:
            self._turn()
            if self._running:
                self._signals.wait(min(LOOP_SECONDS, max(0.0, deadline.left_seconds)))
        killed = sorted(self._running)
        why = "did not end before a second signal came" if self._signals.is_impatient else _NOT_IN_TIME
        for child in self._running.values():
            log.get().error(
                "job_killed", job=child.job, run=child.run_id, reason=why,
                after_seconds=round(self._settings.stop_grace_seconds - max(0.0, deadline.left_seconds), 1),
            )  # fmt: skip
            child.kill()
        while self._running:
            for child in list(self._running.values()):
                self._ended(child)
        self._write_status()
        if killed:
            say(f"Stopped; {', '.join(killed)} {why} and was killed.")
            return Exit.SOME_FAILED
        say("Stopped." + (f" {', '.join(jobs)} ended in time; the next start goes on from there." if jobs else ""))
        return Exit.ALL_GOOD

    # --- the crontab ----------------------------------------------------------------------------------------------

    def _take_over(self, reading: Reading) -> None:
        self._crontab = reading.crontab
        self._problems = ()
        self._loaded = {"path": str(self._watch.path), "sha256": reading.sha256, "loaded_at": iso(now())}
        self._clock.set(reading.crontab.entries)
        commands = {entry.command for entry in reading.crontab.entries}
        self._waiting = deque(order for order in self._waiting if order.entry.command in commands)
        for job in reading.crontab.jobs():
            self._book.standing(job)
        log.get().info("crontab_loaded", path=str(self._watch.path), lines=len(reading.crontab.entries))
        self._beat = 0.0

    def _look_at_crontab(self) -> None:
        wanted = self._signals.reload_wanted()
        reading = self._watch.read() if wanted else self._watch.changed()
        if reading is None:
            return
        if not reading.crontab.problems:
            self._take_over(reading)
            return
        self._problems = reading.crontab.problems
        for problem in reading.crontab.problems:
            log.get().error("crontab_refused", path=str(self._watch.path), problem=str(problem))
        log.get().warning(
            "crontab_kept", loaded_at=self._loaded["loaded_at"], detail="the one from before stays in force"
        )
        self._beat = 0.0

    # --- what is due ----------------------------------------------------------------------------------------------

    def _order_first_runs(self) -> None:
        """What @startup says, and what was missed. What waits for something that runs now is ordered by the end of that."""
        moment = now()
        for entry in sorted(self._crontab.entries, key=lambda entry: entry.after is not None):
            standing = self._book.standing(entry.job)
            predecessor = self._book.standings.get(self._job_of(entry.after)) if entry.after else None
            if entry.after and any(order.entry.command == entry.after for order in self._waiting):
                continue
            if entry.at_startup:
                self._order(Order(entry, "startup"))
            elif self._settings.catch_up and is_missed(entry, standing, moment, predecessor):
                if standing.last_ended_at is None:
                    log.get().info("first_run", job=entry.job, detail="it never ran here: it runs at once")
                else:
                    log.get().info("run_missed", job=entry.job, last_success_at=_text(standing.last_success_at))
                self._order(Order(entry, "missed"))

    def _job_of(self, command: Sequence[str]) -> str:
        return next((entry.job for entry in self._crontab.entries if entry.command == tuple(command)), "")

    def _ring(self, entry: Entry, due_at: datetime) -> None:
        late = (now() - due_at).total_seconds()
        if late > LATE_SECONDS and not self._settings.catch_up:
            log.get().warning("run_missed", job=entry.job, due_at=iso(due_at), detail="CVAT_SCHEDULE_CATCH_UP is false")
            return
        self._order(Order(entry, "missed" if late > LATE_SECONDS else "schedule"))

    def _order(self, order: Order) -> None:
        """Puts a run in the queue, unless the job runs or waits already."""
        child = self._running.get(order.job)
        if child is None and all(order.job != waiting.job for waiting in self._waiting):
            self._waiting.append(order)
            return
        if child is None and "schedule" not in (order.because, *(each.because for each in self._waiting)):
            return  # a start that orders the same job twice, by @startup and because it was missed
        why = f"still running since {iso(child.started_at)}" if child else "still waiting for its turn"
        self._book.add(self._nothing_ran(order, "skipped", why))
        log.get().warning("job_skipped", job=order.job, reason=why, skipped=self._book.standing(order.job).skipped)
        self._beat = 0.0
        self.listeners.changed()

    def _nothing_ran(self, order: Order, outcome: Any, why: str) -> JobRun:
        moment = iso(now())
        return JobRun(
            order.job, order.entry.line, list(order.entry.command), secrets.token_hex(4), outcome, None,
            moment, moment, 0.0, order.because, detail=why,
        )  # fmt: skip

    # --- jobs -----------------------------------------------------------------------------------------------------

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._settings.jobs_at_once:
            self._start(self._waiting.popleft())

    def _start(self, order: Order) -> None:
        run_id = secrets.token_hex(4)
        environment = {
            **os.environ,
            **self._flags,
            "PYTHONUNBUFFERED": "1",
            "LOG_FORMAT": self._output.style,
            "CVAT_LOCK_WAIT_MINUTES": f"{self._settings.lock_wait_minutes:g}",
            RUN_ID: run_id,
        }
        try:
            child = Child(order, run_id, self._scripts, environment, self._output)
        except OSError as error:
            run = self._nothing_ran(order, "failed", f"it could not be started: {error}")
            log.get().error("job_failed", job=order.job, reason=run.detail)
            self._settle(run, "")
            return
        self._running[order.job] = child
        log.get().info(
            "job_started", job=order.job, run=run_id, command=shlex.join(order.entry.command), because=order.because
        )
        self._write_status()
        self.listeners.started(order.job, order.entry.command, child.ping_id)
        self.listeners.changed()

    def _ended(self, child: Child) -> None:
        code, tail = child.finish()
        del self._running[child.job]
        ended_at = now()
        outcome = outcome_of(code, was_stopped=child.was_stopped)
        run = JobRun(
            child.job, child.order.entry.line, list(child.order.entry.command), child.run_id, outcome, code,
            iso(child.started_at), iso(ended_at), round((ended_at - child.started_at).total_seconds(), 3),
            child.order.because, tuple(tail),
        )  # fmt: skip
        say_it = log.get().info if outcome in ("good", "stopped") else log.get().error
        say_it("job_ended", job=run.job, run=run.run_id, outcome=outcome, exit_code=code, took=duration(run.seconds))
        self._settle(run, child.ping_id)
        self._order_followers(run)

    def _settle(self, run: JobRun, ping_id: str) -> None:
        self._book.add(run)
        self._write_status()
        self.listeners.ended(run, ping_id, dict(self._book.standing(run.job).told))
        self.listeners.changed()

    def _order_followers(self, run: JobRun) -> None:
        if self._signals.stop.is_set:
            return  # the next start sees that they are missing
        for entry in self._crontab.entries:
            if entry.after != tuple(run.command):
                continue
            order = Order(entry, "after")
            if run.outcome == "good" or (entry.also_partly and run.outcome == "some failed"):
                self._order(order)
            else:
                why = f"{shlex.join(run.command)} did not succeed: {run.outcome}"
                self._book.add(self._nothing_ran(order, "not started", why))
                log.get().warning("job_not_started", job=entry.job, reason=why)

    # --- the books ------------------------------------------------------------------------------------------------

    def _note_interrupted(self, status: dict[str, Any]) -> None:
        for run, pid in interrupted_runs(status):
            log.get().warning("run_interrupted", job=run.job, started_at=run.started_at, reason=run.detail)
            if _is_alive(pid, run.command):
                log.get().warning("job_lives_on", job=run.job, pid=pid, detail="from before; its lock keeps it alone")
            self._book.add(run)

    def _write_status(self) -> None:
        self._beat = time.monotonic()
        jobs = []
        for job, entries in self._crontab.jobs().items():
            child = self._running.get(job)
            next_at = self._clock.next_at(job)
            jobs.append(
                {
                    "job": job,
                    "line": entries[0].line,
                    "command": list(entries[0].command),
                    "lines": [entry.line for entry in entries],
                    "next_at": _text(next_at),
                    **_running(child),
                    **self._book.standing(job).as_json(),
                }
            )
        for job, child in self._running.items():
            if all(job != each["job"] for each in jobs):  # its line was taken out of the crontab meanwhile
                entry = child.order.entry
                line = {"job": job, "line": entry.line, "command": list(entry.command), "lines": [], "next_at": None}
                jobs.append({**line, **_running(child), **self._book.standing(job).as_json()})
        self._book.write_status(
            {
                "version": 1,
                "pid": os.getpid(),
                "started_at": iso(self._started_at),
                "beat_at": iso(now()),
                "crontab": {**self._loaded, "problems": [str(problem) for problem in self._problems]},
                "stopping": self._signals.stop.is_set,
                "jobs": jobs,
            }
        )


def _running(child: Child | None) -> dict[str, Any]:
    if child is None:
        return {"running_since": None}
    return {
        "running_since": iso(child.started_at),
        "run_id": child.run_id,
        "pid": child.pid,
        "because": child.order.because,
    }


def _text(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _is_alive(pid: int, command: Sequence[str]) -> bool:
    """Whether this process is still that job; a number that was given to another one is not. Linux only."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return False
    return any(word.endswith("/" + command[0]) for word in words)
