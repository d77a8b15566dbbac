"""The settings of restore.py."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator

from common.cvat.address import base_url
from common.cvat.settings import CvatSettings
from common.settings import RoomSettings


class RestoreSettings(CvatSettings, RoomSettings):
    """Where the backups are, and how they are put back."""

    timeout_hours: float = Field(
        5,
        alias="CVAT_RESTORE_TIMEOUT_HOURS",
        gt=0,
        le=168,
        description="longest wait for CVAT to take in one archive, queue included (hours)",
    )
    upload_limit_gb: float = Field(
        25,
        alias="CVAT_RESTORE_UPLOAD_LIMIT_GB",
        gt=0,
        le=1e6,
        description="most that the server accepts as one upload (GiB); larger projects are sent in parts",
    )
    chunk_mb: float = Field(
        16, alias="CVAT_RESTORE_CHUNK_MB", gt=0, le=512, description="what is sent as one request of an upload (MB)"
    )
    drill_url: str = Field(
        "", alias="CVAT_DRILL_URL", description="address of the CVAT server that --drill restores into"
    )
    drill_access_token: SecretStr | None = Field(
        None,
        alias="CVAT_DRILL_ACCESS_TOKEN",
        description="an access token there that may write",
        json_schema_extra={"does_without": ["CVAT_DRILL_USERNAME", "CVAT_DRILL_PASSWORD"]},
    )
    drill_username: str = Field("", alias="CVAT_DRILL_USERNAME", description="or a user there")
    drill_password: SecretStr | None = Field(None, alias="CVAT_DRILL_PASSWORD", description="that user's password")

    @field_validator("drill_url")
    @classmethod
    def _understand_drill_url(cls, value: str) -> str:
        return base_url(value) if value else value

    @property
    def upload_limit_bytes(self) -> int:
        return int(self.upload_limit_gb * 2**30)

    @property
    def chunk_bytes(self) -> int:
        return max(1, int(self.chunk_mb * 1e6))

    def for_drills(self) -> RestoreSettings:
        """The same, with the server and the credentials of drills in the place of the ordinary ones."""
        return self.model_copy(
            update={
                "url": self.drill_url,
                "access_token": self.drill_access_token,
                "username": self.drill_username,
                "password": self.drill_password,
                "organization": "",
            }
        )
