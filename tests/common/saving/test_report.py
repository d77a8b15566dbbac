"""What a run says at its end: sums that add up, and the right exit code."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import log
from common.exits import Exit, Trouble
from common.saving.desk import Result
from common.saving.report import OUTCOMES, Tally, exit_code, last_words, print_report, sum_text, write_last_run
from common.stdout import console
from common.text import now
from tests.common.making import a_candidate, a_record, a_source, a_state


def a_tally(*outcomes, mode="p", missing=0, excluded=0, **more):
    tally = Tally(mode, listed=len(outcomes) + missing + excluded, excluded=excluded)
    for number, outcome in enumerate(outcomes, 1):
        source = a_source(id=number, name=f"\x1b[31m[bold]project {number}")
        record = a_record(source, **more) if outcome == "saved" else None
        tally.add(Result(a_candidate(source), outcome, "the reason", "the remedy", record, 10, 1.5))
    return tally


@pytest.mark.parametrize(
    ("outcomes", "missing", "code"),
    [
        (["saved"], 0, Exit.ALL_GOOD),
        (["unchanged", "postponed", "without data", "gone"], 0, Exit.ALL_GOOD),
        ([], 0, Exit.ALL_GOOD),
        (["saved", "failed"], 0, Exit.SOME_FAILED),
        (["unchanged", "failed"], 0, Exit.SOME_FAILED),
        (["failed"], 0, Exit.NOTHING_WORKED),
        (["failed", "gone"], 0, Exit.NOTHING_WORKED),
        (["saved"], 1, Exit.SOME_FAILED),
        ([], 1, Exit.NOTHING_WORKED),
    ],
)
def test_the_exit_code_is_honest(outcomes, missing, code):
    assert exit_code([a_tally(*outcomes, missing=missing)]) == code


def test_an_incomplete_backup_is_called_that_among_what_was_saved(capsys, tmp_path):
    verified = replace(a_record().verified, result="incomplete")
    print_report([a_tally("saved", verified=verified, warnings=("a warning",))], tmp_path, 12.0)
    row = next(line for line in capsys.readouterr().out.splitlines() if "project 1" in line)
    assert "(INCOMPLETE)" in row and "with warnings" not in row


@given(st.lists(st.sampled_from(OUTCOMES)), st.integers(0, 3), st.integers(0, 3))
def test_every_listed_source_is_accounted_for(outcomes, missing, excluded):
    tally = a_tally(*outcomes, missing=missing, excluded=excluded)
    assert tally.missing == missing
    assert sum(tally.counts.values()) + missing == tally.listed
    left, right = sum_text(tally).split(" on the server = ")
    numbers = [int(part.split()[0]) for part in right.split(" + ")]
    assert sum(numbers) == tally.listed == int(left.split(": ")[1])


def test_the_report_names_every_failure_with_its_remedy_and_no_terminal_escapes(capsys, tmp_path):
    print_report([a_tally("saved", "failed", "gone", warnings=("a warning",))], tmp_path, 12.0)
    out = capsys.readouterr().out
    assert "FAILED" in out and "the reason" in out and "the remedy" in out and "a warning" in out
    assert "\x1b" not in out and "[bold]project 1" in out
    assert "1 item FAILED" in out


def test_a_servers_words_reach_terminal_journal_and_monitoring_on_one_line(capsys, tmp_path):
    tally = Tally("p", listed=3)
    evil = "\x1b[2J\r\nall good \x9b31m"
    line = tally.add(Result(a_candidate(), "failed", evil, evil))
    tally.refuse(a_state(), evil, "do this")
    tally.note(a_state(), "without data", evil)
    tally.warnings.append((None, evil))
    print_report([tally], tmp_path, 1)
    assert not set(capsys.readouterr().out) & set("\x1b\r\x9b")
    assert tally.attempt(line, "run").reason.isprintable()
    path = tmp_path / "last.json"
    write_last_run(path, tally=tally, mode="p", run_id="x", started_at=now(), code=1, server={}, why=evil)
    written = json.loads(path.read_text())
    texts = [*(text for each in written["failures"] for text in (each["reason"], each["what_to_do"]))]
    texts += [written["ended_because"], *(text for each in written["warnings"] for text in each["warnings"])]
    assert len(texts) == 6 and all(text.isprintable() for text in texts)


@pytest.mark.parametrize("columns", [40, 60])
def test_in_a_narrow_terminal_what_is_cut_says_so_and_no_column_is_lost(monkeypatch, capsys, tmp_path, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_report([a_tally("saved")], tmp_path, 1.0)
    heading, line = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).split("\n")[1:3]
    assert heading.startswith("saved ") and "size" in heading
    assert line.startswith("project 1 ") and line.endswith("…") and len(line) <= columns


def test_a_long_report_is_shortened_and_still_counts_everything(capsys, tmp_path):
    print_report([a_tally(*["saved"] * 200)], tmp_path, 1.0)
    out = capsys.readouterr().out
    assert "and 140 more" in out and "200 backups saved" in out


def test_good_is_only_said_when_it_is():
    assert "All good" in last_words([a_tally("saved")], "x", 1)[-1]
    for tally, stopped in ((a_tally("failed"), ""), (a_tally("postponed"), ""), (a_tally("saved", missing=1), ""),
                           (a_tally("saved"), "stopped by SIGTERM")):  # fmt: skip
        assert "All good" not in " ".join(last_words([tally], "x", 1, stopped=stopped))


def test_the_journals_line_says_what_happened():
    tally = a_tally("saved")
    attempt = tally.attempt(tally.lines[0], "r1")
    assert (attempt.outcome, attempt.mode, attempt.run_id, attempt.bytes, attempt.seconds) == (
        "saved",
        "p",
        "r1",
        10,
        1.5,
    )
    assert attempt.file == tally.lines[0].record.main_file.name
    noted = Tally("t", 1).note(a_state(), "unchanged", "why")
    assert Tally("t", 1).attempt(noted, "r").file == ""


@pytest.mark.parametrize("tally", [None, "some"])
def test_the_last_run_file_is_for_machines(tmp_path, tally):
    tally = a_tally("saved", "failed", warnings=("w",)) if tally else None
    path = tmp_path / "last-run-p.json"
    write_last_run(
        path, tally=tally, mode="p", run_id="r", started_at=now(), code=3, server={"url": "https://x"}, why="finished"
    )
    value = json.loads(path.read_text())
    assert (value["exit_code"], value["mode"], value["ended_because"]) == (3, "p", "finished")
    if tally:
        assert value["counts"]["saved"] == 1 and value["listed"] == 2 and value["saved_bytes"] == 5
        assert value["failures"][0]["reason"] == "the reason" and value["warnings"][0]["warnings"] == ["w"]
    else:
        assert value["listed"] is None and value["failures"] == []


def test_why_a_run_ended_early_stands_in_the_last_words():
    lines = last_words([a_tally("saved", missing=2)], "x", 1, stopped="The key was\x1b revoked.")
    assert lines[1] == "Stopped early: 2 not looked at (The key was revoked). The next run goes on from here."


def test_no_secret_is_in_the_report_the_journal_or_the_last_run_file(capsys, tmp_path):
    log.hide("geheim")
    tally = a_tally("saved", "unchanged", warnings=("geheim: a warning",))
    source = a_source(id=3)
    tally.add(Result(a_candidate(source), "failed", "the server said 'geheim'", "Not geheim."))
    tally.note(a_state(source), "unchanged", "geheim")
    path = tmp_path / "last-run-p.json"
    write_last_run(path, tally=tally, mode="p", run_id="r", started_at=now(), code=3, server={}, why="geheim is wrong")
    print_report([tally], tmp_path, 1.0, stopped="geheim is wrong")
    written = [path.read_text(), capsys.readouterr().out, *(tally.attempt(line, "r").reason for line in tally.lines)]
    assert "geheim" not in "".join(written)
    assert json.loads(written[0])["failures"][0]["reason"] == "the server said '********'"


@pytest.mark.parametrize(
    ("error", "raised"), [(BrokenPipeError(32, "x"), BrokenPipeError), (OSError(28, "x"), Trouble)]
)
def test_output_that_nobody_takes_is_an_error_that_can_be_caught(monkeypatch, error, raised):
    def refuse(_text):
        raise error

    monkeypatch.setattr(sys.stdout, "write", refuse)
    with pytest.raises(raised):
        console().print("text")
