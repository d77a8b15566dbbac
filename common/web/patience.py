"""How long a server that does not answer is waited for: once for all questions of a run, and never without an end."""

from __future__ import annotations

import re
import threading
import time

from common import log
from common.text import duration
from common.waiting import Deadline, growing_pauses
from common.web import errors

# A name that was never known is more likely misspelt than late.
UNKNOWN_HOST_SECONDS = 15
LONGEST_THROTTLE_SECONDS = 900
MOST_SERVER_ERRORS = 2


class UnknownHost(errors.NotConnected):
    """The name of the server has no address."""


class Silence:
    """Since when the server answers nobody: all questions share it, so that it is waited for once, not once each."""

    def __init__(self, longest_seconds: float, server: str = "the server") -> None:
        """`server` is what a person calls it: "CVAT at https://cvat.example.com"."""
        self.longest_seconds = longest_seconds
        self._server = server
        self._lock = threading.Lock()
        self._since: float | None = None
        self._ever_answered = False

    @property
    def is_too_long(self) -> bool:
        since = self._since
        return since is not None and time.monotonic() - since >= self.longest_seconds

    def end(self) -> None:
        with self._lock:
            self._since, self._ever_answered = None, True

    def left_seconds(self, error: errors.Unreachable) -> float:
        """How much longer the server is waited for after this failure."""
        longest = self.longest_seconds
        with self._lock:
            if isinstance(error, UnknownHost) and not self._ever_answered:
                longest = min(longest, UNKNOWN_HOST_SECONDS)
            if self._since is None:
                self._since = time.monotonic()
                log.get().warning(
                    "server_unreachable",
                    reason=str(error),
                    waiting_at_most=duration(longest),
                    sentence=self._told(error, longest),
                )
            return self._since + longest - time.monotonic()

    def _told(self, error: errors.Unreachable, longest_seconds: float) -> str:
        reason = re.sub(r"^[A-Z]+ \S+: ", "", str(error))  # not which question it was
        server = f"{self._server[:1].upper()}{self._server[1:]}"
        waiting = f" Trying for {duration(longest_seconds)}; Ctrl+C stops." if longest_seconds else ""
        return f"{server} cannot be reached ({reason}).{waiting}"


class Patience:
    """How long one question is repeated: a server that restarts or throttles is waited for, a refusal is final."""

    def __init__(self, deadline: Deadline, silence: Silence, *, patient: bool = True) -> None:
        self.deadline = deadline
        self._silence = silence
        self._patient = patient
        self._pauses = growing_pauses(0.5, longest=15)
        self._until: Deadline | None = None
        self._throttle_pauses = growing_pauses(0.5)
        self._throttled_until: Deadline | None = None
        self._server_errors = 0

    def pause_after(self, error: errors.WebError) -> float:
        """Seconds to wait before asking again. Raises `error` when asking again is of no use, or for too long already."""
        if isinstance(error, errors.Throttled):
            self._throttled_until = self._throttled_until or self.deadline.sooner(LONGEST_THROTTLE_SECONDS)
            # "Retry-After: 0" is no leave to ask without a pause.
            pause = max(error.retry_after_seconds, next(self._throttle_pauses))
            if pause > self._throttled_until.left_seconds:
                raise error
            log.get().warning("server_throttles", wait_seconds=pause)
            return pause
        if isinstance(error, errors.ServerError) and self._patient:
            # Some are hiccups of a busy server; one that stays is this item's failure.
            self._server_errors += 1
            if self._server_errors <= MOST_SERVER_ERRORS:
                return float(self._server_errors)
        if isinstance(error, errors.Unreachable) and self._patient:
            # Of its own too: others may be answered while this question never is.
            self._until = self._until or self.deadline.sooner(self._silence.longest_seconds)
            pause = next(self._pauses)
            if pause <= min(self._until.left_seconds, self._silence.left_seconds(error)):
                return pause
        raise error
