"""When a line is due: clock changes, leap days, days of month or week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.scheduling.cron import schedule, time_zone

BERLIN, NEW_YORK, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York"), ZoneInfo("UTC")


def due(expression: str, zone: ZoneInfo, since: str, count: int) -> list[str]:
    moment = datetime.fromisoformat(since).replace(tzinfo=UTC)
    return [f"{each.astimezone(UTC):%m-%d %H:%M}" for each in islice(schedule(expression, zone).coming(moment), count)]


def test_a_time_that_spring_skips_comes_once_at_the_first_moment_that_exists():
    # 29 March 2026, 01:00 UTC: 02:00 becomes 03:00 in Berlin. 8 March, 07:00 UTC: the same in New York.
    assert due("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == ["03-29 01:00", "03-30 00:30"]
    assert due("30 2 * * *", NEW_YORK, "2026-03-07T12:00", 2) == ["03-08 07:00", "03-09 06:30"]


def test_a_time_that_autumn_repeats_comes_once():
    # 25 October 2026, 01:00 UTC: 03:00 becomes 02:00 in Berlin. 1 November, 06:00 UTC: 02:00 becomes 01:00 in New York.
    assert due("30 2 * * *", BERLIN, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]
    assert due("30 1 * * *", NEW_YORK, "2026-10-31T12:00", 2) == ["11-01 05:30", "11-02 06:30"]


def test_asked_in_the_repeated_hour_it_does_not_answer_with_what_was():
    between = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    at = schedule("30 2 * * *", BERLIN)
    assert at.after(between) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert at.latest(between).astimezone(UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_an_hourly_line_runs_every_hour_that_passes_over_both_changes():
    assert due("0 * * * *", BERLIN, "2026-03-28T23:30", 4) == [
        "03-29 00:00",
        "03-29 01:00",
        "03-29 02:00",
        "03-29 03:00",
    ]
    assert due("0 * * * *", BERLIN, "2026-10-24T23:30", 4) == [
        "10-25 00:00",
        "10-25 01:00",
        "10-25 02:00",
        "10-25 03:00",
    ]


def test_leap_day():
    assert [d.year for d in islice(schedule("0 0 29 2 *", UTC_ZONE).coming(datetime(2026, 1, 1, tzinfo=UTC)), 3)] == [
        2028, 2032, 2036,
    ]  # fmt: skip
    assert due("0 0 * * *", UTC_ZONE, "2028-02-28T12:00", 2) == ["02-29 00:00", "03-01 00:00"]


def test_day_of_month_or_weekday():
    # 2026-11-13 is a Friday; the 1st of December a Tuesday.
    assert due("0 0 1 * 5", UTC_ZONE, "2026-11-20T12:00", 3) == ["11-27 00:00", "12-01 00:00", "12-04 00:00"]


@pytest.mark.parametrize("sunday", ["0", "7", "SUN", "sun"])
def test_sunday_is_sunday(sunday):
    assert due(f"0 0 * * {sunday}", UTC_ZONE, "2026-11-20T12:00", 2) == ["11-22 00:00", "11-29 00:00"]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("61 * * * *", "'61' is no minute (0-59)"),
        ("* 24 * * *", "'24' is no hour (0-23)"),
        ("* * 0 * *", "'0' is no day-of-month"),
        ("* * * FOO *", "'FOO' is no month"),
        ("* * * * 8", "'8' is no day-of-week"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 31 4,6 *", "never comes"),
    ],
)
def test_a_wrong_field_is_named(expression, says):
    with pytest.raises(ValueError) as caught:
        schedule(expression, UTC_ZONE)
    assert says in str(caught.value)


def test_an_unknown_zone_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"'Europe/Berln' is no time zone; did you mean Europe/Berlin\?"):
        time_zone("Europe/Berln")
    for bad in ("", "../../etc/passwd", "/etc/localtime", "CET-1CEST", "Europe", "a\0b"):
        with pytest.raises(ValueError, match="is no time zone"):
            time_zone(bad)


FIELD = st.sampled_from(["*", "*/7", "0", "30", "15,45", "2-4"])
HOUR = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1-3", "2,14"])
DAYS = st.sampled_from(["* * *", "29 * *", "* * 0", "1 * 5", "* 3,10,11 *", "25-31 * 7"])
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kolkata", "Africa/Cairo"]
)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1))  # noqa: DTZ001 - hypothesis wants them naive


@given(FIELD, HOUR, DAYS, ZONES, MOMENTS)
def test_it_always_moves_forward_and_looking_back_agrees(minute, hour, days, zone, moment):
    at = schedule(f"{minute} {hour} {days}", ZoneInfo(zone))
    moment = moment.replace(tzinfo=UTC)
    times = [each.astimezone(UTC) for each in islice(at.coming(moment), 5)]
    assert times == sorted(set(times)) and times[0] > moment
    last = at.latest(moment)
    assert last is not None and last.astimezone(UTC) <= moment
    following = at.after(last)
    assert following is not None and following.astimezone(UTC) == times[0]
    for each in times:
        for moment in (each, each + timedelta(seconds=1)):
            # In UTC: moments of two zones are never equal in the hour that autumn repeats (PEP 495).
            last = at.latest(moment)
            assert last is not None and last.astimezone(UTC) == each
