"""The settings of sc_migrate.py: one or two servers, and where projects are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from common.files import is_file
from common.sc.address import base_url
from common.settings import ROOT, Settings, absolute


@dataclass(frozen=True)
class Server:
    """One server and who we are there. `prefix` is that of its settings: SC_ or SC_TARGET_."""

    url: str
    prefix: str = "SC_"
    token: SecretStr | None = None
    username: str = ""
    password: SecretStr | None = None
    workspace: str = ""
    verify_tls: bool = True
    ca_bundle: Path | None = None
    timeout_seconds: float = 60
    wait_seconds: float = 300
    connections: int = 20
    lock_wait_seconds: float = 0  # for another run on the same folder


class ScSettings(Settings):
    """Where the servers are, who we are there, and where projects lie on disk."""

    host: str = Field(
        "", alias="SC_HOST", description="address of the SC or Geti server; a pasted page address is understood"
    )
    token: SecretStr | None = Field(
        None,
        alias="SC_TOKEN",
        description="personal access token (Geti 1.x and 2.x)",
        json_schema_extra={"does_without": ["SC_USERNAME", "SC_PASSWORD"]},
    )
    username: str = Field("", alias="SC_USERNAME", description="or a user (the only way for SC 1.1)")
    password: SecretStr | None = Field(None, alias="SC_PASSWORD", description="that user's password")
    workspace: str = Field("", alias="SC_WORKSPACE", description="name or id; needed where there are several")
    ca_bundle: Path | None = Field(None, alias="SC_CA_BUNDLE", description="PEM file with the certificates to trust")
    verify_tls: bool = Field(True, alias="SC_VERIFY_TLS", description="false accepts any certificate: unsafe")
    target_host: str = Field("", alias="SC_TARGET_HOST", description="address of the server that migrate writes to")
    target_token: SecretStr | None = Field(
        None,
        alias="SC_TARGET_TOKEN",
        description="token there",
        json_schema_extra={"does_without": ["SC_TARGET_USERNAME", "SC_TARGET_PASSWORD"]},
    )
    target_username: str = Field("", alias="SC_TARGET_USERNAME", description="or a user there")
    target_password: SecretStr | None = Field(None, alias="SC_TARGET_PASSWORD", description="that user's password")
    target_workspace: str = Field("", alias="SC_TARGET_WORKSPACE", description="name or id of the workspace there")
    target_ca_bundle: Path | None = Field(None, alias="SC_TARGET_CA_BUNDLE", description="PEM file for that server")
    target_verify_tls: bool = Field(True, alias="SC_TARGET_VERIFY_TLS", description="false accepts any certificate")
    allow_http: bool = Field(
        False, alias="SC_ALLOW_HTTP", description="true permits http:// addresses: credentials travel in the clear"
    )
    dir: Path = Field(
        ROOT / "sc-projects", alias="SC_DIR", description="folder of downloaded projects; default: sc-projects here"
    )
    connections: int = Field(
        20,
        alias="SC_CONNECTIONS",
        ge=1,
        le=64,
        description="most requests under way at the same time (1 to 64): up to 10, more while that makes it faster",
    )
    http_timeout_seconds: float = Field(
        60, alias="SC_HTTP_TIMEOUT_SECONDS", ge=1, le=3600, description="longest silence on a connection (seconds)"
    )
    server_wait_seconds: float = Field(
        300,
        alias="SC_SERVER_WAIT_SECONDS",
        ge=0,
        le=86400,
        description="how long an unreachable server is waited for (seconds)",
    )
    job_timeout_hours: float = Field(
        5, alias="SC_JOB_TIMEOUT_HOURS", gt=0, le=168, description="longest wait for the server's own archive (hours)"
    )
    min_free_gb: float = Field(
        1, alias="SC_MIN_FREE_GB", ge=0, le=1e6, description="room that is left free on the disk of SC_DIR (GB)"
    )

    @field_validator("host", "target_host")
    @classmethod
    def _understand_host(cls, value: str) -> str:
        return base_url(value) if value else value

    @field_validator("token", "target_token")
    @classmethod
    def _token_is_one_word(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("holds blanks, line ends or letters that no token has")
        return value

    @field_validator("ca_bundle", "target_ca_bundle")
    @classmethod
    def _bundle_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not is_file(value):
            raise ValueError("is not a file")
        return value

    @field_validator("dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return absolute(value)

    @property
    def source(self) -> Server:
        return Server(
            self.host, "SC_", self.token, self.username, self.password, self.workspace, self.verify_tls,
            self.ca_bundle, self.http_timeout_seconds, self.server_wait_seconds, self.connections,
            self.lock_wait_minutes * 60,
        )  # fmt: skip

    @property
    def target(self) -> Server:
        return Server(
            self.target_host, "SC_TARGET_", self.target_token, self.target_username, self.target_password,
            self.target_workspace, self.target_verify_tls, self.target_ca_bundle, self.http_timeout_seconds,
            self.server_wait_seconds, self.connections, self.lock_wait_minutes * 60,
        )  # fmt: skip


def missing_server(raw: Mapping[str, str], prefix: str) -> list[str]:
    """What a command that needs this server misses in the raw settings, one line each."""
    problems = []
    host = raw.get(f"{prefix}HOST", "")
    if not host:
        problems.append(
            f"{prefix}HOST is not set: the address of the server, e.g. {prefix}HOST=https://geti.example.com"
        )
    if host.lower().startswith("http://") and raw.get("SC_ALLOW_HTTP", "").lower() not in (
        "true",
        "1",
        "yes",
        "on",
        "y",
        "t",
    ):
        problems.append(
            f"{prefix}HOST={host!r} is plain http: credentials would travel in the clear. Use https://, or set SC_ALLOW_HTTP=true"
        )
    if not raw.get(f"{prefix}TOKEN"):
        if not raw.get(f"{prefix}USERNAME"):
            problems.append(f"{prefix}TOKEN is not set: set it, or {prefix}USERNAME and {prefix}PASSWORD in its place")
        elif not raw.get(f"{prefix}PASSWORD"):
            problems.append(
                f"{prefix}PASSWORD is not set: {prefix}USERNAME needs it, or set {prefix}TOKEN in place of both"
            )
    return problems
