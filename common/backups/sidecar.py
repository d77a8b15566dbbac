"""The sidecar beside a source's backups: what CVAT's own archive loses, as it was at one moment.

`metadata_20261121T013300Z.json` in the source's folder. A new one is written only when something differs from the
newest, so each holds from its stamp until the next one's. It holds no secrets: a webhook's secret cannot be read, and
an invitation's key is left out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common import log
from common.backups.names import next_stamp, stamp_of
from common.backups.record import BadRecord, Server
from common.files import write_json
from common.sources import Source
from common.text import now

SIDECAR_VERSION = 1
# What a lesser account or an older server may not show. Each is a field of Sidecar, or one of its tasks' fields.
Part = Literal["issues", "webhooks", "quality", "consensus", "organization", "validation"]
PARTS: tuple[Part, ...] = ("issues", "webhooks", "quality", "consensus", "organization", "validation")
_NAME = re.compile(r"metadata_(\d{8}T\d{6}Z)\.json")
# Who read it and when says nothing about the source.
_CIRCUMSTANCES = ("version", "server", "stamp", "read_at", "read_by", "tool_version", "not_readable")


@dataclass(frozen=True)
class Person:
    id: int
    username: str
    name: str = ""


@dataclass(frozen=True)
class Job:
    """Frames are task-relative, inclusive: with the type they tell which job of a restored task this one is."""

    id: int
    type: str
    start_frame: int
    stop_frame: int
    stage: str
    state: str
    status: str
    assignee: Person | None
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Task:
    """`disabled_frames` is None where there is no validation layout, or where it could not be read."""

    id: int
    name: str
    has_data: bool
    owner: Person | None
    assignee: Person | None
    created_at: str
    updated_at: str
    source_storage: dict[str, Any] | None
    target_storage: dict[str, Any] | None
    jobs: tuple[Job, ...]
    validation_mode: str | None = None
    disabled_frames: tuple[int, ...] | None = None
    quality: dict[str, Any] | None = None
    consensus: dict[str, Any] | None = None


@dataclass(frozen=True)
class Comment:
    id: int
    owner: Person | None
    message: str
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Issue:
    """The first comment is the issue's own message."""

    id: int
    job_id: int
    frame: int
    position: tuple[float, ...]
    owner: Person | None
    assignee: Person | None
    resolved: bool
    created_at: str
    updated_at: str
    comments: tuple[Comment, ...]


@dataclass(frozen=True)
class Webhook:
    id: int
    target_url: str
    description: str
    content_type: str
    is_active: bool
    enable_ssl: bool
    events: tuple[str, ...]
    owner: Person | None
    created_at: str
    updated_at: str


@dataclass(frozen=True)
class Member:
    user: Person
    role: str
    is_active: bool
    joined_at: str


