"""Downloading one task: skipped if nothing has changed, else exported, fetched, extracted, cleaned, put in place."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

import structlog

from common import log
from common.backups.archive import BadArchive
from common.backups.streamed import StreamedCrcs
from common.cvat.errors import (
    CvatError,
    ExportFailed,
    OutcomeUnknown,
    ServerError,
    Throttled,
    TooSlow,
    Unreachable,
)
from common.cvat.exports import ExportOrder, ResultExpired
from common.datasets import manifest
from common.datasets.choose import Task, pattern_without
from common.datasets.cutting import NotSound
from common.datasets.desk import Desk
from common.datasets.extract import check_archive, extract
from common.datasets.folders import aside_of, name_to_keep, publish_folder
from common.datasets.frames import DeletedFrames, deleted_frames
from common.datasets.manifest import Head
from common.datasets.metrics import Outcome, TaskDetail
from common.datasets.pruning import Pruned, prune, pruner_of
from common.exits import RunEnds, Trouble
from common.files import DiskFull, is_folder, is_link, write_json
from common.ownership import how_to_make_writable
from common.saving.desk import Watch
from common.saving.obtain import Damaged, obtain
from common.text import now, plural, printable
from common.transfer import Interrupted, PartFile
from common.waiting import Stopped

# A task's data/meta is held in memory up to this size, then in a file.
META_IN_MEMORY_BYTES = 1 << 20
_REMEDIES: tuple[tuple[type[Exception], str], ...] = (
    (DiskFull, "Make room on the disk of CVAT_DOWNLOAD_OUTPUT_DIR, or lower CVAT_DOWNLOAD_MIN_FREE_GB."),
    (TooSlow, "Raise CVAT_DOWNLOAD_REQUEST_TIMEOUT_HOURS, or look why CVAT's export workers are busy."),
    (Damaged, "Nothing of this archive was kept. Look at the task's export in CVAT's own page."),
    (BadArchive, "Nothing of this archive was kept. Look at the task's export in CVAT's own page."),
)
_LEAVE_OUT = (
    "Try the same export in CVAT's own page; another --dataset-format often works. To go on without this task: "
    "--exclude {}"
)
# To try again is all there is to do about these.
_PASSING = (Interrupted, TooSlow, ResultExpired, Unreachable, ServerError, Throttled, OutcomeUnknown)


class ForeignFolder(Trouble):
    """What this program did not make stands where a dataset is to go."""

    remedy = "Move it away, choose another --output-dir, or replace it with --overwrite-existing."


@dataclass
class Downloaded:
    """What became of one task; `lines` is what is yet to be told about it, in order. `no_room`: it failed for want of it."""

    detail: TaskDetail
    lines: list[str] = field(default_factory=list)
    remedy: str = ""
    passing: bool = False  # it failed of what may well pass: to try again is all there is to do
    no_room: bool = False


def download_task(
    desk: Desk,
    task: Task,
    folder: str,
    older: list[str],
    watch: Watch,
    begin: Callable[[list[str]], None],
    *,
    alone: bool = True,
) -> Downloaded:
    """Downloads one task into `folder` (a name below desk.downloads); every way to fail becomes a result.

    `begin` is given the lines that tell that an export begins, which may take long.
    `older` are folders of the same task under names that it had before: once the new one is in place they go, unless
    somebody has changed something in them. Unless it is `alone`, others take room on the disk at the same time.
    Raises Stopped and RunEnds only.
    """
    began = time.monotonic()
    structlog.contextvars.bind_contextvars(task=task.id)
    final = desk.downloads / folder
    name = printable(task.name)
    lines = [f"Processing task {task.id}: {name}"]
    start = TaskDetail(
        task.id, task.name, folder, task.status, task.size, str(final), "failed", format=desk.settings.dataset_format
    )

    def end(
        outcome: Outcome, head: Head | None, size_bytes: int, reason: str = "", remedy: str = "", passing: bool = False
    ) -> Downloaded:
        detail = replace(
            start, outcome=outcome, bytes=size_bytes, reason=reason, seconds=round(time.monotonic() - began, 3),
            images_filtered=head.images_filtered if head else 0,
            annotations_filtered=head.annotations_filtered if head else 0,
        )  # fmt: skip
        return Downloaded(detail, lines, remedy, passing, no_room)

    no_room = False
    try:
        if not task.size:
            lines.append(f"Skipping task {task.id}: it has no images or video")
            return end("skipped", None, 0, "it has no images or video yet: there is nothing to download")
        wanted = _head(desk, task)
        if (kept := _unchanged(desk, final, wanted, lines)) is not None:
            head, size_bytes = kept
            _part(desk, task).discard()
            _remove_older(desk, task, folder, older, lines)
            why = "already downloaded, unchanged" + (f"; {head.reason}" if head.reason else "")
            return end("skipped", head, size_bytes, why)
        watch.phase("waiting")
        lines.append(f"Downloading task {task.id}: '{name}' (status: {task.status}, size: {task.size})")
        lines.append(f"Exporting dataset in format: {desk.settings.dataset_format}")
        begin(list(lines))
        lines.clear()
        head, size_bytes = _fetch_and_place(desk, task, wanted, final, older, watch, lines)
        lines.append(f"Successfully downloaded task '{name}' (ID: {task.id})")
        if head.images_filtered or head.annotations_filtered:
            lines.append(
                f"Filtered annotations: removed {plural(head.images_filtered, 'deleted image')} "
                f"and {plural(head.annotations_filtered, 'annotation')}"
            )
        if head.reason:
            lines.append(f"Note: {head.reason}")
        return end("downloaded", head, size_bytes, head.reason)
    except (Stopped, RunEnds):
        raise
    except (CvatError, Damaged, BadArchive, Interrupted, Trouble, NotSound, OSError) as error:
        reason, no_room = printable(_in_words(error), 500), isinstance(error, DiskFull)
        remedy = next((text for kind, text in _REMEDIES if isinstance(error, kind)), getattr(error, "remedy", ""))
        if isinstance(error, PermissionError):
            remedy = how_to_make_writable(final if os.path.lexists(final) else desk.downloads, "downloader.py")
        if isinstance(error, (ExportFailed, NotSound)):
            remedy = _LEAVE_OUT.format(shlex.quote(pattern_without(task.name, desk.settings.exclude)))
        passing = isinstance(error, _PASSING)
        # For want of room: the others need it. Of an archive that is not what it should be, nothing may go on.
        if isinstance(error, (DiskFull, Damaged, BadArchive, NotSound)):
            _part(desk, task).discard()
    except Exception as error:  # noqa: BLE001 - one task's surprise must not stop the others; it is logged whole
        log.get().exception("unexpected_error")
        reason, remedy = f"unexpected {type(error).__name__}: {error}", "Please report this with the log."
        passing = False
    finally:
        _clear(desk, task)
    if no_room and not alone:
        log.get().warning("dataset_without_room", name=task.name, reason=reason)
        lines.append(f"No room for task {task.id} beside the others, it is tried again when they are done: {reason}")
        return end("failed", None, 0, reason, remedy)
    log.get().error("dataset_failed", name=task.name, reason=reason, remedy=remedy)
    lines.append(f"Failed to download task {task.id} '{name}': {reason}")
    return end("failed", None, 0, reason, remedy, passing)


def _in_words(error: Exception) -> str:
    if isinstance(error, PermissionError) and error.filename:
        return f"{os.fsdecode(error.filename)} may not be read or replaced ({error.strerror})"
    return str(error)


def _head(desk: Desk, task: Task) -> Head:
    settings = desk.settings
    return Head(
        desk.server, task.id, task.name, task.created_at, task.fingerprint.newest, task.fingerprint.digest,
        settings.dataset_format, settings.include_images, settings.check_image_exists,
    )  # fmt: skip


def _unchanged(desk: Desk, final: Path, wanted: Head, lines: list[str]) -> tuple[Head, int] | None:
    """What the folder holds, when it is complete and what is wanted; None when the task is to be fetched."""
    if not os.path.lexists(final) or desk.settings.overwrite_existing:
        return None
    present = manifest.read_head(final)
    if present is None:
        raise ForeignFolder(f"{_kind(final)} {final} exists already and was not made by this program")
    if not wanted.same_order(present):
        lines.append(f"Task {wanted.task_id}{_difference(wanted, present)}")
        return None
    damage, size_bytes = manifest.find_damage(final, desk.stop.check)
    if damage:
        log.get().warning("dataset_damaged", folder=final.name, reason=damage)
        lines.append(f"Downloading again: {damage}")
        return None
    lines.append(f"Skipping task {wanted.task_id}: already downloaded, unchanged")
    return present, size_bytes


def _kind(path: Path) -> str:
    return "the link" if is_link(path) else "the folder" if is_folder(path) else "the file"


def _difference(wanted: Head, present: Head) -> str:
    """Why what is there is replaced, as the end of a sentence about the task."""
    if wanted.form != present.form:
        return f": the folder held {present.form}; it is replaced by {wanted.form}"
    if wanted.check_image_exists != present.check_image_exists:
        return f" was downloaded with{'' if present.check_image_exists else 'out'} the check for deleted images"
    return " has changed since it was downloaded"


def _what_is_kept(desk: Desk, final: Path, lines: list[str]) -> str:
    """Why what has the dataset's name is kept under another one; "" where nothing is there, or it may go."""
    if not os.path.lexists(final):
        return ""
    ours = manifest.read_head(final) is not None
    theirs = manifest.find_theirs(final, desk.stop.check) if ours else "this program did not make it"
    if theirs and desk.settings.overwrite_existing:
        lines.append(f"Replacing {final}, as --overwrite-existing says ({theirs})")
        return ""
    if not ours:  # it has come meanwhile
        raise ForeignFolder(f"{_kind(final)} {final} was not made by this program")
    return theirs


