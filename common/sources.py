"""What can be backed up, in the words that the CVAT room and the backups room share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["project", "task"]


@dataclass(frozen=True)
class Source:
    """One project, or one task that is in no project.

    Identity is (server, kind, id, created_at): after a reinstall of CVAT, project 1 is another project.
    """

    server: str  # address without the scheme: "cvat.example.com"
    kind: Kind
    id: int
    created_at: str  # ISO 8601 as the server gives it
    name: str
    organization_id: int | None = None

    @property
    def key(self) -> tuple[str, str, int, str]:
        return (self.server, self.kind, self.id, self.created_at)

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


@dataclass(frozen=True)
class Fingerprint:
    """Tells whether anything in a source has changed since.

    `digest` sums a hash of (what, id, updated_date) over the source, its tasks and its jobs, so it needs no
    order and no memory; `newest` is the newest of those dates, for people. The source's own date alone would
    miss deleted frames, job states and job stages.
    """

    newest: str
    tasks: int
    jobs: int
    digest: str


@dataclass(frozen=True)
class JobRange:
    """One job as both the API and an archive's task.json describe it. Frames are task-relative, inclusive."""

    type: str
    start_frame: int
    stop_frame: int
    status: str


@dataclass(frozen=True)
class Counts:
    """Annotations in a job, task or source; elements of skeletons and shapes inside tracks are not counted."""

    tags: int = 0
    shapes: int = 0
    tracks: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tags + other.tags, self.shapes + other.shapes, self.tracks + other.tracks)

    @property
    def total(self) -> int:
        return self.tags + self.shapes + self.tracks


@dataclass(frozen=True)
class TaskContents:
    """What a task holds, as the server says or as an archive says: the two are compared."""

    name: str
    start_frame: int
    stop_frame: int
    deleted_frames: frozenset[int]
    jobs: tuple[JobRange, ...]
    counts: Counts
    frames: int = 0


@dataclass(frozen=True)
class TaskState:
    """A task of a source as the listings give it."""

    id: int
    name: str
    has_data: bool
    is_video: bool
    raw: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)


@dataclass(frozen=True)
class SourceState:
    """A source as the server's listings showed it at one moment."""

    source: Source
    fingerprint: Fingerprint
    has_video: bool
    has_images: bool
    is_3d: bool
    tasks_without_data: int

    @property
    def has_data(self) -> bool:
        return self.has_video or self.has_images
