"""Folders that older tools wrote are read as they are; what cannot be placed is listed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image
from rights import like_anybody, rights

from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files
from common.waiting import StopSignal

from .conftest import contents

ROOT = Path(__file__).parents[2]
PROJECT = {
    "name": "From before",
    "datasets": [{"name": "Dataset", "use_for_training": True}, {"name": "side", "use_for_training": False}],
    "pipeline": {
        "connections": [{"from": "Dataset", "to": "Find"}],
        "tasks": [
            {"title": "Dataset", "task_type": "dataset"},
            {
                "title": "Find",
                "task_type": "detection",
                "labels": [
                    {"name": "dog", "color": "#11aa33ff", "group": "g"},
                    {"name": "No object", "color": "#000000ff", "group": "No object", "is_empty": True},
                ],
            },
        ],
    },
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100), (10, 90, 40)).save(path)


def scene(path: Path, label: str = "dog", **shape: float) -> None:
    path.parent.mkdir(exist_ok=True)
    shape = shape or {"x": 10, "y": 20, "width": 30, "height": 40}
    annotation = {"labels": [{"name": label, "color": "#11aa33ff"}], "shape": {"type": "RECTANGLE", **shape}}
    path.write_text(json.dumps({"annotations": [annotation], "kind": "annotation"}))


def test_a_folder_of_geti_sdk_is_uploaded_with_all_its_datasets_and_awkward_names(sc, signed_in, tmp_path):
    (tmp_path / "project.json").write_text(json.dumps(PROJECT))
    identity = "6255dd09234370fcf24c1c2b"
    for relative in ("Dataset/img [1].jpg", f"Dataset/twice_{identity}.jpg", "side/other.jpg", "Dataset/nothing.jpg"):
        picture(tmp_path / "images" / relative)
    for stem in ("img [1]", f"twice_{identity}", "other", "lost"):
        scene(tmp_path / "annotations" / f"{stem}.json")
    server = sc(samples="none")
    report = upload_project(signed_in(server), open_source(tmp_path))
    assert report.gaps == ["annotations/lost.json belongs to no media file"]
    assert (report.images, report.scenes) == (4, 3)
    [(_, rows)] = contents(server)["From before"]
    assert [(row[0], row[1]) for row in rows] == [
        (False, "other"),
        (True, "img [1]"),
        (True, "nothing"),
        (True, "twice"),
    ]
    assert verify_files(tmp_path, StopSignal(), 2).gaps == report.gaps


def test_a_folder_of_the_predecessor_with_fractions_becomes_pixels(sc, signed_in, tmp_path):
    project = {key: value for key, value in PROJECT.items() if key != "datasets"}
    (tmp_path / "project.json").write_text(json.dumps(project))
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "images" / "b.jpg")
    scene(tmp_path / "annotations" / "a.json", x=0.05, y=0.2, width=0.15, height=0.4)
    scene(tmp_path / "annotations" / "b.json", "No object", x=0, y=0, width=1, height=1)
    server = sc(samples="none")
    report = upload_project(signed_in(server), open_source(tmp_path))
    assert report.gaps == []
    [(_, rows)] = contents(server)["From before"]
    assert "'height': 40, 'type': 'RECTANGLE', 'width': 30, 'x': 10, 'y': 20" in rows[0][4]
    assert "'height': 100, 'type': 'RECTANGLE', 'width': 200, 'x': 0, 'y': 0" in rows[1][4] and "True" in rows[1][4]


def test_a_folder_whose_images_cannot_all_be_read_is_not_called_whole(tmp_path):
    (tmp_path / "project.json").write_text(json.dumps(PROJECT))
    for relative in ("Dataset/a.jpg", "side/b.jpg"):
        picture(tmp_path / "images" / relative)
    command = [sys.executable, "sc_migrate.py", "verify", str(tmp_path)]
    with rights(tmp_path / "images" / "side", 0o000):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=like_anybody)
    assert done.returncode == 1, done.stderr
    assert "images/side" in done.stdout and "Permission denied" in done.stdout
