"""The settings of the daemon itself."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from common.scheduling.cron import zone_of_schedule
from common.settings import ROOT, Settings, absolute


class DaemonSettings(Settings):
    """Where the schedule is, where the books are kept, and how patient the daemon is."""

    crontab: Path = Field(
        ROOT / "crontab", alias="CVAT_CRONTAB", description="the schedule; default: crontab beside the scripts"
    )
    state_dir: Path = Field(
        ROOT / "state", alias="CVAT_STATE_DIR", description="where is kept what ran; default: state beside the scripts"
    )
    time_zone: str = Field(
        "", alias="TZ", description="time zone of the schedule, e.g. Europe/Berlin; default: the machine's"
    )
    catch_up: bool = Field(
        True,
        alias="CVAT_SCHEDULE_CATCH_UP",
        description="what was missed while nothing ran is done once, as soon as possible",
    )
    jobs_at_once: int = Field(
        2, alias="CVAT_SCHEDULE_JOBS_AT_ONCE", ge=1, le=64, description="jobs that may run at the same time (1 to 64)"
    )
    stop_grace_seconds: float = Field(
        60,
        alias="CVAT_STOP_GRACE_SECONDS",
        ge=0,
        le=86400,
        description="how long jobs may take to end when the daemon is stopped (seconds)",
    )
    lock_wait_minutes: float = Field(
        240,
        alias="CVAT_LOCK_WAIT_MINUTES",
        ge=0,
        le=100_000,
        description="how long a job waits for another one that works on the same backups (minutes)",
    )

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone_of_schedule(value)
        return value

    @field_validator("crontab", "state_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return absolute(value)
