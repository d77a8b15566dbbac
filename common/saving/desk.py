"""What every save of a run shares: the connection, the store, the slots and the limits."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from common.backups.journal import Outcome
from common.backups.record import Record
from common.backups.store import Store
from common.cvat.client import Client
from common.cvat.health import HealthGate
from common.saving.choose import Candidate, fits_today
from common.saving.settings import BackupSettings
from common.waiting import StopSignal


class Postponed(Exception):
    """The day's limit is reached; this item's turn comes first next time."""


class PartlySaved(Exception):
    """Some of what an item consists of could not be had; `record` is the backup of the rest, if one was written."""

    remedy = "What could be had is saved; the next run tries the rest again."

    def __init__(self, what: str, record: Record | None, exported_bytes: int = 0) -> None:
        """`exported_bytes`: what the server had to export where no record tells."""
        super().__init__(what)
        self.record = record
        self.exported_bytes = exported_bytes


@dataclass(frozen=True)
class Result:
    """What became of one candidate."""

    candidate: Candidate
    outcome: Outcome
    reason: str = ""
    remedy: str = ""
    record: Record | None = None
    exported_bytes: int = 0
    seconds: float = 0.0


@dataclass
class Budget:
    """Bytes that the server has exported for us in the last 24 hours, and the limit (0 = none)."""

    limit_bytes: int
    spent_bytes: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self, expected_bytes: int) -> None:
        """Raises Postponed when the item does not fit any more; otherwise sets its expected size aside."""
        with self._lock:
            if not fits_today(expected_bytes, self.spent_bytes, self.limit_bytes):
                raise Postponed(
                    f"CVAT_BACKUP_MAX_GB_PER_DAY={self.limit_bytes / 1e9:g} is used up; it comes first next time"
                )
            self.spent_bytes += expected_bytes

    def settle(self, expected_bytes: int, actual_bytes: int) -> None:
        """Replaces what was set aside by what it truly was."""
        with self._lock:
            self.spent_bytes += actual_bytes - expected_bytes


class Watch(Protocol):
    """Told what an item is doing; a progress display makes its own of it."""

    def phase(self, text: str) -> None:
        """A new phase: "exporting", "checking"."""

    def bytes(self, done: int, total: int | None) -> None:
        """Bytes that have arrived of the present file."""

    def close(self) -> None:
        """The item is over."""


class Slots:
    """A number of places, given out in the order of asking (a semaphore lets late comers overtake)."""

    def __init__(self, count: int, stop: StopSignal) -> None:
        self._free = count
        self._stop = stop
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Holds one place for the length of the block. Raises Stopped while waiting for it."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._free:
                    self._changed.wait(timeout=0.5)
                    self._stop.check()
                self._free -= 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()


@dataclass
class Desk:
    """The tools on the table while sources are saved. Safe to use from several threads."""

    client: Client
    settings: BackupSettings
    store: Store
    gate: HealthGate
    budget: Budget
    stop: StopSignal
    server_version: str
    run_id: str
    offered_formats: dict[str, str]
    export_slots: Slots
    download_slots: Slots

    @property
    def reserve_bytes(self) -> int:
        return int(self.settings.min_free_gb * 1e9)

    @property
    def deadline_seconds(self) -> float:
        return self.settings.request_timeout_hours * 3600
