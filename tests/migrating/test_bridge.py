"""cvat-to-sc and sc-to-cvat, between a played CVAT and played SC and Geti servers."""

from __future__ import annotations

import zipfile
from collections import Counter
from typing import Any

import pytest
from running import add_project

from sandbox.cvat import archive
from sandbox.cvat.samples import PERSON, person_annotations

from .bridged import BOXES, box, drawn_in, project_of, shapes_in


@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_boxes_become_a_detection_project_and_come_back_as_they_were(sc, cvat, command, capsys, generation):
    project_of(cvat, "Street", BOXES, {"shapes": [box(0), box(0, "dog"), box(2)]}, frames=3)
    server = sc(generation, samples="none")
    assert command(server, cvat, "cvat-to-sc", "Street") == 0
    assert "All good" in capsys.readouterr().err
    assert shapes_in(server, "Street") == {
        ("frame_0000", "car", "RECTANGLE"): 1, ("frame_0000", "dog", "RECTANGLE"): 1, ("frame_0002", "car", "RECTANGLE"): 1,
    }  # fmt: skip
    [project] = server.world.projects.values()
    assert {label.name: label.color[:7] for label in project.trainable[0].labels if not label.is_empty} == {
        "car": "#2080c0", "dog": "#ff0000",
    }  # fmt: skip
    assert len(project.datasets[0].media) == 3
    assert command(server, cvat, "sc-to-cvat", "Street", "--name", "Street again") == 0
    back, before = drawn_in(cvat, "Street again"), drawn_in(cvat, "Street")
    assert [(row["frame"], row["label"], row["points"]) for row in back] == [
        (row["frame"], row["label"], row["points"]) for row in before
    ]


def test_a_second_run_makes_nothing_twice_in_either_direction(sc, cvat, command, capsys):
    project_of(cvat, "Street", BOXES, {"shapes": [box(0)]}, frames=2)
    server = sc(samples="none")
    for _ in range(2):
        assert command(server, cvat, "cvat-to-sc", "Street") == 0
    assert [len(each.datasets[0].media) for each in server.world.projects.values()] == [2]
    for _ in range(2):
        assert command(server, cvat, "sc-to-cvat", "Street", "--name", "Back") == 0
    assert [each.name for each in cvat.world.projects.values()].count("Back") == 1
    assert "nothing was sent again" in capsys.readouterr().out


def test_every_shape_has_its_counterpart_and_what_has_none_is_counted(sc, cvat, command, capsys):
    add_project(cvat, "Everything", frames=3)
    server = sc(samples="none")
    code = command(server, cvat, "cvat-to-sc", "Everything")
    said = capsys.readouterr()
    assert code == 0, said.err
    kinds = Counter(kind for _, _, kind in shapes_in(server, "Everything").elements())
    # The turned box, the turned ellipse, the mask and the road are outlines.
    assert kinds["POLYGON"] >= 3 and kinds["RECTANGLE"] >= 2, kinds
    for sentence in ("a polyline has no counterpart", "a points has no counterpart", "a tag has no place",
                     "an ellipse that is turned became a polygon", "a value of an attribute has no counterpart"):  # fmt: skip
        assert sentence in said.out, said.out


def test_a_track_shows_on_every_frame_of_a_video_until_it_leaves_the_picture(sc, cvat, command, capsys):
    def key(frame: int, left: float, **more: Any) -> dict:
        return {"type": "rectangle", "frame": frame, "points": [left, 20.0, left + 30, 60.0], **more}

    track = {"label": "car", "frame": 0, "shapes": [key(0, 10.0), key(4, 18.0), key(6, 20.0, outside=True)]}
    project_of(cvat, "Film", BOXES, {"tracks": [track]}, kind="video")
    server = sc(samples="none")
    assert command(server, cvat, "cvat-to-sc", "Film") == 0
    assert "that they are one object has no counterpart" in capsys.readouterr().out
    [project] = server.world.projects.values()
    [media] = project.datasets[0].media.values()
    lefts = {frame: scene.annotations[0]["shape"]["x"] for frame, scene in media.scenes.items()}
    assert lefts == {0: 10, 1: 12, 2: 14, 3: 16, 4: 18, 5: 18}
    assert command(server, cvat, "sc-to-cvat", "Film", "--name", "Film again") == 0
    back = sorted((row["frame"], row["points"][0]) for row in drawn_in(cvat, "Film again"))
    assert back == [(0, 10), (1, 12), (2, 14), (3, 16), (4, 18), (5, 18)]


