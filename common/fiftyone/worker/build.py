"""Makes a dataset of a folder of images or of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.fiftyone.protocol import BAD_REQUEST, Failed
from common.fiftyone.worker.channel import Tell
from common.files import is_folder, walk


def build(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"do": "build", "dataset", "media_dir"} -> {"made": whether, "media_type", "samples"}. Raises Failed.

    A dataset that exists stays as it is. A new one gets its name when it is complete: a killed worker leaves one that
    is not persistent, which FiftyOne itself clears away.
    """
    import fiftyone as fo

    name, folder = request["dataset"], Path(request["media_dir"])
    if fo.dataset_exists(name):
        dataset = fo.load_dataset(name)
        return {"made": False, "media_type": dataset.media_type, "samples": len(dataset)}
    paths = media_files(folder)
    if not paths["image"] and not paths["video"]:
        raise Failed(BAD_REQUEST, f"there are no images and no videos in {folder}")
    if paths["image"] and paths["video"]:
        raise Failed(
            BAD_REQUEST,
            f"{folder} holds {len(paths['image'])} images and {len(paths['video'])} videos: a dataset is one or the other",
        )
    media_type, files = ("image", paths["image"]) if paths["image"] else ("video", paths["video"])
    tell("building", media_type=media_type, files=len(files))
    dataset = fo.Dataset(persistent=False)
    try:
        dataset.add_samples([fo.Sample(filepath=str(path)) for path in files], progress=False)
        dataset.name = name
        dataset.persistent = True
    except BaseException:
        dataset.delete()
        raise
    return {"made": True, "media_type": dataset.media_type, "samples": len(dataset)}


def media_files(folder: Path) -> dict[str, list[Path]]:
    """All images and videos beneath `folder`, sorted by path; hidden files and folders are passed over. Raises Failed."""
    import fiftyone.core.media as fom

    if not is_folder(folder):
        raise Failed(BAD_REQUEST, f"{folder} is no folder")
    found: dict[str, list[Path]] = {"image": [], "video": []}
    try:
        for base, folders, names in walk(folder):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for each in sorted(names):
                media_type = None if each.startswith(".") else fom.get_media_type(each)
                if media_type in found:
                    found[str(media_type)].append(Path(base) / each)
    except OSError as error:
        raise Failed(BAD_REQUEST, f"{error.filename} cannot be read: {error.strerror}") from None
    return found
