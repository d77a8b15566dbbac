"""The real scheduler.py in a process of its own, with small scripts in the place of ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import wait_until

from common.settings import ROOT

PATIENCE_SECONDS = 60.0
# Does what its arguments say, and makes a file `NAME.began` with its process id first.
PLAYED = """
import json, os, pathlib, signal, subprocess, sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "--name" in arguments:
    began = pathlib.Path(arguments["--name"] + ".began")
    began.with_suffix(".tmp").write_text(str(os.getpid())); began.with_suffix(".tmp").rename(began)
if "--deaf" in arguments:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "--say" in arguments:
    print(arguments["--say"])
    print(json.dumps({"event": "said", "level": "warning", "what": arguments["--say"]}), file=sys.stderr)
if "--env" in arguments:
    print("ENV", os.environ.get(arguments["--env"]))
if "--leave" in arguments:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    pathlib.Path(arguments["--leave"]).write_text(str(child.pid))
while "--until" in arguments and not os.path.exists(arguments["--until"]):
    time.sleep(0.02)
sys.exit(int(arguments.get("--exit", 0)))
"""


class Scheduler:
    """One folder with crontab, state and played scripts, in which scheduler.py is started and stopped."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program, self.folder = program, folder
        self.crontab, self.state = folder / "crontab", folder / "state"
        self.environment = {
            "PATH": os.environ.get("PATH", ""), "LOG_FORMAT": "json", "CVAT_HEALTH_PORT": "0", "TZ": "UTC",
            "CVAT_BACKUP_DIR": str(folder / "backups"), "CVAT_CRONTAB": str(self.crontab),
            "CVAT_STATE_DIR": str(self.state), "CVAT_SCHEDULE_CATCH_UP": "false",
        }  # fmt: skip
        self.process: subprocess.Popen[str] | None = None
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers: list[threading.Thread] = []

    def start(self, crontab: str | None = None, *arguments: str, prefix: tuple[str, ...] = (), **changes: str) -> None:
        if crontab is not None:
            self.crontab.write_text(crontab)
        self.out, self.err = [], []
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(self.program / "scheduler.py"), *arguments],
            cwd=self.folder, env={**self.environment, **changes}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self._readers = [
            threading.Thread(
                target=lambda stream=stream, into=into: into.extend(iter(stream.readline, "")), daemon=True
            )
            for stream, into in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def end(self) -> int:
        assert self.process is not None
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return code

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def until(self, true: Any, what: str) -> None:
        try:
            wait_until(true, what, PATIENCE_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{''.join(self.out)}\n{''.join(self.err)}") from None

    def began(self, name: str) -> int:
        """Waits until the played script of that name runs; its process id."""
        path = self.folder / f"{name}.began"
        self.until(path.exists, f"{name} begins")
        return int(path.read_text())

    @property
    def runs(self) -> list[dict[str, Any]]:
        path = self.state / "jobs.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(run["job"].split(" ")[0], run["outcome"]) for run in self.runs]

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "scheduler.json").read_text())
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in list(self.err) if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scheduler-program")
    shutil.copy(ROOT / "scheduler.py", folder)
    shutil.copytree(ROOT / "common", folder / "common", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("backup.py", "sweeper.py", "restore.py"):
        (folder / name).write_text(PLAYED)
    return folder


@pytest.fixture
def scheduler(program: Path, tmp_path: Path) -> Iterator[Scheduler]:
    made = Scheduler(program, tmp_path)
    yield made
    made.kill()
    for path in (*tmp_path.glob("*.began"), *tmp_path.glob("*.pid")):
        with contextlib.suppress(ProcessLookupError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