def test_turned_boxes_keep_their_angle_both_ways(sc, cvat, command):
    project_of(cvat, "Ships", BOXES, {"shapes": [box(0, rotation=30.0), box(1)]}, frames=2)
    server = sc(samples="none")
    assert command(server, cvat, "cvat-to-sc", "Ships") == 0
    assert {kind for _, _, kind in shapes_in(server, "Ships")} == {"ROTATED_RECTANGLE"}
    assert command(server, cvat, "sc-to-cvat", "Ships", "--name", "Back") == 0
    back = {row["frame"]: row for row in drawn_in(cvat, "Back")}
    assert back[0]["rotation"] == pytest.approx(30) and back[0]["points"] == pytest.approx([10, 20, 50, 60])


def test_outlines_ellipses_and_masks_become_instance_segmentation(sc, cvat, command):
    shapes = [
        {"type": "polygon", "label": "dog", "frame": 0, "points": [10.0, 10.0, 60.0, 10.0, 40.0, 50.0]},
        {"type": "ellipse", "label": "dog", "frame": 0, "points": [100.0, 100.0, 140.0, 80.0]},
        {"type": "mask", "label": "dog", "frame": 0, "points": [3.0, 4.0, 5.0, 3.0, 3.0, 10.0, 10.0, 15.0, 12.0]},
    ]
    project_of(cvat, "Dogs", BOXES, {"shapes": shapes}, frames=1)
    server = sc(samples="none")
    assert command(server, cvat, "cvat-to-sc", "Dogs") == 0
    assert Counter(kind for _, _, kind in shapes_in(server, "Dogs").elements()) == {"POLYGON": 3, "ELLIPSE": 1}
    assert command(server, cvat, "sc-to-cvat", "Dogs", "--name", "Back") == 0
    back = drawn_in(cvat, "Back")
    assert [row["points"] for row in back if row["type"] == "ellipse"] == [[100, 100, 140, 80]]
    assert [10, 10, 60, 10, 40, 50] in [row["points"] for row in back]


def test_tags_become_classes_also_several_on_one_image(sc, cvat, command):
    labels = [{"name": name, "type": "tag", "color": "#112233"} for name in ("night", "rain")]
    tags = [{"label": "night", "frame": 0}, {"label": "rain", "frame": 0}, {"label": "rain", "frame": 1}]
    project_of(cvat, "Weather", labels, {"tags": tags}, frames=2)
    server = sc(samples="none")
    assert command(server, cvat, "cvat-to-sc", "Weather") == 0
    assert shapes_in(server, "Weather") == {
        ("frame_0000", "night,rain", "RECTANGLE"): 1, ("frame_0001", "rain", "RECTANGLE"): 1,
    }  # fmt: skip
    assert command(server, cvat, "sc-to-cvat", "Weather", "--name", "Back") == 0
    assert sorted((row["frame"], row["label"], row["type"]) for row in drawn_in(cvat, "Back")) == [
        (0, "night", "tag"), (0, "rain", "tag"), (1, "rain", "tag"),
    ]  # fmt: skip


