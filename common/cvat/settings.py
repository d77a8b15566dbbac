"""The settings of every script that talks to CVAT."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from common.cvat.address import base_url
from common.files import is_file
from common.settings import Settings


class CvatSettings(Settings):
    """Where the server is, who we are there, and how patient we are with it."""

    # What to correct when the server does not know the organization.
    organization_variable: ClassVar[str] = "CVAT_ORGANIZATION"

    url: str = Field("", alias="CVAT_URL", description="address of the CVAT server, e.g. https://cvat.example.com")
    username: str = Field(
        "", alias="CVAT_USERNAME", description="user to sign in as; sees what it backs up, best a superuser"
    )
    password: SecretStr | None = Field(None, alias="CVAT_PASSWORD", description="that user's password")
    access_token: SecretStr | None = Field(
        None,
        alias="CVAT_ACCESS_TOKEN",
        description="used instead of user and password; a read-only token is enough for backups",
        json_schema_extra={"does_without": ["CVAT_USERNAME", "CVAT_PASSWORD"]},
    )
    organization: str = Field(
        "",
        alias="CVAT_ORGANIZATION",
        description="empty = everything the account can see; @personal = its personal space; else an organization's slug",
    )
    verify_tls: bool = Field(True, alias="CVAT_VERIFY_TLS", description="false accepts any certificate: unsafe")
    ca_bundle: Path | None = Field(None, alias="CVAT_CA_BUNDLE", description="PEM file with the certificates to trust")
    http_timeout_seconds: float = Field(
        60, alias="CVAT_HTTP_TIMEOUT_SECONDS", ge=1, le=3600, description="longest silence on a connection (seconds)"
    )
    server_wait_seconds: float = Field(
        300,
        alias="CVAT_SERVER_WAIT_SECONDS",
        ge=0,
        le=86400,
        description="how long an unreachable server is waited for (seconds)",
    )

    @field_validator("url")
    @classmethod
    def _understand_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("access_token")
    @classmethod
    def _token_is_one_word(cls, value: SecretStr | None) -> SecretStr | None:
        # It travels in a header: with a blank, a line end or a foreign letter it would never arrive.
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("holds blanks, line ends or letters that no token has")
        return value

    @field_validator("organization")
    @classmethod
    def _organization_is_a_slug(cls, value: str) -> str:
        if value and not re.fullmatch(r"@personal|[A-Za-z0-9_-]+", value):
            raise ValueError("is no organization's slug (its short name, at the end of its address), and not @personal")
        return value

    @field_validator("ca_bundle")
    @classmethod
    def _bundle_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not is_file(value):
            raise ValueError("is not a file")
        return value


def missing_server_settings(raw: Mapping[str, str]) -> list[str]:
    """What a script that needs the server misses in the raw settings, one line each."""
    problems = []
    if not raw.get("CVAT_URL"):
        problems.append(
            "CVAT_URL is not set: put the address of your CVAT server into .env.local (CVAT_URL=https://cvat.example.com), "
            "or try the program without a server of your own: ./run-locally-backup.sh --demo"
        )
    if not raw.get("CVAT_ACCESS_TOKEN"):
        if not raw.get("CVAT_USERNAME"):
            problems.append("CVAT_USERNAME is not set: set it and CVAT_PASSWORD, or CVAT_ACCESS_TOKEN in place of both")
        elif not raw.get("CVAT_PASSWORD"):
            problems.append(
                "CVAT_PASSWORD is not set: CVAT_USERNAME needs it, or set CVAT_ACCESS_TOKEN in place of both"
            )
    return problems
