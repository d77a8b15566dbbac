"""The example of FiftyOne's own API: what it says before FiftyOne is even imported. tests/fiftyone runs it for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "cvat_annotation_example.py"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], env={"PATH": os.environ["PATH"]} | environ,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("destroy",), ("create", "load"), ("--help",)])
def test_anything_but_one_known_step_shows_how_to_use_it(arguments: tuple[str, ...]):
    done = run(*arguments)
    assert done.returncode == 1
    for step in ("create", "load", "cleanup"):
        assert f"python examples/cvat_annotation_example.py {step}" in done.stdout
    assert "fiftyone_sync.py does the same steps without them" in done.stdout


def test_what_is_missing_is_named_instead_of_asked_for():
    done = run("create", FIFTYONE_CVAT_URL="http://cvat", FIFTYONE_CVAT_PASSWORD="")
    assert done.returncode == 1
    assert done.stderr.startswith("FIFTYONE_CVAT_USERNAME, FIFTYONE_CVAT_PASSWORD must be set")


def test_no_password_stands_in_it_and_no_browser_is_opened_unasked():
    text = EXAMPLE.read_text(encoding="utf-8")
    assert "\nLAUNCH_EDITOR = False" in text
    assert "password=" not in text
