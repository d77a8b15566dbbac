"""How the tests of --mode images start downloader.py, and how they look at what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ended import Ended

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Fetched(Ended):
    """A run that is over."""

    folder: Path

    @property
    def files(self) -> dict[str, bytes]:
        """What is in the output folder but our own files."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
            and path.relative_to(self.folder).parts[0] not in (".download", "logs", "download_state.json")
        }

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "download_state.json").read_text())
        return found

    @property
    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.folder / "logs").glob("download_*.log")))


@pytest.fixture
def processes() -> int:
    """How many processes fetch. A module that tries what differs between one and several has a fixture of its own."""
    return 2


@pytest.fixture
def through() -> list[str]:
    """The command that starts downloader.py, where a module needs one."""
    return []


@pytest.fixture
def before_it_starts() -> Callable[[], None] | None:
    """What the new process does first, where a module needs that."""
    return None


@pytest.fixture
def start(
    tmp_path: Path, processes: int, through: list[str], before_it_starts: Callable[[], None] | None
) -> Callable[..., subprocess.Popen[str]]:
    """Starts downloader.py as a process: `start(url, ["a.jpg"], "--verify", AWS_PROFILE="x")`.

    Names that are one text are its standard input.
    """

    def go(url: str, names: list[str] | Path | str, *flags: str, **environment: str) -> subprocess.Popen[str]:
        standard_input = tmp_path / "standard_input"
        standard_input.write_text(names if isinstance(names, str) else "")
        if isinstance(names, str):
            path = Path("-")
        elif isinstance(names, list):
            path = tmp_path / "names.csv"
            path.write_text("filename\n" + "".join(f'"{name}"\n' for name in names))
        else:
            path = names
        values = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "CVAT_ENV_DIR": str(tmp_path), "LOG_FORMAT": "json",
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "a secret of tests", "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true", "CVAT_IMAGES_MIN_FREE_GB": "0", "CVAT_IMAGES_PROCESSES": str(processes),
            **environment,
        }  # fmt: skip
        command = [
            *through, sys.executable, str(ROOT / "downloader.py"), "--csv-file", str(path), "--output-dir", str(tmp_path / "out"),
            "--bucket", "bkt", "--endpoint-url", url, *flags,
        ]  # fmt: skip
        with standard_input.open("rb") as given:
            return subprocess.Popen(
                command, env={name: value for name, value in values.items() if value}, cwd=tmp_path, text=True,
                stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=before_it_starts,
            )  # fmt: skip

    return go


@pytest.fixture
def download(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> Callable[..., Fetched]:
    """Runs it to its end, with --auto-confirm."""

    def go(url: str, names: list[str] | Path | str, *flags: str, **environment: str) -> Fetched:
        process = start(url, names, "--auto-confirm", *flags, **environment)
        return ended(process, tmp_path / "out")

    return go


def ended(process: subprocess.Popen[str], folder: Path) -> Fetched:
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    assert "This is a fault of the program" not in err, err
    assert "Traceback" not in err, err
    return Fetched(process.returncode, out, err, folder)
