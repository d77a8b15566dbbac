"""The settings of fiftyone_app.py."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from common.cvat.address import base_url
from common.files import is_folder
from common.settings import Settings, absolute


class AppSettings(Settings):
    """Where the FiftyOne App listens, whose files it shows, and what it may know of CVAT."""

    cvat_sync: bool = Field(
        True, alias="CVAT_SYNC", description="false: nothing goes to CVAT and nothing of CVAT reaches FiftyOne"
    )
    url: str = Field("", alias="CVAT_URL", description="address of the CVAT server, e.g. https://cvat.example.com")
    username: str = Field("", alias="CVAT_USERNAME", description="user that FiftyOne signs in as; it takes no tokens")
    password: SecretStr | None = Field(None, alias="CVAT_PASSWORD", description="that user's password")
    email: str = Field("", alias="CVAT_EMAIL", description="that user's mail address; only some servers ask for it")
    app_address: str = Field(
        "127.0.0.1",
        alias="FIFTYONE_APP_ADDRESS",
        description="address that the FiftyOne App listens on; it asks for no password",
    )
    app_port: int = Field(5151, alias="FIFTYONE_APP_PORT", ge=1, le=65535, description="port of the FiftyOne App")
    media: Path | None = Field(
        None, alias="FIFTYONE_MEDIA", description="folder of the images and videos; the App shows no others"
    )
    database_uri: SecretStr | None = Field(
        None, alias="FIFTYONE_DATABASE_URI", description="MongoDB of FiftyOne; empty = the one that it brings along"
    )
    python: Path | None = Field(
        None,
        alias="FIFTYONE_SYNC_PYTHON",
        description="the Python that has FiftyOne; empty = found out",
    )

    @field_validator("url")
    @classmethod
    def _understand_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("python")
    @classmethod
    def _where_the_python_is(cls, value: Path | None) -> Path | None:
        return absolute(value) if value else None  # not resolved: the link in a venv is what makes it one

    @field_validator("media")
    @classmethod
    def _media_exist(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        if not is_folder(absolute(value)):
            raise ValueError("is not a folder")
        return absolute(value)
