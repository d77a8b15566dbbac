"""One dataset of all downloaded tasks beside them: made anew whole, or left as it was. Needs datumaro, an extra."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from common.datasets.choose import Task, Tell
from common.datasets.desk import Desk
from common.datasets.folders import aside_of, clear_away, find_later, name_to_keep, publish_folder
from common.datasets.joining import NotMerged, count_images, write_joined
from common.datasets.manifest import files_in
from common.datasets.mergeable import form_of
from common.datasets.settings import DatasetSettings
from common.exits import Exit, RunEnds, Trouble
from common.files import is_file, is_link, is_there, write_json
from common.text import now, plural

MERGED = "cvat_merged"
SUMMARY = "merge.json"
LIST = ".cvat-merged.jsonl"


def require_mergeable(settings: DatasetSettings) -> None:
    """Raises RunEnds when the format cannot be merged, or datumaro is not installed."""
    form = form_of(settings.dataset_format)
    if form is None:
        known = "COCO, Datumaro, CVAT for images, YOLO 1.1, Ultralytics YOLO Detection, PASCAL VOC, CamVid"
        raise RunEnds(
            f"CVAT_DOWNLOAD_MERGE=true: datasets in {settings.dataset_format!r} cannot be merged.",
            f"These can, also of videos: {known}.",
            Exit.BAD_CONFIGURATION,
        )
    if form.needs_images and not settings.include_images:
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


def merge_datasets(desk: Desk, placed: Sequence[tuple[Task, Path]], failed: int, tell: Tell) -> Path:
    """Writes `cvat_merged`, replacing the one of an earlier run in one step. Raises NotMerged, Stopped.

    Where tasks have `failed`, or anything would be lost, what an earlier run has made is worth more.
    """
    final, earlier = desk.settings.folder / MERGED, False
    try:
        try:
            earlier = recover_merged(desk.settings.folder)
        except OSError as error:
            raise NotMerged(f"{error.filename or final} cannot be looked at ({error.strerror})") from error
        if failed:
            raise NotMerged(f"{failed} of {plural(len(placed) + failed, 'task')} failed")
        if is_there(final) and not earlier:
            raise NotMerged(f"the folder {final} exists already and was not made by this program; move it away")
        return _merge_into(final, desk, placed, tell)
    except Trouble as error:
        if not earlier:
            raise NotMerged(f"the merged dataset was not made: {error}") from error
        raise NotMerged(
            f"the merged dataset was not made anew: {error}; {final} is still that of an earlier run"
        ) from error
    finally:
        _clear(desk.settings.folder)


def _merge_into(final: Path, desk: Desk, placed: Sequence[tuple[Task, Path]], tell: Tell) -> Path:
    form, staging = form_of(desk.settings.dataset_format), _staging(final.parent)
    assert form is not None, "require_mergeable was asked before"
    tell(f"Merging {len(placed)} tasks into {final}")
    with desk.stop.breaking_off():  # nothing is in place yet: what is half written goes
        listed = count_images(desk, placed, form)
        for task, path in placed:
            if not listed[task.id]:  # some formats have nothing to be read then
                tell(f"Left out of it: task {task.id} ({path.name}), no image of which is left")
        if placed and not any(listed.values()):
            raise NotMerged("no image of the chosen tasks is left")
        placed = [(task, path) for task, path in placed if listed[task.id]]
        counts = write_joined(desk, placed, form, staging, _views(final.parent), listed)
    tasks = [{"task_id": task.id, "task_name": task.name, "directory_name": path.name} for task, path in placed]
    summary = {"version": 1, "format": desk.settings.dataset_format, "images": counts, "tasks": tasks}
    desk.stop.check()
    try:
        _write_list(staging)
        write_json(staging / SUMMARY, summary)
        theirs = find_theirs(final) if os.path.lexists(final) else ""
        kept = name_to_keep(final, now()) if theirs and not desk.settings.overwrite_existing else None
        publish_folder(staging, final, _aside(final.parent), kept)
    except OSError as error:
        raise NotMerged(f"it could not be put in its place ({error})") from error
    if kept is not None:
        tell(f"The merged dataset of before is kept as {kept}: {theirs}")
        desk.kept.append(kept)
    elif theirs:
        tell(f"Replaced {final}, as --overwrite-existing says ({theirs})")
    tell("Merged: " + ", ".join(f"{count} images in {part}" for part, count in sorted(counts.items())))
    return final


def _write_list(folder: Path) -> None:
    """Lists the files of a merged dataset, to tell later what somebody has added to them or changed."""
    with open(folder / LIST, "w", encoding="utf-8") as list_:
        for path in sorted(folder.rglob("*")):
            if is_file(path) and path.name != LIST:
                status = path.lstat()
                entry = {
                    "path": path.relative_to(folder).as_posix(), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns,
                }  # fmt: skip
                list_.write(json.dumps(entry, ensure_ascii=False) + "\n")


def find_theirs(folder: Path) -> str:
    """What somebody has added to a merged dataset or changed in it; "" where nothing of theirs goes with it.

    By sizes and times: copies that keep times, chmod and chown are no changes. Of one that an earlier version made, by
    what came after its summary. Raises OSError.
    """
    if is_link(folder) or not is_there(folder / LIST):
        return find_later(folder, folder / SUMMARY)
    ours = 2  # the list and the summary
    with open(folder / LIST, encoding="utf-8") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
                path, wanted = folder / str(entry["path"]), (entry["bytes"], entry["mtime_ns"])
            except (ValueError, KeyError, TypeError):
                return f"{LIST} was changed"
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if (status.st_size, status.st_mtime_ns) != wanted:
                return f"{entry['path']} was changed"
            ours += 1
    more = files_in(folder) - ours
    return f"{plural(more, 'file was', 'files were')} added to it" if more > 0 else ""


def recover_merged(folder: Path) -> bool:
    """Clears what a killed run left; what it had set aside comes back. Whether a merged dataset of ours is there then."""
    final, aside = folder / MERGED, _aside(folder)
    if not is_there(final) and is_there(aside / SUMMARY):
        try:
            aside.rename(final)
        except OSError as error:
            raise NotMerged(f"that of an earlier run cannot be put back from {aside} ({error})") from error
    ours = is_there(final / SUMMARY)
    if ours or not is_there(final):  # in a stranger's place, what was set aside is the only one
        clear_away(aside)
    _clear(folder)
    return ours


def _aside(folder: Path) -> Path:
    return aside_of(folder, f".{MERGED}")


def _staging(folder: Path) -> Path:
    return folder / f".{MERGED}.new"


def _views(folder: Path) -> Path:
    """Where folders lie that are shown to datumaro in the place of a task's own."""
    return folder / f".{MERGED}.new.views"


def _clear(folder: Path) -> None:
    for each in (_staging(folder), _views(folder)):
        clear_away(each)
