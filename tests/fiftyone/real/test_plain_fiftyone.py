"""FiftyOne's own annotate(), load_annotations() and cleanup() over the sandbox.

What it loses on a real server (contract, last part) it loses here too: that is what our script is for, and these tests
show that the sandbox plays the part faithfully.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environment import RealFiftyOne, SnippetFailed, needs_ffmpeg
from making import PRELUDE, Annotator, access, clip, pictures

from sandbox.cvat import CvatSandbox, Fault

Run = Callable[..., Any]
CAR = {"label": "car", "type": "rectangle", "frame": 1, "points": [8.0, 12.0, 40.0, 60.0]}
LOAD = "d = fo.load_dataset(name)\nd.load_annotations('k', unexpected='keep', **access)\n"


@pytest.fixture
def run(fiftyone: RealFiftyOne, server: CvatSandbox, tmp_path: Path, name: str) -> Run:
    """Runs a snippet; `paths`, `name` and `access` are there for it."""
    paths = pictures(tmp_path)

    def snippet(code: str, **values: Any) -> Any:
        return fiftyone.run(PRELUDE + code, **{"paths": paths, "name": name, "access": access(server), **values})

    return snippet


@pytest.fixture
def annotator(server: CvatSandbox) -> Annotator:
    return Annotator(server)


SEND = """
if "mask_targets" in more:  # JSON knows no numbers as keys
    more["mask_targets"] = {int(value): label for value, label in more["mask_targets"].items()}
d.annotate("k", backend="cvat", label_field="gt", label_type=label_type, **more, **access)
"""


def annotate(run: Run, fill: str, label_type: str, **more: Any) -> None:
    """A dataset whose samples `s`, counted by `n`, are filled by a snippet, sent to CVAT under the key `k`."""
    filled = "".join(f"    {line}\n" for line in fill.strip().splitlines())
    make = f"d = dataset_of(paths, name)\nfor n, s in enumerate(d):\n{filled}    s.save()\n"
    run(make + SEND, label_type=label_type, more={"classes": ["car", "person"], **more})


# --- what works -----------------------------------------------------------------------------------------------------


def test_detections_with_attributes_come_back_with_what_was_done_to_them(run: Run, annotator: Annotator) -> None:
    attributes = {
        "colour": {"type": "select", "values": ["red", "blue"], "default": "red"},
        "crowd": {"type": "checkbox", "values": [True, False], "default": False},
        "seen": {"type": "text", "values": []},
        "hidden": {"type": "occluded"},
    }
    fill = "s['gt'] = boxes(('car', [.1,.1,.2,.2]), ('person', [.5,.5,.2,.2]), colour='blue', crowd=True, seen='x y')"
    annotate(run, fill, "detections", attributes=attributes)
    [job] = annotator.jobs()
    shapes = annotator.held()["shapes"]
    assert [shape["points"] for shape in shapes[:2]] == [[32.0, 24.0, 96.0, 72.0], [160.0, 120.0, 224.0, 168.0]]
    annotator.change("shapes", 0, {"points": [0.0, 0.0, 32.0, 24.0], "occluded": True})
    annotator.change(
        "shapes", lambda one: one["id"] == shapes[1]["id"], {"label_id": shapes[0]["label_id"], "attributes": []}
    )
    annotator.remove("shapes", lambda one: one["id"] == shapes[2]["id"])
    annotator.add("shapes", {**CAR, "attributes": {"colour": "blue", "seen": "new"}}, job=job)
    got = run(
        LOAD
        + """
