"""Places and limits that the saves of a run share."""

from __future__ import annotations

import threading
import time

import pytest

from common.saving.desk import Budget, Postponed, Slots
from common.waiting import Stopped, StopSignal


def test_never_more_than_the_number_of_places_are_held():
    slots, held, most = Slots(2, StopSignal()), [], []

    def work():
        with slots.place():
            held.append(1)
            most.append(len(held))
            time.sleep(0.005)
            held.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 2 and len(most) == 8


def test_places_are_given_in_the_order_of_asking():
    slots, order = Slots(1, StopSignal()), []

    def work(number):
        with slots.place():
            order.append(number)

    with slots.place():
        threads = []
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(slots._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(5))


def test_a_stop_ends_the_waiting_and_an_error_gives_the_place_back():
    stop = StopSignal()
    slots = Slots(1, stop)
    with pytest.raises(ZeroDivisionError), slots.place():
        raise ZeroDivisionError
    with slots.place():
        threading.Timer(0.05, stop.set, (15,)).start()
        with pytest.raises(Stopped), slots.place():
            raise AssertionError("not reached")
    assert slots._free == 1 and not slots._waiting


def test_a_budget_sets_aside_what_is_expected_and_settles_what_it_was():
    budget = Budget(100, 0)
    budget.claim(60)
    with pytest.raises(Postponed, match="CVAT_BACKUP_MAX_GB_PER_DAY=1e-07 is used up"):
        budget.claim(60)
    budget.settle(60, 10)
    budget.claim(60)
    assert budget.spent_bytes == 70


def test_without_a_limit_nothing_is_postponed():
    budget = Budget(0, 0)
    for _ in range(3):
        budget.claim(10**15)
