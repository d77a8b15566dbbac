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
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from common import log
from common.exits import Exit, RunEnds
from common.forked import Forked, can_fork
from common.images.crew import TICK_SECONDS, Fleet
from common.images.fetch import LARGE_BYTES, Outcome, Piece
from common.images.plan import Job
from common.s3.errors import CredentialsRefused
from common.s3.fast import FastBucket
from common.s3.signing import Keys
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
# So many pieces of large objects must wait in a process before it is asked for half of them.
LEAST_TO_LEND = 2
KEYS_EVERY_SECONDS = 1.0
# How often the processes hear whether something came in another one.
GOOD_EVERY_SECONDS = 0.25


class Told(NamedTuple):
    """What a process tells: outcomes since the last time, and its figures since its start."""

    outcomes: list[Outcome]
    bytes_done: int
    retries: int
    throttled: int
    name_now: str
    last_good: float = 0.0  # see `Pace`; the monotonic clock is the same in all processes
    to_lend: int = 0  # see `Fleet`
    is_idle: bool = True


class Ended(NamedTuple):
    """Why a process is at its end before the run is. `kind`: "ends" (RunEnds), "refused" (CredentialsRefused), "fault"."""

    kind: str
    why: str = ""
    remedy: str = ""
    exit_code: int = Exit.NOTHING_WORKED


class Lend(NamedTuple):
    """What a process is asked: to give up so many of its pieces, for another one."""

    count: int


class Loan(NamedTuple):
    """Pieces of one object, which is brought together elsewhere."""

    job: tuple[Any, ...]
    etag: str
    numbers: list[int]


class Lent(NamedTuple):
    """What a process answers to `Lend`; passed on to the other one."""

    loans: list[Loan]


class Fetched(NamedTuple):
    """What became of a piece that was lent."""

    job_id: int
    number: int
    has_come: bool


class WorkerFault(Exception):
    """A fault of the program in one of the processes; the text is its traceback."""


@dataclass(frozen=True)
class Latest:
    """The keys that a process was given last, in place of what asks botocore for them."""

    keys: Keys | None

    def __call__(self) -> Keys | None:
        return self.keys


Heard = Told | Ended | Lent | Fetched | BaseException | None
# Builds the workers of one process, in that process.
Make = Callable[[FastBucket, StopSignal], Fleet]


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
            _be_a_process(link, self._bucket, make)

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
        """Has those with pieces of large objects to spare lend some to those without work."""
        for idle in self._processes:
            lenders = [each for each in self._processes if each.told.to_lend >= LEAST_TO_LEND and not each.lends_to]
            if idle.told.is_idle and lenders:
                lender = max(lenders, key=lambda each: each.told.to_lend)
                idle.told = idle.told._replace(is_idle=False)
                lender.lends_to = idle
                lender.send(Lend(lender.told.to_lend // 2))

    def _pass_on(self, process: _Process, message: Lent | Fetched) -> None:
        match message:
            case Lent(loans):
                to, process.lends_to = process.lends_to, None
                process.told = process.told._replace(to_lend=0)
                if to is not None and loans:
                    to.send(message)
            case Fetched(job_id):
                for owner in self._processes:
                    if job_id in owner.open:
                        owner.send(message)

    def _tell_good(self) -> None:
        """Tells those at work when something last came: one that meets bad files only must not take the server for gone."""
        last_good = max(process.told.last_good for process in self._processes)
        if last_good - self._good_told > GOOD_EVERY_SECONDS:
            self._good_told = last_good
            for process in self._processes:
                if process.open and process.told.last_good < last_good:
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
                    self._pass_on(process, message)
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


# --- within a new process ------------------------------------------------------------------------------------------


def _be_a_process(link: socket.socket, bucket: FastBucket, make: Make) -> None:
    """Fetches what it is told to, until it is told to end or nobody is left to tell it."""
    with contextlib.suppress(OSError):  # nobody is left to be told
        ended = _fetch(link, bucket, make)
        if ended is not None:
            link.sendall(pickle.dumps(ended))


def _fetch(link: socket.socket, bucket: FastBucket, make: Make) -> Ended | None:
    stop = StopSignal()
    inbox: deque[list[Job]] = deque()
    fleet = make(bucket, stop)
    turn = threading.Lock()

    def say(message: Told | Lent | Fetched) -> None:
        try:
            with turn:
                link.sendall(pickle.dumps(message))
        except OSError:  # nobody is left to be told
            raise Stopped from None

    try:
        threading.Thread(target=_hear, args=(link, inbox, bucket, fleet, stop, say), name="hear", daemon=True).start()
    except RuntimeError as error:
        return Ended(
            "ends", f"The system grants no threads to a process that fetches ({error}).", "Use fewer --processes."
        )
    told_at, told_state = time.monotonic(), (True, False)

    def jobs() -> Iterator[list[Job]]:
        while True:
            yield inbox.popleft() if inbox else []

    def tell(outcomes: list[Outcome]) -> None:
        nonlocal told_at, told_state
        told_at, told_state = time.monotonic(), state()
        say(
            Told(
                outcomes, fleet.bytes_done, fleet.retries, fleet.throttled, fleet.name_now, fleet.last_good,
                fleet.to_lend, fleet.is_idle,
            )
        )  # fmt: skip

    def state() -> tuple[bool, bool]:
        return fleet.is_idle, fleet.to_lend >= LEAST_TO_LEND

    def every() -> None:
        if time.monotonic() - told_at > TICK_SECONDS or told_state != state():
            tell([])

    try:
        for outcomes in fleet.outcomes(jobs(), every):
            tell(outcomes)
    except Stopped:
        return None
    except CredentialsRefused as error:
        return Ended("refused", error.why, error.remedy)
    except RunEnds as error:
        return Ended("ends", error.why, error.remedy, error.exit_code)
    except Exception:  # noqa: BLE001 - told to the run, which tells the user
        return Ended("fault", traceback.format_exc())
    return None


def _hear(
    link: socket.socket, inbox: deque[list[Job]], bucket: FastBucket, fleet: Fleet, stop: StopSignal,
    say: Callable[[Told | Lent | Fetched], None],
) -> None:  # fmt: skip
    """Takes what the run sends; its silence for good is the end."""
    lent: dict[tuple[int, int], Piece] = {}
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError, Stopped), link.makefile("rb") as words:
        while True:
            message = pickle.load(words)  # noqa: S301 - from the process that forked us
            if isinstance(message, Keys):
                bucket.keys = Latest(message)
            elif isinstance(message, float):
                fleet.good_elsewhere(message)
            elif isinstance(message, Lend):
                pieces = fleet.lend(message.count)
                lent |= {(piece.large.job.id, piece.number): piece for piece in pieces}
                say(Lent(_loans(pieces)))
            elif isinstance(message, Lent):
                for loan in message.loans:
                    job = Job(*loan.job)
                    fleet.borrow(job, loan.etag, loan.numbers, lambda number, came, id=job.id: say(Fetched(id, number, came)))
            elif isinstance(message, Fetched):
                piece = lent.pop((message.job_id, message.number))
                fleet.take([piece._replace(has_come=message.has_come)])
            else:
                inbox.append([Job(*each) for each in message])
                fleet.wake()
    stop.set(signal.SIGTERM)
    fleet.wake()


def _loans(pieces: list[Piece]) -> list[Loan]:
    loans: dict[int, Loan] = {}
    for large, number, _ in pieces:
        loan = loans.setdefault(large.job.id, Loan(tuple(large.job), large.etag, []))
        loan.numbers.append(number)
    return list(loans.values())
