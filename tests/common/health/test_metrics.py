"""Metrics are what Prometheus reads, each of them named in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from common.health.metrics import exposition
from tests.common.health.shelves import DAY, HOUR, NOW, a_good_night

LABELS = ("server", "kind", "id", "content", "name", "job", "outcome", "state", "version")
ROOT = Path(__file__).resolve().parents[3]


def values(shelves):
    """Every sample by its name and labels' values."""
    text = exposition(shelves.snapshot()).decode()
    return {
        (sample.name, *(sample.labels[label] for label in LABELS if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def a_busy_shelf(shelves):
    first, second = a_good_night(shelves)
    shelves.scheduler(
        ("backup.py", "--mode", "p"),
        last_ended_at="2026-11-21T00:10:00Z",
        last_success_at="2026-11-20T00:10:00Z",
        failures_in_a_row=1,
    )
    shelves.ran("backup p", "good", NOW - DAY)
    shelves.ran("backup p", "some failed", NOW - 5 * HOUR, 3, ["2 items FAILED"])
    shelves.ran("backup p", "skipped", NOW - HOUR, None)
    shelves.attempt(second, "failed", NOW - HOUR)
    shelves.drill(first, NOW - DAY)
    return first, second


def test_sources_jobs_and_the_disk_are_told(shelves):
    a_busy_shelf(shelves)
    found = values(shelves)
    first = ("cvat.example.com", "project", "1", "backup")
    assert found["cvat_backups_healthy",] == 1
    assert found["cvat_backups_scheduler_up",] == 1
    assert found["cvat_backups_wanted", "good"] == 2
    assert found["cvat_backups_source_last_success_timestamp_seconds", *first] == (NOW - 5 * HOUR).timestamp()
    assert found["cvat_backups_source_held", *first] == 1
    assert found["cvat_backups_source_last_duration_seconds", *first] == 2.5
    assert found["cvat_backups_source_exported_bytes_total", *first] == 1000
    assert found["cvat_backups_source_newest_bytes", *first] == 1000
    assert found["cvat_backups_source_failures_total", "cvat.example.com", "project", "2", "backup"] == 1
    assert found["cvat_backups_source_info", "cvat.example.com", "project", "2", "Project 2"] == 1
    assert found["cvat_backups_job_runs_total", "backup p", "some failed"] == 1
    assert found["cvat_backups_job_runs_total", "backup p", "skipped"] == 1
    assert found["cvat_backups_job_last_exit_code", "backup p"] == 3
    assert found["cvat_backups_job_last_duration_seconds", "backup p"] == 3600
    assert found["cvat_backups_job_last_success_timestamp_seconds", "backup p"] == (NOW - DAY).timestamp() - 17400
    assert found["cvat_backups_job_next_run_timestamp_seconds", "backup p"] == (NOW + 19 * HOUR).timestamp()
    assert found["cvat_backups_held",] == 2
    assert 0 < found["cvat_backups_disk_free_bytes",] < found["cvat_backups_disk_size_bytes",]
    assert found["cvat_backups_drill_good",] == 1


def test_counters_go_on_with_what_is_new_only(shelves):
    _, second = a_busy_shelf(shelves)
    values(shelves)
    shelves.attempt(second, "failed", NOW)
    shelves.ran("backup p", "some failed", NOW, 3)
    found = values(shelves)
    assert found["cvat_backups_source_failures_total", "cvat.example.com", "project", "2", "backup"] == 2
    assert found["cvat_backups_job_runs_total", "backup p", "some failed"] == 2


def test_a_hostile_name_breaks_nothing(shelves):
    source = shelves.source(1, name='"} 1\ncvat_backups_healthy 1\n\\"')
    shelves.scheduler()
    shelves.list(source)
    found = values(shelves)
    assert found["cvat_backups_healthy",] == 0
    assert next(key for key in found if key[0] == "cvat_backups_source_info")[4] == '"} 1 cvat_backups_healthy 1 \\"'


def test_every_metric_stands_in_the_documentation_and_no_other(shelves):
    a_busy_shelf(shelves)
    told = {name for name, *_ in values(shelves)}
    documented = set(re.findall(r"`(cvat_backups_[a-z_]+)", (ROOT / "docs" / "health.md").read_text(encoding="utf-8")))
    assert told == documented
