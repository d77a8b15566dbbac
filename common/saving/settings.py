"""The settings of backup.py."""

from __future__ import annotations

from pydantic import Field, field_validator

from common.cvat.settings import CvatSettings
from common.saving.choose import Pattern, parse_patterns
from common.settings import RoomSettings
from common.shards import WHOLE, Shard, parse_shard


class BackupSettings(CvatSettings, RoomSettings):
    """What is saved, where, how often anyway, and how gently."""

    save_images: bool = Field(
        False, alias="CVAT_BACKUP_SAVE_IMAGES", description="true adds the images to the datasets of --mode a"
    )
    format: str = Field(
        "CVAT for images 1.1",
        alias="CVAT_BACKUP_FORMAT",
        description="dataset format of --mode a, as CVAT's export dialog names it",
    )
    request_timeout_hours: float = Field(
        5,
        alias="CVAT_BACKUP_REQUEST_TIMEOUT_HOURS",
        gt=0,
        le=168,
        description="longest wait for CVAT to prepare one item, queue included (hours); CVAT itself gives up after 4",
    )
    standalone_tasks: bool = Field(
        True, alias="CVAT_BACKUP_STANDALONE_TASKS", description="--mode p also saves tasks that are in no project"
    )
    include: tuple[Pattern, ...] = Field(
        (),
        alias="CVAT_BACKUP_INCLUDE",
        description="only these: names with * and ?, or ids (project:12, task:7), separated by commas",
    )
    exclude: tuple[Pattern, ...] = Field(
        (), alias="CVAT_BACKUP_EXCLUDE", description="all but these; written like CVAT_BACKUP_INCLUDE"
    )
    concurrency: int = Field(
        2,
        alias="CVAT_BACKUP_CONCURRENCY",
        ge=1,
        le=16,
        description="exports that the server prepares for us at the same time",
    )
    full_every_days: float = Field(
        7,
        alias="CVAT_BACKUP_FULL_EVERY_DAYS",
        ge=0,
        le=36500,
        description="save unchanged projects again after this many days; 0 = at every run",
    )
    health_gate: bool = Field(
        True, alias="CVAT_BACKUP_HEALTH_GATE", description="hold exports back while CVAT's health check reports trouble"
    )
    max_gb_per_day: float = Field(
        0,
        alias="CVAT_BACKUP_MAX_GB_PER_DAY",
        ge=0,
        le=1e6,
        description="most that is exported per day or night (GB); the rest is postponed and comes first next time; 0 = no limit",
    )

    shard: Shard = Field(
        WHOLE,
        alias="CVAT_BACKUP_SHARD",
        description="only this part of the sources, for several machines side by side: 0/4 to 3/4; empty = all",
        json_schema_extra={"joined_from": ["JOB_COMPLETION_INDEX", "JOB_COMPLETION_COUNT"]},
    )

    @field_validator("shard", mode="before")
    @classmethod
    def _shard(cls, value: object) -> object:
        return parse_shard(value) if isinstance(value, str) else value

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _patterns(cls, value: object) -> object:
        return parse_patterns(value) if isinstance(value, str) else value
