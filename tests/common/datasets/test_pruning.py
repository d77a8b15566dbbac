"""What belongs to deleted frames goes, all else stays: a leaking export becomes the one that does not leak."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from common.datasets.cutting import NotSound
from common.datasets.frames import DeletedFrames, NotFrames, deleted_frames
from common.datasets.pruning import prune, pruner_of
from sandbox.cvat.samples import TRAFFIC, traffic_annotations
from tests.common.datasets.exported import (
    FORMATS,
    NAMES,
    annotations_in,
    awkward_task,
    deleted_of,
    export,
    tree,
)

HEADS = ("obj.data", "data.yaml")


@pytest.fixture
def server(sandbox):
    return sandbox()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("subset", ["", "Train"])
@pytest.mark.parametrize("gone", [{0}, {1, 4}, {len(NAMES) - 1}, set(range(len(NAMES)))], ids=str)
def test_a_leaking_export_becomes_the_one_that_does_not_leak_and_the_counts_are_exact(
    server, tmp_path, name, subset, gone
):
    task = awkward_task(server, subset=subset)
    before = export(server, task, name, tmp_path / "before", leak=True)
    server.world.set_deleted_frames(task, gone)
    leaking = export(server, task, name, tmp_path / "leaking", leak=True)
    assert len(tree(leaking)) == len(tree(before))
    clean = export(server, task, name, tmp_path / "clean", leak=False)
    wanted = annotations_in(leaking, name) - annotations_in(clean, name)

    done = prune(leaking, name, deleted_of(server, task))

    assert done is not None
    left, right = tree(leaking), tree(clean)
    if len(gone) == len(NAMES):  # an export without any frame has no lists at all, and no head that names them
        left = {path: content for path, content in left.items() if path in right and path not in HEADS}
        right = {path: content for path, content in right.items() if path not in HEADS}
        assert not any(each.endswith(".jpg") for each in tree(leaking))
    assert left == right
    assert (done.images, done.annotations) == (len(gone), wanted)


@pytest.mark.parametrize("name", FORMATS)
def test_without_deleted_frames_nothing_is_touched(server, tmp_path, name):
    task = awkward_task(server)
    folder = export(server, task, name, tmp_path / "x", leak=False)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    done = prune(folder, name, deleted_of(server, task))
    assert done is not None and (done.images, done.annotations, done.notes) == (0, 0, [])
    assert before == {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def test_a_clean_export_of_a_task_with_deleted_frames_counts_nothing(server, tmp_path):
    task = awkward_task(server)
    server.world.set_deleted_frames(task, {0, 2})
    for number, name in enumerate(FORMATS):
        folder = export(server, task, name, tmp_path / str(number), leak=False)
        before = tree(folder)
        done = prune(folder, name, deleted_of(server, task))
        assert done is not None and (done.images, done.annotations) == (0, 0), name
        assert tree(folder) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_deleted_image_never_takes_a_living_one_with_the_same_stem_along(server, tmp_path):
    task = awkward_task(server, names=("one.jpg", "one.png", "two.jpg"))
    server.world.set_deleted_frames(task, {0, 2})
    deleted = deleted_of(server, task)
    assert deleted.shared_stems == {"one"}
    coco = export(server, task, "COCO 1.0", tmp_path / "coco", leak=True)
    prune(coco, "COCO 1.0", deleted)
    [document] = [json.loads(path.read_text()) for path in coco.rglob("*.json")]
    assert [image["file_name"] for image in document["images"]] == ["one.png"]
    assert sorted(path.name for path in coco.rglob("*.*g")) == ["one.png"]
    yolo = export(server, task, "YOLO 1.1", tmp_path / "yolo", leak=True)
    done = prune(yolo, "YOLO 1.1", deleted)
    assert sorted(path.name for path in yolo.rglob("obj_train_data/*")) == ["one.png", "one.txt"]
    assert done is not None and done.notes == [
        "1 deleted image has the same name as a living one but for the ending: what does not name the ending was left as it is"
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", FORMATS)
def test_deleted_images_that_differ_in_their_ending_only_are_all_counted(server, tmp_path, name):
    task = awkward_task(server, names=("one.jpg", "one.png", "two.jpg", "two.png", "zoo.jpg"))
    server.world.set_deleted_frames(task, {0, 1, 2})
    done = prune(export(server, task, name, tmp_path / "x", leak=True), name, deleted_of(server, task))
    assert done is not None and done.images == 3
    # What is told apart by its ending leaves nothing undecided.
    assert bool(done.notes) == (name not in ("COCO 1.0", "Datumaro 1.0", "CVAT for images 1.1"))


def test_positions_on_deleted_images_that_differ_in_their_ending_only_are_of_two_images(tmp_path):
    (tmp_path / "annotations.xml").write_text(f"<annotations>{track((0, False), (1, False), (2, True))}</annotations>")
    (tmp_path / "images").mkdir()
    for name in ("one.jpg", "one.png", "two.jpg"):
        (tmp_path / "images" / name).touch()
    meta = {"size": 3, "start_frame": 0, "frames": [{"name": name} for name in ("one.jpg", "one.png", "two.jpg")]}
    done = prune(tmp_path, "CVAT for video 1.1", read(meta | {"deleted_frames": [0, 1]}))
    assert done is not None and (done.images, done.annotations) == (2, 2)


def read(meta: dict[str, Any], *, is_video: bool = False) -> DeletedFrames:
    return deleted_frames(io.BytesIO(json.dumps(meta).encode()), is_video=is_video)


@pytest.mark.parametrize("is_video", [False, True])
@pytest.mark.parametrize(
    ("deleted", "said"),
    [
        (["0"], "not named by whole numbers"),
        ([None], "not named by whole numbers"),
        ([True], "not named by whole numbers"),
        ([0.5], "not named by whole numbers"),
        ([{"frame": 0}], "not named by whole numbers"),
        ([0, 2], "it has 2, numbered from 0, and number 2 is to be deleted"),
        ([-1], "number -1 is to be deleted"),
        (None, "does not say which are deleted"),
    ],
    ids=str,
)
def test_an_answer_that_does_not_say_which_frames_are_deleted_is_no_answer(is_video, deleted, said):
    meta = {"size": 2, "start_frame": 0, "frames": [{"name": "a.jpg"}, {"name": "b.jpg"}], "deleted_frames": deleted}
    with pytest.raises(NotFrames, match=said) as caught:
        read(meta, is_video=is_video)
    assert "--check-image-exists false" in caught.value.remedy


def test_a_deleted_frame_without_a_name_is_no_answer():
    with pytest.raises(NotFrames, match="deleted frame 1 has no name"):
        read({"size": 2, "frames": [{"name": "a.jpg"}, {"name": None}], "deleted_frames": [1]})


def test_formats_that_are_not_known_are_named_as_such():
    assert pruner_of("LabelMe 3.0") is None
    assert pruner_of("Ultralytics YOLO Classification 1.0") is None
    assert pruner_of("coco 1.0") is not None


def test_a_file_that_is_no_json_is_a_failure_and_not_a_guess(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_default.json").write_text('{"images": [{"id": 1, ')
    with pytest.raises(NotSound, match=r"instances_default.json is not complete JSON"):
        prune(tmp_path, "COCO 1.0", DeletedFrames(frozenset({"a.jpg"}), frozenset({"a"}), frozenset(), {0: "a"}))


def track(*keyframes: tuple[int, bool]) -> str:
    boxes = "".join(f'\n    <box frame="{f}" keyframe="1" outside="{int(o)}" xtl="1"/>' for f, o in keyframes)
    return f'\n  <track id="0" label="car">{boxes}\n  </track>'


@pytest.mark.parametrize(
    ("keyframes", "left", "annotations", "kept"),
    [
        # A track that is seen on the deleted frame only: all of it goes.
        ([(3, False), (4, True)], None, 1, 0),
        # Frames 4 to 9 are computed from the keyframe on the deleted frame 3: it stays.
        ([(3, False), (10, True)], [3, 10], 0, 1),
        # Neighbours on both sides: nobody depends on it.
        ([(2, False), (3, False), (4, False)], [2, 4], 1, 0),
        # An end on a deleted frame is no annotation.
        ([(1, False), (3, True)], [1, 3], 0, 0),
        # Without an end the last keyframe goes on to the last frame.
        ([(3, False)], [3], 0, 1),
        ([(2, False), (9, False)], [2, 9], 0, 0),
    ],
)
def test_keyframes_on_deleted_frames_go_unless_living_frames_depend_on_them(
    tmp_path, keyframes, left, annotations, kept
):
    text = f'<?xml version="1.0"?>\n<annotations>{track(*keyframes)}{track((5, False), (6, True))}\n</annotations>\n'
    (tmp_path / "annotations.xml").write_text(text)
    deleted = DeletedFrames(frozenset(), frozenset(), frozenset(), {3: "frame_000003"}, first=0, last=20, step=1)
    done = prune(tmp_path, "CVAT for video 1.1", deleted)
    assert done is not None and done.annotations == annotations
    assert bool(done.notes) == bool(kept)
    wanted = (track(*((f, o) for f, o in keyframes if f in left)) if left else "") + track((5, False), (6, True))
    assert (
        tmp_path / "annotations.xml"
    ).read_text() == f'<?xml version="1.0"?>\n<annotations>{wanted}\n</annotations>\n'


def test_frames_of_a_cut_video_are_counted_in_the_numbers_of_the_video(sandbox, tmp_path):
    deleted = DeletedFrames(frozenset(), frozenset(), frozenset(), {11: "frame_000011"}, first=5, last=29, step=3)
    assert not deleted.living_between(8, 14)
    assert deleted.living_between(8, 15) and deleted.living_between(4, 8)
    assert not deleted.living_between(29, 40)


@pytest.mark.parametrize("name", ["PASCAL VOC 1.1", "CamVid 1.0", "Segmentation mask 1.1"])
def test_names_with_quotes_and_blanks_leave_the_lists_too(server, tmp_path, name):
    names = ['"q".jpg', 'ü "q".jpg', "q.jpg", "a 1.jpg", "a.jpg", '"b c".jpg']
    task = awkward_task(server, names=names)
    server.world.set_deleted_frames(task, {0, 1, 3, 5})
    leaking = export(server, task, name, tmp_path / "leaking", leak=True)
    clean = export(server, task, name, tmp_path / "clean", leak=False)
    assert tree(leaking) != tree(clean)
    prune(leaking, name, deleted_of(server, task))
    assert tree(leaking) == tree(clean)


@pytest.mark.parametrize("name", FORMATS)
def test_deleted_frames_of_a_cut_video_leave_every_format(server, tmp_path, name):
    project = server.world.add_project("clips", labels=TRAFFIC)
    task = server.world.add_empty_task("cut", project)
    server.world.attach_files(task, server.world.media.video(), kind="video", start_frame=4, frame_filter="step=3")
    traffic_annotations(server.world, server.world.jobs_of(task)[0])
    server.world.set_deleted_frames(task, {0, 2})
    leaking = export(server, task, name, tmp_path / "leaking", leak=True)
    clean = export(server, task, name, tmp_path / "clean", leak=False)
    done = prune(leaking, name, deleted_of(server, task))
    assert done is not None and done.images == 2
    assert tree(leaking) == tree(clean)
