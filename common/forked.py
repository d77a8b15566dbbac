"""A process forked from this one: deaf to signals, which are the run's to hear, and gone when the run is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

from common.waiting import STOPPING_SIGNALS, Deadline

_PR_SET_PDEATHSIG = 1


def can_fork() -> bool:
    """Whether such a process is safe here and now.

    Elsewhere than on Linux nothing would end it together with the run; of several threads only this one would live on
    in it, and what the others hold would never be free again.
    """
    return sys.platform == "linux" and threading.active_count() == 1


class Forked:
    """One such process. `link` is our end of the connection to it. To be made while this process has one thread only."""

    def __init__(self, body: Callable[[socket.socket], None]) -> None:
        """`body` is called in the new process with its end of the connection; when it returns, the process ends."""
        self.link, theirs = socket.socketpair()
        parent = os.getpid()
        self._status: int | None = None
        # Who starts us may have asked for SIGCHLD to be ignored; then the system keeps no exit code for waitpid().
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Until they are set up anew, a signal must not make the new process do what this one does then.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING_SIGNALS)
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _live(body, theirs, self.link, parent)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def end(self, patience: Deadline) -> int:
        """Waits until it has ended, kills it after that time; gives its exit code, -n for signal n."""
        while self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid and patience.is_over:
                os.kill(self.pid, signal.SIGKILL)
                pid, status = os.waitpid(self.pid, 0)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.002)
        return self._status

    def hang_up(self) -> None:
        """Tells it that nothing more will come."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_WR)


def _live(body: Callable[[socket.socket], None], link: socket.socket, other: socket.socket, parent: int) -> None:
    code = 1
    try:
        other.close()
        for each in STOPPING_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)
        _die_with(parent)
        body(link)
        code = 0
    finally:
        # Nothing of what the run would do at its end is ours to do. What is to be said of a fault, `body` has said.
        os._exit(code)


def _die_with(parent: int) -> None:
    """Has the system kill us when the run dies: it must not go on without its books, nor hold its lock."""
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
