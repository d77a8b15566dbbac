"""fiftyone_sync.py create, load and cleanup with the real FiftyOne over the sandbox: the law of the round trip.

What nobody touched in CVAT comes back bit for bit; what was touched changes only in what was touched.
"""

from __future__ import annotations

from typing import Any

import pytest
from making import Annotator
from rounds import BOXES, SMALL, Rounds, nothing_is_left, of, value, without

Json = dict[str, Any]


# --- the law --------------------------------------------------------------------------------------------------------


def test_what_nobody_touched_comes_back_bit_for_bit(whole_rounds: Rounds) -> None:
    rounds = whole_rounds
    rounds.send_everything()
    before = rounds.snapshot()
    assert before["runs"] == ["round_1"]
    rounds.sync("load")
    assert rounds.snapshot() == before
    rounds.sync("cleanup")
    assert rounds.snapshot() == before | {"runs": []}
    nothing_is_left(rounds)
    rounds.sync("cleanup")  # again, and nothing happens


def test_boxes_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    annotator.change("shapes", of(annotator, "car"), {"points": [0.0, 0.0, 32.0, 24.0]})
    annotator.change("shapes", of(annotator, "car", 1), lambda row: value(row, annotator, "note", "008"))
    annotator.change("shapes", of(annotator, "bus", 1), lambda row: value(row, annotator, "crowd", "true"))
    annotator.change("shapes", of(annotator, "car", 2), {"occluded": False})
    annotator.relabel("shapes", of(annotator, "bus", 2), "car")
    annotator.remove("shapes", of(annotator, "bus"))
    new = {"label": "bus", "type": "rectangle", "frame": 1, "points": [32.0, 24.0, 64.0, 72.0]}
    annotator.add("shapes", {**new, "attributes": {"note": "007", "colour": "blue"}})
    rounds.sync("load")
    after = rounds.snapshot()
    assert without(after, "boxes") == without(before, "boxes")
    was = [row["boxes"]["detections"] for row in before["samples"].values()]
    now = [row["boxes"]["detections"] for row in after["samples"].values()]
    assert now[0] == [was[0][0] | {"bounding_box": [0.0, 0.0, 0.1, 0.1]}, was[0][2]]
    assert now[1][:3] == [was[1][0] | {"note": "008"}, was[1][1] | {"crowd": True}, was[1][2]]
    assert [now[1][3][key] for key in ("label", "bounding_box", "note", "colour")] == [
        "bus",
        [0.1, 0.1, 0.1, 0.2],
        "007",
        "blue",
    ]
    assert len(now[1]) == 4
    assert now[2] == [was[2][0] | {"hidden": False}, was[2][1] | {"label": "car"}, was[2][2]]
    rounds.sync("load")  # the same labels with the same ids
    assert rounds.snapshot() == after


def test_polygons_lines_and_points_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    second = [160.0, 120.0, 320.0, 120.0, 320.0, 240.0]
    annotator.change("shapes", of(annotator, "field", place=1), {"points": second})
    annotator.remove("shapes", of(annotator, "field", 1, place=0))
    annotator.add("shapes", {"label": "lake", "type": "ellipse", "frame": 1, "points": [160.0, 120.0, 192.0, 96.0]})
    annotator.change("shapes", of(annotator, "road"), {"points": [0.0, 0.0, 320.0, 240.0]})
    annotator.relabel("shapes", of(annotator, "nose"), "ear")
    annotator.remove("shapes", of(annotator, "ear", 2))
    rounds.sync("load")
    after = rounds.snapshot()
    assert without(after, "areas", "lines", "dots") == without(before, "areas", "lines", "dots")
    was, now = ([row["areas"]["polylines"] for row in each["samples"].values()] for each in (before, after))
    assert now[0][0]["points"] == [was[0][0]["points"][0], [[0.5, 0.5], [1.0, 0.5], [1.0, 1.0]]]
    assert now[0][0] | {"points": was[0][0]["points"]} == was[0][0]
    assert now[1][0]["points"] == was[1][0]["points"][1:]
    assert now[1][1] == was[1][1]
    assert (now[1][2]["cvat_shape"], len(now[1][2]["points"][0]), now[1][2]["filled"]) == ("ellipse", 64, True)
    assert (now[0][1], now[2]) == (was[0][1], was[2])
    was, now = ([row["lines"]["polylines"] for row in each["samples"].values()] for each in (before, after))
    assert now[0] == [was[0][0] | {"points": [[[0.0, 0.0], [1.0, 1.0]]]}, was[0][1]]
    assert now[1:] == was[1:]
    was, now = ([row["dots"]["keypoints"] for row in each["samples"].values()] for each in (before, after))
    assert now == [[was[0][0] | {"label": "ear"}, was[0][1]], was[1], was[2][:1]]


