"""The folder of an SC project as a backup of a CVAT project: what CVAT's "Create from backup" takes in.

One task for the images of each dataset, one for each video. The same folder gives the same bytes: a restore that was
broken off is known again by them.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.files import disk_full_named, publish
from common.hashing import sha256_of
from common.migrating.cvat_shapes import cvat_shape, svg_of
from common.migrating.folder import BadFolder, Entry
from common.migrating.picture_size import NoPicture, size_of_picture
from common.migrating.source import Source
from common.sc.labels import LabelMap, map_labels
from common.sc.projects import is_empty, trainable_tasks
from common.sc.shapes import is_whole_image, to_pixels

_DATE = (1980, 1, 1, 0, 0, 0)
MOST_LETTERS = 64  # of a label's name in CVAT
_GLOBAL = ("classification", "anomaly", "anomaly_classification")


@dataclass
class Written:
    """What a backup holds, what of the project has no counterpart in CVAT (counted), and what is missing."""

    images: int = 0
    videos: int = 0
    scenes: int = 0
    shapes: int = 0
    bytes: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)


@dataclass
class _Words:
    """The labels of CVAT, and what an SC label's key means there: its name, and whether it is global or a keypoint."""

    rows: list[dict[str, Any]]
    names: dict[str, str]
    whole: set[str]
    keypoints: dict[str, str]  # key of a point's label -> the skeleton's name
    parts: list[str]
    find: LabelMap


def write_backup(source: Source, name: str, final: Path, check: Callable[[], None] = lambda: None) -> Written:
    """Writes the backup, whole or not at all. Raises BadFolder, DiskFull."""
    written = Written(gaps=list(source.gaps))
    words = _words(source, written.lost)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{final.name}.tmp")
    with disk_full_named(final.parent):
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
                project = {
                    "name": name[:256],
                    "bug_tracker": "",
                    "status": "annotation",
                    "labels": words.rows,
                    "version": "1.0",
                }
                _add(archive, "project.json", project)
                entries_there = [each for each in source.entries if _is_sound(source, each, written.gaps, check)]
                for number, (title, entries) in enumerate(_tasks(entries_there)):
                    _write_task(archive, f"task_{number}/", title, entries, source, words, written, check)
            publish(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)
    written.bytes = final.stat().st_size
    return written


