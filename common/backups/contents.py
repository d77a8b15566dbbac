"""What a CVAT backup archive holds: its structure checked, its tasks described, its known defects named.

The layout is CVAT's own (measured on 2.54.1): `project.json` and `task_N/…` in a project backup, `task.json`,
`annotations.json` and `data/…` at the root of a task backup. N counts all tasks of the project in the order of
their ids, also those that are left out because they have no data.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from common.annotations import NotAnnotations, count
from common.backups.archive import Archive, BadArchive, Member, Seen
from common.sources import Counts, JobRange, Kind, TaskContents
from common.text import plural, printable

_TASK_MEMBER = re.compile(r"task_(\d+)/(.+)", re.DOTALL)
# CVAT's own limit for uploads (TUS_MAX_FILE_SIZE), which no environment variable changes.
UPLOAD_LIMIT_BYTES = 25 * 2**30
# Files that hold pictures themselves: with one of these in a task, neither names nor numbers of files tell anything.
_PACKED = frozenset(
    ".7z .bz2 .cbr .cbz .cpio .gz .iso .jar .lzma .pdf .rar .tar .tbz .tbz2 .tgz .txz .xz .z .zip .zst".split()
)


@dataclass
class ArchivedTask:
    """One task of an archive. `raw` is its task.json."""

    index: int
    raw: dict[str, Any]
    counts: Counts
    media_files: int
    media_bytes: int
    # Of an image task: how many images its manifest names, and how many of those are not in the archive.
    listed_images: int = 0
    missing_images: int = 0
    # Whether one of its files is a zip, a PDF or the like, in which images may lie.
    packed: bool = False

    @property
    def lies_elsewhere(self) -> bool:
        """Mounted from a share or in a cloud storage: its images need not be in a backup."""
        data = self.raw.get("data")
        return isinstance(data, dict) and data.get("storage") in ("share", "cloud_storage")

    @property
    def has_file_for_each_image(self) -> bool:
        # Honeypots are frames that are shown twice: no files of their own.
        return not (self.packed or self.lies_elsewhere or self.raw["data"].get("validation_layout"))

    @property
    def upload_failed(self) -> bool:
        """A task whose data upload failed: CVAT refuses to restore the whole project with it (measured)."""
        data = self.raw.get("data")
        return not isinstance(data, dict) or data.get("chunk_size") is None

    def contents(self) -> TaskContents:
        """Raises BadArchive when task.json misses what CVAT always writes."""
        try:
            data = self.raw["data"]
            step = re.fullmatch(r"step=(\d+)", str(data.get("frame_filter") or ""))
            frames = range(int(data["start_frame"]), int(data["stop_frame"]) + 1, max(1, int(step[1])) if step else 1)
            jobs = tuple(
                JobRange(
                    str(job.get("type", "annotation")),
                    int(job["start_frame"]),
                    int(job["stop_frame"]),
                    str(job.get("status", "")),
                )
                for job in self.raw["jobs"]
            )
            return TaskContents(
                name=str(self.raw["name"]),
                start_frame=int(data["start_frame"]),
                stop_frame=int(data["stop_frame"]),
                deleted_frames=frozenset(int(frame) for frame in data.get("deleted_frames", ())),
                jobs=jobs,
                counts=self.counts,
                frames=len(frames),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadArchive(
                f"task_{self.index}/task.json is not as CVAT writes it ({type(error).__name__}: {error})"
            ) from None


@dataclass
class ArchiveContents:
    """What was seen in a backup archive."""

    kind: Kind
    name: str
    labels: int
    tasks: dict[int, ArchivedTask]
    members: int
    bytes: int
    # Names of the labels of its project.json, or of a task backup's task.json.
    label_names: frozenset[str] = frozenset()

    @property
    def counts(self) -> Counts:
        return sum((task.counts for task in self.tasks.values()), Counts())


@dataclass
class _Seen:
    task_json: Member | None = None
    annotations: Member | None = None
    manifest: Member | None = None
    media_bytes: int = 0
    packed: bool = False
    # A hash of each media file's name: eight bytes a file, however many there are.
    media: array[int] = field(default_factory=lambda: array("Q"))


@dataclass
class _Layout:
    project: Member | None = None
    tasks: dict[int, _Seen] = field(default_factory=dict)


def inspect(
    path: Path, kind: Kind, known: Seen | None = None, between: Callable[[], None] = lambda: None
) -> ArchiveContents:
    """Checks every byte and the structure of a backup archive. Raises BadArchive with what is wrong."""
    with Archive(path) as archive:
        size_bytes = archive.check_all(known, between)
        layout = _layout_of(archive, kind)
        tasks = {index: _task_of(archive, index, seen) for index, seen in sorted(layout.tasks.items())}
        if kind == "project":
            if layout.project is None:
                raise BadArchive("it holds no project.json: it is no CVAT project backup")
            top = _json_object(archive, layout.project)
        else:
            if 0 not in tasks:
                raise BadArchive("it holds no task.json: it is no CVAT task backup")
            top = tasks[0].raw
        labels = top.get("labels")
        if not isinstance(top.get("name"), str) or not isinstance(labels, list):
            raise BadArchive(f"its {kind}.json names no {kind} or no labels")
        names = frozenset(str(label.get("name")) for label in labels if isinstance(label, dict))
        return ArchiveContents(kind, top["name"], len(labels), tasks, archive.count, size_bytes, names)


def _layout_of(archive: Archive, kind: Kind) -> _Layout:
    layout = _Layout()
    for member in archive.members():
        if kind == "task":
            index, inner = 0, member.name
        elif match := _TASK_MEMBER.fullmatch(member.name):
            index, inner = int(match[1]), match[2]
        else:
            if member.name == "project.json":
                layout.project = member
            continue
        if kind == "task" and not (inner in ("task.json", "annotations.json") or inner.startswith("data/")):
            continue
        seen = layout.tasks.setdefault(index, _Seen())
        if inner == "task.json":
            seen.task_json = member
        elif inner == "annotations.json":
            seen.annotations = member
        elif inner.startswith("data/"):
            if inner == "data/manifest.jsonl":
                seen.manifest = member
            elif not inner.endswith("/"):
                seen.media.append(_name_hash(inner.removeprefix("data/")))
                seen.media_bytes += member.size_bytes
                seen.packed = seen.packed or PurePosixPath(inner.lower()).suffix in _PACKED
    return layout


def _task_of(archive: Archive, index: int, seen: _Seen) -> ArchivedTask:
    if seen.task_json is None:
        raise BadArchive(f"task_{index} has no task.json")
    if seen.annotations is None:
        raise BadArchive(f"task_{index} has no annotations.json")
    try:
        counts = count(archive.read(seen.annotations))
    except NotAnnotations as error:
        raise BadArchive(f"task_{index}: {error}") from None
    raw = _json_object(archive, seen.task_json)
    listed, missing = _images(archive, seen)
    return ArchivedTask(index, raw, counts, len(seen.media), seen.media_bytes, listed, missing, seen.packed)


def _name_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _images(archive: Archive, seen: _Seen) -> tuple[int, int]:
    """How many images a task's manifest names, and how many of them the archive lacks; (0, 0) for a video.

    The manifest is read line by line: it has one for every image.
    """
    if seen.manifest is None or not seen.media:
        return 0, 0
    have = array("Q", sorted(seen.media))
    listed = missing = 0
    for line in _lines(archive.read(seen.manifest)):
        try:
            row = json.loads(line)
        except ValueError:
            raise BadArchive(f"{seen.manifest.name} is not JSON lines") from None
        if isinstance(row, dict) and isinstance(row.get("name"), str) and "extension" in row:
            listed += 1
            wanted = _name_hash(f"{row['name']}{row['extension']}")
            at = bisect.bisect_left(have, wanted)
            missing += at == len(have) or have[at] != wanted
    # Images inside of an archive of their own, or as many under names that are written in another way: nothing can be said.
    is_told = missing < listed or (not seen.packed and len(seen.media) < listed)
    return (listed, missing) if is_told else (0, 0)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def _json_object(archive: Archive, member: Member) -> dict[str, Any]:
    try:
        value = json.loads(archive.read_small(member))
    except ValueError:
        raise BadArchive(f"{member.name} is not JSON") from None
    if not isinstance(value, dict):
        raise BadArchive(f"{member.name} is not a JSON object")
    return value


def missing_media(contents: ArchiveContents, images: Mapping[int, int] | None = None) -> list[str]:
    """Which tasks lack images, one sentence each: all of them, or some that their own manifest names.

    `images` says for each `task_N/` of images how many the server has. It is what a task without a manifest is held
    against: CVAT writes none for what older versions made.
    """
    said = []
    for index, task in contents.tasks.items():
        label, wanted = f"task {printable(str(task.raw.get('name', '')), 60)!r}", (images or {}).get(index, 0)
        # Without jobs its upload never came to an end, whatever else its task.json says.
        if task.upload_failed or not task.raw.get("jobs"):
            continue
        if not task.media_files:
            if not task.lies_elsewhere:
                said.append(f"{label} has no images or video in the backup")
        elif task.missing_images and not (task.lies_elsewhere and task.missing_images == task.listed_images):
            said.append(f"{label} lacks {task.missing_images:,} of its {task.listed_images:,} images")
        elif task.has_file_for_each_image and not task.listed_images and task.media_files < wanted:
            said.append(f"{label} has {plural(task.media_files, 'file')} for its {plural(wanted, 'image')}")
    return said


def restore_warnings(contents: ArchiveContents, server_version: str, size_bytes: int) -> list[str]:
    """What is known to stand in the way of restoring such an archive, one sentence each; nothing is lost by it."""
    warnings = []
    for task in contents.tasks.values():
        data = task.raw.get("data")
        if not isinstance(data, dict) or task.upload_failed:
            continue
        label = f"task {task.raw.get('name', '')!r}"
        storage = data.get("storage")
        if storage == "share" and not task.media_files and version_tuple(server_version) < (2, 52):
            warnings.append(
                f"{label} is mounted from a share: CVAT before 2.52 wrote backups of it that cannot be restored"
            )
        if storage == "cloud_storage":
            if not task.media_files:
                warnings.append(
                    f"{label} lies in a cloud storage: its images are not in the backup and must be attached again"
                )
            elif data.get("start_frame") or data.get("frame_filter"):
                warnings.append(
                    f"{label} takes a range of frames from a cloud storage: some CVAT versions cannot restore that"
                )
    if size_bytes > UPLOAD_LIMIT_BYTES:
        warnings.append("the file is larger than 25 GiB, the most that a CVAT server accepts by default")
    return warnings


def version_tuple(text: str) -> tuple[int, ...]:
    """(2, 54, 1) of "2.54.1"; whatever is not a number ends it."""
    parts = []
    for part in text.split("."):
        digits = re.match(r"\d+", part)
        if digits is None:
            break
        parts.append(int(digits[0]))
    return tuple(parts)
