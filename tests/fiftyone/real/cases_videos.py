"""Frame fields of videos: tracks, shapes and tags on frames, parts of a video. Run by round_trips.py."""

from __future__ import annotations

from typing import Any

import fiftyone as fo

from tests.fiftyone.real.room import H, Room, W, changed, video

N = 12
SCHEMA: dict[str, Any] = {
    "frames.dets": {
        "type": "detections",
        "classes": ["car", "dog"],
        "attributes": {
            "type": {"type": "select", "values": ["sedan", "suv"], "mutable": False},
            "ok": {"type": "checkbox", "values": [True, False]},
        },
    }
}


def boxes(frame: int, **more: Any) -> fo.Detections:
    """Track 1 on all frames, track 2 on frames 3 to 6 and 9 to 10, and a box of no track on frame 4. 1-based."""
    found = [
        fo.Detection(
            label="car", bounding_box=[0.0503 * frame, 0.1003, 0.2001, 0.2002], index=1, ok=True, type="suv", **more
        )
    ]
    if 3 <= frame <= 6 or 9 <= frame <= 10:
        found.append(fo.Detection(label="dog", bounding_box=[0.5, 0.05 * frame, 0.1003, 0.1], index=2, ok=frame > 4))
    if frame == 4:
        found.append(fo.Detection(label="dog", bounding_box=[0.8, 0.8, 0.1, 0.1], confidence=0.5))
    return fo.Detections(detections=found)


def sent(schema: dict[str, Any] | None = None, values: Any = boxes, **arguments: Any) -> Room:
    room = Room([video(N, dets=[values(frame) for frame in range(1, N + 1)])])
    return room.send(label_schema=schema or SCHEMA, **arguments)


def changed_frames(room: Room, before: dict[str, Any]) -> list[int]:
    after = room.raw()
    return [after[one]["frame_number"] for one in sorted({one for one, _ in changed(before, after)})]


def case_tracks_without_edits_stay() -> None:
    room = sent()
    assert len(room.held["tracks"]) == 2 and len(room.held["shapes"]) == 1, room.held
    before = room.raw()
    told = room.load()
    assert changed(before, room.raw()) == [] and told["saved"] is None
    assert told["fields"]["frames.dets"]["same"] == N + 6 + 1, told


def case_one_moved_keyframe_changes_one_frame() -> None:
    room = sent()
    before = room.raw()
    key = room.held["tracks"][0]["shapes"][4]
    key["points"] = [one + 2 for one in key["points"]]
    told = room.load()
    assert changed_frames(room, before) == [5]
    assert room.frame(5, "dets")["detections"][0]["bounding_box"][2:] == [0.2001, 0.2002]
    assert room.frame(5, "dets")["detections"][0]["bounding_box"][0] == key["points"][0] / W
    assert told["fields"]["frames.dets"]["changed"] == 1


def case_a_track_that_ends_earlier_loses_its_later_frames() -> None:
    room = sent()
    before = room.raw()
    track = room.held["tracks"][0]
    track["shapes"] = [shape for shape in track["shapes"] if shape["frame"] <= 8]
    track["shapes"].append({**track["shapes"][-1], "id": 9999, "frame": 9, "outside": True})
    told = room.load()
    assert changed_frames(room, before) == [10, 11, 12]
    assert [one["index"] for one in room.frame(10, "dets")["detections"]] == [2]
    assert told["fields"]["frames.dets"]["removed"] == 3
    room.undo()
    assert changed(before, room.raw()) == []


def case_deleted_and_relabelled_tracks() -> None:
    room = sent()
    room.held["tracks"] = [one for one in room.held["tracks"] if one["label_id"] != room.class_id("dog")]
    track = room.held["tracks"][0]
    track["label_id"] = room.class_id("dog")
    for thing in track["shapes"]:
        thing["attributes"] = []
    told = room.load()
    for number in range(1, N + 1):
        labels = room.frame(number, "dets")["detections"]
        assert labels[0]["label"] == "dog" and labels[0]["index"] == 1, labels
        assert len(labels) == (2 if number == 4 else 1)
    counts = told["fields"]["frames.dets"]
    assert (counts["changed"], counts["removed"]) == (N, 6), counts


def case_an_immutable_attribute_changes_the_whole_track() -> None:
    room = sent()
    track = room.held["tracks"][0]
    spec = room.spec(track["label_id"], "type")
    track["attributes"] = [{"spec_id": spec, "value": "sedan"}]
    room.load()
    labels = [room.frame(number, "dets")["detections"][0] for number in range(1, N + 1)]
    assert {label["type"] for label in labels} == {"sedan"} and {label["ok"] for label in labels} == {True}