@dataclass(frozen=True)
class Organization:
    id: int
    slug: str
    name: str = ""
    description: str = ""
    contact: dict[str, Any] = field(default_factory=dict)
    owner: Person | None = None
    created_at: str = ""
    updated_at: str = ""
    members: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Sidecar:
    """One source's metadata. Tasks, jobs, issues and comments stand in the order of their ids.

    A part that could not be read is empty, and `not_readable` says why.
    """

    source: Source
    server: Server
    stamp: str
    read_at: str
    read_by: str
    tool_version: str
    owner: Person | None
    assignee: Person | None
    updated_at: str
    source_storage: dict[str, Any] | None
    target_storage: dict[str, Any] | None
    tasks: tuple[Task, ...]
    organization: Organization | None = None
    issues: tuple[Issue, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    organization_webhooks: tuple[Webhook, ...] = ()
    quality: dict[str, Any] | None = None
    not_readable: dict[str, str] = field(default_factory=dict)
    version: int = field(default=SIDECAR_VERSION, kw_only=True)

    def task(self, task_id: int) -> Task | None:
        return next((task for task in self.tasks if task.id == task_id), None)


# --- on disk ------------------------------------------------------------------------------------------------------


def to_json(sidecar: Sidecar) -> dict[str, Any]:
    """The sidecar as it stands on disk."""
    value: dict[str, Any] = json.loads(json.dumps(sidecar, default=vars))
    return {"version": value.pop("version"), **value}


def from_json(value: Any) -> Sidecar:
    """Raises BadRecord."""
    if not isinstance(value, dict):
        raise BadRecord("it is not a JSON object")
    version = value.get("version")
    if not isinstance(version, int) or version > SIDECAR_VERSION:
        raise BadRecord(f"it has version {version!r}; this program knows versions up to {SIDECAR_VERSION}")
    try:
        return Sidecar(
            **{
                **value,
                "source": Source(**value["source"]),
                "server": Server(**value["server"]),
                "owner": _person(value["owner"]),
                "assignee": _person(value["assignee"]),
                "tasks": tuple(_task(item) for item in value["tasks"]),
                "organization": _organization(value["organization"]),
                "issues": tuple(_issue(item) for item in value["issues"]),
                "webhooks": tuple(_webhook(item) for item in value["webhooks"]),
                "organization_webhooks": tuple(_webhook(item) for item in value["organization_webhooks"]),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadRecord(f"it is damaged ({type(error).__name__}: {error})") from None


def _person(value: dict[str, Any] | None) -> Person | None:
    return Person(**value) if value else None


def _task(value: dict[str, Any]) -> Task:
    jobs = tuple(Job(**{**item, "assignee": _person(item["assignee"])}) for item in value["jobs"])
    frames = value["disabled_frames"]
    people = {"owner": _person(value["owner"]), "assignee": _person(value["assignee"])}
    return Task(**{**value, **people, "jobs": jobs, "disabled_frames": None if frames is None else tuple(frames)})


def _issue(value: dict[str, Any]) -> Issue:
    comments = tuple(Comment(**{**item, "owner": _person(item["owner"])}) for item in value["comments"])
    people = {"owner": _person(value["owner"]), "assignee": _person(value["assignee"])}
    return Issue(**{**value, **people, "position": tuple(value["position"]), "comments": comments})


def _webhook(value: dict[str, Any]) -> Webhook:
    return Webhook(**{**value, "events": tuple(value["events"]), "owner": _person(value["owner"])})


def _organization(value: dict[str, Any] | None) -> Organization | None:
    if value is None:
        return None
    members = tuple(Member(**{**item, "user": Person(**item["user"])}) for item in value["members"])
    return Organization(**{**value, "owner": _person(value["owner"]), "members": members})


# --- in a source's folder -----------------------------------------------------------------------------------------


def sidecar_stamp(file_name: str) -> str | None:
    """The stamp in a sidecar's file name; None for any other file."""
    match = _NAME.fullmatch(file_name)
    return match[1] if match else None


def sidecar_stamps(folder: Path) -> list[str]:
    """The stamps of the sidecars in a source's folder, newest first."""
    return sorted((stamp for name in os.listdir(folder) if (stamp := sidecar_stamp(name))), reverse=True)


def sidecar_path(folder: Path, stamp: str) -> Path:
    return folder / f"metadata_{stamp}.json"


def newest_sidecar(folder: Path, at_stamp: str | None = None, unread: list[str] | None = None) -> Sidecar | None:
    """The newest readable sidecar; with the stamp of a backup the one that belongs to it.

    That is the one in force when it was made (the oldest, if all are younger). To the newest backup belongs the newest
    sidecar: issues that were written since are issues of what it holds, for nothing else has made a newer one.

    What the account could not read on that day is taken from an older one that has it: rights that were lost for
    a night must not cost the review issues of a year. `not_readable` then names only what none of them has.

    `unread` is told of the files, newer than the one that is taken, that are there but cannot be read. Raises OSError.
    """
    stamps = sidecar_stamps(folder)
    if at_stamp is not None and _is_outdated(folder, at_stamp):
        stamps = [stamp for stamp in stamps if stamp <= at_stamp] or stamps[-1:]
    passed_over: list[str] = []
    found = _readable(folder, stamps, passed_over)
    sidecar = next(found, None)
    if unread is not None:
        unread += passed_over
    if sidecar is None:
        return None
    while sidecar.not_readable:
        older = next(found, None)
        if older is None:
            break
        sidecar = filled(sidecar, older)
    return sidecar


def _is_outdated(folder: Path, stamp: str) -> bool:
    """Whether there is a newer backup in the folder."""
    names = (name for name in os.listdir(folder) if name.endswith(".zip.json"))
    return any((stamp_of(name, "backup") or "") > stamp for name in names)


def _readable(folder: Path, stamps: list[str], passed_over: list[str]) -> Iterator[Sidecar]:
    for stamp in stamps:
        path = sidecar_path(folder, stamp)
        try:
            yield read_sidecar(path)
        except (OSError, BadRecord) as error:
            log.get().warning("sidecar_unreadable", file=str(path), reason=str(error))
            if not isinstance(error, FileNotFoundError):
                passed_over.append(f"{path.name}: {(error.strerror if isinstance(error, OSError) else '') or error}")


def read_sidecar(path: Path) -> Sidecar:
    """Raises OSError where it could not be read, BadRecord where what was read is no sidecar."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BadRecord(f"it is damaged ({error})") from None


def filled(sidecar: Sidecar, older: Sidecar) -> Sidecar:
    """A sidecar with the parts it could not read taken from an older one, as far as that one has them."""
    for part in [name for name in sidecar.not_readable if name not in older.not_readable]:
        rest = {name: why for name, why in sidecar.not_readable.items() if name != part}
        old = {task.id: task for task in older.tasks}
        changes: dict[str, Any] = {"not_readable": rest}
        if part == "issues":
            changes["issues"] = older.issues
        elif part == "webhooks":
            changes |= {"webhooks": older.webhooks, "organization_webhooks": older.organization_webhooks}
        elif part == "organization":
            changes["organization"] = older.organization if sidecar.source.organization_id else None
        else:
            name = "disabled_frames" if part == "validation" else part
            changes["tasks"] = tuple(
                dataclasses.replace(task, **{name: getattr(old[task.id], name)}) if task.id in old else task
                for task in sidecar.tasks
            )
            if part == "quality":
                changes["quality"] = older.quality
        sidecar = dataclasses.replace(sidecar, **changes)
    return sidecar


def write_if_new(folder: Path, sidecar: Sidecar) -> bool:
    """Writes a sidecar with a stamp of its own unless the newest one says the same. Raises DiskFull, OSError."""
    stamps = sidecar_stamps(folder)
    for name in os.listdir(folder):
        if name.endswith(".tmp") and sidecar_stamp(name.removeprefix(".").removesuffix(".tmp")):
            (folder / name).unlink(missing_ok=True)  # torn: the program was killed while it wrote
    value = to_json(sidecar)
    if stamps and not _has_news(value, _raw(sidecar_path(folder, stamps[0]))):
        return False
    value["stamp"] = next_stamp(now(), stamps[0] if stamps else None)
    write_json(sidecar_path(folder, value["stamp"]), value)
    return True


def _raw(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and value.get("version") == SIDECAR_VERSION else {}


def _has_news(present: Mapping[str, Any], newest: Mapping[str, Any]) -> bool:
    """Whether anything that can be read now differs from the newest sidecar, or could not be read then."""
    if not newest:
        return True
    hidden = set(present["not_readable"])
    if set(newest.get("not_readable", ())) - hidden:
        return True
    return _visible(present, hidden) != _visible(newest, hidden)


def _visible(value: Mapping[str, Any], hidden: set[str]) -> dict[str, Any]:
    """Everything but the circumstances and the parts that cannot be read now."""
    names = {"disabled_frames" if part == "validation" else part for part in hidden}
    names |= {"organization_webhooks"} & {f"organization_{part}" for part in hidden}
    seen = {key: item for key, item in value.items() if key not in _CIRCUMSTANCES and key not in names}
    if names & {"quality", "consensus", "disabled_frames"}:
        seen["tasks"] = [{key: item for key, item in task.items() if key not in names} for task in value["tasks"]]
    return seen