def _fetch_and_place(
    desk: Desk, task: Task, wanted: Head, final: Path, older: list[str], watch: Watch, lines: list[str]
) -> tuple[Head, int]:
    """Everything between the decision and the finished folder."""
    settings = desk.settings
    deleted, can_check = DeletedFrames(), pruner_of(settings.dataset_format) is not None
    if settings.check_image_exists:
        deleted = _deleted_frames(desk, task)
    part = _part(desk, task)
    order = ExportOrder("task", task.id, settings.dataset_format, settings.include_images)

    def check(path: Path, crcs: StreamedCrcs) -> int:
        return check_archive(path, desk.reserve_bytes, crcs, desk.stop.check)

    got = obtain(desk, order, part, task.fingerprint, watch, check)
    new, index = desk.staging / f"task_{task.id}", desk.staging / f"task_{task.id}.index"
    lines.append(f"Extracting dataset to {final}")
    watch.phase("extracting")
    extract(got.part.path, new, index, desk.reserve_bytes, desk.stop.check)
    pruned = Pruned()
    if deleted and can_check:
        watch.phase("checking images")
        pruned = prune(new, settings.dataset_format, deleted, desk.stop.check) or pruned
    elif deleted:
        pruned.notes.append(
            f"{plural(len(deleted.numbers), 'image')} of this task {'was' if len(deleted.numbers) == 1 else 'were'} deleted "
            f"in CVAT; {settings.dataset_format} could not be checked for what belongs to them"
        )
    write_json(new / manifest.JOB_STATUS, _job_status(task))
    head = replace(
        wanted, images_filtered=pruned.images, annotations_filtered=pruned.annotations, reason="; ".join(pruned.notes)
    )
    size_bytes = manifest.write(new, head, index, pruned.removed, pruned.rewritten)
    desk.stop.check()
    theirs = _what_is_kept(desk, final, lines)
    kept = name_to_keep(final, now()) if theirs else None
    publish_folder(new, final, aside_of(desk.staging, final.name), kept)
    if kept is not None:
        lines.append(f"The folder of before is kept as {kept}: {theirs}")
        desk.kept.append(kept)
    _remove_older(desk, task, final.name, older, lines)
    part.discard()
    return head, size_bytes


