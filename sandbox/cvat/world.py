"""What the played CVAT knows: users, organizations, projects, tasks, jobs and their annotations.

All changes go through `World`, under one lock, and touch `updated_date` exactly as a real server does:
deleting frames or moving a job does not touch the project, which is what makes its cached backups stale.
"""

from __future__ import annotations

import itertools
import random
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sandbox.cvat.annotations import Annotations, Json, LabelIndex, stored_annotations
from sandbox.cvat.media import MediaFile, MediaStore
from sandbox.cvat.spreading import part_of, put_together, with_new_ids

PALETTE = (
    "#2080c0", "#20e0e0", "#1f8b51", "#b3eb6f", "#f5fef4", "#6ec4d1", "#66be96", "#5f7550", "#c06060", "#d0a030",
)  # fmt: skip
STAGES = ("annotation", "validation", "acceptance")
STATES = ("new", "in progress", "completed", "rejected")
ROLES = ("owner", "maintainer", "supervisor", "worker")
QUALITY_DEFAULTS: Json = {
    "job_filter": "",
    "inherit": True,
    "target_metric": "accuracy",
    "target_metric_threshold": 0.7,
    "max_validations_per_job": 0,
    "iou_threshold": 0.4,
    "oks_sigma": 0.09,
    "point_size_base": "group_bbox_size",
    "line_thickness": 0.01,
    "low_overlap_threshold": 0.8,
    "compare_line_orientation": True,
    "line_orientation_threshold": 0.1,
    "compare_groups": True,
    "group_match_threshold": 0.5,
    "check_covered_annotations": True,
    "object_visibility_threshold": 0.05,
    "panoptic_comparison": True,
    "compare_attributes": True,
    "empty_is_annotated": False,
}


def iso(moment: datetime | None) -> str | None:
    """The time as Django writes it."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


@dataclass
class User:
    id: int
    username: str
    password: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    groups: list[str] = field(default_factory=lambda: ["user"])
    is_staff: bool = False
    is_superuser: bool = False
    is_active: bool = True
    has_analytics_access: bool = False
    last_login: datetime | None = None
    date_joined: datetime | None = None
    key: str = ""  # one per user: every sign-in of the user gets the same, and a logout ends it for all


@dataclass
class AccessToken:
    id: int
    user_id: int
    name: str
    value: str
    read_only: bool
    created_date: datetime
    updated_date: datetime
    expiry_date: str | None = None
    last_used_date: datetime | None = None


@dataclass
class Organization:
    id: int
    slug: str
    name: str
    description: str
    owner_id: int
    created_date: datetime
    updated_date: datetime
    contact: Json = field(default_factory=dict)


@dataclass
class Membership:
    id: int
    user_id: int
    organization_id: int
    role: str
    joined_date: datetime
    invitation: str | None = None


@dataclass
class AttributeSpec:
    id: int
    name: str
    mutable: bool
    input_type: str
    default_value: str
    values: list[str]


@dataclass
class Label:
    id: int
    name: str
    color: str
    type: str
    attributes: list[AttributeSpec]
    sublabels: list[Label] = field(default_factory=list)
    parent_id: int | None = None
    svg: str = ""


@dataclass
class Guide:
    id: int
    project_id: int | None
    task_id: int | None
    markdown: str
    created_date: datetime
    updated_date: datetime


@dataclass
class Asset:
    uuid: str
    filename: str
    guide_id: int
    owner_id: int
    created_date: datetime
    content: bytes


@dataclass
class Project:
    id: int
    name: str
    owner_id: int | None
    created_date: datetime
    updated_date: datetime
    organization_id: int | None = None
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    guide_id: int | None = None
    bug_tracker: str = ""
    status: str = "annotation"
    target_storage: Json | None = None
    source_storage: Json | None = None
    labels: list[Label] = field(default_factory=list)
    task_ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """One frame as `data/meta` shows it; `file` is the media it came from."""

    name: str
    width: int
    height: int
    related_files: int = 0


@dataclass
class TaskData:
    id: int
    kind: str  # "images" or "video"
    size: int
    frames: list[Frame]
    files: list[MediaFile]  # what lies in data/ of a backup, without the manifest
    manifest: bytes | None
    created_date: datetime
    start_frame: int = 0
    stop_frame: int = 0
    frame_filter: str = ""
    chunk_size: int | None = 72
    image_quality: int = 70
    original_chunk_type: str = "imageset"
    compressed_chunk_type: str = "imageset"
    storage_method: str = "cache"
    sorting_method: str = "lexicographical"
    deleted_frames: set[int] = field(default_factory=set)
    failed: bool = False

    def video_frame(self, number: int) -> str:
        """What exports call a frame of a video: its number in the source, not in the task."""
        return f"frame_{self.start_frame + number * _step(self.frame_filter):06d}"


@dataclass
class Validation:
    """A task's ground truth: `mode` "gt" or "gt_pool" and which frames it has."""

    mode: str
    frames: list[int]
    disabled_frames: list[int] = field(default_factory=list)


