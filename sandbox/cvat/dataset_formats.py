"""Dataset exports through datumaro, as CVAT writes them: Datumaro, YOLO, Ultralytics, VOC, CamVid, segmentation masks.

Layouts follow the formats' pages in CVAT's manual and datumaro's writers; tests read them back with datumaro.
Simplified: tracks are written on their key frames only, skeletons not at all.
"""

from __future__ import annotations

import io
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image, ImageDraw

from sandbox.cvat.annotations import Json
from sandbox.cvat.media import draw_street
from sandbox.cvat.world import Label, Task, World

Member = tuple[str, bytes | Path]
AREAS = ("rectangle", "polygon", "ellipse", "mask")


@dataclass(frozen=True)
class Item:
    """One frame of an export: `name` with its ending, `id` without."""

    name: str
    number: int
    width: int
    height: int
    subset: str
    shapes: list[Json]
    tags: list[Json]
    picture: bytes | Path

    @property
    def id(self) -> str:
        return posixpath.splitext(self.name)[0]


def is_written(world: World, task: Task, number: int) -> bool:
    """Whether a frame is in an export: deleted ones are not, but for servers that leak them (CVAT's issues 8222, 9431)."""
    return task.data is not None and (number not in task.data.deleted_frames or world.leak_deleted_frames)


def items_of(world: World, tasks: Sequence[Task]) -> Iterator[Item]:
    """The frames of the tasks that an export holds, with what is drawn on them."""
    for task in tasks:
        data = task.data
        if data is None or data.failed:
            continue
        held = world.task_annotations(task)
        by_name = {file.name: file.path for file in data.files}
        for number in range(data.size):
            if not is_written(world, task, number):
                continue
            shapes = [shape for shape in held.shapes if shape["frame"] == number and not shape.get("elements")]
            for track in held.tracks:
                shapes += [
                    {**track, **shape}
                    for shape in track["shapes"]
                    if shape["frame"] == number and not shape["outside"] and not track.get("elements")
                ]
            tags = [tag for tag in held.tags if tag["frame"] == number]
            subset = task.subset or "default"
            if data.kind == "video":
                # The real server decodes the video; the sandbox draws pictures in its place.
                frame, name = data.frames[0], f"{data.video_frame(number)}.PNG"
                picture: bytes | Path = draw_street(number, (frame.width, frame.height), "PNG")
            else:
                frame = data.frames[number]
                name, picture = frame.name, by_name[frame.name]
            yield Item(name, number, frame.width, frame.height, subset, shapes, tags, picture)


def writer_of(format_name: str) -> Callable[[World, Sequence[Task], bool], list[Member]] | None:
    """Who writes a format; None for the ones that the sandbox has a stand-in for."""
    return next((write for begins, write in _WRITERS if format_name.startswith(begins)), None)


def _labels(world: World, tasks: Sequence[Task]) -> list[Label]:
    found: dict[str, Label] = {}
    for task in tasks:
        for label in world.labels_of(task):
            found.setdefault(label.name, label)
    return list(found.values())


def _names(world: World, tasks: Sequence[Task]) -> dict[int, str]:
    return {label.id: label.name for task in tasks for label in world.labels_of(task)}


def _subsets(items: Sequence[Item]) -> list[str]:
    return list(dict.fromkeys(item.subset for item in items))


def box_of(shape: Json) -> tuple[float, float, float, float]:
    """Left, top, width, height."""
    points = shape["points"]
    if shape["type"] == "ellipse":
        cx, cy, right, top = points
        return 2 * cx - right, top, 2 * (right - cx), 2 * (cy - top)
    if shape["type"] == "mask":
        left, top, right, bottom = points[-4:]
        return left, top, right - left + 1, bottom - top + 1
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


# --- Datumaro -----------------------------------------------------------------------------------------------------


