"""metrics.json: what a run found, downloaded, skipped and failed to get, task by task."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from common.files import write_json

Outcome = Literal["downloaded", "skipped", "failed"]
FILE_NAME = "metrics.json"


@dataclass(frozen=True)
class TaskDetail:
    """One task of a run. `size` is its number of frames, `bytes` what its folder holds."""

    task_id: int
    task_name: str
    directory_name: str
    status: str
    size: int
    output_dir: str
    outcome: Outcome
    images_filtered: int = 0
    annotations_filtered: int = 0
    bytes: int = 0
    seconds: float = 0.0
    format: str = ""
    reason: str = ""

    @property
    def success(self) -> bool:
        return self.outcome != "failed"


@dataclass
class Metrics:
    """The figures of one run; `as_json` gives them the names that metrics.json has."""

    format: str
    project_id: int | None = None
    task_ids_filter: list[int] | None = None
    status_filter: str | None = None
    output_dir: str = ""
    total_tasks_found: int = 0
    seconds: float = 0.0
    reason: str = ""
    merged_dir: str = ""
    details: list[TaskDetail] = field(default_factory=list)

    def of(self, outcome: Outcome) -> list[TaskDetail]:
        return [detail for detail in self.details if detail.outcome == outcome]

    def as_json(self) -> dict[str, Any]:
        details = sorted(self.details, key=lambda detail: detail.task_id)
        downloaded = self.of("downloaded")
        return {
            "total_tasks_found": self.total_tasks_found,
            "tasks_downloaded": len(downloaded),
            "tasks_skipped": len(self.of("skipped")),
            "tasks_failed": len(self.of("failed")),
            "images_filtered": sum(detail.images_filtered for detail in downloaded),
            "annotations_filtered": sum(detail.annotations_filtered for detail in downloaded),
            "project_id": self.project_id,
            "task_ids_filter": self.task_ids_filter,
            "status_filter": self.status_filter,
            "format": self.format,
            "output_dir": self.output_dir,
            "merged_dir": self.merged_dir or None,
            "bytes": sum(detail.bytes for detail in details),
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "task_details": [{**asdict(detail), "success": detail.success} for detail in details],
        }

    def write(self, folder: Path) -> Path:
        """Writes metrics.json into a folder, atomically. Raises OSError, DiskFull."""
        write_json(folder / FILE_NAME, self.as_json())
        return folder / FILE_NAME
