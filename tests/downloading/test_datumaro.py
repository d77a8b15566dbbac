"""What downloader.py leaves is read by somebody else: datumaro, which also makes the merged dataset."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import running as tools
from running import add_project, environment

from sandbox.cvat import CvatSandbox
from tests.downloading.datasets import Downloaded
from tests.reader import python_with_datumaro

READ = """
import json, sys, datumaro
found = []
for name, path in json.loads(sys.argv[1]):
    items = {}
    for item in datumaro.Dataset.import_from(path, name):
        items[item.id] = [item.subset, sorted(each.type.name for each in item.annotations), item.media is not None]
    found.append(items)
print(json.dumps(found))
"""
READERS = {
    "COCO 1.0": "coco",
    "Datumaro 1.0": "datumaro",
    "CVAT for images 1.1": "cvat",
    "YOLO 1.1": "yolo",
    "Ultralytics YOLO Detection 1.0": "yolo",
    "PASCAL VOC 1.1": "voc",
    "CamVid 1.0": "camvid",
    "Segmentation mask 1.1": "voc_segmentation",
}


@pytest.fixture(scope="module")
def python() -> str:
    return python_with_datumaro()


def run(python: str, server: CvatSandbox, tmp_path: Path, *arguments: str) -> Downloaded:
    """One whole run with a Python that has datumaro."""
    outputs = tmp_path / "outputs"
    more = {
        "CVAT_DOWNLOAD_OUTPUT_DIR": str(outputs),
        "CVAT_DOWNLOAD_MIN_FREE_GB": "0",
        "CVAT_DOWNLOAD_REQUIRED_STATUS": "null",
    }
    command = [python, str(tools._prepared[0][0] / "downloader.py"), "--mode", "datasets", *arguments]
    env = environment(server, tmp_path, **more)
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return Downloaded(done.returncode, done.stdout, done.stderr, outputs)


def read(python: str, *datasets: tuple[str, Path]) -> list[dict[str, Any]]:
    """What datumaro finds in folders: subset, kinds of annotations and whether there is a picture, by item."""
    text = json.dumps([(name, str(path)) for name, path in datasets])
    done = subprocess.run([python, "-c", READ, text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("leak", [False, True])
def test_datumaro_finds_the_living_frames_and_only_them_in_every_format(python, server, tmp_path, leak):
    _, task = add_project(server, "pictures", frames=5)
    server.world.set_deleted_frames(task, {1, 4})
    server.world.leak_deleted_frames = leak
    folders = []
    for number, (name, reader) in enumerate(READERS.items()):
        arguments = ("--task-ids", str(task.id), "--include-images", "--dataset-format", name, "--run-id", str(number))
        done = run(python, server, tmp_path, *arguments)
        assert done.code == 0, done.said
        folders.append((reader, tmp_path / "outputs" / str(number) / "cvat_downloads" / "scans"))
    for (reader, _), items in zip(folders, read(python, *folders), strict=True):
        assert sorted(items) == ["frame_0000", "frame_0002", "frame_0003"], reader
        assert all(has_picture for _, _, has_picture in items.values())
        kinds = items["frame_0002"][1]
        assert {"bbox", "mask"} & set(kinds), (reader, kinds)


@pytest.mark.parametrize("name", ["COCO 1.0", "YOLO 1.1"])
def test_the_merged_dataset_holds_everything_once_and_images_stay_in_their_part_when_tasks_come(
    python, server, tmp_path, name
):
    for number in range(2):
        add_project(server, f"more {number}", frames=6)[1].name = "same name"
    arguments = ("--include-images", "--dataset-format", name, "--merge", "--split", "train=60,val=20,test=20")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 0, done.said
    merged = done.folder / "cvat_merged"
    assert done.metrics["merged_dir"] == str(merged)
    singles = [done.folder / "cvat_downloads" / folder for folder in done.folders]
    reader = READERS[name]
    first, *parts = read(python, (reader, merged), *((reader, path) for path in singles))
    wanted = {
        f"{path.name}/{item}": kinds
        for path, part in zip(singles, parts, strict=True)
        for item, (_, kinds, _) in part.items()
    }
    assert {item: kinds for item, (_, kinds, _) in first.items()} == wanted
    assert {part for part, _, _ in first.values()} <= {"train", "val", "test"}
    assert json.loads((merged / "merge.json").read_text())["images"].keys() <= {"train", "val", "test"}
    add_project(server, "late", frames=4)[1].name = "late"
    again = run(python, server, tmp_path, *arguments)
    assert again.code == 0 and again.metrics["tasks_downloaded"] == 1
    [second] = read(python, (reader, merged))
    assert len(second) == len(first) + 4
    assert {item: second[item][0] for item in first} == {item: part for item, (part, _, _) in first.items()}


def test_coco_is_merged_without_images_too_which_is_what_is_downloaded_by_default(python, server, tmp_path):
    done = run(python, server, tmp_path, "--merge")
    assert done.code == 0, done.said
    singles = [("coco", done.folder / "cvat_downloads" / folder / "annotations") for folder in done.folders]
    assert singles and sum(json.loads((done.folder / "cvat_merged" / "merge.json").read_text())["images"].values())
    files = (done.folder / "cvat_merged" / "annotations").glob("instances_*.json")
    merged = [json.loads(path.read_text()) for path in files]
    own = [json.loads((path / "instances_default.json").read_text()) for _, path in singles]
    assert sum(len(each["images"]) for each in merged) == sum(len(each["images"]) for each in own) > 0
    assert sum(len(each["annotations"]) for each in merged) == sum(len(each["annotations"]) for each in own) > 0
    assert {path.name for path in done.folder.iterdir()} == {
        "cvat_downloads", "cvat_merged", "metrics.json", ".lock-downloads"
    }  # fmt: skip


def test_what_cannot_be_merged_without_images_is_said_before_anything_is_downloaded(python, server, tmp_path):
    done = run(python, server, tmp_path, "--merge", "--dataset-format", "YOLO 1.1")
    assert done.code == 2 and "--include-images" in done.err
    assert not (done.folder / "cvat_downloads").exists()


def test_subsets_of_cvat_are_the_parts_that_ultralytics_knows(python, server, tmp_path):
    for number, subset in enumerate(("Train", "Validation")):
        add_project(server, f"part {number}", frames=2)[1].subset = subset
    arguments = ("--merge", "--include-images", "--dataset-format", "Ultralytics YOLO Detection 1.0")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 0, done.said
    assert json.loads((done.folder / "cvat_merged" / "merge.json").read_text())["images"] == {
        "train": 10,
        "val": 2,
    }  # 8 of tasks without a subset
    odd = run(python, server, tmp_path, *arguments, "--subset", "Validation")
    assert odd.code == 3 and "The merged dataset was not made" in odd.err


def test_a_merge_that_fails_leaves_the_tasks_and_says_so(python, server, tmp_path):
    assert run(python, server, tmp_path).code == 0
    (tmp_path / "outputs" / "cvat_merged").mkdir()
    done = run(python, server, tmp_path, "--merge")
    assert done.code == 3 and "was not made by this program" in done.err
    assert "merged dataset was not made" in done.metrics["reason"]
