"""How many connections work at once: more while that helps, fewer when the server asks for it."""

from __future__ import annotations

import os
import random
import threading
import time

# So many connections begin, in all processes together, and this many in each. More than the line or the processors need
# cost: measured on two cores, 16 took a tenth less processor time than 64 for small objects, a fifth less for large ones.
FIRST_WORKERS = 16
LEAST_FIRST = 4
# Of large objects, which keep a connection at work for long. Measured over TLS: half as many take a tenth less time.
FIRST_FOR_LARGE = 8
# So many there may be while nothing has come yet: a server that does not answer is not to be stormed.
MOST_UNHEARD = 16
# Below this share of one processor our own work is not what holds things up.
BUSY = 0.75
# Where the processors have less than this share of their time to spare, for whatever reason, nothing brings more.
SPARE = 0.15
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
    `large`: the objects are, for the most part.
    """

    def __init__(self, most: int, share: float = 1.0, processes: int = 1, *, large: bool = False) -> None:
        self._most = most
        self._busy = BUSY * share
        self._lock = threading.Lock()
        first = FIRST_FOR_LARGE if large else FIRST_WORKERS
        self.limit = min(most, max(LEAST_FIRST, first // processes))
        self._most_unheard = self.limit if large else MOST_UNHEARD
        self._large = self._from_first_byte = large
        self.throttled = 0
        self.retries = 0
        self.last_good = time.monotonic()
        self._given_up = 0
        self._throttled_at = -QUIET_AFTER_THROTTLE_SECONDS
        # Of what is measured now: since when, our processor time, what all processors had to spare, and the bytes then.
        self._period = (time.monotonic(), time.process_time(), self._spare(), 0)
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
        if self._from_first_byte and bytes_done:
            # How long a large object was waited for says nothing about the speed it then comes with.
            self._from_first_byte = False
            self._period = (at, cpu, self._spare(), bytes_done)
        since, cpu_then, spare_then, bytes_then = self._period
        passed = at - since
        if passed < (PERIOD_SECONDS if self._large else LOOK_EVERY_SECONDS):
            return self.limit
        spare = self._spare()
        busy, rate = (cpu - cpu_then) / passed, (bytes_done - bytes_then) / passed
        has_spare = not self._large or spare - spare_then > SPARE * passed * (os.cpu_count() or 1)
        grew_at, rate_before = self._grew
        if bytes_done:
            helped = rate > HELPS * rate_before or at - grew_at > TRIED_AGAIN_AFTER_SECONDS
        else:
            helped = self.limit < self._most_unheard
        with self._lock:
            quiet = at - self._throttled_at > QUIET_AFTER_THROTTLE_SECONDS
            if more_to_do and busy < self._busy and has_spare and helped and quiet and self.limit < self._most:
                self.limit = min(self._most, self.limit * (4 if busy < self._busy / 3 else 2))
                self._grew = (at, rate)
                self._period = (at, cpu, spare, bytes_done)
            elif passed >= PERIOD_SECONDS:
                self._period = (at, cpu, spare, bytes_done)
            return self.limit

    def _spare(self) -> float:
        """For how long the machine's processors have had nothing to do, all together (seconds). Of use to large objects only."""
        if not self._large:
            return 0.0
        try:
            with open("/proc/stat", "rb") as figures:
                of_all = figures.readline().split()
            idle = int(of_all[4]) + int(of_all[5])  # and idle until a disk answers
        except (OSError, ValueError, IndexError):
            idle = 0
        if not idle:
            self._large = False  # it is not told here (gVisor, for example): then it does not count
        return idle / os.sysconf("SC_CLK_TCK")
