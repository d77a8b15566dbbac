"""What scheduler.py says about itself (`scheduler.json`) and about the runs it started (`jobs.jsonl`)."""

from __future__ import annotations

import argparse
import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any

from common import log
from common.cvat.address import base_url, server_key
from common.health.tail import Tail
from common.text import parse_time, printable

SCHEDULER_FILE = "scheduler.json"
JOBS_FILE = "jobs.jsonl"
OLDER_JOBS_FILE = "jobs.1.jsonl"
# A scheduler writes its beat every few seconds; one that has been silent for so long is stuck or dead.
BEAT_WITHIN = timedelta(minutes=3)
MOST_ERRORS = 8
MOST_TAIL_LINES = 8
LONGEST_TAIL_LINE = 240
BAD_OUTCOMES = ("some failed", "failed", "locked", "not started")


@dataclass(frozen=True, slots=True)
class JobState:
    """One job of the crontab."""

    job: str
    line: str
    command: tuple[str, ...]
    next_at: datetime | None = None
    running_since: datetime | None = None
    last_outcome: str = ""
    last_ended_at: datetime | None = None
    last_success_at: datetime | None = None
    skipped: int = 0
    failures_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """The daemon at its last beat."""

    started_at: datetime
    beat_at: datetime
    jobs: tuple[JobState, ...] = ()
    crontab_problems: tuple[str, ...] = ()
    stopping: bool = False

    def lives(self, now: datetime) -> bool:
        return abs(now - self.beat_at) <= BEAT_WITHIN


@dataclass(frozen=True, slots=True)
class JobError:
    """One run that did not end well, with the last lines it printed."""

    job: str
    outcome: str
    exit_code: int | None
    at: datetime
    seconds: float
    tail: tuple[str, ...]


def read_scheduler(path: Path) -> SchedulerState | None:
    """None when no scheduler has written anything that can be read."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        crontab = value.get("crontab") or {}
        return SchedulerState(
            started_at=parse_time(value["started_at"]),
            beat_at=parse_time(value["beat_at"]),
            jobs=tuple(_job(each) for each in value.get("jobs", ())),
            crontab_problems=tuple(printable(str(text), 200) for text in (crontab.get("problems") or ())[:20]),
            stopping=bool(value.get("stopping")),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _job(value: dict[str, Any]) -> JobState:
    return JobState(
        job=printable(str(value["job"])),
        line=printable(str(value.get("line", "")), 200),
        command=tuple(str(part) for part in value.get("command", ())),
        next_at=_moment(value.get("next_at")),
        running_since=_moment(value.get("running_since")),
        last_outcome=printable(str(value.get("last_outcome") or "")),
        last_ended_at=_moment(value.get("last_ended_at")),
        last_success_at=_moment(value.get("last_success_at")),
        skipped=int(value.get("skipped") or 0),
        failures_in_a_row=int(value.get("failures_in_a_row") or 0),
    )


def _moment(value: Any) -> datetime | None:
    return parse_time(value) if isinstance(value, str) else None


class JobLog:
    """Sums over `jobs.jsonl`, kept up to date; memory grows with the jobs, not with their runs."""

    def __init__(self, state_dir: Path) -> None:
        self._tail = Tail(state_dir / JOBS_FILE, state_dir / OLDER_JOBS_FILE)
        self.runs: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[str, float] = {}
        self.exit_codes: dict[str, int] = {}
        self._errors: deque[JobError] = deque(maxlen=MOST_ERRORS)

    def catch_up(self) -> None:
        """Raises OSError."""
        for line in self._tail.lines():
            try:
                self._note(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue

    @property
    def errors(self) -> tuple[JobError, ...]:
        """Newest first."""
        return tuple(reversed(self._errors))

    def _note(self, line: dict[str, Any]) -> None:
        job, outcome, code = printable(str(line["job"])), printable(str(line["outcome"]), 40), line.get("exit_code")
        seconds = float(line.get("seconds") or 0.0)
        self.runs[job, outcome] += 1
        if code is not None:
            self.seconds[job], self.exit_codes[job] = seconds, int(code)
        if outcome in BAD_OUTCOMES:
            at = _moment(line.get("ended_at")) or parse_time(line["started_at"])
            texts = [*(line.get("tail") or ()), line.get("detail") or ""]
            said = [printable(log.without_secrets(str(text)), LONGEST_TAIL_LINE) for text in texts]
            tail = tuple(text for text in said if text)[-MOST_TAIL_LINES:]
            self._errors.append(JobError(job, outcome, None if code is None else int(code), at, seconds, tail))


# --- what the crontab asks for -----------------------------------------------------------------------------------


def asked_for(commands: Sequence[Sequence[str]], own_server: str) -> dict[str, frozenset[str]]:
    """The modes of backup.py that a crontab runs, by server: `own_server` unless a line names another by --url.

    A line that only looks (--dry-run, --list) asks for nothing. Without CVAT_URL, `own_server` is "".
    """
    asked: dict[str, frozenset[str]] = {}
    for command in commands:
        names = [PurePath(part).name for part in command]
        if "backup.py" not in names:
            continue
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        parser.add_argument("--mode", action="append", nargs="+")
        parser.add_argument("--url")
        parser.add_argument("--dry-run", action="store_true")
        parser.add_argument("--list", action="store_true")
        try:
            found, _ = parser.parse_known_args(list(command[names.index("backup.py") + 1 :]))
            server = server_key(base_url(found.url)) if found.url else own_server
        except (argparse.ArgumentError, ValueError):
            continue
        if not (found.dry_run or found.list):
            words = {word for group in found.mode or [["p"]] for part in group for word in part.split(",") if word}
            asked[server] = asked.get(server, frozenset()) | words
    return asked
