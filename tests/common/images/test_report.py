"""What the analysis says before anything is fetched, and what its estimate takes from the run before."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from common.images.plan import Plan
from common.images.report import STATE_EVERY_SECONDS, Report, last_rate_in
from common.s3.bucket import Listed
from common.text import now

FACTS = {"bucket": "bkt", "where": "here", "prefix": "", "csv_file": "n.csv", "csv_column": "1"}


@pytest.mark.parametrize(
    ("count", "found", "again"),
    [
        (1, "1 archived: it fails unless it was restored", "1 changed since it was fetched"),
        (2, "2 archived: they fail unless they were restored", "2 changed since they were fetched"),
    ],
)
def test_one_and_many_have_words_of_their_own(tmp_path: Path, count: int, found: str, again: str):
    files = [f"{number}.jpg" for number in range(count)]
    with contextlib.closing(Plan("bkt", "")) as plan:
        plan.add_names(files)
        plan.add_objects([Listed(name, 1, "new", "GLACIER") for name in files])
        plan.match()
        plan.remember((name, name, "old", 1, True) for name in files)
        for name in files:
            (tmp_path / name).write_bytes(b"x")
        plan.compare(tmp_path, lambda path, md5: False)
        lines = Report(tmp_path, now(), "id", dict(FACTS)).analysis(plan, free_bytes=0)
    assert f"found          {count} ({found})" in lines
    assert any(line.endswith(f"({again})") for line in lines if line.startswith("to fetch"))


@pytest.mark.parametrize(
    ("state", "rate"),
    [
        ('{"last_rate": 500, "bytes": 0, "fetch_seconds": 0}', 500),
        ('{"bytes": 3000, "fetch_seconds": 1.5}', 2000),  # of an earlier version
        ('{"bytes": 3000, "fetch_seconds": 0.5}', 0),
        ('{"last_rate": -1}', 0),
        ('{"last_rate": Infinity}', 0),
        ('{"last_rate": NaN}', 0),
        ('{"last_rate": null}', 0),
        ("{}", 0),
        ("[]", 0),
        ("torn {", 0),
        ('{"last_rate": 1' + "0" * 400 + "}", 0),
        ("[" * 200_000, 0),
    ],
)
def test_the_speed_of_an_earlier_run_is_taken_from_its_state_whatever_that_holds(tmp_path, state, rate):
    (tmp_path / "download_state.json").write_text(state)
    assert last_rate_in(tmp_path / "download_state.json") == rate


def test_without_a_run_before_there_is_no_speed(tmp_path):
    assert last_rate_in(tmp_path / "download_state.json") == 0


def test_the_state_is_due_at_once_and_then_at_intervals(tmp_path, monkeypatch):
    at = [5.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    report = Report(tmp_path, now(), "id", dict(FACTS))
    due = []
    for at[0] in (5.0, 5.1, 5.0 + STATE_EVERY_SECONDS - 0.1, 5.0 + STATE_EVERY_SECONDS, 5.1 + STATE_EVERY_SECONDS):
        state = report.state_if_due()
        due.append(state is not None and state["status"] == "running")
    assert due == [True, False, False, True, False]
