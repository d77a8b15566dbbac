"""One dataset of all downloaded tasks, with a split that is the same in every run. Needs datumaro, an extra."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.datasets.choose import Task, Tell
from common.datasets.desk import Desk
from common.datasets.folders import aside_of, publish_folder
from common.datasets.settings import DatasetSettings
from common.exits import Exit, RunEnds, Trouble
from common.files import write_json

MERGED = "cvat_merged"
SUMMARY = "merge.json"
# CVAT's formats as datumaro reads and writes them.
_FORMATS: tuple[tuple[str, str, str], ...] = (
    ("coco", "coco", "coco"),
    ("datumaro 1", "datumaro", "datumaro"),
    ("cvat for", "cvat", "cvat"),
    ("yolo 1", "yolo", "yolo"),
    ("ultralytics yolo detection", "yolo", "yolo_ultralytics"),
    ("pascal voc", "voc", "voc"),
    ("camvid", "camvid", "camvid"),
)
# What datumaro (1.12) does not read without image files: it takes the sizes from them.
_NEED_IMAGES = ("cvat", "yolo")
# The only parts that datumaro writes of Ultralytics' formats, and how CVAT's users call them.
_ULTRALYTICS_PARTS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


class NotMerged(Trouble):
    """The merged dataset could not be made."""

    remedy = "The datasets of the single tasks are complete; run the same command again to merge them."


def part_of(task_id: int, item: str, parts: Sequence[tuple[str, float]]) -> str:
    """In which part of the split an image lies: depends on nothing but its task, its name and the parts.

    So an image stays where it is when tasks come and go, and a model is never tested on what it was trained on.
    """
    mark = hashlib.sha256(f"{task_id}/{item}".encode()).digest()
    at = int.from_bytes(mark[:8]) / 2**64 * sum(weight for _, weight in parts)
    for name, weight in parts:
        at -= weight
        if at < 0:
            return name
    return parts[-1][0]


def datumaro_names(dataset_format: str) -> tuple[str, str] | None:
    """The names under which datumaro reads and writes a format; None when it does not merge it."""
    lowered = dataset_format.strip().lower()
    return next(((reads, writes) for begins, reads, writes in _FORMATS if lowered.startswith(begins)), None)


def _reads(settings: DatasetSettings) -> str:
    names = datumaro_names(settings.dataset_format)
    return names[0] if names else ""


def require_mergeable(settings: DatasetSettings) -> None:
    """Raises RunEnds when the format cannot be merged, or datumaro is not installed."""
    if datumaro_names(settings.dataset_format) is None:
        known = "COCO, Datumaro, CVAT, YOLO 1.1, Ultralytics YOLO Detection, PASCAL VOC, CamVid"
        raise RunEnds(
            f"CVAT_DOWNLOAD_MERGE=true: datasets in {settings.dataset_format!r} cannot be merged.",
            f"These can: {known}.",
            Exit.BAD_CONFIGURATION,
        )
    if _reads(settings) in _NEED_IMAGES and not settings.include_images:
        raise RunEnds(
            f"CVAT_DOWNLOAD_MERGE=true: datasets in {settings.dataset_format!r} can only be merged with their images.",
            "Add --include-images, or merge in COCO, Datumaro, PASCAL VOC or CamVid.",
            Exit.BAD_CONFIGURATION,
        )
    try:
        importlib.import_module("datumaro")
    except ImportError as error:
        raise RunEnds(
            f"CVAT_DOWNLOAD_MERGE=true needs datumaro, which is not installed ({error}).",
            "Install it with: .venv/bin/pip install -r requirements-datasets.txt",
            Exit.BAD_CONFIGURATION,
        ) from None


def merge_datasets(desk: Desk, placed: Sequence[tuple[Task, Path]], tell: Tell) -> Path:
    """Writes `cvat_merged`, replacing the one of an earlier run in one step. Raises NotMerged."""
    names = datumaro_names(desk.settings.dataset_format)
    assert names is not None, "require_mergeable was asked before"
    final, staging = desk.settings.folder / MERGED, desk.settings.folder / f".{MERGED}.new"
    views = views_of(staging)
    if final.exists() and not (final / SUMMARY).exists():
        raise NotMerged(f"the folder {final} exists already and was not made by this program")
    tell(f"Merging {len(placed)} tasks into {final}")
    for each in (staging, views):
        shutil.rmtree(each, ignore_errors=True)
    try:
        counts = _merge(desk, placed, *names, staging)
        tasks = [{"task_id": task.id, "task_name": task.name, "directory_name": path.name} for task, path in placed]
        summary = {"version": 1, "format": desk.settings.dataset_format, "images": counts, "tasks": tasks}
        write_json(staging / SUMMARY, summary)
        publish_folder(staging, final, aside_of(desk.settings.folder, f".{MERGED}"))
    except Trouble:
        raise
    except Exception as error:  # datumaro raises anything
        raise NotMerged(f"datumaro cannot merge them: {_deepest(error).rstrip('.')}") from error
    finally:
        for each in (staging, views):
            shutil.rmtree(each, ignore_errors=True)
    tell("Merged: " + ", ".join(f"{count} images in {part}" for part, count in sorted(counts.items())))
    return final


def views_of(staging: Path) -> Path:
    """Where folders lie that are shown to datumaro in the place of a task's own."""
    return staging.with_name(f"{staging.name}.views")


