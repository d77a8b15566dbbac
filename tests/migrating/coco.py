"""A small COCO set, for the tests that read datasets."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image


def coco(folder: Path, count: int = 18) -> Path:
    """A small COCO set: one object with a box and an outline on each picture, nine classes in turn."""
    names = ["dog", "cat", "horse", "car", "person", "bicycle", "cow", "sheep", "bird"]
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, objects = [], []
    for at in range(count):
        Image.new("RGB", (200, 100), (at * 10, 50, 50)).save(folder / "images" / f"{at:012}.jpg")
        images.append({"id": at + 1, "file_name": f"{at:012}.jpg", "width": 200, "height": 100})
        x = 10 + at
        objects.append(
            {"id": at + 1, "image_id": at + 1, "category_id": 1 + at % 9, "bbox": [x, 20, 40, 30], "area": 600, "iscrowd": 0,
             "segmentation": [[x, 20, x + 40, 20, x + 40, 50]]}
        )  # fmt: skip
    content = {
        "images": images, "annotations": objects, "info": {}, "licenses": [],
        "categories": [{"id": at + 1, "name": name} for at, name in enumerate(names)],
    }  # fmt: skip
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return folder
