"""The state of the played server: plain records, one lock."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass
class Label:
    id: str
    name: str
    color: str
    group: str
    hotkey: str = ""
    is_empty: bool = False
    is_anomalous: bool = False
    parent_id: str | None = None
    deleted: bool = False


@dataclass
class Task:
    id: str
    title: str
    task_type: str
    label_schema_id: str = ""
    model_storage_id: str = ""
    labels: list[Label] = field(default_factory=list)
    keypoint_structure: Json | None = None

    @property
    def trainable(self) -> bool:
        return self.task_type not in ("dataset", "crop")

    def label(self, label_id: str) -> Label | None:
        return next((label for label in self.labels if label.id == label_id), None)


@dataclass
class Scene:
    """The latest annotations of one picture: shapes in the units the generation speaks."""

    id: str
    annotations: list[Json]
    modified: str
    revisit: list[str] = field(default_factory=list)


@dataclass
class Media:
    id: str
    name: str  # without extension
    kind: str  # image or video
    extension: str  # as stored, with dot
    path: Path
    width: int
    height: int
    uploaded: str
    duration: int = 0
    frame_count: int = 0
    frame_rate: float = 0.0
    ready_at: float | None = None  # monotonic seconds; preprocessing until then
    scenes: dict[int, Scene] = field(default_factory=dict)  # by frame; an image has frame 0
    predictions: dict[int, list[Json]] = field(default_factory=dict)
    ranges: list[Json] = field(default_factory=list)


@dataclass
class Dataset:
    id: str
    name: str
    created: str
    use_for_training: bool
    media: dict[str, Media] = field(default_factory=dict)  # in order of upload

    def of(self, kind: str) -> list[Media]:
        return [one for one in list(self.media.values()) if one.kind == kind]


@dataclass
class Model:
    id: str
    name: str
    version: int
    active: bool
    created: str
    content: bytes
    score: float = 0.8
    purged: bool = False
    optimized: list[Json] = field(default_factory=list)  # id, name, model_format, optimization_type, precision, content


@dataclass
class ModelGroup:
    id: str
    name: str
    task_id: str
    template: str
    models: list[Model] = field(default_factory=list)


@dataclass
class Project:
    id: str
    name: str
    created: str
    creator: str
    tasks: list[Task]
    connections: list[tuple[str, str]]  # task ids
    datasets: list[Dataset]
    workspace_id: str = ""
    groups: list[ModelGroup] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)  # configuration, old style
    task_configs: dict[str, Json] = field(default_factory=dict)  # configuration, new style, by task
    training_configs: dict[str, Json] = field(default_factory=dict)

    @property
    def trainable(self) -> list[Task]:
        return [task for task in self.tasks if task.trainable]

    @property
    def training_dataset(self) -> Dataset:
        return next(dataset for dataset in self.datasets if dataset.use_for_training)

    def task_of(self, label_id: str) -> tuple[Task, Label] | None:
        for task in self.trainable:
            label = task.label(label_id)
            if label is not None:
                return task, label
        return None


@dataclass
class Job:
    id: str
    type: str
    name: str
    project_id: str | None
    project_name: str
    created: str
    state: str = "running"
    ends_at: float | None = None  # monotonic seconds
    message: str = ""
    metadata: Json = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state in ("running", "scheduled")


@dataclass
class Workspace:
    id: str
    name: str
    created: str


class World:
    """Everything the server knows. `lock` is held while a request changes or lists it."""

    def __init__(self, directory: Path, *, uuids: bool, seed: int) -> None:
        self.lock = threading.RLock()
        self.directory = directory
        (directory / "media").mkdir(parents=True, exist_ok=True)
        self.dice = random.Random(seed)
        self._counter = itertools.count(self.dice.randrange(1 << 20, 1 << 22))
        self._clock = itertools.count()
        self._seed = f"{self.dice.getrandbits(40):010x}"
        self.started = datetime.now(UTC)
        self.organization_id = str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        workspace = str(uuid.UUID(int=self.dice.getrandbits(128), version=4)) if uuids else self.new_id()
        self.workspaces = [Workspace(workspace, "Default Workspace", self.now())]
        self.projects: dict[str, Project] = {}
        self.jobs: dict[str, Job] = {}
        self.forbidden: set[str] = set()  # projects that are listed but answer 403
        self.archives: dict[str, Path] = {}  # finished exports and uploaded files, by id

    def add_workspaces(self, count: int, *, uuids: bool) -> None:
        for number in range(count):
            identifier = self.new_uuid() if uuids else self.new_id()
            self.workspaces.append(Workspace(identifier, f"Workspace {number + 2}", self.now()))

    def new_id(self) -> str:
        """24 hex digits: seconds, a part of this server's own, a counter."""
        return f"{int(datetime.now(UTC).timestamp()):08x}{self._seed}{next(self._counter) & 0xFFFFFF:06x}"

    def new_uuid(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def now(self) -> str:
        """Milliseconds, never twice the same: lists are ordered by it."""
        moment = self.started + timedelta(milliseconds=next(self._clock))
        return moment.isoformat(timespec="milliseconds")

    def project_named(self, name: str) -> Project:
        found = [project for project in self.projects.values() if project.name == name]
        if len(found) != 1:
            raise KeyError(f"{len(found)} projects are named {name}")
        return found[0]

    def all_media(self, project: Project) -> Iterator[tuple[Dataset, Media]]:
        for dataset in project.datasets:
            for media in list(dataset.media.values()):
                yield dataset, media

    def running(self, project: Project) -> list[Job]:
        return [job for job in self.jobs.values() if job.project_id == project.id and job.open]