def _add(archive: zipfile.ZipFile, name: str, content: Any) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.external_attr = 0o600 << 16
    archive.writestr(info, json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"))


def _is_sound(source: Source, entry: Entry, gaps: list[str], check: Callable[[], None]) -> bool:
    """Whether a file is there as it was downloaded: one that is not stays behind, and no other with it."""
    try:
        if not entry.file:
            raise BadFolder("it has no file")
        if entry.sha256 and sha256_of(source.folder.inside(entry.file), check) != entry.sha256:
            raise BadFolder(f"{entry.file} has changed since it was downloaded")
        if not entry.sha256:
            source.folder.inside(entry.file).stat()
    except (BadFolder, OSError) as error:
        gaps.append(f"{entry.kind} {entry.name!r} ({entry.id}): {error}")
        return False
    return True


def _tasks(there: Sequence[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Title and media of each task of CVAT: the images of a dataset together, every video alone."""
    entries = sorted(there, key=lambda each: each.stem)
    datasets = dict.fromkeys(each.dataset for each in entries)
    for dataset in datasets:
        if images := [each for each in entries if each.dataset == dataset and each.kind == "image"]:
            yield dataset, images
    for each in entries:
        if each.kind == "video":
            yield each.name, [each]


# --- labels -------------------------------------------------------------------------------------------------------


def _words(source: Source, lost: Counter[str]) -> _Words:
    """Labels by name; where two tasks have the same, the task's title is added."""
    words = _Words([], {}, set(), {}, [], map_labels(source.project, _keyed(source.project)))
    tasks = trainable_tasks(_keyed(source.project))
    count = Counter(label["name"].casefold() for task in tasks for label in task["labels"])
    taken: set[str] = set()
    for task in tasks:
        if task["task_type"] == "keypoint_detection":
            structure = next(
                (
                    each.get("keypoint_structure")
                    for each in trainable_tasks(source.described)
                    if each["title"] == task["title"]
                ),
                None,
            )  # of project.json, which has names in place of ids
            _skeleton(task, structure or {}, words, taken)
            continue
        for label in task["labels"]:
            name = label["name"] if count[label["name"].casefold()] == 1 else f"{label['name']} ({task['title']})"
            name = words.names[label["id"]] = _free(name, taken)
            kind = _type_of(task, label)
            if kind == "tag":
                words.whole.add(label["id"])
            words.rows.append({"name": name, "color": _color(label), "attributes": [], "type": kind, "sublabels": []})
            for key, what in (("hotkey", "a hotkey"), ("parent_id", "the parent of a label")):
                if label.get(key):
                    lost[f"{what} has no counterpart"] += 1
    return words


def _keyed(project: Mapping[str, Any]) -> dict[str, Any]:
    """The project with ids of ours on its labels, so that the very map between servers finds them."""
    tasks = []
    for number, task in enumerate(project["pipeline"]["tasks"]):
        labels = [{**each, "id": f"{number}/{at}"} for at, each in enumerate(task.get("labels") or [])]
        tasks.append({**task, "labels": labels})
    return {**project, "pipeline": {**project["pipeline"], "tasks": tasks}}


def _type_of(task: Mapping[str, Any], label: Mapping[str, Any]) -> str:
    if task["task_type"] in _GLOBAL or is_empty(label):
        return "tag"
    return "rectangle" if task["task_type"] in ("detection", "rotated_detection") else "any"


def _free(name: str, taken: set[str]) -> str:
    short, number = name[:MOST_LETTERS], 1
    while short.casefold() in taken:
        number += 1
        short = f"{name[: MOST_LETTERS - 4]} {number}"
    taken.add(short.casefold())
    return short


def _color(label: Mapping[str, Any]) -> str:
    color = str(label.get("color") or "")
    return color[:7] if re.fullmatch(r"#[0-9a-fA-F]{6,8}", color) else ""


def _skeleton(task: Mapping[str, Any], structure: Mapping[str, Any], words: _Words, taken: set[str]) -> None:
    labels = [each for each in task["labels"] if not is_empty(each)]
    name = _free(str(task["title"]), taken)
    words.parts = [str(each["name"]) for each in labels]
    for label in labels:
        words.names[label["id"]], words.keypoints[label["id"]] = label["name"], name
    positions = {str(each["label"]): (float(each["x"]), float(each["y"])) for each in structure.get("positions") or []}
    positions |= {each: (0.5, 0.5) for each in words.parts if each not in positions}
    pairs = ([str(node) for node in each["nodes"]] for each in structure.get("edges") or [])
    edges = [(a, b) for a, b in pairs if {a, b} <= set(words.parts)]
    sublabels = [
        {"name": each["name"], "color": _color(each), "attributes": [], "type": "points", "sublabels": []}
        for each in labels
    ]
    words.rows.append(
        {"name": name, "color": "", "attributes": [], "type": "skeleton", "sublabels": sublabels,
         "svg": svg_of(words.parts, positions, edges)}
    )  # fmt: skip


# --- tasks --------------------------------------------------------------------------------------------------------


def _write_task(
    archive: zipfile.ZipFile, prefix: str, title: str, entries: Sequence[Entry], source: Source, words: _Words,
    written: Written, check: Callable[[], None],
) -> None:  # fmt: skip
    is_video = entries[0].kind == "video"
    frames = entries[0].frame_count if is_video else len(entries)
    if is_video and not frames:
        frames = 1 + max((int(each) for each in entries[0].scenes or {}), default=0)
        written.gaps.append(
            f"video {entries[0].name!r}: its length is unknown, it was taken to end with its last scene"
        )
    tags: list[dict[str, Any]] = []
    shapes: list[dict[str, Any]] = []
    manifest: list[dict[str, Any]] = [{"version": "1.1"}, {"type": "images"}]
    for at, entry in enumerate(entries):
        check()
        file = source.folder.inside(entry.file)
        info = zipfile.ZipInfo(f"{prefix}data/{entry.stem}{Path(entry.file).suffix}", _DATE)
        info.external_attr, info.file_size = 0o100644 << 16, file.stat().st_size
        with open(file, "rb") as bytes_, archive.open(info, "w") as member:
            shutil.copyfileobj(bytes_, member, 1 << 20)
        width, height = entry.width, entry.height
        if not is_video and not (width and height):
            width, height = _size(file)
        manifest.append({"name": entry.stem, "extension": Path(entry.file).suffix, "width": width, "height": height})
        if entry.ranges:
            written.lost["the labels of stretches of a video have no counterpart"] += 1
        for frame in entry.scenes or {}:
            number = int(frame) if is_video else at
            try:
                scene, sha256 = source.folder.scene(entry.scene_file(frame))
                if (recorded := (entry.scenes or {})[frame]) and recorded != sha256:
                    written.gaps.append(
                        f"{entry.kind} {entry.name!r}{f' frame {frame}' if frame else ''}: "
                        "its annotations have changed since they were downloaded; carried as they are now"
                    )
                made, whole = _annotations(
                    scene, number, (width, height), source.normalised, words, written.lost, len(shapes)
                )
            except (BadFolder, ValueError, KeyError, TypeError) as error:
                written.gaps.append(f"annotations of {entry.kind} {entry.name!r}: {error}")
                continue
            shapes += made
            tags += whole
            written.scenes += bool(made or whole)
    written.shapes += len(shapes) + len(tags)
    written.images += 0 if is_video else len(entries)
    written.videos += is_video
    if not is_video:
        info = zipfile.ZipInfo(f"{prefix}data/manifest.jsonl", _DATE)
        archive.writestr(info, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in manifest).encode())
    about: dict[str, Any] = {
        "chunk_size": 36 if is_video else 72, "image_quality": 70, "start_frame": 0, "stop_frame": frames - 1,
        "storage_method": "cache", "storage": "local", "sorting_method": "lexicographical",
        "chunk_type": "video" if is_video else "imageset", "deleted_frames": [],
    }  # fmt: skip
    jobs = [{"status": "annotation", "type": "annotation", "start_frame": 0, "stop_frame": frames - 1}]
    _add(archive, f"{prefix}task.json", {
        "name": title[:256] or "unnamed", "bug_tracker": "", "status": "annotation", "subset": "", "labels": words.rows,
        "version": "1.0", "data": about, "jobs": jobs,
    })  # fmt: skip
    _add(archive, f"{prefix}annotations.json", [{"version": 0, "tags": tags, "shapes": shapes, "tracks": []}])


def _size(file: Path) -> tuple[int, int]:
    try:
        return size_of_picture(file)
    except (NoPicture, OSError) as error:
        raise BadFolder(str(error)) from None


def _annotations(
    scene: Mapping[str, Any], frame: int, size: tuple[int, int], normalised: bool, words: _Words, lost: Counter[str],
    group: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """The shapes and the tags of one scene. A shape with several labels becomes one of each, held together by a group."""
    shapes: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []
    points: dict[str, list[dict[str, Any]]] = {}
    for annotation in scene.get("annotations") or []:
        used: list[str] = []
        for label in annotation.get("labels") or []:
            if found := words.find.target_of(label, [words.find.task_of(each) for each in used]):
                used.append(found)
            else:
                lost[f"label {label.get('name')!r} is not in the project: what has it is left out"] += 1
        shape = to_pixels(annotation["shape"], *size) if normalised else dict(annotation["shape"])
        base = {"frame": frame, "group": 0, "source": "manual", "attributes": []}
        if shape.get("type") == "KEYPOINT":
            for key in used:
                element = {
                    **base, "type": "points", "label": words.names[key], "points": [shape["x"], shape["y"]],
                    "occluded": not shape.get("is_visible", True), "outside": False, "z_order": 0, "rotation": 0.0,
                }  # fmt: skip
                points.setdefault(words.keypoints[key], []).append(element)
            continue
        whole = is_whole_image(shape, *size, normalised=False)
        drawn = [key for key in used if not (key in words.whole and whole)]
        tags += [{**base, "label": words.names[key]} for key in used if key not in drawn]
        if len(drawn) > 1:
            group += 1
        for key in drawn:
            row = {
                **base,
                **cvat_shape(shape),
                "label": words.names[key],
                "occluded": False,
                "outside": False,
                "z_order": 0,
            }
            shapes.append({**row, "elements": [], "group": group if len(drawn) > 1 else 0})
    for name, elements in points.items():
        for skeleton in _one_of_each(elements, words.parts, lost):
            row = {
                "type": "skeleton",
                "label": name,
                "points": [],
                "rotation": 0.0,
                "occluded": False,
                "outside": False,
            }
            shapes.append({**base, **row, "z_order": 0, "elements": skeleton})
    return shapes, tags


def _one_of_each(
    elements: Sequence[dict[str, Any]], parts: Sequence[str], lost: Counter[str]
) -> Iterator[list[dict[str, Any]]]:
    """The skeletons of a scene: the n-th point of each name belongs to the n-th of them."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for each in elements:
        by_name.setdefault(each["label"], []).append(each)
    for number in range(max(len(each) for each in by_name.values())):
        skeleton = []
        for part in parts:
            if number < len(by_name.get(part, [])):
                skeleton.append(by_name[part][number])
            else:
                lost["a skeleton lacks a point: CVAT gets it as being outside of the image"] += 1
                skeleton.append(
                    {**elements[0], "label": part, "points": [0.0, 0.0], "outside": True, "occluded": False}
                )
        yield skeleton
