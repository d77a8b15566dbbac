"""The status page answers at a glance, escapes what strangers wrote, and shows what there is to do."""

from __future__ import annotations

import re
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from common.health.page import headline, render
from tests.common.health.shelves import DAY, HOUR, NOW, Shelves, a_good_night


def title(shelves, now=NOW):
    return headline(shelves.snapshot(now)).text


def test_the_headline_answers_whether_everything_is_backed_up(shelves):
    assert title(shelves) == "The scheduler is not running"
    shelves.scheduler()
    assert title(shelves) == "Nothing is backed up yet"
    shelves.scheduler(running_since="2026-11-21T04:58:00Z")
    assert title(shelves) == "The first backup is under way"
    assert "running<small>for" in render(shelves.snapshot())
    first, second = a_good_night(shelves)
    found = headline(shelves.snapshot())
    assert (found.mood, found.text) == ("good", "Everything is backed up")
    assert found.lede == "All 2 sources on cvat.example.com were saved, or confirmed as unchanged, within 26 hours."
    shelves.list(first, second, shelves.source(3, name="new"))
    found = headline(shelves.snapshot())
    assert (found.mood, found.text) == ("bad", "1 of 3 sources is not backed up")
    assert "“new”" in found.lede
    assert title(shelves, NOW + HOUR) == "The scheduler is not running"


def test_a_source_whose_annotations_alone_are_missing_is_one_source(shelves):
    first, second = a_good_night(shelves)
    shelves.scheduler(("backup.py", "--mode", "p", "a"))
    shelves.list(first, second, mode="a")
    shelves.saved(second, NOW - HOUR, mode="a")
    assert title(shelves) == "1 of 2 sources is not backed up"
    assert "Annotations: no verified backup of it has ever been made" in render(shelves.snapshot())


def test_the_same_trouble_of_backup_and_annotations_is_said_once(shelves):
    first, second = a_good_night(shelves)
    shelves.scheduler(("backup.py", "--mode", "p", "a"))
    third = shelves.source(3)
    shelves.list(first, second, third)
    shelves.list(third, mode="a")
    assert render(shelves.snapshot()).count("Backup and annotations: no verified backup of it has ever been made") == 1


def test_a_row_tells_age_contents_size_and_drill(shelves):
    first, _ = a_good_night(shelves)
    shelves.backup(first, NOW - 3 * DAY)
    shelves.attempt(first, "unchanged", NOW - HOUR)
    shelves.drill(first, NOW - 4 * DAY, "bad")
    text = render(shelves.snapshot())
    row = re.sub(r"<[^>]+>", " ", text[text.index("Project 1") : text.index("Project 2")])
    for part in (
        "made 5 h ago, confirmed 1 h ago",
        "2 tasks, 5 shapes, 6 tracks, 4 tags",
        "1.0 kB",
        "2 kept",
        "drill bad",
        "4 d ago",
    ):
        assert part in row, part


def test_everything_of_strangers_is_escaped_and_cut(shelves):
    source = shelves.source(1, name="<b>&\u202e\x1b[31m" + "x" * 5000)
    shelves.scheduler()
    shelves.list(source)
    shelves.attempt(source, "failed", NOW - HOUR, reason="</td><script>" + "y" * 5000)
    shelves.ran("<i>", "failed", NOW, 1, ["</pre><script>" + "z" * 5000] * 100)
    text = render(shelves.snapshot(), '"><script>')
    assert "<script" not in text and "<b>&\u202e" not in text and "\x1b" not in text
    assert "x" * 200 not in text and "y" * 400 not in text and "z" * 300 not in text


def test_sources_that_nothing_asks_for_and_servers_that_were_retired_are_folded(tmp_path):
    old = Shelves(tmp_path, server="old.example.com")
    old.list(old.source(1), at=NOW - 90 * DAY)
    old.saved(old.source(1), NOW - 90 * DAY)
    shelves = Shelves(tmp_path)
    first, _ = a_good_night(shelves)
    shelves.list(first)
    text = render(shelves.snapshot())
    assert "1 source</b> that no backup asks for any more" in text
    assert "1 source</b> of a server that neither CVAT_URL nor the crontab names" in text
    assert headline(shelves.snapshot()).mood == "good"


def test_moments_are_told_in_the_daemons_time_zone(shelves):
    a_good_night(shelves)
    text = render(shelves.snapshot(), zone=ZoneInfo("Asia/Kolkata"))
    assert "Sat 21 Nov 2026, 10:30 IST" in text


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(seconds=20), "just now"),
        (timedelta(minutes=59), "59 min ago"),
        (30 * HOUR, "30 h ago"),
        (9 * DAY, "9 d ago"),
    ],
)
def test_ages_are_one_number(shelves, ago, said):
    shelves.scheduler(last_outcome="good", last_ended_at=(NOW - ago).isoformat())
    assert said in render(shelves.snapshot())


def test_the_last_errors_show_what_the_job_said(shelves):
    a_good_night(shelves)
    shelves.ran("backup p", "failed", NOW - 2 * HOUR, 1, ["CVAT refused the password", "Set CVAT_ACCESS_TOKEN."])
    shelves.ran("backup p", "good", NOW - HOUR)
    shelves.ran("sweeper", "skipped", NOW - HOUR, None)
    text = render(shelves.snapshot())
    assert "<b>backup p</b> failed, exit code 1" in text
    assert "CVAT refused the password\nSet CVAT_ACCESS_TOKEN." in text
    assert text.count("<pre>") == 1


def test_a_refused_crontab_is_told(shelves):
    a_good_night(shelves)
    path = shelves.state / "scheduler.json"
    path.write_text(path.read_text().replace('"problems": []', '"problems": ["line 3: 61 is no minute"]'))
    assert "the one before it is in force: line 3: 61 is no minute" in render(shelves.snapshot())
