"""Folders of older tools, read as they are: geti-sdk 0.2 to 2.13 and the predecessor of both.

images/<dataset>/<name>[_<id>].jpg or images/<name>.jpg, videos alike, and one flat folder of annotations. What such a
tool lost is lost; annotation files that belong to no media file are listed, not passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import is_folder, walk
from common.migrating.folder import BadFolder, Entry, ProjectFolder
from common.migrating.names import safe_name
from common.sc.media import Kind
from common.sc.shapes import look_normalised

IMAGES = frozenset(".jpg .jpeg .bmp .png .tif .tiff .jfif .webp".split())
VIDEOS = frozenset(".mp4 .avi .mkv .mov .webm .m4v".split())
# How many scenes are looked at to tell fractions from pixels.
MOST_LOOKED_AT = 500
_FRAME = re.compile(r"(?P<stem>.+)_frame_(?P<frame>\d+)")
_WITH_ID = re.compile(r"(?P<name>.+)_[0-9a-f]{24}")


@dataclass(frozen=True)
class Legacy:
    """What such a folder holds. `orphans` are annotation files of no media file."""

    entries: list[Entry]
    normalised: bool
    orphans: list[str]


def read_legacy(folder: ProjectFolder) -> Legacy:
    """Reads a folder without a manifest. Raises BadFolder."""
    described = folder.project()
    scenes = _annotation_files(folder.path / "annotations")
    frames: dict[str, dict[str, str]] = {}
    used: set[str] = set()
    for stem in scenes:
        if match := _FRAME.fullmatch(stem):
            frames.setdefault(match["stem"], {})[match["frame"]] = stem
    entries = []
    kinds: tuple[tuple[Kind, frozenset[str]], ...] = (("image", IMAGES), ("video", VIDEOS))
    for kind, extensions in kinds:
        for relative, dataset in _media_files(folder.path / f"{kind}s", extensions, described):
            stem = Path(relative).stem
            path = f"{kind}s/{relative}"
            entry = Entry(
                id=path, dataset_id=dataset, dataset=dataset, name=_own_name(stem), kind=kind, stem=stem, file=path,
                size_bytes=(folder.path / path).stat().st_size, scenes={},
            )  # fmt: skip
            if kind == "image" and stem in scenes and stem not in used:
                entry.scenes = {"": ""}
                used.add(stem)
            elif kind == "video":
                entry.scenes = dict.fromkeys(sorted(frames.get(stem, {}), key=int), "")
                used.update(frames.get(stem, {}).values())
            entries.append(entry)
    orphans = [f"annotations/{stem}.json" for stem in sorted(set(scenes) - used)]
    return Legacy(entries, _is_normalised(folder, entries), orphans)


def _annotation_files(folder: Path) -> dict[str, str]:
    # One listing, never a pattern: names hold [ ] and * too.
    try:
        return {
            entry.name[:-5]: entry.name
            for entry in os.scandir(folder)
            if entry.is_file() and entry.name.endswith(".json")
        }
    except FileNotFoundError:
        return {}


def _media_files(folder: Path, extensions: frozenset[str], described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path relative to images/ or videos/, name of the dataset) of every media file."""
    names = [str(each.get("name", "")) for each in described.get("datasets") or []]
    training = next(
        (str(each["name"]) for each in described.get("datasets") or [] if each.get("use_for_training")),
        names[0] if names else "",
    )
    by_folder = {safe_name(name): name for name in names} | {name: name for name in names}
    if not is_folder(folder):
        return
    for root, subfolders, files in walk(folder):
        subfolders.sort()
        inside = Path(root).relative_to(folder)
        top = inside.parts[0] if inside.parts else ""
        for name in sorted(files):
            if Path(name).suffix.lower() in extensions and not name.startswith("."):
                yield str(inside / name), by_folder.get(top, top) or training


def _own_name(stem: str) -> str:
    """The name of a medium: the id that was added to keep equal names apart is taken off again."""
    match = _WITH_ID.fullmatch(stem)
    return match["name"] if match else stem


def _is_normalised(folder: ProjectFolder, entries: list[Entry]) -> bool:
    """Whether the annotations are fractions of the image (SC) or pixels (Geti), told by the numbers."""
    verdict = False
    looked = 0
    for entry in entries:
        for frame in entry.scenes or {}:
            try:
                scene = folder.read_json(entry.scene_file(frame))
            except BadFolder:
                continue
            shapes = [each.get("shape") or {} for each in scene.get("annotations") or []]
            found = look_normalised(shapes)
            if found is False:
                return False
            verdict = verdict or bool(found)
            looked += 1
            if looked >= MOST_LOOKED_AT:
                return verdict
    return verdict