def case_a_new_track_is_interpolated_and_keeps_index_and_ids() -> None:
    room = sent()
    room.add_track(
        "car", [(1, [0.0, 0.0, 32.0, 24.0], False), (5, [64.0, 48.0, 96.0, 72.0], False), (7, [0, 0, 1, 1], True)]
    )
    told = room.load()
    found = {number: room.frame(number, "dets")["detections"][-1] for number in range(2, 8)}
    assert told["fields"]["frames.dets"]["added"] == 6, told
    assert {label["index"] for label in found.values()} == {3}
    assert found[4]["bounding_box"] == [32 / W, 24 / H, 32 / W, 24 / H], found[4]
    assert not any("keyframe" in label for label in found.values())
    again = room.raw()
    assert room.load()["fields"]["frames.dets"]["added"] == 0
    assert changed(again, room.raw()) == []


def case_a_track_extended_over_frames_it_was_not_on() -> None:
    room = sent()
    dog = next(one for one in room.held["tracks"] if one["label_id"] == room.class_id("dog"))
    dog["shapes"] = [shape for shape in dog["shapes"] if not (shape["outside"] and shape["frame"] == 6)]
    room.load()
    for number in (7, 8):
        label = room.frame(number, "dets")["detections"][-1]
        assert (label["label"], label["index"]) == ("dog", 2), label
    assert len(room.frame(9, "dets")["detections"]) == 2


def case_a_split_track_keeps_its_labels() -> None:
    room = sent()
    before = room.raw()
    track = room.held["tracks"].pop(0)
    first = {**track, "id": 9001, "shapes": [one for one in track["shapes"] if one["frame"] < 6]}
    first["shapes"].append({**first["shapes"][-1], "id": 9002, "frame": 6, "outside": True})
    second = {**track, "id": 9003, "frame": 6, "shapes": [one for one in track["shapes"] if one["frame"] >= 6]}
    room.held["tracks"] += [first, second]
    told = room.load()
    labels = [room.frame(number, "dets")["detections"][0] for number in range(1, N + 1)]
    assert [label["index"] for label in labels] == [1] * 6 + [3] * 6, labels
    assert changed_frames(room, before) == [7, 8, 9, 10, 11, 12]
    assert told["fields"]["frames.dets"]["changed"] == 6 and told["fields"]["frames.dets"]["added"] == 0, told
    again = room.raw()
    told = room.load(permissions={"allow_index_edits": False})
    assert changed(before, room.raw()) == [] and told["fields"]["frames.dets"]["ignored"]["index_edits"] == 6, told
    room.load()
    assert changed(again, room.raw()) == []


def case_only_keyframes_leave_the_frames_between_alone() -> None:
    def values(frame: int) -> fo.Detections:
        wobble = 0.004 * (frame % 3)
        label = fo.Detection(label="car", bounding_box=[0.05 * frame + wobble, 0.1003, 0.2001, 0.2], index=7)
        if frame in (1, 6, 12):
            label["keyframe"] = True
        return fo.Detections(detections=[label])

    room = sent({"frames.dets": {"type": "detections", "classes": ["car"]}}, values)
    assert [one["frame"] for one in room.held["tracks"][0]["shapes"]] == [0, 5, 11], room.held
    before = room.raw()
    assert room.load()["saved"] is None and changed(before, room.raw()) == []
    room.held["tracks"][0]["shapes"][1]["points"] = [64.0, 48.0, 128.0, 96.0]
    told = room.load()
    assert changed_frames(room, before) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert told["fields"]["frames.dets"]["changed"] == 10 and told["fields"]["frames.dets"]["added"] == 0, told
    ids = [str(room.frame(number, "dets")["detections"][0]["_id"]) for number in range(1, N + 1)]
    frames = sorted((one for one in before.values() if "frame_number" in one), key=lambda one: one["frame_number"])
    assert ids == [str(one["dets"]["detections"][0]["_id"]) for one in frames]


def case_part_of_a_video_with_a_step() -> None:
    def values(frame: int) -> fo.Detections:
        return fo.Detections(detections=[fo.Detection(label="car", bounding_box=[0.05 * frame, 0.1, 0.2, 0.2])])

    room = sent(
        {"frames.dets": {"type": "detections", "classes": ["car"]}}, values, frame_start=2, frame_stop=9, frame_step=3
    )
    assert [one["frame"] for one in room.held["shapes"]] == [0, 1, 2], room.held["shapes"]
    before = room.raw()
    room.load()
    assert changed(before, room.raw()) == []
    room.held["shapes"][1]["points"] = [64.0, 48.0, 128.0, 96.0]
    room.add("car", [0.0, 0.0, 32.0, 24.0], frame=2)
    room.load()
    assert changed_frames(room, before) == [6, 9]


