"""Thirty nights, from noon to noon, and what each of them shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from common.health.nights import SHOWN, mark_after, night_date, night_of, night_of_text, strip
from common.health.plots import columns, dashes, strip_words
from common.health.watch import Watch
from tests.common.health.shelves import DAY, HOUR, NOW

TONIGHT = night_of(NOW, UTC)


def test_a_run_around_midnight_lies_in_one_night():
    evening = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
    assert night_of(evening, UTC) == night_of(evening + 3 * HOUR, UTC) == TONIGHT
    assert night_date(TONIGHT) == date(2026, 11, 21)
    assert night_of(evening - 12 * HOUR, UTC) == TONIGHT - 1
    assert night_of(evening + 12 * HOUR, UTC) == TONIGHT


def test_nights_are_those_of_the_daemons_time_zone_also_when_clocks_change():
    tokyo, berlin = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/Berlin")
    assert night_of(datetime(2026, 11, 21, 3, 30, tzinfo=UTC), tokyo) == night_of_text("2026-11-21T03:30:00.1Z", tokyo)
    assert night_of(datetime(2026, 11, 21, 3, 30, tzinfo=UTC), tokyo) == TONIGHT + 1  # half past noon there
    midnights = [datetime(2026, 10, 20, tzinfo=berlin) + timedelta(days=number) for number in range(10)]
    assert [night_of(at, berlin) - night_of(midnights[0], berlin) for at in midnights] == list(range(10))


@pytest.mark.parametrize(
    ("outcomes", "mark"),
    [
        ("unchanged", "u"),
        ("unchanged saved unchanged", "g"),
        ("failed unchanged", "u"),
        ("saved failed", "f"),
        ("failed saved", "g"),
        ("failed postponed gone", "f"),
        ("postponed", None),
        ("without data", "w"),
    ],
)
def test_the_last_word_of_a_night_counts(outcomes, mark):
    found = None
    for outcome in [outcomes] if " d" in outcomes else outcomes.split():
        found = mark_after(found, outcome)
    assert found == mark


def test_a_night_without_a_word_is_missing_only_between_the_first_and_this_one():
    marks = {TONIGHT - 4: "g", TONIGHT - 2: "u"}
    found = strip(marks, frozenset(), TONIGHT - 4, TONIGHT)
    assert len(found) == SHOWN
    assert found.endswith("ngmumt")
    assert strip(marks, frozenset({TONIGHT - 3, TONIGHT - 6}), TONIGHT - 4, TONIGHT).endswith("ngmggumt")
    assert strip(marks, frozenset(), TONIGHT - 4, TONIGHT, still_asked=False).endswith("ngnunn")


def test_a_strip_is_told_in_words_for_those_who_do_not_see_it():
    assert strip_words("ggguuf", TONIGHT) == "3 saved, 2 unchanged, failed on 21 Nov"
    assert strip_words("mgmmmm", TONIGHT) == "1 saved, 5 missing, last on 21 Nov"
    assert strip_words("nnnt", TONIGHT) == "nothing yet"


def test_a_strip_is_one_path_for_nights_in_a_row_or_for_each_letter():
    found = dashes("gggfg", TONIGHT)
    assert [(each.letter, each.title) for each in found] == [
        ("g", "17 Nov to 19 Nov: saved"), ("f", "20 Nov: failed"), ("g", "21 Nov: saved"),
    ]  # fmt: skip
    assert found[0].path == "M0 8h19" and found[1].path == "M21 3h5M21 13h5"
    assert [(each.letter, each.title, each.path) for each in dashes("gfg", TONIGHT, titles=False)] == [
        ("f", "", "M7 3h5M7 13h5"), ("g", "", "M0 8h5M14 8h5"),
    ]  # fmt: skip


def test_two_failures_among_a_thousand_sources_are_seen():
    strips = ["g" * SHOWN] * 998 + ["f" * SHOWN] * 2
    column = columns(strips, TONIGHT)[0]
    assert column.title == "23 Oct: 998 saved, 2 failed"
    assert [(letter, height > 5) for letter, _top, height in column.parts] == [("g", True), ("f", True)]
    assert sum(height for _letter, _top, height in column.parts) == pytest.approx(100, abs=0.3)
    assert columns(["t" * SHOWN], TONIGHT)[-1].is_empty


def test_the_watch_forgets_old_nights_and_sources_that_nobody_wants(shelves):
    kept, gone = shelves.source(1), shelves.source(2)
    for back in range(60, -1, -1):
        shelves.attempt(kept, "unchanged", NOW - back * DAY)
        if back > 40:
            shelves.attempt(gone, "unchanged", NOW - back * DAY)
    watch = Watch(shelves.folder, UTC)
    watch.catch_up()
    assert len(watch.seen[kept.key, "backup"].nights) == 31
    assert watch.seen[kept.key, "backup"].first_night == TONIGHT - 60
    watch.forget({kept.key}, TONIGHT)
    assert list(watch.seen) == [(kept.key, "backup")] and list(watch.sources) == [kept.key]


def test_torn_lines_and_lines_of_others_are_passed_over(shelves):
    source = shelves.source(1)
    shelves.attempt(source, "saved", NOW - DAY)
    with open(shelves.folder / "runs.jsonl", "a") as file:
        file.write(
            '{"at": "2026-11-2\n[]\n{}\nnull\n{"source": {"server": 1}, "at": "x", "mode": "p", "outcome": "saved"}\n'
        )
    shelves.attempt(source, "failed", NOW)
    watch = Watch(shelves.folder, UTC)
    watch.catch_up()
    assert watch.seen[source.key, "backup"].outcome == "failed"
    assert watch.seen[source.key, "backup"].good_at == NOW - DAY
