"""How many connections work at once: more while that helps, fewer when the server asks for it."""

from __future__ import annotations

import random
import threading
import time

# So many connections begin, in all processes together, and this many in each. More than the line or the processors need
# cost: measured on two cores, 16 took a tenth less processor time than 64 for small objects, a fifth less for large ones.
FIRST_WORKERS = 16
LEAST_FIRST = 4
# So many there may be while nothing has come yet: a server that does not answer is not to be stormed.
MOST_UNHEARD = 16
# Below this share of one processor our own work is not what holds things up.
BUSY = 0.75
# More connections must have brought so many times the speed, or they are the last for a while.
HELPS = 1.15
TRIED_AGAIN_AFTER_SECONDS = 3.0
LOOK_EVERY_SECONDS = 0.02
# What comes in gusts is measured for longer than one of them takes, as long as it does not grow.
PERIOD_SECONDS = 0.25
QUIET_AFTER_THROTTLE_SECONDS = 10.0
LONGEST_PAUSE_SECONDS = 20.0


class Pace:
    """Shared by all workers of a process. Times are of the monotonic clock.

    `share`: of how much of one processor this process can be sure, beside others like it; there are `processes` in all.
    """

    def __init__(self, most: int, share: float = 1.0, processes: int = 1) -> None:
        self._most = most
        self._busy = BUSY * share
        self._lock = threading.Lock()
        self.limit = min(most, max(LEAST_FIRST, FIRST_WORKERS // processes))
        self.throttled = 0
        self.retries = 0
        self.last_good = time.monotonic()
        self._given_up = 0
        self._throttled_at = -QUIET_AFTER_THROTTLE_SECONDS
        # Of what is measured now: since when, our processor time and the bytes then.
        self._period = (time.monotonic(), time.process_time(), 0)
        # When connections were last added, and the speed before that (bytes a second).
        self._grew = (-TRIED_AGAIN_AFTER_SECONDS, 0.0)

    @property
    def may_grow(self) -> bool:
        return self.limit < self._most

    def no_more_than(self, most: int) -> None:
        """More connections than that cannot be had."""
        with self._lock:
            self._most, self.limit = most, min(most, self.limit)

    def good(self) -> None:
        self.last_good = time.monotonic()
        self._given_up = 0

    def good_elsewhere(self, at: float) -> None:
        """Something came then, in another process: the server is not gone."""
        self.last_good = max(self.last_good, at)
        self._given_up = 0

    def gave_up(self) -> int:
        """A file has had all its attempts; gives how many have, one after the other, since something last came."""
        with self._lock:
            self._given_up += 1
            return self._given_up

    def trouble(self, attempt: int, *, throttled: bool) -> float:
        """Something transient happened at this attempt (1 for the first); gives how long to wait (seconds)."""
        with self._lock:
            self.retries += 1
            at = time.monotonic()
            if throttled:
                self.throttled += 1
                # One storm hits all connections at once: it halves them once.
                if at - self._throttled_at > 1:
                    self._throttled_at = at
                    self.limit = max(1, self.limit // 2)
        longest = min(LONGEST_PAUSE_SECONDS, 0.5 * 2.0 ** min(attempt - 1, 10))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter

    def look(self, bytes_done: int, *, more_to_do: bool) -> int:
        """Called many times a second: perhaps allows more connections. Gives how many are allowed.

        Where other programs use the processors, or the line is full, more connections bring nothing but switching.
        """
        at, cpu = time.monotonic(), time.process_time()
        since, cpu_then, bytes_then = self._period
        passed = at - since
        if passed < LOOK_EVERY_SECONDS:
            return self.limit
        busy, rate = (cpu - cpu_then) / passed, (bytes_done - bytes_then) / passed
        grew_at, rate_before = self._grew
        if bytes_done:
            helped = rate > HELPS * rate_before or at - grew_at > TRIED_AGAIN_AFTER_SECONDS
        else:
            helped = self.limit < MOST_UNHEARD
        with self._lock:
            quiet = at - self._throttled_at > QUIET_AFTER_THROTTLE_SECONDS
            if more_to_do and busy < self._busy and helped and quiet and self.limit < self._most:
                self.limit = min(self._most, self.limit * (4 if busy < self._busy / 3 else 2))
                self._grew = (at, rate)
                self._period = (at, cpu, bytes_done)
            elif passed > PERIOD_SECONDS:
                self._period = (at, cpu, bytes_done)
            return self.limit
