"""Whether a folder is whole: against the server's own counts, and against its own record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from common.hashing import sha256_of
from common.migrating.folder import Entry, ProjectFolder
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


def sum_up(entries: Iterable[Entry], report: Report) -> None:
    for each in entries:
        if each.gone:
            continue
        report.images += each.kind == "image"
        report.videos += each.kind == "video"
        report.scenes += len(each.scenes or {})
        report.shapes += each.shapes
        report.bytes += each.size_bytes


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
