"""Getting one verified export file from the server: found again, adopted or asked for, fetched, resumed, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from common import log
from common.backups.archive import BadArchive
from common.backups.streamed import StreamedCrcs
from common.cvat import exports
from common.cvat.client import Client
from common.cvat.download import opener
from common.cvat.exports import ExportOrder, ReadyExport, ResultExpired
from common.cvat.health import HealthGate
from common.cvat.settings import CvatSettings
from common.saving.desk import Slots, Watch
from common.sources import Fingerprint
from common.transfer import Fetched, PartFile, fetch
from common.waiting import Deadline, StopSignal

T = TypeVar("T")
Check = Callable[[Path, StreamedCrcs], T]
ATTEMPTS = 3


class Tools(Protocol):
    """What getting a file needs of those who want it; a Desk has it."""

    @property
    def client(self) -> Client: ...
    @property
    def settings(self) -> CvatSettings: ...
    @property
    def gate(self) -> HealthGate: ...
    @property
    def stop(self) -> StopSignal: ...
    @property
    def export_slots(self) -> Slots: ...
    @property
    def download_slots(self) -> Slots: ...
    @property
    def reserve_bytes(self) -> int: ...
    @property
    def deadline_seconds(self) -> float: ...


class Damaged(Exception):
    """The file arrived, but is not sound, again and again."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.remedy = remedy or (
            "Look whether CVAT's own page gives a sound one: if so, something on the way changes it (a proxy?); "
            "if not, CVAT's disk does."
        )


@dataclass(frozen=True)
class Obtained(Generic[T]):
    """A verified file in its part file, and what verification saw."""

    part: PartFile
    fetched: Fetched
    seen: T


def obtain(
    desk: Tools, order: ExportOrder, part: PartFile, fingerprint: Fingerprint, watch: Watch, check: Check[T]
) -> Obtained[T]:
    """Raises CvatError, Damaged, DiskFull, Interrupted, Stopped. A part file that can be resumed is left behind."""
    ready = _begun_earlier(desk, order, part, fingerprint)
    problem: Exception | None = None
    deadline: Deadline | None = None
    for _attempt in range(ATTEMPTS):
        if ready is None:
            ready, deadline = _exported(desk, order, fingerprint, deadline, watch)
        crcs: list[StreamedCrcs] = []

        def fresh_observers(crcs: list[StreamedCrcs] = crcs) -> list[Callable[[bytes], None]]:
            crcs[:] = [StreamedCrcs()]
            return list(crcs)

        try:
            watch.phase("waiting")
            with desk.download_slots.place():
                watch.phase("downloading")
                fetched = fetch(
                    opener(desk.client, ready),
                    part,
                    _label(fingerprint, ready),
                    desk.stop,
                    reserve_bytes=desk.reserve_bytes,
                    stall_seconds=max(30.0, desk.settings.http_timeout_seconds),
                    observers=fresh_observers,
                    on_progress=watch.bytes,
                )
                if fetched.resumed_at:
                    log.get().info("download_resumed", what=f"{order.kind} {order.id}", at_bytes=fetched.resumed_at)
                watch.phase("checking")
                return Obtained(part, fetched, check(part.path, crcs[0]))
        except ResultExpired as error:
            log.get().warning("export_expired", what=f"{order.kind} {order.id}", reason=str(error))
            problem, ready = error, None
        except BadArchive as error:
            # Broken on the way, or broken on the server's disk: fetch it once more, then have it made anew.
            log.get().warning("download_damaged", what=f"{order.kind} {order.id}", reason=str(error))
            ready = ready if problem is None else None
            problem = error
            part.discard()
    if isinstance(problem, ResultExpired):
        raise problem
    raise Damaged(f"what CVAT sent was not sound {ATTEMPTS} times: {problem}")


def _exported(
    desk: Tools, order: ExportOrder, fingerprint: Fingerprint, deadline: Deadline | None, watch: Watch
) -> tuple[ReadyExport, Deadline]:
    """Asks for the export once a slot is free and the server is well; one deadline for all attempts."""
    watch.phase("waiting")
    with desk.export_slots.place():
        # The item's time begins with its own turn, not while it stands behind others of ours.
        deadline = deadline or Deadline(desk.deadline_seconds)
        desk.gate.wait_until_open(deadline)
        watch.phase("exporting")
        return exports.ask(desk.client, order, deadline, fingerprint.newest), deadline


def _label(fingerprint: Fingerprint, ready: ReadyExport) -> str:
    """Of what a part file is the beginning: which state of the source, which order, and which export of it."""
    return f"{fingerprint.digest} {ready.order.mark} {ready.created_at} {ready.request_id}"


def _begun_earlier(desk: Tools, order: ExportOrder, part: PartFile, fingerprint: Fingerprint) -> ReadyExport | None:
    """The export whose download an earlier run began, if that run ordered the same, the source has not changed and
    the server still has it."""
    mark = part.read_mark()
    if mark is None or mark.label.count(" ") < 3:
        return None  # also what an older version has begun: it did not note the order
    digest, ordered, _created_at, request_id = mark.label.split(" ", 3)
    if (digest, ordered) != (fingerprint.digest, order.mark):
        return None
    ready = exports.find(desk.client, order, request_id)
    return ready if ready is not None and _label(fingerprint, ready) == mark.label else None
