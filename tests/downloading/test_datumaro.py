"""What downloader.py leaves is read by somebody else: datumaro, which also makes the merged dataset."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import running as tools
from running import add_project, environment

from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat.world import Task
from tests.downloading.datasets import Downloaded, downloaded
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
# What is drawn in every image: label, left, top, width and height of the boxes; labels of the masks.
READ_DRAWN = """
import json, sys, datumaro
found = {}
for item in (dataset := datumaro.Dataset.import_from(*json.loads(sys.argv[1]))):
    labels = dataset.categories()[datumaro.AnnotationType.label]
    drawn = {"bbox": [], "mask": [], "size": list(item.media.data.shape[:2]), "part": item.subset}
    for each in item.annotations:
        if each.type.name in drawn:
            box = [round(float(value)) for value in each.get_bbox()] if each.type.name == "bbox" else []
            drawn[each.type.name].append([labels[each.label].name, *box])
    found[item.id] = drawn
print(json.dumps(found))
"""
PATCHED = """
import runpy, sys
sys.path.insert(0, {root!r})
sys.argv[0] = {root!r} + "/downloader.py"
from common.datasets import joining, merging
{patch}
runpy.run_path(sys.argv[0], run_name="__main__")
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


def run(python: str, server: CvatSandbox, tmp_path: Path, *arguments: str, patch: str = "") -> Downloaded:
    """One whole run with a Python that has datumaro; what is to be patched in it is named `joining` or `merging`."""
    outputs = tmp_path / "outputs"
    more = {
        "CVAT_DOWNLOAD_OUTPUT_DIR": str(outputs),
        "CVAT_DOWNLOAD_MIN_FREE_GB": "0",
        "CVAT_DOWNLOAD_REQUIRED_STATUS": "null",
    }
    script = tools._prepared[0][0] / "downloader.py"
    started = ["-c", PATCHED.format(root=str(script.parent), patch=patch)] if patch else [str(script)]
    command = [python, *started, "--mode", "datasets", *arguments]
    env = environment(server, tmp_path, **more)
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return downloaded(done.returncode, done.stdout, done.stderr, outputs)


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
    files = sorted((done.folder / "cvat_merged" / "annotations").iterdir())
    assert [path.name for path in files] == ["instances_default.json"]  # as in the tasks' own folders, everything once
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
    _, gone = add_project(server, "all of it deleted", frames=3)
    server.world.set_deleted_frames(gone, {0, 1, 2})
    arguments = ("--merge", "--include-images", "--dataset-format", "Ultralytics YOLO Detection 1.0")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 0, done.said
    assert json.loads((done.folder / "cvat_merged" / "merge.json").read_text())["images"] == {
        "train": 10,
        "val": 2,
    }  # 8 of tasks without a subset
    assert f"Left out of it: task {gone.id} (scans" in done.out
    odd = run(python, server, tmp_path, *arguments, "--subset", "Validation")
    assert odd.code == 3 and "The merged dataset was not made" in odd.err


def test_a_merge_that_fails_leaves_the_tasks_and_says_so(python, server, tmp_path):
    assert run(python, server, tmp_path).code == 0
    (tmp_path / "outputs" / "cvat_merged").mkdir()
    done = run(python, server, tmp_path, "--merge")
    assert done.code == 3 and "was not made by this program" in done.err
    assert "merged dataset was not made" in done.metrics["reason"]


# Of two tasks with labels in another order: folders, blanks, dots, foreign letters, the same name in both.
NAMES = [
    ["a.jpg", "e.jpg", "my photo 1.jpg", "x/b.jpg", "x/y z/c.v1.png", "ü.jpg"],
    ["IMG 0001.jpg", "a.jpg", "x/b.jpg", "y/b.jpg"],
]
LABELS = [["cat", "dog", "bird"], ["bird", "cow", "cat"]]
SUBSETS = ["", "Validation"]


def drawn_task(server: CvatSandbox, name: str, labels: list[str], names: list[str], subset: str = "") -> Task:
    """A task whose images have a box each, at a place of its own, and a polygon."""
    project = server.world.add_project(f"of {name}", labels=[{"name": label} for label in labels])
    files = [server.world.media.picture(n, name=each, size=(320 + 2 * n, 240)) for n, each in enumerate(names)]
    task = server.world.add_task(project, name, len(names), files=files, subset=subset)
    draw(server, task, labels)
    return task


def draw(server: CvatSandbox, task: Task, labels: list[str]) -> None:
    [job] = server.world.jobs_of(task)
    index = server.world.label_index(job)
    shapes: list[dict[str, Any]] = []
    for n, frame in enumerate(job.frame_numbers):
        box, area = index.named(labels[n % 3]), index.named(labels[(n + 1) % 3])
        corners = [10.0, 100.0, 60.0 + n, 100.0, 60.0, 118.0]
        shapes.append({"type": "rectangle", "label_id": box, "frame": frame, "points": [10.0 + n, 10.0, 60.0, 61.0]})
        shapes.append({"type": "polygon", "label_id": area, "frame": frame, "points": corners})
    server.world.put_annotations(job, {"shapes": shapes, "tags": [], "tracks": [], "version": 0})


