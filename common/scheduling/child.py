"""One run of one job as a child process: started, listened to, stopped, never left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common import log
from common.scheduling.crontab import Entry
from common.scheduling.relay import Listener, Output
from common.text import now
from common.waiting import Deadline

LAUNCHER = Path(__file__).with_name("launch.py")
# How long the last output of a job that has ended is waited for (seconds), and how long in one go: something that it
# left behind in a session of its own may hold its output open, and the other jobs must not wait for that.
LAST_OUTPUT_SECONDS = 5.0
LISTENING_SECONDS = 0.2


@dataclass(frozen=True)
class Order:
    """A run that is wanted: which line, and why now (schedule, startup, missed, after)."""

    entry: Entry
    because: str

    @property
    def job(self) -> str:
        return self.entry.job


class Child:
    """A job that runs, in a process group of its own."""

    def __init__(
        self, order: Order, run_id: str, scripts: Path, environment: Mapping[str, str], output: Output
    ) -> None:
        """Starts it. Raises OSError."""
        self.order = order
        self.run_id = run_id
        self.ping_id = str(uuid.uuid4())
        self.started_at: datetime = now()
        self.was_stopped = False
        self._output_until: Deadline | None = None
        script, *arguments = order.entry.command
        command = [sys.executable, str(scripts / script), *arguments]
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        try:
            with self._process.stdout as out, self._process.stderr as err:
                streams = {"stdout": os.dup(out.fileno())}
                try:
                    streams["stderr"] = os.dup(err.fileno())
                except OSError:
                    os.close(streams["stdout"])
                    raise
            self._listener = Listener(output, order.job, run_id, streams)
        except OSError:  # nobody can listen to it: it must not run unseen
            self.kill()
            self._process.wait()
            raise

    @property
    def job(self) -> str:
        return self.order.job

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and all that it said was heard."""
        if self._process.poll() is None:
            return False
        if self._output_until is None:
            self.kill()  # whatever it started and left
            self._output_until = Deadline(LAST_OUTPUT_SECONDS)
        return self._listener.finish(LISTENING_SECONDS) or self._output_until.is_over

    def stop(self) -> None:
        """Asks it to end (SIGTERM, to the whole group)."""
        self.was_stopped = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def finish(self) -> tuple[int, list[str]]:
        """The exit code (128 + n when a signal ended it) and the last lines of one that has ended."""
        code = self._process.wait()
        self.kill()
        self._listener.finish((self._output_until or Deadline(LAST_OUTPUT_SECONDS)).left_seconds)
        return (128 - code if code < 0 else code), list(self._listener.tail)


def reap_orphans(own: set[int]) -> int:
    """Process 1 inherits what others leave behind: buries those that have ended, none of our own; says how many."""
    buried = 0
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return buried
        if ended is None or ended.si_pid in own:
            return buried  # one of our own is at the head: it is asked for first, the others come with the next round
        with contextlib.suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)
            buried += 1
            log.get().debug("orphan_reaped", pid=ended.si_pid)
