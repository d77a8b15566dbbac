"""The state folder: jobs.jsonl (what ran), scheduler.json (what is, and how every job stands)."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from common import log
from common.exits import Exit, RunEnds, Trouble
from common.files import append_lines, is_there, sync_folder, write_json
from common.lock import locked
from common.scheduling.record import JobRun, Standing, job_run, standing_of
from common.text import iso, now

LARGEST_BYTES = 5_000_000


class Book:
    """What the daemon writes down. A folder that cannot be written to any more is logged and ends nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs_path = folder / "jobs.jsonl"
        self.older_runs_path = folder / "jobs.1.jsonl"
        self.status_path = folder / "scheduler.json"
        self.standings: dict[str, Standing] = {}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """The folder is there, writable, and ours alone. Raises RunEnds, Locked."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = contextlib.ExitStack()
            lock.enter_context(locked(self.folder / ".lock-scheduler", "scheduler.py"))
        except OSError as error:
            remedy = f"Make this folder writable for the user that runs scheduler.py (uid {os.getuid()}): {self.folder}"
            raise RunEnds(f"CVAT_STATE_DIR cannot be written: {error}", remedy, Exit.BAD_CONFIGURATION) from None
        with lock:
            yield

    def read(self) -> dict[str, Any]:
        """Learns how all jobs stand, and gives the last status (empty when there is none)."""
        for path in (self.older_runs_path, self.runs_path):
            for run in _runs(path):
                self.standing(run.job, datetime.fromisoformat(run.started_at)).add(run)
        status = self._status()
        for job in status.get("jobs", []):
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                was, replayed = standing_of(job), self.standings.get(job["job"])
                # The record of the last run may have been written without the status after it.
                if replayed is None or _later(was.last_ended_at, replayed.last_ended_at):
                    self.standings[job["job"]] = was
                else:
                    replayed.told, replayed.first_seen_at = was.told, was.first_seen_at
                    replayed.skipped = max(replayed.skipped, was.skipped)
                    replayed.last_success_at = replayed.last_success_at or was.last_success_at
        return status

    def _status(self) -> dict[str, Any]:
        try:
            status = json.loads(self.status_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.get().error("state_not_read", path=str(self.status_path), reason=str(error))
            return {}
        return status if isinstance(status, dict) and isinstance(status.get("jobs", []), list) else {}

    def standing(self, job: str, seen_at: datetime | None = None) -> Standing:
        return self.standings.setdefault(job, Standing(seen_at or now()))

    def add(self, run: JobRun) -> None:
        """One more run; into the file, and into the standing of its job."""
        self.standing(run.job).add(run)
        content = asdict(run)
        if run.outcome in ("good", "skipped"):
            del content["tail"]
        if not run.detail:
            del content["detail"]
        try:
            if is_there(self.runs_path) and self.runs_path.stat().st_size > LARGEST_BYTES:
                os.replace(self.runs_path, self.older_runs_path)
                sync_folder(self.folder)
            append_lines(self.runs_path, [json.dumps(content, ensure_ascii=False)])
        except (OSError, Trouble) as error:
            log.get().error("state_not_written", path=str(self.runs_path), reason=str(error))

    def write_status(self, status: dict[str, Any]) -> None:
        try:
            write_json(self.status_path, status)
        except (OSError, Trouble) as error:
            log.get().error("state_not_written", path=str(self.status_path), reason=str(error))


def _later(one: datetime | None, other: datetime | None) -> bool:
    return other is None or (one is not None and one >= other)


def _runs(path: Path) -> Iterator[JobRun]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if (run := job_run(value)) is not None:
                    yield run
    except FileNotFoundError:
        return
    except OSError as error:  # how the jobs stand is also told by scheduler.json
        log.get().error("state_not_read", path=str(path), reason=str(error))


def interrupted_runs(status: dict[str, Any]) -> list[tuple[JobRun, int]]:
    """What ran when the last daemon ended without a word (kill -9, power cut), each with its process id."""
    found = []
    for job in status.get("jobs", []):
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            if not job["running_since"]:
                continue
            began, ended = datetime.fromisoformat(job["running_since"]), datetime.fromisoformat(status["beat_at"])
            run = JobRun(
                job["job"],
                job["line"],
                list(job["command"]),
                str(job.get("run_id") or ""),
                "stopped",
                None,
                iso(began),
                iso(max(began, ended)),
                round(max(0.0, (ended - began).total_seconds()), 1),
                str(job.get("because") or "schedule"),
                detail="the scheduler ended without warning (kill -9, power cut, out of memory) while this ran",
            )
            found.append((run, int(job.get("pid") or 0)))
    return found
