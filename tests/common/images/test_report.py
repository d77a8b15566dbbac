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


def analysis(tmp_path: Path, names: list[str], keys: list[str], *, lists: bool = True) -> dict[str, str]:
    """The lines of the analysis by their titles."""
    with contextlib.closing(Plan("bkt", "")) as plan:
        plan.add_names(names)
        plan.add_objects([Listed(key, 1, "e") for key in keys])
        plan.match()
        plan.compare(tmp_path, lambda path, md5: False)
        lines = Report(tmp_path, now(), "id", dict(FACTS)).analysis(plan, free_bytes=0, lists=lists)
    return {line[:14].strip(): line[15:] for line in lines}


def test_how_names_were_found_is_said_where_not_all_are_called_as_their_objects(tmp_path: Path):
    keys = ["x/a.jpg", "x/b.png", "x/c.jpg", "x/d.jpg"]
    assert analysis(tmp_path, ["x/a.jpg", "b.png"], keys)["found"] == "2"
    assert analysis(tmp_path, ["y/a.jpg", "b.jpg", "x/c.png", "d", "d.jpg"], keys)["found"] == (
        "5 (1 exactly, 1 by its file name in another folder, 2 with another extension, 1 by its name without extension: "
        "found_by in logs/files.csv; 1 means the file of another name)"
    )
    assert analysis(tmp_path, ["x/a.jpg", "y/b.png"], keys, lists=False)["found"] == (
        "2 (1 exactly, 1 by its file name in another folder)"
    )


def test_a_first_line_that_was_taken_for_a_title_is_said(tmp_path: Path):
    with contextlib.closing(Plan("bkt", "")) as plan:
        plan.add_names(["photo", "a.jpg"])
        plan.add_objects([Listed("a.jpg", 1, "e")])
        plan.match()
        assert plan.forget_title("photo")
        lines = Report(tmp_path, now(), "id", dict(FACTS)).analysis(plan, free_bytes=0)
    assert lines[1].endswith("1 name in n.csv (column photo, the first line 'photo' was taken for a title)")


def ended(tmp_path: Path, names: list[str], keys: list[str], prefix: str = "", here: int = 0, **facts: str) -> Report:
    """A report whose analysis is written; `here`: so many of the files lie there already."""
    report = Report(tmp_path, now(), "id", {**FACTS, "prefix": prefix, **facts})
    with contextlib.closing(Plan("bkt", prefix)) as plan:
        plan.add_names(names)
        plan.add_objects([Listed(prefix + key, 1, "e") for key in keys])
        plan.match()
        plan.count_todo()
        plan.counts.already = here
        report.analysis(plan, free_bytes=0)
    return report


@pytest.mark.parametrize(
    ("names", "here", "said"),
    [
        (["a"], 0, "1 name would come."),
        (["a", "b"], 0, "2 names would come."),
        (["a", "b", "c", "d", "n"], 1, "2 of 5 names would come or are here (1 file), 2 are missing, 1 is ambiguous."),
    ],
)
def test_a_dry_run_says_what_would_come(tmp_path: Path, names: list[str], here: int, said: str):
    report = ended(tmp_path, names, ["a", "b", "1/n", "2/n"], here=here)
    assert report.dry_words() == [f"Dry run: nothing was fetched. {said}"]


def test_where_no_name_fits_the_column_is_asked_about(tmp_path: Path):
    report = ended(tmp_path, ["car", "dog", "cat", "cow"], ["1.jpg", "2.jpg"], "x/", csv_column="label")
    assert (
        report.last_words(stopped=False)[-1] == "None of the 4 names (car, dog, cat, …) fits any of 2 objects under x/."
    )
    report.first_row = ("id", "filename", "label")
    line = "None of the 4 names (car, dog, cat, …) fits any of 2 objects under x/. Is column label the right one "
    line += "(--csv-column)? The first line has: id, filename, label."
    assert report.last_words(stopped=False)[-1] == report.dry_words()[0] == line
    assert not any(" All are in" in each or "not in the bucket" in each for each in report.last_words(stopped=False))
    assert "None of" not in " ".join(ended(tmp_path, ["car", "1"], ["1.jpg"]).last_words(stopped=False))


def test_speeds_and_times_that_say_nothing_are_left_out(tmp_path: Path):
    assert "time" not in analysis(tmp_path, ["a"], ["a"])
    report = ended(tmp_path, ["a"], ["a"])
    report.downloaded, report.bytes, report.seconds = 2, 10_000, 5.0
    assert (
        "(2.0 kB/s)" in report.last_words(stopped=False)[1]
        and f"All are in {tmp_path}" in report.last_words(stopped=False)[1]
    )
    report.downloaded = 10
    assert "(2.0 kB/s, 2 files/s)" in report.last_words(stopped=False)[1]


def test_names_that_would_become_one_image_are_missing_with_a_word(tmp_path: Path):
    lines = analysis(tmp_path, ["x/a.jpg", "y/a.jpg"], ["x/a.jpg"])
    assert lines["found"] == "1" and lines["missing"] == (
        "1 (1 is in another folder only, and another name means that file: reason in logs/files.csv): y/a.jpg; "
        "all in logs/missing.txt"
    )


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