def read_drawn(python: str, reader: str, folder: Path) -> dict[str, Any]:
    command = [python, "-c", READ_DRAWN, json.dumps([str(folder), reader])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def flattened(folder: Path, target: Path) -> Path:
    """Ultralytics itself reads images in folders, datumaro only those that lie side by side."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        parts = path.relative_to(folder).parts
        place = target.joinpath(*parts[:2], "@".join(parts[2:]))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    return target


@pytest.mark.parametrize("name", [name for name in READERS if name != "Segmentation mask 1.1"])
def test_every_image_is_merged_with_what_is_drawn_on_it_and_nothing_else(python, server, tmp_path, name):
    wanted = {}
    ids = []
    for number, (labels, names, subset) in enumerate(zip(LABELS, NAMES, SUBSETS, strict=True)):
        ids.append(str(drawn_task(server, f"drawn {number}", labels, names, subset).id))
        for n, each in enumerate(names):
            box, mask = [[labels[n % 3], 10 + n, 10, 50 - n, 51]], [[labels[(n + 1) % 3]]]
            size = [240, 320 + 2 * n]
            wanted[f"drawn_{number}/{each.rpartition('.')[0]}"] = {"bbox": box, "mask": mask, "size": size}
    done = run(
        python, server, tmp_path, "--task-ids", ",".join(ids), "--include-images", "--dataset-format", name, "--merge"
    )
    assert done.code == 0, done.said
    merged = done.folder / "cvat_merged"
    ultralytics = name.startswith("Ultralytics")
    found = read_drawn(python, READERS[name], flattened(merged, tmp_path / "flat") if ultralytics else merged)
    if ultralytics:
        found = {item.replace("@", "/"): drawn for item, drawn in found.items()}
    assert found.keys() == wanted.keys()
    parts = {"drawn_0": "train", "drawn_1": "val"} if ultralytics else {"drawn_0": "default", "drawn_1": "Validation"}
    parts |= {"drawn_0": "train"} if name.startswith("YOLO") else {}
    for item, drawn in found.items():
        assert drawn["size"] == wanted[item]["size"], item  # it is that picture
        assert drawn["part"] == parts[item.partition("/")[0]]
        box, mask = wanted[item]["bbox"], wanted[item]["mask"]
        if name == "CamVid 1.0":
            labels = [each for each in drawn["mask"] if each != ["background"]]
            assert sorted(labels) == sorted([*mask, box[0][:1]]), item
        elif name == "COCO 1.0":  # areas have boxes, too
            assert [each for each in drawn["bbox"] if each[:1] not in mask] == box, item
        else:
            assert drawn["bbox"] == box, item
        if name == "PASCAL VOC 1.1":
            assert drawn["mask"] == mask, item
    summary = json.loads((merged / "merge.json").read_text())
    assert sorted(summary["images"].values()) == [4, 6]


def test_subsets_with_an_underscore_are_merged_in_voc(python, server, tmp_path):
    task = drawn_task(server, "drawn", LABELS[0], NAMES[0], "my_part")
    arguments = ("--task-ids", str(task.id), "--dataset-format", "PASCAL VOC 1.1", "--merge")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 0, done.said
    assert json.loads((done.folder / "cvat_merged" / "merge.json").read_text())["images"] == {"my_part": 6}
    assert (done.folder / "cvat_merged" / "ImageSets" / "Main" / "my_part.txt").exists()


def test_a_video_is_merged_as_its_frames_in_cvat_for_images(python, server, tmp_path):
    project = server.world.add_project("clips", labels=[{"name": label} for label in LABELS[0]])
    video = server.world.add_task(project, "clip", kind="video", subset="Test")
    draw(server, video, LABELS[0])
    pictures = drawn_task(server, "drawn", LABELS[1], NAMES[1])
    ids = f"{video.id},{pictures.id}"
    arguments = ("--task-ids", ids, "--include-images", "--dataset-format", "CVAT for images 1.1", "--merge")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 0, done.said
    found = read_drawn(python, "cvat", done.folder / "cvat_merged")
    of_video = {item: drawn for item, drawn in found.items() if item.startswith("clip/")}
    assert len(of_video) == video.data.size and len(found) == video.data.size + 4
    assert {drawn["part"] for drawn in of_video.values()} == {"Test"}
    assert of_video["clip/frame_000001"]["bbox"] == [["dog", 11, 10, 49, 51]]


@pytest.mark.parametrize(
    ("name", "names"), [("COCO 1.0", ["a.jpg", "a.png"]), ("Datumaro 1.0", ["x/a.jpg", "x_a.jpg"])]
)
def test_images_that_would_become_one_are_not_merged_at_all(python, server, tmp_path, name, names):
    kept = str(drawn_task(server, "kept", LABELS[0], ["b.jpg"]).id)
    arguments = ("--include-images", "--dataset-format", name, "--merge")
    assert run(python, server, tmp_path, *arguments, "--task-ids", kept).code == 0
    before = (tmp_path / "outputs" / "cvat_merged" / "merge.json").read_text()
    task = drawn_task(server, "alike", LABELS[0], names)
    done = run(python, server, tmp_path, *arguments, "--task-ids", f"{kept},{task.id}")
    assert done.code == 3 and "The merged dataset was not made anew" in done.err, done.said
    assert "take another format" in done.metrics["reason"] and "alike" in done.metrics["reason"]
    assert (tmp_path / "outputs" / "cvat_merged" / "merge.json").read_text() == before


def test_a_task_with_a_shape_that_would_be_lost_is_named(python, server, tmp_path):
    task = drawn_task(server, "round", LABELS[0], ["a.jpg"])
    [job] = server.world.jobs_of(task)
    label = server.world.label_index(job).named("cat")
    shape = {"type": "ellipse", "label_id": label, "frame": 0, "points": [50.0, 50.0, 70.0, 40.0]}
    server.world.put_annotations(job, {"shapes": [shape], "tags": [], "tracks": [], "version": 0})
    arguments = ("--task-ids", str(task.id), "--include-images", "--dataset-format", "CVAT for images 1.1", "--merge")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 3 and not (done.folder / "cvat_merged").exists()
    assert f"cannot read task {task.id} (round): annotations.xml holds a shape that it does not know" in done.err


def test_a_failed_or_missing_task_leaves_the_merged_dataset_as_it_is(python, server, tmp_path):
    tasks = [drawn_task(server, f"drawn {n}", LABELS[0], ["a.jpg"]) for n in range(3)]
    ids = ",".join(str(task.id) for task in tasks)
    none = run(python, server, tmp_path, "--merge", "--task-ids", f"{ids},4711")
    assert none.code == 3 and none.metrics["reason"] == "the merged dataset was not made: 1 of 4 tasks failed"
    assert not (none.folder / "cvat_merged").exists()
    assert run(python, server, tmp_path, "--merge", "--task-ids", ids).code == 0
    before = (none.folder / "cvat_merged" / "merge.json").read_bytes()
    tasks[0].updated_date = server.world.now()
    server.faults.add(Fault(f"POST /api/tasks/{tasks[0].id}/dataset/export", "fail", times=None))
    done = run(python, server, tmp_path, "--merge", "--task-ids", ids)
    assert done.code == 3 and done.metrics["merged_dir"] is None
    assert "The merged dataset was not made anew: 1 of 3 tasks failed" in done.err.splitlines()[-1]
    assert "cvat_merged is still that of an earlier run" in done.err.splitlines()[-1]
    assert (none.folder / "cvat_merged" / "merge.json").read_bytes() == before


def test_what_a_run_left_that_was_killed_at_the_end_of_a_merge_does_not_hinder_the_next(python, server, tmp_path):
    assert run(python, server, tmp_path, "--merge").code == 0
    killed = """
import os, shutil, signal
plain = shutil.rmtree
def rmtree(path, *more, **others):
    if str(path).endswith(".cvat_merged.new") and os.path.exists(path):
        os.kill(os.getpid(), signal.SIGKILL)
    plain(path, *more, **others)
shutil.rmtree = rmtree
"""
    assert run(python, server, tmp_path, "--merge", patch=killed).code == -9
    left = tmp_path / "outputs" / ".cvat_merged.new"  # the old one, as the two were exchanged
    assert left.exists()
    done = run(python, server, tmp_path, "--merge")
    assert done.code == 0, done.said
    assert not left.exists()


STOPS = {
    "while datumaro is at it": """
def forever(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        pass
joining._import = forever
""",
    "and datumaro wraps it": """
plain = joining._import
def wrapped(*of):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        plain(*of)
    except Exception as error:
        raise ValueError("failed to import") from error
joining._import = wrapped
""",
    "when it is in place": """
plain = merging.publish_folder
def publish(*of):
    os.kill(os.getpid(), signal.SIGTERM)
    plain(*of)
merging.publish_folder = publish
""",
}


@pytest.mark.parametrize("when", STOPS)
def test_a_stop_during_the_merge_ends_the_run_as_stopped(python, server, tmp_path, when):
    done = run(python, server, tmp_path, "--merge", patch="import os, signal\n" + STOPS[when])
    assert done.code == 128 + 15, done.said
    assert done.metrics["reason"] == "stopped by a signal"
    assert (done.folder / "cvat_merged").exists() == (when == "when it is in place")
    assert not [path for path in done.folder.iterdir() if path.name.startswith((".cvat_merged", "aside_"))]


def test_a_part_that_ultralytics_does_not_have_is_named_with_what_makes_one(python, server, tmp_path):
    drawn_task(server, "drawn", LABELS[0], ["a.jpg"], "Odd")
    arguments = ("--merge", "--include-images", "--dataset-format", "Ultralytics YOLO Detection 1.0", "--subset", "Odd")
    done = run(python, server, tmp_path, *arguments)
    assert done.code == 3 and "not 'Odd'; --split train=80,val=20 makes such ones" in done.metrics["reason"]
