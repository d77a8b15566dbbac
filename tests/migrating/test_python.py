"""SCRESTClient: what users of the older tool know, from Python."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from common.exits import RunEnds
from sc_client import Incomplete, SCRESTClient

from .conftest import contents

needs_datumaro = pytest.mark.skipif(
    importlib.util.find_spec("datumaro") is None,
    reason="datumaro is not installed here: it needs other versions of some packages (requirements of the extra)",
)


def connected(server, **how) -> SCRESTClient:
    how = how or {"token": server.token}
    return SCRESTClient(host=server.url + "/organizations/1", ca_bundle=server.ca_file, wait_seconds=10, **how)


def test_a_project_goes_down_and_up_by_name_into_the_present_folder(sc, tmp_path, monkeypatch):
    source, target = sc(), sc(samples="none")
    monkeypatch.chdir(tmp_path)
    client = connected(source, username=source.username, password=source.password)
    assert client.download_project("Cars").images == 8
    report = connected(target).upload_project("Cars", project_name="Cars 2", enable_auto_train=False)
    assert report.gaps == [] and contents(target)["Cars 2"] == contents(source)["Cars"]
    with pytest.raises(RunEnds, match="no project 'Nobody'"):
        client.download_project(project_name="Nobody", target_folder="x")


def test_all_projects_go_down_and_up_and_what_is_missing_is_raised(sc, tmp_path):
    source, target = sc(samples="losses"), sc(samples="none")
    assert connected(source).download_all_projects(tmp_path)
    connected(target).upload_all_projects(tmp_path)
    assert contents(target) == contents(source)
    with pytest.raises(Incomplete, match="already has a project"):
        connected(source).upload_all_projects(tmp_path)


def test_plain_http_is_refused_unless_it_is_asked_for(sc):
    server = sc(samples="none", tls=False)
    with pytest.raises(ValueError, match="plain http"):
        SCRESTClient(host=server.url, token=server.token)
    assert SCRESTClient(host=server.url, token=server.token, allow_http=True).list_projects() == []


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


@needs_datumaro
@pytest.mark.parametrize(
    ("project_type", "labels", "images", "shapes", "kind"),
    [("detection", "dog,cat", 4, 4, "RECTANGLE"), ("segmentation", "", 18, 18, "POLYGON"),
     ("classification", "dog,cat", 4, 4, "RECTANGLE"), ("rotated_detection", "dog", 2, 2, "ROTATED_RECTANGLE"),
     ("instance_segmentation", "dog", 2, 2, "POLYGON"), ("anomaly", "dog,cat;car", 6, 6, "RECTANGLE"),
     ("detection_to_segmentation", "animal;dog,cat", 4, 8, "POLYGON"),
     ("detection_to_classification", "animal;dog,cat", 4, 4, "RECTANGLE")],
)  # fmt: skip
def test_a_dataset_becomes_a_project_of_each_type(sc, tmp_path, project_type, labels, images, shapes, kind):
    server = sc(samples="none")
    data = coco(tmp_path / "coco")
    client = connected(server)
    for _ in range(2):  # a second call makes nothing twice
        if "_to_" in project_type:
            first, _, second = labels.partition(";")
            report = client.create_task_chain_project_from_dataset(
                "Pets", project_type, data, label_names_task_1=[first], label_names_task_2=second.split(","),
                data_format="coco", work_folder=tmp_path / "work",
            )  # fmt: skip
        else:
            report = client.create_project_single_task_from_dataset(
                "Pets", project_type, data, labels=labels, data_format="coco", work_folder=tmp_path / "work"
            )
        assert (report.gaps, report.images, report.shapes) == ([], images, shapes)
    [(_, rows)] = contents(server)["Pets"]
    assert len(rows) == images and all(kind in row[4] for row in rows)
