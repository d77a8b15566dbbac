"""What is written down about every run, and what all runs of a job come to.

`jobs.jsonl` holds one JobRun a line; a Standing is what they add up to. Both are read by the health page too.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from common.exits import Exit
from common.scheduling.crontab import Entry
from common.text import iso, parse_time

Outcome = Literal["good", "some failed", "failed", "locked", "stopped", "skipped", "not started"]
OUTCOMES: tuple[Outcome, ...] = ("good", "some failed", "failed", "locked", "stopped", "skipped", "not started")
# Outcomes of runs that worked or did not; the others say nothing about the job itself.
BAD: frozenset[Outcome] = frozenset({"some failed", "failed", "locked"})
Because = Literal["schedule", "startup", "missed", "after"]
FIRST_ONES = frozenset({"backup.py"})


def outcome_of(exit_code: int, *, was_stopped: bool) -> Outcome:
    """What an exit code means (common/exits.py). A job that was asked to stop and ended otherwise than good: stopped."""
    if exit_code == Exit.ALL_GOOD:
        return "good"
    if was_stopped or exit_code in (128 + signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGHUP):
        return "stopped"
    if exit_code == Exit.SOME_FAILED:
        return "some failed"
    return "locked" if exit_code == Exit.LOCKED else "failed"


@dataclass(frozen=True)
class JobRun:
    """One line of jobs.jsonl: a run that ended, or one that was due and did not happen. Times are ISO 8601 in UTC."""

    job: str
    line: str
    command: Sequence[str]
    run_id: str
    outcome: Outcome
    exit_code: int | None
    started_at: str
    ended_at: str
    seconds: float
    because: str
    tail: Sequence[str] = ()
    # Why there is no exit code, in plain words.
    detail: str = ""
    version: int = 1


def job_run(value: Any) -> JobRun | None:
    """A line of jobs.jsonl, None for one that is not (torn by a crash, or of a later version)."""
    try:
        run = JobRun(**value)
        parse_time(run.started_at)
        parse_time(run.ended_at)
    except (TypeError, ValueError, AttributeError):
        return None
    return run if run.outcome in OUTCOMES and run.version == 1 else None


@dataclass
class Standing:
    """What is known of one job over all its runs, over restarts too. Moments are aware, in UTC."""

    first_seen_at: datetime
    last_outcome: Outcome | None = None
    last_ended_at: datetime | None = None
    last_success_at: datetime | None = None
    last_partly_at: datetime | None = None
    skipped: int = 0
    failures_in_a_row: int = 0
    # What each channel of alerts was told last: {"webhook": "bad"}.
    told: dict[str, str] = field(default_factory=dict)

    def add(self, run: JobRun) -> None:
        if run.outcome == "skipped":
            self.skipped += 1
        if run.outcome in ("skipped", "not started"):
            return
        ended_at = parse_time(run.ended_at)
        self.last_outcome, self.last_ended_at = run.outcome, ended_at
        if run.outcome == "good":
            self.last_success_at = ended_at
            self.failures_in_a_row = 0
        elif run.outcome in BAD:
            self.failures_in_a_row += 1
        if run.outcome in ("good", "some failed"):
            self.last_partly_at = ended_at

    def as_json(self) -> dict[str, Any]:
        return {
            "last_outcome": self.last_outcome,
            "last_ended_at": _iso(self.last_ended_at),
            "last_success_at": _iso(self.last_success_at),
            "last_partly_at": _iso(self.last_partly_at),
            "first_seen_at": iso(self.first_seen_at),
            "skipped": self.skipped,
            "failures_in_a_row": self.failures_in_a_row,
            "told": self.told,
        }


def standing_of(value: dict[str, Any]) -> Standing:
    """A Standing from scheduler.json. Raises ValueError, TypeError, KeyError for anything else."""
    return Standing(
        first_seen_at=parse_time(value["first_seen_at"]),
        last_outcome=value["last_outcome"] if value["last_outcome"] in OUTCOMES else None,
        last_ended_at=_moment(value["last_ended_at"]),
        last_success_at=_moment(value["last_success_at"]),
        last_partly_at=_moment(value.get("last_partly_at")),
        skipped=int(value["skipped"]),
        failures_in_a_row=int(value["failures_in_a_row"]),
        told={str(channel): str(state) for channel, state in value.get("told", {}).items()},
    )


def is_missed(entry: Entry, standing: Standing, moment: datetime, predecessor: Standing | None = None) -> bool:
    """Whether a line should have run by `moment` and has not succeeded since: when the daemon starts, after a pause.

    A job is not blamed for times before it was first seen. A backup that never ran at all is wanted at once:
    whoever starts the daemon for the first time wants a backup, not an appointment.
    """
    if entry.schedule is not None:
        # A first backup that was broken off is still the first one, and goes on from there.
        is_first = standing.last_success_at is None and standing.last_outcome in (None, "stopped")
        if is_first and entry.command[0] in FIRST_ONES:
            return True
        due = entry.schedule.latest(moment)
        return due is not None and due > (standing.last_success_at or standing.first_seen_at)
    if entry.after is not None and predecessor is not None:
        # As at the end of a run, its last one decides: an older success is no leave to sweep after a bad night.
        if predecessor.last_outcome != "good" and not (entry.also_partly and predecessor.last_outcome == "some failed"):
            return False
        ended = predecessor.last_ended_at
        return ended is not None and ended > (standing.last_success_at or standing.first_seen_at)
    return False


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _moment(text: str | None) -> datetime | None:
    return parse_time(text) if text else None
