"""The daemon's signals: stop, reload, "a child has ended"; all of them wake the loop."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from types import FrameType

from common.waiting import StopSignal


class Signals:
    """Handlers only set flags. Use `take_over` once, in the main thread."""

    def __init__(self, stop: StopSignal) -> None:
        self.stop = stop
        self.is_impatient = False
        self._reload = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def take_over(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks for that
            signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        self.is_impatient = self.stop.is_set  # a second one ends the grace period
        self.stop.set(number)

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload = True

    def reload_wanted(self) -> bool:
        """Whether SIGHUP came since the last question."""
        wanted, self._reload = self._reload, False
        return wanted

    def wait(self, seconds: float) -> None:
        """Returns after so long, or as soon as a signal arrives."""
        select.select([self._read], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass
