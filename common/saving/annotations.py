"""Saving the annotations of one source: each job as the API gives it, and a dataset export beside it.

The API archive is what can be put back without loss; the dataset is what other tools read. Per job, not per task:
a task's merged annotations leave out ground-truth jobs and consensus replicas and multiply tracks when put back
(measured). The API archive holds

    source.json            the project or task
    labels.json            its labels with attributes, as in /api/labels
    tasks/7/task.json      a task
    tasks/7/frames.json    its data/meta: frame names, sizes, deleted frames
    tasks/7/jobs/9.json    one job's annotations, byte for byte
    jobs.json              all jobs: type, frames, stage, state, and which task they belong to
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from common import log
from common.annotations import count, frames_meta
from common.backups.archive import Archive, BadArchive
from common.backups.datasets import DatasetContents, formats_for, inspect_dataset
from common.backups.names import format_slug
from common.backups.record import Export, LeftOut, Record, Verified
from common.cvat.client import Client
from common.cvat.contents import reading
from common.cvat.errors import CvatError, NotFound
from common.cvat.exports import ExportOrder
from common.cvat.listing import Look, items, look_at
from common.files import disk_full_named
from common.hashing import sha256_of
from common.saving.choose import Candidate
from common.saving.commit import Finished, commit
from common.saving.desk import Desk, PartlySaved, Watch
from common.saving.obtain import Damaged, Obtained, obtain
from common.sources import Counts, SourceState, TaskState
from common.text import now
from common.transfer import Interrupted, require_room

T = TypeVar("T")
SPOOL_BYTES = 1 << 20


def wanted_export(state: SourceState, configured_format: str, offered: dict[str, str], *, save_images: bool) -> Export:
    """What is asked for in mode a: the formats depend on what the source holds."""
    if not state.has_data:
        return Export()  # a dataset without an image is an empty zip, or a list of labels
    formats = formats_for(
        configured_format, has_video=state.has_video, has_images=state.has_images, is_3d=state.is_3d, offered=offered
    )
    return Export(formats, save_images)


@dataclass
class _Seen:
    counts: Counts = field(default_factory=Counts)
    jobs: int = 0
    frames: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


def save_annotations(desk: Desk, candidate: Candidate, watch: Watch) -> Record:
    """Raises NotFound when the source is gone, and everything that `obtain` raises."""
    source, started_at = candidate.state.source, now()
    watch.phase("looking")
    before = look_at(desk.client, source)
    export = wanted_export(
        before.state, desk.settings.format, desk.offered_formats, save_images=desk.settings.save_images
    )
    watch.phase("reading annotations")
    with _staged(desk, before) as api_path:
        require_room(api_path.parent, 0, desk.reserve_bytes)
        seen = write_api_archive(desk.client, before, api_path)
        datasets, failures = _datasets(desk, before, export, watch)
        export = dataclasses.replace(export, formats=tuple(datasets))
        warnings = [warning for got in datasets.values() for warning in got.seen.warnings] + failures
        try:
            changed = look_at(desk.client, source).state.fingerprint.digest != before.state.fingerprint.digest
        except NotFound:
            changed, warnings = True, [*warnings, "it was deleted on the server while it was saved"]
        except CvatError as error:
            if not failures:
                raise
            # The server that could make no dataset does not answer any more: the next run looks whether it has changed.
            changed, warnings = True, [*warnings, f"it could not be looked at again: {error}"]
        if failures and _is_saved_already(candidate, before, export):
            raise PartlySaved("; ".join(failures), None)
        finished = [Finished(api_path, "api", "_api.zip", api_path.stat().st_size, sha256_of(api_path))]
        for dataset_format, got in datasets.items():
            ending = f"_{format_slug(dataset_format)}.zip"
            finished.append(Finished(got.part.path, "dataset", ending, got.fetched.size_bytes, got.fetched.sha256))
        verified = Verified(
            result="good with warnings" if warnings else "good",
            tasks=sum(task.has_data for task in before.tasks),
            jobs=seen.jobs,
            frames=seen.frames,
            counts=seen.counts,
            members=sum(got.seen.members for got in datasets.values()),
            media_files=sum(got.seen.images for got in datasets.values()),
            compared_with_server=True,
        )
        record = commit(
            desk, before, "annotations", started_at, finished, verified,
            changed=changed, warnings=warnings, left_out=seen.left_out, export=export,
        )  # fmt: skip
        if failures:
            raise PartlySaved("; ".join(failures), record)
        return record


def _datasets(
    desk: Desk, look: Look, export: Export, watch: Watch
) -> tuple[dict[str, Obtained[DatasetContents]], list[str]]:
    """The datasets by format, and what is to be said of those that CVAT cannot make.

    Some data cannot be written in some formats at all (a broken mask as COCO, measured), some servers answer 500, some
    proxies break every download: that must not cost the annotations themselves, which the API has already given.
    Raises NotFound when the source is gone, DiskFull, Stopped, RunEnds.
    """
    datasets: dict[str, Obtained[DatasetContents]] = {}
    failures: list[str] = []
    for name in export.formats:
        try:
            datasets[name] = _dataset(desk, look, name, export.save_images, watch)
        except (CvatError, Damaged, Interrupted, BadArchive) as error:
            if isinstance(error, NotFound):
                _require_there(desk, look)
            failures.append(f"no dataset as {name!r}: {error}")
    return datasets, failures


def _require_there(desk: Desk, look: Look) -> None:
    """Raises NotFound when the source itself is gone: then nothing is saved of it. That this cannot be asked says nothing."""
    try:
        look_at(desk.client, look.state.source)
    except NotFound:
        raise
    except CvatError as error:
        log.get().info("source_not_looked_at", reason=str(error))


def _is_saved_already(candidate: Candidate, look: Look, export: Export) -> bool:
    """Whether the newest backup holds exactly what could be had again: every run would add an equal copy."""
    newest = candidate.newest
    return newest is not None and newest.fingerprint == look.state.fingerprint and newest.export == export


def _dataset(desk: Desk, look: Look, dataset_format: str, save_images: bool, watch: Watch) -> Obtained[DatasetContents]:
    source = look.state.source
    part = desk.store.part(source, f"annotations-{format_slug(dataset_format)}")
    order = ExportOrder(source.kind, source.id, dataset_format, save_images)
    return obtain(
        desk, order, part, look.state.fingerprint, watch,
        lambda path, crcs: inspect_dataset(path, dataset_format, crcs, desk.stop.check),
    )  # fmt: skip


def write_api_archive(client: Client, look: Look, path: Path) -> _Seen:
    """Writes what the API says of a source, job by job, and checks the finished file's every byte."""
    seen = _Seen()
    source = look.state.source
    with disk_full_named(path.parent):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            _put(archive, "source.json", look.raw)
            _put(archive, "labels.json", list(items(client, "/api/labels", {f"{source.kind}_id": source.id})))
            _put(archive, "jobs.json", [job for jobs in look.jobs.values() for job in jobs])
            for task in look.tasks:
                _put(archive, f"tasks/{task.id}/task.json", task.raw)
                if task.has_data:
                    _write_task(client, archive, task, look.jobs[task.id], seen)
                else:
                    seen.left_out.append(LeftOut(task.id, task.name, "it has no images or video"))
        with Archive(path) as written:
            written.check_all(between=client.stop.check)
    return seen


