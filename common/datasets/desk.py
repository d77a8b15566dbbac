"""What all downloads of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common.cvat.address import server_key
from common.cvat.client import Client
from common.cvat.health import HealthGate
from common.datasets.folders import STAGING
from common.datasets.settings import DatasetSettings
from common.saving.desk import Slots
from common.waiting import StopSignal

DOWNLOADS = "cvat_downloads"


@dataclass
class Desk:
    """The tools on the table. Safe to use from several threads."""

    client: Client
    settings: DatasetSettings
    stop: StopSignal
    gate: HealthGate = field(init=False)
    export_slots: Slots = field(init=False)
    download_slots: Slots = field(init=False)
    # Folders that somebody had made their own, under the names that they have now.
    kept: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = HealthGate(self.client, enabled=True, longest_seconds=self.deadline_seconds)
        self.export_slots = Slots(self.settings.concurrency, self.stop)
        self.download_slots = Slots(self.settings.concurrency, self.stop)

    @property
    def reserve_bytes(self) -> int:
        return int(self.settings.min_free_gb * 1e9)

    @property
    def deadline_seconds(self) -> float:
        return self.settings.request_timeout_hours * 3600

    @property
    def server(self) -> str:
        return server_key(self.client.url)

    @property
    def downloads(self) -> Path:
        """The folder with one folder a task."""
        return self.settings.folder / DOWNLOADS

    @property
    def staging(self) -> Path:
        """What is not finished lies here, on the same file system."""
        return self.downloads / STAGING
