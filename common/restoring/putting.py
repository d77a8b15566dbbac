"""Putting one backup back: what is sent, what it is called, and that it is there once and whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common import log
from common.backups.contents import missing_media, restore_warnings
from common.backups.sidecar import Sidecar
from common.cvat import errors
from common.exits import RunEnds
from common.restoring import journal as journals
from common.restoring.comparing import differences
from common.restoring.find import Chosen
from common.restoring.imports import Bringing, bring_in
from common.restoring.journal import Journal, Piece
from common.restoring.metadata import reapply
from common.restoring.order import Order, Restored, Target
from common.restoring.parts import Parts
from common.restoring.place import RestoredSource
from common.restoring.presence import (
    is_lost,
    made_before,
    organization_for,
    origin_of,
    original_of,
    require_free,
    taken_up,
)
from common.restoring.sending import archive_of, parts_of
from common.restoring.sidecars import sidecar_of
from common.restoring.soundness import Sound, check
from common.sources import Kind
from common.text import printable


def put_back(target: Target, chosen: Chosen, order: Order, phase: Callable[[str], None], on_progress: Any) -> Restored:
    """Puts one backup back. Raises Refused, ExistsAlready and CvatError; what was begun goes on in the next run."""
    phase("checking")
    sound = check(chosen, target.stop.check)
    name = (order.name or sound.name).strip()[:256] or f"unnamed {sound.kind}"
    done = Restored(chosen, "restored", sound.kind, name)
    unread: list[str] = []
    sidecar = sidecar_of(chosen, order, unread)
    original = None if chosen.task else original_of(target, chosen, sound.kind, order)
    home = original_of(target, chosen, "project", order) if chosen.task else None
    if order.missing_only and not order.again:
        present = original if original is not None else made_before(target, origin_of(chosen, sound), sound, name)
        if present is not None:
            done.outcome, done.id, done.address = "there already", present, _address(target, sound.kind, present)
            return done
    organization, org_id = organization_for(target, chosen, sidecar, order, done)
    journal = taken_up(target, sound, name, organization, order)
    if journal is None or is_lost(target, journal):
        already = require_free(target, origin_of(chosen, sound), sound, name, org_id, home, order)
        if already is not None:
            done.outcome, done.id, done.address = "there already", already, _address(target, sound.kind, already)
            return done
    if journal is None:
        parts = parts_of(sound, target.settings.upload_limit_bytes)
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
        if unread and order.with_metadata:
            done.missing.append(_unread_metadata(unread, sidecar))
        elif sidecar is None and order.with_metadata:
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


def _unread_metadata(unread: Sequence[str], used: Sidecar | None) -> str:
    named = "; ".join(unread[:3]) + (f" and {len(unread) - 3} more" if len(unread) > 3 else "")
    if used is None:
        return f"its metadata cannot be read ({named}): owners, assignees, job states and issues do not come back"
    return f"its metadata cannot be read ({named}): what was saved at {used.stamp} was put back instead"


def _carry_out(
    target: Target, sound: Sound, journal: Journal, sidecar: Sidecar | None, done: Restored,
    phase: Callable[[str], None], on_progress: Any, *, announces: bool, home: int | None,
) -> None:  # fmt: skip
    ids = []
    for number, piece in enumerate(journal.pieces, 1):
        of = f" part {number} of {len(journal.pieces)}" if len(journal.pieces) > 1 else ""
        work = Bringing(
            target.client, journal, piece, lambda piece=piece: archive_of(sound, journal, piece),  # type: ignore[misc]
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
    done.differences += differences(target.client, sound, ids[0])
    if len(journal.pieces) > 1:
        done.remarks.append(f"sent in {len(journal.pieces)} parts because of CVAT_RESTORE_UPLOAD_LIMIT_GB")
    for index, reason in sound.dropped.items():
        name = printable(str(sound.contents.tasks[index].raw.get("name", "")), 60)
        done.remarks.append(f"task {name!r} was left out: {reason}")
    done.remarks += [*missing_media(sound.contents), *restore_warnings(sound.contents, target.version, 0)]
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


def _begin(
    target: Target, chosen: Chosen, sound: Sound, name: str, organization: str, order: Order, parts: Parts
) -> Journal:
    journal = journals.begin(
        target.folder, target=target.client.url, file=sound.path, sha256=sound.sha256, kind=sound.kind, name=name,
        organization=organization, purpose=order.purpose, source=origin_of(chosen, sound),
    )  # fmt: skip
    journal.pieces.append(Piece(sound.kind, sound.only, name, journal.id))
    for index in parts.single:
        task_name = str(sound.contents.tasks[index].raw["name"]).strip() or f"unnamed task {index}"
        journal.pieces.append(Piece("task", index, task_name, f"{journal.id}-{index}"))
    journal.created_at = journal.at
    journal.save()
    return journal


def _address(target: Target, kind: Kind, item_id: int) -> str:
    return f"{target.client.url}/{kind}s/{item_id}"
