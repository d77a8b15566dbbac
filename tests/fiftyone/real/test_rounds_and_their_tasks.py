"""Rounds of fiftyone_sync.py: tasks, projects, people, names, and what others do meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from making import Annotator
from rounds import BOXES, SMALL, Rounds, nothing_is_left, without

from sandbox.cvat import CvatSandbox
from sandbox.cvat.media import draw_street

Json = dict[str, Any]


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


def test_a_task_of_several_jobs_comes_back_whole(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, SEGMENT_SIZE="2")
    before = rounds.snapshot()
    rounds.sync("load")
    assert rounds.snapshot() == before
    first, second = annotator.jobs()
    annotator.change("shapes", 0, {"points": [0.0, 0.0, 32.0, 24.0]}, job=second)
    annotator.remove("shapes", 0, job=first)
    was = rounds.labels("gt")
    rounds.sync("load")
    assert rounds.labels("gt") == [[], was[1], [was[2][0] | {"bounding_box": [0.0, 0.0, 0.1, 0.1]}]]


PASSWORDS = ("0012345", "1e3", "a,b", "None", "true", " spaced ", "ü#$'\"\\")


@pytest.mark.parametrize("password", PASSWORDS, ids=[f"password {number}" for number in range(len(PASSWORDS))])
def test_a_password_stays_the_text_that_it_is(rounds: Rounds, server: CvatSandbox, password: str) -> None:
    server.world.add_user("0042", password, superuser=True)
    rounds.run(SMALL)
    done = rounds.sync("create", **BOXES, CVAT_USERNAME="0042", CVAT_PASSWORD=password)
    assert password not in done.said or password in ("None", "true")
    [task] = server.world.tasks.values()
    assert server.world.users[task.owner_id or 0].username == "0042"
    rounds.sync("cleanup", CVAT_USERNAME="0042", CVAT_PASSWORD=password)
    nothing_is_left(rounds)


def test_everything_can_lie_in_an_organization(rounds: Rounds, server: CvatSandbox, annotator: Annotator) -> None:
    org = server.world.add_org("beta-lab")
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, PROJECT_NAME="ours", ORGANIZATION="beta-lab")
    assert {task.organization_id for task in server.world.tasks.values()} == {org.id}
    annotator.remove("shapes", 0)
    rounds.sync("load", ORGANIZATION="beta-lab")
    assert [len(row) for row in rounds.labels("gt")] == [0, 1, 1]
    rounds.sync("cleanup", ORGANIZATION="beta-lab")
    nothing_is_left(rounds)
    done = rounds.sync("create", code=2, **BOXES, ANNO_KEY="round_2", ORGANIZATION="nosuchorg")
    assert "nosuchorg" in done.said
    nothing_is_left(rounds)


def test_a_task_that_somebody_deleted_takes_no_labels_with_it(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, TASK_SIZE="2")
    first, second = annotator.tasks
    before = rounds.labels("gt")
    annotator.remove("shapes", 0, job=annotator.jobs(second)[0])
    annotator.ask("DELETE", f"/api/tasks/{first}")
    done = rounds.sync("load", code=None)
    assert rounds.labels("gt") == [before[0], before[1], []]
    assert str(first) in done.said
    rounds.sync("cleanup", code=1)
    rounds.sync("cleanup", "--discard")
    nothing_is_left(rounds)


def test_samples_and_labels_that_went_away_meanwhile_are_no_trouble(rounds: Rounds, annotator: Annotator) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES)
    for number in range(3):
        annotator.change("shapes", number, {"points": [0.0, 0.0, 32.0, 24.0]})
    rounds.run(
        """
d = fo.load_dataset(name)
first, second, third = list(d)
d.delete_samples([first])
second.gt.detections.clear()
second.save()
"""
    )
    done = rounds.sync("load", code=None)
    assert done.code in (0, 3), done.said
    left = rounds.labels("gt")
    assert [[label["bounding_box"] for label in row] for row in left][1:] == [[[0.0, 0.0, 0.1, 0.1]]]
    assert len(left) == 2


def test_odd_names_of_files_classes_and_datasets_go_there_and_back(
    rounds: Rounds, annotator: Annotator, tmp_path: Path
) -> None:
    odd = ['a"b.jpg', "c\\d.jpg", "e;f=g.jpg", "ü 日本 🙂.jpg", "x" * 200 + ".jpg", "%41.jpg", "-n.jpg"]
    paths = []
    for number, file in enumerate(odd):
        path = tmp_path / "odd" / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(draw_street(number, (320, 240)))
        paths.append(str(path))
    rounds.paths = paths
    classes = ["größe ☃", 'quo"te', "a,b", "<b>", "car "]
    rounds.run(
        """
d = dataset_of(paths, name)
d.compute_metadata()
for n, s in enumerate(d):
    s["gt"] = boxes((classes[n % len(classes)], [.1 * (n % 5), .1, 1/3, .2]))
    s.save()
""",
        classes=classes,
    )
    rounds.sync("create", LABEL_FIELD="gt", LABEL_TYPE="detections", CLASSES=json.dumps(classes))
    before = rounds.snapshot()
    rounds.sync("load")
    assert rounds.snapshot() == before
    was = rounds.labels("gt")
    for frame in range(len(odd)):
        points = [float(frame), 0.0, 32.0, 24.0]
        annotator.change("shapes", lambda row, frame=frame: row["frame"] == frame, {"points": points})
    rounds.sync("load")
    now = rounds.labels("gt")
    assert [row[0]["bounding_box"][0] * 320 for row in now] == pytest.approx(range(len(odd)))
    assert [[row[0]["label"], row[0]["_id"]] for row in now] == [[row[0]["label"], row[0]["_id"]] for row in was]


def test_a_dataset_is_made_of_a_folder_and_only_part_of_it_is_sent(rounds: Rounds, annotator: Annotator) -> None:
    folder = rounds.folder / "media"
    new = {"LABEL_FIELD": "new", "LABEL_TYPE": "detections", "CLASSES": "car", "MEDIA_DIR": str(folder)}
    rounds.sync("create", **new, VIEW="limit=2")
    assert len(rounds.snapshot()["samples"]) == 3
    meta = annotator.ask("GET", f"/api/tasks/{annotator.tasks[0]}/data/meta")
    assert meta["size"] == 2
    annotator.add("shapes", {"label": "car", "type": "rectangle", "frame": 1, "points": [0.0, 0.0, 32.0, 24.0]})
    rounds.sync("load")
    assert sorted(len(row) for row in rounds.labels("new")) == [0, 0, 1]
    rounds.sync("cleanup")
    nothing_is_left(rounds)


def test_status_and_check_tell_what_there_is_and_change_nothing(rounds: Rounds, server: CvatSandbox) -> None:
    rounds.run(SMALL)
    before = rounds.snapshot()
    rounds.sync("check", **BOXES)
    assert (rounds.snapshot(), server.world.tasks) == (before, {})
    rounds.sync("create", **BOXES)
    assert rounds.name in rounds.sync("status").said
    rounds.sync("check", code=None, **BOXES)
    done = rounds.sync("create", code=None, **BOXES)  # a second time
    assert done.code not in (0, 1, 3)
    assert len(server.world.tasks) == 1


def test_switched_off_nothing_goes_anywhere(rounds: Rounds, server: CvatSandbox) -> None:
    rounds.run(SMALL)
    rounds.sync("create", **BOXES, CVAT_SYNC="false")
    assert list(server.log) == []
    nothing_is_left(rounds)
