"""Removing what belongs to deleted frames from an extracted dataset, format by format, with exact counts.

CVAT leaves most of it out of its exports by itself, but not all, and not in every version (tags and tracks of deleted
frames in particular). What a format is made of stands in docs/downloads.md.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.datasets.cutting import (
    Cut,
    Item,
    ListCuts,
    NotSound,
    json_items,
    mapped,
    with_indent,
    write_without,
    xml_elements,
)
from common.datasets.frames import DeletedFrames, stem
from common.files import disk_full_named, is_file, is_folder, walk
from common.text import plural

# Lists of names are read whole, a line is short.
_COCO_KINDS = r"^(instances|person_keypoints|captions|labels|stuff|panoptic|image_info)_"
# Behind a name in the lists of one label: whether it is on that image.
_MARK = re.compile(r"\s+-?\d+$")


@dataclass
class Pruned:
    """What was removed: images as frames, each counted once; annotations as its format counts them.

    Paths are relative, with forward slashes. `notes` say what could not be decided. `stems` are the removed frames by
    their names without ending; several deleted ones that differ in nothing but their ending are told apart in `named`,
    where something of theirs has their full name.
    """

    stems: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)
    annotations: int = 0
    removed: set[str] = field(default_factory=set)
    rewritten: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        return len(self.named) + len(self.stems - {stem(name) for name in self.named})


class Pruning:
    """One extracted dataset that is being cleaned. `check` is called now and then, so that a stop can break off."""

    def __init__(self, folder: Path, deleted: DeletedFrames, check: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self.deleted = deleted
        self.check = check
        self.done = Pruned()
        self.undecided: set[str] = set()  # stems of deleted and living frames, of which something was met and left

    def is_gone(self, name: str) -> bool:
        """Whether something that has the full name of an image belongs to a deleted frame, which is counted then."""
        if not self.deleted.has_image(name):
            return False
        self.count(name)
        return True

    def is_gone_by_stem(self, name: str) -> bool:
        """The same of something that has an image's name without its ending."""
        if self.deleted.has_stem(name):
            self.done.stems.add(name)
            return True
        if name in self.deleted.shared_stems:
            self.undecided.add(name)
        return False

    def count(self, name: str) -> None:
        """Counts a deleted frame, by its full name."""
        if stem(name) in self.deleted.doubled_stems:
            self.done.named.add(name)
        else:
            self.done.stems.add(stem(name))

    def files(self, below: str = "") -> Iterator[str]:
        """All files below a folder of the dataset, as relative paths in a fixed order."""
        for root, folders, names in walk(self.folder / below):
            folders.sort()
            self.check()
            for name in sorted(names):
                yield (Path(root) / name).relative_to(self.folder).as_posix()

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()
        self.done.removed.add(path)

    def remove_images(self, below: str) -> None:
        """Deletes the image files of deleted frames below a folder; what stands behind it is the frame's name."""
        for path in list(self.files(below)):
            if self.is_gone(path[len(below) :].lstrip("/")):
                self.remove(path)

    def cut(self, path: str, cuts: list[Cut]) -> None:
        """Rewrites a file without some of its bytes."""
        if not cuts:
            return
        source = self.folder / path
        temporary = source.with_name(".rewritten")
        with mapped(source) as content, disk_full_named(self.folder), open(temporary, "wb") as file:
            write_without(content, cuts, file)
        os.replace(temporary, source)
        self.done.rewritten.add(path)

    def drop_lines(self, path: str, is_gone: Callable[[str], bool]) -> None:
        """Rewrites a list of names without the lines of deleted frames."""
        source = self.folder / path
        temporary, dropped = source.with_name(".rewritten"), False
        with disk_full_named(self.folder), open(source, "rb") as lines, open(temporary, "wb") as file:
            for line in lines:
                if is_gone(line.decode("utf-8", "surrogateescape").rstrip("\r\n")):
                    dropped = True
                else:
                    file.write(line)
        if dropped:
            os.replace(temporary, source)
            self.done.rewritten.add(path)
        else:
            temporary.unlink()


