"""How many connections work at once, told by a clock of the test."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from common.images.pace import (
    FIRST_FOR_LARGE,
    FIRST_WORKERS,
    LEAST_FIRST,
    MOST_UNHEARD,
    PERIOD_SECONDS,
    TRIED_AGAIN_AFTER_SECONDS,
    Pace,
)


class Clock:
    """`pass_time(0.2, 0.1, 5)`: a fifth of a second later, of which half was our own work, five more bytes are here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.cpu, self.bytes = 100.0, 0.0, 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "process_time", lambda: self.cpu)

    def pass_time(self, seconds: float, busy_seconds: float, more_bytes: int) -> None:
        self.now, self.cpu, self.bytes = self.now + seconds, self.cpu + busy_seconds, self.bytes + more_bytes


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def limits(pace: Pace, clock: Clock, *rates: int, busy: float = 0.1) -> list[int]:
    found = []
    for rate in rates:
        clock.pass_time(0.2, 0.2 * busy, rate)
        found.append(pace.look(clock.bytes, more_to_do=True))
    return found


def test_a_process_begins_with_its_share_of_the_first_connections_and_never_with_more_than_may_be(clock):
    assert [Pace(100, processes=count).limit for count in (1, 2, 4, 16)] == [FIRST_WORKERS, 8, LEAST_FIRST, LEAST_FIRST]
    assert Pace(3).limit == 3


def test_connections_are_doubled_while_that_brings_more_up_to_the_most(clock):
    pace = Pace(100)
    assert limits(pace, clock, 1000, 2000, 4000, 8000, busy=0.5) == [32, 64, 100, 100]


def test_where_next_to_nothing_of_our_own_work_is_in_the_way_there_are_four_times_as_many(clock):
    pace = Pace(300, processes=4)
    assert limits(pace, clock, 1000, 4000, 16000, 64000) == [16, 64, 256, 300]


def test_while_nothing_has_come_there_are_only_a_few(clock):
    pace = Pace(300, processes=4)
    assert limits(pace, clock, 0, 0, 0) == [MOST_UNHEARD] * 3
    assert limits(pace, clock, 1000) == [4 * MOST_UNHEARD]


def test_the_speed_is_that_of_all_the_time_since_connections_were_added_so_that_gusts_do_not_deceive(clock):
    pace = Pace(100)
    assert limits(pace, clock, 1000, busy=0.5) == [32]
    seen = []
    for arrived in (0, 450, 0, 450):  # in all a little slower than before
        clock.pass_time(PERIOD_SECONDS / 5, 0.01, arrived)
        seen.append(pace.look(clock.bytes, more_to_do=True))
    assert seen == [32] * 4
    clock.pass_time(PERIOD_SECONDS / 5, 0.01, 1000)
    assert pace.look(clock.bytes, more_to_do=True) > 32


def test_what_brings_nothing_is_not_repeated_at_once_but_after_a_while(clock):
    pace = Pace(100)
    assert limits(pace, clock, 1000, 200, 200, 200, 200, busy=0.5) == [32, 32, 32, 32, 32]
    clock.pass_time(TRIED_AGAIN_AFTER_SECONDS, 1.5, 1000)
    assert pace.look(clock.bytes, more_to_do=True) == 64


def test_no_connections_are_added_when_our_own_work_is_what_takes_the_time_or_nothing_is_left(clock):
    pace = Pace(100)
    assert limits(pace, clock, 1000, 2000, busy=0.9) == [FIRST_WORKERS] * 2
    clock.pass_time(0.2, 0.0, 5000)
    assert pace.look(clock.bytes, more_to_do=False) == FIRST_WORKERS


def test_a_busy_server_halves_them_once_a_second_and_they_stay_so_for_a_while(clock):
    pace = Pace(100)
    for _ in range(5):
        pace.trouble(1, throttled=True)
    assert pace.limit == 8 and pace.throttled == 5
    assert limits(pace, clock, 1000, 2000, 4000) == [8, 8, 8]
    clock.pass_time(11, 5.0, 100_000)
    assert pace.look(clock.bytes, more_to_do=True) == 16


@pytest.fixture
def spare(monkeypatch) -> list[float]:
    """How many seconds the processors have had nothing to do, as the system tells."""
    seconds = [0.0]
    monkeypatch.setattr(Pace, "_spare", lambda pace: seconds[0])
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return seconds


def test_large_objects_begin_with_fewer_and_no_more_come_before_the_first_byte(clock, spare):
    assert [Pace(100, processes=count, large=True).limit for count in (1, 2, 4)] == [FIRST_FOR_LARGE, 4, LEAST_FIRST]
    assert limits(Pace(100, large=True), clock, 0, 0, 0, busy=0.0) == [FIRST_FOR_LARGE] * 3


def test_for_large_objects_more_are_tried_only_while_the_processors_have_time_to_spare(clock, spare):
    pace = Pace(100, large=True)
    seen = []
    for share in (1.0, 1.0, 0.1, 0.1, 0.5):  # of the first, all is waiting for the first byte
        spare[0] += share * 4 * 0.3
        clock.pass_time(0.3, 0.15, 1000)
        seen.append(pace.look(clock.bytes, more_to_do=True))
    assert seen[:2] == [FIRST_FOR_LARGE, 2 * FIRST_FOR_LARGE]
    assert seen[2:4] == [2 * FIRST_FOR_LARGE] * 2
    pace = Pace(100, large=True)
    clock.pass_time(0.3, 0.0, 1)
    pace.look(clock.bytes, more_to_do=True)
    seen = []
    for _ in range(5):  # nobody has anything to spare
        clock.pass_time(0.3, 0.1, 1000)
        seen.append(pace.look(clock.bytes, more_to_do=True))
    assert seen == [FIRST_FOR_LARGE] * 5


def test_a_moment_says_nothing_about_large_objects(clock, spare):
    pace = Pace(100, large=True)
    clock.pass_time(0.3, 0.0, 1)
    pace.look(clock.bytes, more_to_do=True)
    for _ in range(4):
        spare[0] += 0.2
        clock.pass_time(PERIOD_SECONDS / 5, 0.01, 1000)
        assert pace.look(clock.bytes, more_to_do=True) == FIRST_FOR_LARGE
    spare[0] += 0.2
    clock.pass_time(PERIOD_SECONDS / 4, 0.01, 1000)
    assert pace.look(clock.bytes, more_to_do=True) > FIRST_FOR_LARGE


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system has no /proc/stat")
def test_what_the_processors_have_to_spare_is_read_from_the_system():
    pace = Pace(100, large=True)
    before, began = pace._spare(), time.monotonic()
    time.sleep(0.2)
    assert 0 <= pace._spare() - before <= (time.monotonic() - began + 0.1) * (os.cpu_count() or 1)
    assert before > 0


def test_where_the_system_does_not_tell_it_does_not_count(clock, monkeypatch):
    def fails(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr("builtins.open", fails)
    pace = Pace(100, large=True)
    assert limits(pace, clock, 1000, 2000, 4000, busy=0.5)[1:] == [2 * FIRST_FOR_LARGE, 4 * FIRST_FOR_LARGE]


def test_a_system_that_tells_zeros_only_does_not_tell(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *_: io.BytesIO(b"cpu  0 0 0 0 0 0 0 0 0 0\n"))
    pace = Pace(100, large=True)
    assert pace._spare() == 0 and not pace._large
