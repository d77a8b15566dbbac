"""A script while it still loads, before its frame listens: Ctrl+C, a library that is missing, a Python that is too old."""

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


MISSING = 'raise ModuleNotFoundError("No module named {0!r}", name={0!r})\n'


def started(tmp_path: Path, structlog: str, *command: str) -> subprocess.CompletedProcess[str]:
    """What becomes of a command where this stands in for the library."""
    (tmp_path / "structlog.py").write_text(structlog, encoding="utf-8")
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
    done = started(tmp_path, IMPATIENT, *command)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_another_program_that_imports_ours_keeps_its_own_way_of_being_interrupted(tmp_path: Path):
    program = tmp_path / "theirs.py"
    program.write_text("try:\n    import common.log\nexcept KeyboardInterrupt:\n    print('heard')\n", encoding="utf-8")
    done = started(tmp_path, IMPATIENT, str(program))
    assert (done.returncode, done.stdout) == (0, "heard\n")


@pytest.mark.parametrize(
    "command",
    [("backup.py",), ("downloader.py", "--mode", "datasets"), ("downloader.py", "--csv-file", "names.csv")],
    ids=lambda command: " ".join(command),
)
def test_without_its_libraries_a_script_says_in_two_lines_how_to_start_it(tmp_path: Path, command: tuple[str, ...]):
    done = started(tmp_path, MISSING.format("structlog.sub"), *command)
    assert done.returncode == 2
    why, remedy = done.stderr.splitlines()
    assert why.startswith(f"{command[0]}: this Python lacks the package structlog (")
    assert ".venv" in remedy and str(ROOT) in remedy


def test_a_module_of_ours_that_is_missing_is_a_fault_and_shown_as_one(tmp_path: Path):
    done = started(tmp_path, MISSING.format("common.gone"), "backup.py")
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: No module named 'common.gone'\n")


def test_another_program_without_the_libraries_gets_its_own_traceback(tmp_path: Path):
    program = tmp_path / "theirs.py"
    program.write_text("import common.log\n", encoding="utf-8")
    done = started(tmp_path, MISSING.format("structlog"), str(program))
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


@pytest.mark.parametrize("script", ["downloader.py", "backup.py"])
def test_a_python_that_is_too_old_is_told_so(tmp_path: Path, script: str):
    code = f"import runpy, sys; sys.version_info = (3, 9, 18); runpy.run_path({script!r}, run_name='__main__')"
    done = started(tmp_path, "", "-c", code)
    assert done.returncode == 2
    assert "Python 3.11 or later is needed" in done.stderr.splitlines()[0]
