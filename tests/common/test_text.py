"""Figures, times and names for people."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.text import duration, iso, parse_time, plural, printable, size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1.0 kB"), (1000, "1.0 kB"), (2_800_000, "2.8 MB"), (123e6, "123 MB"),
     (99.96e6, "100 MB"), (999_600_000, "1.0 GB"), (5e12, "5.0 TB"), (7e15, "7000.0 TB")],
)  # fmt: skip
def test_sizes_are_decimal_and_short(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (12, "12 s"), (59.7, "1 min"), (200, "3 min 20 s"), (3599.6, "1 h"),
     (7500, "2 h 5 min"), (86400 * 7, "7 d"), (86400 * 4 + 3 * 3600, "4 d 3 h")],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_plurals_are_counted():
    assert [plural(1, "project"), plural(2, "project"), plural(1200, "frame")] == [
        "1 project",
        "2 projects",
        "1,200 frames",
    ]


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_survives_being_written_and_read(moment):
    assert parse_time(iso(moment)) == moment


def test_a_time_without_a_zone_is_utc_and_another_zone_is_converted():
    assert parse_time("2026-11-20T10:00:00") == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert parse_time("2026-11-20T10:00:00+02:00") == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert iso(datetime(2026, 11, 20, 10, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-20T08:00:00Z"


@given(st.text(), st.integers(2, 100))
def test_a_strangers_text_is_one_short_line_without_control_characters(text, longest):
    shown = printable(text, longest)
    assert len(shown) <= longest
    assert not any(unicodedata.category(character)[0] == "C" for character in shown)
    assert not re.search(r"[\r\n\u2028\u2029\x1b]", shown)


def test_a_terminal_escape_in_a_name_is_harmless_and_the_rest_stays_readable():
    assert printable("\x1b[31mroad\x07 signs\n2024") == "[31mroad signs 2024"
    assert printable("x" * 90) == "x" * 79 + "…"
