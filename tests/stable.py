"""Runs of backup.py without importing everything anew for each: a process imports once, then forks for every run.

What runs is the program itself in a process of its own, with its own environment, signals and exit code; only the
half second that Python takes to read the libraries is spared, and most of every pause. `python stable.py FD FOLDER`
is the process that forks.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

LARGEST_ORDER = 1 << 18
# Every pause of the program (polling, waiting for a server, trying again) is shortened to this part of it.
HURRY = 0.2


class Stable:
    """The process that imported the program of one folder."""

    def __init__(self, folder: Path) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), str(folder)], pass_fds=[theirs.fileno()]
            )
        self._lock = threading.Lock()

    def ask(self, order: dict[str, Any], descriptors: list[int] | None = None) -> Any:
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(order).encode()], descriptors or [])
            return json.loads(self._ours.recv(LARGEST_ORDER))

    def start(self, arguments: list[str], environment: dict[str, str], cwd: Path, script: str = "backup") -> Run:
        out, err = os.pipe(), os.pipe()
        try:
            order = {"script": script, "arguments": arguments, "environment": environment, "cwd": str(cwd)}
            return Run(self, self.ask(order, [out[1], err[1]]), out[0], err[0])
        finally:
            os.close(out[1])
            os.close(err[1])

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


class Run:
    """One run; what the tests use of subprocess.Popen."""

    def __init__(self, stable: Stable, pid: int, out: int, err: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._stable = stable
        self._polling = threading.Lock()
        self._texts: dict[int, str] = {}
        self._readers = [
            threading.Thread(target=self._read, args=(number, os.fdopen(fd)), daemon=True)
            for number, fd in enumerate((out, err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, number: int, stream: IO[str]) -> None:
        with stream:
            self._texts[number] = stream.read()

    def poll(self) -> int | None:
        # One at a time: a test's thread may kill the run that another waits for, and it can be reaped only once.
        with self._polling:
            if self.returncode is None:
                self.returncode = self._stable.ask({"reap": self.pid})
            return self.returncode

    def send_signal(self, number: int) -> None:
        with self._polling:
            if self.returncode is None:
                self.returncode = self._stable.ask({"reap": self.pid})
            if self.returncode is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.002
        while self.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("backup.py", timeout or 0)
            time.sleep(pause)
            pause = min(0.02, pause * 1.5)
        for reader in self._readers:
            reader.join(5)
        return self._texts.get(0, ""), self._texts.get(1, "")


def _serve(orders: socket.socket) -> None:
    scripts = {name: importlib.import_module(name) for name in ("backup", "restore", "downloader")}
    from common.restoring import annotations, imports
    from common.waiting import StopSignal

    # How long a server may still be at work on a request without an answer: the played one is not.
    imports.SETTLE_SECONDS, annotations.UNKNOWN_SECONDS = 2.0, 2.0
    plain_sleep = StopSignal.sleep
    StopSignal.sleep = lambda self, seconds: plain_sleep(self, seconds * HURRY)  # type: ignore[method-assign]
    while True:
        message, descriptors, _flags, _address = socket.recv_fds(orders, LARGEST_ORDER, 2)
        if not message:
            return
        order = json.loads(message)
        if "reap" in order:
            pid, status = os.waitpid(order["reap"], os.WNOHANG)
            orders.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
            continue
        pid = os.fork()
        if pid == 0:
            orders.close()
            for standard, descriptor in zip((1, 2), descriptors, strict=True):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the process ends
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            os.environ.clear()
            os.environ.update(order["environment"])
            os.chdir(order["cwd"])
            code: Any = 1
            try:
                code = scripts[order["script"]].main(order["arguments"])
            except SystemExit as ending:  # argparse
                code = ending.code
            scripts["backup"].leave(code if isinstance(code, int) else 0)
        for descriptor in descriptors:
            os.close(descriptor)
        orders.send(json.dumps(pid).encode())


if __name__ == "__main__":
    sys.path[:] = [sys.argv[2], *(path for path in sys.path if Path(path) != Path(__file__).parent)]
    with contextlib.suppress(KeyboardInterrupt), socket.socket(fileno=int(sys.argv[1])) as _orders:
        _serve(_orders)
