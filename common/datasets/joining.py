"""datumaro's work on a merged dataset: tasks are read, renamed, put together, written, and read back. Loses nothing."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.datasets.choose import Task
from common.datasets.cutting import NotSound
from common.datasets.desk import Desk
from common.datasets.mergeable import Form, Shown
from common.exits import Trouble
from common.text import plural
from common.waiting import Stopped, StopSignal

# The only parts that datumaro writes of Ultralytics' formats, and how CVAT's users call them.
_ULTRALYTICS_PARTS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_ULTRALYTICS_NEEDS = ("train", "val")
_ADVICE = "leave the task out (--exclude) or take another format"


class NotMerged(Trouble):
    """The merged dataset could not be made. What there was before is still there."""

    remedy = "The datasets of the single tasks are complete."


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


def count_images(desk: Desk, placed: Sequence[tuple[Task, Path]], form: Form) -> dict[int, int]:
    """How many images the folder of every task lists, by the task's id. Raises NotMerged, Stopped."""
    counts = {}
    for task, path in placed:
        with _blaming_datumaro(f"read task {task.id} ({path.name})", desk.stop, f"; {_ADVICE}"):
            counts[task.id] = form.count(path, _subsets(task))
    return counts


def _subsets(task: Task) -> list[str]:
    return [task.subset or "default"]


def write_joined(
    desk: Desk,
    placed: Sequence[tuple[Task, Path]],
    form: Form,
    target: Path,
    views: Path,
    listed: Mapping[int, int],
) -> dict[str, int]:
    """Writes one dataset of all tasks; the number of images in every part. Raises NotMerged, Stopped.

    `listed` is how many images datumaro must find of every task, by its id.
    """
    parts = _join(desk, placed, form, target, views, listed)
    counts = Counter(parts.values())
    with _blaming_datumaro("read what it has written", desk.stop):
        shown = form.show(target, sorted(counts), views / "merged")
        items = _items(desk, _import(shown, form))
        written = {shown.images.get(item.id, item.id): getattr(item.media, "path", "") for item in items}
    lost = parts.keys() - written
    if desk.settings.include_images:
        # Datumaro's own format has no folders: `x/a.jpg` and `x_a.jpg` would be one file.
        shared = {path for path, count in Counter(written.values()).items() if count > 1}
        lost |= {item for item, path in written.items() if path in shared}
    if lost:
        raise NotMerged(
            f"{plural(len(lost), 'image')} of {len(parts):,} would be lost in this format, such as {min(lost)}; "
            "take another format"
        )
    return dict(counts)


def _join(
    desk: Desk,
    placed: Sequence[tuple[Task, Path]],
    form: Form,
    target: Path,
    views: Path,
    listed: Mapping[int, int],
) -> dict[str, str]:
    """The part that every image is in. What datumaro holds in memory goes when this ends."""
    dm: Any = importlib.import_module("datumaro")
    operations: Any = importlib.import_module("datumaro.components.hl_ops").HLOps
    sources, parts = [], dict[str, str]()
    for task, path in placed:
        with _blaming_datumaro(f"read task {task.id} ({path.name})", desk.stop, f"; {_ADVICE}"):
            shown = form.show(path, _subsets(task), views / str(task.id))
            source = _import(shown, form)
            items = list(_renamed(desk, source, form, shown, task, path.name))
            found = {item.id: item.subset for item in items}
            _require_all(found, listed[task.id], task, path.name)
            about = {"categories": source.categories(), "media_type": source.media_type()}
        parts.update(found)
        sources.append(dm.Dataset.from_iterable(items, **about))
    if form.writes == "yolo_ultralytics":
        _require_ultralytics_parts(parts.values())
    with _blaming_datumaro("merge them", desk.stop):
        merged = operations.merge(*sources, merge_policy="union")
        options = {"reindex": True} if form.numbered_anew else {}
        merged.export(str(target), form.writes, save_media=desk.settings.include_images, **options)
    return parts


def _import(shown: Shown, form: Form) -> Any:
    return importlib.import_module("datumaro").Dataset.import_from(str(shown.path), form.reads)


def _items(desk: Desk, source: Iterable[Any]) -> Iterator[Any]:
    """The images of a dataset, those without their file left out where files are wanted."""
    for item in source:
        desk.stop.check()
        if not desk.settings.include_images or (item.media is not None and item.media.has_data):
            yield item


def _renamed(desk: Desk, source: Any, form: Form, shown: Shown, task: Task, folder: str) -> Iterator[Any]:
    """The images of a task under names that no other task has, in their part of the split. Raises NotMerged."""
    split = desk.settings.split
    for item in _items(desk, source):
        name = shown.images.get(item.id, item.id)
        part = part_of(task.id, name, split) if split else shown.subsets.get(item.subset, item.subset)
        if form.writes == "yolo_ultralytics":
            part = _ultralytics_part(part)
        # The ids of one task's file mean nothing beside another's.
        attributes = {key: value for key, value in item.attributes.items() if key != "id"}
        annotations = [annotation.wrap(id=0) for annotation in item.annotations]
        yield item.wrap(id=f"{folder}/{name}", subset=part, attributes=attributes, annotations=annotations)


def _require_all(found: Collection[str], count: int, task: Task, folder: str) -> None:
    """Raises NotMerged when datumaro has not found every image that a task's folder lists."""
    if len(found) < count:
        raise NotMerged(
            f"datumaro finds {len(found)} of {plural(count, 'image')} of task {task.id} ({folder}), for example because "
            f"two differ in nothing but their ending; {_ADVICE}"
        )


def _ultralytics_part(part: str) -> str:
    if part.lower() not in _ULTRALYTICS_PARTS:
        raise NotMerged(
            f"this format has parts train, val and test only, not {part!r}; --split train=80,val=20 makes such ones"
        )
    return _ULTRALYTICS_PARTS[part.lower()]


def _require_ultralytics_parts(parts: Collection[str]) -> None:
    for needed in _ULTRALYTICS_NEEDS:
        if needed not in parts:
            raise NotMerged(
                f"this format must have images in its parts train and val, and {needed} would have none; "
                "--split train=80,val=20 makes such ones"
            )


@contextlib.contextmanager
def _blaming_datumaro(what: str, stop: StopSignal, advice: str = "") -> Iterator[None]:
    """datumaro raises anything, and wraps also what a signal raises in its midst."""
    try:
        yield
    except (Stopped, Trouble):
        raise
    except Exception as error:
        stop.check()
        why = str(error) if isinstance(error, NotSound) else _deepest(error).rstrip(".")
        raise NotMerged(f"datumaro cannot {what}: {why}{advice}") from error


def _deepest(error: BaseException) -> str:
    """What went wrong at the bottom: datumaro wraps it into "failed to import"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"
