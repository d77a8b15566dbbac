"""Keeping the sidecars fresh in every run: also beside sources whose own dates say that nothing has changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from common import log
from common.backups import sidecar
from common.backups.record import Server
from common.backups.sidecar import Sidecar, newest_sidecar, write_if_new
from common.backups.store import Store
from common.cvat.client import Account, Client
from common.cvat.errors import CvatError, Unreachable
from common.cvat.listing import has_data
from common.cvat.metadata import Item, Ledger, disabled_frames
from common.exits import RunEnds
from common.files import DiskFull
from common.saving.choose import Mode, content_of
from common.saving.plan import Plan
from common.saving.report import Tally
from common.sources import Kind, Source
from common.text import iso, now
from common.version import VERSION
from common.waiting import Stopped

WORDS = {
    "issues": "review issues and comments",
    "webhooks": "webhooks",
    "quality": "quality settings",
    "consensus": "consensus settings",
    "organization": "organizations and their members",
    "validation": "disabled validation frames",
}


class Sidecars:
    """Use as a context manager around a run. `see` is handed to the inventory, `keep` called once there is a plan.

    Nothing that goes wrong here fails a backup: it becomes a warning of the run, or of one source.
    """

    def __init__(self, store: Store, modes: Sequence[Mode]) -> None:
        self._store = store
        self._wanted = any(content_of(mode) == "backup" for mode in modes)
        self._ledger: Ledger | None = None
        self._problem = ""
        self._organizations: dict[int, tuple[sidecar.Organization | None, tuple[sidecar.Webhook, ...]]] = {}

    def __enter__(self) -> Sidecars:
        if self._wanted:
            try:
                self._ledger = Ledger()
            except sqlite3.Error as error:
                self._problem = str(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ledger is not None:
            self._ledger.close()

    def see(self, kind: Kind, source_id: int, what: str, item: Item) -> None:
        """Takes down one item of the inventory's listings."""
        if self._ledger is not None and not self._problem:
            try:
                self._ledger.see(kind, source_id, what, item)
            except sqlite3.Error as error:
                self._problem = str(error)

    def keep(self, client: Client, version: str, account: Account, plan: Plan) -> None:
        """Reads the rest, and writes the sidecar of every source whose newest one says something else."""
        if self._ledger is None and not self._problem:
            return
        tally = next(tally for tally in plan.tallies.values() if content_of(tally.mode) == "backup")
        try:
            if self._ledger is None or self._problem:
                raise sqlite3.OperationalError(self._problem)
            self._ledger.gather(client)
            self._write_all(self._ledger, client, version, account, plan)
        except sqlite3.Error as error:
            self._warn(tally, None, f"no metadata was saved: its temporary database failed ({error})")
            return
        for part, why in self._ledger.not_readable.items():
            self._warn(tally, None, f"{WORDS[part]} cannot be read and are missing from the metadata: {why}")

    def _write_all(self, ledger: Ledger, client: Client, version: str, account: Account, plan: Plan) -> None:
        written = 0
        for tally, source, is_saved in _due(plan):
            client.stop.check()
            try:
                described = self._described(ledger, client, version, account, source, look_closely=is_saved)
                if why := described.not_readable.get("validation"):
                    self._warn(tally, source, f"its {WORDS['validation']} cannot be read: {why}")
                written += write_if_new(self._store.make_folder(source), described)
            except (Stopped, RunEnds, sqlite3.Error):
                raise
            except (OSError, DiskFull) as error:
                self._warn(tally, source, f"its metadata was not written: {error}")
            except Exception as error:  # noqa: BLE001 - no surprise in here may cost a backup; it is logged whole
                log.get().exception("unexpected_error")
                self._warn(tally, source, f"its metadata was not written: unexpected {type(error).__name__}: {error}")
        log.get().info("metadata_kept", written=written)

    def _warn(self, tally: Tally, source: Source | None, text: str) -> None:
        log.get().warning("metadata_incomplete", source=str(source) if source else None, reason=text)
        tally.warnings.append((source, text))

    def _described(
        self, ledger: Ledger, client: Client, version: str, account: Account, source: Source, *, look_closely: bool
    ) -> Sidecar:
        found = ledger.of(source.kind, source.id)
        hidden = dict(ledger.not_readable)
        if source.organization_id is None:
            hidden.pop("organization", None)
        organization, organization_webhooks = self._organization(ledger, source.organization_id)
        tasks = found.get("task", [])
        frames: dict[int, tuple[int, ...] | None] = {}
        try:
            frames = self._disabled_frames(ledger, client, source, tasks, look_closely=look_closely)
        except CvatError as error:
            hidden["validation"] = str(error)
            ledger.unreachable = str(error) if isinstance(error, Unreachable) else ""
        quality = {row.pop("task_id"): row for row in found.get("quality", ())}
        consensus = {row.pop("task_id"): row for row in found.get("consensus", ())}
        own = (found.get(source.kind) or [{}])[0]
        return Sidecar(
            source=source,
            server=Server(client.url, version),
            stamp="",
            read_at=iso(now()),
            read_by=account.username,
            tool_version=VERSION,
            owner=_person(own.get("owner")),
            assignee=_person(own.get("assignee")),
            updated_at=str(own.get("updated_date")),
            source_storage=ledger.storage(own.get("source_storage")),
            target_storage=ledger.storage(own.get("target_storage")),
            tasks=tuple(_tasks(ledger, found, frames, quality, consensus)),
            organization=organization,
            issues=tuple(_issues(found)),
            webhooks=tuple(_webhook(item) for item in found.get("webhook", ())),
            organization_webhooks=organization_webhooks,
            quality=quality.get(None),
            not_readable=hidden,
        )

    def _disabled_frames(
        self, ledger: Ledger, client: Client, source: Source, tasks: list[Item], *, look_closely: bool
    ) -> dict[int, tuple[int, ...] | None]:
        """Asked for task by task, so only where there is validation, and only if the task has moved since last time."""
        validated = [task for task in tasks if task.get("validation_mode")]
        if not validated:
            return {}
        if ledger.unreachable:
            raise Unreachable(ledger.unreachable)
        folder = self._store.folder_of(source)
        newest = newest_sidecar(folder) if folder else None
        known = {task.id: task for task in newest.tasks} if newest else {}
        frames = {}
        for task in validated:
            before = known.get(task["id"])
            if (
                look_closely
                or before is None
                or before.disabled_frames is None
                or before.updated_at != task["updated_date"]
            ):
                frames[task["id"]] = disabled_frames(client, task["id"])
            else:
                frames[task["id"]] = before.disabled_frames
        return frames

    def _organization(
        self, ledger: Ledger, organization_id: int | None
    ) -> tuple[sidecar.Organization | None, tuple[sidecar.Webhook, ...]]:
        """An organization with its members, and its own webhooks; made once for all of its sources."""
        if organization_id is None:
            return None, ()
        if organization_id not in self._organizations:
            found = ledger.of("organization", organization_id)
            hooks = tuple(_webhook(item) for item in found.get("webhook", ()))
            self._organizations[organization_id] = _organization(found), hooks
        return self._organizations[organization_id]


