"""The workers of one download: nothing that they have done is lost, however late it is looked at."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.exits import RunEnds
from common.images import crew
from common.images.crew import MOST_WAITING, Fleet
from common.images.fetch import Outcome
from common.images.pace import Pace
from common.images.plan import Job
from common.waiting import Stopped, StopSignal

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PATIENCE_SECONDS = 60


class Bucket:
    def reader(self) -> Bucket:
        return self

    def close(self) -> None:
        return


class Instantly:
    """Fetches everything at once, as soon as it may, and counts."""

    def __init__(self) -> None:
        self.fetched = 0
        self.may = threading.Event()
        self.may.set()
        self._lock = threading.Lock()

    def work(self, job: Job, reader: Bucket) -> Outcome:
        self.may.wait(PATIENCE_SECONDS)
        with self._lock:
            self.fetched += 1
        return Outcome(job, 1, "", 0.0)


@pytest.fixture
def fetcher() -> Instantly:
    return Instantly()


@pytest.fixture
def fleet(fetcher) -> Fleet:
    return Fleet(Bucket(), Pace(4), StopSignal(), lambda fleet: fetcher)


def jobs_of(count: int) -> list[Job]:
    return [Job(number, f"{number}.jpg", f"p/{number}.jpg", 1, "") for number in range(count)]


def test_a_terminal_that_holds_the_run_up_while_thousands_arrive_loses_none_of_them(fleet, fetcher):
    jobs = jobs_of(MOST_WAITING + 800)
    batches = iter([jobs[: MOST_WAITING // 2 - 1], jobs[MOST_WAITING // 2 - 1 :]])
    until = time.monotonic() + PATIENCE_SECONDS

    def every() -> None:
        assert time.monotonic() < until, "the run never ends"
        while fetcher.fetched < len(jobs):  # a bar that is drawn on a terminal which takes nothing (Ctrl+S)
            assert time.monotonic() < until
            time.sleep(0.01)

    done = [outcome.job for outcomes in fleet.outcomes(batches, every) for outcome in outcomes]
    assert sorted(done) == jobs


class Late(Instantly):
    """Gives a file its name only when the run is to end."""

    def __init__(self, stop: StopSignal) -> None:
        super().__init__()
        self.closed = False
        self.at_work, self.seen = threading.Event(), threading.Event()
        self.stop = stop

    def work(self, job: Job, reader: Bucket) -> Outcome:
        self.at_work.set()
        while not (self.stop.is_set or self.closed):
            time.sleep(0.001)
        if job.id == 0:
            assert self.seen.wait(PATIENCE_SECONDS)
        return Outcome(job, 1, "", 0.0)


def test_what_is_done_while_the_run_ends_is_not_lost(monkeypatch):
    stop = StopSignal()
    fetcher = Late(stop)
    fleet = Fleet(Bucket(), Pace(4), stop, lambda fleet: fetcher)
    monkeypatch.setattr(crew, "LAST_SECONDS", PATIENCE_SECONDS)
    done = []

    def every() -> None:
        if fetcher.at_work.wait(PATIENCE_SECONDS) and not stop.is_set:
            stop.set(2)
            threading.Timer(0.05, fetcher.seen.set).start()  # the run has seen the signal by then, or sees it later

    with pytest.raises(Stopped):
        for some in fleet.outcomes(iter([jobs_of(1)]), every):
            done += some
    assert [each.job.id for each in done] == [0] and fetcher.closed


def test_who_does_not_end_soon_is_not_waited_for_and_told_to_give_up(monkeypatch):
    stop = StopSignal()
    fetcher = Late(stop)
    fleet = Fleet(Bucket(), Pace(4), stop, lambda fleet: fetcher)
    monkeypatch.setattr(crew, "LAST_SECONDS", 0.01)
    outcomes = fleet.outcomes(iter([jobs_of(1)]), lambda: fetcher.at_work.wait(PATIENCE_SECONDS) and stop.set(2))
    with pytest.raises(Stopped):
        list(outcomes)
    assert fetcher.closed and fleet._threads[0].is_alive()
    fetcher.seen.set()


def test_idle_workers_do_not_hold_the_end_up(fetcher, monkeypatch):
    monkeypatch.setattr(crew, "LAST_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(crew, "IDLE_SECONDS", 2 * PATIENCE_SECONDS)
    stop = StopSignal()
    fleet = Fleet(Bucket(), Pace(4), stop, lambda fleet: fetcher)

    def batches():
        yield jobs_of(3)
        while True:  # nothing more for now, as in a process that waits for the run's next word
            yield []

    done = []
    began = time.monotonic()
    with pytest.raises(Stopped):
        for outcomes in fleet.outcomes(batches(), lambda: None):
            done += outcomes
            if len(done) == 3:
                stop.set(15)
    assert len(done) == 3
    assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_a_worker_that_gets_no_connection_to_work_with_ends_the_run(fetcher):
    class NoBuffer(Bucket):
        def reader(self) -> Bucket:
            raise MemoryError("no room for a buffer")

    fleet = Fleet(NoBuffer(), Pace(4), StopSignal(), lambda fleet: fetcher)
    until = time.monotonic() + PATIENCE_SECONDS

    def every() -> None:
        assert time.monotonic() < until, "the run never ends"

    with pytest.raises(MemoryError):
        list(fleet.outcomes(iter([jobs_of(3)]), every))


class NoRoom(threading.Thread):
    """A thread of a system that grants so many of them."""

    left = 0

    def start(self) -> None:
        if not NoRoom.left:
            raise RuntimeError("can't start new thread")
        NoRoom.left -= 1
        super().start()


def test_where_the_system_grants_few_threads_these_fetch_all(fleet, fetcher, monkeypatch):
    monkeypatch.setattr(crew.threading, "Thread", NoRoom)
    NoRoom.left = 2
    jobs = jobs_of(100)
    fetcher.may.clear()  # until all that can be hired are
    outcomes = fleet.outcomes(iter([jobs]), fetcher.may.set)
    assert sorted(each.job for some in outcomes for each in some) == jobs
    assert len(fleet._threads) == 2


def test_where_it_grants_none_the_run_ends_with_a_word_about_it(fleet, monkeypatch):
    monkeypatch.setattr(crew.threading, "Thread", NoRoom)
    NoRoom.left = 0
    with pytest.raises(RunEnds) as ends:
        list(fleet.outcomes(iter([jobs_of(1)]), lambda: None))
    assert "threads" in ends.value.why and "--workers" in ends.value.remedy


@pytest.mark.parametrize(
    ("workers", "soft", "hard", "allowed"),
    [
        (512, 256, 10_000, 512 * 4 + 128),
        (512, 256, 1000, 1000),  # no more than we may ask for
        (16, 1000, 1000, 1000),  # enough, and never fewer
    ],
)
def test_many_connections_ask_for_the_open_files_they_need(workers, soft, hard, allowed):
    program = (
        "import resource; from common.images.crew import allow_files\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); allow_files({workers})\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("fewer open files are allowed here")
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )
    assert run.stdout.strip() == f"({allowed}, {hard})", run.stderr


def test_what_an_earlier_run_has_brought_is_no_sign_of_a_server_that_answers(fetcher, monkeypatch):
    seen = []
    pace = Pace(4)
    monkeypatch.setattr(pace, "look", lambda bytes_done, more_to_do: seen.append(bytes_done) or 4)
    fleet = Fleet(Bucket(), pace, StopSignal(), lambda fleet: fetcher)
    fleet.found(1000)
    fleet.count(1005)
    list(fleet.outcomes(iter([jobs_of(1)]), lambda: None))
    assert set(seen) == {5} and fleet.bytes_done == 1005
