"""What runs add up to, and what counts as missed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from common.scheduling.book import Book, interrupted_runs
from common.scheduling.crontab import parse
from common.scheduling.record import JobRun, Standing, is_missed, outcome_of, standing_of
from common.text import iso

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def ended(outcome: str, at: datetime = NOW, job: str = "backup p", **more) -> JobRun:
    return JobRun(job, "line", ["backup.py"], "0a1b2c3d", outcome, 0, iso(at), iso(at), 0.0, "schedule", **more)


def entry(line: str):
    text = line if "@after" not in line else f"@startup backup.py --mode p\n{line}"
    return parse(text, {"backup.py", "sweeper.py"}, ZoneInfo("UTC")).entries[-1]


@pytest.mark.parametrize(
    ("code", "was_stopped", "outcome"),
    [
        (0, False, "good"), (0, True, "good"), (3, False, "some failed"), (11, False, "locked"), (1, False, "failed"),
        (2, False, "failed"), (12, False, "failed"), (143, False, "stopped"), (137, False, "failed"),
        (137, True, "stopped"), (3, True, "stopped"),
    ],
)  # fmt: skip
def test_what_an_exit_code_means(code, was_stopped, outcome):
    assert outcome_of(code, was_stopped=was_stopped) == outcome


def test_failures_are_counted_until_a_success_and_skips_are_no_failures():
    standing = Standing(ago(days=9))
    for outcome in ("good", "failed", "skipped", "locked", "stopped", "some failed", "not started"):
        standing.add(ended(outcome))
    assert (standing.failures_in_a_row, standing.skipped, standing.last_outcome) == (3, 1, "some failed")
    standing.add(ended("good", ago(hours=1)))
    assert standing.failures_in_a_row == 0 and standing.last_success_at == ago(hours=1)
    assert standing_of(json.loads(json.dumps(standing.as_json()))) == standing


def test_a_night_that_was_slept_through_is_missed_and_one_that_worked_is_not():
    nightly = entry("0 0 * * * backup.py --mode p")
    assert is_missed(nightly, Standing(ago(days=9), "good", ago(days=1), ago(days=1)), NOW)
    assert not is_missed(nightly, Standing(ago(days=9), "good", ago(hours=3), ago(hours=3)), NOW)
    assert is_missed(nightly, Standing(ago(days=9), "failed", ago(hours=3), ago(days=1)), NOW)


def test_a_backup_that_never_ran_is_wanted_at_once_anything_else_waits_for_its_time():
    fresh = Standing(NOW)
    assert is_missed(entry("0 0 * * 0 backup.py --mode p"), fresh, NOW)
    assert not is_missed(entry("0 0 * * 0 sweeper.py"), fresh, NOW)
    assert is_missed(entry("0 0 * * 0 sweeper.py"), Standing(ago(days=8)), NOW)


def test_a_follower_is_missed_when_what_it_waits_for_has_succeeded_since():
    after, partly = (
        entry('@after "backup.py --mode p" sweeper.py'),
        entry('@after-partly "backup.py --mode p" sweeper.py'),
    )
    night = Standing(ago(days=9), "some failed", ago(hours=1), ago(days=2), ago(hours=1))
    swept = Standing(ago(days=9), "good", ago(days=1), ago(days=1))
    assert not is_missed(after, swept, NOW, night)
    assert is_missed(partly, swept, NOW, night)
    assert not is_missed(partly, swept, NOW, None)


@pytest.mark.parametrize("last", ["some failed", "failed", "locked", "stopped"])
def test_a_follower_is_not_missed_after_a_night_that_was_not_all_good_though_one_before_was(last):
    after = entry('@after "backup.py --mode p" sweeper.py')
    swept = Standing(ago(days=9), "failed", ago(days=3), None)
    assert is_missed(after, swept, NOW, Standing(ago(days=9), "good", ago(days=2), ago(days=2)))
    assert not is_missed(after, swept, NOW, Standing(ago(days=9), last, ago(days=1), ago(days=2)))


@pytest.mark.parametrize("name", ["jobs.jsonl", "scheduler.json"])
def test_books_that_cannot_be_read_are_named_and_end_nothing(tmp_path, name, capsys):
    (tmp_path / name).mkdir()
    assert Book(tmp_path).read() == {}
    (tmp_path / name).rmdir()
    (tmp_path / name).write_text("[" * 200_000)
    assert Book(tmp_path).read() == {}


def test_books_survive_a_torn_line_a_lost_status_and_a_rotation(tmp_path, monkeypatch):
    monkeypatch.setattr("common.scheduling.book.LARGEST_BYTES", 500)
    book = Book(tmp_path)
    for number in range(8):
        book.add(ended("good" if number < 2 else "failed", ago(hours=8 - number), tail=("the end",)))
    with open(book.runs_path, "a") as file:
        file.write('{"version": 1, "job": "backup p", "outc')
    assert book.older_runs_path.exists()
    assert all("tail" in json.loads(line) for line in book.older_runs_path.read_text().splitlines())
    book.write_status({"jobs": [{"job": "backup p", **book.standing("backup p").as_json()}]})
    (again := Book(tmp_path)).read()
    assert again.standing("backup p") == book.standing("backup p")
    for content in ("", "[]", '{"jobs": 5}', '{"jobs": [5, {"job": []}]}', "\0"):
        book.status_path.write_text(content)
        (again := Book(tmp_path)).read()
        assert again.standing("backup p").failures_in_a_row > 0


def test_a_folder_that_cannot_be_written_to_ends_nothing(tmp_path):
    book = Book(tmp_path / "gone")
    book.add(ended("good"))
    book.write_status({})
    assert book.standing("backup p").last_outcome == "good"


def test_what_ran_when_the_daemon_was_killed_is_known_afterwards():
    job = {"job": "backup p", "line": "l", "command": ["backup.py"], "running_since": iso(ago(hours=2)), "run_id": "ab"}
    status = {"beat_at": iso(ago(hours=1)), "jobs": [{**job, "pid": 5}, {**job, "running_since": None}, "torn", {}]}
    [(run, pid)] = interrupted_runs(status)
    assert (run.outcome, run.exit_code, run.seconds, run.run_id, pid) == ("stopped", None, 3600.0, "ab", 5)
    assert interrupted_runs({}) == []


def test_a_first_backup_that_was_broken_off_goes_on_at_the_next_start_one_that_failed_waits_for_its_time():
    nightly = entry("0 0 * * * backup.py --mode p")
    assert is_missed(nightly, Standing(ago(hours=3), "stopped", ago(hours=1)), NOW)
    assert not is_missed(nightly, Standing(ago(hours=3), "failed", ago(hours=1)), NOW)
    assert not is_missed(nightly, Standing(ago(days=9), "stopped", ago(hours=1), ago(hours=2)), NOW)
