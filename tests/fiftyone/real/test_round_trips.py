"""fiftyone_sync.py create, load and cleanup with the real FiftyOne over the sandbox: the law of the round trip.

What nobody touched in CVAT comes back bit for bit; what was touched changes only in what was touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment import RealFiftyOne, needs_ffmpeg
from making import Annotator, clip
from rounds import Rounds, held_at
from running import wait_until

from sandbox.cvat import CvatSandbox, Fault

Json = dict[str, Any]


@pytest.fixture
def rounds(fiftyone: RealFiftyOne, fiftyone_database: str, server: CvatSandbox, tmp_path: Path, name: str) -> Rounds:
    return Rounds(server, fiftyone, fiftyone_database, tmp_path, name)


@pytest.fixture
def annotator(server: CvatSandbox) -> Annotator:
    return Annotator(server)


def of(annotator: Annotator, label: str, frame: int = 0, place: int = 0) -> Callable[[Json], bool]:
    """Picks the shape, tag or track of this label on this frame; the `place`-th by its id."""
    label_id = annotator.labels(annotator.tasks[0])[label]["id"]
    held = annotator.held(annotator.jobs(annotator.tasks[0])[0])
    ids = sorted(
        row["id"]
        for kind in ("tags", "shapes", "tracks")
        for row in held[kind]
        if (row["label_id"], row["frame"]) == (label_id, frame)
    )
    return lambda row: (row["label_id"], row["frame"], row["id"]) == (label_id, frame, ids[place])


def value(row: Json, annotator: Annotator, name: str, text: str) -> None:
    """Sets an attribute by name."""
    names = {
        spec["id"]: spec["name"]
        for label in annotator.labels(annotator.tasks[0]).values()
        for spec in label["attributes"]
    }
    [one] = [attribute for attribute in row["attributes"] if names[attribute["spec_id"]] == name]
    one["value"] = text


def without(snapshot: Json, *fields: str) -> Json:
    """The samples but for these fields."""
    rows = snapshot["samples"].items()
    return {key: {name: item for name, item in row.items() if name not in fields} for key, row in rows}


def nothing_is_left(rounds: Rounds) -> None:
    assert rounds.server.world.tasks == {}
    assert rounds.server.world.projects == {}
    assert rounds.snapshot()["runs"] == []


# --- the law --------------------------------------------------------------------------------------------------------


def test_what_nobody_touched_comes_back_bit_for_bit(rounds: Rounds) -> None:
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


# --- videos ---------------------------------------------------------------------------------------------------------

FILM = """
d = dataset_of([path], name)
for s in d:
    s.compute_metadata()
    d.ensure_frames()
    s.reload()
    for number in range(1, 25):
        s.frames[number]["gt"] = fo.Detections(detections=[
            fo.Detection(label="car", bounding_box=[number / 97, 1/3, .2, 1/7], index=1, kind="suv", ok=number > 12),
        ])
        if 4 < number < 20:
            walker = fo.Detection(label="person", bounding_box=[.5, number / 99, .1, .1], index=2, confidence=1/3)
            s.frames[number]["gt"].detections.append(walker)
        if number == 8:
            s.frames[number]["gt"].detections.append(fo.Detection(label="person", bounding_box=[.1, .1, 1/3, .1]))
    s.save()
