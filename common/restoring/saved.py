"""A saved annotations archive (mode a), read: its tasks, jobs and labels."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from common.backups.archive import Archive, BadArchive, Member
from common.restoring.labels import Labels, labels_of
from common.restoring.soundness import Refused
from common.sources import Kind

LARGEST_JOB_BYTES = 2 << 30


@dataclass(frozen=True)
class SavedTask:
    id: int
    name: str
    created_at: str
    raw: dict[str, Any]
    jobs: list[dict[str, Any]]


class SavedAnnotations:
    """Raises Refused when it is no such archive, or a damaged one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = Archive(path)
        except (BadArchive, OSError) as error:
            raise Refused(f"{path.name} is no sound archive: {error}") from None
        try:
            self._members: dict[str, Member] = {member.name: member for member in self._archive.members()}
            if not {"source.json", "labels.json", "jobs.json"} <= self._members.keys():
                raise Refused(
                    f"{path.name} holds no annotations that can be put back: that is the …_api.zip of backup.py --mode a"
                )
            self.source: dict[str, Any] = self._json("source.json")
            self.kind: Kind = "project" if "tasks" in self.source else "task"
            self.labels: Labels = labels_of(self._json("labels.json"))
            self.label_names = {path[0] for path in self.labels.id_of}
            jobs: list[dict[str, Any]] = self._json("jobs.json")
            self.tasks = [self._task(int(match[1]), jobs) for name in self._members if (match := _TASK.fullmatch(name))]
        except BaseException as error:
            self._archive.close()
            if isinstance(error, BadArchive | KeyError | ValueError | TypeError):
                raise Refused(f"{path.name} is no sound archive: {error}") from None
            raise

    def _task(self, task_id: int, jobs: list[dict[str, Any]]) -> SavedTask:
        raw = self._json(f"tasks/{task_id}/task.json")
        mine = [job for job in jobs if job["task_id"] == task_id and self._job_name(task_id, job) in self._members]
        return SavedTask(
            task_id, str(raw["name"]), str(raw["created_date"]), raw, sorted(mine, key=lambda job: job["id"])
        )

    @staticmethod
    def _job_name(task_id: int, job: dict[str, Any]) -> str:
        return f"tasks/{task_id}/jobs/{job['id']}.json"

    def _json(self, name: str, largest_bytes: int = 256 << 20) -> Any:
        return json.loads(self._archive.read_small(self._members[name], largest_bytes))

    def frames(self, task: SavedTask) -> dict[str, Any]:
        """The task's data/meta. Raises Refused."""
        return self._guarded(f"tasks/{task.id}/frames.json")  # type: ignore[no-any-return]

    def annotations(self, task: SavedTask, job: dict[str, Any]) -> Any:
        """One job's annotations as they were saved. Raises Refused."""
        return self._guarded(self._job_name(task.id, job), LARGEST_JOB_BYTES)

    def _guarded(self, name: str, largest_bytes: int = 256 << 20) -> Any:
        try:
            return self._json(name, largest_bytes)
        except (BadArchive, KeyError, ValueError) as error:
            raise Refused(f"{self.path.name}: {name} cannot be read ({error})") from None

    def __enter__(self) -> SavedAnnotations:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()


_TASK = re.compile(r"tasks/(\d+)/task\.json")
