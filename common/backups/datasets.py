"""Whether a dataset export is whole: it opens, its CRCs are right, and the format's main file is there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from common.backups.archive import Archive, BadArchive, Seen

# Names of the file without which a format is nothing. Formats that are not listed must hold at least one member.
_MAIN_FILES = {
    "cvat": r"(.*/)?annotations\.xml",
    "coco": r"(.*/)?annotations/.+\.json",
    "datumaro": r"(.*/)?annotations/.+\.json",
    "yolo": r"(.*/)?(obj\.data|data\.yaml)",
    "ultralytics": r"(.*/)?data\.ya?ml",
    "pascal": r"(.*/)?(ImageSets|Annotations)/.+",
    "mot": r"(.*/)?gt/gt\.txt",
    "segmentation": r"(.*/)?labelmap\.txt",
    "camvid": r"(.*/)?label_colors\.txt",
    "labelme": r".+\.xml",
}
_IMAGE = re.compile(r".+\.(jpe?g|png|bmp|tiff?|webp|gif|pcd|bin|jfif|avif)", re.IGNORECASE)


@dataclass(frozen=True)
class DatasetContents:
    """What was seen in a dataset export."""

    members: int
    images: int
    bytes: int
    warnings: tuple[str, ...] = ()


def inspect_dataset(
    path: Path, dataset_format: str, known: Seen | None = None, between: Callable[[], None] = lambda: None
) -> DatasetContents:
    """Checks every byte of a dataset export. Raises BadArchive with what is wrong."""
    with Archive(path) as archive:
        if archive.count == 0:
            raise BadArchive(f"it is an empty zip: CVAT found nothing to export as {dataset_format}")
        total = archive.check_all(known, between)
        word = dataset_format.split()[0].lower()
        pattern = re.compile(_MAIN_FILES.get(word, r".+"), re.DOTALL)
        main, images = None, 0
        for member in archive.members():
            if main is None and pattern.fullmatch(member.name):
                main = member
            if _IMAGE.fullmatch(member.name):
                images += 1
        if main is None:
            raise BadArchive(f"it holds no main file of the format {dataset_format}")
        warnings: tuple[str, ...] = ()
        if main.name.endswith("annotations.xml"):
            parser = expat.ParserCreate()
            try:
                for piece in archive.read(main):
                    parser.Parse(piece)
                parser.Parse(b"", True)
            except expat.ExpatError as error:
                # Its bytes are as CVAT wrote them (a control character in a name is enough): asking again would not help.
                warnings = (f"{main.name} of {dataset_format} is not sound XML ({error})",)
        return DatasetContents(archive.count, images, total, warnings)


def formats_for(
    configured: str, *, has_video: bool, has_images: bool, is_3d: bool, offered: dict[str, str]
) -> tuple[str, ...]:
    """In which formats a source is exported, given the configured one; `offered` maps format names to "2d" or "3d".

    "CVAT for images" turns a video's tracks into single shapes, so videos get "CVAT for video" of the same version;
    a source with both gets both. A 3D source cannot be exported in a 2D format.
    """
    if is_3d and offered.get(configured) != "3d":
        return tuple(name for name in offered if name == "Datumaro 3D 1.0") or (configured,)
    video = configured.replace("CVAT for images", "CVAT for video")
    if video == configured or not has_video or video not in offered:
        return (configured,)
    return (configured, video) if has_images else (video,)