def _deepest(error: BaseException) -> str:
    """What went wrong at the bottom: datumaro wraps it into "failed to import"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


def _readable(path: Path, reads: str, view: Path) -> Path:
    """The folder of a task as datumaro reads it: COCO needs a folder of images, also when there are none."""
    if reads != "coco" or (path / "images").exists():
        return path
    view.mkdir(parents=True)
    (view / "images").mkdir()
    (view / "annotations").symlink_to(path.resolve() / "annotations", target_is_directory=True)
    return view


def _merge(desk: Desk, placed: Sequence[tuple[Task, Path]], reads: str, writes: str, target: Path) -> dict[str, int]:
    """The number of images in every part."""
    dm: Any = importlib.import_module("datumaro")
    operations: Any = importlib.import_module("datumaro.components.hl_ops").HLOps
    sources, counts = [], dict[str, int]()
    views = views_of(target)
    known = _ULTRALYTICS_PARTS if writes == "yolo_ultralytics" else None
    for task, path in placed:
        desk.stop.check()
        source = dm.Dataset.import_from(str(_readable(path, reads, views / path.name)), reads)
        renamed = dm.Dataset.from_iterable(
            list(_renamed(source, task, path.name, desk.settings.split, counts, known)),
            categories=source.categories(),
            media_type=source.media_type(),
        )
        sources.append(renamed)
    merged = operations.merge(*sources, merge_policy="union")
    options = {"reindex": True} if writes == "coco" else {}
    merged.export(str(target), writes, save_media=desk.settings.include_images, **options)
    return counts


def _renamed(
    source: Any, task: Task, folder: str, parts: Sequence[tuple[str, float]], counts: dict[str, int],
    known: dict[str, str] | None,
) -> Iterator[Any]:  # fmt: skip
    """The images of a task under names that no other task has, in their part of the split. Raises NotMerged.

    `known`: the parts that the format has, by lower case names; None = any.
    """
    for item in source:
        part = part_of(task.id, item.id, parts) if parts else item.subset
        if known is not None:
            if part.lower() not in known:
                raise NotMerged(
                    f"this format has parts train, val and test only, not {part!r} (--split makes such ones)"
                )
            part = known[part.lower()]
        counts[part] = counts.get(part, 0) + 1
        # The ids of one task's file mean nothing beside another's.
        attributes = {name: value for name, value in item.attributes.items() if name != "id"}
        annotations = [annotation.wrap(id=0) for annotation in item.annotations]
        yield item.wrap(id=f"{folder}/{item.id}", subset=part, attributes=attributes, annotations=annotations)