def _due(plan: Plan) -> Iterator[tuple[Tally, Source, bool]]:
    """The sources that have a backup or are about to get one, and whether this run saves them."""
    for tally in plan.tallies.values():
        if content_of(tally.mode) == "backup":
            for line in list(tally.lines):
                if line.outcome == "unchanged":
                    yield tally, line.source, False
    for candidate in plan.candidates:
        if content_of(candidate.mode) == "backup":
            yield plan.tallies[candidate.mode], candidate.state.source, True


# --- from CVAT's words to ours ------------------------------------------------------------------------------------


def _person(item: Item | None) -> sidecar.Person | None:
    if not isinstance(item, dict) or item.get("id") is None:
        return None
    name = " ".join(part for part in (item.get("first_name"), item.get("last_name")) if part)
    return sidecar.Person(int(item["id"]), str(item.get("username") or ""), name)


def _tasks(
    ledger: Ledger,
    found: dict[str, list[Item]],
    frames: dict[int, tuple[int, ...] | None],
    quality: dict[int | None, Item],
    consensus: dict[int | None, Item],
) -> Iterator[sidecar.Task]:
    jobs: dict[int, list[sidecar.Job]] = {}
    for item in found.get("job", ()):
        jobs.setdefault(item["task_id"], []).append(_job(item))
    for item in found.get("task", ()):
        yield sidecar.Task(
            id=item["id"],
            name=str(item["name"]),
            has_data=has_data(item),
            owner=_person(item["owner"]),
            assignee=_person(item["assignee"]),
            created_at=str(item["created_date"]),
            updated_at=str(item["updated_date"]),
            source_storage=ledger.storage(item["source_storage"]),
            target_storage=ledger.storage(item["target_storage"]),
            jobs=tuple(jobs.get(item["id"], ())),
            validation_mode=item["validation_mode"],
            disabled_frames=frames.get(item["id"]),
            quality=quality.get(item["id"]),
            consensus=consensus.get(item["id"]),
        )


