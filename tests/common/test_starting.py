"""Ctrl+C while a script still loads, before its frame listens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Stands in for a library that every script loads, at the moment the person at the keyboard changes their mind.
IMPATIENT = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n"


def interrupted(tmp_path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "structlog.py").write_text(IMPATIENT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "command",
    [
        ("backup.py", "--mode", "p"),
        ("sweeper.py",),
        ("restore.py", "--list"),
        ("downloader.py", "--mode", "datasets"),
        ("downloader.py", "--csv-file", "names.csv"),
        ("sc_migrate.py", "list"),
        ("fiftyone_sync.py", "status"),
        ("scheduler.py",),
    ],
    ids=lambda command: " ".join(command),
)
def test_a_script_interrupted_while_it_loads_just_ends(tmp_path: Path, command: tuple[str, ...]):
    done = interrupted(tmp_path, *command)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_another_program_that_imports_ours_keeps_its_own_way_of_being_interrupted(tmp_path: Path):
    program = tmp_path / "theirs.py"
    program.write_text("try:\n    import common.log\nexcept KeyboardInterrupt:\n    print('heard')\n", encoding="utf-8")
    done = interrupted(tmp_path, str(program))
    assert (done.returncode, done.stdout) == (0, "heard\n")
