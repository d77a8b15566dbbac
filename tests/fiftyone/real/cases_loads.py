"""Loads as such: permissions, twice, taken back, other fields, kills, edits made in FiftyOne. Run by round_trips.py."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import fiftyone as fo
import fiftyone.utils.cvat as fouc
from bson import ObjectId

from common.fiftyone.worker import records, task_merge
from common.fiftyone.worker.forget import forget
from common.fiftyone.worker.marks import moment_of, with_marked_record
from tests.fiftyone.real.cases_images import TYPES, only, sent
from tests.fiftyone.real.room import Room, W, changed, image


class Killed(BaseException):
    """Where kill -9 struck."""


def edit(room: Room) -> None:
    """One edit of each kind."""
    first, second, _ = room.dataset.first().dets.detections
    room.set_attribute(room.shape(first), "note", "seen")
    room.relabel(room.shape(first), "cat")
    moved = next(one for one in room.held["shapes"] if one["label_id"] == room.class_id("cat"))
    moved["points"] = [one + 16 for one in moved["points"]]
    room.held["shapes"].remove(room.shape(second))
    room.add("dog", [32.0, 24.0, 64.0, 48.0])


def case_each_permission_leaves_out_its_edits_and_tells_so() -> None:
    expected = {
        "additions": ["cat", "unlisted"],
        "deletions": ["cat", "dog", "unlisted", "dog"],
        "label_edits": ["car", "unlisted", "dog"],
        "spatial_edits": ["cat", "unlisted", "dog"],
    }
    for kind, names in expected.items():
        room = sent("dets", samples=1)
        box = room.values("dets")["detections"][0]["bounding_box"]
        edit(room)
        told = room.load(permissions={f"allow_{kind}": False})["fields"]["dets"]
        labels = room.values("dets")["detections"]
        assert [one["label"] for one in labels] == names, (kind, labels)
        assert (labels[0]["bounding_box"] == box) == (kind == "spatial_edits")
        assert labels[0]["note"] == "seen"
        assert told["ignored"] == {**dict.fromkeys(told["ignored"], 0), kind: 1}, told


def case_loading_twice_is_loading_once() -> None:
    room = sent("dets")
    edit(room)
    first = room.load()
    again = room.raw()
    second = room.load()
    assert changed(again, room.raw()) == [] and second["saved"] is None, second
    assert first["fields"]["dets"]["added"] == 1 and second["fields"]["dets"]["added"] == 0


def case_edits_taken_back_in_cvat_put_the_originals_back() -> None:
    room = sent("dets")
    before, was = room.raw(), deepcopy(room.held)
    edit(room)
    room.load()
    room.task["annotations"] = was
    told = room.load()["fields"]["dets"]
    assert changed(before, room.raw()) == []
    assert (told["put_back"], told["removed"]) == (2, 1), told
    assert json.loads((room.folder / "loaded.json").read_text())["loads"]


def case_undo_takes_back_one_load_at_a_time() -> None:
    room = sent("dets", "seg")
    before = room.raw()
    edit(room)
    room.load()
    middle = room.raw()
    room.held["shapes"].remove(room.shapes(room.dataset.first().seg)[0])
    room.shape(room.dataset.last().dets.detections[0])["points"][0] += 4
    room.load()
    assert room.undo()["put_back"] == 2
    assert changed(middle, room.raw()) == []
    assert room.undo()["put_back"] == 1
    assert changed(before, room.raw()) == []
    assert room.undo()["undone"] is None
    room.load()
    room.undo()
    assert changed(before, room.raw()) == []


def case_edits_made_in_fiftyone_stay() -> None:
    room = sent("dets", samples=1)
    sample = room.dataset.first()
    first, second, third = sample.dets.detections
    first["reviewed"], second.label, third.bounding_box = "yes", "cat", [0, 0, 0.5, 0.5]
    sample.dets.detections.append(fo.Detection(label="mine", bounding_box=[0, 0, 1, 1]))
    sample.save()
    shape = room.shape(first)
    shape["points"][3] += 8
    room.load()
    labels = room.values("dets")["detections"]
    assert labels[0]["reviewed"] == "yes" and labels[0]["label"] == "car"
    assert (
        labels[1]["label"] == "cat" and labels[2]["bounding_box"] == [0, 0, 0.5, 0.5] and labels[3]["label"] == "mine"
    )
    room.shape(second)["points"][3] += 8
    sample.dets.detections.pop(1)
    sample.save()
    told = room.load()
    assert told["missing"][0]["label"] == second.id, told["missing"]


def case_labels_loaded_into_another_field() -> None:
    room = sent("dets", "number")
    before = room.raw()
    edit(room)
    told = room.load(dest_field={"dets": "checked", "number": "counted"})
    room.dataset.reload()
    for one, key in changed(before, room.raw()):
        assert key in ("checked", "counted"), (one, key)
    assert [one["label"] for one in room.values("checked")["detections"]] == ["cat", "unlisted", "dog"]
    assert room.values("checked", 1) == room.values("dets", 1) and room.values("counted", 1) == 7
    assert told["fields"]["dets"]["changed"] == 1
    again = room.raw()
    room.load(dest_field={"dets": "checked", "number": "counted"})
    assert changed(again, room.raw()) == []
    room.load()
    assert [one["label"] for one in room.values("dets")["detections"]] == ["cat", "unlisted", "dog"]


def case_things_that_no_field_expects() -> None:
    room = sent("dets")
    room.add("car", [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], "polyline")
    room.add("car", [1.0, 1.0], "points")
    room.add("car", [], "skeleton", elements=[])
    whole = room.load()
    told = whole["fields"]
    assert told["dets"]["unexpected"] == {"polylines": 1, "keypoints": 1}, told
    assert told["dets"]["not_supported"] == {"skeleton": 1} and whole["not_held"] == {str(room.tasks[0]): 1}
    room.dataset.reload()
    line = room.values("polylines")["polylines"][0]
    assert line["points"] == [[[1 / W, 1 / 240], [2 / W, 2 / 240], [3 / W, 3 / 240]]] and line["label"] == "car", line
    assert room.dataset.first().keypoints.keypoints[0].label == "car"


def case_classes_renamed_and_added_in_cvat_take_no_label_from_its_field() -> None:
    for unexpected in ("keep", "ignore"):
        room = sent("dets", samples=1)
        was = room.values("dets")["detections"]
        room.task["labels"].append({"id": 9999, "name": "truck", "attributes": []})
        next(one for one in room.task["labels"] if one["name"] == "cat")["name"] = "kitten"
        room.shape(str(was[0]["_id"])).update(label_id=9999, attributes=[])
        room.shape(str(was[1]["_id"])).update(type="polyline")
        room.add("kitten", [32.0, 24.0, 64.0, 48.0])
        told = room.load(unexpected=unexpected)
        now = room.values("dets")["detections"]
        spared = [was[1]] if unexpected == "ignore" else []
        assert now[1:-1] == [*spared, was[2]] and now[-1]["label"] == "cat"
        assert now[0] == {**was[0], "label": "truck"} and told["renamed"] == {"cat": "kitten"}, now[0]


def case_a_copied_shape_is_a_new_label() -> None:
    room = sent("dets")
    shape = deepcopy(room.shape(room.dataset.first().dets.detections[0]))
    room.held["shapes"].append({**shape, "id": room.server.number(), "points": [0.0, 0.0, 32.0, 24.0]})
    was = room.values("dets")["detections"]
    room.load()
    labels = room.values("dets")["detections"]
    assert labels[:3] == was and len(labels) == 4 and labels[3]["note"] == "007"


def case_everything_uploaded_anew_with_other_numbers() -> None:
    room = sent(*TYPES)
    before = room.raw()
    for kind in ("shapes", "tags"):
        for thing in room.held[kind]:
            thing["id"] = room.server.number()
    told = room.load()
    assert changed(before, room.raw()) == [], told["fields"]


def case_several_tasks_and_only_some_of_them() -> None:
    room = sent("dets", samples=5, task_size=2)
    assert len(room.tasks) == 3
    before = room.raw()
    for sample in room.dataset:
        task = next(one for one in room.tasks if sample.dets.detections[0].id in json.dumps(room.server.tasks[one]))
        shapes = room.server.tasks[task]["annotations"]["shapes"]
        next(one for one in shapes if sample.dets.detections[0].id in json.dumps(one))["points"][0] += 4
    told = room.load(tasks=[room.tasks[2]])
    only(room, before, "dets", place=4)
    assert told["fields"]["dets"]["changed"] == 1
    told = room.load(tasks=[room.tasks[1], room.tasks[0]])
    assert told["fields"]["dets"]["changed"] == 4 and len(changed(before, room.raw())) == 5


def case_samples_and_files_that_are_gone_are_told() -> None:
    room = sent("dets", samples=3, task_size=1)
    for task in room.tasks:
        room.server.tasks[task]["annotations"]["shapes"][0]["points"][0] += 4
    room.dataset.delete_samples([room.dataset.first().id])
    room.write("current")
    (room.folder / "baseline" / f"{room.tasks[1]}.json").unlink()
    told = room.load()
    assert [one["task"] for one in told["missing"]] == room.tasks[:2], told["missing"]
    assert told["not_placed"] == {str(task): 1 for task in room.tasks[:2]}
    assert told["fields"]["dets"]["changed"] == 1


def case_edits_on_frames_that_nobody_knows_any_more_are_told() -> None:
    room = sent("dets", samples=2)
    room.shapes(room.dataset.last().dets.detections[0])[0]["points"][0] += 4
    path = room.folder / "frames.jsonl"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    told = room.load()
    assert told["not_placed"] == {str(room.tasks[0]): told["missing_count"]} and told["missing"], told


def case_killed_anywhere_and_run_again_ends_the_same() -> None:
    """Each write is a place where the process may die, before or after it."""
    places = [
        (records.Records, "save"),
        (records.Records, "keep_state"),
        (records.Records, "finish"),
        (records.Records, "field_made"),
        (records.Records, "_publish"),
        (task_merge.TaskMerge, "_write"),
        (task_merge.dataset_fields, "make"),
    ]
    for holder, name in places:
        for after in (False, True):
            for nth in (1, 2):
                _killed(holder, name, after, nth)


def _killed(holder: Any, name: str, after: bool, nth: int) -> None:
    room = sent("dets", "seg", samples=3, task_size=2)
    before = room.raw()
    edit(room)
    room.add("dog", [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], "polyline")
    task = room.server.tasks[room.tasks[1]]["annotations"]["shapes"]
    task[0]["points"][0] += 4
    real, calls = getattr(holder, name), [0]

    def dying(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth and not after:
            raise Killed
        if calls[0] == nth and name == "_write":  # half of it reached the database
            real(arguments[0], dict(list(arguments[1].items())[:1]), *arguments[2:])
            raise Killed
        result = real(*arguments)
        if calls[0] == nth and after:
            raise Killed
        return result

    setattr(holder, name, dying)
    try:
        room.load()
    except Killed:
        pass
    finally:
        setattr(holder, name, real)
    half = random.Random(nth).random() < 0.5
    if half:  # what was added is gone again before the next try
        room.held["shapes"] = [one for one in room.held["shapes"] if one["type"] != "polyline"]
    told = room.load()
    labels = [one["label"] for one in room.values("dets")["detections"]]
    assert labels == ["cat", "unlisted", "dog"], (name, after, nth, labels)
    lines = (room.values("polylines") or {}).get("polylines") or []
    assert len(lines) == (0 if half else 1), (name, after, nth, lines)
    again = room.raw()
    assert room.load()["saved"] is None and changed(again, room.raw()) == [], told
    while room.undo()["undone"]:
        pass
    assert changed(before, room.raw()) == [], (name, after, nth, changed(before, room.raw()))


def case_undo_leaves_what_somebody_changed_after_the_load() -> None:
    room = sent("dets", samples=2)
    for sample in room.dataset:
        room.shape(sample.dets.detections[0])["points"][0] += 4
    before = room.values("dets", 1)
    room.load()
    sample = room.dataset.first()
    sample.dets.detections[1]["reviewed"] = "yes"
    sample.save()
    mine = room.values("dets")
    told = room.undo()
    assert (told["put_back"], told["changed_count"]) == (1, 1), told
    assert told["changed_since"] == [{"sample": sample.filepath, "field": "dets"}]
    assert room.values("dets") == mine and room.values("dets", 1) == before
    assert len((room.folder / told["saved"]).with_suffix(".present.jsonl").read_text().splitlines()) == 1
    assert room.undo()["undone"] is None


def case_what_is_written_in_the_middle_of_a_load_is_merged_and_stays() -> None:
    room = sent("dets", samples=2)
    before = room.raw()
    edit(room)
    room.shape(room.dataset.last().dets.detections[0])["points"][0] += 4
    real, calls = task_merge.TaskMerge._write, [0]

    def meanwhile(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            one = {"_id": ObjectId(room.dataset.last().id)}
            room.dataset._sample_collection.update_one(one, {"$set": {"dets.detections.1.reviewed": "yes"}})
        return real(*arguments)

    task_merge.TaskMerge._write = meanwhile
    try:
        told = room.load()["fields"]["dets"]
    finally:
        task_merge.TaskMerge._write = real
    assert (told["changed"], told["removed"], told["added"]) == (2, 1, 1), told
    assert calls[0] == 2 and room.values("dets", 1)["detections"][1]["reviewed"] == "yes"
    assert room.values("dets", 1)["detections"][0] != before[str(room.dataset.last().id)]["dets"]["detections"][0]
    room.undo()
    was = before[str(room.dataset.last().id)]["dets"]["detections"]
    assert room.values("dets", 1)["detections"] == [was[0], {**was[1], "reviewed": "yes"}, *was[2:]]


def case_only_the_record_of_the_round_is_forgotten() -> None:
    room = sent("dets")
    at = moment_of(room.dataset.get_annotation_info("key"))
    told = {"dataset": room.dataset.name, "anno_key": "key", "marker": "fiftyone_sync 12", "recorded_at": 0.0}
    for wrong in ({}, {"recorded_at": at - 0.1}, {"recorded_at": at + 0.1}):
        assert forget({**told, **wrong}, print) == {"forgotten": False}
    assert forget({**told, "recorded_at": at, "look": True}, print) == {"forgotten": True}
    assert room.dataset.has_annotation_run("key")
    assert forget({**told, "recorded_at": at}, print) == {"forgotten": True}
    assert not room.dataset.has_annotation_run("key")


def case_a_record_is_known_by_its_mark() -> None:
    real, mark = fouc.CVATBackend.register_run, "fiftyone_sync 12"
    fouc.CVATBackend.register_run = with_marked_record(real, mark)
    try:
        room = sent("dets")
    finally:
        fouc.CVATBackend.register_run = real
    told = {"dataset": room.dataset.name, "anno_key": "key", "recorded_at": 0.0}
    assert forget({**told, "marker": "fiftyone_sync 13"}, print) == {"forgotten": False}
    assert forget({**told, "marker": mark}, print) == {"forgotten": True}


def case_an_undo_killed_half_way_is_run_again() -> None:
    room = sent("dets")
    before = room.raw()
    edit(room)
    room.load()
    for name in ("keep_state", "forget"):
        real = getattr(records.Records, name)

        def dying(*arguments: Any) -> None:
            raise Killed

        setattr(records.Records, name, dying)
        try:
            room.undo()
        except Killed:
            pass
        finally:
            setattr(records.Records, name, real)
    room.undo()
    assert changed(before, room.raw()) == [] and room.undo()["undone"] is None


def case_single_fields_take_the_place_of_what_was_deleted() -> None:
    room = Room([image(det=fo.Detection(label="car", bounding_box=[0.1, 0.1, 0.2, 0.2])), image(det=None)])
    room.send(label_schema={"det": TYPES["det"]})
    before, was = room.raw(), deepcopy(room.held)
    room.held["shapes"].clear()
    room.add("dog", [32.0, 24.0, 64.0, 48.0])
    room.add("car", [32.0, 24.0, 64.0, 48.0], frame=1)
    room.load()
    assert room.values("det")["label"] == "dog" and room.values("det", 1)["label"] == "car"
    room.task["annotations"] = was
    room.load()
    after = room.raw()
    for one in before:
        assert repr(before[one].get("det")) == repr(after[one].get("det"))