def _job(item: Item) -> sidecar.Job:
    return sidecar.Job(
        id=item["id"],
        type=str(item["type"] or "annotation"),
        start_frame=item["start_frame"],
        stop_frame=item["stop_frame"],
        stage=str(item["stage"]),
        state=str(item["state"]),
        status=str(item["status"] or ""),
        assignee=_person(item["assignee"]),
        created_at=str(item["created_date"]),
        updated_at=str(item["updated_date"]),
    )


def _issues(found: dict[str, list[Item]]) -> Iterator[sidecar.Issue]:
    comments: dict[int, list[sidecar.Comment]] = {}
    for item in found.get("comment", ()):
        comments.setdefault(item["issue"], []).append(
            sidecar.Comment(
                item["id"], _person(item["owner"]), str(item["message"]), str(item["created_date"]),
                str(item["updated_date"]),
            )
        )  # fmt: skip
    for item in found.get("issue", ()):
        yield sidecar.Issue(
            id=item["id"],
            job_id=item["job"],
            frame=item["frame"],
            position=tuple(item["position"] or ()),
            owner=_person(item["owner"]),
            assignee=_person(item["assignee"]),
            resolved=bool(item["resolved"]),
            created_at=str(item["created_date"]),
            updated_at=str(item["updated_date"]),
            comments=tuple(comments.get(item["id"], ())),
        )


def _webhook(item: Item) -> sidecar.Webhook:
    return sidecar.Webhook(
        id=item["id"],
        target_url=str(item["target_url"]),
        description=str(item["description"] or ""),
        content_type=str(item["content_type"]),
        is_active=bool(item["is_active"]),
        enable_ssl=bool(item["enable_ssl"]),
        events=tuple(item["events"] or ()),
        owner=_person(item["owner"]),
        created_at=str(item["created_date"]),
        updated_at=str(item["updated_date"]),
    )


def _organization(found: dict[str, list[Item]]) -> sidecar.Organization | None:
    items: list[dict[str, Any]] = found.get("organization", [])
    if not items:
        return None
    [item] = items
    members = []
    for row in found.get("membership", ()):
        user = _person(row["user"])
        if user is not None:
            active = row["is_active"] is not False
            members.append(sidecar.Member(user, str(row["role"]), active, str(row["joined_date"])))
    return sidecar.Organization(
        id=item["id"],
        slug=str(item["slug"]),
        name=str(item["name"] or ""),
        description=str(item["description"] or ""),
        contact=item["contact"] or {},
        owner=_person(item["owner"]),
        created_at=str(item["created_date"]),
        updated_at=str(item["updated_date"]),
        members=tuple(members),
    )
