"""CVAT's formats as datumaro reads and writes them: how a folder must look for it, and how many images it must find."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.datasets.cutting import NotSound, json_items, mapped, xml_elements
from common.files import is_file, is_there

# How CVAT's XML names a frame of a video: without the ending that its file has.
_FRAME = re.compile(rb'(<image [^>]*\bname="frame_\d+)(?=")')

# What CVAT's XML may hold and datumaro would pass over, or take to pieces.
_UNKNOWN = re.compile(rb"<(ellipse|skeleton|cuboid)\b")
# A line of VOC's ImageSets about an image with blanks in its name: `"a name"`, `"a name"  -1`.
_QUOTED = re.compile(r'^"(.*)"(\s+-?[01])?$')


@dataclass(frozen=True)
class Shown:
    """A folder as datumaro is shown it; what has another name there, by the name that datumaro sees."""

    path: Path
    images: Mapping[str, str] = field(default_factory=dict)
    subsets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Form:
    """One format: its names in datumaro, and what must be known of it.

    `count` is told of a folder and its subsets, and counts the images by the folder's own lists, without datumaro.
    `show` is also told where a view may be made.
    """

    begins: str
    reads: str
    writes: str
    count: Callable[[Path, Sequence[str]], int]
    show: Callable[[Path, Sequence[str], Path], Shown]
    needs_images: bool = False  # datumaro (1.13) takes the sizes from them
    # As ids of images, datumaro would write the numbers that they had in their tasks: the same ones in each.
    numbered_anew: bool = False


def form_of(dataset_format: str) -> Form | None:
    """What is known of a format; None when it cannot be merged."""
    lowered = dataset_format.strip().lower()
    return next((form for form in _FORMS if lowered.startswith(form.begins)), None)


# --- counting -----------------------------------------------------------------------------------------------------


def _count_coco(folder: Path, _subsets: Sequence[str]) -> int:
    """Several files may tell of one image."""
    return len(set(_json_values(folder, "images", "file_name")))


def _count_datumaro(folder: Path, _subsets: Sequence[str]) -> int:
    return sum(1 for _ in _json_values(folder, "items", "id"))


def _json_values(folder: Path, list_name: str, key: str) -> Iterator[str]:
    for path in sorted((folder / "annotations").glob("*.json")):
        with mapped(path) as content:
            for item in json_items(content, [list_name], path.name):
                yield str(json.loads(content[item.start : item.end]).get(key))


def _count_cvat(folder: Path, _subsets: Sequence[str]) -> int:
    count = 0
    for path in folder.glob("*.xml"):
        with mapped(path) as content:
            count += sum(each.depth == 1 and each.name == "image" for each in xml_elements(content, 1, path.name))
    return count


def _count_listed(folder: Path, _subsets: Sequence[str]) -> int:
    """Both YOLO formats and CamVid have one list a subset, an image a line."""
    return sum(_lines(path) for path in folder.glob("*.txt") if path.name != "label_colors.txt")


def _count_voc(folder: Path, subsets: Sequence[str]) -> int:
    return sum(_lines(path) for path in _voc_lists(folder, subsets))


def _lines(path: Path) -> int:
    with open(path, "rb") as lines:
        return sum(1 for line in lines if line.strip())


# --- views --------------------------------------------------------------------------------------------------------


def _as_it_is(folder: Path, _subsets: Sequence[str], _view: Path) -> Shown:
    return Shown(folder)


def _show_coco(folder: Path, _subsets: Sequence[str], view: Path) -> Shown:
    """datumaro needs a folder of images, also when there are none."""
    if is_there(folder / "images"):
        return Shown(folder)
    (view / "images").mkdir(parents=True)
    (view / "annotations").symlink_to(folder.resolve() / "annotations", target_is_directory=True)
    return Shown(view)


def _show_cvat(folder: Path, subsets: Sequence[str], view: Path) -> Shown:
    """datumaro takes the name of the file as the subset, and looks for the frames of a video without their ending.

    Raises NotSound for what it would lose.
    """
    names = {"annotations": subsets[0]}
    source, images = folder / "annotations.xml", folder / "images"
    if is_there(source):
        with mapped(source) as content:
            if unknown := _UNKNOWN.search(content):
                raise NotSound(f"{source.name} holds a shape that it does not know ({unknown[1].decode()})")
    ending = next((path.suffix for path in images.glob("frame_*")), "")
    if not ending or not is_there(source):
        return Shown(folder, subsets=names)
    view.mkdir(parents=True)
    (view / "images").symlink_to(images.resolve(), target_is_directory=True)
    with open(source, "rb") as lines, open(view / source.name, "wb") as file:
        file.writelines(_FRAME.sub(rb"\1" + ending.encode(), line) for line in lines)
    return Shown(view, subsets=names)


def _show_ultralytics(folder: Path, _subsets: Sequence[str], view: Path) -> Shown:
    """datumaro takes an image to be called what stands behind the last slash: here they lie side by side, as numbers."""
    view.mkdir(parents=True)
    (view / "data.yaml").symlink_to(folder.resolve() / "data.yaml")
    names: dict[str, str] = {}
    top = folder.resolve() / "images"
    for number, image in enumerate(sorted(path for path in top.glob("*/**/*") if is_file(path))):
        subset, _, inside = image.relative_to(top).as_posix().partition("/")
        name, ending = inside.removesuffix(image.suffix), image.suffix
        names[str(number)] = name
        for kind in ("images", "labels"):
            (view / kind / subset).mkdir(parents=True, exist_ok=True)
        (view / "images" / subset / f"{number}{ending}").symlink_to(image)
        shown, label = view / "labels" / subset / f"{number}.txt", folder.resolve() / "labels" / subset / f"{name}.txt"
        if is_there(label):
            shown.symlink_to(label)
        else:
            shown.touch()  # nothing is drawn on it; without the file datumaro would not see the image
    return Shown(view, names)


def _show_voc(folder: Path, subsets: Sequence[str], view: Path) -> Shown:
    """datumaro does not undo the quotes around names with blanks, and passes over lists of subsets with `_` in theirs."""
    lists = view / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for each in folder.resolve().iterdir():
        if each.name != "ImageSets":
            (view / each.name).symlink_to(each)
    names = {f"{subset.replace('_', '-')}-{n}": subset for n, subset in enumerate(subsets) if "_" in subset}
    for path in (folder / "ImageSets" / "Main").glob("*.txt"):
        ends = (name for name, subset in names.items() if f"_{path.stem}".endswith(f"_{subset}"))
        name = max(ends, key=len, default="")
        stem = path.stem.removesuffix(names[name]) + name if name else path.stem
        with open(path, encoding="utf-8") as lines, open(lists / f"{stem}.txt", "w", encoding="utf-8") as file:
            file.writelines(_QUOTED.sub(r"\1\2", line.strip()) + "\n" for line in lines)
    return Shown(view, subsets=names)


def _voc_lists(folder: Path, subsets: Sequence[str]) -> list[Path]:
    """The lists of the subsets; those of single labels lie beside them: `car_default.txt`."""
    found = (folder / "ImageSets" / "Main").glob("*.txt")
    return [path for path in found if "_" not in path.stem or path.stem in subsets]


_FORMS = (
    # As "coco", datumaro would write every annotation a second time, as "stuff", and a list of images beside them.
    Form("coco keypoints", "coco", "coco_person_keypoints", _count_coco, _show_coco, numbered_anew=True),
    Form("coco", "coco", "coco_instances", _count_coco, _show_coco, numbered_anew=True),
    Form("datumaro 1", "datumaro", "datumaro", _count_datumaro, _as_it_is),
    Form("cvat for images", "cvat", "cvat", _count_cvat, _show_cvat, needs_images=True, numbered_anew=True),
    Form("yolo 1", "yolo", "yolo", _count_listed, _as_it_is, needs_images=True),
    Form("ultralytics yolo detection 1", "yolo", "yolo_ultralytics", _count_listed, _show_ultralytics, needs_images=True),
    Form("pascal voc", "voc", "voc", _count_voc, _show_voc),
    Form("camvid", "camvid", "camvid", _count_listed, _as_it_is),
)  # fmt: skip
