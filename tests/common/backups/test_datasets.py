"""Dataset exports: whole, not empty, and in the formats that lose nothing."""

from __future__ import annotations

import pytest

from common.backups.archive import BadArchive
from common.backups.datasets import formats_for, inspect_dataset
from tests.common.making import zip_bytes

OFFERED = {
    "CVAT for images 1.1": "2d",
    "CVAT for video 1.1": "2d",
    "COCO 1.0": "2d",
    "Datumaro 1.0": "2d",
    "Datumaro 3D 1.0": "3d",
}


def inspected(tmp_path, members, name):
    (tmp_path / "x.zip").write_bytes(zip_bytes(members))
    return inspect_dataset(tmp_path / "x.zip", name)


@pytest.mark.parametrize(
    ("name", "main"),
    [("CVAT for images 1.1", "annotations.xml"), ("COCO 1.0", "annotations/instances_default.json"), ("YOLO 1.1", "obj.data"),
     ("Ultralytics YOLO Detection 1.0", "data.yaml"), ("Datumaro 1.0", "annotations/default.json"), ("MOT 1.1", "gt/gt.txt"),
     ("PASCAL VOC 1.1", "ImageSets/Main/default.txt"), ("Segmentation mask 1.1", "labelmap.txt"), ("Something new 9.9", "any")],
)  # fmt: skip
def test_the_main_file_of_a_format_must_be_there(tmp_path, name, main):
    found = inspected(tmp_path, {main: b"<a/>", "images/1.JPG": b"x"}, name)
    assert (found.members, found.images, found.bytes) == (2, 1, 5)
    if main != "any":
        with pytest.raises(BadArchive, match="holds no main file"):
            inspected(tmp_path, {"other.txt": b""}, name)


def test_the_empty_zip_is_no_dataset(tmp_path):
    with pytest.raises(BadArchive, match="empty zip"):
        inspected(tmp_path, {}, "COCO 1.0")


@pytest.mark.parametrize(
    ("video", "images", "formats"),
    [(False, True, ("CVAT for images 1.1",)), (True, False, ("CVAT for video 1.1",)),
     (True, True, ("CVAT for images 1.1", "CVAT for video 1.1"))],
)  # fmt: skip
def test_videos_get_the_video_format_so_that_tracks_survive(video, images, formats):
    wanted = formats_for("CVAT for images 1.1", has_video=video, has_images=images, is_3d=False, offered=OFFERED)
    assert wanted == formats


def test_other_formats_are_used_for_everything():
    assert formats_for("COCO 1.0", has_video=True, has_images=True, is_3d=False, offered=OFFERED) == ("COCO 1.0",)


def test_3d_sources_get_a_3d_format():
    assert formats_for("COCO 1.0", has_video=False, has_images=True, is_3d=True, offered=OFFERED) == (
        "Datumaro 3D 1.0",
    )
    assert formats_for("COCO 1.0", has_video=False, has_images=True, is_3d=True, offered={"COCO 1.0": "2d"}) == (
        "COCO 1.0",
    )