result = [[[l.label, list(l.bounding_box), l.colour, l.crowd, l.get_field("hidden")] for l in s.gt.detections] for s in d]
"""
    )
    assert got[0] == [
        ["car", [0.0, 0.0, 0.1, 0.1], "blue", True, True],
        ["car", [0.5, 0.5, 0.2, 0.2], "red", False, False],
    ]
    assert [row[0] for row in got[1]] == ["person", "car"]
    assert got[1][1] == ["car", [0.025, 0.05, 0.1, 0.2], "blue", False, False]
    assert got[2] == [
        ["car", [0.1, 0.1, 0.2, 0.2], "blue", True, False],
        ["person", [0.5, 0.5, 0.2, 0.2], "blue", True, False],
    ]


def test_classifications_come_back(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = fo.Classifications(classifications=[fo.Classification(label='car')])", "classifications")
    annotator.relabel("tags", 0, "person")
    annotator.remove("tags", 1)
    annotator.add("tags", {"label": "person", "frame": 2})
    got = run(LOAD + "result = [[c.label for c in s.gt.classifications] if s.gt else None for s in d]")
    assert got == [["person"], [], ["car", "person"]]


def test_a_classification_comes_back(run: Run, annotator: Annotator) -> None:
    annotate(run, "if n:\n    s['gt'] = fo.Classification(label='car')", "classification")
    annotator.add("tags", {"label": "person", "frame": 0})
    annotator.remove("tags", lambda tag: tag["frame"] == 1)
    assert run(LOAD + "result = [s.gt.label if s.gt else None for s in d]") == ["person", None, "car"]


def test_polylines_and_keypoints_come_back(run: Run, annotator: Annotator) -> None:
    schema = {
        "lines": {"type": "polylines", "classes": ["car"]},
        "points": {"type": "keypoints", "classes": ["person"]},
    }
    run(
        """
d = dataset_of(paths, name)
for s in d:
    s["lines"] = fo.Polylines(polylines=[fo.Polyline(label="car", points=[[(.1,.1),(.5,.5),(.5,.1)]])])
    s["points"] = fo.Keypoints(keypoints=[fo.Keypoint(label="person", points=[(.25,.25),(.5,.75)])])
    s.save()
d.annotate("k", backend="cvat", label_schema=schema, **access)
""",
        schema=schema,
    )
    annotator.change("shapes", lambda one: one["type"] == "polyline", {"points": [0.0, 0.0, 160.0, 120.0]})
    annotator.change("shapes", lambda one: one["type"] == "points", {"points": [160.0, 120.0]})
    got = run(LOAD + "result = [[s.lines.polylines[0].points, s.points.keypoints[0].points] for s in d]")
    assert got[0] == [[[[0.0, 0.0], [0.5, 0.5]]], [[0.5, 0.5]]]
    assert got[1] == [[[[0.1, 0.1], [0.5, 0.5], [0.5, 0.1]]], [[0.25, 0.25], [0.5, 0.75]]]


def test_scalars_come_back(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = n + 0.5", "scalar", classes=None)
    tag = annotator.change("tags", 0, lambda row: row["attributes"][0].update(value="7.25"))
    assert len(tag["attributes"]) == 1
    assert run(LOAD + "result = d.values('gt')") == [7.25, 1.5, 2.5]


def test_names_and_folders_map_back_to_the_right_samples(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = boxes(('car', [.1 * (n + 1), .1, .2, .2]))", "detections")
    meta = annotator.ask("GET", f"/api/tasks/{annotator.tasks[0]}/data/meta")
    assert [frame["name"] for frame in meta["frames"]] == ["same name.jpg", "1ü.jpg", "same name-2.jpg"]
    annotator.change("shapes", lambda one: one["frame"] == 2, {"points": [0.0, 0.0, 32.0, 24.0]})
    got = run(LOAD + "result = [[s.filepath, s.gt.detections[0].bounding_box[0]] for s in d]")
    assert [round(x, 3) for _, x in got] == [0.1, 0.2, 0.0]
    assert "/sub a/" in got[2][0]


# --- videos ---------------------------------------------------------------------------------------------------------

FILM = """
d = dataset_of([path], name)
for s in d:
    s.compute_metadata()
    d.ensure_frames()
    s.reload()
    for number in range(1, 25):
        s.frames[number]["gt"] = boxes(("car", [number / 80, .25, .2, .2]), index=1)
    s.save()