def test_masks_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    # A square of 10 pixels at (100, 50), run by run: nothing unset, then all set; the box is inclusive.
    annotator.change("shapes", of(annotator, "drop"), {"points": [0.0, 100.0, 100.0, 50.0, 109.0, 59.0]})
    annotator.relabel("shapes", of(annotator, "blob", 1), "drop")
    annotator.remove("shapes", of(annotator, "sand", 1))
    annotator.add(
        "shapes", {"label": "blob", "type": "mask", "frame": 2, "points": [0.0, 200.0, 10.0, 20.0, 29.0, 29.0]}
    )
    annotator.add(
        "shapes", {"label": "grass", "type": "mask", "frame": 2, "points": [0.0, 16.0, 300.0, 200.0, 303.0, 203.0]}
    )
    rounds.sync("load")
    after = rounds.snapshot()
    assert without(after, "blobs", "ground") == without(before, "blobs", "ground")
    was, now = ([row["blobs"]["detections"] for row in each["samples"].values()] for each in (before, after))
    assert now[0][0] == was[0][0]
    assert now[0][1]["bounding_box"] == pytest.approx([100 / 320, 50 / 240, 10 / 320, 10 / 240], abs=1e-12)
    assert now[1] == [was[1][0] | {"label": "drop"}, was[1][1]]
    assert now[2][:2] == was[2]
    got = rounds.run(
        """
d = fo.load_dataset(name)
d.reload()
samples = list(d)
for s in samples:
    s.reload()
drop, blob = samples[0].blobs.detections[1], samples[2].blobs.detections[2]
ground = [s.ground.mask for s in samples]
result = [[int((drop.mask > 0).sum()), int((blob.mask > 0).sum()), list(blob.mask.shape)],
          [[str(g.dtype), list(g.shape), int((g == 1).sum()), int((g == 2).sum())] for g in ground]]
"""
    )
    assert got[0] == [100, 200, [10, 20]]
    assert got[1] == [
        ["uint8", [240, 320], 2402, 5000],
        ["uint8", [240, 320], 2402, 0],
        ["uint8", [240, 320], 2418, 5000],
    ]


def test_classifications_and_scalars_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    annotator.relabel("tags", of(annotator, "day"), "night")
    annotator.remove("tags", of(annotator, "day", 1))
    annotator.remove("tags", of(annotator, "stop"))
    annotator.add("tags", {"label": "stop", "frame": 1})
    annotator.change("tags", of(annotator, "count"), lambda row: value(row, annotator, "value", "12"))
    annotator.change("tags", of(annotator, "ratio", 1), lambda row: value(row, annotator, "value", "0.25"))
    annotator.change("tags", of(annotator, "flag", 2), lambda row: value(row, annotator, "value", "false"))
    annotator.relabel("tags", of(annotator, "alpha", 1), "beta")
    rounds.sync("load")
    after = rounds.snapshot()
    changed = ("kind", "signs", "count", "ratio", "flag", "word")
    assert without(after, *changed) == without(before, *changed)
    was, now = (list(each["samples"].values()) for each in (before, after))
    assert [row["kind"] for row in now] == [was[0]["kind"] | {"label": "night"}, None, was[2]["kind"]]
    signs = [[one["label"] for one in row["signs"]["classifications"]] for row in now]
    assert signs == [["yield"], ["stop", "yield", "stop"], ["stop", "yield"]]
    assert [row["count"] for row in now] == [12, 0, 1]
    assert [row["ratio"] for row in now] == [was[0]["ratio"], 0.25, was[2]["ratio"]]
    assert [row["flag"] for row in now] == [True, False, False]
    assert [row["word"] for row in now] == ["alpha", "beta", "alpha"]


