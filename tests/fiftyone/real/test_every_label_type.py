"""The law of the round trip, case by case, with the real FiftyOne: one process runs all cases of cases_*.py."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from environment import ROOT, fiftyone_environment

HERE = Path(__file__).parent
CASES = [
    name for path in sorted(HERE.glob("cases_*.py")) for name in re.findall(r"^def (case_\w+)", path.read_text(), re.M)
]
PATIENCE_SECONDS = 900


@pytest.fixture(scope="module")
def outcome(fiftyone_python: str, fiftyone_database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """{case: None or what went wrong}."""
    environment = fiftyone_environment(fiftyone_database, tmp_path_factory.mktemp("home"))
    command = [fiftyone_python, "-m", "tests.fiftyone.real.round_trips"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_all_cases_were_run(outcome: dict[str, Any]) -> None:
    assert sorted(outcome) == sorted(CASES)


@pytest.mark.parametrize("case", CASES)
def test_the_law_holds(case: str, outcome: dict[str, Any]) -> None:
    assert outcome.get(case) is None, outcome[case]
