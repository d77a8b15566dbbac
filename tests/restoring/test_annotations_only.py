"""Labels were deleted or overwritten: what was saved goes back into the same tasks, job by job."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path
from typing import Any

import pytest
from running import add_project, path_of, record_of, run_backup, run_restore

from sandbox.cvat import CvatSandbox
from sandbox.cvat.archive import portable
from sandbox.cvat.faults import Fault
from sandbox.cvat.samples import PERSON, TRAFFIC, person_annotations, traffic_annotations
from sandbox.cvat.world import Project, World

ORDER = ("--annotations-only", "--project", "Signs")


def held(world: World, project: Project) -> list[Any]:
    """All annotations by name, in an order of their own."""
    found = []
    for task in world.tasks_of(project):
        for job in world.jobs_of(task):
            items = portable(job.annotations.as_json(), world.label_index(task))
            found.append(
                {kind: sorted(repr(_sorted(item)) for item in items[kind]) for kind in items if kind != "version"}
            )
    return found


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return sorted((_sorted(inner) for inner in value), key=repr)
    return value


def wipe(world: World, project: Project) -> None:
    for task in world.tasks_of(project):
        for job in world.jobs_of(task):
            world.put_annotations(job, {})


@pytest.fixture
def saved(server: CvatSandbox, tmp_path: Path) -> tuple[Project, list[Any]]:
    """A project of every kind: overlapping video jobs with tracks, skeletons, ground truth, replicas; saved."""
    world = server.world
    project = world.add_project("Signs", labels=[PERSON, *TRAFFIC])
    images = world.add_task(project, "images", 6, segment_size=3, gt_frames=[1, 4])
    for job in world.jobs_of(images):
        traffic_annotations(world, job)
    video = world.add_task(project, "video", kind="video", segment_size=20)
    traffic_annotations(world, world.jobs_of(video)[0], tracks=True)
    people = world.add_task(project, "people", 4)
    person_annotations(world, world.jobs_of(people)[0])
    voted = world.add_task(project, "votes", 3, consensus_replicas=2)
    traffic_annotations(world, world.jobs_of(voted)[1])
    assert run_backup(server, tmp_path, "--mode", "a").code == 0
    return project, held(world, project)


def test_everything_that_was_wiped_comes_back_and_nothing_is_multiplied(
    server: CvatSandbox, tmp_path: Path, saved: Any
) -> None:
    project, wanted = saved
    wipe(server.world, project)
    asked = run_restore(server, tmp_path, *ORDER)
    assert asked.code == 2
    assert "--yes" in asked.err
    assert held(server.world, project) != wanted
    done = run_restore(server, tmp_path, *ORDER, "--yes")
    assert done.code == 0, done.said
    assert held(server.world, project) == wanted
    again = run_restore(server, tmp_path, *ORDER, "--yes")
    assert again.code == 0
    assert "nothing was written" in again.out
    assert held(server.world, project) == wanted
    assert server.log_count("PUT /api/tasks/.*") == 0


def test_what_was_there_is_saved_first_and_comes_back_by_the_same_command(
    server: CvatSandbox, tmp_path: Path, saved: Any
) -> None:
    project, wanted = saved
    world = server.world
    wipe(world, project)
    job = world.jobs_of(world.tasks_of(project)[0])[0]
    world.add_shape(job, "car", frame=1)
    between = held(world, project)
    assert run_restore(server, tmp_path, *ORDER, "--yes").code == 0
    assert held(world, project) == wanted
    [kept] = (tmp_path / "backups" / "restores").glob("*/*/before/*.zip")
    undone = run_restore(server, tmp_path, "--annotations-only", "--at", str(kept), "--yes")
    assert undone.code == 0, undone.said
    assert held(world, project) == between


def test_the_command_that_undoes_it_can_be_copied_into_a_shell(server: CvatSandbox, tmp_path: Path, saved: Any) -> None:
    project, _wanted = saved
    wipe(server.world, project)
    elsewhere = (tmp_path / "backups").rename(tmp_path / "my backups")
    done = run_restore(server, tmp_path, *ORDER, "--yes", CVAT_BACKUP_DIR=str(elsewhere))
    [kept] = elsewhere.glob("restores/*/*/before/*.zip")
    assert shlex.split(done.out.split("to undo this: ")[1])[-1] == str(kept)


def test_a_narrowed_restore_keeps_the_work_of_others(server: CvatSandbox, tmp_path: Path, saved: Any) -> None:
    project, _wanted = saved
    world = server.world
    task = world.tasks_of(project)[0]
    job = world.jobs_of(task)[0]
    before = held(world, project)[0]["shapes"]
    index = world.label_index(task)
    kept = [shape for shape in job.annotations.as_json()["shapes"] if shape["label_id"] != index.named("car")]
    world.put_annotations(job, {"shapes": [{k: v for k, v in one.items() if k != "id"} for one in kept]})
    world.add_shape(job, "road", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], type="polygon", frame=2)
    done = run_restore(
        server, tmp_path, "--annotations-only", "--task", "images", "--labels", "car", "--frames", "0-1", "--yes"
    )
    assert done.code == 0, done.said
    now = job.annotations.as_json()
    cars = [shape["frame"] for shape in now["shapes"] if shape["label_id"] == index.named("car")]
    assert sorted(cars) == [0, 1]  # the car of frame 2 was not asked for
    assert len(now["shapes"]) == len(kept) + 1 + 2
    assert not now["tags"]  # wiped after the backup, not asked for
    assert len(before) > len(kept)
    unknown = run_restore(server, tmp_path, *ORDER, "--labels", "lorry", "--yes")
    assert unknown.code == 2
    beyond = run_restore(server, tmp_path, *ORDER, "--frames", "900-999", "--yes")
    assert beyond.code == 2
    assert "'900-999': nothing that is meant has such a frame" in beyond.err


def test_labels_are_mapped_by_name_into_a_project_that_was_restored(
    server: CvatSandbox, tmp_path: Path, saved: Any
) -> None:
    project, wanted = saved
    world = server.world
    run_backup(server, tmp_path)
    world.delete_project(project.id)
    assert run_restore(server, tmp_path, "--project", "Signs").code == 0
    [copy] = [one for one in world.projects.values() if one.name == "Signs"]
    wipe(world, copy)
    done = run_restore(server, tmp_path, *ORDER, "--yes")
    assert done.code == 0, done.said
    assert held(world, copy) == wanted


def test_a_label_that_is_gone_or_other_frames_are_refused_before_anything_is_written(
    server: CvatSandbox, tmp_path: Path, saved: Any
) -> None:
    project, _wanted = saved
    world = server.world
    wipe(world, project)
    car = next(label for label in project.labels if label.name == "car")
    car.name = "automobile"
    done = run_restore(server, tmp_path, *ORDER, "--yes")
    assert "the task has no" in done.out
    assert "label 'car'" in done.out
    assert done.code == 3  # the people hold no car: they came back
    car.name = "car"
    other = world.add_project("Other", labels=TRAFFIC)
    world.add_task(other, "elsewhere", 2)
    world.delete_project(project.id)
    gone = run_restore(server, tmp_path, *ORDER, "--yes")
    assert gone.code == 1
    assert "is gone from the server" in gone.out


def _spoiled(path: Path, target: Path, spoil: Any) -> Path:
    import json

    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            content = source.read(info)
            if "/jobs/" in info.filename:
                value = json.loads(content)
                spoil(value)
                content = json.dumps(value).encode()
            made.writestr(info.filename, content)
    return target


def _poison(value: Any) -> None:
    for shape in value["shapes"]:
        for element in shape.get("elements") or ():
            element["frame"] += 1


def _lacking(value: Any) -> None:
    del value["tracks"]


def _outside(value: Any) -> None:
    for shape in value["shapes"]:
        shape["frame"] += 1000
        for element in shape.get("elements") or ():
            element["frame"] += 1000


@pytest.mark.parametrize(
    ("spoil", "said"), [(_poison, "lies on another frame"), (_lacking, "would be wiped"), (_outside, "outside the job")]
)
def test_what_would_ruin_a_job_is_never_sent(
    server: CvatSandbox, tmp_path: Path, saved: Any, spoil: Any, said: str
) -> None:
    project, _wanted = saved
    folder = tmp_path / "backups"
    api = path_of(folder, record_of(folder, "project", project.id, "annotations"))
    bad = _spoiled(api, tmp_path / "bad.zip", spoil)
    done = run_restore(server, tmp_path, "--annotations-only", "--at", str(bad), "--task", "people", "--yes")
    assert done.code == 1
    assert said in done.out
    assert server.log_count("PUT .*") == 0


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_put_without_an_answer_is_looked_at_before_it_is_repeated(
    server: CvatSandbox, tmp_path: Path, saved: Any, carried_out: bool
) -> None:
    project, wanted = saved
    wipe(server.world, project)
    server.faults.add(Fault("PUT /api/jobs/", "status", status=504, after_handling=carried_out))
    done = run_restore(server, tmp_path, *ORDER, "--yes")
    assert done.code == 0, done.said
    assert done.happened("annotations_unknown")
    assert held(server.world, project) == wanted


def test_twins_on_the_server_are_not_guessed_at(server: CvatSandbox, tmp_path: Path) -> None:
    project, task = add_project(server, "Signs")
    run_backup(server, tmp_path, "--mode", "a")
    server.world.delete_task(task.id)
    for _ in range(2):
        server.world.add_task(project, "scans", 3)
    done = run_restore(server, tmp_path, *ORDER, "--yes")
    assert done.code == 1
    assert "more than one task there has its name" in done.out