@dataclass
class Task:
    id: int
    name: str
    owner_id: int | None
    created_date: datetime
    updated_date: datetime
    project_id: int | None = None
    organization_id: int | None = None
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    guide_id: int | None = None
    bug_tracker: str = ""
    status: str = "annotation"
    mode: str = ""
    overlap: int | None = None
    segment_size: int = 0
    subset: str = ""
    dimension: str = "2d"
    data: TaskData | None = None
    labels: list[Label] = field(default_factory=list)  # its own, when it is in no project
    job_ids: list[int] = field(default_factory=list)
    validation: Validation | None = None
    consensus_replicas: int = 0
    target_storage: Json | None = None
    source_storage: Json | None = None

    @property
    def has_frames(self) -> bool:
        return self.data is not None and not self.data.failed


@dataclass
class Job:
    id: int
    task_id: int
    start_frame: int
    stop_frame: int
    created_date: datetime
    updated_date: datetime
    type: str = "annotation"
    status: str = "annotation"
    stage: str = "annotation"
    state: str = "new"
    assignee_id: int | None = None
    assignee_updated_date: datetime | None = None
    included_frames: list[int] | None = None
    parent_job_id: int | None = None
    annotations: Annotations = field(default_factory=Annotations)

    @property
    def frame_numbers(self) -> list[int]:
        if self.included_frames is not None:
            return list(self.included_frames)
        return list(range(self.start_frame, self.stop_frame + 1))


class NoSuchObject(LookupError):
    """Asked for something that is not there; the text names the model, as Django does."""


class Refused(ValueError):
    """A change the server answers with 400; `answer` is the JSON body."""

    def __init__(self, answer: Any) -> None:
        super().__init__(str(answer))
        self.answer = answer


ExportSeconds = float | Mapping[int, float] | Callable[[str, int], float]


