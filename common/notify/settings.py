"""The settings of pings and alerts. The addresses hold tokens: they are secrets."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from common.settings import Settings

APPRISE_MISSING = (
    "CVAT_ALERT_APPRISE_URLS is set, but the package apprise is not installed: pip install -r requirements-apprise.txt"
)


def _ping(variable: str, what: str) -> SecretStr | None:
    made: SecretStr | None = Field(None, alias=variable, description=f"address to ping for {what}")
    return made


class NotifySettings(Settings):
    """Who is told of what."""

    ping_url: SecretStr | None = _ping("CVAT_PING_URL", "every job; the job's name is appended, or replaces {job}")
    ping_url_backup_p: SecretStr | None = _ping("CVAT_PING_URL_BACKUP_P", "backup.py --mode p")
    ping_url_backup_a: SecretStr | None = _ping("CVAT_PING_URL_BACKUP_A", "backup.py --mode a")
    ping_url_backup_t: SecretStr | None = _ping("CVAT_PING_URL_BACKUP_T", "backup.py --mode t")
    ping_url_sweeper: SecretStr | None = _ping("CVAT_PING_URL_SWEEPER", "sweeper.py")
    ping_url_restore: SecretStr | None = _ping("CVAT_PING_URL_RESTORE", "restore.py, also with --verify")
    ping_url_drill: SecretStr | None = _ping("CVAT_PING_URL_DRILL", "restore.py --drill")
    ping_url_downloader: SecretStr | None = _ping("CVAT_PING_URL_DOWNLOADER", "downloader.py")
    ping_url_sc_migrate: SecretStr | None = _ping("CVAT_PING_URL_SC_MIGRATE", "sc_migrate.py")
    ping_url_fiftyone_sync: SecretStr | None = _ping("CVAT_PING_URL_FIFTYONE_SYNC", "fiftyone_sync.py")
    alert_webhook_url: SecretStr | None = Field(
        None, alias="CVAT_ALERT_WEBHOOK_URL", description="gets a JSON object when a job begins to fail or works again"
    )
    alert_apprise_urls: SecretStr | None = Field(
        None, alias="CVAT_ALERT_APPRISE_URLS", description="the same by apprise; several are separated by blanks"
    )
    ca_bundle: Path | None = Field(
        None, alias="CVAT_CA_BUNDLE", description="PEM file with certificates to trust besides the usual ones"
    )

    @field_validator("ping_url", "alert_webhook_url", *(f"ping_url_{name}" for name in (
        "backup_p", "backup_a", "backup_t", "sweeper", "restore", "drill", "downloader", "sc_migrate", "fiftyone_sync"
    )))  # fmt: skip
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
            except ValueError:
                is_address = False
            if not is_address or any(c.isspace() for c in value.get_secret_value()):
                raise ValueError("is no address: it must begin with http:// or https://")
        return value

    def ping_urls(self) -> dict[str, str]:
        """The ping addresses that are set: "" for all jobs, "BACKUP_P" and so on for one."""
        values = {name: getattr(self, name) for name in type(self).model_fields if name.startswith("ping_url")}
        return {
            name.removeprefix("ping_url").removeprefix("_").upper(): value.get_secret_value()
            for name, value in values.items()
            if value is not None
        }

    def secrets(self) -> list[str]:
        """Everything of these settings that must not be seen in a log."""
        values = [value for value in vars(self).values() if isinstance(value, SecretStr)]
        return [part for value in values for part in (value.get_secret_value(), *value.get_secret_value().split())]


def missing_for_alerts(raw: Mapping[str, str]) -> list[str]:
    """What the wanted alerts need and this installation does not have."""
    if raw.get("CVAT_ALERT_APPRISE_URLS") and importlib.util.find_spec("apprise") is None:
        return [APPRISE_MISSING]
    return []
