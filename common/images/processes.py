"""Several processes that fetch, each with workers of its own: what is Python in one process uses one processor.

The process of the run stays what it was: it plans, keeps journal and report, hears signals, talks. While it has one
thread only it forks these; it hands out jobs as they are worked off and gets the outcomes back. They end with it: when
it dies, the system kills them (Linux), and until then they hold its lock, so that no other run begins beside them.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from common import log
from common.exits import Exit, RunEnds
from common.forked import Forked, can_fork
from common.images.crew import TICK_SECONDS
from common.images.fetch import LARGE_BYTES, Outcome
from common.images.messages import LEAST_TO_LEND, Ended, Fetched, Heard, Lend, Lent, Over, Told
from common.images.plan import Job
from common.images.process import Latest, Make, be_a_process
from common.s3.errors import CredentialsRefused
from common.s3.fast import FastBucket
from common.waiting import Deadline, Stopped, StopSignal

MOST_PROCESSES = 4
# For small objects twice as many as processors are faster still: a process has one interpreter lock, for which its workers
# wait. From this mean size on it matters less than what a further process takes (measured: 5 to 10 % of the time).
PROCESSES_FOR_EACH_PROCESSOR = 2
MEAN_BYTES_OF_SMALL = 256 << 10
# Below this a second process would not have paid for itself by the end.
JOBS_FOR_EACH, BYTES_FOR_EACH = 100, 64 << 20
# What one process is given ahead: enough until its next message, little enough that all end together.
MOST_AHEAD, MOST_AHEAD_BYTES = 512, 64 << 20
# How long one may leave a message unread, and how long its end is waited for before it is killed: longer than it waits
# for its own workers (`crew.LAST_SECONDS`).
DEAF_SECONDS = 60.0
END_SECONDS = 0.4
KEYS_EVERY_SECONDS = 1.0
# How often the processes hear whether something came in another one.
GOOD_EVERY_SECONDS = 0.25


class WorkerFault(Exception):
    """A fault of the program in one of the processes; the text is its traceback."""


def count_for(jobs: int, size_bytes: int, workers: int, wanted: int = 0) -> int:
    """How many processes fetch that much best; 1 means the process of the run itself. `wanted`: 0 leaves it to us."""
    if not can_fork():
        return 1
    units = max(jobs, size_bytes // LARGE_BYTES)  # of large objects the pieces are shared, too
    if wanted:
        return max(1, min(wanted, workers, units))
    useful = max(jobs // JOBS_FOR_EACH, size_bytes // BYTES_FOR_EACH)
    for_each_processor = PROCESSES_FOR_EACH_PROCESSOR if size_bytes < jobs * MEAN_BYTES_OF_SMALL else 1
    return max(1, min(for_each_processor * processors(), MOST_PROCESSES, workers, useful, units))


def processors() -> int:
    """How many processors we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Process:
    """One of them, as the run sees it."""

    def __init__(self, forked: Forked) -> None:
        forked.link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(DEAF_SECONDS), 0))
        self.forked = forked
        self.open: dict[int, int] = {}  # bytes of each job it has, by the job's id
        self.open_bytes = 0
        self.told = Told([], 0, 0, 0, "")
        self.is_silent = False  # it has said its last
        self.lends_to: _Process | None = None  # it was asked for pieces for that one, and has not answered
        self._sending = threading.Lock()

    def takes(self, size_bytes: int) -> bool:
        """Whether it should have one more job of that size now."""
        has = len(self.open)
        return has < 2 or (has < MOST_AHEAD and self.open_bytes + size_bytes <= MOST_AHEAD_BYTES)

    def burden(self) -> tuple[int, int]:
        """How much it has to do, to be compared."""
        return self.open_bytes, len(self.open)

    def send(self, message: Any) -> None:
        """Raises RunEnds when it does not read; an end of its own is told by its reader."""
        try:
            with self._sending:
                self.forked.link.sendall(pickle.dumps(message))
        except BlockingIOError:
            what = f"Process {self.forked.pid}, which fetches, takes no more work."
            raise RunEnds(what, "Run the same command again: it goes on from here.") from None
        except OSError:
            return


