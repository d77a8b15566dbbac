"""Many small pieces of work side by side: one that fails never stops the others, what ends the run stops all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from common import log
from common.exits import Trouble
from common.waiting import StopSignal

Item = TypeVar("Item")
Made = TypeVar("Made")
TICK_SECONDS = 0.5
STOP_PATIENCE_SECONDS = 2.5
# A crew begins with so many hands, if it may have them.
FIRST_HANDS = 10


class Done(Generic[Item, Made]):
    """One piece of work that is over: `made`, or the trouble it ran into."""

    def __init__(self, item: Item, made: Made | None, trouble: Trouble | None) -> None:
        self.item = item
        self.made = made
        self.trouble = trouble


class Pace:
    """How many hands a crew has: more while that makes it faster, as where a server is slow but not busy.

    Half as many again are tried; where they bring less than a tenth more, the crew goes back to what it had, and tries
    again after a while. Times are in seconds of any clock.
    """

    LEAST_SECONDS = 0.4
    LEAST_DONE = 40
    WORTH = 1.1
    REST_SECONDS = 20.0

    def __init__(self, most: int, now: float) -> None:
        self.most = most
        self.hands = min(FIRST_HANDS, most)
        self._before: tuple[int, float] | None = None  # hands and pace before the trial under way
        self._since, self._done = now, 0
        self._rests_until = now

    def over(self, now: float) -> int:
        """One piece is over; how many hands there should be from now on."""
        self._done += 1
        passed = now - self._since
        if passed < self.LEAST_SECONDS or self._done < self.LEAST_DONE:
            return self.hands
        pace = self._done / passed
        self._since, self._done = now, 0
        if self._before is not None and pace < self.WORTH * self._before[1]:
            self.hands, self._rests_until = self._before[0], now + self.REST_SECONDS
            self._before = None
        elif self.hands < self.most and now >= self._rests_until:
            self._before = (self.hands, pace)
            self.hands = min(self.most, self.hands + max(1, self.hands // 2))
        else:
            self._before = None
        return self.hands


class _Crew(Generic[Item, Made]):
    """Threads that take items from a queue and put what became of each into another."""

    def __init__(self, work: Callable[[Item], Made]) -> None:
        self._work = work
        self._waiting: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
        self.over: queue.SimpleQueue[tuple[Item, Made | None, BaseException | None]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._hands = 0

    def resize(self, hands: int) -> None:
        for number in range(self._hands, hands):
            thread = threading.Thread(target=self._run, name=f"crew-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in range(hands, self._hands):
            self._waiting.put(None)
        self._hands = hands

    def give(self, item: Item) -> None:
        self._waiting.put((item,))

    def dismiss(self, stop: StopSignal) -> None:
        """What nobody has begun with is given up. What is under way is waited for; after a stop not for long: a server
        may be silent, what hangs can be repeated, and the threads end with the process.
        """
        while True:
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                break
        for _ in self._threads:
            self._waiting.put(None)
        waits_until = time.monotonic() + STOP_PATIENCE_SECONDS
        for thread in self._threads:
            while thread.is_alive() and not (stop.is_set and time.monotonic() >= waits_until):
                thread.join(0.1)

    def _run(self) -> None:
        while (taken := self._waiting.get()) is not None:
            item = taken[0]
            try:
                made = self._work(item)
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits for it
                self.over.put((item, None, error))
            else:
                self.over.put((item, made, None))


def side_by_side(
    items: Iterable[Item],
    work: Callable[[Item], Made],
    most: int,
    stop: StopSignal,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Done[Item, Made]]:
    """Works on all items, `most` at a time at most, and gives each back when it is over, in no order.

    Items are taken from the iterable when there is room: it may be long. Raises Stopped and what ends the run, once
    what is under way has ended; after a stop it waits for that for STOP_PATIENCE_SECONDS only.
    """
    pace = Pace(most, time.monotonic())
    crew: _Crew[Item, Made] = _Crew(work)
    source, under_way, exhausted = iter(items), 0, False
    try:
        crew.resize(pace.hands)
        while True:
            stop.check()
            while not exhausted and under_way < 3 * pace.hands:
                try:
                    crew.give(next(source))
                except StopIteration:
                    exhausted = True
                    break
                under_way += 1
            if not under_way:
                return
            try:
                item, made, error = crew.over.get(timeout=TICK_SECONDS)
            except queue.Empty:
                tick()
                continue
            under_way -= 1
            tick()
            crew.resize(pace.over(time.monotonic()))
            if error is None:
                yield Done(item, made, None)
            elif isinstance(error, Trouble):
                yield Done(item, None, error)
            elif isinstance(error, OSError | LookupError | TypeError | ValueError | AttributeError | RecursionError):
                # A file that cannot be written, or an answer of the server that nobody foresaw.
                log.get().warning("unexpected_error", reason=f"{type(error).__name__}: {error}", exc_info=error)
                yield Done(item, None, Trouble(f"{type(error).__name__}: {error}"))
            else:
                raise error
    finally:
        crew.dismiss(stop)
