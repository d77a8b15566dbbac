"""Saving one project, or one task without a project, as a CVAT backup that CVAT's own UI restores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from common import log
from common.backups.archive import BadArchive
from common.backups.compare import Difference, compare, misfits
from common.backups.contents import ArchiveContents, inspect, missing_media, restore_warnings
from common.backups.mend import mended
from common.backups.record import LeftOut, Original, Record, Verified
from common.backups.streamed import StreamedCrcs
from common.cvat.contents import task_contents
from common.cvat.errors import NotFound, ServerError
from common.cvat.exports import ExportOrder
from common.cvat.listing import Look, look_at
from common.files import write_json
from common.hashing import sha256_of
from common.saving.choose import Candidate
from common.saving.commit import Finished, commit
from common.saving.desk import Desk, PartlySaved, Watch
from common.saving.obtain import Damaged, Obtained, obtain
from common.sources import Source, TaskContents, TaskState
from common.text import now, plural, printable
from common.transfer import PartFile, require_room


@dataclass
class _Work:
    """What one save has gathered so far."""

    path: Path
    contents: ArchiveContents
    alterations: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # What the server has and the archive has not, although CVAT was asked again where that could help.
    lacking: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    kept_json: list[dict[str, object]] = field(default_factory=list)


def save_backup(desk: Desk, candidate: Candidate, watch: Watch) -> Record:
    """Raises NotFound when the source is gone, and everything that `obtain` raises."""
    source, started_at = candidate.state.source, now()
    watch.phase("looking")
    before = look_at(desk.client, source)
    part = desk.store.part(source, "backup")
    order = ExportOrder(source.kind, source.id)
    got = _obtain(desk, before, order, before.state.source.name, part, watch)
    with _room_for_mending(part) as rewritten:
        work = _Work(got.part.path, got.seen)
        after, server = _look_again(desk, source, before)
        changed = after is None or after.state.fingerprint.digest != before.state.fingerprint.digest
        # What changed while it was exported is not stale but newer; the next run saves it again.
        hidden = _hidden(before)
        compared = None if changed or hidden else server
        ids = [task.id for task in before.tasks]
        stale = [] if compared is None else compare(compared, ids, _described(work.contents))
        _mend(desk, before, work, stale, rewritten, watch)
        if compared is None:
            if hidden:
                work.warnings.append(f"{plural(hidden, 'task')} of it not shown to this account: it was not compared")
            else:
                work.lacking += misfits(before.tasks, (after or before).tasks, _described(work.contents))
            work.lacking += missing_media(work.contents)
        else:
            places = {task_id: index for index, task_id in enumerate(sorted(ids))}
            images = {places[task.id]: compared[task.id].frames for task in before.tasks if _has_images(task)}
            work.lacking += missing_media(work.contents, images)
            for difference in compare(compared, ids, _described(work.contents)):
                lacks = difference.lacks or difference.is_another
                (work.lacking if lacks else work.warnings).append(f"differs from the server: {difference}")
        if after is None:
            work.warnings.append("it was deleted on the server while it was saved")
        _note_tasks_without_data(before, work)
        work.warnings += restore_warnings(work.contents, desk.server_version, work.path.stat().st_size)
        if not changed and work.lacking and _is_saved_already(desk, candidate, before, work):
            desk.store.tidy(source, "backup")
            what = f"the archive that CVAT made is still incomplete: {'; '.join(work.lacking)}"
            raise PartlySaved(what, None, got.fetched.size_bytes)
        record = _commit(desk, before, got, work, started_at, changed=changed, compared=compared is not None)
    if work.lacking:
        raise PartlySaved(f"the archive that CVAT made is incomplete: {'; '.join(work.lacking)}", record)
    return record


def _is_saved_already(desk: Desk, candidate: Candidate, look: Look, work: _Work) -> bool:
    """Whether the newest backup lacks no more than this archive: what is lost for good would fill the disk with copies."""
    newest = candidate.newest
    return (
        newest is not None
        and not candidate.anew
        and newest.verified.result == "incomplete"
        and newest.fingerprint == look.state.fingerprint
        and not newest.changed_while_exporting
        and all(text in newest.warnings for text in work.lacking)
        and newest.verified.media_files >= sum(task.media_files for task in work.contents.tasks.values())
        and _is_as_it_was(desk, newest)
    )


def _is_as_it_was(desk: Desk, newest: Record) -> bool:
    """Reads a backup again before this run relies on it; marks it when it has rotted."""
    backup = desk.store.newest(newest.source, "backup")
    if backup is None or backup.record.stamp != newest.stamp:
        return False
    try:
        bad = next((said for file in newest.files if (said := backup.changed(file, desk.stop.check))), "")
        if bad:
            backup.mark_bad(bad)
    except OSError as error:
        bad = f"{backup.path.name} cannot be read: {error.strerror or error}"
    if bad:
        log.get().warning("backup_not_counted", source=str(newest.source), reason=bad)
    return not bad


def _hidden(look: Look) -> int:
    """How many tasks of a project exist that we are not shown: with them N of `task_N/` says nothing to us."""
    told = look.raw.get("tasks")
    number = told.get("count") if look.state.source.kind == "project" and isinstance(told, dict) else None
    return max(0, number - len(look.tasks)) if isinstance(number, int) else 0


def _has_images(task: TaskState) -> bool:
    return task.has_data and not task.is_video


def _obtain(
    desk: Desk, look: Look, order: ExportOrder, name: str, part: PartFile, watch: Watch
) -> Obtained[ArchiveContents]:
    """A sound backup of what is called so. Raises what `obtain` raises: Damaged also when it is a backup of another."""

    def check(path: Path, crcs: StreamedCrcs) -> ArchiveContents:
        contents = inspect(path, order.kind, crcs, desk.stop.check)
        # It may have been given another name while it was exported.
        if contents.name != name and contents.name != _name_now(desk, order):
            called, wanted = printable(contents.name, 60), printable(name, 60)
            raise BadArchive(f"it is the backup of a {order.kind} {called!r}, not of {wanted!r}")
        return contents

    return obtain(desk, order, part, look.state.fingerprint, watch, check)


def _name_now(desk: Desk, order: ExportOrder) -> str:
    answer = desk.client.get(f"/api/{order.kind}s/{order.id}")
    return str(answer.get("name")) if isinstance(answer, dict) else ""


def _look_again(desk: Desk, source: Source, before: Look) -> tuple[Look | None, dict[int, TaskContents] | None]:
    """The source after its export and what its tasks hold; None for what is gone meanwhile."""
    try:
        server = {
            task.id: task_contents(desk.client, task, before.jobs[task.id]) for task in before.tasks if task.has_data
        }
        # Looked at last: whatever changed while the contents were read shows in the dates.
        return look_at(desk.client, source), server
    except NotFound as error:
        try:
            after = look_at(desk.client, source)
        except NotFound:
            log.get().warning("source_deleted_meanwhile", source=str(source), reason=str(error))
            return None, None
        if after.state.fingerprint.digest == before.state.fingerprint.digest:
            # Nothing has changed, and yet a part is not to be had: that is no backup to rely on.
            raise ServerError(f"a part of it cannot be read, although nothing changed: {error}") from None
        return after, None


def _described(contents: ArchiveContents) -> dict[int, TaskContents]:
    return {index: task.contents() for index, task in contents.tasks.items() if not task.upload_failed}


def _mend(desk: Desk, look: Look, work: _Work, stale: list[Difference], rewritten: Path, watch: Watch) -> None:
    """Replaces stale tasks by fresh task backups and leaves out what CVAT could not restore."""
    ids = sorted(task.id for task in look.tasks)
    failed = {index: task for index, task in work.contents.tasks.items() if task.upload_failed}
    wanted = {each.index: each for each in stale if each.task_id is not None and each.index not in failed}
    drop = set(failed)
    if moved := any(each.is_another for each in stale):
        # The places do not agree (a cache that missed a deleted task): every one of them is made anew.
        what = "the archive has other tasks in these places"
        wanted = {
            index: wanted.get(index) or Difference(index, task.id, task.name, what)
            for index, task in enumerate(sorted(look.tasks, key=lambda task: task.id))
            if task.has_data
        }
        drop, failed = set(work.contents.tasks) - set(wanted), {}
    if look.state.source.kind == "task":
        if failed:
            raise Damaged(
                "the data upload of this task failed: CVAT could not restore its backup",
                "Make this task anew in CVAT, with its images, or delete it.",
            )
        # A task backup is made from the task itself, never from the project cache: nothing fresher can be had.
        return
    if not (drop or wanted):
        return
    with contextlib.ExitStack() as parts:
        replacements: dict[int, Path] = {}
        for difference in wanted.values():
            log.get().warning("stale_part_replaced", source=str(look.state.source), detail=str(difference))
            fresh = _fresh_task(desk, look, difference, watch)
            parts.callback(fresh.part.discard)
            replacements[difference.index] = fresh.part.path
            if moved and fresh.seen.label_names != work.contents.label_names:
                raise Damaged("the archive is another project's: its tasks and its labels are not this one's")
            work.alterations.append(f"replaced by a fresh task backup: {difference}")
        watch.phase("rewriting")
        require_room(rewritten.parent, work.path.stat().st_size, desk.reserve_bytes)
        mended(work.path, rewritten, drop=drop, replace=replacements, between=desk.stop.check)
    for index in sorted(drop - failed.keys()):
        name = printable(str(work.contents.tasks[index].raw.get("name", "")), 60)
        work.alterations.append(f"task_{index} ({name}) was left out: no such task is on the server")
    for index, task in failed.items():
        task_id = ids[index] if index < len(ids) and not _hidden(look) else 0
        reason = "its data upload failed: CVAT refuses to restore a project that holds it"
        work.left_out.append(LeftOut(task_id, str(task.raw.get("name", "")), reason))
        work.kept_json.append({"task_id": task_id, "reason": reason, "task.json": task.raw})
        work.alterations.append(f"task {task_id} ({task.raw.get('name', '')}) was left out: {reason}")
    try:
        work.contents = inspect(rewritten, "project", between=desk.stop.check)
    except BadArchive as error:
        raise Damaged(f"the mended archive is not sound: {error}") from None
    work.path = rewritten


def _fresh_task(desk: Desk, look: Look, difference: Difference, watch: Watch) -> Obtained[ArchiveContents]:
    assert difference.task_id is not None
    part = desk.store.part(look.state.source, f"backup-task-{difference.task_id}")
    return _obtain(desk, look, ExportOrder("task", difference.task_id), difference.name, part, watch)


def _note_tasks_without_data(look: Look, work: _Work) -> None:
    """CVAT leaves tasks without data out of a project backup without a word; the record says so."""
    named = {item.task_id for item in work.left_out}
    for task in look.tasks:
        if not task.has_data and task.id not in named and look.state.source.kind == "project":
            reason = "it has no images or video: CVAT does not put it into a backup"
            work.left_out.append(LeftOut(task.id, task.name, reason))
            work.kept_json.append({"task_id": task.id, "reason": reason, "task": task.raw})


def _commit(
    desk: Desk,
    look: Look,
    got: Obtained[ArchiveContents],
    work: _Work,
    started_at: datetime,
    *,
    changed: bool,
    compared: bool,
) -> Record:
    altered = work.path != got.part.path
    digest = sha256_of(work.path, desk.stop.check) if altered else got.fetched.sha256
    finished = [Finished(work.path, "backup", ".zip", work.path.stat().st_size, digest)]
    if work.kept_json:
        kept = work.path.with_name(".backup-left-out.staged")
        write_json(kept, {"source": str(look.state.source), "tasks": work.kept_json})
        finished.append(Finished(kept, "left-out", "_left-out.json", kept.stat().st_size, sha256_of(kept)))
    described = _described(work.contents)
    verified = Verified(
        result="incomplete" if work.lacking else "good with warnings" if work.warnings else "good",
        tasks=len(described),
        jobs=sum(len(task.jobs) for task in described.values()),
        frames=sum(task.stop_frame - task.start_frame + 1 for task in described.values()),
        counts=work.contents.counts,
        members=work.contents.members,
        media_files=sum(task.media_files for task in work.contents.tasks.values()),
        compared_with_server=compared,
    )
    return commit(
        desk, look, "backup", started_at, finished, verified,
        changed=changed,
        warnings=(*work.lacking, *work.warnings),
        left_out=work.left_out,
        alterations=work.alterations,
        original=Original(got.fetched.size_bytes, got.fetched.sha256) if altered else None,
    )  # fmt: skip


@contextlib.contextmanager
def _room_for_mending(part: PartFile) -> Iterator[Path]:
    """Where a mended archive is written, and removed again unless it was given its final name.

    Part files stay after a failure or a stop: the next run goes on with them.
    """
    rewritten = part.path.with_name(".backup.rewritten")
    try:
        yield rewritten
    finally:
        rewritten.unlink(missing_ok=True)
