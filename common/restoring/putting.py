"""Putting one backup back: what is sent, what it is called, and that it is there once and whole."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common import log
from common.backups.compare import compare
from common.backups.compose import Composed
from common.backups.contents import restore_warnings
from common.backups.sidecar import Sidecar, Task, newest_sidecar
from common.cvat import errors
from common.cvat.client import Account, Client
from common.cvat.contents import task_contents
from common.cvat.listing import items, look_at, source_of
from common.exits import Exit, RunEnds, Trouble
from common.restoring import journal as journals
from common.restoring.find import Chosen
from common.restoring.imports import Bringing, bring_in
from common.restoring.journal import Journal, Piece
from common.restoring.metadata import Applied, reapply
from common.restoring.parts import Parts, description_name, plan_parts, project_with, renamed, sizes_in, task_alone
from common.restoring.place import RestoredSource
from common.restoring.settings import RestoreSettings
from common.restoring.soundness import Sound, TooLarge, check
from common.sources import Kind
from common.text import plural, printable, size
from common.waiting import StopSignal

Outcome = Literal["restored", "there already", "refused", "failed"]


class ExistsAlready(Trouble):
    """Something of that name is on the server: nothing is overwritten, and no second one is made unasked."""

    remedy = "--name NAME restores it under another name, --again makes another one of the same name."


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
    metadata: list[Applied] = field(default_factory=list)
    journal: Journal | None = None


def open_target(settings: RestoreSettings, client: Client, version: str, account: Account, stop: StopSignal) -> Target:
    """Raises RunEnds when CVAT_BACKUP_DIR cannot be written: without a journal nothing is exactly once."""
    folder = journals.restores_folder(settings.dir, client.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunEnds(
            f"CVAT_BACKUP_DIR cannot be written: {error}",
            f"restore.py keeps there what it has done so far: make {settings.dir} writable for it.",
            Exit.BAD_CONFIGURATION,
        ) from None
    return Target(client, version, account, settings, stop, folder)


def put_back(target: Target, chosen: Chosen, order: Order, phase: Callable[[str], None], on_progress: Any) -> Restored:
    """Puts one backup back. Raises Refused, ExistsAlready and CvatError; what was begun goes on in the next run."""
    phase("checking")
    sound = check(chosen, target.stop.check)
    name = (order.name or sound.name).strip()[:256] or f"unnamed {sound.kind}"
    done = Restored(chosen, "restored", sound.kind, name)
    sidecar = _sidecar_of(chosen, order)
    original = None if chosen.task else _original(target, chosen, sound.kind, order)
    home = _original(target, chosen, "project", order) if chosen.task else None
    if order.missing_only and not order.again:
        present = original if original is not None else _made_before(target, _origin_of(chosen, sound), sound, name)
        if present is not None:
            done.outcome, done.id, done.address = "there already", present, _address(target, sound.kind, present)
            return done
    organization, org_id = _organization(target, chosen, sidecar, order, done)
    journal = _taken_up(target, sound, name, organization, order)
    if journal is None:
        already = _require_free(target, _origin_of(chosen, sound), sound, name, org_id, home, order)
        if already is not None:
            done.outcome, done.id, done.address = "there already", already, _address(target, sound.kind, already)
            return done
        parts = _parts(sound, target.settings.upload_limit_bytes)
        journal = _begin(target, chosen, sound, name, organization, order, parts)
    else:
        log.get().info("restore_taken_up", id=journal.id, since=journal.created_at)
        done.remarks.append(f"an earlier run had begun this restore ({journal.created_at[:16]}Z): it was finished")
    done.journal = journal
    try:
        # A copy beside the original must not announce every change a second time.
        announces = original is None and order.purpose == "restore"
        _carry_out(
            target,
            sound,
            journal,
            sidecar if order.with_metadata else None,
            done,
            phase,
            on_progress,
            announces=announces,
            home=home,
        )
        if sidecar is None and order.with_metadata:
            done.remarks.append(
                "no metadata was saved with it: owners, assignees, job states and issues do not come back"
            )
    except errors.Forbidden as error:
        raise RunEnds(
            f"{target.client.url} does not let {target.account.username!r} restore: {error}",
            "A read-only access token is enough for backups, not for restoring: set CVAT_ACCESS_TOKEN to one that may "
            "write, or CVAT_USERNAME and CVAT_PASSWORD instead of it.",
        ) from None
    return done


def _carry_out(
    target: Target, sound: Sound, journal: Journal, sidecar: Sidecar | None, done: Restored,
    phase: Callable[[str], None], on_progress: Any, *, announces: bool, home: int | None,
) -> None:  # fmt: skip
    ids = []
    for number, piece in enumerate(journal.pieces, 1):
        of = f" part {number} of {len(journal.pieces)}" if len(journal.pieces) > 1 else ""
        work = Bringing(
            target.client, journal, piece, lambda piece=piece: _archive(sound, journal, piece),  # type: ignore[misc]
            {"org": journal.organization} if journal.organization else {}, target.settings.chunk_bytes,
            target.settings.timeout_hours * 3600, lambda text, of=of: phase(text + of), on_progress,  # type: ignore[misc]
        )  # fmt: skip
        ids.append(bring_in(work))
        if number > 1 and piece.state != "named":
            target.client.change("PATCH", f"/api/tasks/{ids[-1]}", {"project_id": ids[0]}, repeat=True)
            target.client.change("PATCH", f"/api/tasks/{ids[-1]}", {"name": piece.name}, repeat=True)
            piece.state = "named"
            journal.save()
    done.id, done.address = ids[0], _address(target, sound.kind, ids[0])
    first = journal.pieces[0]
    if sound.only is not None:
        _move_home(target, ids[0], home, done)
    if first.state != "named":
        target.client.change("PATCH", f"/api/{sound.kind}s/{ids[0]}", {"name": first.name}, repeat=True)
        first.state = "named"
        journal.save()
    log.get().info("restored", kind=sound.kind, id=ids[0], name=first.name, file=sound.path.name)
    phase("comparing")
    done.differences += differences(target, sound, ids[0])
    if len(journal.pieces) > 1:
        done.remarks.append(f"sent in {len(journal.pieces)} parts because of CVAT_RESTORE_UPLOAD_LIMIT_GB")
    for index, reason in sound.dropped.items():
        name = printable(str(sound.contents.tasks[index].raw.get("name", "")), 60)
        done.remarks.append(f"task {name!r} was left out: {reason}")
    done.remarks += restore_warnings(sound.contents, target.version, 0)
    if sidecar is not None:
        phase("metadata")
        restored = RestoredSource(sound.kind, ids[0])
        done.metadata += reapply(target.client, sidecar, restored, activate_webhooks=announces)
    journal.state = "done"
    journal.save()


def _move_home(target: Target, task_id: int, home: int | None, done: Restored) -> None:
    """A task that was restored alone goes back into the project it came from."""
    if home is None:
        done.remarks.append("its project is not on this server: the task is in no project now")
        return
    try:
        target.client.change("PATCH", f"/api/tasks/{task_id}", {"project_id": home}, repeat=True)
        done.remarks.append(f"it is in project {home} again")
    except errors.Refused as error:
        done.remarks.append(f"CVAT does not let it back into project {home}, it is in no project now: {error.said}")


@contextmanager
def _archive(sound: Sound, journal: Journal, piece: Piece) -> Iterator[Composed]:
    """What is sent for a piece: the same bytes at every call, under the piece's marker name."""
    described = description_name(piece.kind, piece.index)
    if sound.kind == "project" and piece.index is None:
        travelling = {other.index for other in journal.pieces}
        rename = project_with([index for index in sound.kept if index not in travelling])
    else:
        rename = (lambda name: name) if piece.index is None else task_alone(piece.index)
    content = renamed(sound.path, described, piece.marked_name)
    skeleton = journal.folder / f".{piece.marker}.skeleton"
    replaced = {described.rsplit("/", 1)[-1]: content}
    with Composed(sound.path, skeleton, rename, replaced) as composed:
        yield composed


