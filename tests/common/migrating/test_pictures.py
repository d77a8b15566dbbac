"""What the tasks of a project make of the shapes of a dataset."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.migrating.pictures import (
    Figure,
    Keypoints,
    Picture,
    annotations_of,
    outline,
    plan_for,
    shape_for,
    smallest_rotated,
)

BOX = Figure("rectangle", "dog", (10, 20, 40, 30), group=1)
OUTLINE = Figure("polygon", "dog", (10, 20, 50, 20, 50, 50), group=1)


def made(project_type: str, *figures: Figure, labels: str = "", keypoints: Keypoints | None = None):
    plan = plan_for(project_type, ["dog", "cat"], labels, keypoints)
    return annotations_of(Picture(Path("x.jpg"), "x", figures), plan, 200, 100)


@pytest.mark.parametrize(
    ("project_type", "types"),
    [("detection", ["RECTANGLE"]), ("segmentation", ["POLYGON"]), ("instance_segmentation", ["POLYGON"]),
     ("rotated_detection", ["ROTATED_RECTANGLE"]), ("detection_to_segmentation", ["RECTANGLE", "POLYGON"])],
)  # fmt: skip
def test_an_object_with_a_box_and_an_outline_is_one_object_of_the_kind_that_the_task_has(project_type, types):
    found, lost = made(project_type, BOX, OUTLINE)
    assert [each["shape"]["type"] for each in found] == types and not lost


def test_an_image_of_two_classes_is_none_of_a_classification_project_and_that_is_said():
    found, lost = made("classification", BOX, Figure("tag", "cat"))
    assert found == [] and "several" in lost[0]
    found, _ = made("classification", BOX, OUTLINE)
    assert found[0]["shape"] == {"type": "RECTANGLE", "x": 0, "y": 0, "width": 200, "height": 100}


def test_one_anomaly_makes_an_image_anomalous():
    found, _ = made("anomaly", BOX, Figure("tag", "cat"), labels="dog;cat")
    assert [each["labels"][0]["name"] for each in found] == ["Anomalous"]


def test_both_labels_of_a_chain_to_classification_stand_on_one_shape():
    found, _ = made("detection_to_classification", BOX, labels="animal;dog")
    assert found[0]["labels"] == [{"task": 0, "name": "animal"}, {"task": 1, "name": "dog"}]


def test_keypoints_of_one_skeleton_are_carried_and_two_are_too_many():
    keypoints = Keypoints(("head", "tail"), ((0, 1),))
    one = Figure("points", "dog", (1, 2, 3, 4), (True, False))
    found, _ = made("keypoint", one, labels="dog", keypoints=keypoints)
    assert [each["shape"]["is_visible"] for each in found] == [True, False]
    assert "several skeletons" in made("keypoint", one, one, labels="dog", keypoints=keypoints)[1][0]


@pytest.mark.parametrize("labels", ["mouse", "dog;dog", "animal;mouse"])
def test_labels_that_cannot_be_are_refused(labels):
    with pytest.raises(ValueError, match=r"no label|both tasks"):
        plan_for("detection_to_segmentation" if ";" in labels else "detection", ["dog", "cat"], labels)


@given(st.floats(20, 80), st.floats(20, 80), st.floats(5, 15), st.floats(5, 15), st.floats(0, 360))
def test_the_smallest_rotated_rectangle_around_one_is_that_one(x, y, w, h, angle):
    corners = outline(Figure("rotated", "dog", (x, y, w, h, angle)))
    cx, cy, cw, ch, _ = smallest_rotated(corners)
    assert math.isclose(cx, x, abs_tol=1e-6) and math.isclose(cy, y, abs_tol=1e-6)
    assert math.isclose(cw * ch, w * h, rel_tol=1e-6)


@given(st.lists(st.tuples(st.integers(-50, 300), st.integers(-50, 200)), min_size=3, max_size=9))
def test_boxes_stay_inside_the_image_and_a_pixel_wide(points):
    figure = Figure("polygon", "dog", tuple(float(value) for point in points for value in point))
    box = shape_for(figure, "detection", (200, 100))
    assert box["x"] >= 0 and box["x"] + box["width"] <= 200 and box["width"] >= 1
    assert box["y"] >= 0 and box["y"] + box["height"] <= 100 and box["height"] >= 1


@pytest.mark.parametrize(
    "project_type", ["detection", "instance_segmentation", "rotated_detection", "detection_to_classification"]
)
def test_a_shape_of_which_nothing_lies_in_its_picture_is_left_out_and_counted(project_type):
    outside = (
        Figure("rectangle", "dog", (500, 20, 40, 30), group=7),
        Figure("polygon", "dog", (500, 20, 540, 20, 540, 50), group=7),
        Figure("rectangle", "dog", (-40, 20, 40, 30)),
        Figure("rectangle", "dog", (10, 100, 40, 30)),
        Figure("rectangle", "dog", (float("nan"), 20, 40, 30)),
    )
    labels = "animal;dog,cat" if "_to_" in project_type else ""
    partly = Figure("rectangle", "dog", (190, 90, 40, 30))
    found, lost = made(project_type, *outside, BOX, partly, labels=labels)
    assert len(found) == 2 and lost == ["a shape that lies wholly outside of its picture"] * 4


def test_the_class_of_an_image_may_come_from_any_shape():
    found, lost = made("classification", Figure("rectangle", "dog", (500, 20, 40, 30)))
    assert len(found) == 1 and not lost
