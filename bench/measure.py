"""The sandbox as a process of its own, and programs run with their time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 300


@dataclass(frozen=True)
class Ran:
    """One run of a program. `peak_bytes` is the largest resident memory of its process."""

    seconds: float
    peak_bytes: int
    output: str


class Failed(Exception):
    """A program that was to be measured did not do its work."""


def run(command: Sequence[str | Path], **environment: str) -> Ran:
    """Runs a program to its end. Raises Failed when it ends with anything but 0."""
    os.sync()  # what an earlier program left to be written back is not this one's cost
    began = time.monotonic()
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise Failed(f"{command[0]} … ended with {process.returncode}:\n{output[-3000:]}")
    return Ran(seconds, usage.ru_maxrss * 1024, output)


def peak_of_all(command: Sequence[str | Path], **environment: str) -> int:
    """The most memory that a program and the processes it starts take together (bytes).

    Looked at every 20 ms, pages that several share counted once (PSS); that costs time, so such a run is not timed.
    """
    process = subprocess.Popen(
        [str(part) for part in command], cwd=ROOT, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(_memory_of(pid) for pid in _family(process.pid)))
        time.sleep(0.02)
    if process.returncode:
        raise Failed(f"{command[0]} … ended with {process.returncode}")
    return peak


def _family(pid: int) -> list[int]:
    try:
        threads = [entry.path for entry in os.scandir(f"/proc/{pid}/task")]
        children = [int(each) for thread in threads for each in Path(thread, "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(each for child in children for each in _family(child))]


def _memory_of(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class Sandbox:
    """A sandbox CVAT with its switches. Use as a context manager."""

    def __init__(self, folder: Path, samples: str, *, export_seconds: float, workers: int = 2) -> None:
        self.folder = folder
        self._ready_file = folder / "ready.json"
        self._command = [
            sys.executable, "-m", "sandbox", "cvat", "--port", "0", "--samples", samples, "--control",
            "--export-seconds", str(export_seconds), "--workers", str(workers), "--data", str(folder / "server"),
            "--anonymous-per-minute", "100000", "--ready-file", str(self._ready_file), "--exit-with-parent",
        ]  # fmt: skip
        self.url = self.username = self.password = ""

    def __enter__(self) -> Sandbox:
        self.folder.mkdir(parents=True)
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.DEVNULL)
        patience = time.monotonic() + START_SECONDS
        while not self._ready_file.exists():
            if self._process.poll() is not None or time.monotonic() > patience:
                self._process.kill()
                raise Failed("the sandbox did not start")
            time.sleep(0.05)
        facts = json.loads(self._ready_file.read_text())
        self.url, self.username, self.password = facts["url"], facts["username"], facts["password"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def project_ids(self) -> list[int]:
        return sorted(int(key) for key in self._call("GET", "world")["projects"])

    @property
    def job_ids(self) -> list[int]:
        return sorted(int(key) for key in self._call("GET", "world")["jobs"])

    def do(self, call: str, *args: Any) -> None:
        """Changes something on the server."""
        self._call("POST", "do", json.dumps({"call": call, "args": args}).encode())

    def do_from(self, body: Path) -> None:
        """The same, with a large body from a file."""
        with body.open("rb") as stream:
            self._call("POST", "do", stream, body.stat().st_size)

    def counting(self, action: Callable[[], Ran]) -> tuple[Ran, int]:
        """What the action gave, and how many requests reached the server meanwhile."""
        self._call("DELETE", "log")
        ran = action()
        return ran, len(self._call("GET", "log")["exchanges"])

    def _call(self, method: str, what: str, body: Any = None, length: int | None = None) -> Any:
        headers = {"Content-Type": "application/json"} | ({"Content-Length": str(length)} if length else {})
        request = urllib.request.Request(f"{self.url}/sandbox/{what}", data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)
