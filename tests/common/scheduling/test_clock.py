"""The clock, moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
import time_machine

from common.scheduling.clock import Clock, next_runs
from common.scheduling.crontab import parse

SCRIPTS = {"backup.py", "sweeper.py"}


class Rung:
    """A clock with one crontab, and what it has rung."""

    def __init__(self, text: str, zone: str = "UTC") -> None:
        crontab = parse(text, SCRIPTS, ZoneInfo(zone))
        assert crontab.problems == ()
        self.times: list[str] = []
        self.clock = Clock(lambda entry, due: self.times.append(f"{due.astimezone(UTC):%d %H:%M} {entry.job}"))
        self.clock.set(crontab.entries)


def pass_minutes(traveller, rung: Rung, minutes: int) -> None:
    for _ in range(minutes * 2):
        traveller.shift(30)
        rung.clock.tick()


def test_every_line_rings_when_it_is_due_and_once():
    with time_machine.travel(datetime(2026, 11, 21, 23, 57, 30, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("0 0 * * * backup.py --mode p\n*/2 * * * * backup.py --mode a\n")
        pass_minutes(traveller, rung, 5)
    assert sorted(rung.times) == ["21 23:58 backup a", "22 00:00 backup a", "22 00:00 backup p", "22 00:02 backup a"]


@pytest.mark.parametrize(
    ("zone", "day", "times"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, 23, 0, tzinfo=UTC), ["29 01:00 backup p"]),
        ("Europe/Berlin", datetime(2026, 10, 24, 22, 0, tzinfo=UTC), ["25 00:30 backup p"]),
        ("America/New_York", datetime(2026, 3, 8, 5, 0, tzinfo=UTC), ["08 07:00 backup p"]),
        ("America/New_York", datetime(2026, 11, 1, 4, 0, tzinfo=UTC), ["01 05:30 backup p"]),
    ],
)
def test_a_night_in_which_the_clocks_change_has_one_run(zone, day, times):
    at = "30 1 * * *" if day.month == 11 else "30 2 * * *"
    with time_machine.travel(day, tick=False) as traveller:
        rung = Rung(f"{at} backup.py --mode p\n", zone)
        pass_minutes(traveller, rung, 8 * 60)
    assert rung.times == times


def test_a_leap_day_is_a_day():
    with time_machine.travel(datetime(2028, 2, 28, 12, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("0 0 29 2 * sweeper.py\n@daily backup.py\n")
        for _ in range(48):
            traveller.shift(3600)
            rung.clock.tick()
    assert rung.times == ["29 00:00 sweeper", "29 00:00 backup", "01 00:00 backup"]


def test_a_host_asleep_for_two_days_runs_each_line_once():
    with time_machine.travel(datetime(2026, 11, 20, 12, 30, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("0 0 * * * backup.py --mode p\n0 * * * * backup.py --mode a\n* * * * * sweeper.py\n")
        rung.clock.tick()
        traveller.shift(2 * 86400)
        rung.clock.tick()
        rung.clock.tick()
        assert sorted(rung.times) == ["20 12:31 sweeper", "20 13:00 backup a", "21 00:00 backup p"]
        assert rung.clock.next_at("backup p") == datetime(2026, 11, 23, tzinfo=UTC)


def test_a_clock_that_is_set_back_counts_anew():
    with time_machine.travel(datetime(2030, 1, 1, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("* * * * * backup.py\n")
        rung.clock.tick()
        traveller.move_to(datetime(2026, 11, 21, 0, 0, 10, tzinfo=UTC))
        rung.clock.tick()
        pass_minutes(traveller, rung, 1)
    assert rung.times == ["21 00:01 backup"]


def test_a_new_crontab_replaces_the_old_one():
    with time_machine.travel(datetime(2026, 11, 21, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("* * * * * backup.py\n")
        rung.clock.set(parse("* * * * * sweeper.py\n", SCRIPTS, ZoneInfo("UTC")).entries)
        pass_minutes(traveller, rung, 1)
    assert rung.times == ["21 00:01 sweeper"]


def test_the_next_runs_come_in_their_order_over_zones():
    text = (
        "CRON_TZ=Europe/Berlin\n0 0 * * * backup.py\nCRON_TZ=UTC\n30 22 * * * sweeper.py\n@startup backup.py --list\n"
    )
    runs = next_runs(parse(text, SCRIPTS, ZoneInfo("UTC")).entries, 3, datetime(2026, 7, 1, tzinfo=UTC))
    assert [f"{due:%d %H:%M} {entry.job}" for due, entry in runs] == [
        "02 00:00 backup",
        "01 22:30 sweeper",
        "03 00:00 backup",
    ]


def test_a_crontab_that_changes_at_the_moment_a_line_is_due_loses_nothing_and_repeats_nothing():
    with time_machine.travel(datetime(2026, 11, 21, 23, 59, 59, 500_000, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("0 0 * * * backup.py --mode p\n")
        rung.clock.tick()
        traveller.shift(1)
        changed = parse("0 0 * * * backup.py --mode p\n0 12 * * * sweeper.py\n", SCRIPTS, ZoneInfo("UTC")).entries
        rung.clock.set(changed)
        rung.clock.tick()
        assert rung.times == ["22 00:00 backup p"]
        rung.clock.set(changed)
        rung.clock.tick()
    assert rung.times == ["22 00:00 backup p"]


def test_a_crontab_that_changes_right_after_the_clock_was_set_back_counts_from_the_new_present():
    with time_machine.travel(datetime(2026, 11, 22, 12, tzinfo=UTC), tick=False) as traveller:
        rung = Rung("0 0 * * * backup.py --mode p\n")
        rung.clock.tick()
        traveller.shift(-3600 * 24)
        rung.clock.set(parse("0 13 * * * sweeper.py\n", SCRIPTS, ZoneInfo("UTC")).entries)
        assert rung.clock.next_at("sweeper") == datetime(2026, 11, 21, 13, tzinfo=UTC)
