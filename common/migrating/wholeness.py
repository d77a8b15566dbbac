"""Whether a folder is whole: against the server's own counts, and against its own record."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from common.files import is_there
from common.hashing import sha256_of
from common.migrating.folder import BadFolder, Entry, ProjectFolder
from common.migrating.report import Report
from common.sc.media import Media
from common.sc.projects import Dataset


def compare(
    datasets: Mapping[str, Dataset],
    listed: list[Media],
    entries: Mapping[str, Entry],
    counted: Mapping[str, Mapping[str, int] | None],
    report: Report,
) -> None:
    """The server's own counts against what is on the disk."""
    for identity, dataset in datasets.items():
        own = [each for each in entries.values() if each.dataset_id == identity and not each.gone]
        said = counted.get(identity)
        if said is None:
            said = {"images": sum(each.dataset_id == identity and each.kind == "image" for each in listed)}
        scenes = [each for each in own if each.scenes]
        have = {
            "images": sum(each.kind == "image" for each in own),
            "videos": sum(each.kind == "video" for each in own),
            "annotated_images": sum(each.kind == "image" for each in scenes),
            "annotated_videos": sum(each.kind == "video" for each in scenes),
            "annotated_frames": sum(len(each.scenes or {}) for each in scenes if each.kind == "video"),
        }
        for what, count in have.items():
            # More than it says is no loss: somebody works there, or a scene without any shape is counted here only.
            if what in said and count < said[what]:
                report.gaps.append(
                    f"dataset {dataset.name!r}: the server counts {said[what]:,} {what.replace('_', ' ')}, {count:,} are here"
                )


def settle_vanished(
    folder: ProjectFolder,
    datasets: Mapping[str, Dataset],
    vanished: Mapping[str, Entry],
    listed: list[Media],
    entries: Mapping[str, Entry],
    counted: Mapping[str, Mapping[str, int] | None],
    report: Report,
) -> dict[str, Entry]:
    """What becomes of annotations that an earlier download has and the server no longer gives. `vanished` are the entries
    as they were. The entries that get theirs back.

    Where the server counts no more than what came, they were deleted there, and their files go. Where it counts more, the
    answer was wrong: they stay. Where it does not count, their files are moved aside, to annotations/gone.
    """
    kept: dict[str, Entry] = {}
    for identity, dataset in datasets.items():
        own = [each for each in vanished if each in entries and entries[each].dataset_id == identity]
        if not own:
            continue
        looked = Report(report.name)
        compare({identity: dataset}, listed, entries, counted, looked)
        for each in own:
            old, new = vanished[each], entries[each]
            if looked.gaps:
                scenes = {**(old.scenes or {}), **(new.scenes or {})}
                shapes = new.shapes if new.scenes else old.shapes
                kept[each] = replace(new, scenes=scenes, shapes=shapes, ranges=new.ranges or old.ranges)
                report.gaps.append(
                    f"annotations of {new.kind} {new.name!r} ({new.id}): the server gives them no longer, and counts more than "
                    "it gives: those of the earlier download stay"
                )
                continue
            files = [old.scene_file(frame) for frame in set(old.scenes or {}) - set(new.scenes or {})]
            files += [old.ranges_file] if old.ranges and not new.ranges else []
            for relative in files:
                _remove(folder, relative, aside=counted.get(identity) is None)
    return kept


def _remove(folder: ProjectFolder, relative: str, *, aside: bool) -> None:
    path = folder.inside(relative)
    if not aside:
        path.unlink(missing_ok=True)
    elif is_there(path):
        os.replace(path, folder.folder_for("annotations/gone") / path.name)


def sum_up(entries: Iterable[Entry], report: Report) -> None:
    for each in entries:
        if each.gone:
            continue
        report.images += each.kind == "image"
        report.videos += each.kind == "video"
        report.scenes += len(each.scenes or {})
        report.shapes += each.shapes
        report.bytes += each.size_bytes


def recorded_files(manifest: Mapping[str, Any] | None) -> dict[str, str]:
    """The SHA-256 of the project, its configuration and its models, by path; none in folders of earlier versions."""
    found = (manifest or {}).get("files")
    return {str(path): str(sha256) for path, sha256 in found.items()} if isinstance(found, dict) else {}


def files_read_again(folder: ProjectFolder, between: Callable[[], None]) -> list[str]:
    """What of them is not on the disk as it was written, one sentence each."""
    wrong = []
    for relative, sha256 in recorded_files(folder.manifest()).items():
        try:
            if sha256_of(folder.inside(relative), between) != sha256:
                wrong.append(f"{relative} has changed since it was written")
        except (OSError, BadFolder) as error:
            wrong.append(f"{relative} cannot be read: {getattr(error, 'strerror', None) or error}")
    return wrong


def read_again(folder: ProjectFolder, entry: Entry) -> list[str]:
    """What of an entry is not on the disk as it was written, one sentence each."""
    wrong = []
    files = [(entry.file, entry.sha256)] if entry.file else []
    files += [(entry.scene_file(frame), sha256) for frame, sha256 in (entry.scenes or {}).items()]
    files += [(entry.prediction_file(frame), sha256) for frame, sha256 in entry.predictions.items()]
    files += [(entry.ranges_file, entry.ranges)] if entry.ranges else []
    for relative, sha256 in files:
        try:
            if sha256 and sha256_of(folder.inside(relative)) != sha256:
                wrong.append(f"{relative} has changed since it was written")
        except OSError as error:
            wrong.append(f"{relative} cannot be read: {error.strerror}")
    if not entry.file:
        wrong.append(f"{entry.kind} {entry.name!r} ({entry.id}) has no file")
    return wrong
