"""The workers of one download and the queue they share: as many as the pace allows, fed while they work."""

from __future__ import annotations

import contextlib
import queue
import resource
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from common.exits import RunEnds
from common.images.fetch import LARGE_BYTES, Fetcher, Large, Outcome, Piece
from common.images.pace import LOOK_EVERY_SECONDS, Pace
from common.images.plan import Job
from common.s3.bucket import Bucket, Reader
from common.waiting import Deadline, Stopped, StopSignal

# So many jobs wait for a worker at most; more would only cost memory.
MOST_WAITING = 8192
IDLE_SECONDS = 0.05
TICK_SECONDS = 0.1
GATHER_SECONDS = 0.01
# How long an early end waits for those who are about to give a file its name.
LAST_SECONDS = 0.2


# What a worker has open: a socket, a pipe, a file.
FILES_FOR_EACH, OTHER_FILES = 4, 128


def allow_files(workers: int) -> None:
    """Asks the system for as many open files as that many workers need, as far as it lets us without being asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = workers * FILES_FOR_EACH + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Fleet:
    """Workers over one bucket. `name_now` is a file that is being worked on, `bytes_done` what has arrived.

    Of that, `bytes_found` came in earlier runs.
    """

    def __init__(self, bucket: Bucket, pace: Pace, stop: StopSignal, make: Callable[[Fleet], Fetcher]) -> None:
        self._bucket = bucket
        self._pace = pace
        self._stop = stop
        self._todo: deque[Job | Piece] = deque()
        self._pieces: deque[Piece] = deque()
        self._lent: deque[Piece] = deque()
        self._back: deque[Piece] = deque()
        self._begun = 0
        self._done: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._lock = threading.Lock()
        self.bytes_done = self.bytes_found = 0
        self.name_now = ""
        self._fetcher = make(self)

    def spread(self, pieces: list[Piece]) -> None:
        """Pieces of a large object go first: it is the one that is waited for at the end."""
        self._pieces.extend(pieces)
        self.wake()

    @property
    def to_lend(self) -> int:
        """How many pieces wait that another process could fetch as well."""
        return len(self._pieces) + len(self._lent)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a worker, nor will soon: a large object that is begun becomes many pieces."""
        return not (self._begun or self._waiting)

    def lend(self, most: int) -> list[Piece]:
        """Gives up so many of the pieces that wait, those that would come last; what was lent to us goes on, too."""
        lent: list[Piece] = []
        with contextlib.suppress(IndexError):
            while len(lent) < most:
                piece = (self._pieces or self._lent).pop()
                if not piece.large.over:
                    lent.append(piece)
        return lent

    def take_back(self, piece: Piece) -> None:
        """A piece of our own object that was lent."""
        self._back.append(piece)
        self.wake()

    def borrow(
        self, job: Job, etag: str, numbers: list[int], tell: Callable[[int, bool], None], lender: int
    ) -> Large | None:
        """Has pieces of another process' object fetched; `tell` hears of each. None when its file cannot be opened."""
        try:
            large = self._fetcher.borrowed(job, etag, tell, lender)
        except OSError:
            return None
        self._lent.extend([Piece(large, number) for number in numbers])
        self.wake()
        return large

    @property
    def retries(self) -> int:
        return self._pace.retries

    @property
    def throttled(self) -> int:
        return self._pace.throttled

    @property
    def last_good(self) -> float:
        return self._pace.last_good

    def good_elsewhere(self, at: float) -> None:
        self._pace.good_elsewhere(at)

    def wake(self) -> None:
        """There is something new to be done or to be seen: nobody need wait for an outcome."""
        self._done.put(None)

    def fail(self, error: BaseException) -> None:
        """`outcomes` raises it, as if a worker had met it."""
        self._done.put(error)

    def close(self) -> None:
        """Ends what is at work, when `outcomes` was not asked until its end."""
        if not self._closing:
            self._last_words()

    @property
    def _waiting(self) -> int:
        return len(self._todo) + len(self._pieces) + len(self._lent) + len(self._back)

    def count(self, count: int) -> None:
        with self._lock:
            self.bytes_done += count

    def found(self, count: int) -> None:
        with self._lock:
            self.bytes_found += count

    def outcomes(self, jobs: Iterator[list[Job]], every: Callable[[], None]) -> Iterator[list[Outcome]]:
        """Works all jobs off; yields what is done, many at a time. `every` is called several times a second.

        Raises Stopped and whatever ends the run; what was done until then has been yielded, and nothing is done after it.
        """
        open_jobs, all_in = 0, False
        batch_of_jobs: Iterator[list[Job]] = jobs
        ending: BaseException | None = None
        while True:
            while not all_in and len(self._todo) < MOST_WAITING // 2:
                more = next(batch_of_jobs, None)
                all_in = more is None
                if not more:
                    break
                open_jobs += len(more)
                self._todo.extend(more)
            if all_in and open_jobs == 0:
                self._closing = True
                return
            if ending is None:
                more_to_do = self._waiting > len(self._threads)
                self._hire(self._pace.look(self.bytes_done - self.bytes_found, more_to_do=more_to_do))
            patience = LOOK_EVERY_SECONDS if more_to_do and self._pace.may_grow else TICK_SECONDS
            done, problem = self._collect(patience, gather=open_jobs > 1)
            open_jobs -= len(done)
            if done:
                yield done
            every()
            if problem is not None and ending is None:
                ending = problem
            if ending is None and self._stop.is_set:
                ending = Stopped()
            if ending is not None:
                # Where nothing is at work the workers sleep, which is not waited for: a process that is done ends at once.
                if last := self._last_words(at_work=open_jobs > 0):
                    yield last
                raise ending

    def _last_words(self, *, at_work: bool = True) -> list[Outcome]:
        """Lets nobody begin anything more, and gives what those at work come to within a moment; the others give it up."""
        self._closing = True
        self._todo.clear()
        self._pieces.clear()
        self._lent.clear()
        self._back.clear()
        patience = Deadline(LAST_SECONDS)
        for thread in self._threads if at_work else ():
            thread.join(max(0.0, patience.left_seconds))
        self._fetcher.closed = True
        done: list[Outcome] = []
        while not self._done.empty():
            done += self._collect(0.0)[0]
        return done

    def _collect(self, patience_seconds: float, *, gather: bool = True) -> tuple[list[Outcome], BaseException | None]:
        """What is done by now; waits so long for the first, and then for those that come with it."""
        done: list[Outcome] = []
        problem: BaseException | None = None
        with contextlib.suppress(queue.Empty):
            item = self._done.get(timeout=patience_seconds)
            if item is not None and gather:
                # Nobody who puts an outcome there must wake us up for it: that costs as much as fetching a small object.
                time.sleep(GATHER_SECONDS)
            while True:
                if isinstance(item, BaseException):
                    problem = problem or item
                elif item is not None:
                    done.append(item)
                if len(done) >= MOST_WAITING:
                    break
                item = self._done.get_nowait()
        return done, problem

    def _hire(self, count: int) -> None:
        while len(self._threads) < min(count, self._waiting + len(self._threads)):
            number = len(self._threads)
            thread = threading.Thread(target=self._work, args=(number,), name=f"fetch-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # No memory, or a limit (ulimit -u, a container's pids). Those that are at work do it all.
                if not self._threads:
                    what = f"The system grants no threads to fetch with ({error})."
                    raise RunEnds(
                        what, "Allow more (ulimit -u, pids limit), or use fewer --processes and --workers."
                    ) from None
                self._pace.no_more_than(number)
                return
            self._threads.append(thread)

    def _begin_large(self, todo: Job | Piece, reader: Reader) -> Outcome | None:
        with self._lock:
            self._begun += 1
        try:
            return self._fetcher.work(todo, reader)
        finally:
            with self._lock:
                self._begun -= 1

    def _work(self, number: int) -> None:
        try:
            todo: Job | Piece | None = None
            with contextlib.closing(self._bucket.reader()) as reader:
                while not self._closing and not self._stop.is_set:
                    if number >= self._pace.limit:
                        time.sleep(IDLE_SECONDS)
                        continue
                    try:
                        todo = (self._back or self._lent or self._pieces or self._todo).popleft()
                    except IndexError:
                        if isinstance(todo, Piece):
                            self.wake()  # other processes may have pieces for us
                        todo = None
                        time.sleep(IDLE_SECONDS)
                        continue
                    self.name_now = todo.large.job.path if isinstance(todo, Piece) else todo.path
                    is_large = isinstance(todo, Job) and todo.size_bytes >= LARGE_BYTES
                    outcome = (self._begin_large if is_large else self._fetcher.work)(todo, reader)
                    if outcome is not None:
                        self._done.put(outcome)
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self.fail(error)
