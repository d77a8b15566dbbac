"""Disk use is sampled every hour and thinned out as it ages; the plot is drawn from it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from common.health.disk import DiskLog, Sample, thinned
from common.health.plots import disk_plot, full_on, growth_bytes_per_day, nice_ticks
from tests.common.health.shelves import DAY, HOUR, NOW


def a_sample(back, used=1000, free=5000):
    return Sample(NOW - back, used, free, 3)


def test_three_years_of_hourly_samples_stay_below_twelve_hundred():
    found: list[Sample] = []
    for hours in range(3 * 365 * 24, 0, -7):
        found = thinned([*found, a_sample(hours * HOUR)], NOW - hours * HOUR)
    assert len(found) < 1200
    assert found == sorted(found, key=lambda sample: sample.at)
    assert found[0].at < NOW - 1080 * DAY


def test_samples_survive_a_restart_and_damage(tmp_path):
    log = DiskLog(tmp_path)
    log.load(NOW)
    assert log.is_due(NOW)
    log.add(a_sample(2 * HOUR))
    log.add(a_sample(HOUR, used=2000))
    with open(tmp_path / "disk.jsonl", "a") as file:
        file.write('{"at": "2026\n[]\n')
    again = DiskLog(tmp_path)
    again.load(NOW)
    assert [sample.used_bytes for sample in again.samples] == [1000, 2000]
    assert again.is_due(NOW) and not again.is_due(NOW - timedelta(minutes=5))


def test_the_file_is_rewritten_when_it_holds_much_more_than_is_kept(tmp_path):
    log = DiskLog(tmp_path)
    log.load(NOW)
    for minute in range(400):
        log.add(Sample(NOW + timedelta(minutes=minute), minute, 5000, 3))
    lines = (tmp_path / "disk.jsonl").read_text().splitlines()
    assert len(log.samples) <= 8 and len(lines) < 220
    assert list(tmp_path.iterdir()) == [tmp_path / "disk.jsonl"]


def test_a_look_samples_what_lies_there(shelves):
    source = shelves.source(1)
    shelves.saved(source, NOW - DAY)
    first = shelves.snapshot()
    assert [sample.backups for sample in first.samples] == [1]
    assert first.used_bytes == first.samples[0].used_bytes > 1000
    assert len(shelves.snapshot(NOW + HOUR / 2).samples) == 1
    assert len(shelves.snapshot(NOW + HOUR).samples) == 2


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, [0, 1]), (3, [0, 1, 2, 3]), (1.05e12, [0, 0.5e12, 1e12, 1.5e12]), (9.9e9, [0, 2.5e9, 5e9, 7.5e9, 10e9])],
)
def test_ticks_are_round_numbers_that_reach_the_highest(highest, ticks):
    assert nice_ticks(highest) == pytest.approx(ticks)


def test_a_plot_needs_two_samples_and_stays_in_its_frame():
    assert disk_plot([a_sample(HOUR)]) is None
    plot = disk_plot([a_sample(hours * HOUR, used=int(2e9) + hours) for hours in range(100, 0, -1)])
    assert plot is not None
    assert [text for _, text in plot.y_ticks] == ["0", "1.0 GB", "2.0 GB", "3.0 GB"]
    numbers = [float(part) for point in plot.line[1:].split("L") for part in point.split()]
    assert all(0 <= number <= 560 for number in numbers) and max(numbers[1::2]) <= 194


def test_the_day_when_the_disk_is_full_is_foretold_from_the_last_fortnight():
    growing = [a_sample(days * DAY, used=1000 - days * 10, free=700) for days in range(30, -1, -1)]
    assert growth_bytes_per_day(growing) == pytest.approx(10)
    assert full_on(growing) == (NOW + 70 * DAY).date()
    assert full_on([a_sample(days * DAY) for days in range(30, -1, -1)]) is None
    assert growth_bytes_per_day(growing[-2:]) is None and growth_bytes_per_day([]) is None