d.annotate("k", backend="cvat", label_field="frames.gt", label_type="detections", classes=["car", "person"], **more, **access)
"""
CORNERS = """
s = d.first()
result = {number: [[l.label, round(l.bounding_box[0], 3), l.index] for l in f.gt.detections if l]
          for number, f in s.frames.items() if f.gt}
"""


def test_a_track_in_one_job_comes_back_with_what_was_done_to_it(run: Run, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    run(FILM, path=clip(tmp_path / "films"), more={})
    [track] = annotator.held()["tracks"]
    assert len(track["shapes"]) == 24
    annotator.change("tracks", 0, lambda row: row["shapes"][2].update(points=[0.0, 60.0, 64.0, 108.0]))
    person = [{"type": "rectangle", "frame": frame, "points": [x, 0.0, x + 32, 24.0], "outside": frame == 9}
              for frame, x in ((5, 32.0), (7, 64.0), (9, 64.0))]  # fmt: skip
    annotator.add("tracks", {"label": "person", "frame": 5, "shapes": person})
    got = run(LOAD + CORNERS)
    assert got["3"] == [["car", 0.0, 1]]
    assert got["4"] == [["car", 0.05, 1]]
    assert [got[str(number)][-1][:2] for number in (6, 7, 8)] == [["person", 0.1], ["person", 0.15], ["person", 0.2]]
    assert len(got["5"]) == len(got["10"]) == 1


def test_several_jobs_corrupt_a_track_without_any_edit(
    run: Run, server: CvatSandbox, annotator: Annotator, tmp_path: Path
) -> None:
    needs_ffmpeg()
    run(FILM, path=clip(tmp_path / "films"), more={"segment_size": 12})
    jobs = [server.world.jobs[job] for job in annotator.jobs()]
    assert [(job.start_frame, job.stop_frame) for job in jobs] == [(0, 11), (7, 18), (14, 23)]
    whole = annotator.ask("GET", f"/api/tasks/{annotator.tasks[0]}/annotations")["tracks"]
    assert [len(track["shapes"]) for track in whole] == [24]  # the server has it right
    got = run(LOAD + CORNERS)
    assert [got[str(number)][0][1] for number in (1, 12)] == [0.013, 0.15]
    assert {got[str(number)][0][1] for number in range(13, 25)} == {0.15}


def test_a_part_of_a_film_maps_back_to_its_frames(run: Run, annotator: Annotator, tmp_path: Path) -> None:
    needs_ffmpeg()
    run(
        """
d = dataset_of([path], name)
d.ensure_frames()
d.annotate("k", backend="cvat", label_field="frames.gt", label_type="detections", classes=["car"],
           frame_start=2, frame_stop=20, frame_step=3, **access)
""",
        path=clip(tmp_path / "films"),
    )
    meta = annotator.ask("GET", f"/api/tasks/{annotator.tasks[0]}/data/meta")
    assert [meta[key] for key in ("size", "start_frame", "stop_frame", "frame_filter")] == [7, 2, 20, "step=3"]
    annotator.add("shapes", {**CAR, "frame": 0}, {**CAR, "frame": 6})
    assert list(run(LOAD + CORNERS.replace("l.index", "0"))) == ["3", "21"]


# --- what FiftyOne breaks -------------------------------------------------------------------------------------------


def test_a_polygon_of_two_parts_loses_one_without_any_edit(run: Run, annotator: Annotator) -> None:
    parts = "[[(.1,.1),(.2,.1),(.2,.2)], [(.5,.5),(.6,.5),(.6,.6)]]"
    fill = f"s['gt'] = fo.Polylines(polylines=[fo.Polyline(label='car', points={parts}, closed=True, filled=True)])"
    annotate(run, fill, "polygons")
    assert len([one for one in annotator.held()["shapes"] if one["frame"] == 0]) == 2
    assert run(LOAD + "result = [[len(p.points) for p in s.gt.polylines] for s in d]") == [[1], [1], [1]]


def test_the_box_of_an_instance_shrinks_at_every_trip(run: Run) -> None:
    fill = """
