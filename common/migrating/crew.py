"""Many small pieces of work side by side: one that fails never stops the others, what ends the run stops all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from common import log
from common.exits import Trouble
from common.waiting import StopSignal

Item = TypeVar("Item")
Made = TypeVar("Made")


class Done(Generic[Item, Made]):
    """One piece of work that is over: `made`, or the trouble it ran into."""

    def __init__(self, item: Item, made: Made | None, trouble: Trouble | None) -> None:
        self.item = item
        self.made = made
        self.trouble = trouble


def side_by_side(
    items: Iterable[Item],
    work: Callable[[Item], Made],
    workers: int,
    stop: StopSignal,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Done[Item, Made]]:
    """Works on all items, so many at a time, and gives each back when it is over, in no order.

    Items are taken from the iterable when there is room: it may be long. Raises Stopped and what ends the run, once
    what is under way has ended.
    """
    waiting: dict[Future[Made], Item] = {}
    source = iter(items)
    exhausted = False
    with ThreadPoolExecutor(workers, thread_name_prefix="crew") as pool:
        try:
            while True:
                stop.check()
                while not exhausted and len(waiting) < 3 * workers:
                    try:
                        item = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    waiting[pool.submit(work, item)] = item
                if not waiting:
                    return
                over, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                tick()
                for future in over:
                    item = waiting.pop(future)
                    try:
                        yield Done(item, future.result(), None)
                    except Trouble as trouble:
                        yield Done(item, None, trouble)
                    except (OSError, LookupError, TypeError, ValueError, AttributeError) as error:
                        # A file that cannot be written, or an answer of the server that nobody foresaw.
                        log.get().warning("unexpected_error", reason=f"{type(error).__name__}: {error}", exc_info=True)
                        yield Done(item, None, Trouble(f"{type(error).__name__}: {error}"))
        finally:
            for future in waiting:
                future.cancel()
