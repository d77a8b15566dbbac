"""The settings of downloader.py --mode datasets."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from common.cvat.settings import CvatSettings, missing_server_settings
from common.exits import Exit, RunEnds
from common.settings import ROOT, absolute
from common.text import parse_time

TASK_STATUSES = ("annotation", "validation", "completed")
JOB_STAGES = ("annotation", "validation", "acceptance")
JOB_STATES = ("new", "in progress", "completed", "rejected")
# What people write for "no filter": the document's word, and its neighbours.
_NOTHING = frozenset({"null", "none", "any", "~"})
_SPLIT_ALONE = "CVAT_DOWNLOAD_SPLIT is set without CVAT_DOWNLOAD_MERGE=true: only a merged dataset is split"


def _is_nothing(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NOTHING


class DatasetSettings(CvatSettings):
    """Which tasks, in which form, and where to."""

    organization_variable: ClassVar[str] = "CVAT_DOWNLOAD_ORGANIZATION_SLUG or CVAT_ORGANIZATION"

    organization_slug: str = Field(
        "",
        alias="CVAT_DOWNLOAD_ORGANIZATION_SLUG",
        description="empty = what CVAT_ORGANIZATION says (empty: everything the account can see); @personal; or a slug",
    )
    project_id: int | None = Field(
        None, alias="CVAT_DOWNLOAD_PROJECT_ID", ge=1, description="only tasks of this project (its id); empty = all"
    )
    task_ids: tuple[int, ...] = Field(
        (), alias="CVAT_DOWNLOAD_TASK_IDS", description="only these tasks: 1,2 or [1,2]; empty = all"
    )
    jobs_completed: bool = Field(
        False, alias="CVAT_DOWNLOAD_JOBS_COMPLETED", description="only tasks whose jobs are all in state completed"
    )
    required_status: str | None = Field(
        "",
        alias="CVAT_DOWNLOAD_REQUIRED_STATUS",
        validate_default=True,
        description="task status annotation, validation or completed (all jobs in stage acceptance and state completed); "
        "acceptance, new, in progress or rejected: the stage or state of all the task's jobs; null = any; "
        "empty = completed, or any with JOBS_COMPLETED",
    )
    subset: str = Field(
        "", alias="CVAT_DOWNLOAD_SUBSET", description="only tasks of this subset (Train, …); empty = all"
    )
    updated_since: datetime | None = Field(
        None,
        alias="CVAT_DOWNLOAD_UPDATED_SINCE",
        description="only tasks changed since then: 2026-11-20 or 2026-11-20T08:00 (UTC unless it says otherwise)",
    )
    include: tuple[str, ...] = Field(
        (), alias="CVAT_DOWNLOAD_INCLUDE", description="only tasks with these names: * and ?, separated by commas"
    )
    exclude: tuple[str, ...] = Field(
        (), alias="CVAT_DOWNLOAD_EXCLUDE", description="all but tasks with these names; stronger than INCLUDE"
    )
    check_image_exists: bool = Field(
        True,
        alias="CVAT_DOWNLOAD_CHECK_IMAGE_EXISTS",
        description="removes images, annotations and masks of frames that were deleted in CVAT",
    )
    dataset_format: str = Field(
        "COCO 1.0", alias="CVAT_DOWNLOAD_DATASET_FORMAT", description="dataset format, as CVAT's export dialog names it"
    )
    include_images: bool = Field(False, alias="CVAT_DOWNLOAD_INCLUDE_IMAGES", description="also downloads the images")
    overwrite_existing: bool = Field(
        False,
        alias="CVAT_DOWNLOAD_OVERWRITE_EXISTING",
        description="downloads unchanged tasks again, too, and replaces folders that are not ours or that somebody changed",
    )
    output_dir: Path = Field(
        ROOT / "outputs", alias="CVAT_DOWNLOAD_OUTPUT_DIR", description="folder of the downloads; default: outputs"
    )
    run_id: str = Field(
        "", alias="CVAT_DOWNLOAD_RUN_ID", description="a folder of its own in OUTPUT_DIR for this run; empty = none"
    )
    merge: bool = Field(
        False,
        alias="CVAT_DOWNLOAD_MERGE",
        description="also writes one dataset of all selected tasks (needs requirements-datasets.txt)",
    )
    split: tuple[tuple[str, float], ...] = Field(
        (),
        alias="CVAT_DOWNLOAD_SPLIT",
        description="parts of the merged dataset, such as train=80,val=10,test=10; empty = the tasks' own subsets",
    )
    concurrency: int = Field(
        2,
        alias="CVAT_DOWNLOAD_CONCURRENCY",
        ge=1,
        le=16,
        description="exports that the server prepares for us at the same time",
    )
    request_timeout_hours: float = Field(
        5,
        alias="CVAT_DOWNLOAD_REQUEST_TIMEOUT_HOURS",
        gt=0,
        le=168,
        description="longest wait for CVAT to prepare one task, queue included (hours)",
    )
    min_free_gb: float = Field(
        1, alias="CVAT_DOWNLOAD_MIN_FREE_GB", ge=0, le=1e6, description="room left free on the disk of OUTPUT_DIR (GB)"
    )

    @field_validator("organization_slug", mode="before")
    @classmethod
    def _slug(cls, value: object) -> object:
        if _is_nothing(value):
            return ""
        if isinstance(value, str) and value and not re.fullmatch(r"@personal|[A-Za-z0-9_-]+", value):
            raise ValueError("is no organization's slug (its short name, at the end of its address), and not @personal")
        return value

    @field_validator("project_id", mode="before")
    @classmethod
    def _perhaps(cls, value: object) -> object:
        if _is_nothing(value):
            return None
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?\d+(\.\d*)?\s*", value):
            raise ValueError("is no project's id: the number at the end of the project's address in CVAT")
        return value

    @field_validator(
        "check_image_exists",
        "dataset_format",
        "include_images",
        "overwrite_existing",
        "jobs_completed",
        "merge",
        "concurrency",
        "request_timeout_hours",
        "min_free_gb",
        mode="before",
    )
    @classmethod
    def _default(cls, value: object, about: ValidationInfo) -> object:
        """Where "none" means nothing, null is the default."""
        assert about.field_name is not None
        return cls.model_fields[about.field_name].default if _is_nothing(value) else value

    @field_validator("subset", "output_dir", "run_id", mode="before")
    @classmethod
    def _named(cls, value: object, about: ValidationInfo) -> object:
        """Something may truly be called "none" or "any"; null is the default here, too."""
        assert about.field_name is not None
        is_null = isinstance(value, str) and value.strip().lower() in ("null", "~")
        return cls.model_fields[about.field_name].default if is_null else value

    @field_validator("updated_since", mode="before")
    @classmethod
    def _moment(cls, value: object) -> object:
        if _is_nothing(value):
            return None
        if not isinstance(value, str):
            return value
        try:
            return parse_time(value)
        except ValueError:
            raise ValueError("is no date: expected 2026-11-20 or 2026-11-20T08:00") from None

    @field_validator("task_ids", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if _is_nothing(value) or not isinstance(value, str):
            return () if _is_nothing(value) else value
        text = value.strip()
        if not re.fullmatch(r"(\[[\d,\s]*\]|[\d,\s]+)", text):
            raise ValueError("is no list of task ids: expected 101,102 or [101,102]")
        return tuple(int(part) for part in re.findall(r"\d+", text))

    @field_validator("task_ids")
    @classmethod
    def _each_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("required_status", mode="before")
    @classmethod
    def _status(cls, value: object, about: ValidationInfo) -> object:
        if value == "":  # every completed task's jobs are: beside the other filter this one would leave nothing to it
            return None if about.data.get("jobs_completed") else "completed"
        if _is_nothing(value):
            return None
        if not isinstance(value, str):
            return value
        known = dict.fromkeys((*TASK_STATUSES, *JOB_STAGES, *JOB_STATES))
        wanted = value.strip().lower().replace("_", " ")
        if wanted not in known:
            raise ValueError(f"must be one of {', '.join(known)}, or null for any")
        return wanted

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return () if _is_nothing(value) else tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("task_ids", "include", mode="wrap")
    @classmethod
    def _something(cls, value: object, understand: ValidatorFunctionWrapHandler) -> object:
        """A list that turned out empty must not mean the whole server. Stands behind what else looks at these two."""
        understood = understand(value)
        if not understood and not _is_nothing(value):
            raise ValueError("is an empty list: name what is wanted, or say null for all")
        return understood

    @field_validator("split", mode="before")
    @classmethod
    def _parts(cls, value: object) -> object:
        if _is_nothing(value) or not isinstance(value, str):
            return () if _is_nothing(value) else value
        parts = []
        for part in (part.strip() for part in value.split(",") if part.strip()):
            match = re.fullmatch(r"([A-Za-z][\w-]*)\s*=\s*(\d+(?:\.\d+)?)%?", part)
            if not match or float(match[2]) <= 0:
                raise ValueError(f"holds {part!r}: expected something like train=80,val=10,test=10")
            parts.append((match[1], float(match[2])))
        if len({name for name, _ in parts}) != len(parts):
            raise ValueError("names a part twice")
        return tuple(parts)

    @field_validator("run_id")
    @classmethod
    def _one_folder(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", value):
            raise ValueError("must be a plain folder name: letters, digits, _ - and . only")
        return value

    @field_validator("output_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return absolute(value)

    @property
    def folder(self) -> Path:
        """The folder of this run: `<output>`, or `<output>/<run id>`."""
        return self.output_dir / self.run_id if self.run_id else self.output_dir


def what_is_missing(arguments: argparse.Namespace, raw: Mapping[str, str]) -> list[str]:
    """What this call needs and does not have."""
    problems = missing_server_settings(raw)
    split, merge = raw.get("CVAT_DOWNLOAD_SPLIT"), str(raw.get("CVAT_DOWNLOAD_MERGE", "")).lower()
    if split and not _is_nothing(split) and merge not in ("true", "1", "yes", "on"):
        problems.append(_SPLIT_ALONE)
    return problems


def require_complete(settings: DatasetSettings) -> None:
    """The same of settings that were made in Python. Raises RunEnds."""
    secrets = {"CVAT_PASSWORD": settings.password, "CVAT_ACCESS_TOKEN": settings.access_token}
    given = {"CVAT_URL": settings.url, "CVAT_USERNAME": settings.username}
    problems = missing_server_settings(
        given | {name: secret.get_secret_value() for name, secret in secrets.items() if secret is not None}
    )
    if settings.split and not settings.merge:
        problems.append(_SPLIT_ALONE)
    if problems:
        raise RunEnds(
            "; ".join(problems), "Every setting is explained in .env; nothing was done.", Exit.BAD_CONFIGURATION
        )