def _parts(sound: Sound, limit_bytes: int) -> Parts:
    if sound.kind == "task":
        if sound.size_bytes > limit_bytes:
            raise TooLarge(
                f"{sound.path.name}: {_TOO_LARGE.format(size=size(sound.size_bytes), limit=size(limit_bytes))}"
            )
        return Parts(())
    own, tasks = sizes_in(sound.path, sound.kept)
    parts = plan_parts(own, tasks, limit_bytes)
    if parts.too_large:
        index = parts.too_large[0]
        name = printable(str(sound.contents.tasks[index].raw.get("name", "")), 60)
        raise TooLarge(
            f"{sound.path.name}: task {name!r} {_TOO_LARGE.format(size=size(tasks[index]), limit=size(limit_bytes))}"
        )
    return parts


_TOO_LARGE = (
    "is {size}, more than the server accepts as one upload ({limit}), and a task cannot be divided: raise "
    "TUS_MAX_FILE_SIZE in the CVAT server's settings, and CVAT_RESTORE_UPLOAD_LIMIT_GB with it"
)


def _origin_of(chosen: Chosen, sound: Sound) -> str:
    """What was restored, in the journal: tells two sources of one name apart from two backups of one source."""
    text = journals.source_text(chosen.backup.record.source) if chosen.backup else sound.sha256
    return text if chosen.task is None else f"{text} task {chosen.task.id}"