s["gt"] = fo.Detections(detections=[fo.Detection(label="car", bounding_box=[.1,.1,.5,.5], mask=np.ones((120,160), bool))])
"""
    annotate(run, fill, "instances")
    got = run(
        LOAD + "l = d.first().gt.detections[0]\nresult = [list(l.bounding_box), list(l.mask.shape), str(l.mask.dtype)]"
    )
    assert [round(value, 4) for value in got[0]] == [0.1, 0.1, 0.4969, 0.4958]
    assert got[1:] == [[120, 160], "uint8"]


def test_a_segmentation_loses_a_column_of_every_class(run: Run) -> None:
    fill = """
mask = np.zeros((240, 320), dtype=np.uint8)
mask[20:60, 10:70] = 1
mask[100:150, 100:200] = 2
s["gt"] = fo.Segmentation(mask=mask)
"""
    annotate(run, fill, "segmentation", classes=None, mask_targets={1: "car", 2: "person"})
    got = run(LOAD + "result = [int((d.first().gt.mask == value).sum()) for value in (1, 2)]")
    assert got == [2360, 4950]


def test_labels_made_in_cvat_have_a_new_id_at_every_load(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "detections")
    annotator.add("shapes", CAR)
    ids = "result = [l.id for l in list(d)[1].gt.detections]"
    first, second = run(LOAD + ids), run(LOAD + ids)
    assert first[0] == second[0]
    assert len(first) == len(second) == 2
    assert first[1] != second[1]


def test_text_becomes_numbers_and_ellipses_vanish(run: Run, annotator: Annotator) -> None:
    attributes = {"note": {"type": "text", "values": []}}
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]), note='007')", "detections", attributes=attributes)
    annotator.add("shapes", {**CAR, "type": "ellipse"})
    got = run(LOAD + "result = [[l.note for l in s.gt.detections] for s in d]")
    assert got == [[7], [7], [7]]


def test_instances_of_plain_detections_upload_nothing(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "instances")
    assert annotator.held()["shapes"] == []


def test_labels_of_deleted_frames_are_loaded_as_if_nothing_were(run: Run, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "detections")
    annotator.delete_frames([0])
    assert run(LOAD + "result = [len(s.gt.detections) for s in d]") == [1, 1, 1]


# --- projects, tasks, people ----------------------------------------------------------------------------------------


def test_a_new_project_stays_behind_empty(run: Run, server: CvatSandbox, annotator: Annotator) -> None:
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "detections", project_name="made by it", task_size=2)
    assert [task.name.rpartition("_")[2] for task in server.world.tasks.values()] == ["1", "2"]
    assert {task.project_id for task in server.world.tasks.values()} == {1}
    run("fo.load_dataset(name).load_annotation_results('k', **access).cleanup()")
    assert server.world.tasks == {}
    assert [project.name for project in server.world.projects.values()] == ["made by it"]


def test_an_existing_project_keeps_label_id_for_good(run: Run, server: CvatSandbox, annotator: Annotator) -> None:
    world = server.world
    world.add_project("theirs", labels=[{"name": "car"}, {"name": "tree", "attributes": [{"name": "age"}]}])
    fill = "s['gt'] = boxes(('car', [.1,.1,.2,.2]), ('person', [.5,.5,.2,.2]))"
    annotate(run, fill, "detections", project_name="theirs")
    assert [shape["frame"] for shape in annotator.held()["shapes"]] == [0, 1, 2]  # no persons: no such class there
    annotator.add("shapes", {**CAR, "label": "tree"})
    got = run(
        LOAD + "result = [[l.label for l in s.gt.detections] for s in d]\nd.load_annotation_results('k').cleanup()"
    )
    assert got == [["car", "person"], ["car", "person", "tree"], ["car", "person"]]
    specs = [[spec.name for spec in label.attributes] for label in world.projects[1].labels]
    assert specs == [["label_id"], ["age", "label_id"]]


def test_assignees_get_the_jobs_in_reverse(run: Run, server: CvatSandbox, annotator: Annotator) -> None:
    alice, bobby = (server.world.add_user(person) for person in ("alice", "bobby"))
    annotate(
        run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "detections", segment_size=2, task_assignee="alice",
        job_assignees=["alice", "bobby"], issue_tracker="https://tracker.example.com/1",
    )  # fmt: skip
    [task] = server.world.tasks.values()
    assert (task.assignee_id, task.bug_tracker) == (alice.id, "https://tracker.example.com/1")
    assert [server.world.jobs[job].assignee_id for job in annotator.jobs()] == [bobby.id, alice.id]


def test_everything_can_lie_in_an_organization(run: Run, server: CvatSandbox) -> None:
    org = server.world.add_org("beta-lab")
    annotate(run, "s['gt'] = boxes(('car', [.1,.1,.2,.2]))", "detections", organization="beta-lab", project_name="p")
    assert {task.organization_id for task in server.world.tasks.values()} == {org.id}
    assert run(LOAD + "result = len(d)\nd.load_annotation_results('k', **access).cleanup()") == 3
    assert server.world.tasks == {}


# --- refusals and failures ------------------------------------------------------------------------------------------

SMALL = "s['gt'] = boxes(('car', [.1,.1,.2,.2]))"


def test_a_wrong_password_is_told_without_the_servers_reason_and_leaves_a_run(run: Run, server: CvatSandbox) -> None:
    with pytest.raises(SnippetFailed, match=r"400 Client Error: Bad Request for url: .*/api/auth/login") as failed:
        run("d = dataset_of(paths, name)\nd.annotate('k', backend='cvat', label_field='new', label_type='detections', "
            "classes=['car'], **(access | {'password': 'wrong'}))")  # fmt: skip
    assert failed.value.kind == "HTTPError"
    assert run("result = fo.load_dataset(name).list_annotation_runs()") == ["k"]
    assert server.world.tasks == {}


def test_an_unknown_organization_is_refused(run: Run) -> None:
    with pytest.raises(SnippetFailed, match="nosuchorg organization does not exist"):
        annotate(run, SMALL, "detections", organization="nosuchorg")


def test_an_impossible_quality_leaves_a_task_and_the_uploads_in_the_log(
    run: Run, server: CvatSandbox, fiftyone: RealFiftyOne
) -> None:
    with pytest.raises(SnippetFailed, match="Ensure this value is less than or equal to 100") as failed:
        annotate(run, SMALL, "detections", image_quality=500)
    assert len(server.world.tasks) == 1
    assert "JFIF" in failed.value.said


def test_a_broken_picture_makes_it_wait_for_ever(run: Run, server: CvatSandbox, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    with pytest.raises(SnippetFailed) as failed:
        run(
            """