def pruner_of(dataset_format: str) -> Callable[[Pruning], None] | None:
    """How a format is cleaned; None when that is not known."""
    name = dataset_format.lower()
    for beginning, prune in _PRUNERS:
        if name.startswith(beginning):
            return prune
    return None


def prune(
    folder: Path, dataset_format: str, deleted: DeletedFrames, check: Callable[[], None] = lambda: None
) -> Pruned | None:
    """Removes what belongs to deleted frames; None when the format cannot be checked. Raises NotSound, DiskFull."""
    chosen = pruner_of(dataset_format)
    if chosen is None:
        return None
    work = Pruning(folder, deleted, check)
    if deleted:
        chosen(work)
        if work.undecided:
            count = sum(stem(name) in work.undecided for name in deleted.name_of.values())
            work.done.notes.append(
                f"{plural(count, 'deleted image has', 'deleted images have')} the same name as a living one but for the "
                "ending: what does not name the ending was left as it is"
            )
    return work.done


# --- JSON ---------------------------------------------------------------------------------------------------------


def _coco(work: Pruning) -> None:
    subsets = []
    for path in list(work.files("annotations")):
        if path.endswith(".json"):
            subsets.append(re.sub(_COCO_KINDS, "", Path(path).stem))
            _coco_file(work, path)
    _remove_by_subset(work, "images", subsets)


def _coco_file(work: Pruning, path: str) -> None:
    ids: set[Any] = set()
    with mapped(work.folder / path) as content:
        for item in json_items(content, ["images"], path):
            image = _object(content, item, path)
            if work.is_gone(str(image.get("file_name", ""))):
                ids.add(image.get("id"))
        if not ids:
            return
        cuts = ListCuts()
        for item in json_items(content, ["images", "annotations"], path):
            work.check()
            gone = _number(content, item, path, b"id" if item.list_name == "images" else b"image_id") in ids
            work.done.annotations += gone and item.list_name == "annotations"
            cuts.see(item, keep=not gone)
        cuts.finish()
    work.cut(path, cuts.cuts)


def _datumaro(work: Pruning) -> None:
    subsets = []
    for path in list(work.files("annotations")):
        if not path.endswith(".json"):
            continue
        subsets.append(Path(path).stem)
        cuts = ListCuts()
        with mapped(work.folder / path) as content:
            for item in json_items(content, ["items"], path):
                work.check()
                entry = _object(content, item, path)
                media = entry.get("image") or entry.get("media") or entry.get("point_cloud") or {}
                name = str(media.get("path") or "") if isinstance(media, dict) else ""
                gone = work.is_gone(name) if name else work.is_gone_by_stem(str(entry.get("id")))
                if gone:
                    work.done.annotations += len(entry.get("annotations") or ())
                cuts.see(item, keep=not gone)
            cuts.finish()
        work.cut(path, cuts.cuts)
    _remove_by_subset(work, "images", subsets)


def _number(content: Any, item: Item, path: str, key: bytes) -> Any:
    """The value of one key of an object; parses it only if the key could also be one of something inside."""
    text = content[item.start : item.end]
    quoted = b'"' + key + b'"'
    if text.count(quoted) == 1 and (match := re.search(quoted + rb"\s*:\s*(\d+)\s*[,}]", text)):
        return int(match[1])
    return _object(content, item, path).get(key.decode())