def case_a_new_track_is_also_on_the_frames_that_were_not_sent() -> None:
    room = Room([video(N, other=[None] * N)])
    schema = {"frames.new": {"type": "detections", "classes": ["car"]}}
    room.send(label_schema=schema, frame_start=2, frame_stop=9, frame_step=3)
    before = room.raw()
    ends = [(0, [0.0, 0.0, 32.0, 24.0], False), (1, [48.0, 0.0, 80.0, 24.0], False), (2, [48.0, 0.0, 80.0, 24.0], True)]
    room.add_track("car", ends)
    told = room.load()
    assert changed_frames(room, before) == [3, 4, 5, 6, 7, 8], told
    found = [room.frame(number, "new")["detections"][0] for number in (3, 4, 5, 6, 7, 8)]
    assert [label["bounding_box"][0] for label in found] == [0, 16 / W, 32 / W, 48 / W, 48 / W, 48 / W]
    assert [label.get("keyframe") for label in found] == [True, None, None, True, None, None]
    assert len({str(label["_id"]) for label in found}) == 6 and {label["index"] for label in found} == {1}
    assert room.load()["saved"] is None
    room.undo()
    assert changed(before, room.raw()) == []


def case_deleted_frames_keep_their_labels_and_are_told() -> None:
    room = sent()
    before = room.raw()
    for key in room.held["tracks"][0]["shapes"]:
        key["points"] = [one + 1 for one in key["points"]]
    room.held["shapes"].clear()
    room.task["meta"]["deleted_frames"] = [3, 4]
    told = room.load()
    assert changed_frames(room, before) == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12]
    assert [(one["frame"], one["labels_kept"]) for one in told["deleted_frames"]] == [(3, 3), (4, 2)], told
    assert told["deleted_frames"][0]["sample"] == room.dataset.first().filepath


def case_unexpected_tags_go_into_a_frame_field() -> None:
    room = sent()
    before = room.raw()
    room.add_tag("car", frame=2)
    assert room.load(unexpected="ignore")["fields"]["frames.dets"]["unexpected"] == {"classifications": 1}
    assert changed(before, room.raw()) == []
    try:
        room.load(unexpected="refuse")
    except ValueError as error:
        assert "tag" in str(error)
    else:
        raise AssertionError("not refused")
    told = room.load()
    assert room.frame(3, "classifications")["classifications"][0]["label"] == "car", told
    assert room.load()["fields"]["frames.classifications"]["added"] == 0
    room.held["tags"].clear()
    assert room.load()["fields"]["frames.classifications"]["removed"] == 1
    room.dataset.reload()
    assert room.dataset.has_frame_field("classifications")


def case_polygon_and_point_tracks() -> None:
    def values(frame: int) -> fo.Polylines:
        points = [[(0.1 + 0.0103 * frame, 0.1), (0.3, 0.1), (0.3, 0.3)]]
        return fo.Polylines(polylines=[fo.Polyline(label="car", points=points, closed=True, filled=True, index=1)])

    room = sent({"frames.dets": {"type": "polygons", "classes": ["car"]}}, values)
    before = room.raw()
    room.load()
    assert changed(before, room.raw()) == []
    room.held["tracks"][0]["shapes"][3]["points"][:2] = [1.0, 2.0]
    square = [10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]
    room.add_track("car", [(0, square, False), (4, [one + 8 for one in square], False), (5, square, True)], "polygon")
    told = room.load()
    assert told["fields"]["frames.dets"]["changed"] == 1 and told["fields"]["frames.dets"]["added"] == 5, told
    assert room.frame(4, "dets")["polylines"][0]["points"][0][1:] == [[0.3, 0.1], [0.3, 0.3]]
    middle = room.frame(3, "dets")["polylines"][1]["points"][0]
    assert len(middle) == 4 and abs(middle[0][0] * W - 14) < 0.5, middle


def case_two_videos_are_two_tasks() -> None:
    room = Room([video(4, dets=[boxes(frame) for frame in range(1, 5)]) for _ in range(2)])
    room.send(label_schema=SCHEMA)
    assert len(room.tasks) == 2
    before = room.raw()
    track = room.server.tasks[room.tasks[1]]["annotations"]["tracks"][0]
    track["shapes"][0]["points"] = [1.0, 2.0, 3.0, 4.0]
    room.write("current")
    room.load()
    last = list(room.dataset._sample_collection.find({}))[1]["_id"]
    after = room.raw()
    assert [(after[one]["_sample_id"], key) for one, key in changed(before, after)] == [(last, "dets")]
