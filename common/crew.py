"""Threads that work off one queue of items side by side, and what comes out of each item.

An item that fails is the business of the work itself; what the work raises ends the whole crew.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import structlog

from common.waiting import Stopped, StopSignal

Item = TypeVar("Item")
Done = TypeVar("Done")
# After a stop, threads that hang in a socket are not waited for: what they leave behind can be resumed.
STOP_PATIENCE_SECONDS = 5.0


class _Over:
    """One thread has nothing more to do."""


class Crew(Generic[Item, Done]):
    """At most `threads` items are worked on at once. Results come out in the order in which they are ready."""

    def __init__(
        self, items: Sequence[Item], work: Callable[[Item], Done], stop: StopSignal, threads: int, name: str
    ) -> None:
        self._work_on = work
        self._stop = stop
        self._todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
        for item in items:
            self._todo.put(item)
        self._done: queue.SimpleQueue[Done | BaseException | _Over] = queue.SimpleQueue()
        context = structlog.contextvars.get_contextvars()
        self._threads = [
            threading.Thread(target=self._work, args=(context,), name=f"{name}-{number}", daemon=True)
            for number in range(min(len(items), threads))
        ]

    def results(self, every: Callable[[], None] = lambda: None) -> Iterator[Done]:
        """Starts the threads and yields results; `every` is called a few times a second. Raises what ends the run."""
        for thread in self._threads:
            thread.start()
        working, patience = len(self._threads), 0.0
        ending: BaseException | None = None
        while working:
            try:
                done = self._done.get(timeout=0.25)
            except queue.Empty:
                every()
                if self._stop.is_set and ending is None:
                    ending = Stopped()
                    patience = time.monotonic() + STOP_PATIENCE_SECONDS
                if ending is not None and time.monotonic() > patience:
                    break
                continue
            if isinstance(done, _Over):
                working -= 1
            elif isinstance(done, BaseException):
                if ending is None:
                    ending, patience = done, time.monotonic() + STOP_PATIENCE_SECONDS
                    self._drain()
            else:
                yield done
        if ending is not None:
            raise ending

    def _drain(self) -> None:
        try:
            while True:
                self._todo.get_nowait()
        except queue.Empty:
            return

    def _work(self, context: dict[str, object]) -> None:
        structlog.contextvars.bind_contextvars(**context)
        try:
            while not self._stop.is_set:
                try:
                    item = self._todo.get_nowait()
                except queue.Empty:
                    return
                self._done.put(self._work_on(item))
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which raises it
            self._done.put(error)
        finally:
            self._done.put(_Over())
