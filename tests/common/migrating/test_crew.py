"""A crew works side by side, takes more hands where that helps, and ends as a whole."""

from __future__ import annotations

import threading

import pytest

from common.exits import Trouble
from common.migrating import crew
from common.migrating.crew import FIRST_HANDS, Pace, side_by_side
from common.waiting import Stopped, StopSignal


def hands_after(most: int, speed, seconds: float) -> list[int]:
    """How many hands there were along a run on a clock of ours, where so many hands have the pace `speed(hands)`."""
    now, seen = 0.0, []
    pace = Pace(most, now)
    while now < seconds:
        now += 1 / speed(pace.hands)
        pace.over(now)
        if not seen or seen[-1] != pace.hands:
            seen.append(pace.hands)
    return seen


def test_where_a_server_is_slow_but_not_busy_a_crew_grows_to_the_most():
    assert hands_after(20, lambda hands: 50.0 * hands, 5) == [10, 15, 20]


def test_where_more_hands_bring_nothing_a_crew_goes_back_and_rests():
    assert hands_after(20, lambda _hands: 500.0, 15) == [10, 15, 10]
    assert hands_after(20, lambda hands: 500.0 - 10 * hands, 50) == [10, 15, 10, 15, 10, 15, 10]


def test_a_crew_that_may_have_few_hands_never_has_more():
    assert hands_after(4, lambda hands: 100.0 * hands, 5) == [4]


def test_never_more_are_at_work_than_allowed_and_everything_is_done_once():
    lock, at_work, most_seen = threading.Lock(), [0], [0]

    def work(number: int) -> int:
        with lock:
            at_work[0] += 1
            most_seen[0] = max(most_seen[0], at_work[0])
        with lock:
            at_work[0] -= 1
        return number

    done = [each.made for each in side_by_side(range(500), work, 12, StopSignal())]
    assert sorted(done) == list(range(500))
    assert most_seen[0] <= 12


def test_as_many_are_at_work_as_there_are_hands():
    together = threading.Barrier(FIRST_HANDS, timeout=60)
    assert len(list(side_by_side(range(FIRST_HANDS), lambda _: together.wait(), 20, StopSignal()))) == FIRST_HANDS


def test_what_fails_is_told_and_the_rest_is_done():
    def work(number: int) -> int:
        if number % 3 == 0:
            raise Trouble("a third")
        if number % 3 == 1:
            raise KeyError("unforeseen")
        return number

    done = list(side_by_side(range(30), work, 4, StopSignal()))
    assert sorted(each.made for each in done if each.made is not None) == list(range(2, 30, 3))
    assert {str(each.trouble) for each in done if each.trouble} == {"a third", "KeyError: 'unforeseen'"}


def test_a_stop_ends_it_and_what_is_under_way_is_waited_for():
    stop, begun, ended = StopSignal(), [], []

    def work(number: int) -> None:
        begun.append(number)
        if number == 5:
            stop.set(15)
        ended.append(number)

    with pytest.raises(Stopped):
        list(side_by_side(range(1000), work, 3, stop))
    assert sorted(begun) == sorted(ended) and len(ended) < 1000


def test_after_a_stop_what_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(crew, "STOP_PATIENCE_SECONDS", 0.05)
    stop, silent, begun = StopSignal(), threading.Event(), threading.Event()

    def work(number: int) -> None:
        begun.set()
        stop.set(15)
        silent.wait(60)

    with pytest.raises(Stopped):
        list(side_by_side(range(3), work, 3, stop))
    assert begun.is_set() and not silent.is_set()
    silent.set()


def test_what_ends_the_run_ends_the_crew():
    def work(number: int) -> None:
        if number == 3:
            raise Stopped

    with pytest.raises(Stopped):
        list(side_by_side(range(1000), work, 3, StopSignal()))
