"""A backup folder and a state folder as backup.py and scheduler.py leave them, for tests of what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.backups.journal import Attempt, Journal
from common.backups.listed import Listed, write_listed
from common.backups.names import server_folder, source_folder, stamp, stem
from common.backups.record import Record, StoredFile, Verified, to_json
from common.health.look import Look
from common.health.snapshot import ContentView, Snapshot
from common.sources import Counts, Source
from common.text import iso
from tests.common.making import a_record, a_source

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
SERVER = "cvat.example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MAX_AGE = timedelta(hours=26)


@dataclass
class Shelves:
    """What a test writes, and how it looks at it."""

    root: Path
    server: str = SERVER
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.backups.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(exist_ok=True)
        self._look = self.new_look()

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def folder(self) -> Path:
        return self.backups / server_folder(self.server)

    def new_look(self, url: str = f"https://{SERVER}", max_age: timedelta = MAX_AGE) -> Look:
        return Look(self.backups, self.state, url, max_age, UTC)

    # --- what the scripts write --------------------------------------------------------------------------------------

    def source(self, number: int = 1, **more: Any) -> Source:
        return a_source(server=self.server, id=number, **more)

    def list(self, *sources: Source, mode: str = "p", at: datetime = NOW - 5 * HOUR) -> None:
        self.folder.mkdir(exist_ok=True)
        write_listed(self.folder / f"listed-{mode}.json", Listed(self.server, mode, at, "abcd", "", sources))

    def attempt(self, source: Source, outcome: str, at: datetime, mode: str = "p", **more: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        Journal(self.folder).add([Attempt(iso(at), "abcd", mode, source, outcome, **more)])  # type: ignore[arg-type]

    def backup(
        self, source: Source, at: datetime, content: str = "backup", result: str = "good", size: int = 1000
    ) -> Path:
        """A backup on the disk, with its record; the path of its main file."""
        folder = self.folder / source_folder(source)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{stem(source, content, stamp(at))}.zip"
        path.write_bytes(b"x" * size)
        record: Record = a_record(
            source,
            content=content,
            stamp=stamp(at),
            started_at=iso(at),
            finished_at=iso(at),
            files=(StoredFile("backup", path.name, size, "ab" * 32),),
            verified=Verified(result, 2, 3, 10, Counts(4, 5, 6), 9, 4, compared_with_server=True),  # type: ignore[arg-type]
        )
        path.with_name(f"{path.name}.json").write_text(json.dumps(to_json(record)))
        return path

    def saved(self, source: Source, at: datetime, mode: str = "p") -> Path:
        """One night in which a source was saved."""
        path = self.backup(source, at, "annotations" if mode == "a" else "backup")
        self.attempt(source, "saved", at, mode, bytes=1000, seconds=2.5)
        return path

    def last_run(self, mode: str, because: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"last-run-{mode}.json").write_text(json.dumps({"mode": mode, "ended_because": because}))

    def drill(self, source: Source, at: datetime, result: str = "good") -> None:
        line = {"at": iso(at), "source": " ".join(map(str, source.key)), "result": result}
        with open(self.folder / "drills.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    # --- what the scheduler writes -------------------------------------------------------------------------------------

    def scheduler(self, *commands: Sequence[str], beat_at: datetime = NOW, **job: Any) -> None:
        """A living scheduler with a job for each command; further arguments change all of them."""
        self.jobs = [
            {
                "job": " ".join(command).replace(".py --mode", ""),
                "line": f"0 0 * * * {' '.join(command)}",
                "command": list(command),
                "next_at": iso(NOW + 19 * HOUR),
                "running_since": None,
                "last_outcome": None,
                "last_ended_at": None,
                "last_success_at": None,
                "skipped": 0,
                "failures_in_a_row": 0,
                **job,
            }
            for command in commands or (("backup.py", "--mode", "p"),)
        ]
        content = {
            "version": 1,
            "pid": 1,
            "started_at": iso(NOW - DAY),
            "beat_at": iso(beat_at),
            "crontab": {"path": "crontab", "sha256": "", "loaded_at": iso(NOW - DAY), "problems": []},
            "stopping": False,
            "jobs": self.jobs,
        }
        (self.state / "scheduler.json").write_text(json.dumps(content))

    def ran(self, job: str, outcome: str, at: datetime, exit_code: int | None = 0, tail: Sequence[str] = ()) -> None:
        line = {
            "version": 1, "job": job, "line": "", "command": [], "run_id": "abcd", "outcome": outcome,
            "exit_code": exit_code, "started_at": iso(at - HOUR), "ended_at": iso(at), "seconds": 3600.0,
            "because": "schedule", "tail": list(tail),
        }  # fmt: skip
        with open(self.state / "jobs.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    # --- looking ---------------------------------------------------------------------------------------------------------

    def snapshot(self, now: datetime = NOW) -> Snapshot:
        """What the same daemon sees now."""
        return self._look.look(now)

    def view(self, source: Source, content: str = "backup", now: datetime = NOW) -> ContentView:
        [view] = [
            view
            for _, each, view in self.snapshot(now).views
            if each.source.key == source.key and view.content == content
        ]
        return view


def a_good_night(shelves: Shelves, sources: int = 2) -> list[Source]:
    """A scheduler that lives and sources that were all saved five hours ago."""
    made = [shelves.source(number, name=f"Project {number}") for number in range(1, sources + 1)]
    shelves.scheduler()
    shelves.list(*made)
    for source in made:
        shelves.saved(source, NOW - 5 * HOUR)
    return made
