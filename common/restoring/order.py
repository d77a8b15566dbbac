"""What a restore is told, what it works on, and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.cvat.client import Account, Client
from common.restoring import journal as journals
from common.restoring.find import Chosen
from common.restoring.folder import prepare
from common.restoring.journal import Journal
from common.restoring.metadata import Applied
from common.restoring.settings import RestoreSettings
from common.sources import Kind
from common.waiting import StopSignal

Outcome = Literal["restored", "there already", "refused", "failed"]


@dataclass(frozen=True)
class Target:
    """The server that is restored into."""

    client: Client
    version: str
    account: Account
    settings: RestoreSettings
    stop: StopSignal
    folder: Path


@dataclass(frozen=True)
class Order:
    """How one backup is to be put back."""

    name: str = ""
    again: bool = False
    # Of everything that has a backup, only what is no longer on the server.
    missing_only: bool = False
    with_metadata: bool = True
    purpose: Literal["restore", "drill"] = "restore"


@dataclass
class Restored:
    """What became of one backup."""

    chosen: Chosen
    outcome: Outcome
    kind: Kind = "project"
    name: str = ""
    id: int | None = None
    address: str = ""
    reason: str = ""
    remedy: str = ""
    remarks: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    # What was saved with it, but could not be put back because it cannot be read.
    missing: list[str] = field(default_factory=list)
    metadata: list[Applied] = field(default_factory=list)
    journal: Journal | None = None


def open_target(settings: RestoreSettings, client: Client, version: str, account: Account, stop: StopSignal) -> Target:
    """Raises RunEnds when CVAT_BACKUP_DIR cannot be written: without a journal nothing is exactly once."""
    folder = journals.restores_folder(settings.dir, client.url)
    prepare(folder)
    return Target(client, version, account, settings, stop, folder)
