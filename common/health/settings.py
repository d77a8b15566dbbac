"""The settings of the health listener and of what healthy means."""

from __future__ import annotations

import re
from datetime import timedelta

from pydantic import Field, SecretStr, field_validator

from common.cvat.address import base_url
from common.settings import FolderSettings


class HealthSettings(FolderSettings):
    """What scheduler.py judges and where it shows it."""

    url: str = Field(
        "",
        alias="CVAT_URL",
        description="address of the CVAT server, e.g. https://cvat.example.com; judges its backups",
    )
    health_port: int = Field(
        8080,
        alias="CVAT_HEALTH_PORT",
        ge=0,
        le=65535,
        description="port of the status page, /healthz and /metrics; 0 = off",
    )
    health_host: str = Field(
        "127.0.0.1",
        alias="CVAT_HEALTH_HOST",
        description="address that it listens on; 0.0.0.0 = all of this machine's",
    )
    health_token: SecretStr | None = Field(
        None,
        alias="CVAT_HEALTH_TOKEN",
        description="asked for by the status page and /metrics, as Authorization: Bearer or ?token=; empty = open",
    )
    health_max_age_hours: float = Field(
        26,
        alias="CVAT_HEALTH_MAX_AGE_HOURS",
        gt=0,
        le=87600,
        description="a source that was neither saved nor confirmed as unchanged for so long (hours) is not backed up",
    )

    @field_validator("url")
    @classmethod
    def _understand_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("health_token")
    @classmethod
    def _token_is_one_word(cls, value: SecretStr | None) -> SecretStr | None:
        # It travels in a header: with a blank, a line end or a foreign letter it would never arrive.
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("holds blanks, line ends or letters that no token may have")
        return value

    @property
    def health_max_age(self) -> timedelta:
        return timedelta(hours=self.health_max_age_hours)
