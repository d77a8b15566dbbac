"""Side by side: one failure never stops the others, wrong credentials stop everything."""

from __future__ import annotations

import dataclasses

import pytest

from common.backups.record import Original, StoredFile
from common.cvat.errors import CredentialsRefused
from common.cvat.listing import inventory
from common.saving import crew as crew_module
from common.saving.choose import Candidate
from common.saving.crew import Crew, exported_bytes
from common.waiting import Stopped
from sandbox.cvat import Fault
from tests.common.making import a_record
from tests.common.saving.conftest import Silent


@pytest.fixture
def many(server, open_desk):
    """A desk and candidates of six projects."""
    for number in range(5):
        server.world.add_task(server.world.add_project(f"more {number}"), "task")
    desk = open_desk()
    return desk, [Candidate(state, "p", "new", None) for state in inventory(desk.client).states]


def test_everything_is_saved_and_every_watch_is_closed(many):
    desk, candidates = many
    watches = []

    def watch_for(_candidate):
        watches.append(Silent())
        return watches[-1]

    results = list(Crew(desk, candidates, watch_for).results())
    assert [result.outcome for result in results] == ["saved"] * 6
    assert len(watches) == 6 and all(watch.phases[-1] == "closed" for watch in watches)


def test_one_failure_does_not_stop_the_others(server, many):
    desk, candidates = many
    server.faults.add(Fault("POST /api/projects/3/backup/export", "fail", times=None))
    results = {str(each.candidate.state.source): each for each in Crew(desk, candidates, lambda _: Silent()).results()}
    assert results["project 3"].outcome == "failed" and results["project 3"].remedy
    assert [each.outcome for each in results.values()].count("saved") == 5


def test_a_surprise_in_one_save_is_that_items_failure(many, monkeypatch):
    desk, candidates = many

    def surprised(_desk, candidate, _watch):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(crew_module, "save_backup", surprised)
    for result in Crew(desk, candidates, lambda _: Silent()).results():
        assert result.outcome == "failed" and "unexpected ZeroDivisionError: oops" in result.reason


def test_what_ends_the_run_is_raised(many, monkeypatch):
    desk, candidates = many

    def refused(*_):
        raise CredentialsRefused("no")

    monkeypatch.setattr(crew_module, "save_backup", refused)
    with pytest.raises(CredentialsRefused):
        list(Crew(desk, candidates, lambda _: Silent()).results())


def test_a_stop_ends_the_crew_and_gives_what_was_finished(many):
    desk, candidates = many
    results = []
    with pytest.raises(Stopped):
        for result in Crew(desk, candidates, lambda _: Silent()).results():
            results.append(result)
            desk.stop.set(15)
    assert 1 <= len(results) < 6


def test_no_candidates_are_no_work(many):
    assert list(Crew(many[0], [], lambda _: Silent()).results()) == []


def test_the_days_limit_postpones_what_does_not_fit(server, many, open_desk):
    _, candidates = many
    desk = open_desk(limit_bytes=1, CVAT_BACKUP_CONCURRENCY="1")
    known = [dataclasses.replace(each, newest=a_record()) for each in candidates]
    outcomes = [result.outcome for result in Crew(desk, known, lambda _: Silent()).results()]
    assert outcomes.count("saved") == 1 and outcomes.count("postponed") == 5


def test_what_the_server_exported_is_counted_and_not_what_we_wrote():
    files = (StoredFile("backup", "a", 10, ""), StoredFile("left-out", "b", 5, ""), StoredFile("api", "c", 7, ""))
    assert exported_bytes(a_record(files=files)) == 10
    assert exported_bytes(a_record(files=files, original=Original(99, ""))) == 99
