"""CVAT's shapes as figures: masks, turned ellipses, tracks."""

from __future__ import annotations

from collections import Counter

import pytest

from common.migrating.cvat_shapes import MOST_POINTS, cvat_shape, figures_of, mask_outlines, shapes_of_track


def mask(*lines: str) -> list[float]:
    """A drawing ("#" is on) as CVAT's runs with the box 10, 20."""
    runs, on = [0.0], False
    for letter in "".join(lines):
        if (letter == "#") != on:
            on = not on
            runs.append(0.0)
        runs[-1] += 1
    return [*runs, 10, 20, 10 + len(lines[0]) - 1, 20 + len(lines) - 1]


def area(corners: list[tuple[float, float]]) -> float:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, [*corners[1:], corners[0]], strict=True)) / 2


@pytest.mark.parametrize(
    ("drawing", "areas", "holes"),
    [
        (("##", "##"), [4], 0),
        (("#.", ".#"), [1, 1], 0),
        ((".#", "#."), [1, 1], 0),
        (("###", "#.#", "###"), [9], 1),
        (("#.#", "###"), [5], 0),
        (("..", ".."), [], 0),
        (("####", "#..#", "#.##", "####"), [16], 1),
    ],
)
def test_a_mask_is_outlined_along_its_pixels(drawing, areas, holes):
    outer, found = mask_outlines(mask(*drawing))
    assert sorted(area(each) for each in outer) == areas and found == holes


def test_the_outline_of_a_box_has_its_four_corners_only():
    [corners] = mask_outlines(mask("###", "###"))[0]
    assert sorted(corners) == [(10, 20), (10, 22), (13, 20), (13, 22)]


def test_an_outline_with_too_many_points_is_thinned_out_and_that_is_counted():
    lost: Counter[str] = Counter()
    row = {"type": "polygon", "label": "a", "points": [float(at % 97) for at in range(4 * MOST_POINTS)]}
    [figure] = figures_of(row, [], lost)
    assert len(figure.values) == 2 * MOST_POINTS and sum(lost.values()) == 1


def test_an_ellipse_turned_by_a_right_angle_has_its_corners_there():
    row = {"type": "ellipse", "label": "a", "points": [50.0, 50.0, 70.0, 40.0], "rotation": 90.0}
    [figure] = figures_of(row, [], Counter())
    xs, ys = figure.values[::2], figure.values[1::2]
    assert (max(xs), max(ys)) == pytest.approx((60, 70), abs=0.1)


@pytest.mark.parametrize("kind", ["cuboid", "polyline", "points"])
def test_what_has_no_counterpart_is_counted_never_guessed(kind):
    lost: Counter[str] = Counter()
    assert figures_of({"type": kind, "label": "a", "points": [1.0, 2.0]}, [], lost) == []
    assert list(lost) == [f"a {kind} has no counterpart"]


def test_a_skeleton_track_moves_its_points_and_hides_those_that_are_outside():
    def key(frame: int, x: float, **more: object) -> dict:
        return {"type": "points", "frame": frame, "points": [x, 5.0], **more}

    track = {
        "label": "person", "frame": 0,
        "shapes": [{"type": "skeleton", "frame": 0, "points": []}],
        "elements": [
            {"label": "head", "frame": 0, "shapes": [key(0, 10.0), key(2, 20.0)]},
            {"label": "foot", "frame": 0, "shapes": [key(0, 1.0), key(1, 2.0, outside=True)]},
        ],
    }  # fmt: skip
    rows = list(shapes_of_track(track, 2, Counter()))
    figures = [figures_of(row, ["head", "foot"], Counter())[0] for row in rows]
    assert [figure.values for figure in figures] == [(10, 5, 1, 5), (15, 5, 2, 5), (20, 5, 2, 5)]
    assert [figure.visible for figure in figures] == [(True, True), (True, False), (True, False)]


def test_a_turn_between_keyframes_takes_the_shorter_way():
    def key(frame: int, turn: float) -> dict:
        return {"type": "rectangle", "frame": frame, "points": [0.0, 0.0, 10.0, 4.0], "rotation": turn}

    rows = shapes_of_track({"label": "a", "shapes": [key(0, 350.0), key(2, 10.0)]}, 3, Counter())
    assert [row["rotation"] for row in rows] == [350, 0, 10, 10]


def test_a_track_ends_with_its_job():
    track = {"label": "a", "shapes": [{"type": "rectangle", "frame": 3, "points": [0.0, 0.0, 1.0, 1.0]}]}
    assert [row["frame"] for row in shapes_of_track(track, 5, Counter())] == [3, 4, 5]


def test_a_shape_that_cvat_does_not_know_is_refused():
    with pytest.raises(ValueError, match="CUBE has no counterpart"):
        cvat_shape({"type": "CUBE"})


@pytest.mark.parametrize(
    "points",
    [[0, 10**9, 0, 0, 100_000, 100_000], [0, 50, 0, 0, 2, 2], [0, 4, 5, 5, 2, 2], [0, -4, 0, 0, 9, 9], [1, 2], []],
)
def test_a_few_digits_of_a_mask_do_not_fill_the_memory(points):
    lost: Counter[str] = Counter()
    assert figures_of({"type": "mask", "label": "a", "points": points}, [], lost) == []
    assert sum(lost.values()) == 1
