"""Coordinates: what nobody moved keeps the number it had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.fiftyone.geometry import ellipse, mask_rows, moved_box, moved_points, new_box, rows_box, same_shape
from common.fiftyone.naming import label_id
from common.fiftyone.schema import fields_of
from common.fiftyone.things import Thing, Track, expand, linear

SIZE = (320, 240)
share = st.floats(0, 1)
SEND = {0: 320, 1: 240}


def sent(points: list[list[float]]) -> list[float]:
    return [float(round(one * SEND[place])) for point in points for place, one in enumerate(point)]


def runs(array: list[list[int]], left: int, top: int) -> list[float]:
    flat = [one for row in array for one in row]
    told, value = [0], 0
    for one in flat:
        if one != value:
            told.append(0)
            value = one
        told[-1] += 1
    return [float(one) for one in [*told, left, top, left + len(array[0]) - 1, top + len(array) - 1]]


arrays = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=1, max_size=6)
)


@given(share, share, share, share, st.integers(0, 3), st.integers(1, 50))
def test_an_edge_that_moved_moves_alone(x: float, y: float, width: float, height: float, edge: int, by: int) -> None:
    before = sent([[x, y], [x + width, y + height]])
    now = list(before)
    now[edge] += by
    told = moved_box([x, y, width, height], tuple(before), tuple(now), SIZE)  # type: ignore[arg-type]
    edges = [told[0], told[1], told[0] + told[2], told[1] + told[3]]
    expected = [x, y, x + width, y + height]
    expected[edge] = now[edge] / SEND[edge % 2]
    assert edges == pytest.approx(expected, abs=1e-12)
    other = 1 - edge % 2
    assert (told[other], told[other + 2]) == ([x, y][other], [width, height][other])  # to the bit


@given(st.lists(st.lists(share, min_size=2, max_size=2), min_size=1, max_size=8), st.data())
def test_a_point_that_moved_moves_alone(original: list[list[float]], data: st.DataObject) -> None:
    before = sent(original)
    place = data.draw(st.integers(0, len(original) - 1))
    now = list(before)
    now[2 * place] += 5
    told, kept = moved_points(original, before, now, SIZE)
    assert told == [*original[:place], [now[2 * place] / 320, now[2 * place + 1] / 240], *original[place + 1 :]]
    assert kept == list(range(len(original)))


def test_points_that_were_added_and_removed_leave_the_others() -> None:
    original = [[0.1003, 0.1], [0.5, 0.5001], [0.9, 0.9]]
    before = sent(original)
    told, kept = moved_points(original, before, [*before[:2], 1.0, 2.0, *before[4:], 3.0, 4.0], SIZE)
    assert told == [original[0], [1 / 320, 2 / 240], original[2], [3 / 320, 4 / 240]] and kept == [0, None, 2, None]


@given(arrays, st.integers(0, 20), st.integers(0, 20))
def test_rows_of_a_mask_are_its_pixels(array: list[list[int]], left: int, top: int) -> None:
    rows = mask_rows(runs(array, left, top))
    pixels = {(y, x) for y, start, stop in rows for x in range(start, stop)}
    assert pixels == {(top + y, left + x) for y, row in enumerate(array) for x, one in enumerate(row) if one}


@given(arrays, st.integers(1, 3))
def test_a_mask_in_a_wider_box_is_the_same_mask(array: list[list[int]], margin: int) -> None:
    wider = [[0] * margin + row + [0] * margin for row in array]
    empty = [[0] * len(wider[0])]
    first, second = runs(array, 10, 10), runs([*empty, *wider], 10 - margin, 9)
    assert same_shape("mask", first, "mask", second)


def test_malformed_runs_are_cut_off() -> None:
    assert mask_rows([0, 1000, 0, 0, 1, 1]) == [(0, 0, 2), (1, 0, 2)]
    assert mask_rows([5, 5, 3, 3, 1, 1]) == []
    assert rows_box([]) is None


def test_a_box_of_one_pixel_is_one_pixel_wide() -> None:
    box = rows_box(mask_rows([0, 1, 7, 8, 7, 8]))
    assert box == (7, 8, 8, 9) and new_box(box, SIZE)[2] == 1 / 320


def test_an_ellipse_reaches_its_axes() -> None:
    flat = ellipse([100, 100, 140, 80], 0)
    assert (min(flat[::2]), max(flat[::2])) == (60, 140) and (min(flat[1::2]), max(flat[1::2])) == (80, 120)
    turned = ellipse([100, 100, 140, 80], 90)
    assert max(turned[::2]) == pytest.approx(120) and max(turned[1::2]) == pytest.approx(140)


def test_a_track_is_seen_from_key_to_key_and_not_outside() -> None:
    def key(frame: int, x: float, outside: bool = False, rotation: float = 0) -> Thing:
        return Thing("track", 1, frame, "car", "rectangle", (x, 0, x, 0), rotation, outside=outside)

    keys = (key(0, 0, rotation=350), key(2, 4, rotation=10), key(3, 4, outside=True), key(5, 9))
    seen = expand(Track(1, keys), 7, linear)
    assert {frame: things[0].points[0] for frame, things in seen.items()} == {0: 0, 1: 2, 2: 4, 5: 9, 6: 9, 7: 9}
    assert seen[1][0].rotation == 0 and [seen[frame][0].keyframe for frame in (0, 1, 6)] == [True, False, False]


def test_ids_are_those_of_fiftyone_and_the_same_each_time() -> None:
    name = label_id("https://cvat.example.com/", 7, "shape", 12, 3)
    assert len(name) == 24 and int(name, 16) and name == label_id("https://cvat.example.com", 7, "shape", 12, 3)
    others = {label_id("https://cvat.example.com", 7, "track", 12, frame) for frame in range(5)}
    assert len(others | {name}) == 6


def test_types_nobody_supports_are_refused() -> None:
    with pytest.raises(ValueError, match="'cuboids', which is not supported"):
        fields_of({"f": {"type": "cuboids"}}, {})