"""
FILM_SETTINGS = {
    "LABEL_FIELD": "frames.gt",
    "LABEL_TYPE": "detections",
    "CLASSES": "car,person",
    "ATTRIBUTES": json.dumps(
        {"kind": {"type": "select", "values": ["suv", "van"], "mutable": False}, "ok": {"type": "checkbox"}}
    ),
}


def in_frames(snapshot: Json) -> dict[int, list[Json]]:
    """The detections of every frame."""
    return {row["frame_number"]: (row.get("gt") or {}).get("detections", []) for row in snapshot["frames"].values()}


def test_tracks_that_nobody_touched_come_back_bit_for_bit(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    assert sorted(len(track["shapes"]) for track in annotator.held()["tracks"]) == [16, 24]
    before = rounds.snapshot()
    rounds.sync("load")
    assert rounds.snapshot() == before
    rounds.sync("cleanup")
    nothing_is_left(rounds)


def test_tracks_change_only_in_what_was_changed(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    annotator.change("tracks", of(annotator, "car"), lambda row: row["shapes"][2].update(points=[0.0, 0.0, 32.0, 24.0]))

    def shorter(row: Json) -> None:
        row["shapes"] = [shape for shape in row["shapes"] if shape["frame"] < 10]
        row["shapes"].append(row["shapes"][-1] | {"frame": 10, "outside": True, "id": None})
        row["shapes"][-1].pop("id")

    annotator.change("tracks", of(annotator, "person", 4), shorter)
    corners = ((5, 32.0, False), (7, 64.0, False), (9, 64.0, True))
    shapes = [{"type": "rectangle", "frame": frame, "points": [x, 0.0, x + 32, 24.0], "outside": outside}
              for frame, x, outside in corners]  # fmt: skip
    annotator.add("tracks", {"label": "car", "frame": 5, "attributes": {"kind": "van"}, "shapes": shapes})
    rounds.sync("load")
    after = rounds.snapshot()
    assert after["samples"] == before["samples"]
    was, now = in_frames(before), in_frames(after)
    for number in (1, 2, 4, 5, 10, 20, 24):
        assert now[number] == was[number], number
    assert now[3] == [was[3][0] | {"bounding_box": [0.0, 0.0, 0.1, 0.1]}]
    for number in range(11, 20):
        assert now[number] == was[number][:1], number
    added = {number: [one for one in now[number] if one not in was[number]] for number in (6, 7, 8)}
    assert [[one["bounding_box"][0] for one in added[number]] for number in (6, 7, 8)] == [[0.1], [0.15], [0.2]]
    assert {(one["label"], one["kind"], one["index"]) for rows in added.values() for one in rows} == {("car", "van", 3)}
    rounds.sync("load")
    assert rounds.snapshot() == after


def test_a_track_deleted_in_cvat_is_deleted_and_with_no_permission_it_stays(
    rounds: Rounds, annotator: Annotator, tmp_path: Path
) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    annotator.remove("tracks", of(annotator, "person", 4))
    rounds.sync("load", ALLOW_DELETIONS="false")
    assert rounds.snapshot() == before
    rounds.sync("load")
    now = in_frames(rounds.snapshot())
    assert [len(now[number]) for number in (4, 5, 8, 19, 20)] == [1, 1, 2, 1, 1]


def test_tracks_over_several_jobs_or_frames_left_out_are_refused_beforehand(
    rounds: Rounds, server: CvatSandbox, tmp_path: Path
) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    for changes in ({"SEGMENT_SIZE": "12"}, {"FRAME_STEP": "2"}):
        done = rounds.sync("create", code=2, **FILM_SETTINGS, **changes)
        assert f"FIFTYONE_SYNC_{next(iter(changes))}" in done.said
    nothing_is_left(rounds)
    assert server.log_count("POST /api/tasks") == 0


# --- tasks, frames, projects ----------------------------------------------------------------------------------------

BOXES = {"LABEL_FIELD": "gt", "LABEL_TYPE": "detections", "CLASSES": "car,person"}
SMALL = """
d = dataset_of(paths, name)
d.compute_metadata()
for s in d:
    s["gt"] = boxes(("car", [.1, .1, 1/3, .2]))
    s.save()