def _remove_older(desk: Desk, task: Task, place: str, older: list[str], lines: list[str]) -> None:
    """Removes what was downloaded of the task when it had another name; whatever else may be of worth stays.

    `place` is its folder now: two names may give the same.
    """
    for path in (desk.downloads / folder for folder in older if folder != place):
        head = manifest.read_head(path)
        if head is None or head.task_name == task.name:
            continue
        if theirs := manifest.find_theirs(path, desk.stop.check):
            lines.append(f"Left {path}: the task had another name then, but {theirs}")
        else:
            lines.append(f"Removing {path}: the task had another name then")
            shutil.rmtree(path, ignore_errors=True)


def _part(desk: Desk, task: Task) -> PartFile:
    return PartFile(desk.staging / f"task_{task.id}.zip.part")


def _deleted_frames(desk: Desk, task: Task) -> DeletedFrames:
    """Asks for the task's frames. Raises CvatError, NotFrames."""
    with tempfile.SpooledTemporaryFile(META_IN_MEMORY_BYTES, dir=str(desk.staging)) as file:
        with desk.client.streaming(f"/api/tasks/{task.id}/data/meta") as response:
            for piece in desk.client.pieces(response):
                file.write(piece)
        return deleted_frames(cast(BinaryIO, file), is_video=task.is_video)


def _job_status(task: Task) -> dict[str, object]:
    """jobs.json: who has done what, which no dataset format says."""
    return {
        "version": 1,
        "task_id": task.id,
        "task_name": task.name,
        "status": task.status,
        "subset": task.subset,
        "size": task.size,
        "updated_date": task.updated_at,
        "jobs": list(task.jobs),
    }


def _clear(desk: Desk, task: Task) -> None:
    """Nothing half-extracted stays; the downloaded part of an archive does, for the next run."""
    shutil.rmtree(desk.staging / f"task_{task.id}", ignore_errors=True)
    (desk.staging / f"task_{task.id}.index").unlink(missing_ok=True)