def _datumaro(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
    items, labels = list(items_of(world, tasks)), _labels(world, tasks)
    place = {label.name: number for number, label in enumerate(labels)}
    names = _names(world, tasks)
    members: list[Member] = []
    for subset in _subsets(items):
        entries = []
        for item in (item for item in items if item.subset == subset):
            annotations: list[Json] = [
                {"id": 0, "type": "label", "attributes": {}, "group": 0, "label_id": place[names[tag["label_id"]]]}
                for tag in item.tags
            ]
            for shape in item.shapes:
                kind = {"rectangle": "bbox", "polygon": "polygon", "polyline": "polyline", "points": "points"}
                if shape["type"] not in kind:
                    continue
                one: Json = {"id": 0, "type": kind[shape["type"]], "attributes": {"occluded": bool(shape["occluded"])}}
                one |= {"group": shape.get("group") or 0, "label_id": place[names[shape["label_id"]]], "z_order": 0}
                if shape["type"] == "rectangle":
                    one["bbox"] = list(box_of(shape))
                else:
                    one["points"] = shape["points"]
                if shape["type"] == "points":
                    one["visibility"] = [2] * (len(shape["points"]) // 2)
                annotations.append(one)
            media = {"path": item.name, "size": [item.height, item.width]}
            entries.append({"id": item.id, "annotations": annotations, "attr": {"frame": item.number}, "image": media})
        categories = {
            "label": {
                "labels": [{"name": label.name, "parent": "", "attributes": []} for label in labels],
                "label_groups": [],
                "attributes": ["occluded"],
            },
            "points": {"items": []},
        }
        document = {
            "dm_format_version": "1.0",
            "media_type": 2,
            "infos": {},
            "categories": categories,
            "items": entries,
        }
        members.append((f"annotations/{subset}.json", json.dumps(document, separators=(",", ":")).encode()))
    if save_images:
        members += [(f"images/{item.subset}/{item.name}", item.picture) for item in items]
    return members


# --- YOLO ---------------------------------------------------------------------------------------------------------


def _yolo_subset(subset: str) -> str:
    return "train" if subset == "default" else subset


def _yolo_lines(item: Item, place: dict[int, int], *, polygons: bool) -> str:
    lines = []
    for shape in item.shapes:
        if polygons and shape["type"] == "polygon":
            values = [value / (item.height if index % 2 else item.width) for index, value in enumerate(shape["points"])]
        elif not polygons and shape["type"] == "rectangle" and not shape.get("rotation"):
            left, top, width, height = box_of(shape)
            values = [(left + width / 2) / item.width, (top + height / 2) / item.height]
            values += [width / item.width, height / item.height]
        else:
            continue
        lines.append(" ".join([str(place[shape["label_id"]]), *(f"{value:.6f}" for value in values)]) + "\n")
    return "".join(lines)


def _place(world: World, tasks: Sequence[Task]) -> tuple[list[str], dict[int, int]]:
    order = [label.name for label in _labels(world, tasks)]
    return order, {label_id: order.index(name) for label_id, name in _names(world, tasks).items()}


def _yolo(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
    items = list(items_of(world, tasks))
    order, place = _place(world, tasks)
    members: list[Member] = [("obj.names", "".join(f"{name}\n" for name in order).encode())]
    subsets = _subsets(items)
    head = [f"classes = {len(order)}"]
    for subset in subsets:
        name, mine = _yolo_subset(subset), [item for item in items if item.subset == subset]
        head.append(f"{name} = data/{name}.txt")
        listed = "".join(f"data/obj_{name}_data/{item.name}\n" for item in mine)
        members.append((f"{name}.txt", listed.encode()))
        for item in mine:
            members.append((f"obj_{name}_data/{item.id}.txt", _yolo_lines(item, place, polygons=False).encode()))
            if save_images:
                members.append((f"obj_{name}_data/{item.name}", item.picture))
    head += ["names = data/obj.names", "backup = backup/"]
    members.append(("obj.data", ("\n".join(head) + "\n").encode()))
    return members


def _ultralytics(polygons: bool) -> Callable[[World, Sequence[Task], bool], list[Member]]:
    def write(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
        items = list(items_of(world, tasks))
        order, place = _place(world, tasks)
        members: list[Member] = []
        head = []
        for subset in _subsets(items):
            name, mine = _yolo_subset(subset), [item for item in items if item.subset == subset]
            head.append(f"{name}: {name}.txt")
            members.append((f"{name}.txt", "".join(f"data/images/{name}/{item.name}\n" for item in mine).encode()))
            for item in mine:
                text = _yolo_lines(item, place, polygons=polygons)
                members.append((f"labels/{name}/{item.id}.txt", text.encode()))
                if save_images:
                    members.append((f"images/{name}/{item.name}", item.picture))
        head += ["names:", *(f"  {number}: {json.dumps(name)}" for number, name in enumerate(order)), "path: ."]
        members.append(("data.yaml", ("\n".join(head) + "\n").encode()))
        return members

    return write


# --- masks --------------------------------------------------------------------------------------------------------


def _color(label: Label) -> tuple[int, int, int]:
    text = label.color.lstrip("#").ljust(6, "0")
    return int(text[:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def _instance_color(number: int) -> tuple[int, int, int]:
    """The colours of VOC's instance masks: the bits of the number spread over red, green and blue."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (number >> (3 * place + channel) & 1) << (7 - place)
    return channels[0], channels[1], channels[2]


def _draw(item: Item, shapes: Sequence[Json], color_of: Callable[[int, Json], tuple[int, int, int]]) -> bytes:
    image = Image.new("RGB", (item.width, item.height))
    draw = ImageDraw.Draw(image)
    for number, shape in enumerate(shapes, 1):
        color = color_of(number, shape)
        left, top, width, height = box_of(shape)
        if shape["type"] == "polygon":
            draw.polygon(list(zip(shape["points"][::2], shape["points"][1::2], strict=True)), fill=color)
        elif shape["type"] == "ellipse":
            draw.ellipse((left, top, left + width, top + height), fill=color)
        elif shape["type"] == "mask":
            _draw_runs(image, shape, color)
        else:
            draw.rectangle((left, top, left + width, top + height), fill=color)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _draw_runs(image: Image.Image, shape: Json, color: tuple[int, int, int]) -> None:
    left, top, width, _height = (int(value) for value in box_of(shape))
    at, filled = 0, False
    for run in shape["points"][:-4]:
        for offset in range(at, at + int(run)) if filled else ():
            x, y = left + offset % width, top + offset // width
            if 0 <= x < image.width and 0 <= y < image.height:
                image.putpixel((x, y), color)
        at, filled = at + int(run), not filled


def _voc(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
    return _voc_like(world, tasks, save_images, with_boxes=True)


def _segmentation_mask(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
    return _voc_like(world, tasks, save_images, with_boxes=False)


def _voc_like(world: World, tasks: Sequence[Task], save_images: bool, *, with_boxes: bool) -> list[Member]:
    items, labels, names = list(items_of(world, tasks)), _labels(world, tasks), _names(world, tasks)
    by_name = {label.name: label for label in labels}
    rows = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    rows += [f"{label.name}:{','.join(map(str, _color(label)))}::" for label in labels]
    members: list[Member] = [("labelmap.txt", ("\n".join(sorted(rows)) + "\n").encode())]
    masked: list[Item] = []
    for item in items:
        areas = ("polygon", "mask") if with_boxes else AREAS
        shapes = [shape for shape in item.shapes if shape["type"] in areas]
        if shapes:
            masked.append(item)

            def class_color(_number: int, shape: Json) -> tuple[int, int, int]:
                return _color(by_name[names[shape["label_id"]]])

            members.append((f"SegmentationClass/{item.id}.png", _draw(item, shapes, class_color)))
            instances = _draw(item, shapes, lambda number, _shape: _instance_color(number))
            members.append((f"SegmentationObject/{item.id}.png", instances))
        if with_boxes:
            members.append((f"Annotations/{item.id}.xml", _voc_xml(item, names).encode()))
        if save_images:
            members.append((f"JPEGImages/{item.name}", item.picture))
    for subset in _subsets(items):
        mine = [item for item in items if item.subset == subset]
        if with_boxes:
            members.append((f"ImageSets/Main/{subset}.txt", _voc_list(mine)))
            for label in labels:
                marks = [(item, any(names[s["label_id"]] == label.name for s in item.shapes)) for item in mine]
                text = "".join(f"{_quoted(item.id)}  {1 if has else -1}\n" for item, has in marks)
                members.append((f"ImageSets/Main/{label.name.replace('/', '_')}_{subset}.txt", text.encode()))
        members.append((f"ImageSets/Segmentation/{subset}.txt", _voc_list([i for i in masked if i.subset == subset])))
    return members


def _quoted(name: str) -> str:
    return f'"{name}"' if len(name.split()) > 1 else name


def _voc_list(items: Sequence[Item]) -> bytes:
    return "".join(f"{_quoted(item.id)}\n" for item in items).encode()


def _voc_xml(item: Item, names: dict[int, str]) -> str:
    lines = ["<annotation>", "  <folder></folder>", f"  <filename>{escape(item.name)}</filename>"]
    lines += ["  <source>", "    <database>Unknown</database>", "    <annotation>Unknown</annotation>"]
    lines += ["    <image>Unknown</image>", "  </source>", "  <size>", f"    <width>{item.width}</width>"]
    lines += [f"    <height>{item.height}</height>", "    <depth></depth>", "  </size>", "  <segmented>0</segmented>"]
    for shape in item.shapes:
        if shape["type"] != "rectangle":
            continue
        left, top, width, height = box_of(shape)
        lines += ["  <object>", f"    <name>{escape(names[shape['label_id']])}</name>"]
        lines += [f"    <occluded>{int(shape['occluded'])}</occluded>", "    <bndbox>"]
        lines += [f"      <xmin>{left}</xmin>", f"      <ymin>{top}</ymin>"]
        lines += [f"      <xmax>{left + width}</xmax>", f"      <ymax>{top + height}</ymax>", "    </bndbox>"]
        lines.append("  </object>")
    return "\n".join([*lines, "</annotation>", ""])


def _camvid(world: World, tasks: Sequence[Task], save_images: bool) -> list[Member]:
    items, labels, names = list(items_of(world, tasks)), _labels(world, tasks), _names(world, tasks)
    by_name = {label.name: label for label in labels}
    rows = ["0 0 0 background", *(f"{' '.join(map(str, _color(label)))} {label.name}" for label in labels)]
    members: list[Member] = [("label_colors.txt", ("\n".join(rows) + "\n").encode())]
    listed: dict[str, list[str]] = {}
    for item in items:
        shapes = [shape for shape in item.shapes if shape["type"] in AREAS]
        image, mask = f"/{item.subset}/{item.name}", ""
        if shapes:
            mask = f"{item.subset}annot/{item.id}.png"
            content = _draw(item, shapes, lambda _number, shape: _color(by_name[names[shape["label_id"]]]))
            members.append((mask, content))
        if len(image.split()) > 1 or len(mask.split()) > 1:
            image, mask = f'"{image}"', f'"{mask}"'
        listed.setdefault(item.subset, []).append(f"{image} {mask}\n")
        if save_images:
            members.append((f"{item.subset}/{item.name}", item.picture))
    return members + [(f"{subset}.txt", "".join(lines).encode()) for subset, lines in listed.items()]


_WRITERS: tuple[tuple[str, Callable[[World, Sequence[Task], bool], list[Member]]], ...] = (
    ("Datumaro 1", _datumaro),
    ("YOLO 1", _yolo),
    ("Ultralytics YOLO Detection 1", _ultralytics(polygons=False)),
    ("Ultralytics YOLO Segmentation", _ultralytics(polygons=True)),
    ("PASCAL VOC", _voc),
    ("Segmentation mask", _segmentation_mask),
    ("CamVid", _camvid),
)