"""


def test_two_tasks_map_back_to_the_right_samples(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, TASK_SIZE="2")
    first, second = annotator.tasks
    before = rounds.labels("gt")
    annotator.change("shapes", 0, {"points": [0.0, 0.0, 32.0, 24.0]}, job=annotator.jobs(second)[0])
    annotator.finish(*annotator.jobs(second))
    annotator.remove("shapes", 1, job=annotator.jobs(first)[0])
    rounds.sync("load", "--when", "completed")
    moved = [before[2][0] | {"bounding_box": [0.0, 0.0, 0.1, 0.1]}]
    assert rounds.labels("gt") == [before[0], before[1], moved]
    rounds.sync("load")
    assert rounds.labels("gt") == [before[0], [], moved]
    rounds.sync("cleanup")
    nothing_is_left(rounds)


def test_labels_of_deleted_frames_are_kept_and_told(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES)
    before = rounds.snapshot()
    annotator.remove("shapes", lambda row: row["frame"] == 0)
    annotator.delete_frames([0, 2])
    done = rounds.sync("load")
    assert rounds.snapshot() == before
    assert "same name.jpg" in done.said


def test_cleanup_refuses_what_was_not_loaded_unless_told(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, PROJECT_NAME="ours")
    annotator.remove("shapes", 0)
    done = rounds.sync("cleanup", code=None)
    assert done.code != 0
    assert len(annotator.tasks) == 1
    rounds.sync("cleanup", "--discard")
    nothing_is_left(rounds)


def test_an_existing_project_needs_permission_and_stays(
    rounds: Rounds, server: CvatSandbox, annotator: Annotator
) -> None:
    project = server.world.add_project("theirs", labels=[{"name": "car"}, {"name": "tree"}])
    task = server.world.add_task(project, "their task")
    rounds.run(SMALL)
    assert "FIFTYONE_SYNC_EXISTING_PROJECT" in rounds.sync("create", code=2, **BOXES, PROJECT_NAME="theirs").said
    assert [len(label.attributes) for label in project.labels] == [0, 0]
    rounds.sync("create", **BOXES, PROJECT_NAME="theirs", EXISTING_PROJECT="true")
    before = rounds.snapshot()
    [ours] = set(server.world.tasks) - {task.id}
    [job] = annotator.jobs(ours)
    tree = server.world.label_index(project).named("tree")
    new = {"label_id": tree, "type": "rectangle", "frame": 0, "points": [0.0, 0.0, 32.0, 24.0], "attributes": []}
    annotator.add("shapes", new, job=job)
    rounds.sync("load")
    assert [[one["label"] for one in row] for row in rounds.labels("gt")] == [["car", "tree"], ["car"], ["car"]]
    assert without(rounds.snapshot(), "gt") == without(before, "gt")
    rounds.sync("cleanup")
    assert list(server.world.tasks) == [task.id]
    assert list(server.world.projects) == [project.id]


def test_jobs_go_to_the_people_in_the_order_they_are_named(
    rounds: Rounds, server: CvatSandbox, annotator: Annotator
) -> None:
    people = {server.world.add_user(person).id: person for person in ("alice", "bobby")}
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, SEGMENT_SIZE="2", TASK_ASSIGNEE="alice", JOB_ASSIGNEES="alice,bobby")
    jobs = [server.world.jobs[job] for job in annotator.jobs()]
    assert [(job.start_frame, people[job.assignee_id or 0]) for job in jobs] == [(0, "alice"), (2, "bobby")]


# --- failures -------------------------------------------------------------------------------------------------------

STEPS = (
    "POST /api/tasks$", "GET /api/labels", "POST /api/tasks/.*/data", "GET /api/jobs", "GET /api/tasks/.*/data/meta",
    "PUT /api/tasks/.*/annotations",
)  # fmt: skip


def test_a_wrong_password_ends_with_12_and_leaves_nothing(rounds: Rounds) -> None:
    rounds.run(SMALL)
    done = rounds.sync("create", code=12, **BOXES, CVAT_PASSWORD="wrong one")
    assert "wrong one" not in done.said
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES)


def test_jobs_that_never_appear_end_at_the_deadline_and_leave_nothing(rounds: Rounds, server: CvatSandbox) -> None:
    server.faults.add(Fault("POST .*/data$", "worker_died"))
    rounds.run(SMALL)
    done = rounds.sync("create", code=None, **BOXES, JOBS_DEADLINE="0.05")
    assert done.code not in (0, 2)
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES)
    assert len(server.world.tasks) == 1


def test_a_picture_that_cvat_cannot_read_is_told_with_its_reason(rounds: Rounds, server: CvatSandbox) -> None:
    server.faults.add(
        Fault("POST .*/data$", "fail", message="PIL.UnidentifiedImageError: cannot identify image file '1'\n")
    )
    rounds.run(SMALL)
    done = rounds.sync("create", code=None, **BOXES)
    assert done.code not in (0, 2)
    assert "cannot identify image file" in done.said
    nothing_is_left(rounds)


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_fails_at_any_step_leaves_nothing_behind(rounds: Rounds, server: CvatSandbox, step: str) -> None:
    rounds.run(SMALL)
    server.faults.add(Fault(step, "status", status=500, times=40))
    done = rounds.sync("create", code=None, **BOXES, PROJECT_NAME="ours")
    assert done.code not in (0, 2), done.said
    server.faults.clear()
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES, PROJECT_NAME="ours")
    assert len(server.world.tasks) == len(server.world.projects) == 1


@pytest.mark.parametrize("step", [*STEPS, "POST /api/projects$"])
def test_create_killed_at_any_step_can_be_done_again(rounds: Rounds, server: CvatSandbox, step: str) -> None:
    rounds.run(SMALL)
    before = rounds.snapshot()
    with held_at(server, step) as reached:
        process = rounds.start("create", **BOXES, PROJECT_NAME="ours")
        try:
            wait_until(lambda: reached.is_set() or process.poll() is not None, f"create does {step}", 120)
            assert process.poll() is None, process.communicate()
        finally:
            process.kill()  # the script alone: what it started has to notice
            process.communicate()
    rounds.sync("create", **BOXES, PROJECT_NAME="ours")
    assert len(server.world.tasks) == len(server.world.projects) == 1
    rounds.sync("load")
    assert without(rounds.snapshot(), "metadata") == without(before, "metadata")
    rounds.sync("cleanup")
    nothing_is_left(rounds)


@pytest.mark.parametrize("after_handling", [False, True])
@pytest.mark.parametrize("step", [*STEPS, "POST /api/projects$"])
def test_a_connection_cut_once_at_any_step_costs_nothing_or_leaves_nothing(
    rounds: Rounds, server: CvatSandbox, step: str, after_handling: bool
) -> None:
    rounds.run(SMALL)
    before = rounds.snapshot()
    server.faults.add(Fault(step, "cut", after_handling=after_handling, rst=after_handling))
    done = rounds.sync("create", code=None, **BOXES, PROJECT_NAME="ours")
    if done.code != 0:
        nothing_is_left(rounds)
        return
    assert len(server.world.tasks) == len(server.world.projects) == 1
    rounds.sync("load")
    assert without(rounds.snapshot()) == without(before)


def test_a_stop_during_create_leaves_nothing_behind(rounds: Rounds, server: CvatSandbox) -> None:
    rounds.run(SMALL)
    with held_at(server, "GET /api/jobs") as reached:
        process = rounds.start("create", **BOXES, PROJECT_NAME="ours")
        try:
            wait_until(lambda: reached.is_set() or process.poll() is not None, "create waits for jobs", 120)
            process.terminate()
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 143, said
    nothing_is_left(rounds)


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


def test_without_permission_a_track_keeps_its_index(rounds: Rounds, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    rounds.run(FILM, path=clip(tmp_path / "films"))
    rounds.sync("create", **FILM_SETTINGS)
    before = rounds.snapshot()
    # The annotator cuts a track in two: its later half is a new track with the labels of the old one.
    track = annotator.change("tracks", of(annotator, "car"), lambda row: None)
    later = [{key: item for key, item in shape.items() if key != "id"} for shape in track["shapes"][12:]]
    end = {**later[0], "outside": True}
    annotator.change("tracks", of(annotator, "car"), lambda row: row.update(shapes=[*row["shapes"][:12], end]))
    new = {key: track[key] for key in ("label_id", "group", "source", "attributes")}
    annotator.add("tracks", {**new, "frame": 12, "shapes": later})
    rounds.sync("load", ALLOW_INDEX_EDITS="false")
    assert rounds.snapshot() == before
    rounds.sync("load")
    now, was = in_frames(rounds.snapshot()), in_frames(before)
    assert [now[number] == was[number] for number in (1, 12)] == [True, True]
    assert {now[number][0]["index"] for number in range(13, 25)} == {3}
    assert [now[number][0] | {"index": 1} for number in (13, 24)] == [was[number][0] for number in (13, 24)]
