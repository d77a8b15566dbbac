"""A Python with datumaro, the independent reader of datasets: an environment of its own, made once for all tests."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venvs" / "datasets"


def python_with_datumaro() -> str:
    """This Python, or that of .venvs/datasets, which CVAT_TESTS_ALL=1 makes. Skips the test where there is none."""
    if importlib.util.find_spec("datumaro"):
        return sys.executable
    there, whole = VENV / "bin" / "python", VENV / "whole"
    if not whole.exists() and not os.environ.get("CVAT_TESTS_ALL"):
        pytest.skip(
            "datumaro is not installed (CVAT_TESTS_ALL=1 installs requirements-datasets.txt into .venvs/datasets)"
        )
    VENV.parent.mkdir(exist_ok=True)
    # Tests run side by side: one makes it, the others wait until it is whole.
    with open(VENV.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True, timeout=120)
            for name in ("requirements.txt", "requirements-datasets.txt"):
                command = [str(there), "-m", "pip", "install", "-q", "-r", str(ROOT / name)]
                subprocess.run(command, check=True, timeout=400)
            whole.touch()
    return str(there)