class World:
    """The state of one played server."""

    def __init__(self, media: MediaStore, *, export_seconds: ExportSeconds = 0.0, seed: int = 1) -> None:
        self.lock = threading.RLock()
        self.media = media
        self.random = random.Random(seed)
        self.version = "2.54.1"
        self.export_seconds: ExportSeconds = export_seconds
        self.export_ttl_seconds = 24 * 3600.0
        # Some versions of CVAT leave deleted frames in some of their exports.
        self.leak_deleted_frames = False
        self.upload_limit_bytes = 26843545600
        # Every n-th finished export first answers "finished" without its dates, as the real one does now and then.
        self.null_dates_every = 3
        self.health: dict[str, str] = {
            "Cache backend: default": "working",
            "Cache backend: media": "working",
            "DatabaseBackend": "working",
            "DatabaseBackend[default]": "working",
            "DiskUsage": "working",
            "MemoryUsage": "working",
            "OPAHealthCheck": "working",
        }
        self.users: dict[int, User] = {}
        self.access_tokens: dict[int, AccessToken] = {}
        self.organizations: dict[int, Organization] = {}
        self.memberships: dict[int, Membership] = {}
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, Task] = {}
        self.jobs: dict[int, Job] = {}
        self.guides: dict[int, Guide] = {}
        self.assets: dict[str, Asset] = {}
        self.issues: dict[int, Json] = {}
        self.comments: dict[int, Json] = {}
        self.webhooks: dict[int, Json] = {}
        self.quality_settings: dict[int, Json] = {}
        self.consensus_settings: dict[int, Json] = {}
        self.cloud_storages: dict[int, Json] = {}
        self._ids: dict[str, itertools.count[int]] = {}
        self._last_moment = datetime(2000, 1, 1, tzinfo=UTC)

    # --- ground ---------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """Now, but never the same or an earlier time twice: two changes always differ in their dates."""
        with self.lock:
            moment = datetime.now(UTC)
            if moment <= self._last_moment:
                moment = self._last_moment + timedelta(microseconds=1)
            self._last_moment = moment
            return moment

    def next_id(self, kind: str) -> int:
        return next(self._ids.setdefault(kind, itertools.count(1)))

    def export_seconds_for(self, target: str, target_id: int) -> float:
        setting = self.export_seconds
        if callable(setting):
            return float(setting(target, target_id))
        if isinstance(setting, Mapping):
            return float(setting.get(target_id, 0.0)) if target == "project" else 0.0
        return float(setting)

    def project(self, project_id: int) -> Project:
        try:
            return self.projects[project_id]
        except KeyError:
            raise NoSuchObject("Project") from None

    def task(self, task_id: int) -> Task:
        try:
            return self.tasks[task_id]
        except KeyError:
            raise NoSuchObject("Task") from None

    def job(self, job_id: int) -> Job:
        try:
            return self.jobs[job_id]
        except KeyError:
            raise NoSuchObject("Job") from None

    def touch(self, *things: Project | Task | Job | None) -> None:
        moment = self.now()
        for thing in things:
            if thing is not None:
                thing.updated_date = moment

    def project_of(self, task: Task) -> Project | None:
        return self.projects.get(task.project_id) if task.project_id is not None else None

    def jobs_of(self, task: Task) -> list[Job]:
        return [self.jobs[job_id] for job_id in task.job_ids]

    def tasks_of(self, project: Project) -> list[Task]:
        return [self.tasks[task_id] for task_id in project.task_ids]

    def labels_of(self, thing: Project | Task | Job) -> list[Label]:
        if isinstance(thing, Job):
            thing = self.tasks[thing.task_id]
        if isinstance(thing, Task):
            return self.projects[thing.project_id].labels if thing.project_id is not None else thing.labels
        return thing.labels

    def label_index(self, thing: Project | Task | Job) -> LabelIndex:
        return LabelIndex(self.labels_of(thing))

    # --- people ---------------------------------------------------------------------------------------------

    def add_user(
        self,
        username: str,
        password: str = "sandbox-Pass-123",
        *,
        superuser: bool = False,
        first_name: str = "",
        last_name: str = "",
        email: str | None = None,
    ) -> User:
        with self.lock:
            user = User(
                id=self.next_id("user"),
                username=username,
                password=password,
                first_name=first_name,
                last_name=last_name,
                email=f"{username}@example.com" if email is None else email,
                groups=["admin"] if superuser else ["user"],
                is_staff=superuser,
                is_superuser=superuser,
                has_analytics_access=superuser,
                date_joined=self.now(),
                key=secrets.token_hex(20),
            )
            self.users[user.id] = user
            return user

    def user_named(self, username: str) -> User:
        for user in self.users.values():
            if username in (user.username, user.email):
                return user
        raise NoSuchObject("User")

    def add_access_token(
        self, user: User, name: str, *, read_only: bool = False, expiry_date: str | None = None
    ) -> AccessToken:
        with self.lock:
            moment = self.now()
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
            prefix, secret = ("".join(secrets.choice(alphabet) for _ in range(n)) for n in (8, 32))
            token = AccessToken(
                id=self.next_id("access_token"),
                user_id=user.id,
                name=name,
                value=f"{prefix}.{secret}",
                read_only=read_only,
                created_date=moment,
                updated_date=moment,
                expiry_date=expiry_date,
            )
            self.access_tokens[token.id] = token
            return token

    def add_org(
        self, slug: str, name: str | None = None, owner: User | None = None, description: str = "", **more: Any
    ) -> Organization:
        with self.lock:
            owner = owner or next(iter(self.users.values()))
            moment = self.now()
            org = Organization(
                id=self.next_id("organization"),
                slug=slug,
                name=slug if name is None else name,
                description=description,
                owner_id=owner.id,
                created_date=moment,
                updated_date=moment,
                contact=more.get("contact") or {},
            )
            self.organizations[org.id] = org
            self.add_member(org, owner, "owner")
            return org

    def add_member(
        self, org: Organization, user: User, role: str = "worker", invitation: str | None = None
    ) -> Membership:
        with self.lock:
            membership = Membership(
                self.next_id("membership"), user.id, org.id, role, self.now(), invitation=invitation
            )
            self.memberships[membership.id] = membership
            return membership

    def org_named(self, slug: str) -> Organization:
        for org in self.organizations.values():
            if org.slug == slug:
                return org
        raise NoSuchObject("Organization")

    def role_in(self, user: User, organization_id: int) -> str | None:
        for membership in self.memberships.values():
            if membership.user_id == user.id and membership.organization_id == organization_id:
                return membership.role
        return None

    # --- labels ---------------------------------------------------------------------------------------------

    def make_labels(self, specs: Iterable[Mapping[str, Any]], parent: Label | None = None) -> list[Label]:
        """Labels with new ids from their JSON (POST bodies and backups write them alike)."""
        labels = []
        for number, spec in enumerate(specs):
            label = Label(
                id=self.next_id("label"),
                name=str(spec["name"]),
                color=spec.get("color") or PALETTE[number % len(PALETTE)],
                type=spec.get("type") or ("points" if parent else "any"),
                attributes=[
                    AttributeSpec(
                        id=self.next_id("attribute"),
                        name=str(attribute["name"]),
                        mutable=bool(attribute.get("mutable", False)),
                        input_type=str(attribute.get("input_type", "text")),
                        default_value=str(attribute.get("default_value") or ""),
                        values=[str(value) for value in attribute.get("values") or [""]],
                    )
                    for attribute in spec.get("attributes") or []
                ],
                parent_id=parent.id if parent else None,
                svg=str(spec.get("svg") or ""),
            )
            label.sublabels = self.make_labels(spec.get("sublabels") or [], parent=label)
            labels.append(label)
        return labels

    def change_labels(self, thing: Project | Task, specs: Iterable[Mapping[str, Any]]) -> None:
        """PATCH of `labels`: without an id it is added, with one it is renamed, recoloured or deleted."""
        with self.lock:
            labels = thing.labels
            for spec in specs:
                if spec.get("id") is None:
                    labels.extend(self.make_labels([spec]))
                    continue
                known = next((label for label in labels if label.id == spec["id"]), None)
                if known is None:
                    raise Refused({"labels": [f"Not found label with id #{spec['id']} to change"]})
                if spec.get("deleted"):
                    labels.remove(known)
                    continue
                known.name = spec.get("name", known.name)
                known.color = spec.get("color", known.color)
                for attribute in spec.get("attributes") or []:
                    if attribute.get("id") is None:
                        known.attributes.append(
                            self.make_labels([{"name": "x", "attributes": [attribute]}])[0].attributes[0]
                        )
            if isinstance(thing, Project):
                tasks = self.tasks_of(thing)
                self.touch(thing, *tasks, *(job for task in tasks for job in self.jobs_of(task)))
            else:
                self.touch(thing, *self.jobs_of(thing))

    # --- projects and tasks -----------------------------------------------------------------------------------

    def add_project(
        self,
        name: str,
        org: Organization | str | int | None = None,
        *,
        owner: User | None = None,
        labels: Iterable[Mapping[str, Any]] = (),
        bug_tracker: str = "",
        status: str = "annotation",
        target_storage: Json | None = None,
        source_storage: Json | None = None,
        assignee_id: int | None = None,
    ) -> Project:
        with self.lock:
            moment = self.now()
            project = Project(
                id=self.next_id("project"),
                name=name,
                owner_id=(owner or next(iter(self.users.values()))).id,
                created_date=moment,
                updated_date=moment,
                organization_id=self._org_id(org),
                labels=self.make_labels(labels),
                bug_tracker=bug_tracker,
                status=status,
                target_storage=target_storage,
                source_storage=source_storage,
                assignee_id=assignee_id,
            )
            self.projects[project.id] = project
            self._add_quality_settings(project_id=project.id)
            return project

    def _org_id(self, org: Organization | str | int | None) -> int | None:
        if isinstance(org, str):
            return self.org_named(org).id
        return org.id if isinstance(org, Organization) else org

    def _add_quality_settings(self, *, project_id: int | None = None, task_id: int | None = None) -> None:
        moment = iso(self.now())
        row: Json = {"id": self.next_id("quality"), "task_id": task_id, "project_id": project_id, **QUALITY_DEFAULTS}
        self.quality_settings[row["id"]] = row | {"created_date": moment, "updated_date": moment}

    def add_empty_task(
        self,
        name: str,
        project: Project | int | None = None,
        *,
        owner: User | None = None,
        org: Organization | str | int | None = None,
        labels: Iterable[Mapping[str, Any]] = (),
        subset: str = "",
        **more: Any,
    ) -> Task:
        """A task as POST /api/tasks makes it: without data."""
        with self.lock:
            if isinstance(project, int):
                project = self.project(project)
            moment = self.now()
            task = Task(
                id=self.next_id("task"),
                name=name,
                owner_id=(owner or next(iter(self.users.values()))).id,
                created_date=moment,
                updated_date=moment,
                project_id=project.id if project else None,
                organization_id=project.organization_id if project else self._org_id(org),
                labels=[] if project else self.make_labels(labels),
                subset=subset,
                **more,
            )
            self.tasks[task.id] = task
            self._add_quality_settings(task_id=task.id)
            if project:
                project.task_ids.append(task.id)
                self.touch(project)
            return task

    def add_task(
        self,
        project: Project | int | None,
        name: str,
        frames: int = 3,
        kind: str = "images",
        *,
        owner: User | None = None,
        org: Organization | str | int | None = None,
        labels: Iterable[Mapping[str, Any]] = (),
        subset: str = "",
        segment_size: int = 0,
        overlap: int | None = None,
        gt_frames: Sequence[int] = (),
        consensus_replicas: int = 0,
        files: Sequence[MediaFile] | None = None,
        picture_size: tuple[int, int] = (320, 240),
    ) -> Task:
        """A task with frames drawn for it (or the given files) and its jobs."""
        with self.lock:
            task = self.add_empty_task(name, project, owner=owner, org=org, labels=labels, subset=subset)
            task.consensus_replicas = consensus_replicas
            if files is None:
                files = self.media.video() if kind == "video" else self.media.pictures(frames, picture_size)
            self.attach_files(task, files, kind=kind, segment_size=segment_size, overlap=overlap, gt_frames=gt_frames)
            return task

    def attach_files(
        self,
        task: Task,
        files: Sequence[MediaFile],
        *,
        kind: str,
        segment_size: int = 0,
        overlap: int | None = None,
        gt_frames: Sequence[int] = (),
        image_quality: int = 70,
        chunk_size: int | None = None,
        sorting_method: str = "lexicographical",
        start_frame: int = 0,
        stop_frame: int | None = None,
        frame_filter: str = "",
        manifest: bytes | None = None,
        zip_chunks: bool = False,
        make_jobs: bool = True,
    ) -> None:
        """Gives a task its media and cuts it into jobs."""
        with self.lock:
            if kind == "video":
                video = files[0]
                last = video.frame_count - 1
                last = last if stop_frame is None else min(stop_frame, last)
                frames = [Frame(video.name, video.width, video.height)]
            else:
                if sorting_method == "lexicographical":
                    files = sorted(files, key=lambda file: file.name)
                last = len(files) - 1 if stop_frame is None else min(stop_frame, len(files) - 1)
                shown = range(start_frame, last + 1, _step(frame_filter))
                frames = [Frame(files[n].name, files[n].width, files[n].height) for n in shown]
            numbers = range(start_frame, last + 1, _step(frame_filter))
            size = len(numbers)
            compressed = "video" if kind == "video" and not zip_chunks else "imageset"
            task.data = TaskData(
                id=self.next_id("data"),
                kind=kind,
                size=size,
                frames=frames,
                files=list(files),
                manifest=self.media.manifest(files, kind) if manifest is None else manifest,
                created_date=self.now(),
                start_frame=start_frame,
                stop_frame=numbers[-1] if numbers else last,
                frame_filter=frame_filter,
                chunk_size=chunk_size or (36 if compressed == "video" else 72),
                image_quality=image_quality,
                original_chunk_type="video" if kind == "video" else "imageset",
                compressed_chunk_type=compressed,
                sorting_method=sorting_method,
            )
            task.mode = "interpolation" if kind == "video" else "annotation"
            task.overlap = overlap if overlap is not None else (5 if kind == "video" else 0)
            task.segment_size = min(segment_size or task.segment_size or size, size)
            task.overlap = min(task.overlap, task.segment_size // 2)
            if make_jobs:
                step = max(1, task.segment_size - (task.overlap if task.segment_size < size else 0))
                first = 0
                while True:
                    stop = min(first + task.segment_size, size) - 1
                    job = self.add_job(task, first, stop)
                    for _ in range(task.consensus_replicas):
                        self.add_job(task, first, stop, type="consensus_replica", parent_job_id=job.id)
                    if stop >= size - 1:
                        break
                    first += step
                if gt_frames:
                    self.add_ground_truth(task, gt_frames)
            if task.consensus_replicas:
                self.add_consensus_settings(task)
            self.touch(task)

    def add_cloud_storage(self, resource: str, provider_type: str = "AWS_S3_BUCKET") -> int:
        """Only listed and referred to. Not recorded: the keys that CVAT's source gives such a row."""
        row: Json = {"id": self.next_id("cloud storage"), "display_name": resource, "resource": resource}
        row |= {"provider_type": provider_type, "credentials_type": "KEY_SECRET_KEY_PAIR", "organization": None}
        self.cloud_storages[row["id"]] = row
        return int(row["id"])

    def add_consensus_settings(self, task: Task) -> None:
        row: Json = {"id": self.next_id("consensus"), "task_id": task.id, "iou_threshold": 0.4, "quorum": 0.5}
        self.consensus_settings[row["id"]] = row

    def fail_upload(self, task: Task, name: str = "broken.jpg") -> None:
        """The task's upload was a broken picture: it has data of size 0 and no jobs."""
        with self.lock:
            task.data = TaskData(
                id=self.next_id("data"),
                kind="images",
                size=0,
                frames=[],
                files=[self.media.broken(name)],
                manifest=None,
                created_date=self.now(),
                chunk_size=None,
                storage_method="file_system",
                failed=True,
            )
            self.touch(task)

    def add_job(self, task: Task, start: int, stop: int, **more: Any) -> Job:
        moment = self.now()
        job = Job(self.next_id("job"), task.id, start, stop, moment, moment, **more)
        self.jobs[job.id] = job
        task.job_ids.append(job.id)
        return job

    def add_ground_truth(self, task: Task, frames: Sequence[int]) -> Job:
        assert task.data is not None
        task.validation = Validation("gt", sorted(frames))
        return self.add_job(task, 0, task.data.size - 1, type="ground_truth", included_frames=sorted(frames))

    def add_guide(self, thing: Project | Task, markdown: str) -> Guide:
        with self.lock:
            moment = self.now()
            guide = Guide(
                id=self.next_id("guide"),
                project_id=thing.id if isinstance(thing, Project) else None,
                task_id=thing.id if isinstance(thing, Task) else None,
                markdown=markdown,
                created_date=moment,
                updated_date=moment,
            )
            self.guides[guide.id] = guide
            thing.guide_id = guide.id
            self.touch(thing)
            return guide

    def add_asset(self, guide: Guide, filename: str, content: bytes, owner: User | None = None) -> Asset:
        with self.lock:
            owner = owner or next(iter(self.users.values()))
            uuid = str(UUID(int=self.random.getrandbits(128), version=4))
            asset = Asset(uuid, filename, guide.id, owner.id, self.now(), content)
            self.assets[uuid] = asset
            return asset

    def rename_project(self, project_id: int, name: str) -> None:
        with self.lock:
            self.patch_project(self.project(project_id), {"name": name})

    def patch_project(self, project: Project, changes: Mapping[str, Any]) -> None:
        """Sets fields; the same values again do not touch the project."""
        with self.lock:
            different = {key: value for key, value in changes.items() if getattr(project, key) != value}
            if not different:
                return
            if "organization_id" in different:
                self._move_to_org(project, different["organization_id"])
            for key, value in different.items():
                setattr(project, key, value)
            if "assignee_id" in different:
                project.assignee_updated_date = self.now()
            self.touch(project)

    def _move_to_org(self, project: Project, organization_id: int | None) -> None:
        # Measured: moving a project makes the caller the owner and drops every assignee.
        project.assignee_id = None
        for task in self.tasks_of(project):
            task.organization_id = organization_id
            task.assignee_id = None
            for job in self.jobs_of(task):
                job.assignee_id = None

    def patch_task(self, task: Task, changes: Mapping[str, Any]) -> None:
        with self.lock:
            different = {key: value for key, value in changes.items() if getattr(task, key) != value}
            if not different:
                return
            for key, value in different.items():
                setattr(task, key, value)
            if "assignee_id" in different:
                task.assignee_updated_date = self.now()
            self.touch(task, self.project_of(task))

    def move_task(self, task_id: int, project_id: int) -> None:
        """PATCH project_id: labels are matched by name, attributes by name and values."""
        with self.lock:
            task, target = self.task(task_id), self.project(project_id)
            old = self.labels_of(task)
            label_ids: dict[int, int] = {}
            spec_ids: dict[int, int] = {}
            self._map_labels(old, target.labels, label_ids, spec_ids)
            for job in self.jobs_of(task):
                job.annotations.replace_ids(label_ids, spec_ids)
            source = self.project_of(task)
            if source is not None:
                source.task_ids.remove(task.id)
            task.project_id, task.organization_id, task.labels = target.id, target.organization_id, []
            target.task_ids.append(task.id)
            target.task_ids.sort()
            self.touch(task, target, source, *self.jobs_of(task))

    def _map_labels(
        self, old: list[Label], new: list[Label], label_ids: dict[int, int], spec_ids: dict[int, int]
    ) -> None:
        by_name = {label.name: label for label in reversed(new)}
        for label in old:
            match = by_name.get(label.name)
            if match is None:
                text = "All task or project label names must be mapped to the target project"
                raise Refused({"non_field_errors": [text]})
            label_ids[label.id] = match.id
            specs = {(spec.name, spec.input_type, tuple(spec.values)): spec.id for spec in match.attributes}
            for spec in label.attributes:
                key = (spec.name, spec.input_type, tuple(spec.values))
                if key not in specs:
                    text = f'Target project does not have "{label.name}" label with "{spec.name}" attribute'
                    raise Refused([text])
                spec_ids[spec.id] = specs[key]
            self._map_labels(label.sublabels, match.sublabels, label_ids, spec_ids)

    def delete_project(self, project_id: int) -> None:
        with self.lock:
            project = self.project(project_id)
            for task_id in list(project.task_ids):
                self.delete_task(task_id)
            del self.projects[project_id]
            self._drop_rows(project_id=project_id)

    def delete_task(self, task_id: int) -> None:
        with self.lock:
            task = self.task(task_id)
            for job_id in task.job_ids:
                del self.jobs[job_id]
            gone = set(task.job_ids)
            self.issues = {key: row for key, row in self.issues.items() if row["job"] not in gone}
            self.comments = {key: row for key, row in self.comments.items() if row["issue"] in self.issues}
            del self.tasks[task_id]
            self._drop_rows(task_id=task_id)
            project = self.project_of(task)
            if project is not None:
                project.task_ids.remove(task_id)
                self.touch(project)

    def _drop_rows(self, **keys: int) -> None:
        for table in (self.quality_settings, self.consensus_settings, self.webhooks):
            for row_id in [i for i, row in table.items() if all(row.get(k) == v for k, v in keys.items())]:
                del table[row_id]

    # --- frames, jobs, annotations ----------------------------------------------------------------------------

    def set_deleted_frames(self, task: Task, frames: Iterable[int], within: Iterable[int] | None = None) -> None:
        """Replaces the deleted frames (of one job's range, if given). Touches only the task."""
        with self.lock:
            if task.data is None:
                raise NoSuchObject("Data")
            wanted = set(frames)
            if within is None:
                task.data.deleted_frames = wanted
            else:
                task.data.deleted_frames = (task.data.deleted_frames - set(within)) | wanted
            self.touch(task)

    def delete_frame(self, task: Task | int, frame: int) -> None:
        task = self.task(task) if isinstance(task, int) else task
        assert task.data is not None
        self.set_deleted_frames(task, task.data.deleted_frames | {frame})

    def restore_frame(self, task: Task | int, frame: int) -> None:
        task = self.task(task) if isinstance(task, int) else task
        assert task.data is not None
        self.set_deleted_frames(task, task.data.deleted_frames - {frame})

    def set_job(self, job: Job | int, *, state: str | None = None, stage: str | None = None, **more: Any) -> None:
        """Moves a job: a state touches the job only, a stage also its task; neither touches the project."""
        with self.lock:
            job = self.job(job) if isinstance(job, int) else job
            task = self.tasks[job.task_id]
            if stage is not None:
                if stage != job.stage and state is None:
                    state = "new"
                job.stage = stage
                self.touch(task)
            if state is not None:
                job.state = state
            if stage is not None or state is not None:
                job.status = job_status(job.stage, job.state)
                task.status = task_status(self.jobs_of(task))
            if "assignee_id" in more:
                job.assignee_id = more["assignee_id"]
                job.assignee_updated_date = self.now()
            self.touch(job)

    def put_annotations(self, job: Job | int, raw: Mapping[str, Any], *, keep: bool = False) -> Annotations:
        """Replaces (or with `keep` adds to) what a job holds; the answer is what was stored by this call."""
        with self.lock:
            job = self.job(job) if isinstance(job, int) else job
            labels = self.label_index(job)
            added = stored_annotations(raw, labels, self.annotation_id)
            stored = added.completed(labels)
            job.annotations = job.annotations.joined(stored) if keep else stored
            self.annotations_changed(job)
            return added

    def annotations_changed(self, job: Job) -> None:
        task = self.tasks[job.task_id]
        self.touch(job, task, self.project_of(task))

    def add_shape(
        self,
        job: Job | int,
        label: str,
        points: Sequence[float] = (10.0, 10.0, 60.0, 50.0),
        frame: int | None = None,
        type: str = "rectangle",  # noqa: A002 (the field's own name)
        **more: Any,
    ) -> Annotations:
        """One shape, its label and attributes by name: `attributes={"color": "red"}`."""
        with self.lock:
            job = self.job(job) if isinstance(job, int) else job
            index = self.label_index(job)
            attributes = [
                {"spec_id": index.spec_named(label, name), "value": value}
                for name, value in (more.pop("attributes", None) or {}).items()
            ]
            shape = {
                "type": type,
                "label_id": index.named(label),
                "points": list(points),
                "frame": job.frame_numbers[0] if frame is None else frame,
                "attributes": attributes,
                **more,
            }
            return self.put_annotations(job, {"shapes": [shape]}, keep=True)

    def annotation_id(self, kind: str) -> int:
        """Tags, shapes, tracks and the shapes of tracks are counted apart: their ids can be equal."""
        return self.next_id(f"annotation: {kind}")

    def held(self, job: Job) -> Annotations:
        """What a job holds, as it is read: also with the defaults of attributes that its labels got later."""
        return job.annotations.completed(self.label_index(job)).sorted_by_frame()

    def task_annotations(self, task: Task) -> Annotations:
        """The task-level merge: it leaves out ground truth and consensus replicas."""
        with self.lock:
            parts = [(job.start_frame, self.held(job)) for job in self.jobs_of(task) if job.type == "annotation"]
            return put_together(parts, task.overlap or 0)

    def put_task_annotations(self, task: Task, raw: Mapping[str, Any], *, keep: bool = False) -> Annotations:
        """Spreads annotations over the jobs that hold their frames; what is beyond the task is dropped.

        With `keep` what is there stays. The answer is what was stored by this call.
        """
        with self.lock:
            labels = self.label_index(task)
            whole = stored_annotations(raw, labels, lambda kind: 0)
            added = []
            jobs = [job for job in self.jobs_of(task) if job.type == "annotation"]
            for job in jobs:
                part = with_new_ids(part_of(whole, job.start_frame, job.stop_frame), self.annotation_id)
                stored = part.completed(labels)
                job.annotations = job.annotations.joined(stored) if keep else stored
                added.append((job.start_frame, part))
            self.touch(*jobs, task, self.project_of(task))
            return put_together(added, task.overlap or 0)


def job_status(stage: str, state: str) -> str:
    if stage == "annotation":
        return "annotation"
    return "completed" if stage == "acceptance" and state == "completed" else "validation"


def task_status(jobs: Iterable[Job]) -> str:
    statuses = {job.status for job in jobs if job.type == "annotation"}
    if statuses == {"completed"}:
        return "completed"
    return "validation" if statuses and "annotation" not in statuses else "annotation"


def _step(frame_filter: str) -> int:
    match = re.fullmatch(r"step=(\d+)", frame_filter.replace(" ", ""))
    return int(match.group(1)) if match else 1
