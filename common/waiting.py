"""Waiting that can be stopped and always ends: a stop signal, deadlines, and growing pauses."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator


class Stopped(Exception):
    """The run was asked to stop (a signal). Whoever catches it cleans up and raises it again."""


# What a run hears as the wish that it end.
STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# How soon a wait notices a stop (seconds).
NOTICED_WITHIN = 0.1


class StopSignal:
    """Set once by a signal handler; everything that waits, waits on this.

    Without any lock: a handler runs in the middle of whatever the main thread was doing, and one that waits for a lock
    which the interrupted main thread holds (threading.Event's, for example) would never end.
    """

    def __init__(self) -> None:
        self._is_set = False
        self.signal_number: int | None = None
        self.breaks_off = False

    def set(self, signal_number: int) -> None:
        if self.signal_number is None:
            self.signal_number = signal_number
        self._is_set = True

    @contextlib.contextmanager
    def breaking_off(self) -> Iterator[None]:
        """For a block of the main thread that only asks and writes nothing: a signal raises Stopped wherever it is.

        Without this a question that a silent server does not answer would hold up the stop.
        """
        before, self.breaks_off = self.breaks_off, True
        try:
            self.check()
            yield
        finally:
            self.breaks_off = before

    def asking(self) -> contextlib.AbstractContextManager[None]:
        """For one question that changes nothing, from any thread: signals are the main thread's, the others go on."""
        if threading.current_thread() is threading.main_thread():
            return self.breaking_off()
        return contextlib.nullcontext()

    @property
    def is_set(self) -> bool:
        return self._is_set

    def check(self) -> None:
        """Raises Stopped when a stop was asked for."""
        if self._is_set:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Sleeps, and raises Stopped as soon as a stop is asked for."""
        ends_at = time.monotonic() + seconds
        self.check()
        while (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, NOTICED_WITHIN))
            self.check()


class Deadline:
    """A moment on the monotonic clock, so that a wall clock that jumps changes nothing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    @property
    def left_seconds(self) -> float:
        return self._at - time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.left_seconds <= 0

    def sooner(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one `seconds` from now."""
        return Deadline(min(seconds, max(0.0, self.left_seconds)))


FOREVER = Deadline(math.inf)


def growing_pauses(first: float, *, factor: float = 2.0, longest: float = 30.0) -> Iterator[float]:
    """Pauses in seconds: `first`, then `factor` times longer each time, up to `longest`."""
    pause = first
    while True:
        yield pause
        pause = min(longest, pause * factor)


def poll_pause(waited_seconds: float, *, shortest: float = 0.1, longest: float = 5.0) -> float:
    """How long to wait before asking again for something waited for since `waited_seconds`.

    A tenth of the time already waited: a short export is noticed within a tenth of its length, a long
    one costs the server a question every five seconds.
    """
    return min(longest, max(shortest, waited_seconds / 10))
