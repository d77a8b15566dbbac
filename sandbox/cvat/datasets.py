"""Dataset exports: CVAT's own XML for images and for video, COCO, what datumaro writes, stand-ins for the rest."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from sandbox.cvat import dataset_formats
from sandbox.cvat.annotations import Json, LabelIndex
from sandbox.cvat.dataset_formats import is_written
from sandbox.cvat.media import draw_street
from sandbox.cvat.world import Job, Label, NoSuchObject, Project, Task, World

IMPORTERS_2D = (
    ("CamVid 1.0", "ZIP"),
    ("Cityscapes 1.0", "ZIP"),
    ("COCO 1.0", "JSON, ZIP"),
    ("COCO Keypoints 1.0", "JSON, ZIP"),
    ("CVAT 1.1", "XML, ZIP"),
    ("Datumaro 1.0", "JSON, ZIP"),
    ("Datumaro 3D 1.0", "JSON, ZIP"),
    ("ICDAR Recognition 1.0", "ZIP"),
    ("ICDAR Localization 1.0", "ZIP"),
    ("ICDAR Segmentation 1.0", "ZIP"),
    ("ImageNet 1.0", "ZIP"),
    ("KITTI 1.0", "ZIP"),
    ("LabelMe 3.0", "ZIP"),
    ("LFW 1.0", "ZIP"),
    ("Market-1501 1.0", "ZIP"),
    ("Segmentation mask 1.1", "ZIP"),
    ("MOT 1.1", "ZIP"),
    ("MOTS PNG 1.0", "ZIP"),
    ("Open Images V6 1.0", "ZIP"),
    ("PASCAL VOC 1.1", "ZIP"),
    ("Sly Point Cloud Format 1.0", "ZIP"),
    ("Kitti Raw Format 1.0", "ZIP, XML"),
    ("VGGFace2 1.0", "ZIP"),
    ("WiderFace 1.0", "ZIP"),
    ("YOLO 1.1", "ZIP"),
    ("Ultralytics YOLO Detection 1.0", "ZIP"),
    ("Ultralytics YOLO Segmentation 1.0", "ZIP"),
    ("Ultralytics YOLO Oriented Bounding Boxes 1.0", "ZIP"),
    ("Ultralytics YOLO Pose 1.0", "ZIP"),
    ("Ultralytics YOLO Classification 1.0", "ZIP"),
)
EXPORTER_NAMES = (
    "CamVid 1.0",
    "Cityscapes 1.0",
    "COCO 1.0",
    "COCO Keypoints 1.0",
    "CVAT for video 1.1",
    "CVAT for images 1.1",
    "Datumaro 1.0",
    "Datumaro 3D 1.0",
    "ICDAR Recognition 1.0",
    "ICDAR Localization 1.0",
    "ICDAR Segmentation 1.0",
    "ImageNet 1.0",
    "KITTI 1.0",
    "LabelMe 3.0",
    "LFW 1.0",
    "Market-1501 1.0",
    "Segmentation mask 1.1",
    "MOT 1.1",
    "MOTS PNG 1.0",
    "Open Images V6 1.0",
    "PASCAL VOC 1.1",
    "Sly Point Cloud Format 1.0",
    "Kitti Raw Format 1.0",
    "VGGFace2 1.0",
    "WiderFace 1.0",
    "YOLO 1.1",
    "Ultralytics YOLO Detection 1.0",
    "Ultralytics YOLO Detection Track 1.0",
    "Ultralytics YOLO Oriented Bounding Boxes 1.0",
    "Ultralytics YOLO Segmentation 1.0",
    "Ultralytics YOLO Pose 1.0",
    "Ultralytics YOLO Classification 1.0",
)
THREE_DIMENSIONAL = ("Datumaro 3D 1.0", "Sly Point Cloud Format 1.0", "Kitti Raw Format 1.0")


def formats() -> Json:
    """The answer of /api/server/annotation/formats."""

    def row(name: str, ext: str) -> Json:
        dimension = "3d" if name in THREE_DIMENSIONAL else "2d"
        return {
            "name": name,
            "ext": ext,
            "version": name.rsplit(" ", 1)[1],
            "enabled": True,
            "dimension": dimension,
        }

    return {
        "importers": [row(name, ext) for name, ext in IMPORTERS_2D],
        "exporters": [row(name, "ZIP") for name in EXPORTER_NAMES],
    }


def write_dataset(
    world: World, target: str, target_id: int, format_name: str, save_images: bool, base: str, path: Path
) -> None:
    """The export of a project or task. Tasks without data, or with failed data, are silently not in it."""
    with world.lock:
        if target == "project":
            project = world.projects.get(target_id)
            if project is None:
                raise NoSuchObject(
                    "cvat.apps.engine.models.Project.DoesNotExist: Project matching query does not exist."
                )
            tasks = [task for task in world.tasks_of(project) if task.has_frames]
        else:
            project = None
            task = world.tasks.get(target_id)
            if task is None:
                raise NoSuchObject("cvat.apps.engine.models.Task.DoesNotExist: Task matching query does not exist.")
            if task.data is None:
                raise NoSuchObject("AttributeError: 'NoneType' object has no attribute 'validation_mode'")
            tasks = [task]
        tasks = sorted(tasks, key=lambda task: task.id)
        members: list[tuple[str, bytes]] = []
        pictures: list[tuple[str, Path | bytes]]
        if format_name.startswith("CVAT for "):
            video = format_name.startswith("CVAT for video")
            xml = _Xml(world, project, tasks, base).text(video=video)
            members.append(("annotations.xml", xml.encode()))
            pictures = list(_pictures(world, tasks, "images/", by_subset=project is not None)) if save_images else []
        elif format_name.startswith("COCO"):
            members += _coco(world, tasks)
            pictures = list(_pictures(world, tasks, "images/", by_subset=True)) if save_images else []
        elif (write := dataset_formats.writer_of(format_name)) is not None:
            pictures = write(world, tasks, save_images) if tasks else []
        else:
            members += _stand_in(world, tasks, format_name)
            pictures = list(_pictures(world, tasks, "data/", by_subset=True)) if save_images else []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
        for name, source in pictures:
            archive.writestr(name, source.read_bytes() if isinstance(source, Path) else source)


def _pictures(
    world: World, tasks: Sequence[Task], folder: str, *, by_subset: bool
) -> Iterator[tuple[str, Path | bytes]]:
    written: set[str] = set()
    for task in tasks:
        data = task.data
        if data is None or data.failed:
            continue
        place = f"{folder}{task.subset or 'default'}/" if by_subset else folder
        if data.kind == "video":
            # The real server decodes the video; the sandbox draws pictures in its place.
            drawn: list[tuple[str, Path | bytes]] = [
                (f"{place}{data.video_frame(n)}.PNG", draw_street(n, (160, 120), "PNG")) for n in range(data.size)
            ]
        else:
            by_name = {file.name: file.path for file in data.files}
            drawn = [(place + frame.name, by_name[frame.name]) for frame in data.frames]
        for number, (name, source) in enumerate(drawn):
            if is_written(world, task, number) and name not in written:
                written.add(name)
                yield name, source


class _Xml:
    """annotations.xml, laid out as CVAT lays it out."""

    def __init__(self, world: World, project: Project | None, tasks: Sequence[Task], base: str) -> None:
        self.world = world
        self.project = project
        self.tasks = tasks
        self.base = base
        self.lines: list[str] = []
        self.depth = 0

    def text(self, *, video: bool) -> str:
        self.lines = ['<?xml version="1.0" encoding="utf-8"?>']
        self.open("annotations")
        self.leaf("version", "1.1")
        self.open("meta")
        if self.project is not None:
            self._project(self.project)
        else:
            self.open("task")
            self._task_head(self.tasks[0])
            self._labels(self.world.labels_of(self.tasks[0]))
            self._task_tail(self.tasks[0])
            self.close("task")
        self.leaf("dumped", self.world.now().isoformat(" "))
        self.close("meta")
        frame_offset = 0
        track_offset = 0
        for task in self.tasks:
            index = self.world.label_index(task)
            if video:
                track_offset = self._tracks(task, index, frame_offset, track_offset)
            else:
                self._images(task, index, frame_offset)
            assert task.data is not None
            frame_offset += task.data.size
        self.close("annotations")
        return "\n".join(self.lines) + "\n"

    # --- writing -------------------------------------------------------------------------------------------

    def open(self, name: str, /, **attributes: Any) -> None:
        self.lines.append("  " * self.depth + f"<{name}{_attributes(attributes)}>")
        self.depth += 1

    def close(self, name: str) -> None:
        self.depth -= 1
        self.lines.append("  " * self.depth + f"</{name}>")

    def leaf(self, name: str, value: Any, /, **attributes: Any) -> None:
        self.lines.append("  " * self.depth + f"<{name}{_attributes(attributes)}>{escape(str(value))}</{name}>")

    # --- the head ------------------------------------------------------------------------------------------

    def _person(self, name: str, user_id: int | None) -> None:
        user = self.world.users.get(user_id) if user_id is not None else None
        if user is None:
            self.leaf(name, "")
            return
        self.open(name)
        self.leaf("username", user.username)
        self.leaf("email", user.email)
        self.close(name)

    def _project(self, project: Project) -> None:
        self.open("project")
        self.leaf("id", project.id)
        self.leaf("name", project.name)
        self.leaf("bugtracker", project.bug_tracker)
        self.leaf("created", project.created_date.isoformat(" "))
        self.leaf("updated", project.updated_date.isoformat(" "))
        self.open("tasks")
        for task in self.tasks:
            self.open("task")
            self._task_head(task)
            self._task_tail(task)
            self.close("task")
        self.close("tasks")
        self.leaf("subsets", "\n".join(sorted({task.subset or "default" for task in self.tasks})))
        self._person("owner", project.owner_id)
        self._person("assignee", project.assignee_id)
        self._labels(project.labels)
        self.close("project")

    def _task_head(self, task: Task) -> None:
        data = task.data
        assert data is not None
        self.leaf("id", task.id)
        self.leaf("name", task.name)
        self.leaf("size", data.size)
        self.leaf("mode", task.mode)
        self.leaf("overlap", task.overlap if task.overlap is not None else "")
        self.leaf("bugtracker", task.bug_tracker)
        self.leaf("created", task.created_date.isoformat(" "))
        self.leaf("updated", task.updated_date.isoformat(" "))
        self.leaf("subset", task.subset or "default")
        self.leaf("start_frame", data.start_frame)
        self.leaf("stop_frame", data.stop_frame)
        self.leaf("frame_filter", data.frame_filter)
        self.open("segments")
        for job in self._jobs(task):
            self.open("segment")
            self.leaf("id", job.id)
            self.leaf("start", job.start_frame)
            self.leaf("stop", job.stop_frame)
            self.leaf("url", f"{self.base}/api/jobs/{job.id}")
            self.close("segment")
        self.close("segments")
        self._person("owner", task.owner_id)
        self._person("assignee", task.assignee_id)

    def _task_tail(self, task: Task) -> None:
        if task.data is not None and task.data.kind == "video":
            self.open("original_size")
            self.leaf("width", task.data.frames[0].width)
            self.leaf("height", task.data.frames[0].height)
            self.close("original_size")
            self.leaf("source", task.data.files[0].name)

    def _jobs(self, task: Task) -> list[Job]:
        return [job for job in self.world.jobs_of(task) if job.type == "annotation"]

    def _labels(self, labels: Sequence[Label]) -> None:
        self.open("labels")
        for label in labels:
            self._label(label, None)
            for sublabel in label.sublabels:
                self._label(sublabel, label)
        self.close("labels")

    def _label(self, label: Label, parent: Label | None) -> None:
        self.open("label")
        self.leaf("name", label.name)
        self.leaf("color", label.color)
        self.leaf("type", label.type)
        self.open("attributes")
        for spec in label.attributes:
            self.open("attribute")
            self.leaf("name", spec.name)
            self.leaf("mutable", spec.mutable)
            self.leaf("input_type", spec.input_type)
            self.leaf("default_value", spec.default_value)
            self.leaf("values", "\n".join(spec.values))
            self.close("attribute")
        self.close("attributes")
        if label.type == "skeleton":
            self.leaf("svg", label.svg)
        if parent is not None:
            self.leaf("parent", parent.name)
        self.close("label")

    # --- what was drawn ---------------------------------------------------------------------------------------

    def _images(self, task: Task, index: LabelIndex, offset: int) -> None:
        data = task.data
        assert data is not None
        held = self.world.task_annotations(task)
        for number in range(data.size):
            if not is_written(self.world, task, number):
                continue
            frame = data.frames[0 if data.kind == "video" else number]
            name = data.video_frame(number) if data.kind == "video" else frame.name
            place = {"subset": task.subset or "default", "task_id": task.id} if self.project is not None else {}
            self.open("image", id=offset + number, name=name, **place, width=frame.width, height=frame.height)
            shapes = [shape for shape in held.shapes if shape["frame"] == number]
            # A track is written as the shapes it has on key frames; the real server interpolates between them.
            for track in held.tracks:
                shapes += [
                    {**track, **shape, "elements": []}
                    for shape in track["shapes"]
                    if shape["frame"] == number and not shape["outside"]
                ]
            for shape in shapes:
                self._shape(shape, index)
            for tag in held.tags:
                if tag["frame"] == number:
                    self.open("tag", label=index.by_id[tag["label_id"]].name, source=tag["source"])
                    self._values(tag["attributes"], index)
                    self.close("tag")
            self.close("image")

    def _shape(self, shape: Json, index: LabelIndex) -> None:
        name, geometry = _shape_xml(shape)
        group = {"group_id": shape["group"]} if shape.get("group") else {}
        self.open(
            name,
            label=index.by_id[shape["label_id"]].name,
            source=shape["source"],
            occluded=int(shape["occluded"]),
            **geometry,
            **({} if name == "skeleton" else {"z_order": shape["z_order"]}),
            **group,
        )
        self._values(shape["attributes"], index)
        for element in shape.get("elements") or []:
            kind, where = _shape_xml(element)
            self.open(
                kind,
                label=index.by_id[element["label_id"]].name,
                source=element["source"],
                outside=int(element["outside"]),
                occluded=int(element["occluded"]),
                **where,
            )
            self._values(element["attributes"], index)
            self.close(kind)
        self.close(name)

    def _values(self, attributes: Sequence[Json], index: LabelIndex) -> None:
        for attribute in attributes:
            self.leaf("attribute", attribute["value"], name=index.specs[attribute["spec_id"]].name)

    def _tracks(self, task: Task, index: LabelIndex, offset: int, number: int) -> int:
        held = self.world.task_annotations(task)
        data = task.data
        assert data is not None
        place = {"task_id": task.id, "subset": task.subset or "default"} if self.project is not None else {}
        single = [
            # A shape in a video becomes a track of one frame, ended on the next.
            {
                "label_id": shape["label_id"],
                "source": shape["source"],
                "group": shape["group"],
                "attributes": shape["attributes"],
                "shapes": [
                    shape,
                    *(
                        [{**shape, "frame": shape["frame"] + 1, "outside": True}]
                        if shape["frame"] + 1 < data.size
                        else []
                    ),
                ],
            }
            for shape in held.shapes
            if shape["type"] != "skeleton"
        ]
        for track in [*held.tracks, *single]:
            if track.get("elements"):
                continue  # not recorded how skeleton tracks are written; the API's JSON keeps them
            group = {"group_id": track["group"]} if track.get("group") else {}
            name = index.by_id[track["label_id"]].name
            self.open("track", id=number, label=name, source=track["source"], **place, **group)
            for shape in track["shapes"]:
                name, geometry = _shape_xml(shape)
                self.open(
                    name,
                    frame=offset + shape["frame"],
                    keyframe=1,
                    outside=int(shape["outside"]),
                    occluded=int(shape["occluded"]),
                    **geometry,
                    z_order=shape["z_order"],
                )
                self._values(shape["attributes"] if "id" not in track else _all_values(track, shape), index)
                self.close(name)
            self.close("track")
            number += 1
        return number


def _all_values(track: Json, shape: Json) -> list[Json]:
    return [*track["attributes"], *shape["attributes"]]


def _attributes(values: dict[str, Any]) -> str:
    return "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())


def _shape_xml(shape: Json) -> tuple[str, dict[str, Any]]:
    points = shape["points"]
    kind = shape["type"]
    turned = {"rotation": f"{shape['rotation']:.2f}"} if shape.get("rotation") else {}
    if kind == "rectangle":
        corners = zip(("xtl", "ytl", "xbr", "ybr"), points, strict=True)
        return "box", {name: f"{value:.2f}" for name, value in corners} | turned
    if kind == "ellipse":
        cx, cy, right, top = points
        values = {"cx": cx, "cy": cy, "rx": right - cx, "ry": cy - top}
        return "ellipse", {name: f"{value:.2f}" for name, value in values.items()} | turned
    if kind == "mask":
        left, top, right, bottom = (int(value) for value in points[-4:])
        runs = ", ".join(str(int(value)) for value in points[:-4])
        return "mask", {
            "rle": runs,
            "left": left,
            "top": top,
            "width": right - left + 1,
            "height": bottom - top + 1,
        }
    if kind == "cuboid":
        names = [f"{axis}{corner}{face}" for face in (1, 2) for corner in ("tl", "bl", "tr", "br") for axis in "xy"]
        return "cuboid", {name: f"{value:.2f}" for name, value in zip(names, points, strict=True)}
    if kind == "skeleton":
        return "skeleton", {}
    pairs = zip(points[::2], points[1::2], strict=True)
    return kind, {"points": ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)}


def _coco(world: World, tasks: Sequence[Task]) -> list[tuple[str, bytes]]:
    """One instances file per subset. Rectangles and polygons as COCO has them; the rest by their box."""
    members = []
    for subset in sorted({task.subset or "default" for task in tasks}):
        images: list[Json] = []
        annotations: list[Json] = []
        categories: list[Json] = []
        for task in (task for task in tasks if (task.subset or "default") == subset):
            data = task.data
            assert data is not None
            labels = world.labels_of(task)
            categories = [{"id": n, "name": label.name, "supercategory": ""} for n, label in enumerate(labels, 1)]
            category = {label.id: n for n, label in enumerate(labels, 1)}
            image_of: dict[int, int] = {}
            for number in range(data.size):
                if not is_written(world, task, number):
                    continue
                frame = data.frames[0 if data.kind == "video" else number]
                image_of[number] = len(images) + 1
                images.append(
                    {
                        "id": len(images) + 1,
                        "width": frame.width,
                        "height": frame.height,
                        "file_name": f"{data.video_frame(number)}.PNG" if data.kind == "video" else frame.name,
                        "license": 0,
                        "flickr_url": "",
                        "coco_url": "",
                        "date_captured": 0,
                    }
                )
            index = world.label_index(task)
            for shape in world.task_annotations(task).shapes:
                if shape["type"] == "mask" and not _mask_is_sound(shape["points"]):
                    raise ValueError("Invalid RLE mask representation")
                if shape["frame"] not in image_of or shape["type"] not in ("rectangle", "polygon", "ellipse"):
                    continue
                box = _box(shape)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_of[shape["frame"]],
                        "category_id": category[shape["label_id"]],
                        "segmentation": [shape["points"]] if shape["type"] == "polygon" else [],
                        "area": box[2] * box[3],
                        "bbox": box,
                        "iscrowd": 0,
                        "attributes": {index.specs[one["spec_id"]].name: one["value"] for one in shape["attributes"]}
                        | {"occluded": shape["occluded"], "rotation": shape["rotation"]},
                    }
                )
        info = dict.fromkeys(("contributor", "date_created", "description", "url", "version", "year"), "")
        document = {
            "licenses": [{"name": "", "id": 0, "url": ""}],
            "info": info,
            "categories": categories,
            "images": images,
            "annotations": annotations,
        }
        members.append((f"annotations/instances_{subset}.json", json.dumps(document, separators=(",", ":")).encode()))
    return members


def _mask_is_sound(points: Sequence[float]) -> bool:
    left, top, right, bottom = points[-4:]
    return sum(points[:-4]) == (right - left + 1) * (bottom - top + 1)


def _box(shape: Json) -> list[float]:
    points = shape["points"]
    if shape["type"] == "ellipse":
        cx, cy, right, top = points
        return [2 * cx - right, top, 2 * (right - cx), 2 * (cy - top)]
    xs, ys = points[::2], points[1::2]
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _stand_in(world: World, tasks: Sequence[Task], format_name: str) -> list[tuple[str, bytes]]:
    """The other exporters: a small file that opens, names the format and lists what there is."""
    lines = [
        f"{task.subset or 'default'}/{frame.name}"
        for task in tasks
        if task.data is not None
        for frame in task.data.frames
    ]
    names = sorted({label.name for task in tasks for label in world.labels_of(task)})
    if not tasks:
        return []
    head = f"# {format_name}\n# labels: {', '.join(names)}\n"
    return [("data.txt", (head + "\n".join(lines) + "\n").encode())]
