"""A dataset as the folder of a project, which is then uploaded as any other: once, resumably, and compared."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from common.files import disk_full_named, is_file, walk, write_json
from common.hashing import sha256_of
from common.lock import AT_ONCE, Patience, locked
from common.migrating.folder import MEDIA_FILES, BadFolder, Entry, ProjectFolder
from common.migrating.legacy import IMAGES
from common.migrating.names import StemsInTurn
from common.migrating.picture_size import NoPicture, size_of_picture
from common.migrating.pictures import Picture, Plan, annotations_of
from common.text import iso, now
from common.version import VERSION
from common.waiting import StopSignal

# What is left out and is missing then, as opposed to what no task has a place for.
CANNOT_BE_OPENED = "an image that cannot be opened"
WRONG_KIND = "an image of a kind that the server does not take"
WITHOUT_FILE = "an entry of the dataset without an image file"
_STAYS_BEHIND = ("an image that cannot", WRONG_KIND, WITHOUT_FILE)


@dataclass(frozen=True)
class Order:
    """How much of a dataset becomes a project; 0 = all. `only_labelled` leaves out images without any chosen label."""

    images: int = 0
    annotated: int = 0
    only_labelled: bool = True


def fingerprint_of(dataset: Path, stop: StopSignal) -> str:
    """What tells whether a dataset has changed: the names, sizes and times of its files (or of its only one)."""
    files = [dataset] if is_file(dataset) else []
    for root, folders, names in walk(dataset):
        stop.check()
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        files += [Path(root, each) for each in sorted(names) if not each.startswith(".")]
    digest = hashlib.sha256()
    for path in files:
        try:
            there = path.stat()
        except OSError:
            continue  # a link to nowhere: no image comes of it
        line = f"{path.relative_to(dataset)}\0{there.st_size}\0{there.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def require_apart(dataset: Path, folder: Path) -> None:
    """Raises BadFolder where the folder of the project would lie in the dataset, or the dataset in it."""
    there, ours = dataset.resolve(), folder.resolve()
    if there == ours or there in ours.parents or ours in there.parents:
        raise BadFolder(
            f"the dataset {dataset} and the folder that its project is made in, {folder}, lie within each other: "
            "set SC_DIR to another folder, or choose another --name"
        )


def _require_ours(path: Path, folder: ProjectFolder, source: Mapping[str, Any]) -> None:
    """Raises BadFolder unless all that lies in the folder is what a run of the same origin left behind."""
    begun = folder.begun()
    if begun is not None and all(begun.get(key) == source.get(key) for key in ("server", "dataset")):
        return
    if begun is not None or any(not each.name.startswith(".") for each in path.iterdir()):
        raise BadFolder(f"{path} is not empty and was not begun for this: choose another --name, or move it away")


def _require_same(path: Path, manifest: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    """Raises BadFolder where a folder that is whole was made of something else, or of the dataset as it was once."""
    made_of = dict(manifest.get("source") or {})
    wanted = {key: value for key, value in source.items() if key != "fingerprint" or key in made_of}
    if made_of == wanted:
        return
    if {**made_of, "fingerprint": wanted.get("fingerprint")} == wanted:
        raise BadFolder(
            f"{source.get('dataset')} has changed since {path} was made of it: choose another --name for a new project; or "
            "remove that folder and say --resume, which finds what was sent by its name and sends the rest"
        )
    raise BadFolder(f"{path} was made of something else: remove it, or choose another --name")


def described(name: str, plan: Plan) -> dict[str, Any]:
    """The project.json of a plan."""
    tasks: list[dict[str, Any]] = [{"title": "Dataset", "task_type": "dataset"}]
    for index, task in enumerate(plan.tasks):
        if index:
            tasks.append({"title": "Crop task", "task_type": "crop"})
        tasks.append(task)
    connections = [{"from": one["title"], "to": other["title"]} for one, other in pairwise(tasks)]
    return {
        "name": name,
        "datasets": [{"name": "Dataset", "use_for_training": True}],
        "pipeline": {"connections": connections, "tasks": tasks},
    }


def _with_ids(project: dict[str, Any]) -> dict[str, Any]:
    """The same with ids of labels, so that equal names in two tasks stay apart."""
    tasks = []
    for number, task in enumerate(project["pipeline"]["tasks"]):
        labels = [{**each, "id": f"{number}/{each['name']}", "is_empty": False} for each in task.get("labels") or []]
        tasks.append({**task, **({"labels": labels} if labels else {})})
    return {**project, "pipeline": {**project["pipeline"], "tasks": tasks}}


def make_folder(
    pictures: Iterable[Picture],
    plan: Plan,
    name: str,
    path: Path,
    order: Order,
    origin: dict[str, Any],
    stop: StopSignal,
    patience: Patience = AT_ONCE,
) -> Counter[str]:
    """Writes the folder of a project; one that is there already of the same origin is kept. What was left out, counted.

    Pictures are taken one by one: memory holds what the record says of each, and no annotations. Nothing is deleted but
    what an earlier run of the same origin left unfinished. Raises BadFolder, DiskFull.
    """
    path.mkdir(parents=True, exist_ok=True)
    with locked(path / ".lock", "sc_migrate.py", patience):
        folder = ProjectFolder(path)
        manifest = folder.manifest()
        source = {"server": "dataset", "project_id": "", **origin}
        if manifest is not None:
            _require_same(path, manifest, source)
            return Counter(manifest.get("left_out") or [])  # once it was a list
        _require_ours(path, folder, source)
        for part in (*MEDIA_FILES, "annotations"):  # of a run that was broken off, perhaps with other settings
            shutil.rmtree(path / part, ignore_errors=True)
        folder.begin({**source, "begun_at": iso(now())})
        folder.clear_debris([])
        project = described(name, plan)
        write_json(path / "project.json", project)
        lost: Counter[str] = Counter()
        numbers = [at for at, task in enumerate(project["pipeline"]["tasks"]) if task.get("labels")]
        stems, entries = StemsInTurn(), []
        for at, (picture, width, height, found) in enumerate(_chosen(pictures, plan, order, lost, stop)):
            annotated = not order.annotated or at < order.annotated
            scenes = {frame: _scene(each, numbers) for frame, each in found.items()} if annotated else {}
            stem = stems.of(picture.name, str(at))
            entries.append(_entry(folder, picture, str(at), stem, (width, height), scenes))
        folder.finish(
            entries,
            {
                "tool": f"cvat-backups {VERSION}", "source": source, "generation": "dataset", "normalised": False,
                "project": _with_ids(project), "finished_at": iso(now()), "left_out": lost, "gaps": [], "complete": True,
                "counts": {
                    "images": sum(each.kind == "image" for each in entries),
                    "videos": sum(each.kind == "video" for each in entries),
                },
            },
        )  # fmt: skip
        return lost


def left_behind(lost: Counter[str]) -> Counter[str]:
    """What of all that was left out is missing: images. A shape that no task has a place for has no counterpart."""
    return Counter({text: count for text, count in lost.items() if text.startswith(_STAYS_BEHIND)})


def _kind(picture: Picture) -> Literal["image", "video"]:
    return "image" if picture.frames is None else "video"


def _chosen(
    pictures: Iterable[Picture], plan: Plan, order: Order, lost: Counter[str], stop: StopSignal
) -> Iterable[tuple[Picture, int, int, dict[str, list[dict[str, Any]]]]]:
    """Each with its size and its annotations, by "" or the index of the frame; without those that have none."""
    count = 0
    for picture in pictures:
        stop.check()
        if order.images and count >= order.images:
            return
        if order.only_labelled and not any(each.label in plan.classes for each in picture.figures):
            continue
        if picture.frames is not None:
            found = {}
            for frame, figures in sorted(picture.frames.items()):
                annotations, why = annotations_of(Picture(picture.path, picture.name, figures), plan, *picture.size)
                lost.update(why)
                if annotations:
                    found[str(frame)] = annotations
            count += 1
            yield picture, *picture.size, found
            continue
        if not is_file(picture.path):
            lost[WITHOUT_FILE] += 1
            continue
        if picture.path.suffix.lower() not in IMAGES:
            lost[f"{WRONG_KIND} ({picture.path.suffix})"] += 1
            continue
        try:
            width, height = size_of_picture(picture.path)
        except (NoPicture, OSError):
            lost[CANNOT_BE_OPENED] += 1
            continue
        annotations, why = annotations_of(picture, plan, width, height)
        lost.update(why)
        if order.only_labelled and not annotations:
            continue
        count += 1
        yield picture, width, height, {"": annotations} if annotations else {}


def _scene(annotations: list[dict[str, Any]], numbers: list[int]) -> dict[str, Any]:
    return {
        "annotations": [
            {
                "shape": each["shape"],
                "labels": [
                    {"id": f"{numbers[label['task']]}/{label['name']}", "name": label["name"]}
                    for label in each["labels"]
                ],
            }
            for each in annotations
        ],
        "kind": "annotation",
    }


def _entry(
    folder: ProjectFolder,
    picture: Picture,
    identity: str,
    stem: str,
    size: tuple[int, int],
    scenes: dict[str, dict[str, Any]],
) -> Entry:
    kind = _kind(picture)
    relative = f"{kind}s/Dataset/{stem}{picture.path.suffix.lower()}"
    final = folder.folder_for(f"{kind}s/Dataset") / Path(relative).name
    temporary = final.with_name(f".{final.name}.tmp")
    with disk_full_named(final.parent):
        if picture.may_be_moved:
            shutil.move(picture.path, temporary)
        else:
            shutil.copyfile(picture.path, temporary)
        os.replace(temporary, final)
    entry = Entry(
        id=identity, dataset_id="0", dataset="Dataset", name=picture.name, kind=kind, stem=stem, file=relative,
        size_bytes=final.stat().st_size, sha256=sha256_of(final), width=size[0], height=size[1],
        frame_count=picture.frame_count,
    )  # fmt: skip
    entry.scenes = {frame: folder.write_small(entry.scene_file(frame), scene) for frame, scene in scenes.items()}
    entry.shapes = sum(len(scene["annotations"]) for scene in scenes.values())
    return entry
