"""Coordinates between generations: exact both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.sc.shapes import converted, is_whole_image, look_normalised, same, to_fractions, to_pixels

SIDE = st.integers(32, 20_000)


@given(SIDE, SIDE, st.data())
def test_whole_pixels_survive_fractions_and_back(width, height, data):
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = {"type": "RECTANGLE", "x": x, "y": y, "width": width - x, "height": height - y}
    turned = {"type": "ROTATED_RECTANGLE", "x": x, "y": y, "width": 1, "height": height, "angle": 37.5}
    outline = {"type": "POLYGON", "points": [{"x": x, "y": y}, {"x": 0, "y": height}, {"x": width, "y": 0}]}
    point = {"type": "KEYPOINT", "x": x, "y": y, "is_visible": False}
    for shape in (box, turned, outline, point):
        assert to_pixels(to_fractions(shape, width, height), width, height) == shape


@given(SIDE, SIDE)
def test_the_whole_image_is_the_whole_image_in_both(width, height):
    pixels = {"type": "RECTANGLE", "x": 0, "y": 0, "width": width, "height": height}
    fractions = to_fractions(pixels, width, height)
    assert fractions == {"type": "RECTANGLE", "x": 0, "y": 0, "width": 1, "height": 1}
    assert is_whole_image(pixels, width, height, normalised=False)
    assert is_whole_image(fractions, width, height, normalised=True)


def test_a_size_that_nobody_knows_is_no_size():
    with pytest.raises(ValueError, match="size of the image is unknown"):
        converted({"type": "RECTANGLE", "x": 0.5}, 0, 0, from_normalised=True, to_normalised=False)
    assert converted({"x": 0.5}, 0, 0, from_normalised=True, to_normalised=True) == {"x": 0.5}


@given(SIDE, SIDE, st.lists(st.tuples(st.integers(2, 30), st.integers(2, 30)), min_size=1))
def test_fractions_and_pixels_are_told_apart_by_their_numbers(width, height, places):
    pixels = [{"type": "RECTANGLE", "x": x, "y": y, "width": 2, "height": 2} for x, y in places]
    assert look_normalised(pixels) is False
    assert look_normalised([to_fractions(each, width, height) for each in pixels]) is True


def test_shapes_are_the_same_up_to_the_rounding_of_servers():
    box = {"type": "RECTANGLE", "x": 1.4, "y": 2, "width": 3, "height": 4}
    assert same(box, {**box, "x": 1}, 0.500001)
    assert not same(box, {**box, "x": 2}, 0.500001)
    assert not same(box, {**box, "type": "ELLIPSE"}, 1)
    points = {"type": "POLYGON", "points": [{"x": 1, "y": 1}]}
    assert not same(points, {"type": "POLYGON", "points": []}, 1)
