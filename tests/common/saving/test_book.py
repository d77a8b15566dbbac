"""The books of a run are kept however it ends."""

from __future__ import annotations

import argparse
import json

import pytest

from common.backups.journal import Journal
from common.backups.listed import read_listed
from common.backups.store import Store
from common.exits import Exit, RunEnds, Trouble
from common.files import DiskFull
from common.run import Run
from common.saving.book import Book
from common.saving.desk import Result
from common.saving.plan import Plan
from common.saving.report import Tally
from common.waiting import Stopped, StopSignal
from tests.common.making import a_candidate, a_record, a_source, a_state


@pytest.fixture
def run(settings_for):
    return Run(settings_for("https://cvat.example.com"), argparse.Namespace(), StopSignal())


@pytest.fixture
def store(run):
    store = Store(run.settings.dir, "cvat.example.com")
    store.prepare()
    return store


@pytest.fixture
def plan():
    tally = Tally("p", 2)
    tally.note(a_state(a_source(id=1)), "unchanged", "unchanged since yesterday")
    return Plan([a_candidate(a_source(id=2))], {"p": tally})


def last_run(store, mode="p"):
    return json.loads((store.folder / f"last-run-{mode}.json").read_text())


def saved():
    return Result(a_candidate(a_source(id=2)), "saved", "new", "", a_record(a_source(id=2)), 5, 1.0)


def test_unchanged_sources_are_in_the_journal_at_once_and_the_others_as_soon_as_they_are_done(run, store, plan, capsys):
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        assert [attempt.outcome for attempt in Journal(store.folder).attempts()] == ["unchanged"]
        book.add(saved())
        assert [attempt.outcome for attempt in Journal(store.folder).attempts()] == ["unchanged", "saved"]
        assert book.finish() == Exit.ALL_GOOD
    assert last_run(store)["exit_code"] == 0 and last_run(store)["ended_because"] == "finished"
    assert "All good" in capsys.readouterr().out


def test_a_stopped_run_reports_what_it_has_and_its_signal(run, store, plan, capsys):
    run.stop.set(15)
    with pytest.raises(Stopped), Book(run, store, ["p"]) as book:
        book.begin(plan)
        raise Stopped
    assert last_run(store)["exit_code"] == 143 and last_run(store)["ended_because"] == "stopped by SIGTERM"
    assert "Stopped early: 1 not looked at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"), [(RunEnds("no rights", "", Exit.CREDENTIALS_REFUSED), 12), (ZeroDivisionError("oops"), 1)]
)
def test_a_run_that_ends_before_the_list_is_known_says_so(run, store, error, code):
    with pytest.raises(type(error)), Book(run, store, ["p", "a"]):
        raise error
    for mode in "pa":
        assert last_run(store, mode)["exit_code"] == code
        assert last_run(store, mode)["listed"] is None
        assert last_run(store, mode)["ended_because"] == str(error)


def test_a_last_run_file_that_cannot_be_written_does_not_hide_how_the_run_ended(run, store, plan, monkeypatch):
    def full(*_, **__):
        raise OSError("read-only file system")

    monkeypatch.setattr("common.saving.book.write_last_run", full)
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        book.add(saved())
        assert book.finish() == Exit.ALL_GOOD


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunEnds("no rights", "", Exit.CREDENTIALS_REFUSED), 12),
        (RunEnds("no way on"), 3),
        (Trouble("the server is away"), 3),
        (ZeroDivisionError("oops"), 3),
    ],
)
def test_a_run_that_ends_in_the_middle_reports_what_it_has(run, store, plan, capsys, error, code):
    with pytest.raises(type(error)), Book(run, store, ["p"]) as book:
        book.begin(plan)
        raise error
    assert run.exit_code == code == last_run(store)["exit_code"]
    assert f"Stopped early: 1 not looked at ({error})" in capsys.readouterr().out


def test_a_run_that_is_stopped_says_once_how_it_goes_on(run, store, plan, capsys):
    with pytest.raises(Stopped), Book(run, store, ["p"]) as book:
        book.begin(plan)
        raise Stopped
    assert capsys.readouterr().out.count("The next run goes on from here.") == 1
    assert run.when_stopped == ""


def test_a_run_that_ends_in_the_middle_with_nothing_has_its_own_code(run, store, capsys):
    with pytest.raises(RunEnds), Book(run, store, ["p"]) as book:
        book.begin(Plan([], {"p": Tally("p", 2)}))
        raise RunEnds("no way on")
    assert run.exit_code == 1
    assert "Stopped early: 2 not looked at" in capsys.readouterr().out


def test_a_journal_without_room_is_said_once_and_ends_nothing(run, store, plan, capsys, monkeypatch):
    def full(*_):
        raise DiskFull("no room left")

    monkeypatch.setattr(Journal, "add", full)
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        book.add(saved())
        assert book.finish() == Exit.ALL_GOOD
    assert last_run(store)["counts"]["saved"] == 1
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("journal_not_written") == 1


@pytest.mark.parametrize("error", [BrokenPipeError(32, "x"), Trouble("no room")])
def test_a_report_that_cannot_be_printed_changes_nothing(run, store, plan, monkeypatch, error):
    def refuse(*_, **__):
        assert last_run(store)["ended_because"] == "finished"  # written before
        raise error

    monkeypatch.setattr("common.saving.book.print_report", refuse)
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        book.add(saved())
        assert book.finish() == Exit.ALL_GOOD


def test_the_servers_list_is_kept_for_each_mode_with_what_is_saved_and_what_is_not(run, store, plan, capsys):
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        found = read_listed(store.folder / "listed-p.json")
        assert found is not None and found.run_id == run.id
        assert [source.key for source in found.sources] == [a_source(id=1).key, a_source(id=2).key]


def test_a_list_that_cannot_be_written_ends_no_run(run, store, plan, capsys):
    (store.folder / "listed-p.json").mkdir()
    with Book(run, store, ["p"]) as book:
        book.begin(plan)
        book.add(saved())
    assert last_run(store)["counts"]["saved"] == 1