def test_an_edit_taken_back_in_cvat_is_taken_back_in_fiftyone(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    points = annotator.change("shapes", of(annotator, "car"), lambda row: None)["points"]
    annotator.change("shapes", of(annotator, "car"), {"points": [0.0, 0.0, 32.0, 24.0]})
    gone = annotator.remove("shapes", of(annotator, "bus"))
    new = {"label": "bus", "type": "rectangle", "frame": 1, "points": [32.0, 24.0, 64.0, 72.0]}
    annotator.add("shapes", new)
    rounds.sync("load")
    assert rounds.snapshot() != before
    annotator.change("shapes", of(annotator, "car"), {"points": points})
    annotator.add("shapes", {key: item for key, item in gone.items() if key not in ("id", "elements")})
    annotator.remove("shapes", of(annotator, "bus", 1, place=1))
    rounds.sync("load")
    assert rounds.snapshot() == before


def test_what_was_changed_in_fiftyone_meanwhile_stays(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    annotator.change("shapes", of(annotator, "car"), {"points": [0.0, 0.0, 32.0, 24.0]})
    rounds.run(
        """
d = fo.load_dataset(name)
for s in d:
    s.boxes.detections[1].label = "changed here"
    s.boxes.detections[1].bounding_box = [.9, .9, .05, .05]
    s.save()
"""
    )
    before = rounds.snapshot()
    rounds.sync("load")
    after = rounds.snapshot()
    assert without(after, "boxes") == without(before, "boxes")
    first, *_ = after["samples"].values()
    assert first["boxes"]["detections"][0]["bounding_box"] == [0.0, 0.0, 0.1, 0.1]
    assert first["boxes"]["detections"][1]["label"] == "changed here"
    assert first["boxes"]["detections"][1]["bounding_box"] == [0.9, 0.9, 0.05, 0.05]


def test_undo_puts_back_what_a_load_changed(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    annotator.change("shapes", of(annotator, "car"), {"points": [0.0, 0.0, 32.0, 24.0]})
    annotator.remove("shapes", of(annotator, "field", 1, place=0))
    rounds.sync("load")
    assert rounds.snapshot() != before
    rounds.sync("undo")
    assert rounds.snapshot() == before


# --- permissions ----------------------------------------------------------------------------------------------------

KINDS = ("ADDITIONS", "DELETIONS", "LABEL_EDITS", "SPATIAL_EDITS")


def test_every_permission_keeps_out_its_kind_of_edit_and_no_other(rounds: Rounds, annotator: Annotator) -> None:
    rounds.send_everything()
    before = rounds.snapshot()
    annotator.add("shapes", {"label": "bus", "type": "rectangle", "frame": 0, "points": [32.0, 24.0, 64.0, 72.0]})
    annotator.remove("shapes", of(annotator, "bus", 1))
    annotator.relabel("shapes", of(annotator, "road", 1), "river")
    annotator.change("shapes", of(annotator, "ear", 2), {"points": [0.0, 0.0]})

    def taken(after: Json) -> dict[str, bool]:
        now = list(after["samples"].values())
        return {
            "ADDITIONS": len(now[0]["boxes"]["detections"]) == 4,
            "DELETIONS": len(now[1]["boxes"]["detections"]) == 2,
            "LABEL_EDITS": now[1]["lines"]["polylines"][0]["label"] == "river",
            "SPATIAL_EDITS": now[2]["dots"]["keypoints"][1]["points"] == [[0.0, 0.0]],
        }

    for kind in KINDS:
        done = rounds.sync("load", **{f"ALLOW_{kind}": "false"})
        assert taken(rounds.snapshot()) == {each: each != kind for each in KINDS}, done.said
    rounds.sync("load", **{f"ALLOW_{kind}": "false" for kind in KINDS})
    assert rounds.snapshot() == before
    rounds.sync("load")
    assert taken(rounds.snapshot()) == dict.fromkeys(KINDS, True)


# --- other ways back ------------------------------------------------------------------------------------------------


def test_another_field_gets_what_comes_back_and_the_first_stays(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES)
    before = rounds.snapshot()
    annotator.change("shapes", 0, {"points": [0.0, 0.0, 32.0, 24.0]})
    rounds.sync("load", DEST_FIELD="back")
    after = rounds.snapshot()
    assert without(after, "back") == without(before)
    assert [[one["label"] for one in row] for row in rounds.labels("back")] == [["car"]] * 3
    assert rounds.labels("back")[0][0]["bounding_box"] == [0.0, 0.0, 0.1, 0.1]


@pytest.mark.parametrize("unexpected", ["keep", "ignore", "refuse"])
def test_labels_of_a_type_that_the_field_does_not_take(rounds: Rounds, annotator: Annotator, unexpected: str) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES)
    before = rounds.snapshot()
    annotator.add("shapes", {"label": "car", "type": "polyline", "frame": 1, "points": [0.0, 0.0, 320.0, 240.0]})
    rounds.sync("load", UNEXPECTED=unexpected, code=None if unexpected == "refuse" else 0)
    after = rounds.snapshot()
    assert without(after, "polylines") == without(before)
    kept = [[one["points"] for one in row] for row in rounds.labels("polylines")]
    assert kept == ([[], [[[[0.0, 0.0], [1.0, 1.0]]]], []] if unexpected == "keep" else [[], [], []])
