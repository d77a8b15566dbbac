"""fiftyone_sync.py against a played CVAT, with a played FiftyOne."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import fiftyone_sync
from sandbox.cvat import CvatSandbox

FAKE = Path(__file__).with_name("fake_fiftyone.py")


@dataclass
class Played:
    """The played FiftyOne: `plan` says what it does, `asked` what it was asked."""

    python: Path
    script: Path

    def plan(self, **plans: dict[str, Any]) -> None:
        self.script.write_text(json.dumps(plans))

    @property
    def asked(self) -> list[dict[str, Any]]:
        path = self.script.with_suffix(".asked")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def requests(self, what: str) -> list[dict[str, Any]]:
        return [each["request"] for each in self.asked if each["request"]["do"] == what]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
    python.chmod(0o755)
    found = Played(python, tmp_path / "fake.json")
    found.plan(create={"tasks": 2})
    monkeypatch.setenv("FAKE_FIFTYONE", str(found.script))
    return found


@pytest.fixture
def server(sandbox: Callable[..., CvatSandbox]) -> CvatSandbox:
    return sandbox()


@pytest.fixture
def sync(server: CvatSandbox, played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the script in this process: `sync("load", "--when", "completed")` is its exit code."""
    (tmp_path / "settings").mkdir()
    for name, value in {
        "CVAT_ENV_DIR": str(tmp_path / "settings"), "CVAT_URL": server.url, "CVAT_USERNAME": server.username,
        "CVAT_PASSWORD": server.password, "CVAT_STATE_DIR": str(tmp_path / "state"), "CVAT_SERVER_WAIT_SECONDS": "5",
        "FIFTYONE_SYNC_PYTHON": str(played.python), "FIFTYONE_SYNC_DATASET": "birds",
        "FIFTYONE_SYNC_ANNO_KEY": "round1", "FIFTYONE_SYNC_LABEL_FIELD": "gt",
        "FIFTYONE_SYNC_LABEL_TYPE": "detections", "FIFTYONE_SYNC_CLASSES": "cat", "LOG_FORMAT": "json",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("common.annotating.creating.LATE_SECONDS", 0.01)
    assert os.environ["FAKE_FIFTYONE"]
    return lambda *arguments: int(fiftyone_sync.main(list(arguments)))


def state(tmp_path: Path) -> dict[str, Any] | None:
    """run.json of the round that the tests make; None when there is none."""
    found = list((tmp_path / "state" / "fiftyone").glob("birds-*/round1-????????/run.json"))
    return json.loads(found[0].read_text()) if found else None
