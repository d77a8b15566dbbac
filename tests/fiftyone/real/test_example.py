"""examples/cvat_annotation_example.py, edited as a user edits it, over the sandbox."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment import RealFiftyOne, fiftyone_environment
from making import PRELUDE, Annotator, pictures

from sandbox.cvat import CvatSandbox

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "cvat_annotation_example.py"
MAKE = """
d = dataset_of(paths, name)
for s in d:
    s["ground_truth"] = boxes(("class1", [.1, .1, .2, .2]))
    s.save()
"""
LOOK = """
d = fo.load_dataset(name)
d.reload()  # another process has changed it
result = [d.list_annotation_runs(), sorted(len(labels or []) for labels in d.values("ground_truth.detections.label"))]
"""
Step = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def step(fiftyone: RealFiftyOne, server: CvatSandbox, tmp_path: Path, name: str) -> Step:
    """Runs one step of the example, through fiftyone_app.py as its text says, on a dataset of this test."""
    fiftyone.run(PRELUDE + MAKE, paths=pictures(tmp_path), name=name)
    edited = tmp_path / "example.py"
    edited.write_text(re.sub(r'^DATASET_NAME = "[^"]+"', f"DATASET_NAME = {name!r}", EXAMPLE.read_text(), flags=re.M))
    environ = fiftyone_environment(fiftyone.environment["FIFTYONE_DATABASE_URI"], tmp_path / "home")
    environ |= {"FIFTYONE_SYNC_PYTHON": fiftyone.python, "CVAT_URL": server.url, "CVAT_USERNAME": server.username}
    environ |= {"CVAT_PASSWORD": server.password, "CVAT_ENV_DIR": str(tmp_path)}

    def run(word: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "fiftyone_app.py"), "python", str(edited), word]
        return subprocess.run(
            command, env=environ | changes, capture_output=True, text=True, timeout=240, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    return run


def test_a_label_drawn_in_cvat_arrives_and_nothing_stays_behind(
    step: Step, server: CvatSandbox, fiftyone: RealFiftyOne, name: str
) -> None:
    def look() -> Any:
        return fiftyone.run(PRELUDE + LOOK, name=name)

    before = look()[1]
    done = step("create")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "my_annotation_run" in look()[0]
    assert len(server.world.tasks) == 1
    again = step("create")
    assert again.returncode == 1 and "my_annotation_run exists" in again.stderr
    annotator = Annotator(server)
    [job] = annotator.jobs()
    drawn = {"label": "class2", "type": "rectangle", "frame": 0, "points": [8.0, 12.0, 40.0, 60.0]}
    annotator.add("shapes", drawn, job=job)
    done = step("load")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(look()[1]) == sum(before) + 1
    done = step("cleanup")
    assert done.returncode == 0, done.stdout + done.stderr
    assert look() == [[], sorted(look()[1])] and not server.world.tasks


def test_a_create_that_fails_can_be_tried_again(step: Step, fiftyone: RealFiftyOne, name: str) -> None:
    refused = step("create", CVAT_PASSWORD="wrong")
    assert refused.returncode != 0 and "The record of the run is deleted" in refused.stdout
    assert fiftyone.run(PRELUDE + LOOK, name=name)[0] == []


def test_without_the_switch_it_says_what_is_missing(step: Step) -> None:
    done = step("create", CVAT_SYNC="false")
    assert done.returncode == 1 and "FIFTYONE_CVAT_URL, FIFTYONE_CVAT_USERNAME, FIFTYONE_CVAT_PASSWORD" in done.stderr