def test_skeletons_become_keypoints_and_skeletons_again(sc, cvat, command):
    project = cvat.world.add_project("People", labels=[PERSON])
    task = cvat.world.add_task(project, "People", frames=2)
    person_annotations(cvat.world, cvat.world.jobs[task.job_ids[0]])
    server = sc(samples="none")
    assert command(server, cvat, "cvat-to-sc", "People") == 0
    assert Counter(label for _, label, kind in shapes_in(server, "People").elements() if kind == "KEYPOINT") == {
        "head": 2, "body": 2, "car": 2,
    }  # fmt: skip
    assert command(server, cvat, "sc-to-cvat", "People", "--name", "Back") == 0
    back = drawn_in(cvat, "Back")
    assert {row["label"] for row in back} == {"person"} and len(back) == 2
    parts = {each["label"]: each for each in back[0]["elements"]}
    assert parts["head"]["points"] == [100, 40] and parts["car"]["occluded"]


def test_a_backup_file_is_read_without_cvat_and_one_is_written_without_it(sc, cvat, command, tmp_path, monkeypatch):
    project = project_of(cvat, "Street", BOXES, {"shapes": [box(0)]}, frames=2)
    file = tmp_path / "street.zip"
    archive.write_project(cvat.world, project.id, file)
    server = sc(samples="none")
    assert command(server, None, "cvat-to-sc", file, "--name", "From a file") == 0
    assert shapes_in(server, "From a file") == {("frame_0000", "car", "RECTANGLE"): 1}
    assert command(server, None, "download", "From a file") == 0
    [folder] = (tmp_path / "sc-projects").glob("*_From a file")
    assert command(None, None, "sc-to-cvat", folder, "--into", tmp_path / "made") == 0
    [made] = (tmp_path / "made").glob("*.zip")
    with zipfile.ZipFile(made) as opened:
        names = opened.namelist()
    assert {"project.json", "task_0/task.json", "task_0/annotations.json", "task_0/data/frame_0000.jpg"} <= set(names)


def test_what_a_played_geti_holds_arrives_in_cvat_and_gaps_are_told(sc, cvat, command, capsys):
    server = sc()
    for project in list(server.world.projects.values()):
        code = command(server, cvat, "sc-to-cvat", project.id, "--name", f"{project.id} copy")
        said = capsys.readouterr()
        assert code == 0, said.out + said.err
        [copy] = [each for each in cvat.world.projects.values() if each.name == f"{project.id} copy"]
        media = [one for dataset in project.datasets for one in dataset.media.values()]
        tasks = cvat.world.tasks_of(copy)
        images = sum(len(task.data.files) for task in tasks if task.data.kind == "images")
        assert images == sum(one.kind == "image" for one in media)
        assert sum(task.data.kind == "video" for task in tasks) == sum(one.kind == "video" for one in media)
        annotated = sum(bool(scene.annotations) for one in media for scene in one.scenes.values())
        jobs = [cvat.world.jobs[job].annotations.as_json() for task in tasks for job in task.job_ids]
        frames = [{row["frame"] for kind in ("tags", "shapes") for row in job[kind]} for job in jobs]
        assert sum(len(each) for each in frames) == annotated


def test_an_unknown_project_a_name_that_is_taken_and_missing_settings_are_refused(sc, cvat, command, capsys, tmp_path):
    server = sc(samples="none")
    assert command(server, None, "cvat-to-sc", "Street") == 2
    assert "CVAT_URL is not set" in capsys.readouterr().err
    assert command(server, cvat, "cvat-to-sc", "Nobody") == 2
    assert "no project 'Nobody'" in capsys.readouterr().err
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"no archive at all, of any kind")
    assert command(server, None, "cvat-to-sc", broken) == 1
    assert "cannot be read as a backup of CVAT" in capsys.readouterr().out
    project_of(cvat, "Street", BOXES, {"shapes": [box(0)]}, frames=1)
    assert command(server, cvat, "cvat-to-sc", "Street") == 0
    assert command(server, cvat, "sc-to-cvat", "Street") == 1  # CVAT has one of that name: the source itself
    assert "Choose another --name" in capsys.readouterr().out
