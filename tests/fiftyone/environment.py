"""The real FiftyOne for tests: an environment of its own, a database of its own, and a process that imported it once."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venvs" / "fiftyone"
PINS = ("requirements-fiftyone.txt", "requirements-fiftyone-tests.txt")
DATABASE_SECONDS = 60.0
IMPORT_SECONDS = 180.0
SNIPPET_SECONDS = 120.0


def python_with_fiftyone() -> str:
    """The interpreter that has FiftyOne, or a skipped test.

    TEST_FIFTYONE_PYTHON names one. Without it `./run-tests.sh --all` makes .venvs/fiftyone, once: four minutes, 1 GB.
    """
    named = os.environ.get("TEST_FIFTYONE_PYTHON")
    if named:
        return named
    if not os.environ.get("CVAT_TESTS_ALL"):
        pytest.skip("the real FiftyOne: ./run-tests.sh --all installs it, or name a Python in TEST_FIFTYONE_PYTHON")
    there = VENV / "bin" / "python"
    stamp, wanted = VENV / "whole", "".join((ROOT / name).read_text() for name in PINS)
    VENV.parent.mkdir(exist_ok=True)
    # Tests run side by side: one makes it, the others wait until it is whole.
    with open(VENV.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True, timeout=120)
            for name in PINS:
                # fiftyone-db is built on the spot and looks for MongoDB in the net; without one it goes on without.
                command = [str(there), "-m", "pip", "install", "-q", "-r", str(ROOT / name)]
                subprocess.run(command, check=True, timeout=1200)
            stamp.write_text(wanted)
    return str(there)


def needs_ffmpeg() -> None:
    """FiftyOne reads the facts of videos with ffprobe; the tests make their clips with ffmpeg."""
    for program in ("ffmpeg", "ffprobe"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt-get install ffmpeg)")


@contextlib.contextmanager
def running_database(python: str, folder: Path) -> Iterator[str]:
    """The address of a mongod that lives in this folder and in this block."""
    command = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    packages = Path(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip())
    program = packages / "fiftyone" / "db" / "bin" / "mongod"
    if not program.exists():
        pytest.skip(f"the FiftyOne of {python} came without mongod (pip install -r requirements-fiftyone-tests.txt)")
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in range(3):  # between our looking for a free port and its taking it somebody else may have it
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with open(folder / f"mongod-{attempt}.log", "wb") as said:
            process = subprocess.Popen(
                [str(program), "--dbpath", str(folder), "--port", str(port), "--bind_ip", "127.0.0.1",
                 "--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", "0.25"],
                stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                preexec_fn=_end_with_parent,
            )  # fmt: skip
        try:
            if _listens(process, port):
                yield f"mongodb://127.0.0.1:{port}"
                return
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    raise AssertionError(f"mongod did not start; it says why in {folder}/mongod-*.log")


def _end_with_parent() -> None:
    """In the child: also when pytest is killed, no database stays behind (1: PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + DATABASE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.05)
    return False


def fiftyone_environment(database: str, home: Path) -> dict[str, str]:
    """The environment of a process with FiftyOne: nothing outside `home` is read or written."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FIFTYONE_", "CVAT_", "PYTEST"))}
    home.mkdir(parents=True, exist_ok=True)
    return kept | {
        "HOME": str(home),
        "FIFTYONE_DATABASE_URI": database,
        "FIFTYONE_DATABASE_DIR": str(home / "db"),
        "FIFTYONE_CONFIG_PATH": str(home / "config.json"),
        "FIFTYONE_DEFAULT_DATASET_DIR": str(home / "datasets"),
        "FIFTYONE_DATASET_ZOO_DIR": str(home / "zoo"),
        "FIFTYONE_MODEL_ZOO_DIR": str(home / "models"),
        "FIFTYONE_PLUGINS_DIR": str(home / "plugins"),
        "FIFTYONE_DO_NOT_TRACK": "true",
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "MPLCONFIGDIR": str(home / "matplotlib"),
    }


class SnippetFailed(Exception):
    """What a snippet raised: `kind` is the name of the exception, `text` its text, `said` what was logged before."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(f"{answer['error']}: {answer['text']}\n{answer['traceback']}")
        self.kind: str = answer["error"]
        self.text: str = answer["text"]
        self.said: str = answer["said"]


class RealFiftyOne:
    """A process that imported FiftyOne, and carries out snippets; `with` ends it."""

    def __init__(self, python: str, environment: dict[str, str], log: Path) -> None:
        self.python = python
        self.environment = environment
        self.said = ""
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self._answers = -1
        self._rest = b""

    def __enter__(self) -> RealFiftyOne:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, code: str, *, within_seconds: float = SNIPPET_SECONDS, **values: Any) -> Any:
        """What the snippet leaves in `result`; its variables are `values`. `said` is what FiftyOne logged.

        Raises SnippetFailed; TimeoutError after `within_seconds`, and the next snippet gets a new process.
        """
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        process.stdin.write(json.dumps({"code": code, "values": values}) + "\n")
        process.stdin.flush()
        answer = self._answer(within_seconds)
        self.said = answer["said"]
        if "error" in answer:
            raise SnippetFailed(answer)
        return answer["result"]

    def renew(self) -> None:
        """A new process: what FiftyOne keeps in the old one (credentials, results) is forgotten."""
        self._end()

    def _start(self) -> None:
        reading, writing = os.pipe()
        script = str(Path(__file__).with_name("snippets.py"))
        with open(self._log, "a") as said:
            self._process = subprocess.Popen(
                [self.python, "-P", script, str(writing)], stdin=subprocess.PIPE, stdout=said, stderr=said,
                env=self.environment, pass_fds=[writing], text=True, start_new_session=True,
            )  # fmt: skip
        os.close(writing)
        self._answers, self._rest = reading, b""
        self._answer(IMPORT_SECONDS)

    def _answer(self, within_seconds: float) -> dict[str, Any]:
        deadline = time.monotonic() + within_seconds
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(self._answers, 1 << 16) if ready else b""
            if not piece:
                self._end()
                why = "ended" if ready else f"did not answer within {within_seconds:.0f} s"
                raise TimeoutError(f"the process with FiftyOne {why}; {self._log} has what it said")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        os.close(self._answers)


@contextlib.contextmanager
def quick_python(python: str, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Stands in for the Python that has FiftyOne when a worker is started: see quick_worker.py."""
    script, place = Path(__file__).with_name("quick_worker.py"), folder / "forks"
    assert len(str(place)) < 100, "a socket's address has to be short"
    shim = folder / "python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{script}" "{place}" ask "$@"\n')
    shim.chmod(0o755)
    with open(folder / "forks.log", "wb") as said:
        process = subprocess.Popen(
            [python, "-P", str(script), str(place)], stdout=subprocess.PIPE, stderr=said, stdin=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], IMPORT_SECONDS)
        assert ready, f"no worker can be forked; {folder}/forks.log says why"
        assert process.stdout.readline() == b"ready\n", (folder / "forks.log").read_text()
        yield str(shim)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