def _begin(
    target: Target, chosen: Chosen, sound: Sound, name: str, organization: str, order: Order, parts: Parts
) -> Journal:
    journal = journals.begin(
        target.folder, target=target.client.url, file=sound.path, sha256=sound.sha256, kind=sound.kind, name=name,
        organization=organization, purpose=order.purpose, source=_origin_of(chosen, sound),
    )  # fmt: skip
    journal.pieces.append(Piece(sound.kind, sound.only, name, journal.id))
    for index in parts.single:
        task_name = str(sound.contents.tasks[index].raw["name"]).strip() or f"unnamed task {index}"
        journal.pieces.append(Piece("task", index, task_name, f"{journal.id}-{index}"))
    journal.created_at = journal.at
    journal.save()
    return journal


def _taken_up(target: Target, sound: Sound, name: str, organization: str, order: Order) -> Journal | None:
    """What an earlier run began with the same order and did not finish."""
    for journal in journals.all_journals(target.folder):
        if (journal.pieces and journal.pieces[0].index) != sound.only:
            continue
        same = (journal.sha256, journal.name, journal.organization, journal.purpose) == (
            sound.sha256, name, organization, order.purpose,
        )  # fmt: skip
        if journal.state == "under way" and same and journal.kind == sound.kind:
            return journal
    return None


def _made_before(target: Target, origin: str, sound: Sound, name: str) -> int | None:
    """The id of what an earlier restore of this source made, if it is still there, whatever it is called by now."""
    for journal in journals.all_journals(target.folder):
        same = (journal.state, journal.kind, journal.source, journal.name) == ("done", sound.kind, origin, name)
        if same and journal.result_id is not None:
            with contextlib.suppress(errors.NotFound):
                target.client.get(f"/api/{sound.kind}s/{journal.result_id}")
                return journal.result_id
    return None


def _require_free(
    target: Target, origin: str, sound: Sound, name: str, org_id: int | None, home: int | None, order: Order
) -> int | None:
    """Nothing of this name is there, or another one is asked for. The id of a copy that this very backup made before.

    What was restored from another source is no conflict: two projects may well bear the same name. Raises ExistsAlready.
    """
    if order.again or order.purpose == "drill":
        return None
    made = {
        journal.result_id: journal
        for journal in journals.all_journals(target.folder)
        if journal.kind == sound.kind and journal.state in ("done", "under way")
    }
    taken = []
    for item in items(target.client, f"/api/{sound.kind}s"):
        if sound.kind == "task" and item.get("project_id") != home:
            continue
        if str(item["name"]).strip() != name or (home is None and _org_id(item) != org_id):
            continue
        journal = made.get(int(item["id"]))
        if journal is None or str(item["created_date"]) < journal.created_at[:10]:
            taken.append(int(item["id"]))
        elif journal.sha256 == sound.sha256:
            return int(item["id"])
        elif journal.source == origin:
            taken.append(int(item["id"]))
    if taken:
        listed = ", ".join(str(number) for number in taken[:5])
        raise ExistsAlready(f"a {sound.kind} {printable(name, 60)!r} is on the server already ({listed})")
    return None


def _org_id(item: dict[str, Any]) -> int | None:
    found = item.get("organization_id", item.get("organization"))
    return found if isinstance(found, int) else None


