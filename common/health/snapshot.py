"""Everything that is shown, at one moment: plain data that pages, metrics and the verdict's file are written from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from common.backups.record import Content
from common.health.assess import Verdict
from common.health.disk import Sample
from common.health.holdings import Newest
from common.health.scheduler_state import JobError, SchedulerState
from common.health.watch import Drill
from common.sources import Source

# missed: it should have a fresh backup and has none; failing: it has one, but its newest attempt failed; unasked: it is
# on no list now (deleted, filtered out, or of a server that is not judged).
State = Literal["missed", "failing", "good", "empty", "unasked"]
ORDER: tuple[State, ...] = ("missed", "failing", "good", "empty", "unasked")


@dataclass(frozen=True, slots=True)
class ContentView:
    """The backups, or the annotations, of one source. `strip` has a letter for each of the last 30 nights."""

    content: Content
    state: State
    why: str
    good_at: datetime | None
    outcome: str
    seconds: float
    failures: int
    exported_bytes: int
    newest: Newest | None
    backups: int
    size_bytes: int
    strip: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """One project, or one task in no project."""

    source: Source
    contents: tuple[ContentView, ...]
    drill: Drill | None = None

    @property
    def state(self) -> State:
        return min((view.state for view in self.contents), key=ORDER.index)

    @property
    def size_bytes(self) -> int:
        return sum(view.size_bytes for view in self.contents)


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server's folder, problems first. One that nothing asks for any more (`judged` is false) is shown all the same."""

    server: str
    judged: bool
    sources: tuple[SourceView, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look has found. Sizes are bytes; `seconds` is how long the look took."""

    at: datetime
    seconds: float
    max_age: timedelta
    verdict: Verdict
    scheduler: SchedulerState | None
    job_runs: Mapping[tuple[str, str], int]
    job_seconds: Mapping[str, float]
    job_exit_codes: Mapping[str, int]
    errors: tuple[JobError, ...]
    servers: tuple[ServerView, ...]
    last_drill: Drill | None
    samples: tuple[Sample, ...]
    used_bytes: int
    free_bytes: int
    disk_bytes: int
    # The number of the night that is the last of every strip (nights.night_of).
    tonight: int

    @property
    def views(self) -> list[tuple[ServerView, SourceView, ContentView]]:
        return [
            (server, source, view) for server in self.servers for source in server.sources for view in source.contents
        ]

    @property
    def backups(self) -> int:
        return sum(view.backups for _, _, view in self.views)
