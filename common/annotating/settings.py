"""The settings of fiftyone_sync.py."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from common.cvat.settings import CvatSettings
from common.settings import ROOT, absolute

LABEL_TYPES = (
    "classification", "classifications", "detection", "detections", "instance", "instances", "polyline", "polylines",
    "polygon", "polygons", "keypoint", "keypoints", "segmentation", "scalar",
)  # fmt: skip
# What needs nothing of CVAT: allowed also without credentials.
WITHOUT_CVAT = ("undo",)
OF_ONE_RUN = ("create", "load", "cleanup", "undo")
Json = Any


@dataclass(frozen=True)
class View:
    """Which samples: of these ids, of them those with one of the tags, of them the first so many (0 = all)."""

    limit: int = 0
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def as_request(self) -> dict[str, Any]:
        return {"limit": self.limit, "tags": list(self.tags), "ids": list(self.ids)}


def read_view(text: str) -> View:
    """A view from `limit=10; tag=a,b; ids=…`. Raises ValueError."""
    limit = 0
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, equals, value = (each.strip() for each in part.partition("="))
        values = tuple(filter(None, (each.strip() for each in value.split(","))))
        if not equals or not values:
            raise ValueError("is not understood: limit=10, tag=a,b, ids=x,y, several joined by ;")
        if name == "limit":
            if not value.isdigit() or int(value) < 1:
                raise ValueError("has a limit that is not a number of 1 or more")
            limit = int(value)
        elif name in ("tag", "tags"):
            tags = (*tags, *values)
        elif name in ("id", "ids"):
            wrong = [each for each in values if not re.fullmatch(r"[0-9a-f]{24}", each)]
            if wrong:
                raise ValueError(f"has an id that is none of FiftyOne's (24 hexadecimal digits): {wrong[0]}")
            ids = (*ids, *values)
        else:
            raise ValueError(f"has {name!r}: only limit, tag and ids are known")
    return View(limit, tags, ids)


def _json(text: str, *kinds: type) -> Json:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if not isinstance(found, kinds):
        names = {dict: "an object {…}", list: "a list […]", bool: "true or false", str: "a text"}
        raise ValueError(f"must be {' or '.join(names[kind] for kind in kinds)}")
    return found


class FiftyoneSettings(CvatSettings):
    """Which samples and fields, how they go to CVAT, and how what comes back is taken."""

    organization_variable: ClassVar[str] = "FIFTYONE_SYNC_ORGANIZATION or CVAT_ORGANIZATION"

    # --- whether, and what ------------------------------------------------------------------------------------
    cvat_sync: bool = Field(
        True, alias="CVAT_SYNC", description="false: nothing goes to CVAT and nothing of CVAT reaches FiftyOne"
    )
    email: str = Field("", alias="CVAT_EMAIL", description="for servers that want it with user and password")
    # --organization is that of FIFTYONE_SYNC_ORGANIZATION.
    organization: str = Field(
        "",
        alias="CVAT_ORGANIZATION",
        description="empty = everything the account can see; @personal = its personal space; else an organization's slug",
        json_schema_extra={"has_no_flag": True},
    )
    sync_organization: str = Field(
        "",
        alias="FIFTYONE_SYNC_ORGANIZATION",
        description="where the tasks are made: an organization's slug, @personal; empty = what CVAT_ORGANIZATION says",
    )
    database_uri: SecretStr | None = Field(
        None, alias="FIFTYONE_DATABASE_URI", description="MongoDB of FiftyOne; empty = the one that it brings along"
    )
    python: Path | None = Field(
        None, alias="FIFTYONE_SYNC_PYTHON", description="the Python that has FiftyOne; empty = found out"
    )
    state_dir: Path = Field(
        ROOT / "state", alias="CVAT_STATE_DIR", description="where is kept what ran; default: state beside the scripts"
    )
    dataset: str = Field("", alias="FIFTYONE_SYNC_DATASET", description="name of the dataset in FiftyOne")
    media_dir: Path | None = Field(
        None,
        alias="FIFTYONE_SYNC_MEDIA_DIR",
        description="a folder of images or videos that the dataset is made of when there is none of that name",
    )
    anno_key: str = Field("", alias="FIFTYONE_SYNC_ANNO_KEY", description="name of this round of annotating")
    view: View = Field(
        View(),
        alias="FIFTYONE_SYNC_VIEW",
        description="which samples: limit=10, tag=a,b, ids=x,y, several joined by ; empty = all",
    )

    # --- labels -----------------------------------------------------------------------------------------------
    label_field: str = Field(
        "", alias="FIFTYONE_SYNC_LABEL_FIELD", description="field to annotate, new or existing; of videos frames.NAME"
    )
    label_type: str = Field(
        "", alias="FIFTYONE_SYNC_LABEL_TYPE", description=f"one of {', '.join(LABEL_TYPES)}; empty = the field's own"
    )
    classes: tuple[Any, ...] = Field(
        (),
        alias="FIFTYONE_SYNC_CLASSES",
        description="classes: a,b,c or a JSON list; empty = those that are in the field",
    )
    attributes: Json = Field(
        None,
        alias="FIFTYONE_SYNC_ATTRIBUTES",
        description="attributes as JSON: true = all that labels have, false = none, a list of names, or an object",
    )
    mask_targets: Json = Field(
        None, alias="FIFTYONE_SYNC_MASK_TARGETS", description='segmentation: pixel values as JSON, {"1": "road"}'
    )
    label_schema: Json = Field(
        None, alias="FIFTYONE_SYNC_LABEL_SCHEMA", description="several fields at once: FiftyOne's label schema as JSON"
    )
    occluded_attr: str = Field(
        "", alias="FIFTYONE_SYNC_OCCLUDED_ATTR", description="attribute that is CVAT's occluded; empty = none"
    )
    group_id_attr: str = Field(
        "", alias="FIFTYONE_SYNC_GROUP_ID_ATTR", description="attribute that is CVAT's group; empty = none"
    )
    allow_additions: bool = Field(
        True, alias="FIFTYONE_SYNC_ALLOW_ADDITIONS", description="labels that were added in CVAT are taken"
    )
    allow_deletions: bool = Field(
        True, alias="FIFTYONE_SYNC_ALLOW_DELETIONS", description="labels that were deleted in CVAT are deleted"
    )
    allow_label_edits: bool = Field(
        True, alias="FIFTYONE_SYNC_ALLOW_LABEL_EDITS", description="changed classes are taken"
    )
    allow_index_edits: bool = Field(
        True, alias="FIFTYONE_SYNC_ALLOW_INDEX_EDITS", description="changed tracks of videos are taken"
    )
    allow_spatial_edits: bool = Field(
        True, alias="FIFTYONE_SYNC_ALLOW_SPATIAL_EDITS", description="moved and reshaped labels are taken"
    )

    # --- tasks ------------------------------------------------------------------------------------------------
    project_name: str = Field(
        "", alias="FIFTYONE_SYNC_PROJECT_NAME", description="project in CVAT; empty = tasks without one"
    )
    existing_project: bool = Field(
        False,
        alias="FIFTYONE_SYNC_EXISTING_PROJECT",
        description="true permits a project that is there: its labels get an attribute label_id for good",
    )
    remove_label_id: bool = Field(
        False,
        alias="FIFTYONE_SYNC_REMOVE_LABEL_ID",
        description="cleanup tries to take label_id off the labels of an existing project again",
    )
    task_size: int = Field(
        500, alias="FIFTYONE_SYNC_TASK_SIZE", ge=1, le=100_000, description="most images of a task. 1 to 100000"
    )
    segment_size: int | None = Field(
        None, alias="FIFTYONE_SYNC_SEGMENT_SIZE", ge=1, description="most images of a job, 1 or more; empty = one job"
    )
    task_assignee: tuple[str, ...] = Field(
        (), alias="FIFTYONE_SYNC_TASK_ASSIGNEE", description="user or users (a,b) that the tasks are given to, in turn"
    )
    job_assignees: tuple[str, ...] = Field(
        (),
        alias="FIFTYONE_SYNC_JOB_ASSIGNEES",
        description="users that the jobs are given to, in turn, first job first",
    )
    image_quality: int = Field(
        75, alias="FIFTYONE_SYNC_IMAGE_QUALITY", ge=1, le=100, description="quality of images in CVAT. 1 to 100"
    )
    frame_start: int | None = Field(
        None, alias="FIFTYONE_SYNC_FRAME_START", ge=0, description="first frame of videos, from 0 to the last"
    )
    frame_stop: int | None = Field(
        None, alias="FIFTYONE_SYNC_FRAME_STOP", ge=0, description="last frame of videos, from 0 to the last"
    )
    frame_step: int | None = Field(
        None, alias="FIFTYONE_SYNC_FRAME_STEP", ge=1, description="every so many frames of videos, 1 to all"
    )

    # --- coming back ------------------------------------------------------------------------------------------
    dest_field: str = Field(
        "", alias="FIFTYONE_SYNC_DEST_FIELD", description="load into this field; empty = into the one that was sent"
    )
    unexpected: Literal["keep", "ignore", "refuse"] = Field(
        "keep",
        alias="FIFTYONE_SYNC_UNEXPECTED",
        description="labels of a type that the field does not take: keep = into a field of their own; ignore; refuse",
    )

    # --- time, desktop ----------------------------------------------------------------------------------------
    deadline_hours: float = Field(
        4, alias="FIFTYONE_SYNC_DEADLINE", gt=0, le=1000, description="longest time of FiftyOne's part of a run (hours)"
    )
    jobs_deadline_minutes: float = Field(
        60,
        alias="FIFTYONE_SYNC_JOBS_DEADLINE",
        gt=0,
        le=100_000,
        description="how long CVAT may prepare the files of one task (minutes)",
    )
    launch_editor: bool = Field(
        False, alias="FIFTYONE_SYNC_LAUNCH_EDITOR", description="create opens the first task in a browser"
    )

    @field_validator("organization", "sync_organization")
    @classmethod
    def _slug(cls, value: str) -> str:
        if value and not re.fullmatch(r"@personal|[A-Za-z0-9_-]+", value):
            raise ValueError("is no organization's slug (its short name, at the end of its address), and not @personal")
        return value

    @field_validator("media_dir", "state_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return absolute(value) if value else None

    @field_validator("python")
    @classmethod
    def _where_the_python_is(cls, value: Path | None) -> Path | None:
        return absolute(value) if value else None  # not resolved: the link in a venv is what makes it one

    @field_validator("anno_key")
    @classmethod
    def _identifier(cls, value: str) -> str:
        if value and not value.isidentifier():
            raise ValueError("is no key for FiftyOne: letters, digits and _, not beginning with a digit")
        return value

    @field_validator("view", mode="before")
    @classmethod
    def _view(cls, value: object) -> object:
        return read_view(value) if isinstance(value, str) else value

    @field_validator("label_type", mode="before")
    @classmethod
    def _known_type(cls, value: object) -> object:
        text = str(value).strip().lower()
        if text and text not in LABEL_TYPES:
            raise ValueError(f"must be one of {', '.join(LABEL_TYPES)}")
        return text

    @field_validator("classes", mode="before")
    @classmethod
    def _classes(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return tuple(_json(value, list))
        return tuple(filter(None, (each.strip() for each in value.split(","))))

    @field_validator("task_assignee", "job_assignees", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return tuple(filter(None, (each.strip() for each in value.split(",")))) if isinstance(value, str) else value

    @field_validator("attributes", mode="before")
    @classmethod
    def _attributes(cls, value: object) -> object:
        return _json(value, dict, list, bool) if isinstance(value, str) else value

    @field_validator("mask_targets", mode="before")
    @classmethod
    def _mask_targets(cls, value: object) -> object:
        return _json(value, dict) if isinstance(value, str) else value

    @field_validator("label_schema", mode="before")
    @classmethod
    def _label_schema(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        schema = _json(value, dict)
        for name, info in schema.items():
            if not isinstance(info, dict):
                raise ValueError(f"says of {name!r} no object {{…}}")
            if info.get("type") not in (None, *LABEL_TYPES):
                raise ValueError(f"has for {name!r} a type that is not one of {', '.join(LABEL_TYPES)}")
        return schema or None

    @property
    def where(self) -> str:
        """The organization that tasks are made in: what CVAT is asked with."""
        return self.sync_organization or self.organization

    @property
    def permissions(self) -> dict[str, bool]:
        """FiftyOne's names of what may come back, and whether."""
        names = ("allow_additions", "allow_deletions", "allow_label_edits", "allow_index_edits", "allow_spatial_edits")
        return {name: bool(getattr(self, name)) for name in names}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that are no settings."""
    parser.add_argument(
        "--when", choices=["completed"], help="load: only tasks whose annotation jobs are all in state completed"
    )
    parser.add_argument("--discard", action="store_true", help="cleanup: also what was not loaded, or not found")


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What this call needs and does not have."""
    command, problems = arguments.command, []
    if command in OF_ONE_RUN:
        for name in ("FIFTYONE_SYNC_DATASET", "FIFTYONE_SYNC_ANNO_KEY"):
            if not raw.get(name):
                problems.append(f"{name} is not set ({command} needs it)")
    if command == "create" and not (raw.get("FIFTYONE_SYNC_LABEL_FIELD") or raw.get("FIFTYONE_SYNC_LABEL_SCHEMA")):
        problems.append("FIFTYONE_SYNC_LABEL_FIELD is not set (create needs it, or FIFTYONE_SYNC_LABEL_SCHEMA)")
    if arguments.when and command != "load":
        problems.append(f"--when belongs to load, not to {command}")
    if arguments.discard and command != "cleanup":
        problems.append(f"--discard belongs to cleanup, not to {command}")
    return problems + (missing_credentials(raw) if needs_cvat(command, raw) else [])


def needs_cvat(command: str, raw: Mapping[str, str]) -> bool:
    if command == "status" and not (raw.get("FIFTYONE_SYNC_DATASET") and raw.get("FIFTYONE_SYNC_ANNO_KEY")):
        return False  # the list of rounds is on this disk
    switched_off = raw.get("CVAT_SYNC", "true").strip().lower() in ("false", "0", "no", "off", "n", "f")
    return command not in WITHOUT_CVAT and not switched_off


def missing_credentials(raw: Mapping[str, str]) -> list[str]:
    """FiftyOne signs in with user and password; it cannot take a token."""
    problems = []
    if not raw.get("CVAT_URL"):
        problems.append("CVAT_URL is not set: the address of your CVAT server, e.g. https://cvat.example.com")
    for name in ("CVAT_USERNAME", "CVAT_PASSWORD"):
        if not raw.get(name):
            token = " (FiftyOne cannot sign in with CVAT_ACCESS_TOKEN)" if raw.get("CVAT_ACCESS_TOKEN") else ""
            problems.append(f"{name} is not set{token}")
    return problems
