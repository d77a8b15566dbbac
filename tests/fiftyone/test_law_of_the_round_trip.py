"""What counts as touched in CVAT, and what does not: the comparison of baseline and current, without FiftyOne."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.fiftyone.changes import (
    ATTRIBUTE,
    DELETED,
    GEOMETRY,
    GROUP,
    INDEX,
    LABEL,
    OCCLUDED,
    ROTATION,
    Outcome,
    Touch,
    compare,
)
from common.fiftyone.owners import Original
from common.fiftyone.schema import Field
from common.fiftyone.things import expand, linear, read_task

Json = dict[str, Any]
RECORDINGS = Path(__file__).resolve().parents[2].parent / "shared" / "recordings" / "cvat"
LAST = 9
CAR, DOG = 1, 2
LABELS = [
    {
        "id": number,
        "name": name,
        "attributes": [
            {"id": 10 * number, "name": "label_id", "input_type": "text", "default_value": "", "mutable": True},
            {"id": 10 * number + 1, "name": "color", "input_type": "select", "default_value": "red", "mutable": True},
            {"id": 10 * number + 2, "name": "crowd", "input_type": "checkbox", "default_value": "", "mutable": True},
        ],
    }
    for number, name in ((CAR, "car"), (DOG, "dog"))
]
BOXES = Field("boxes", "detections", False, {"car": "car", "dog": "dog"})


def box(server_id: int, frame: int, points: list[float], label_id: str) -> Json:
    return {
        "id": server_id, "label_id": CAR, "type": "rectangle", "frame": frame, "points": points, "rotation": 0.0,
        "occluded": False, "group": 0, "outside": False, "z_order": 0,
        "attributes": [{"spec_id": 10, "value": label_id}, {"spec_id": 11, "value": "blue"}],
    }  # fmt: skip


def track(server_id: int, frames: list[int], first: float) -> Json:
    """A track with a keyframe on each frame, and with the end that FiftyOne sends."""
    shapes = [
        {**box(server_id * 100 + frame, frame, [first + frame, 0.0, first + frame + 10, 10.0], f"t{server_id}-{frame}")}
        for frame in frames
    ]
    if frames[-1] < LAST:
        shapes.append({**deepcopy(shapes[-1]), "id": server_id * 100 + 99, "frame": frames[-1] + 1, "outside": True})
    return {"id": server_id, "label_id": CAR, "frame": frames[0], "group": 0, "attributes": [], "shapes": shapes}


def task(shapes: list[Json] = (), tracks: list[Json] = (), tags: list[Json] = ()) -> Json:  # type: ignore[assignment]
    return {"annotations": {"tags": list(tags), "shapes": list(shapes), "tracks": list(tracks)}, "labels": LABELS}


def originals_of(content: Json, parts: int = 1) -> list[Original]:
    held = read_task(content)
    found = {
        (one.frame, one.origin): Original("boxes", one.frame, one.origin, parts=parts) for one in held.single.values()
    }
    for number, one in enumerate(held.tracks.values(), 1):
        for frame, things in expand(one, LAST, linear).items():
            key = (frame, things[0].origin)
            found[key] = Original("boxes", frame, things[0].origin, index=number)
    return list(found.values())


def outcome(before: Json, now: Json, fields: tuple[Field, ...] = (BOXES,), parts: int = 1) -> Outcome:
    return compare(read_task(before), read_task(now), originals_of(before, parts), fields, LAST, linear)


def touched(found: Outcome) -> dict[str, set[Touch]]:
    return {change.original.label_id: set(change.touches) for change in found.changes}


numbers = st.floats(0, 300).map(lambda one: round(one, 2))
worlds = st.builds(
    lambda boxes, ways: task(
        [box(number, number % (LAST + 1), list(points), f"l{number}") for number, points in enumerate(boxes, 1)],
        [track(number, frames, float(number)) for number, frames in enumerate(ways, 500)],
    ),
    st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=6),
    st.lists(st.sampled_from([[0, 1, 2], [3, 4, 5, 6, 7, 8, 9], list(range(10)), [5]]), max_size=3),
)


@given(worlds, st.randoms(use_true_random=False))
def test_what_the_server_merely_says_otherwise_is_not_touched(before: Json, chance: random.Random) -> None:
    now = deepcopy(before)
    for kind in ("shapes", "tracks"):
        chance.shuffle(now["annotations"][kind])
    for shape in now["annotations"]["shapes"]:
        # CVAT's editor saves defaults that nobody set, forgets FiftyOne's attribute, says null for no group.
        shape["attributes"] = [{"spec_id": 11, "value": "blue"}, {"spec_id": 12, "value": "false"}]
        shape.update(group=None, source="file", z_order=3)
    for one in now["annotations"]["tracks"]:
        for shape in one["shapes"]:
            shape["id"] += 10_000
    found = outcome(before, now)
    assert not found.changes and not found.additions and not found.redrawn


EDITS: dict[str, Any] = {
    GEOMETRY: lambda shape: shape["points"].__setitem__(0, shape["points"][0] + 0.5),
    ROTATION: lambda shape: shape.update(rotation=12.5),
    OCCLUDED: lambda shape: shape.update(occluded=True),
    GROUP: lambda shape: shape.update(group=7),
    ATTRIBUTE: lambda shape: shape.update(attributes=[{"spec_id": 10, "value": shape["attributes"][0]["value"]}]),
    LABEL: lambda shape: shape.update(label_id=DOG, attributes=[{"spec_id": 21, "value": "blue"}]),
}


@given(worlds, st.sampled_from(sorted(EDITS)), st.randoms(use_true_random=False))
def test_one_edit_touches_one_aspect_of_one_label(before: Json, kind: str, chance: random.Random) -> None:
    now = deepcopy(before)
    shape = chance.choice(now["annotations"]["shapes"])
    name = f"l{shape['id']}"
    EDITS[kind](shape)
    expected = Touch(kind, "color") if kind == ATTRIBUTE else Touch(kind)
    found = outcome(before, now)
    assert touched(found) == {name: {expected}} and not found.additions


@given(worlds, st.randoms(use_true_random=False))
def test_one_moved_keyframe_touches_one_frame_of_its_track(before: Json, chance: random.Random) -> None:
    now = deepcopy(before)
    if not now["annotations"]["tracks"]:
        return
    one = chance.choice(now["annotations"]["tracks"])
    key = chance.choice([shape for shape in one["shapes"] if not shape["outside"]])
    key["points"][3] += 1
    assert touched(outcome(before, now)) == {f"t{one['id']}-{key['frame']}": {Touch(GEOMETRY)}}


@given(worlds, st.randoms(use_true_random=False))
def test_a_deleted_shape_and_a_copy_of_another(before: Json, chance: random.Random) -> None:
    now = deepcopy(before)
    shapes = now["annotations"]["shapes"]
    gone = shapes.pop(chance.randrange(len(shapes)))
    copied = [{**deepcopy(shape), "id": 90_000 + shape["id"]} for shape in shapes]
    shapes += copied
    found = outcome(before, now)
    assert touched(found) == {f"l{gone['id']}": {Touch(DELETED)}}
    assert sorted(one.thing.server_id for one in found.additions) == sorted(one["id"] for one in copied)


@given(worlds)
def test_everything_uploaded_anew_is_found_again(before: Json) -> None:
    now = deepcopy(before)
    for kind in ("shapes", "tracks"):
        for one in now["annotations"][kind]:
            one["id"] += 70_000
    found = outcome(before, now)
    assert not found.changes and not found.additions


def test_a_split_track_keeps_the_index_in_its_first_piece() -> None:
    before, whole = task(tracks=[track(500, list(range(10)), 0.0)]), track(500, list(range(10)), 0.0)
    first = {**whole, "id": 501, "shapes": [one for one in whole["shapes"] if one["frame"] < 4]}
    first["shapes"].append({**first["shapes"][-1], "frame": 4, "outside": True})
    second = {**whole, "id": 502, "frame": 4, "shapes": [one for one in whole["shapes"] if one["frame"] >= 4]}
    found = outcome(before, task(tracks=[first, second]))
    assert touched(found) == {f"t500-{frame}": {Touch(INDEX)} for frame in range(4, 10)}
    assert found.indexes == {501: 1}


def test_a_keyframe_taken_away_where_the_box_moves_evenly_changes_nothing() -> None:
    before = task(tracks=[track(500, list(range(10)), 0.0)])
    now = deepcopy(before)
    del now["annotations"]["tracks"][0]["shapes"][4]
    assert not outcome(before, now).changes


def test_an_interpolated_box_keeps_its_label_by_the_index_of_its_track() -> None:
    only_keys = track(500, [0, 8], 0.0)
    before, now = task(tracks=[only_keys]), task(tracks=[deepcopy(only_keys)])
    now["annotations"]["tracks"][0]["shapes"][0]["points"][0] -= 4
    labels = [Original("boxes", frame, f"t500-{frame}", index=7) for frame in range(9)]
    found = compare(read_task(before), read_task(now), labels, [BOXES], LAST, linear)
    assert sorted(touched(found)) == [f"t500-{frame}" for frame in range(8)]
    assert not found.additions


def test_parts_of_one_label_are_told_apart_by_their_order() -> None:
    areas = Field("boxes", "polygons", False, {"car": "car", "dog": "dog"})
    parts = [
        {**box(number, 0, [1.0, 2.0, 3.0, 4.0, 5.0, float(number)], "l1"), "type": "polygon"} for number in (4, 5, 6)
    ]
    before, now = task(parts), task(deepcopy([parts[2], parts[0]]))
    now["annotations"]["shapes"][0]["points"][0] = 9.0
    (change,) = outcome(before, now, (areas,), parts=3).changes
    assert change.touches == {Touch(GEOMETRY)}
    assert [part and part.server_id for part in change.after] == [4, None, 6]


def test_a_part_that_alone_gets_another_class_becomes_a_label_of_its_own() -> None:
    areas = Field("boxes", "polygons", False, {"car": "car", "dog": "dog"})
    parts = [{**box(number, 0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "l1"), "type": "polygon"} for number in (4, 5)]
    now = task(deepcopy(parts))
    EDITS[LABEL](now["annotations"]["shapes"][1])
    found = outcome(task(parts), now, (areas,), parts=2)
    (change,) = found.changes
    assert change.touches == {Touch(GEOMETRY)} and change.after[1] is None
    assert [one.thing.label for one in found.additions] == ["dog"]


def test_a_shape_that_gets_the_class_of_another_field_moves_there() -> None:
    cars, dogs = Field("boxes", "detections", False, {"car": "car"}), Field("dogs", "detections", False, {"dog": "dog"})
    before = task([box(1, 0, [0.0, 0.0, 1.0, 1.0], "l1")])
    now = deepcopy(before)
    EDITS[LABEL](now["annotations"]["shapes"][0])
    found = outcome(before, now, (cars, dogs))
    assert touched(found) == {"l1": {Touch(DELETED)}}
    assert [(one.field, one.expected) for one in found.additions] == [("dogs", True)]


TRUCK = 3
WITH_TRUCK = [*LABELS, {"id": TRUCK, "name": "truck", "attributes": []}]


def test_classes_and_attributes_that_were_renamed_touch_no_label() -> None:
    before = task([box(1, 0, [0.0, 0.0, 1.0, 1.0], "l1")], [track(500, [0, 1, 2], 0.0)])
    now = deepcopy(before)
    now["labels"][0]["name"] = "automobile"
    now["labels"][0]["attributes"][1]["name"] = "colour"
    now["annotations"]["shapes"].append(box(2, 0, [5.0, 5.0, 9.0, 9.0], ""))
    held = read_task(now, before)
    found = compare(read_task(before), held, originals_of(before), [BOXES], LAST, linear)
    assert held.renamed == {"car": "automobile"} and not found.changes
    assert [(one.thing.label, one.field, one.expected) for one in found.additions] == [("car", "boxes", True)]


@pytest.mark.parametrize("kind", ["shapes", "tracks"])
def test_a_class_that_was_added_in_cvat_is_an_edit_of_the_label_that_gets_it(kind: str) -> None:
    before = task([box(1, 0, [0.0, 0.0, 1.0, 1.0], "l1")], [track(500, [4], 0.0)])
    now = deepcopy(before) | {"labels": WITH_TRUCK}
    now["annotations"][kind][0]["label_id"] = TRUCK
    for one in [*now["annotations"][kind], *now["annotations"][kind][0].get("shapes", [])]:
        one["attributes"] = []
    found = outcome(before, now)
    assert touched(found) == {{"shapes": "l1", "tracks": "t500-4"}[kind]: {Touch(LABEL)}} and not found.additions


def test_a_part_that_alone_gets_a_class_added_in_cvat_stays_in_its_field() -> None:
    areas = Field("boxes", "polygons", False, {"car": "car", "dog": "dog"})
    parts = [{**box(number, 0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "l1"), "type": "polygon"} for number in (4, 5)]
    now = task(deepcopy(parts)) | {"labels": WITH_TRUCK}
    now["annotations"]["shapes"][1].update(label_id=TRUCK, attributes=[])
    found = outcome(task(parts), now, (areas,), parts=2)
    assert [(one.thing.label, one.field, one.expected) for one in found.additions] == [("truck", "boxes", True)]


def test_a_region_of_a_class_that_no_field_has_keeps_its_own() -> None:
    ground = Field("boxes", "segmentation", True, {"car": "car", "dog": "dog"})
    region = {**box(1, 0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "l1"), "type": "mask"}
    now = task([deepcopy(region)]) | {"labels": WITH_TRUCK}
    now["annotations"]["shapes"][0].update(label_id=TRUCK, attributes=[])
    found = outcome(task([region]), now, (ground,))
    assert [thing.label for thing in found.redrawn[("boxes", 0)].after] == ["car"]
    assert [(name, thing.label) for name, thing in found.unknown] == [("boxes", "truck")] and not found.additions


def test_a_label_that_became_a_thing_of_no_field_is_known_to_be_that_thing() -> None:
    before = task([box(1, 0, [0.0, 0.0, 1.0, 1.0], "l1")])
    now = deepcopy(before)
    now["annotations"]["shapes"][0].update(type="polyline", points=[0.0, 0.0, 5.0, 5.0])
    found = outcome(before, now)
    (addition,) = found.additions
    assert not addition.expected and addition.instead_of == found.changes[0].original


@pytest.mark.parametrize(
    ("recording", "changes", "additions"),
    [
        ("fo_detections", {0: {GEOMETRY}, 1: {DELETED}, 2: {LABEL}, 3: {LABEL, ATTRIBUTE}, 4: {ATTRIBUTE}}, 7),
        ("fo_instances", {0: {GEOMETRY}, 1: {DELETED}, 2: {LABEL}}, 1),
        ("fo_deleted_frames", {}, 0),
        ("fo_project_existing", {}, 1),
    ],
)
def test_edits_recorded_at_a_real_server_are_found(
    recording: str, changes: dict[int, set[str]], additions: int
) -> None:
    path = RECORDINGS / f"{recording}.json"
    if not path.exists():
        pytest.skip("the recordings of a real server are not here")
    answers = [
        (one["request"]["method"], one["request"]["target"], (one["response"]["body"] or {}).get("json"))
        for one in json.loads(path.read_text())
    ]
    labels = next(body for _, target, body in answers if target.startswith("/api/labels?"))
    sent = next(body for method, target, body in answers if method == "PUT" and "annotations" in target)
    held = next(body for method, target, body in answers if method == "GET" and "annotations" in target)
    before, now = {"annotations": sent, "labels": labels}, {"annotations": held, "labels": labels}
    kind = "instances" if recording == "fo_instances" else "detections"
    names = {one["name"]: one["name"] for one in labels["results"]}
    found = outcome(before, now, (Field("boxes", kind, False, names),))
    assert {change.original.frame: {touch.kind for touch in change.touches} for change in found.changes} == changes
    assert len(found.additions) == additions