def _original(target: Target, chosen: Chosen, kind: Kind, order: Order) -> int | None:
    """The id of the source itself, when it is still (or again) on this server."""
    source = chosen.backup.record.source if chosen.backup else None
    if source is None or source.server != source_server(target.client):
        return None
    try:
        present = source_of(source.server, kind, target.client.get(f"/api/{kind}s/{source.id}"))
    except errors.NotFound:
        return None
    except errors.Forbidden as error:
        # It is there, for somebody else: a restore that took it for gone would double it.
        if order.again or order.name:
            return source.id
        raise ExistsAlready(
            f"{source} belongs to somebody else there, and this account may not look ({error})"
        ) from None
    return source.id if present.created_at == source.created_at else None


def _organization(
    target: Target, chosen: Chosen, sidecar: Sidecar | None, order: Order, done: Restored
) -> tuple[str, int | None]:
    """The slug and id of the organization that is restored into: the one asked for, else the one it came from."""
    asked = target.settings.organization
    if asked == "@personal" or order.purpose == "drill":
        return "", None
    source = chosen.backup.record.source if chosen.backup else None
    if not asked and (source is None or source.organization_id is None):
        return "", None
    known = {str(item["slug"]): int(item["id"]) for item in items(target.client, "/api/organizations")}
    if asked:
        return asked, known.get(asked)
    slug = sidecar.organization.slug if sidecar and sidecar.organization else ""
    if not slug and source and source.server == source_server(target.client):
        slug = next((name for name, number in known.items() if number == source.organization_id), "")
    if slug in known:
        return slug, known[slug]
    which = f"organization {slug!r}" if slug else "the organization it was in"
    done.remarks.append(f"{which} is not on this server: it came back into the personal space (--organization chooses)")
    return "", None


def source_server(client: Client) -> str:
    return client.url.split("://", 1)[1]


def _sidecar_of(chosen: Chosen, order: Order) -> Sidecar | None:
    if order.purpose == "drill":
        return drill_sidecar(chosen)
    sidecar = newest_sidecar(chosen.backup.folder, chosen.backup.record.stamp) if chosen.backup else None
    return sidecar if sidecar is None or chosen.task is None else _of_one_task(sidecar, chosen.task)


def _of_one_task(sidecar: Sidecar, task: Task) -> Sidecar:
    source = dataclasses.replace(sidecar.source, kind="task", id=task.id, created_at=task.created_at, name=task.name)
    jobs = {job.id for job in task.jobs}
    issues = tuple(issue for issue in sidecar.issues if issue.job_id in jobs)
    return dataclasses.replace(
        sidecar, source=source, owner=task.owner, assignee=task.assignee, tasks=(task,), issues=issues, webhooks=(),
        quality=None, source_storage=task.source_storage, target_storage=task.target_storage,
    )  # fmt: skip


def drill_sidecar(chosen: Chosen) -> Sidecar | None:
    """What a drill puts back of the metadata, and compares."""
    sidecar = newest_sidecar(chosen.backup.folder, chosen.backup.record.stamp) if chosen.backup else None
    if sidecar is None:
        return None
    # A drill must not give work to people, make organizations or call webhooks: the jobs' states are what it compares.
    tasks = tuple(
        dataclasses.replace(
            task, owner=None, assignee=None, jobs=tuple(dataclasses.replace(job, assignee=None) for job in task.jobs)
        )
        for task in sidecar.tasks
    )
    return dataclasses.replace(
        sidecar, owner=None, assignee=None, organization=None, webhooks=(), issues=(), tasks=tasks
    )


def differences(target: Target, sound: Sound, result_id: int) -> list[str]:
    """In what the restored source differs from the archive: frames, jobs and the numbers of annotations, task by task."""
    client = target.client
    raw = client.get(f"/api/{sound.kind}s/{result_id}")
    look = look_at(client, source_of(source_server(client), sound.kind, raw))
    archived = {number: sound.contents.tasks[index].contents() for number, index in enumerate(sound.kept)}
    there = {task.id: task_contents(client, task, look.jobs[task.id]) for task in look.tasks}
    if sound.kind == "task":
        archived = {0: dataclasses.replace(archived[0], name=next(iter(there.values())).name)} if there else archived
    if len(there) != len(archived):
        return [f"{plural(len(there), 'task')} instead of {len(archived)}"]
    return [str(difference) for difference in compare(there, list(there), archived)]


def _address(target: Target, kind: Kind, item_id: int) -> str:
    return f"{target.client.url}/{kind}s/{item_id}"
