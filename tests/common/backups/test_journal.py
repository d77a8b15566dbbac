"""runs.jsonl: every attempt, torn lines passed over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from common.backups import journal as journal_module
from common.backups.journal import Attempt, Journal, history
from common.lock import locked
from common.text import iso
from tests.common.making import a_source

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def an_attempt(outcome="saved", mode="p", hours_ago=1.0, **more):
    values = {"source": a_source(), "run_id": "r1", "bytes": 0} | more
    return Attempt(at=iso(NOW - timedelta(hours=hours_ago)), mode=mode, outcome=outcome, **values)


@given(
    st.lists(
        st.builds(
            Attempt, st.text(), st.text(), st.text(), st.builds(a_source, name=st.text(), id=st.integers(0)),
            st.just("failed"), st.text(), st.text(), st.integers(0), st.floats(0, 1e9),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_any_attempts_survive_being_written_and_read(tmp_path_factory, attempts):
    journal = Journal(tmp_path_factory.mktemp("journal"))
    for attempt in attempts:
        journal.add([attempt])
    assert list(journal.attempts()) == attempts


@given(st.integers(0, 400), st.binary(max_size=20))
def test_a_line_torn_by_a_crash_costs_no_other_line(tmp_path_factory, cut, garbage):
    journal = Journal(tmp_path_factory.mktemp("journal"))
    journal.add([an_attempt(run_id="first")])
    whole = journal.path.read_bytes()
    journal.add([an_attempt(run_id="torn")])
    torn = journal.path.read_bytes()[: len(whole) + cut]
    journal.path.write_bytes(torn + garbage.replace(b"\n", b""))
    journal.add([an_attempt(run_id="last")])
    ids = [attempt.run_id for attempt in journal.attempts()]
    assert ids[0] == "first" and ids[-1] == "last"
    assert set(ids) <= {"first", "torn", "last"}


def test_lines_that_are_no_attempts_are_passed_over(tmp_path):
    journal = Journal(tmp_path)
    journal.path.write_text('5\n[]\n{}\n{"source": 5}\n\n"x"\n')
    journal.add([an_attempt()])
    assert len(list(journal.attempts())) == 1


def test_adding_nothing_writes_nothing(tmp_path):
    Journal(tmp_path).add([])
    assert not Journal(tmp_path).path.exists()
    assert list(Journal(tmp_path).attempts()) == []


def test_a_large_journal_begins_anew_and_the_older_one_is_still_read(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.add([an_attempt(run_id="old")])
    journal.rotate()
    assert not journal.older_path.exists()
    monkeypatch.setattr(journal_module, "LARGEST_BYTES", 1)
    journal.rotate()
    journal.add([an_attempt(run_id="new")])
    assert [attempt.run_id for attempt in journal.attempts()] == ["old", "new"]
    with locked(tmp_path / ".lock-journal", "another mode"):
        journal.rotate()
    assert [attempt.run_id for attempt in journal.attempts()] == ["old", "new"]


def test_history_knows_who_was_put_off_and_who_succeeded(tmp_path):
    journal = Journal(tmp_path)
    one, two, three = (a_source(id=number) for number in (1, 2, 3))
    journal.add([
        an_attempt("saved", source=one, hours_ago=5),
        an_attempt("postponed", source=one, hours_ago=4),
        an_attempt("postponed", source=two, hours_ago=4),
        an_attempt("unchanged", source=two, hours_ago=3),
        an_attempt("postponed", source=three, mode="a", hours_ago=2),
        an_attempt("failed", source=three, hours_ago=1),
    ])  # fmt: skip
    found = history(journal, "p", NOW)
    assert found.postponed == {one.key}
    assert found.last_good == {one.key: iso(NOW - timedelta(hours=5)), two.key: iso(NOW - timedelta(hours=3))}
    assert history(journal, "a", NOW).postponed == {three.key}


def test_bytes_since_the_last_night_count_for_all_modes(tmp_path):
    journal = Journal(tmp_path)
    journal.add([
        an_attempt(bytes=1, hours_ago=21),
        an_attempt(bytes=10, hours_ago=19),
        an_attempt(bytes=100, mode="a"),
        an_attempt("failed", bytes=1000),
    ])  # fmt: skip
    assert history(journal, "p", NOW).bytes_in_window == 1110


def test_a_time_that_cannot_be_read_is_not_within_the_day(tmp_path):
    journal = Journal(tmp_path)
    journal.add([Attempt("yesterday", "r", "p", a_source(), "saved", bytes=5)])
    assert history(journal, "p", NOW).bytes_in_window == 0