def _write_task(
    client: Client, archive: zipfile.ZipFile, task: TaskState, jobs: list[dict[str, Any]], seen: _Seen
) -> None:
    frames_name = f"tasks/{task.id}/frames.json"
    seen.frames += _copy(client, archive, f"/api/tasks/{task.id}/data/meta", frames_name, frames_meta).size
    for job in jobs:
        name = f"tasks/{task.id}/jobs/{job['id']}.json"
        seen.counts += _copy(client, archive, f"/api/jobs/{job['id']}/annotations", name, count)
        seen.jobs += 1


def _put(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    archive.writestr(name, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "backslashreplace"))


def _copy(
    client: Client, archive: zipfile.ZipFile, path: str, name: str, understand: Callable[[Iterator[bytes]], T]
) -> T:
    """Puts an answer of the API into the archive, byte for byte, once it has arrived whole and was understood."""
    folder = Path(str(archive.filename)).parent

    def arrive(pieces: Iterator[bytes]) -> tuple[T, IO[bytes]]:
        # Beside the archive, without a name: an answer that breaks off half-way leaves nothing in the archive.
        spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(folder))  # noqa: SIM115 - closed by the caller

        def passing() -> Iterator[bytes]:
            for piece in pieces:
                spool.write(piece)
                yield piece

        try:
            return understand(passing()), cast(IO[bytes], spool)
        except BaseException:
            spool.close()
            raise

    understood, spool = reading(client, path, arrive)
    with spool, archive.open(name, "w", force_zip64=True) as member:
        spool.seek(0)
        shutil.copyfileobj(spool, member, SPOOL_BYTES)
    return understood


@contextlib.contextmanager
def _staged(desk: Desk, look: Look) -> Iterator[Path]:
    """Where the API archive is written. Removed after a failure; dataset part files stay, to be resumed."""
    staged = desk.store.make_folder(look.state.source) / ".annotations-api.staged"
    try:
        yield staged
    finally:
        staged.unlink(missing_ok=True)