import signal
def late(*_): raise TimeoutError("still waiting")
signal.signal(signal.SIGALRM, late)
d = dataset_of([path], name)
signal.alarm(6)
try:
    d.annotate("k", backend="cvat", label_field="new", label_type="detections", classes=["car"], **access)
finally:
    signal.alarm(0)
""",
            path=str(broken),
        )
    assert failed.value.text == "still waiting"
    [request] = server.exports.requests.values()
    assert request.message.startswith("PIL.UnidentifiedImageError: cannot identify image file ")
    assert server.log_count("GET /api/jobs") > 2


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("POST /api/auth/login", 0),
        ("POST /api/tasks$", 0),
        ("GET /api/labels", 1),
        ("POST /api/tasks/.*/data", 1),
        ("GET /api/jobs", 1),
        ("GET /api/tasks/.*/data/meta", 1),
        ("PUT /api/tasks/.*/annotations", 1),
    ],
)
def test_an_error_at_any_step_leaves_what_was_made(run: Run, server: CvatSandbox, step: str, left: int) -> None:
    server.faults.add(Fault(step, "status", status=500, times=None))
    with pytest.raises(SnippetFailed, match="500"):
        annotate(run, SMALL, "detections")
    assert len(server.world.tasks) == left
    assert run("result = fo.load_dataset(name).list_annotation_runs()") == ["k"]
