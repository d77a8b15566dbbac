"""`/metrics`: a snapshot in Prometheus's text format. docs/health.md lists every name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from common.health.snapshot import Snapshot
from common.text import printable
from common.version import VERSION

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "cvat_backups_"
_SOURCE = ("server", "kind", "id", "content")


def exposition(snapshot: Snapshot) -> bytes:
    """What a scrape gets: a registry of its own, so that nothing else of this process is told."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(snapshot))
    return generate_latest(registry)


class _Once(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield from _overall(self._snapshot)
        yield from _jobs(self._snapshot)
        yield from _sources(self._snapshot)


Rows = Iterable[tuple[Sequence[str], float | None]]


def _gauge(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    metric = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        if value is not None:
            metric.add_metric(values, value)
    return metric


def _counter(name: str, text: str, labels: Sequence[str], rows: Rows) -> Metric:
    metric = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        if value is not None:
            metric.add_metric(values, value)
    return metric


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _overall(snapshot: Snapshot) -> Iterator[Metric]:
    verdict, scheduler = snapshot.verdict, snapshot.scheduler

    def one(name: str, text: str, value: float | None) -> Metric:
        return _gauge(name, text, (), [((), value)])

    yield _gauge("info", "The version that runs.", ("version",), [((VERSION,), 1)])
    yield one("healthy", "1 when /healthz says 200: the scheduler lives and everything is backed up.", verdict.healthy)
    yield one(
        "scheduler_up", "1 when the scheduler has given a sign of life lately.",
        float(scheduler is not None and scheduler.lives(snapshot.at)),
    )  # fmt: skip
    yield one("snapshot_timestamp_seconds", "When all of this was looked at.", snapshot.at.timestamp())
    yield one("snapshot_duration_seconds", "How long looking took.", snapshot.seconds)
    yield one(
        "crontab_problems",
        "Lines of the crontab that were refused.",
        len(scheduler.crontab_problems) if scheduler else None,
    )
    yield _gauge(
        "wanted", "Backups that the servers' last lists ask for, by what became of them.", ("state",),
        [(("good",), verdict.good), (("missed",), verdict.missed), (("without data",), verdict.without_data)],
    )  # fmt: skip
    yield one("held", "Backups on the disk.", snapshot.backups)
    yield one("held_bytes", "What they take on the disk.", snapshot.used_bytes)
    yield one("disk_free_bytes", "Room on the disk of CVAT_BACKUP_DIR.", snapshot.free_bytes)
    yield one("disk_size_bytes", "Size of that disk.", snapshot.disk_bytes)
    drill = snapshot.last_drill
    yield one("drill_timestamp_seconds", "When the last drill ended.", _seconds(drill.at) if drill else None)
    yield one(
        "drill_good",
        "1 when the last drill restored everything equal.",
        float(drill.result == "good") if drill else None,
    )


def _jobs(snapshot: Snapshot) -> Iterator[Metric]:
    jobs = snapshot.scheduler.jobs if snapshot.scheduler else ()
    by_job = ("job",)
    yield _gauge(
        "job_last_success_timestamp_seconds", "When a run of the job last ended well.", by_job,
        [((job.job,), _seconds(job.last_success_at)) for job in jobs],
    )  # fmt: skip
    yield _gauge(
        "job_last_end_timestamp_seconds", "When a run of the job last ended.", by_job,
        [((job.job,), _seconds(job.last_ended_at)) for job in jobs],
    )  # fmt: skip
    yield _gauge(
        "job_next_run_timestamp_seconds", "When the job is due next.", by_job,
        [((job.job,), _seconds(job.next_at)) for job in jobs],
    )  # fmt: skip
    yield _gauge(
        "job_running", "1 while the job runs.", by_job, [((job.job,), float(bool(job.running_since))) for job in jobs]
    )
    yield _gauge(
        "job_failures_in_a_row", "Runs that failed since the last that ended well.", by_job,
        [((job.job,), job.failures_in_a_row) for job in jobs],
    )  # fmt: skip
    yield _gauge(
        "job_last_duration_seconds", "How long the last run of the job took.", by_job,
        [((job,), seconds) for job, seconds in snapshot.job_seconds.items()],
    )  # fmt: skip
    yield _gauge(
        "job_last_exit_code", "Exit code of the last run of the job.", by_job,
        [((job,), code) for job, code in snapshot.job_exit_codes.items()],
    )  # fmt: skip
    yield _counter(
        "job_runs", "Runs of the job by how they ended (good, some failed, failed, locked, stopped, skipped, not started).",
        ("job", "outcome"), [(pair, count) for pair, count in snapshot.job_runs.items()],
    )  # fmt: skip


def _sources(snapshot: Snapshot) -> Iterator[Metric]:
    rows = [
        ((source.source.server, source.source.kind, str(source.source.id), view.content), view)
        for server, source, view in snapshot.views
        if server.judged and view.state != "unasked"
    ]
    # A deleted source whose number a reinstalled server gave away again would stand there twice.
    unique = dict(reversed(rows))
    yield _gauge(
        "source_info", "The name of a source.", ("server", "kind", "id", "name"),
        {(*labels[:3], name): 1.0 for labels, name in _names(snapshot).items()}.items(),
    )  # fmt: skip
    yield _gauge(
        "source_last_success_timestamp_seconds", "When the source was last saved or confirmed as unchanged.", _SOURCE,
        [(labels, _seconds(view.good_at)) for labels, view in unique.items()],
    )  # fmt: skip
    yield _gauge(
        "source_missed", "1 when the source has no verified backup of the last CVAT_HEALTH_MAX_AGE_HOURS.", _SOURCE,
        [(labels, float(view.state == "missed")) for labels, view in unique.items()],
    )  # fmt: skip
    yield _gauge(
        "source_last_duration_seconds", "How long it last took to save the source.", _SOURCE,
        [(labels, view.seconds) for labels, view in unique.items()],
    )  # fmt: skip
    yield _gauge(
        "source_held", "Backups of the source on the disk.", _SOURCE,
        [(labels, view.backups) for labels, view in unique.items()],
    )  # fmt: skip
    yield _gauge(
        "source_held_bytes", "What they take on the disk.", _SOURCE,
        [(labels, view.size_bytes) for labels, view in unique.items()],
    )  # fmt: skip
    yield _gauge(
        "source_newest_bytes", "Size of the newest good backup of the source.", _SOURCE,
        [(labels, view.newest.size_bytes if view.newest else None) for labels, view in unique.items()],
    )  # fmt: skip
    yield _counter(
        "source_failures", "Attempts at the source that failed, as far back as the journal goes.", _SOURCE,
        [(labels, view.failures) for labels, view in unique.items()],
    )  # fmt: skip
    yield _counter(
        "source_exported_bytes", "What the server exported for the source, as far back as the journal goes.", _SOURCE,
        [(labels, view.exported_bytes) for labels, view in unique.items()],
    )  # fmt: skip


def _names(snapshot: Snapshot) -> dict[tuple[str, str, str], str]:
    return {
        (view.source.server, view.source.kind, str(view.source.id)): printable(view.source.name, 120)
        for server in reversed(snapshot.servers)
        if server.judged
        for view in reversed(server.sources)
        if view.state != "unasked"
    }
