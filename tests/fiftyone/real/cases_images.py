"""Every label type of photographs, both ways. Run by round_trips.py."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.core.utils as fou
import numpy as np

from tests.fiftyone.real.room import H, Room, W, changed, image, rle

ATTRIBUTES: dict[str, Any] = {
    "note": {"type": "text", "values": []},
    "color": {"type": "select", "values": ["red", "blue"], "default": "red"},
    "size": {"type": "radio", "values": [1, 2]},
    "crowd": {"type": "checkbox", "values": [True, False], "default": False},
    "score": {"type": "text", "values": []},
    "hidden": {"type": "occluded"},
    "gid": {"type": "group_id"},
}


def mask(height: int, width: int, kind: type = np.bool_, value: Any = True) -> Any:
    array = np.zeros((height, width), kind)
    array[1:-2, 2:-3] = value
    return array


def world() -> dict[str, Any]:
    """A value of every field with coordinates that no pixel grid has."""
    box = [0.1003, 0.1007, 0.2511, 0.2513]
    return {
        "cls": fo.Classification(label="day", confidence=0.9),
        "clss": fo.Classifications(classifications=[fo.Classification(label="day"), fo.Classification(label="wet")]),
        "det": fo.Detection(label="car", bounding_box=box),
        "dets": fo.Detections(
            detections=[
                fo.Detection(label="car", bounding_box=box, note="007", color="red", size=1, crowd=True, score=0.5,
                             hidden=False, gid=3, confidence=0.25, tags=["t"], extra="e", rotation=10),
                fo.Detection(label="dog", bounding_box=[0.5003, 0.5, 0.2, 0.3001], note="", score=12),
                fo.Detection(label="unlisted", bounding_box=[0, 0, 1, 1]),
            ]
        ),
        "ins": fo.Detections(
            detections=[
                fo.Detection(label="car", bounding_box=[0.1, 0.1, 0.5, 0.5], mask=mask(120, 160)),
                fo.Detection(label="dog", bounding_box=box, mask=mask(28, 28, np.uint8, 255)),
            ]
        ),
        "pls": fo.Polylines(
            polylines=[
                fo.Polyline(label="car", points=[[(0.101, 0.1), (0.2, 0.3), (0.4, 0.1)], [(0.5, 0.5003), (0.6, 0.7)]]),
                fo.Polyline(label="car", points=[[(0.1, 0.9), (0.2, 0.95)]], closed=True),
            ]
        ),
        "pgs": fo.Polylines(
            polylines=[
                fo.Polyline(
                    label="car",
                    points=[[(0.1003, 0.1), (0.2, 0.3), (0.4, 0.1)], [(0.9, 0.9), (0.8, 0.8)],
                            [(0.5, 0.5), (0.6, 0.7), (0.7001, 0.5)]],
                    closed=True, filled=True,
                )
            ]
        ),
        "kps": fo.Keypoints(keypoints=[fo.Keypoint(label="car", points=[(0.1003, 0.2), (0.3, 0.4)], confidence=[0.1, 0.2])]),
        "seg": fo.Segmentation(mask=segmentation()),
        "small": fo.Segmentation(mask=segmentation()[::4, ::4]),
        "number": 7, "share": 0.1, "flag": True, "word": "rainy",
    }  # fmt: skip


def segmentation() -> Any:
    array = np.zeros((H, W), np.uint8)
    array[10:50, 20:80] = 1
    array[100:150, 100:200] = 2
    array[200:, :] = 255  # not in the targets: CVAT never sees it
    return array


TARGETS = {1: "road", 2: "sky"}
TYPES: dict[str, dict[str, Any]] = {
    "cls": {"type": "classification", "classes": ["day", "night"]},
    "clss": {"type": "classifications", "classes": ["day", "wet"]},
    "det": {"type": "detection", "classes": ["car", "dog"]},
    "dets": {"type": "detections", "classes": ["car", "dog", "cat"], "attributes": ATTRIBUTES},
    "ins": {"type": "instances", "classes": ["car", "dog"]},
    "pls": {"type": "polylines", "classes": ["car", "dog"]},
    "pgs": {"type": "polygons", "classes": ["car", "dog"]},
    "kps": {"type": "keypoints", "classes": ["car", "dog"]},
    "seg": {"type": "segmentation", "mask_targets": TARGETS},
    "small": {"type": "segmentation", "mask_targets": TARGETS},
    "number": {"type": "scalar"},
    "share": {"type": "scalar"},
    "flag": {"type": "scalar"},
    "word": {"type": "scalar", "classes": ["rainy", "sunny"]},
}


def sent(*names: str, samples: int = 2, **arguments: Any) -> Room:
    room = Room([image(**world()) for _ in range(samples)])
    return room.send(label_schema={name: TYPES[name] for name in names}, **arguments)


def only(room: Room, before: dict[str, Any], *expected: str, place: int = 0) -> None:
    """Nothing but these fields of the one sample changed."""
    name = str(list(room.dataset._sample_collection.find({}))[place]["_id"])
    found = changed(before, room.raw())
    assert found == sorted((name, key) for key in expected), found


def case_no_edits_leave_every_type_as_it_was() -> None:
    room = sent(*TYPES)
    before = room.raw()
    told = room.load()
    assert changed(before, room.raw()) == []
    assert told["saved"] is None
    for name, counts in told["fields"].items():
        assert counts["added"] == counts["changed"] == counts["removed"] == counts["put_back"] == 0, (name, counts)
    assert told["fields"]["dets"]["same"] == 6 and told["fields"]["seg"]["same"] == 2, told["fields"]


def case_the_server_holds_what_fiftyone_sends() -> None:
    room = sent(*TYPES, samples=1)
    kinds = sorted(shape["type"] for shape in room.held["shapes"])
    assert kinds.count("rectangle") == 3 and kinds.count("mask") == 6 and kinds.count("points") == 1, kinds
    assert kinds.count("polygon") == 2 and kinds.count("polyline") == 3, kinds
    assert len(room.held["tags"]) == 7, room.held["tags"]


def case_a_moved_edge_moves_only_that_edge() -> None:
    room = sent("dets")
    before = room.raw()
    label = room.dataset.first().dets.detections[1]
    shape = room.shape(label)
    shape["points"][2] += 16
    told = room.load()
    only(room, before, "dets")
    x, y, width, height = room.values("dets")["detections"][1]["bounding_box"]
    assert (x, y, height) == (0.5003, 0.5, 0.3001)
    assert abs(x + width - shape["points"][2] / W) < 1e-12
    assert told["fields"]["dets"]["changed"] == 1 and told["fields"]["dets"]["same"] == 5, told
    assert (room.folder / told["saved"]).exists()


def case_a_shifted_box_keeps_its_size_and_all_else() -> None:
    room = sent("dets")
    label = room.dataset.first().dets.detections[0]
    was = room.values("dets")
    shape = room.shape(label)
    shape["points"] = [one + 8 for one in shape["points"]]
    room.load()
    now = room.values("dets")
    assert now["detections"][0]["bounding_box"][2:] == was["detections"][0]["bounding_box"][2:]
    assert now["detections"][0]["bounding_box"][0] == shape["points"][0] / W
    now["detections"][0]["bounding_box"] = was["detections"][0]["bounding_box"]
    assert now == was


def case_attributes_keep_their_types() -> None:
    room = sent("dets")
    first, second, _ = room.dataset.first().dets.detections
    for name, value in {"note": "008", "color": "blue", "size": "2", "crowd": "false", "score": "0.75"}.items():
        room.set_attribute(room.shape(first), name, value)
    room.shape(first)["occluded"] = True
    room.shape(first)["group"] = 4
    room.set_attribute(room.shape(second), "note", "true")
    room.load()
    one, two, _ = room.values("dets")["detections"]
    told = {name: one[name] for name in ("note", "color", "size", "crowd", "score", "hidden", "gid")}
    assert told == {"note": "008", "color": "blue", "size": 2, "crowd": False, "score": 0.75, "hidden": True, "gid": 4}
    assert type(one["size"]) is int and two["note"] == "true" and two["score"] == 12
    assert "color" not in two and "crowd" not in two and "hidden" not in two, two
    assert one["confidence"] == 0.25 and one["extra"] == "e" and one["tags"] == ["t"] and one["rotation"] == 10


def case_relabelled_deleted_added_and_turned() -> None:
    room = sent("dets")
    first, second, _ = room.dataset.first().dets.detections
    room.relabel(room.shape(first), "cat")
    shape = next(one for one in room.held["shapes"] if one["label_id"] == room.class_id("cat"))
    shape["rotation"] = 15.5
    room.held["shapes"].remove(room.shape(second))
    new = room.add("dog", [32.0, 24.0, 64.0, 48.0], occluded=True)
    room.set_attribute(new, "note", "007")
    room.set_attribute(new, "size", "2")
    told = room.load()
    labels = room.values("dets")["detections"]
    assert [one["label"] for one in labels] == ["cat", "unlisted", "dog"]
    assert str(labels[0]["_id"]) == first.id and labels[0]["rotation"] == 15.5 and labels[0]["note"] == "007"
    assert labels[2]["bounding_box"] == [0.1, 0.1, 0.1, 0.1]
    assert labels[2]["note"] == "007" and labels[2]["size"] == 2 and labels[2]["hidden"] is True
    assert labels[2]["crowd"] is False and labels[2]["color"] == "red" and "gid" not in labels[2]
    counts = told["fields"]["dets"]
    assert (counts["changed"], counts["removed"], counts["added"]) == (1, 1, 1), counts
    room.dataset.reload()
    assert room.dataset.first().dets.detections[2].label == "dog"


def case_instances_keep_box_and_pixels_that_nobody_touched() -> None:
    room = sent("ins")
    first = room.dataset.first().ins.detections[0]
    before = room.raw()
    array = mask(120, 160)
    array[40:60, 40:60] = False
    room.shape(first)["points"] = rle(array, 32, 24)
    told = room.load()
    only(room, before, "ins")
    one, two = room.values("ins")["detections"]
    assert one["bounding_box"] == [0.1, 0.1, 0.5, 0.5]
    got = fou.deserialize_numpy_array(one["mask"])
    assert got.dtype == np.bool_ and (got == array).all()
    assert two["mask"] == before[str(room.dataset.first().id)]["ins"]["detections"][1]["mask"]
    assert told["fields"]["ins"]["changed"] == 1


def case_a_mask_saved_again_in_a_tight_box_is_not_touched() -> None:
    room = sent("ins")
    before = room.raw()
    for shape in room.held["shapes"]:
        left, top = (int(one) for one in shape["points"][-4:-2])
        width = int(shape["points"][-2]) - left + 1
        height = int(shape["points"][-1]) - top + 1
        array = np.zeros(width * height, bool)
        at = 0
        for place, run in enumerate(shape["points"][:-4]):
            array[at : at + int(run)] = bool(place % 2)
            at += int(run)
        array = array.reshape(height, width)
        ys, xs = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
        tight = array[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        shape["points"] = rle(tight, left + xs[0], top + ys[0])
    told = room.load()
    assert changed(before, room.raw()) == [] and told["saved"] is None


def case_an_instance_drawn_beyond_its_box_grows() -> None:
    room = sent("ins")
    second = room.dataset.first().ins.detections[1]
    array = np.ones((100, 120), bool)
    room.shape(second)["points"] = rle(array, 10, 20)
    room.load()
    two = room.values("ins")["detections"][1]
    assert np.allclose(two["bounding_box"], [10 / W, 20 / H, 120 / W, 100 / H])
    got = fou.deserialize_numpy_array(two["mask"])
    assert got.dtype == np.uint8 and got.shape == (100, 120) and (got == 255).all()


def case_new_masks_polygons_and_ellipses_become_instances() -> None:
    room = sent("ins")
    room.add("car", rle(np.ones((30, 20), bool), 10, 20), "mask")
    room.add("car", [10.0, 10.0, 50.0, 10.0, 50.0, 50.0, 10.0, 50.0], "polygon")
    room.add("dog", [100.0, 100.0, 140.0, 80.0], "ellipse")
    told = room.load()
    _, _, one, two, three = room.values("ins")["detections"]
    assert one["bounding_box"] == [10 / W, 20 / H, 20 / W, 30 / H]
    assert fou.deserialize_numpy_array(one["mask"]).shape == (30, 20)
    assert np.allclose(two["bounding_box"], [10 / W, 10 / H, 40 / W, 40 / H])
    assert three["cvat_shape"] == "ellipse" and np.allclose(three["bounding_box"], [60 / W, 80 / H, 80 / W, 40 / H])
    assert told["fields"]["ins"]["added"] == 3


def case_a_moved_vertex_leaves_the_other_points_and_parts() -> None:
    room = sent("pls", "pgs")
    line, area = room.dataset.first().pls.polylines[0], room.dataset.first().pgs.polylines[0]
    was = room.values("pls")["polylines"][0]["points"], room.values("pgs")["polylines"][0]["points"]
    assert len(room.shapes(line)) == 2 and len(room.shapes(area)) == 2
    room.shapes(line)[1]["points"][:2] = [64.0, 48.0]
    room.shapes(area)[1]["points"] += [16.0, 24.0]
    room.load()
    now = room.values("pls")["polylines"][0]["points"], room.values("pgs")["polylines"][0]["points"]
    assert now[0] == [was[0][0], [[0.2, 0.2], was[0][1][1]]]
    assert now[1] == [was[1][0], was[1][1], [*was[1][2], [0.05, 0.1]]], now[1]


def case_a_part_that_is_deleted_takes_only_itself() -> None:
    room = sent("pgs")
    area = room.dataset.first().pgs.polylines[0]
    was = room.values("pgs")["polylines"][0]["points"]
    room.held["shapes"].remove(room.shapes(area)[0])
    told = room.load()
    assert room.values("pgs")["polylines"][0]["points"] == was[1:]
    assert told["fields"]["pgs"]["changed"] == 1 and told["fields"]["pgs"]["removed"] == 0


def case_new_polylines_polygons_masks_and_ellipses() -> None:
    room = sent("pgs")
    room.add("dog", [32.0, 24.0, 64.0, 48.0], "polyline")
    room.add("dog", [32.0, 24.0, 64.0, 48.0, 32.0, 48.0], "polygon")
    room.add("dog", rle(np.ones((40, 40), bool), 40, 40), "mask")
    room.add("dog", [100.0, 100.0, 140.0, 80.0], "ellipse")
    room.load()
    _, line, area, drawn, round_one = room.values("pgs")["polylines"]
    assert (line["closed"], line["filled"], line["points"]) == (False, False, [[[0.1, 0.1], [0.2, 0.2]]])
    assert (area["closed"], area["filled"], len(area["points"][0])) == (True, True, 3)
    assert drawn["filled"] and drawn["points"] and round_one["filled"] and len(round_one["points"][0]) == 64


def case_keypoints_keep_those_that_stayed() -> None:
    room = sent("kps")
    shape = room.shape(room.dataset.first().kps.keypoints[0])
    shape["points"] = [64.0, 48.0, *shape["points"][2:], 160.0, 120.0]
    room.add("dog", [32.0, 24.0], "points")
    room.load()
    one, two = room.values("kps")["keypoints"]
    assert one["points"] == [[0.2, 0.2], [0.3, 0.4], [0.5, 0.5]]
    assert np.isnan(one["confidence"][0]) and one["confidence"][1] == 0.2 and np.isnan(one["confidence"][2])
    assert two["points"] == [[0.1, 0.1]] and two["label"] == "dog"


def case_segmentations_change_only_drawn_pixels() -> None:
    room = sent("seg", "small")
    before = room.raw()
    array = np.ones((40, 60), bool)
    array[:10, :10] = False
    road = room.shapes(room.dataset.first().seg)[0]
    road["points"] = rle(array, 20, 10)
    room.add(room.classes["seg"]["sky"], [200.0, 20.0, 240.0, 20.0, 240.0, 60.0, 200.0, 60.0], "polygon")
    room.load()
    only(room, before, "seg")
    got = fou.deserialize_numpy_array(room.values("seg")["mask"])
    expected = segmentation()
    expected[10:20, 20:30] = 0
    inside = got[25:55, 205:235]
    assert got.dtype == np.uint8 and (inside == 2).all()
    got[15:65, 195:245] = 0
    assert (got == expected).all()
    assert room.values("seg")["_id"] == before[room.dataset.first().id]["seg"]["_id"]


def case_a_small_segmentation_takes_the_middle_pixels() -> None:
    room = sent("small")
    sky = room.shapes(room.dataset.first().small)[1]
    room.held["shapes"].remove(sky)
    told = room.load()
    got = fou.deserialize_numpy_array(room.values("small")["mask"])
    expected = segmentation()[::4, ::4].copy()
    expected[expected == 2] = 0
    assert got.shape == (60, 80) and (got == expected).all()
    assert told["fields"]["small"]["changed"] == 1


def case_masks_in_files_are_never_written() -> None:
    folder = Path(tempfile.mkdtemp())
    array = segmentation()
    array[array == 255] = 0
    fo.Segmentation(mask=array).export_mask(str(folder / "seg.png"))
    room = Room([image(seg=fo.Segmentation(mask_path=str(folder / "seg.png"))) for _ in range(2)])
    room.send(label_schema={"seg": TYPES["seg"]})
    file, before = (folder / "seg.png").read_bytes(), room.raw()
    room.load()
    assert changed(before, room.raw()) == []
    road = room.shapes(room.dataset.first().seg)[0]
    was = list(room.held["shapes"])
    room.held["shapes"].remove(road)
    room.load()
    got = fou.deserialize_numpy_array(room.values("seg")["mask"])
    assert "mask_path" not in room.values("seg") and not (got == 1).any() and (got == 2).sum() == 5000
    assert (folder / "seg.png").read_bytes() == file
    room.held["shapes"][:] = was
    room.load()
    assert changed(before, room.raw()) == []


def case_an_emptied_segmentation_is_gone_and_comes_back() -> None:
    room = Room([image(seg=fo.Segmentation(mask=np.where(segmentation() == 1, 1, 0).astype(np.uint8)))])
    room.send(label_schema={"seg": TYPES["seg"]})
    before, was = room.raw(), list(room.held["shapes"])
    room.held["shapes"].clear()
    told = room.load()
    assert room.values("seg") is None and told["fields"]["seg"]["removed"] == 1
    room.held["shapes"][:] = was
    assert room.load()["fields"]["seg"]["put_back"] == 1
    assert changed(before, room.raw()) == []


def case_colours_as_targets() -> None:
    array = np.zeros((H, W, 3), np.uint8)
    array[10:50, 20:80] = (255, 0, 0)
    room = Room([image(rgb=fo.Segmentation(mask=array))])
    room.send(label_schema={"rgb": {"type": "segmentation", "mask_targets": {"#ff0000": "road", "#00ff00": "sky"}}})
    before = room.raw()
    assert changed(before, room.raw()) == [] and len(room.held["shapes"]) == 1
    room.load()
    assert changed(before, room.raw()) == []
    room.relabel(room.held["shapes"][0], "sky")
    room.load()
    got = fou.deserialize_numpy_array(room.values("rgb")["mask"])
    assert (got[10:50, 20:80] == (0, 255, 0)).all() and got.sum() == 40 * 60 * 255


def case_a_segmentation_where_there_was_none() -> None:
    room = Room([image(seg=None), image(seg=fo.Segmentation(mask=segmentation()))])
    room.send(label_schema={"seg": TYPES["seg"]})
    room.add("road", rle(np.ones((10, 20), bool), 5, 6), "mask")
    told = room.load()
    got = fou.deserialize_numpy_array(room.values("seg")["mask"])
    assert got.shape == (H, W) and got.sum() == 200 and (got[6:16, 5:25] == 1).all()
    assert told["fields"]["seg"]["added"] == 1 and room.load()["fields"]["seg"]["added"] == 0


def case_classifications_and_scalars() -> None:
    room = sent("cls", "clss", "number", "share", "flag", "word")
    first = room.dataset.first()
    before = room.raw()
    room.relabel(room.shape(first.cls, "tags"), "night")
    room.held["tags"].remove(room.shape(first.clss.classifications[1], "tags"))
    for name, value in {"number": "8", "share": "0.25", "flag": "false"}.items():
        tag = next(one for one in room.held["tags"] if one["label_id"] == room.class_id(name) and one["frame"] == 0)
        room.set_attribute(tag, "value", value)
    word = next(one for one in room.held["tags"] if one["label_id"] == room.class_id("rainy") and one["frame"] == 0)
    word["label_id"] = room.class_id("sunny")
    told = room.load()
    only(room, before, "cls", "clss", "flag", "number", "share", "word")
    assert (room.values("cls")["label"], room.values("cls")["confidence"]) == ("night", 0.9)
    assert [one["label"] for one in room.values("clss")["classifications"]] == ["day"]
    values = [room.values(name) for name in ("number", "share", "flag", "word")]
    assert values == [8, 0.25, False, "sunny"] and type(values[0]) is int
    assert told["fields"]["number"]["changed"] == 1 and told["fields"]["clss"]["removed"] == 1
    room.set_attribute(
        next(one for one in room.held["tags"] if one["label_id"] == room.class_id("number")), "value", "abc"
    )
    told = room.load()
    assert told["fields"]["number"]["not_supported"] and room.values("number") == 7


def case_new_fields_are_made() -> None:
    room = Room([image(), image()])
    room.send(
        label_schema={
            "boxes": {"type": "detections", "classes": ["car"]},
            "one": {"type": "classification", "classes": ["day", "night"]},
            "grade": {"type": "scalar"},
            "areas": {"type": "segmentation", "mask_targets": TARGETS},
        }
    )
    before = room.raw()
    assert room.load()["saved"] is None and room.dataset.get_field("boxes") is None
    room.add("car", [32.0, 24.0, 64.0, 48.0])
    room.add_tag("day")
    room.add_tag("night")
    room.add_tag("grade", frame=1, value="12")
    room.add("road", rle(np.ones((10, 20), bool), 5, 6), "mask", frame=1)
    told = room.load()
    room.dataset.reload()
    first, last = room.dataset.first(), room.dataset.last()
    assert first.boxes.detections[0].label == "car" and first.one.label == "day" and last.grade == 12
    assert last.areas.mask.sum() == 200
    assert told["fields"]["one"]["not_supported"] == {"second label in a field that holds one": 1}, told
    again = room.raw()
    room.load()
    assert changed(again, room.raw()) == []
    room.undo()
    assert changed(before, room.raw()) == []
    room.dataset.reload()
    assert room.dataset.get_field("boxes") is None and room.dataset.get_field("grade") is None


def case_old_style_attributes() -> None:
    label = fo.Detection(
        label="car", bounding_box=[0.1, 0.1, 0.2, 0.2], attributes={"age": fo.NumericAttribute(value=3)}
    )
    room = Room([image(dets=fo.Detections(detections=[label]))])
    room.send(
        label_field="dets", label_type="detections", classes=["car"], attributes={"age": {"type": "text", "values": []}}
    )
    before = room.raw()
    room.load()
    assert changed(before, room.raw()) == []
    shape = room.shape(room.dataset.first().dets.detections[0])
    name = next(one["name"] for one in room.task["labels"][0]["attributes"] if one["name"] != "label_id")
    room.set_attribute(shape, name, "4")
    room.load()
    assert room.dataset.reload() is None and room.dataset.first().dets.detections[0].get_attribute_value("age") == 4


def case_the_same_class_in_two_fields() -> None:
    room = sent("dets", "ins", "det", samples=1)
    assert room.classes["dets"]["car"] == "car_dets", room.classes
    label = room.dataset.first().ins.detections[0]
    room.relabel(room.shape(label), room.classes["ins"]["dog"])
    room.load()
    assert [one["label"] for one in room.values("ins")["detections"]] == ["dog", "dog"]
    assert [one["label"] for one in room.values("dets")["detections"]] == ["car", "dog", "unlisted"]
