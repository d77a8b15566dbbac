"""create-from-dataset with each format that people have, read by the real datumaro, from the command line to the server."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.reader import python_with_datumaro

from .coco import coco
from .conftest import contents

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("dog", "cat")
SIZE = (200, 100)
BOX = (20, 30, 60, 40)  # x, y, width, height


@pytest.fixture(scope="module")
def python() -> str:
    return python_with_datumaro()


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (40 * number, 90, 60)).save(path)


def voc(folder: Path) -> None:
    for at in range(4):
        picture(folder / "JPEGImages" / f"p{at}.jpg", at)
        x, y, w, h = BOX
        (folder / "Annotations").mkdir(exist_ok=True)
        (folder / "Annotations" / f"p{at}.xml").write_text(
            f"<annotation><folder>VOC</folder><filename>p{at}.jpg</filename><size><width>200</width><height>100</height>"
            f"<depth>3</depth></size><segmented>0</segmented><object><name>{NAMES[at % 2]}</name><pose>Unspecified</pose>"
            f"<truncated>0</truncated><difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object></annotation>"
        )
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("p0\np1\np2\np3\n")


def yolo(folder: Path) -> None:
    lines = []
    for at in range(4):
        picture(folder / "obj_train_data" / f"p{at}.jpg", at)
        x, y, w, h = BOX
        row = f"{at % 2} {(x + w / 2) / 200} {(y + h / 2) / 100} {w / 200} {h / 100}\n"
        (folder / "obj_train_data" / f"p{at}.txt").write_text(row)
        lines.append(f"data/obj_train_data/p{at}.jpg\n")
    (folder / "obj.names").write_text("dog\ncat\n")
    (folder / "train.txt").write_text("".join(lines))
    (folder / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")


def datumaro(folder: Path) -> None:
    rows = []
    for at in range(4):
        picture(folder / "images" / "train" / f"p{at}.jpg", at)
        box = {
            "id": 0,
            "type": "bbox",
            "attributes": {},
            "group": 0,
            "label_id": at % 2,
            "z_order": 0,
            "bbox": list(BOX),
        }
        image = {"path": f"p{at}.jpg", "size": [100, 200]}
        rows.append({"id": f"p{at}", "annotations": [box], "image": image, "attr": {}})
    labels = [{"name": name, "parent": "", "attributes": []} for name in NAMES]
    categories = {"label": {"labels": labels, "attributes": []}}
    (folder / "annotations").mkdir()
    content = {"dm_format_version": "1.0", "media_type": 2, "infos": {}, "categories": categories, "items": rows}
    (folder / "annotations" / "train.json").write_text(json.dumps(content))


def cvat(folder: Path) -> None:
    x, y, w, h = BOX
    images = []
    for at in range(4):
        picture(folder / "images" / f"p{at}.jpg", at)
        images.append(
            f'<image id="{at}" name="p{at}.jpg" width="200" height="100"><box label="{NAMES[at % 2]}" occluded="0" '
            f'xtl="{x}" ytl="{y}" xbr="{x + w}" ybr="{y + h}" z_order="0"></box></image>'
        )
    labels = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in NAMES)
    (folder / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><labels>{labels}</labels>'
        f"</task></meta>{''.join(images)}</annotations>"
    )


def folders(folder: Path) -> None:
    for at in range(4):
        picture(folder / NAMES[at % 2] / f"p{at}.jpg", at)


def coco_keypoints(folder: Path) -> None:
    images, people = [], []
    for at in range(4):
        picture(folder / "images" / f"p{at}.jpg", at)
        images.append({"id": at + 1, "file_name": f"p{at}.jpg", "width": 200, "height": 100})
        people.append(
            {"id": at + 1, "image_id": at + 1, "category_id": 1, "bbox": list(BOX), "area": 2400, "iscrowd": 0,
             "num_keypoints": 3, "keypoints": [30, 40, 2, 50, 60, 1, 70, 50, 2]}
        )  # fmt: skip
    person = {"id": 1, "name": "person", "keypoints": ["head", "hand", "foot"], "skeleton": [[1, 2], [1, 3]]}
    (folder / "annotations").mkdir()
    content = {"images": images, "annotations": people, "categories": [person], "info": {}, "licenses": []}
    (folder / "annotations" / "person_keypoints_train.json").write_text(json.dumps(content))


def create(python: str, server: Any, tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A whole run of the script with the Python that has datumaro."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SC_", "CVAT_"))}
    env |= {
        "SC_HOST": server.url, "SC_TOKEN": server.token, "SC_CA_BUNDLE": str(server.ca_file),
        "SC_DIR": str(tmp_path / "sc-projects"), "CVAT_ENV_DIR": str(tmp_path), "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    command = [python, str(ROOT / "sc_migrate.py"), "create-from-dataset", *map(str, arguments)]
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)


def shapes(server: Any) -> Counter:
    """(label, shape without what is not a number) of the only project there."""
    [project] = server.world.projects.values()
    names = {label.id: label.name for task in project.trainable for label in task.labels}
    return Counter(
        (
            names[each["labels"][0]["id"]],
            tuple(round(float(each["shape"][key])) for key in ("x", "y", "width", "height")),
        )
        for media in project.datasets[0].media.values()
        for scene in media.scenes.values()
        for each in scene.annotations
    )


@pytest.mark.parametrize("told", [True, False], ids=["format told", "format found out"])
@pytest.mark.parametrize(
    ("make", "data_format"), [(voc, "voc"), (yolo, "yolo"), (datumaro, "datumaro"), (cvat, "cvat")]
)
def test_boxes_of_each_format_arrive_where_they_were_drawn(sc, python, tmp_path, make, data_format, told):
    data = tmp_path / "data"
    data.mkdir()
    make(data)
    server = sc(samples="none")
    said = ["--format", data_format] if told else []
    done = create(python, server, tmp_path, data, "--type", "detection", "--name", "Pets", "--labels", "dog,cat", *said)
    assert done.returncode == 0, done.stdout + done.stderr
    found = shapes(server)
    assert {(name, tuple(abs(a - b) <= 1 for a, b in zip(box, BOX, strict=True))) for name, box in found} == {
        ("dog", (True,) * 4), ("cat", (True,) * 4),
    }, found  # fmt: skip
    assert sum(found.values()) == 4


def test_a_folder_per_class_becomes_a_classification_project(sc, python, tmp_path):
    folders(tmp_path / "data")
    server = sc(samples="none")
    done = create(python, server, tmp_path, tmp_path / "data", "--type", "classification", "--format", "folders")
    assert done.returncode == 0, done.stdout + done.stderr
    assert shapes(server) == {("dog", (0, 0, *SIZE)): 2, ("cat", (0, 0, *SIZE)): 2}


def test_coco_keypoints_become_a_keypoint_project_with_their_structure(sc, python, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    coco_keypoints(data)
    server = sc(samples="none")
    done = create(python, server, tmp_path, data, "--type", "keypoint", "--format", "coco_person_keypoints")
    assert done.returncode == 0, done.stdout + done.stderr
    [project] = server.world.projects.values()
    names = {label.id: label.name for task in project.trainable for label in task.labels}
    points = [
        (names[each["labels"][0]["id"]], each["shape"]["x"], each["shape"]["y"], each["shape"]["is_visible"])
        for media in project.datasets[0].media.values()
        for scene in media.scenes.values()
        for each in scene.annotations
    ]
    assert Counter(points) == {("head", 30, 40, True): 4, ("hand", 50, 60, False): 4, ("foot", 70, 50, True): 4}
    structure = project.trainable[0].keypoint_structure
    assert len(structure["edges"]) == 2 and len(structure["positions"]) == 3


BOXED = {
    "detection": ("dog,cat", 4, "RECTANGLE"),
    "rotated_detection": ("dog", 2, "ROTATED_RECTANGLE"),
    "classification": ("", 4, "RECTANGLE"),
    "anomaly": ("dog;cat", 4, "RECTANGLE"),
    "detection_to_classification": ("animal;dog,cat", 4, "RECTANGLE"),
}
FORMATS = {"voc": voc, "yolo": yolo, "datumaro": datumaro, "cvat": cvat}
# By default one of each type; CVAT_TESTS_ALL=1 makes all of them of all formats.
QUICK = {
    ("voc", "rotated_detection"),
    ("yolo", "classification"),
    ("datumaro", "anomaly"),
    ("cvat", "detection_to_classification"),
}
LONG = pytest.mark.skipif(
    not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 makes every type of every format"
)


@pytest.mark.parametrize(
    ("data_format", "project_type"),
    [
        pytest.param(each, kind, marks=[] if (each, kind) in QUICK else [pytest.mark.slow, LONG])
        for each in FORMATS
        for kind in BOXED
    ],
)
def test_each_format_becomes_a_project_of_each_type_that_boxes_allow(sc, python, tmp_path, data_format, project_type):
    labels, images, kind = BOXED[project_type]
    FORMATS[data_format](_made(tmp_path / "data"))
    server = sc(samples="none")
    chosen = ["--labels", labels] if labels else []
    for _ in range(2):  # a second run makes nothing twice
        done = create(
            python, server, tmp_path, tmp_path / "data", "--type", project_type, "--format", data_format, *chosen
        )
        assert done.returncode == 0, done.stdout + done.stderr
    [(_, rows)] = contents(server)["data"]
    assert len(rows) == images and all(kind in row[4] for row in rows), rows


@pytest.mark.parametrize(
    ("project_type", "labels", "images", "kind"),
    [
        pytest.param(*row, marks=[] if row[0] in ("segmentation", "detection_to_segmentation") else [pytest.mark.slow, LONG])
        for row in (
            ("detection", "dog,cat", 4, "RECTANGLE"), ("segmentation", "", 18, "POLYGON"),
            ("classification", "dog,cat", 4, "RECTANGLE"), ("rotated_detection", "dog", 2, "ROTATED_RECTANGLE"),
            ("instance_segmentation", "dog", 2, "POLYGON"), ("anomaly", "dog,cat;car", 6, "RECTANGLE"),
            ("detection_to_segmentation", "animal;dog,cat", 4, "POLYGON"),
            ("detection_to_classification", "animal;dog,cat", 4, "RECTANGLE"),
        )
    ],
)  # fmt: skip
def test_coco_becomes_a_project_of_each_type(sc, python, tmp_path, project_type, labels, images, kind):
    server = sc(samples="none")
    data = coco(tmp_path / "coco")
    chosen = ["--labels", labels] if labels else []
    for _ in range(2):
        done = create(python, server, tmp_path, data, "--type", project_type, "--format", "coco", *chosen)
        assert done.returncode == 0, done.stdout + done.stderr
    [(_, rows)] = contents(server)["coco"]
    assert len(rows) == images and all(kind in row[4] for row in rows), rows


def test_folders_become_an_anomaly_project_and_no_detection_project(sc, python, tmp_path):
    folders(tmp_path / "data")
    server = sc(samples="none")
    done = create(
        python, server, tmp_path, tmp_path / "data", "--type", "anomaly", "--format", "folders", "--labels", "dog;cat"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert shapes(server) == {("Normal", (0, 0, *SIZE)): 2, ("Anomalous", (0, 0, *SIZE)): 2}
    done = create(
        python, server, tmp_path, tmp_path / "data", "--type", "detection", "--format", "folders", "--name", "Boxes"
    )
    assert done.returncode in (1, 3) and "no image with these labels" in done.stdout


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


CALLS = """
import json, sys
from sc_client import SCRESTClient
server, call, arguments = json.loads(sys.argv[1])
report = getattr(SCRESTClient(**server), call)(**arguments)
print(json.dumps([report.gaps, report.images, report.shapes]))
"""


@pytest.mark.parametrize(
    ("call", "arguments", "told"),
    [("create_project_single_task_from_dataset", {"labels": "dog,cat"}, [[], 4, 4]),
     ("create_task_chain_project_from_dataset",
      {"label_names_task_1": ["animal"], "label_names_task_2": ["dog", "cat"]}, [[], 4, 8])],
)  # fmt: skip
def test_datasets_become_projects_from_python_too(sc, python, tmp_path, call, arguments, told):
    server = sc(samples="none")
    project_type = "detection" if "single" in call else "detection_to_segmentation"
    how = {"host": server.url, "token": server.token, "ca_bundle": str(server.ca_file)}
    arguments = {
        "project_name": "Pets", "project_type": project_type, "path_to_dataset": str(coco(tmp_path / "coco")),
        "data_format": "coco", "work_folder": str(tmp_path / "work"), **arguments,
    }  # fmt: skip
    for _ in range(2):
        command = [python, "-c", CALLS, json.dumps([how, call, arguments])]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == told
    assert len(server.world.projects) == 1
