"""The settings of sweeper.py."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from common.backups.retention import Rules
from common.settings import FolderSettings

MOST = 1_000_000


class SweepSettings(FolderSettings):
    """Where the backups are and how long they stay. The defaults let nothing go: what is shipped stands in .env."""

    ttl_hours: float = Field(
        0,
        alias="CVAT_BACKUP_TTL",
        ge=0,
        le=MOST,
        description="age at which a backup may go (hours); 0 = no TTL",
        json_schema_extra={"older_name": "CVAT_BACKUP_TTL_HOURS"},
    )
    minimum: int = Field(
        3,
        alias="CVAT_MIN_NUM_BACKUPS",
        ge=1,
        le=MOST,
        description="so many good backups of a source stay whatever their age; at least 1",
    )
    hourly: int = Field(
        0, alias="CVAT_KEEP_HOURLY", ge=0, le=MOST, description="keep one for each of the last so many hours; 0 = off"
    )
    daily: int = Field(0, alias="CVAT_KEEP_DAILY", ge=0, le=MOST, description="the same for days")
    weekly: int = Field(0, alias="CVAT_KEEP_WEEKLY", ge=0, le=MOST, description="the same for weeks")
    monthly: int = Field(0, alias="CVAT_KEEP_MONTHLY", ge=0, le=MOST, description="the same for months")
    yearly: int = Field(0, alias="CVAT_KEEP_YEARLY", ge=0, le=MOST, description="the same for years")
    within_hours: float = Field(
        0, alias="CVAT_KEEP_WITHIN", ge=0, le=MOST, description="keep everything younger than this (hours); 0 = off"
    )
    max_size_gb: float = Field(
        0,
        alias="CVAT_BACKUP_MAX_SIZE",
        ge=0,
        le=1e9,
        description="most that all backups together may take (GB); the oldest go first; 0 = no limit",
    )
    orphan_days: float = Field(
        0,
        alias="CVAT_BACKUP_ORPHAN_DAYS",
        ge=0,
        le=36500,
        description="days after which the backups of a source that vanished from the server go; 0 = never",
    )
    sweep_legacy: bool = Field(
        False, alias="CVAT_SWEEP_LEGACY", description="true also sweeps files of the predecessor of this program"
    )
    drop_percent: float = Field(
        50,
        alias="CVAT_SWEEP_DROP_PERCENT",
        ge=0,
        le=100,
        description="a backup with less than this part of the one before holds deletion up; 0 to 100, 0 = never",
    )

    @property
    def rules(self) -> Rules:
        return Rules(
            ttl=timedelta(hours=self.ttl_hours) if self.ttl_hours else None,
            minimum=self.minimum,
            hourly=self.hourly,
            daily=self.daily,
            weekly=self.weekly,
            monthly=self.monthly,
            yearly=self.yearly,
            within=timedelta(hours=self.within_hours) if self.within_hours else None,
            orphan_after=timedelta(days=self.orphan_days) if self.orphan_days else None,
        )