def _object(content: Any, item: Item, path: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(content[item.start : item.end])
    except ValueError as error:
        raise NotSound(f"{path} is not sound JSON ({error})") from None
    return parsed


def _remove_by_subset(work: Pruning, root: str, subsets: list[str]) -> None:
    """Images lie in a folder of their subset, in older exports directly in the root."""
    top = work.folder / root
    inside = [subset for subset in dict.fromkeys(subsets) if is_folder(top / subset)]
    for subset in inside:
        work.remove_images(f"{root}/{subset}")
    if not inside and is_folder(top):
        work.remove_images(root)


# --- XML ----------------------------------------------------------------------------------------------------------


def _cvat_xml(work: Pruning) -> None:
    for path in list(work.files()):
        if path.rsplit("/", 1)[-1] == "annotations.xml":
            _cvat_file(work, path)
    if is_folder(work.folder / "images"):
        work.remove_images("images")


def _cvat_file(work: Pruning, path: str) -> None:
    cuts: list[Cut] = []
    shapes: list[tuple[int, bool, int, int]] = []
    kept_keyframes = 0
    with mapped(work.folder / path) as content:
        for element in xml_elements(content, 2, path):
            work.check()
            at, here = element.attributes, (with_indent(content, element.start), element.end)
            if element.depth == 1 and element.name == "image":
                if work.is_gone(at.get("name", "")):
                    cuts.append(here)
                    work.done.annotations += element.children
            elif element.depth == 2 and "frame" in at and at["frame"].isdigit():
                shapes.append((int(at["frame"]), at.get("outside") == "1", *here))
            elif element.depth == 1 and element.name == "track":
                gone, kept = _track_cuts(work.deleted, shapes)
                removed = [shapes[index] for index in gone]
                work.done.annotations += len(removed)
                for frame, *_ in removed:
                    work.count(work.deleted.name_of[frame])
                kept_keyframes += kept
                visible = [index for index, shape in enumerate(shapes) if not shape[1]]
                if visible and set(visible) <= set(gone):
                    cuts.append(here)  # nothing of it is left to be seen
                else:
                    cuts.extend((start, end) for _, _, start, end in removed)
                shapes.clear()
    if kept_keyframes:
        work.done.notes.append(
            f"{kept_keyframes} keyframes of tracks lie on deleted frames and were kept: "
            "the positions on frames that still exist are computed from them"
        )
    work.cut(path, cuts)


def _track_cuts(deleted: DeletedFrames, shapes: list[tuple[int, bool, int, int]]) -> tuple[list[int], int]:
    """Which shapes of a track go, and how many on deleted frames must stay. Shapes are (frame, outside, …), in order.

    CVAT writes keyframes only: a frame between two of them gets its position from both, one behind the last from that.
    A keyframe on a deleted frame goes only if no living frame depends on it. An "outside" is no annotation but the end
    of one, and stays.
    """
    gone: list[int] = []
    kept = 0
    before: int | None = None  # the keyframe that positions up to this one are computed from
    for index, (frame, outside, *_) in enumerate(shapes):
        if frame in deleted.numbers and not outside:
            behind = shapes[index + 1][0] if index + 1 < len(shapes) else deleted.last + 1
            depends = deleted.living_between(frame, behind)
            if not depends and (before is None or not deleted.living_between(before, frame)):
                gone.append(index)
                continue
            kept += 1
        before = None if outside else frame
    return gone, kept


# --- files per image ----------------------------------------------------------------------------------------------


def _yolo(work: Pruning) -> None:
    """obj_<subset>_data/ holds images and their .txt files, <subset>.txt the list of the images."""
    for folder in sorted(work.folder.glob("obj_*_data")):
        _remove_labels(work, folder.name, ".txt", count=_lines)
        work.remove_images(folder.name)
        _drop_listed(work, f"{folder.name[4:-5]}.txt", re.compile(rf"^(?:.*?/)?{re.escape(folder.name)}/(.+)$"))


def _ultralytics(work: Pruning) -> None:
    """images/<subset>/ and labels/<subset>/, and <subset>.txt as the list of the images."""
    lists = [path.stem for path in work.folder.glob("*.txt")]
    for subset in sorted({*lists, *(path.name for path in work.folder.glob("labels/*") if is_folder(path))}):
        _remove_labels(work, f"labels/{subset}", ".txt", count=_lines)
        work.remove_images(f"images/{subset}")
        _drop_listed(work, f"{subset}.txt", re.compile(rf"^(?:.*?/)?images/{re.escape(subset)}/(.+)$"))


def _voc(work: Pruning) -> None:
    """Annotations/ one XML an image, JPEGImages/, masks, and ImageSets/ with lists of names without ending."""
    _remove_labels(work, "Annotations", ".xml", count=_voc_objects)
    _voc_rest(work, count_masks=False)


def _segmentation_mask(work: Pruning) -> None:
    """The same without XML: the mask files are the annotations."""
    _voc_rest(work, count_masks=True)


def _voc_rest(work: Pruning, *, count_masks: bool) -> None:
    for folder in ("SegmentationClass", "SegmentationObject"):
        _remove_labels(work, folder, ".png", count=_one if count_masks else _none)
    work.remove_images("JPEGImages")
    for path in list(work.files("ImageSets")):
        if path.endswith(".txt"):
            work.drop_lines(path, lambda line: _is_voc_line_gone(work, line))


def _is_voc_line_gone(work: Pruning, line: str) -> bool:
    """Whether a line of ImageSets names a deleted frame: `name`, `"a name"`, `name 1`."""
    whole = line.strip()
    return any(work.is_gone_by_stem(_unquoted(text)) for text in (whole, _MARK.sub("", whole)))


def _unquoted(text: str) -> str:
    """A name as datumaro writes it into lists: in quotes when it holds a blank, without escaping quotes of its own."""
    inner = text[1:-1]
    return inner if len(inner.split()) > 1 and text[0] == text[-1] == '"' else text


def _camvid(work: Pruning) -> None:
    """<subset>/ images, <subset>annot/ masks, <subset>.txt with both paths on a line."""
    subsets = {path.stem for path in work.folder.glob("*.txt")} - {"label_colors"}
    subsets |= {path.name.removesuffix("annot") for path in work.folder.glob("*annot") if is_folder(path)}
    for subset in sorted(subsets):
        _remove_labels(work, f"{subset}annot", ".png", count=_one)
        work.remove_images(subset)
        _drop_listed(
            work, f"{subset}.txt", re.compile(rf"""(?:"/?{re.escape(subset)}/(.+)" ".*"|/?{re.escape(subset)}/(\S+))""")
        )


def _remove_labels(work: Pruning, folder: str, ending: str, count: Callable[[Path], int]) -> None:
    for path in list(work.files(folder)):
        name = path[len(folder) + 1 :]
        if name.endswith(ending) and work.is_gone_by_stem(name[: -len(ending)]):
            work.done.annotations += count(work.folder / path)
            work.remove(path)


def _drop_listed(work: Pruning, path: str, pattern: re.Pattern[str]) -> None:
    def is_gone(line: str) -> bool:
        match = pattern.match(line)
        name = next((group for group in match.groups() if group), "") if match else ""
        return bool(name) and work.is_gone(name)

    if is_file(work.folder / path):
        work.drop_lines(path, is_gone)


def _lines(path: Path) -> int:
    with open(path, "rb") as lines:
        return sum(1 for line in lines if line.strip())


def _voc_objects(path: Path) -> int:
    with mapped(path) as content:
        return sum(element.name == "object" for element in xml_elements(content, 1, path.name))


def _one(_path: Path) -> int:
    return 1


def _none(_path: Path) -> int:
    return 0


_PRUNERS: tuple[tuple[str, Callable[[Pruning], None] | None], ...] = (
    ("coco", _coco),
    ("datumaro 1", _datumaro),
    ("cvat for", _cvat_xml),
    ("yolo 1", _yolo),
    ("ultralytics yolo classification", None),
    ("ultralytics yolo", _ultralytics),
    ("pascal voc", _voc),
    ("camvid", _camvid),
    ("segmentation mask", _segmentation_mask),
)
