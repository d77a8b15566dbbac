"""Healthy means: the scheduler lives, and everything on the server's last list is backed up. Everything else says why."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from common.backups.listed import Listed, write_listed
from common.health.scheduler_state import asked_for
from tests.common.health.shelves import DAY, HOUR, NOW, Shelves, a_good_night


def reasons(shelves, now=NOW):
    verdict = shelves.snapshot(now).verdict
    assert verdict.healthy == (not verdict.reasons)
    return list(verdict.reasons)


def test_everything_saved_last_night_is_healthy(shelves):
    a_good_night(shelves)
    verdict = shelves.snapshot().verdict
    assert verdict.healthy and (verdict.wanted, verdict.good, verdict.missed) == (2, 2, 0)


def test_a_confirmation_as_unchanged_is_as_good_as_a_backup(shelves):
    first, second = a_good_night(shelves)
    tomorrow = NOW + DAY
    shelves.scheduler(beat_at=tomorrow)
    for source in (first, second):
        shelves.attempt(source, "unchanged", tomorrow - 5 * HOUR)
    assert reasons(shelves, tomorrow) == []


def test_one_source_that_was_not_saved_for_too_long_is_named_with_its_reason(shelves):
    first, second = a_good_night(shelves)
    tomorrow = NOW + DAY
    shelves.scheduler(beat_at=tomorrow)
    shelves.attempt(first, "unchanged", tomorrow - 5 * HOUR)
    shelves.attempt(second, "failed", tomorrow - 5 * HOUR, reason="the export ended with an error")
    [reason] = reasons(shelves, tomorrow)
    assert "project 2 (Project 2): last saved or confirmed 1 d 5 h ago" in reason
    assert reason.endswith("its last attempt failed: the export ended with an error")


def test_a_failed_night_within_the_limit_is_still_healthy(shelves):
    first, _ = a_good_night(shelves)
    shelves.attempt(first, "failed", NOW - HOUR, reason="CVAT is being restarted")
    assert reasons(shelves) == []
    assert shelves.view(first).state == "failing"


def test_a_source_that_never_succeeded_counts_as_missed(shelves):
    first, second = a_good_night(shelves)
    third = shelves.source(3, name="new one")
    shelves.list(first, second, third)
    assert reasons(shelves) == ["project 3 (new one): no verified backup of it has ever been made"]
    shelves.attempt(third, "postponed", NOW - HOUR, reason="CVAT_BACKUP_MAX_GB_PER_DAY is used up")
    assert "was postponed: CVAT_BACKUP_MAX_GB_PER_DAY is used up" in reasons(shelves)[0]


def test_a_source_that_left_the_list_before_it_ever_succeeded_does_not_count_for_ever(shelves):
    first, second = a_good_night(shelves)
    shelves.attempt(shelves.source(3), "failed", NOW - 5 * HOUR)
    assert reasons(shelves) == []
    shelves.list(first)  # and of one that was deleted after many backups, they are shown and not asked for
    assert reasons(shelves) == []
    assert shelves.view(second).state == "unasked"


def test_a_source_without_data_and_one_that_was_deleted_meanwhile_are_not_missed(shelves):
    first, second = a_good_night(shelves)
    third, fourth = shelves.source(3, kind="task"), shelves.source(4)
    shelves.list(first, second, third, fourth)
    shelves.attempt(third, "without data", NOW - 5 * HOUR)
    shelves.attempt(fourth, "gone", NOW - 5 * HOUR)
    verdict = shelves.snapshot().verdict
    assert verdict.healthy and verdict.without_data == 1


def test_a_backup_that_went_bad_is_none_at_once(shelves):
    first, _ = a_good_night(shelves)
    shelves.backup(first, NOW - 3 * DAY)
    assert reasons(shelves) == []
    [path] = shelves.folder.glob("project-1-*/*20261121T000000Z.zip")
    path.with_name(f"{path.name}.bad.json").write_text('{"reason": "a byte has changed"}')
    [reason] = reasons(shelves)
    assert "project 1 (Project 1): its newest backup does not count: it went bad: a byte has changed" in reason
    assert shelves.view(first).newest.at == NOW - 3 * DAY


def test_backups_that_vanished_from_the_disk_are_missed_whatever_the_journal_says(shelves):
    a_good_night(shelves)
    for path in shelves.folder.glob("project-1-*/*"):
        path.unlink()
    assert reasons(shelves) == ["project 1 (Project 1): no backup of it lies on the disk any more"]


def test_a_file_that_was_cut_short_in_place_is_noticed_within_the_hour(shelves):
    a_good_night(shelves)
    assert reasons(shelves) == []
    [path] = shelves.folder.glob("project-1-*/*.zip")
    path.write_bytes(b"short")
    shelves.scheduler(beat_at=NOW + HOUR)
    assert "has 5 bytes instead of 1,000" in reasons(shelves, NOW + HOUR)[0]


def test_an_incomplete_archive_is_no_backup(shelves):
    first, _ = a_good_night(shelves)
    third = shelves.source(3)
    shelves.list(first, third)
    shelves.backup(third, NOW - HOUR, result="incomplete")
    shelves.attempt(third, "failed", NOW - HOUR, reason="it lacks a frame")
    assert (
        "no verified backup of it has ever been made; its last attempt failed: it lacks a frame" in reasons(shelves)[0]
    )


def test_backups_whose_journal_is_lost_still_count(shelves):
    a_good_night(shelves)
    (shelves.folder / "runs.jsonl").unlink()
    assert reasons(shelves) == []


def test_a_backup_dated_in_the_future_is_not_believed(shelves):
    first, _ = a_good_night(shelves)
    shelves.saved(first, NOW + 3 * DAY)
    assert "dated in the future" in reasons(shelves)[0]


# --- the daemon ---------------------------------------------------------------------------------------------------------


def test_without_a_scheduler_nothing_is_healthy(shelves):
    a_good_night(shelves)
    (shelves.state / "scheduler.json").unlink()
    assert reasons(shelves) == ["the scheduler is not running: it has left no sign of life"]


def test_a_scheduler_that_is_stuck_is_not_healthy(shelves):
    a_good_night(shelves)
    shelves.scheduler(beat_at=NOW - timedelta(minutes=2, seconds=50))
    assert reasons(shelves) == []
    shelves.scheduler(beat_at=NOW - timedelta(minutes=4))
    assert reasons(shelves) == ["the scheduler does not live: its last sign of life is 4 min old"]


def test_a_daemon_that_was_just_started_says_when_its_first_backup_is_due_and_that_it_is_under_way(shelves):
    shelves.scheduler()
    assert reasons(shelves) == ["backup.py --mode p has not listed cvat.example.com yet: its first run is due in 19 h"]
    assert shelves.snapshot().verdict.is_new
    shelves.scheduler(running_since="2026-11-21T04:59:00Z")
    assert reasons(shelves) == ["backup.py --mode p has not listed cvat.example.com yet: its first run is under way"]


def test_a_first_run_that_never_reached_the_list_says_why(shelves):
    shelves.scheduler()
    shelves.last_run("p", "CVAT refused the credentials")
    assert reasons(shelves) == [
        "backup.py --mode p has not listed cvat.example.com yet: its last run broke off (CVAT refused the credentials)"
    ]


def test_why_the_last_run_broke_off_stands_above_the_sources_that_miss_it(shelves):
    a_good_night(shelves)
    shelves.last_run("p", "the server does not answer")
    assert reasons(shelves) == []
    later = NOW + 2 * DAY
    shelves.scheduler(beat_at=later)
    found = reasons(shelves, later)
    assert found[0] == "the last run of backup.py --mode p on cvat.example.com broke off: the server does not answer"
    assert len(found) == 3


def test_a_list_without_any_source_is_not_healthy(shelves):
    shelves.scheduler()
    shelves.list()
    assert reasons(shelves) == ["the server's last list holds no source: there is nothing to back up"]


def test_a_thousand_reasons_are_fifty_and_a_number(shelves):
    shelves.scheduler()
    shelves.list(*(shelves.source(number) for number in range(1, 1001)))
    verdict = shelves.snapshot().verdict
    assert (len(verdict.reasons), verdict.more_reasons, verdict.missed) == (50, 950, 1000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_a_reason(shelves):
    a_good_night(shelves)
    shelves.folder.chmod(0)
    try:
        assert "cannot be read" in reasons(shelves)[0]
    finally:
        shelves.folder.chmod(0o755)


# --- modes and servers -----------------------------------------------------------------------------------------------------


def test_annotations_count_when_the_crontab_runs_them(shelves):
    first, second = a_good_night(shelves)
    shelves.scheduler(("backup.py", "--mode", "p"), ("backup.py", "--mode", "a"))
    assert "backup.py --mode a has not listed" in reasons(shelves)[0]
    shelves.list(first, second, mode="a")
    assert [reason.split(":")[0] for reason in reasons(shelves)] == [
        "annotations of project 1 (Project 1)",
        "annotations of project 2 (Project 2)",
    ]
    for source in (first, second):
        shelves.saved(source, NOW - HOUR, mode="a")
    assert reasons(shelves) == []


def test_a_mode_that_was_once_run_by_hand_does_not_count_for_ever(shelves):
    first, _ = a_good_night(shelves)
    shelves.list(first, mode="a", at=NOW - 90 * DAY)
    shelves.saved(first, NOW - 90 * DAY, mode="a")
    assert reasons(shelves) == []


def test_a_server_that_was_retired_is_shown_and_not_judged(tmp_path):
    old = Shelves(tmp_path, server="old.example.com")
    old.list(old.source(1), at=NOW - 90 * DAY)
    old.saved(old.source(1), NOW - 90 * DAY)
    shelves = Shelves(tmp_path)
    a_good_night(shelves)
    snapshot = shelves.snapshot()
    assert snapshot.verdict.healthy
    assert [(server.server, server.judged) for server in snapshot.servers] == [
        ("cvat.example.com", True), ("old.example.com", False),
    ]  # fmt: skip


def test_a_server_that_a_line_of_the_crontab_names_is_judged_too(tmp_path):
    shelves = Shelves(tmp_path)
    a_good_night(shelves)
    shelves.scheduler(("backup.py",), ("backup.py", "--mode", "p", "--url", "https://other.example.com/"))
    assert reasons(shelves)[0].startswith("backup.py --mode p has not listed other.example.com yet")


def test_without_any_address_all_servers_that_were_listed_are_judged(shelves):
    a_good_night(shelves)
    assert shelves.new_look(url="").look(NOW).verdict.healthy
    assert not shelves.new_look(url="https://elsewhere.example.com").look(NOW).verdict.healthy


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        ("backup.py", {"own": {"p"}}),
        ("/usr/bin/python3 /app/backup.py --mode p a", {"own": {"p", "a"}}),
        ("backup.py --mode=p,a --force", {"own": {"p", "a"}}),
        ("backup.py --mode p --dry-run", {}),
        ("backup.py --list", {}),
        ("backup.py --mode a --url=cvat.example.org/projects", {"cvat.example.org": {"a"}}),
        ("backup.py --mode p --url http://user:word@host", {}),
        ("sweeper.py --mode p", {}),
        ("backup.py --mode", {}),
    ],
)
def test_what_a_line_of_the_crontab_asks_for(command, asked):
    assert asked_for([command.split()], "own") == asked


# --- what must not pass for healthy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["without data", "gone"])
def test_that_there_was_nothing_to_save_does_not_count_for_ever(shelves, outcome):
    shelves.scheduler()
    task = shelves.source(3, kind="task")
    shelves.list(task)
    shelves.attempt(task, outcome, NOW - 5 * HOUR)
    assert reasons(shelves) == []
    later = NOW + 9 * DAY  # no run has come as far as a list since
    shelves.scheduler(beat_at=later)
    [reason] = reasons(shelves, later)
    assert "9 d 5 h ago; nobody has looked since" in reason
    verdict = shelves.snapshot(later).verdict
    assert (verdict.wanted, verdict.good, verdict.missed, verdict.without_data) == (1, 0, 1, 0)


def test_a_shard_that_never_listed_anything_is_missing_and_of_an_earlier_division_nothing_is(shelves):
    shelves.scheduler(("backup.py", "--mode", "p", "--shard", "0/3"))
    shelves.folder.mkdir(exist_ok=True)

    def listed(shard, *sources):
        path = shelves.folder / f"listed-p.{shard.replace('/', 'of')}.json"
        write_listed(path, Listed(shelves.server, "p", NOW - 5 * HOUR, "abcd", shard, sources))
        for source in sources:
            shelves.saved(source, NOW - 5 * HOUR)

    listed("0/3", shelves.source(3))
    listed("2/3", shelves.source(2))
    assert reasons(shelves) == [
        "backup.py --mode p --shard 1/3 has not listed cvat.example.com yet: nobody saves its part"
    ]
    listed("1/3")
    assert reasons(shelves) == []
    shelves.list(shelves.source(3), at=NOW - HOUR)
    assert reasons(shelves) == []
