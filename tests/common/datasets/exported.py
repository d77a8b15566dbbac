"""Exports of the played server as folders, and what is in them by an independent count."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from common.datasets.frames import DeletedFrames, deleted_frames
from sandbox.cvat import CvatSandbox
from sandbox.cvat.answers import Answers
from sandbox.cvat.datasets import write_dataset
from sandbox.cvat.samples import TRAFFIC, traffic_annotations
from sandbox.cvat.world import Task

FORMATS = (
    "COCO 1.0",
    "Datumaro 1.0",
    "CVAT for images 1.1",
    "YOLO 1.1",
    "Ultralytics YOLO Detection 1.0",
    "Ultralytics YOLO Segmentation 1.0",
    "PASCAL VOC 1.1",
    "CamVid 1.0",
    "Segmentation mask 1.1",
)
# Folders, blanks, dots, two names that differ in case, a foreign script, names that end like one another.
NAMES = ("a b.jpg", "deep/er/a b.jpg", "deep/x.v1.jpg", "X.jpg", "x.jpg", "ü-zeppelin.jpg", "zz/a b.jpg")


def awkward_task(server: CvatSandbox, names: tuple[str, ...] = NAMES, subset: str = "") -> Task:
    """A task whose frames have these names, something of every kind on the first two and boxes on all."""
    project = server.world.add_project("awkward", labels=TRAFFIC)
    files = [replace(server.world.media.picture(n), name=name) for n, name in enumerate(names)]
    task = server.world.add_task(project, "awkward", files=files, subset=subset)
    traffic_annotations(server.world, server.world.jobs_of(task)[0])
    held = server.world.jobs_of(task)[0]
    for shape in list(server.world.task_annotations(task).shapes):
        assert shape["frame"] < len(names), held
    return task


def export(server: CvatSandbox, task: Task, name: str, folder: Path, *, leak: bool) -> Path:
    """The export of a task with images, unpacked into `folder`."""
    server.world.leak_deleted_frames = leak
    path = folder.with_suffix(".zip")
    write_dataset(server.world, "task", task.id, name, True, "http://cvat", path)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def deleted_of(server: CvatSandbox, task: Task) -> DeletedFrames:
    meta = io.BytesIO(json.dumps(Answers(server.world, "http://cvat").data_meta(task)).encode())
    return deleted_frames(meta, is_video=task.mode == "interpolation")


def tree(folder: Path) -> dict[str, Any]:
    """Every file: JSON as what it means, XML without the moment it was written, everything else as bytes."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            content = path.read_bytes()
            if name.endswith(".json"):
                found[name] = meaning(json.loads(content))
            elif name.endswith("annotations.xml"):
                found[name] = re.sub(rb"<(dumped|updated)>.*?<", b"<", content)
            else:
                found[name] = content
    return found


def meaning(document: dict[str, Any]) -> Any:
    """COCO without its numbering; any other JSON as it is."""
    if "images" not in document:
        return document
    names = {image["id"]: image["file_name"] for image in document["images"]}
    images = [{**image, "id": 0} for image in document["images"]]
    annotations = [{**one, "id": 0, "image_id": names[one["image_id"]]} for one in document["annotations"]]
    return {**document, "images": images, "annotations": annotations}


def annotations_in(folder: Path, name: str) -> int:
    """How many annotations a dataset holds, as docs/downloads.md counts them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if name.startswith("COCO"):
        return sum(len(json.loads(path.read_text())["annotations"]) for path in files if path.suffix == ".json")
    if name.startswith("Datumaro"):
        documents = [json.loads(path.read_text()) for path in files if path.suffix == ".json"]
        return sum(len(item["annotations"]) for document in documents for item in document["items"])
    if name.startswith("CVAT for images"):
        return sum(len(image) for image in ElementTree.parse(folder / "annotations.xml").getroot().iter("image"))
    if "YOLO" in name:
        labels = [path for path in files if path.suffix == ".txt" and path.parent != folder]
        return sum(len(path.read_text().splitlines()) for path in labels)
    if name.startswith("PASCAL"):
        return sum(len(ElementTree.parse(path).findall("object")) for path in files if path.suffix == ".xml")
    return sum(path.suffix == ".png" for path in files)
