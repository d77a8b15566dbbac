"""The threads that save sources side by side, and what becomes of each source.

The server prepares a few exports at a time; while one is fetched and checked, the next is already asked for.
One source that fails never stops the others; wrong credentials stop everything.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from common import crew, log
from common.backups.archive import BadArchive
from common.backups.journal import Journal, history
from common.backups.record import Record
from common.backups.store import Store
from common.cvat.client import Client
from common.cvat.errors import CvatError, NotFound
from common.cvat.health import HealthGate
from common.cvat.listing import look_at
from common.exits import RunEnds
from common.files import DiskFull
from common.run import Run
from common.saving.annotations import save_annotations
from common.saving.backup import save_backup
from common.saving.choose import Candidate, content_of
from common.saving.desk import Budget, Desk, PartlySaved, Postponed, Result, Slots, Watch
from common.saving.obtain import Damaged
from common.saving.plan import Plan
from common.saving.settings import BackupSettings
from common.text import now
from common.transfer import Interrupted
from common.waiting import Stopped

Save = Callable[[Desk, Candidate, Watch], Record]


def save_one(desk: Desk, candidate: Candidate, watch: Watch) -> Result:
    """Saves one source; every way to fail becomes a result. Raises Stopped and RunEnds only."""
    began, source = time.monotonic(), candidate.state.source
    structlog.contextvars.bind_contextvars(mode=candidate.mode, source=str(source))
    expected, actual = candidate.expected_bytes, 0
    try:
        desk.budget.claim(expected)
    except Postponed as error:
        return Result(candidate, "postponed", str(error))
    try:
        save: Save = save_annotations if candidate.mode == "a" else save_backup
        record = save(desk, candidate, watch)
        actual = exported_bytes(record)
        return Result(candidate, "saved", candidate.reason, "", record, actual, time.monotonic() - began)
    except (Stopped, RunEnds):
        raise
    except PartlySaved as error:
        actual = exported_bytes(error.record) if error.record else error.exported_bytes
        log.get().error("backup_incomplete", name=source.name, reason=str(error))
        return Result(candidate, "failed", str(error), error.remedy, error.record, actual, time.monotonic() - began)
    except (CvatError, Damaged, BadArchive, DiskFull, Interrupted, OSError) as error:
        return _failure(desk, candidate, error, time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - one source's surprise must not stop the others; it is logged whole
        log.get().exception("unexpected_error")
        why = f"unexpected {type(error).__name__}: {error}"
        return Result(candidate, "failed", why, "Please report this with the log.", seconds=time.monotonic() - began)
    finally:
        desk.budget.settle(expected, actual)


def exported_bytes(record: Record) -> int:
    """Bytes that the server had to export for a backup: what we wrote ourselves does not count."""
    exported = sum(file.size_bytes for file in record.files if file.role in ("backup", "dataset"))
    return record.original.size_bytes if record.original else exported


def _failure(desk: Desk, candidate: Candidate, error: Exception, seconds: float) -> Result:
    """Tells a source that is no longer there from one that could not be saved."""
    source = candidate.state.source
    try:
        present = look_at(desk.client, source).state.source if isinstance(error, CvatError) else source
    except NotFound:
        present = None
    except (CvatError, OSError):
        present = source
    if present is None or present.created_at != source.created_at:
        desk.store.tidy(source, content_of(candidate.mode))
        folder = desk.store.folder_of(source)
        log.get().warning("source_gone", name=source.name, backups=str(folder) if folder else "none")
        return Result(candidate, "gone", "it was deleted on the server during this run", seconds=seconds)
    remedy = getattr(error, "remedy", "")
    log.get().error("backup_failed", name=source.name, reason=str(error), remedy=remedy)
    return Result(candidate, "failed", str(error), remedy, seconds=seconds)


class Crew(crew.Crew[Candidate, Result]):
    """Threads over one queue of candidates. Results come out in the order in which they are ready."""

    def __init__(self, desk: Desk, candidates: list[Candidate], watch_for: Callable[[Candidate], Watch]) -> None:
        def work(candidate: Candidate) -> Result:
            watch = watch_for(candidate)
            try:
                return save_one(desk, candidate, watch)
            finally:
                watch.close()

        # Twice the exports: as many again are fetched and checked meanwhile.
        super().__init__(candidates, work, desk.stop, 2 * desk.settings.concurrency + 1, "save")


def open_desk(run: Run[BackupSettings], client: Client, version: str, store: Store, plan: Plan) -> Desk:
    """Everything that the saves of this run share."""
    settings = run.settings.model_copy(update={"format": plan.format})
    # Each shard has its part of the allowance.
    limit = int(settings.max_gb_per_day * 1e9 / settings.shard.count)
    spent = 0
    if limit:
        mode = next(iter(plan.tallies))
        spent = history(Journal(store.folder), mode, now(), is_ours=settings.shard.holds).bytes_in_window
    gate = HealthGate(client, enabled=settings.health_gate, longest_seconds=settings.request_timeout_hours * 3600)
    return Desk(
        client, settings, store, gate, Budget(limit, spent), run.stop, version, run.id, plan.formats,
        Slots(settings.concurrency, run.stop), Slots(settings.concurrency, run.stop),
    )  # fmt: skip
