"""How many processes fetch, and how the work is shared among them."""

from __future__ import annotations

from collections import deque

import pytest

from common.images import processes as module
from common.images.fetch import Outcome
from common.images.messages import Lend, Lent, Loan, Over, Told
from common.images.plan import Job
from common.images.processes import MOST_AHEAD, Processes, count_for

MB = 1_000_000


@pytest.fixture(autouse=True)
def four_processors(monkeypatch):
    monkeypatch.setattr(module, "processors", lambda: 4)
    monkeypatch.setattr(module, "can_fork", lambda: True)


@pytest.mark.parametrize(
    ("jobs", "size_bytes", "workers", "wanted", "count"),
    [
        (20, 20 * MB, 256, 0, 1),  # over before a second one has begun
        (250, 5 * MB, 256, 0, 2),
        (5000, 100 * MB, 256, 0, 4),
        (5000, 100 * MB, 3, 0, 3),  # never more than connections
        (1, 100_000 * MB, 256, 0, 4),  # the pieces of one large object are shared
        (1, 30 * MB, 256, 3, 1),  # one that is none has one process
        (0, 0, 256, 3, 1),
        (4, 1000 * MB, 256, 0, 4),
        (20, 20 * MB, 256, 3, 3),  # somebody has decided
        (20, 20 * MB, 2, 3, 2),
        (0, 0, 256, 0, 1),
    ],
)
def test_as_many_processes_as_the_work_is_worth(jobs, size_bytes, workers, wanted, count):
    assert count_for(jobs, size_bytes, workers, wanted) == count


def test_on_one_processor_two_at_most_and_where_none_can_be_forked_one(monkeypatch):
    monkeypatch.setattr(module, "processors", lambda: 1)
    assert count_for(5000, 100 * MB, 256) == 2
    assert count_for(500, 500 * MB, 256) == 1  # larger ones: one for each processor
    monkeypatch.setattr(module, "can_fork", lambda: False)
    assert count_for(5000, 100 * MB, 256) == 1 and count_for(5000, 100 * MB, 256, 4) == 1


class Hand(module._Process):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.open, self.open_bytes, self.given = {}, 0, []
        self.told, self.lends_to = Told([], 0, 0, 0, ""), None

    def send(self, message) -> None:
        self.given += [Job(*each) for each in message] if isinstance(message, list) else [message]


def dealt(count: int, *sizes: int) -> tuple[list[Hand], deque[Job]]:
    hands = [Hand() for _ in range(count)]
    several = Processes.__new__(Processes)
    several._processes = list(hands)
    waiting = deque(Job(number, f"{number}.jpg", f"p/{number}.jpg", size, "") for number, size in enumerate(sizes))
    several._hand_out(waiting)
    return hands, waiting


def test_what_comes_first_from_all_over_the_list_comes_first_in_every_process():
    hands, _ = dealt(3, *[1000] * 12)
    assert [[job.id for job in hand.given] for hand in hands] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_no_more_than_is_worked_off_soon_is_given_ahead_and_none_is_lost():
    hands, waiting = dealt(2, *[1000] * 5000)
    assert [len(hand.given) for hand in hands] == [MOST_AHEAD, MOST_AHEAD]
    assert sorted(job.id for jobs in (hands[0].given, hands[1].given, waiting) for job in jobs) == list(range(5000))
    assert len(waiting) == 5000 - 2 * MOST_AHEAD and waiting[0].id == 2 * MOST_AHEAD


def test_large_objects_are_spread_and_each_process_has_the_next_one_ready():
    hands, waiting = dealt(2, *[256 * MB] * 9)
    assert [[job.id for job in hand.given] for hand in hands] == [[0, 2], [1, 3]] and len(waiting) == 5


def lending(*figures: tuple[int, bool]) -> tuple[Processes, list[Hand]]:
    """Processes that have told how many pieces they could lend, and whether they have nothing to do."""
    hands = [Hand() for _ in figures]
    for hand, (to_lend, is_idle) in zip(hands, figures, strict=True):
        hand.told = hand.told._replace(to_lend=to_lend, is_idle=is_idle)
    several = Processes.__new__(Processes)
    several._processes = list(hands)
    return several, hands


def test_who_has_nothing_to_do_gets_half_of_the_pieces_that_wait_elsewhere_from_who_has_most():
    several, (few, idle, many) = lending((3, False), (0, True), (11, False))
    several._even_out()
    assert (few.given, idle.given, many.given) == ([], [], [Lend(5)])
    several._even_out()  # before there is an answer
    assert many.given == [Lend(5)]
    loans = [Loan(7, (1, "a", "p/a", 9, ""), "e", [3, 4])]
    assert several._pass_on(many, Lent(loans)) is None
    assert idle.given == [Lent(loans)] and few.given == []


def test_two_without_work_ask_two_others_and_nobody_is_asked_for_a_single_piece():
    several, hands = lending((0, True), (4, False), (0, True), (1, False))
    several._even_out()
    assert [hand.given for hand in hands] == [[], [Lend(2)], [], []]


def test_who_had_nothing_left_to_lend_is_asked_again_when_it_has_told_of_more():
    several, (idle, lender) = lending((0, True), (4, False))
    several._even_out()
    assert several._pass_on(lender, Lent([])) is None
    assert idle.given == [] and lender.lends_to is None
    idle.told = idle.told._replace(is_idle=True)
    several._even_out()
    assert lender.given == [Lend(2)]
    lender.told = lender.told._replace(to_lend=9)
    several._even_out()
    assert lender.given == [Lend(2), Lend(4)]


def test_that_a_large_object_has_failed_is_told_to_all_who_may_have_pieces_of_it():
    several, hands = lending((0, False), (0, False))
    large, small = (Job(number, "a", "p/a", size, "") for number, size in ((1, 100 * MB), (2, 1 * MB)))
    several._tell_over([Outcome(large, 1, "", 0.0), Outcome(small, 0, "", 0.0, "gone", "NoSuchKey")])
    assert [hand.given for hand in hands] == [[], []]
    several._tell_over([Outcome(large, 0, "", 0.0, "gone", "NoSuchKey")])
    assert [hand.given for hand in hands] == [[Over(1)], [Over(1)]]
