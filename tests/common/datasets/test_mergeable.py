"""What datumaro is shown of a folder, and how many images a folder says it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from common.datasets.cutting import NotSound
from common.datasets.mergeable import Form, form_of


def form(name: str) -> Form:
    found = form_of(name)
    assert found is not None
    return found


def lay(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


COUNTED: dict[str, dict[str, str]] = {
    "COCO 1.0": {
        "annotations/instances_default.json": json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2}]}),
        "annotations/labels_default.json": json.dumps({"images": [{"id": 1, "file_name": "a.jpg"}]}),
    },
    "Datumaro 1.0": {"annotations/default.json": json.dumps({"items": [{"id": "a"}, {"id": "b"}]})},
    "CVAT for images 1.1": {
        "annotations.xml": "<annotations><meta><image/></meta><image id='0'><box/></image><image id='1'/></annotations>"
    },
    "YOLO 1.1": {"train.txt": "data/obj_train_data/a.jpg\n\ndata/obj_train_data/b.jpg\n", "obj.names": "car\n"},
    "Ultralytics YOLO Detection 1.0": {"train.txt": "images/train/a.jpg\n", "val.txt": "images/val/b.jpg"},
    "PASCAL VOC 1.1": {
        "ImageSets/Main/my_part.txt": '"a b"\nb\n',
        "ImageSets/Main/car_my_part.txt": '"a b"  1\nb  -1\n',
        "ImageSets/Segmentation/my_part.txt": "b\n",
    },
    "CamVid 1.0": {
        "default.txt": "/default/a.jpg \n/default/b.jpg defaultannot/b.png\n",
        "label_colors.txt": "0 0 0 car",
    },
}


@pytest.mark.parametrize("name", COUNTED)
def test_images_are_counted_by_the_folders_own_lists(tmp_path, name):
    assert form(name).count(lay(tmp_path, **COUNTED[name]), ["my_part"]) == 2


def test_quotes_around_names_with_blanks_are_undone_for_datumaro(tmp_path):
    lay(tmp_path / "task", **COUNTED["PASCAL VOC 1.1"], **{"JPEGImages/b.jpg": "picture"})
    shown = form("PASCAL VOC 1.1").show(tmp_path / "task", ["my_part"], tmp_path / "view")
    assert shown.subsets == {"my-part-0": "my_part"}, "a name with _ is one of a label's list to datumaro"
    lists = shown.path / "ImageSets" / "Main"
    assert {path.name: path.read_text() for path in lists.iterdir()} == {
        "my-part-0.txt": "a b\nb\n",
        "car_my-part-0.txt": "a b  1\nb  -1\n",
    }
    assert (shown.path / "JPEGImages" / "b.jpg").read_text() == "picture"


def test_the_lists_of_a_label_whose_name_ends_like_a_subset_stay_with_theirs(tmp_path):
    names = ("a_b", "b_c_a_b", "d", "b_c_d")
    lay(tmp_path / "task", **{f"ImageSets/Main/{name}.txt": name for name in names})
    shown = form("PASCAL VOC 1.1").show(tmp_path / "task", ["d", "a_b"], tmp_path / "view")
    lists = (shown.path / "ImageSets" / "Main").iterdir()
    assert sorted(path.name for path in lists) == ["a-b-1.txt", "b_c_a-b-1.txt", "b_c_d.txt", "d.txt"]


def test_images_of_ultralytics_are_shown_side_by_side_under_numbers(tmp_path):
    names = ("images/train/x/a.v1.jpg", "images/train/b.JPG", "labels/train/x/a.v1.txt", "data.yaml")
    lay(tmp_path / "task", **{name: name for name in names})
    shown = form("Ultralytics YOLO Detection 1.0").show(tmp_path / "task", ["default"], tmp_path / "view")
    assert shown.images == {"0": "b", "1": "x/a.v1"}
    files = {path.relative_to(shown.path).as_posix(): path.read_text() for path in shown.path.rglob("*.*")}
    assert files == {
        "data.yaml": "data.yaml",
        "images/train/0.JPG": "images/train/b.JPG",
        "labels/train/0.txt": "",  # nothing is drawn on it
        "images/train/1.jpg": "images/train/x/a.v1.jpg",
        "labels/train/1.txt": "labels/train/x/a.v1.txt",
    }


def test_frames_of_a_video_get_the_ending_that_their_files_have(tmp_path):
    text = '<annotations>\n<image id="0" name="frame_000000" width="4"></image>\n<image id="1" name="x.jpg"/></annotations>'
    lay(tmp_path / "task", **{"annotations.xml": text, "images/frame_000000.PNG": "picture"})
    shown = form("CVAT for images 1.1").show(tmp_path / "task", ["Train"], tmp_path / "view")
    assert shown.subsets == {"annotations": "Train"}
    assert (shown.path / "annotations.xml").read_text() == text.replace("frame_000000", "frame_000000.PNG")
    assert (shown.path / "images" / "frame_000000.PNG").read_text() == "picture"
    assert (tmp_path / "task" / "annotations.xml").read_text() == text


@pytest.mark.parametrize("shape", ["ellipse", "skeleton"])
def test_a_shape_that_datumaro_would_pass_over_is_refused(tmp_path, shape):
    lay(tmp_path, **{"annotations.xml": f"<annotations>\n<image><{shape} label='a'></{shape}></image></annotations>"})
    with pytest.raises(NotSound, match=rf"does not know \({shape}\)"):
        form("CVAT for images 1.1").show(tmp_path, ["default"], tmp_path / "view")


def test_coco_without_images_is_shown_with_an_empty_folder_of_them(tmp_path):
    lay(tmp_path / "task", **COUNTED["COCO 1.0"])
    shown = form("COCO 1.0").show(tmp_path / "task", ["default"], tmp_path / "view")
    assert (shown.path / "images").is_dir() and (shown.path / "annotations" / "instances_default.json").exists()
    (tmp_path / "task" / "images").mkdir()
    assert form("COCO 1.0").show(tmp_path / "task", ["default"], tmp_path / "other").path == tmp_path / "task"


@pytest.mark.parametrize(
    ("name", "written"), [("COCO 1.0", "coco_instances"), ("COCO Keypoints 1.0", "coco_person_keypoints")]
)
def test_coco_is_written_as_the_one_kind_that_the_tasks_have(name, written):
    assert form(name).writes == written
