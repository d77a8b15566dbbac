"""The worker's side with the real FiftyOne and a server in memory: every case of cases_*.py, in one process."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

from environment import ROOT, fiftyone_environment

CASES = {
    node.name
    for path in sorted(Path(__file__).parent.glob("cases_*.py"))
    for node in ast.parse(path.read_text()).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
}
WITHIN_SECONDS = 600


def test_every_case_of_the_worker_ends_well(fiftyone_python: str, fiftyone_database: str, tmp_path: Path) -> None:
    # One test, so that two workers of pytest do not each run all cases.
    done = subprocess.run(
        [fiftyone_python, "-m", "tests.fiftyone.real.round_trips"],
        env=fiftyone_environment(fiftyone_database, tmp_path), cwd=ROOT, text=True, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=WITHIN_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    outcome: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    assert set(outcome) == CASES
    wrong = {case: reason for case, reason in outcome.items() if reason is not None}
    assert not wrong, "\n\n".join(f"{case}\n{reason}" for case, reason in wrong.items())