class Processes:
    """So many processes; used as a `Fleet` is. `make` builds the Fleet of one of them, in that process.

    To be made while this process has one thread. Raises OSError, RuntimeError when the system does not grant them, or the
    threads that listen to them; none is left then.
    """

    def __init__(self, count: int, bucket: FastBucket, stop: StopSignal, make: Make) -> None:
        self._bucket = bucket
        self._stop = stop
        self._heard: queue.SimpleQueue[tuple[_Process, Heard]] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._keys = bucket.keys() if bucket.renews else None
        self._good_told = time.monotonic()
        sys.stdout.flush()
        log.stderr.flush()
        # What is here is never looked at for cycles again: that would copy every page of it in each process.
        gc.freeze()
        try:
            for _ in range(count):
                self._processes.append(_Process(Forked(self._body(make))))
            for process in self._processes:
                name = f"process-{process.forked.pid}"
                threading.Thread(target=self._listen, args=(process,), name=name, daemon=True).start()
            if bucket.renews:
                threading.Thread(target=self._renew, name="keys", daemon=True).start()
        except BaseException:
            self.close()
            raise
        finally:
            gc.unfreeze()

    def _body(self, make: Make) -> Callable[[socket.socket], None]:
        others = [process.forked.link for process in self._processes]

        def body(link: socket.socket) -> None:
            for other in others:  # else they would not hear the end of the run
                other.close()
            if self._bucket.renews:
                self._bucket.keys = Latest(self._keys)
            be_a_process(link, self._bucket, make)

        return body

    @property
    def bytes_done(self) -> int:
        return sum(process.told.bytes_done for process in self._processes)

    @property
    def retries(self) -> int:
        return sum(process.told.retries for process in self._processes)

    @property
    def throttled(self) -> int:
        return sum(process.told.throttled for process in self._processes)

    @property
    def name_now(self) -> str:
        return next((process.told.name_now for process in self._processes if process.open), "")

    def outcomes(self, jobs: Iterator[list[Job]], every: Callable[[], None]) -> Iterator[list[Outcome]]:
        """See `Fleet.outcomes`. Raises besides: RunEnds when a process was killed, WorkerFault."""
        waiting: deque[Job] = deque()
        all_in = False
        while True:
            while not all_in and len(waiting) < len(self._processes) * MOST_AHEAD:
                more = next(jobs, None)
                all_in = more is None
                waiting.extend(more or ())
            self._hand_out(waiting)
            if not waiting:
                self._even_out()
            done, problem = self._collect()
            if done:
                yield done
            self._tell_over(done)
            every()
            if problem is None and self._stop.is_set:
                problem = Stopped()
            self._tell_good()
            if problem is not None:
                if last := self._last_words():
                    yield last
                raise problem
            if all_in and not waiting and not any(process.open for process in self._processes):
                for process in self._processes:
                    process.forked.hang_up()
                return

    def _hand_out(self, waiting: deque[Job]) -> None:
        """Deals jobs out in turns, to those that have least to do first."""
        given: dict[_Process, list[Job]] = {}
        taking = sorted(self._processes, key=_Process.burden)
        while waiting and taking:
            for process in taking:
                if not waiting or not process.takes(waiting[0].size_bytes):
                    taking = [each for each in taking if each is not process]
                    break
                job = waiting.popleft()
                process.open[job.id] = job.size_bytes
                process.open_bytes += job.size_bytes
                given.setdefault(process, []).append(job)
        for process, jobs in given.items():
            process.told = process.told._replace(is_idle=False)
            process.send([tuple(job) for job in jobs])

    def _even_out(self) -> None:
        """Has a process with pieces of large objects to spare lend half of them to one that has nothing left to do."""
        for idle in self._processes:
            lenders = [each for each in self._processes if each.told.to_lend >= LEAST_TO_LEND and not each.lends_to]
            if idle.told.is_idle and lenders:
                lender = max(lenders, key=lambda each: each.told.to_lend)
                idle.told = idle.told._replace(is_idle=False)
                lender.lends_to = idle
                lender.send(Lend(lender.told.to_lend // 2))

    def _pass_on(self, process: _Process, message: Lent | Fetched) -> RunEnds | None:
        """Gives what ends the run: what else came at the same time must not be lost for it."""
        to: list[_Process | None] = []
        if isinstance(message, Fetched):
            process.told = process.told._replace(bytes_done=message.bytes_done)
            to = [each for each in self._processes if each.forked.pid == message.lender]
        else:
            process.told = process.told._replace(to_lend=message.to_lend)
            to, process.lends_to = [process.lends_to] if message.loans else [], None
        try:
            for each in to:
                if each is not None:
                    each.send(message)
        except RunEnds as ending:
            return ending
        return None

    def _tell_over(self, done: list[Outcome]) -> None:
        """Tells all which large objects have failed: they may have pieces of these."""
        for outcome in done:
            if outcome.reason and outcome.job.size_bytes >= LARGE_BYTES:
                for process in self._processes:
                    process.send(Over(outcome.job.id))

    def _tell_good(self) -> None:
        """Tells all when something last came: one that meets bad files only must not take the server for gone."""
        last_good = max(process.told.last_good for process in self._processes)
        if last_good - self._good_told > GOOD_EVERY_SECONDS:
            self._good_told = last_good
            for process in self._processes:
                if process.told.last_good < last_good:
                    process.send(last_good)

    def _collect(self) -> tuple[list[Outcome], BaseException | None]:
        """What is done by now; waits a moment for the first."""
        done: list[Outcome] = []
        problem: BaseException | None = None
        with contextlib.suppress(queue.Empty):
            process, message = self._heard.get(timeout=TICK_SECONDS)
            while True:
                done += self._take(process, message)
                if isinstance(message, Lent | Fetched):
                    problem = problem or self._pass_on(process, message)
                elif not isinstance(message, Told):
                    problem = problem or self._problem(process, message)
                process, message = self._heard.get_nowait()
        return done, problem

    def _last_words(self) -> list[Outcome]:
        """Tells all to end, and gives what they have done since they last told us."""
        done: list[Outcome] = []
        for process in self._processes:
            process.forked.hang_up()
        patience = Deadline(END_SECONDS)
        with contextlib.suppress(queue.Empty):
            while not patience.is_over and any(not process.is_silent for process in self._processes):
                process, message = self._heard.get(timeout=max(0.001, patience.left_seconds))
                done += self._take(process, message)
        return done

    def _take(self, process: _Process, message: Heard) -> list[Outcome]:
        """Takes in a message; gives the outcomes in it."""
        if not isinstance(message, Told):
            process.is_silent = process.is_silent or not isinstance(message, BaseException | Lent | Fetched)
            return []
        process.told = message
        for outcome in message.outcomes:
            process.open_bytes -= process.open.pop(outcome.job.id)
        return message.outcomes

    def _problem(self, process: _Process, message: Ended | BaseException | None) -> BaseException:
        match message:
            case BaseException():
                return message
            case Ended("refused"):
                return CredentialsRefused(message.why, message.remedy)
            case Ended("ends"):
                return RunEnds(message.why, message.remedy, Exit(message.exit_code))
            case Ended():
                return WorkerFault(message.why)
        code = process.forked.end(Deadline(END_SECONDS))
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        what = f"Process {process.forked.pid}, which fetched, {how}."
        remedy = "Run the same command again: it goes on from here. Fewer --processes and --workers need less memory."
        return RunEnds(what, remedy)

    def _listen(self, process: _Process) -> None:
        """Passes on what a process tells; None when it ended without a word."""
        with process.forked.link.makefile("rb") as words:
            while True:
                message: Heard
                try:
                    message = pickle.load(words)  # noqa: S301 - from our own fork
                except (EOFError, OSError, pickle.UnpicklingError):
                    message = None
                self._heard.put((process, message))
                if not isinstance(message, Told | Lent | Fetched):
                    return

    def _renew(self) -> None:
        """Gives temporary keys on to the processes when botocore has got new ones."""
        while not self._stop.is_set:
            time.sleep(KEYS_EVERY_SECONDS)
            try:
                keys = self._bucket.keys()
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                self._heard.put((self._processes[0], error))
                return
            if keys != self._keys:
                self._keys = keys
                for process in self._processes:
                    process.send(keys)

    def close(self) -> None:
        """Ends all of them; waits until they are gone, as they hold what this run holds."""
        for process in self._processes:
            process.forked.hang_up()
        patience = Deadline(END_SECONDS)
        for process in self._processes:
            process.forked.end(patience)
