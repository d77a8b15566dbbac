"""downloader.py --mode datasets against a server: what is chosen, what lies there afterwards, what the figures say."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import signal
import struct
import threading
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from rights import like_anybody, rights
from running import add_project, environment, finish, running, start, wait_until

from common.datasets import DatasetSettings, download
from common.datasets import task as at
from common.files import DiskFull
from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat import datasets as written
from tests.downloading.datasets import assert_complete, begin, run

ALL = ("--required-status", "null")
SINCE_2020 = '{"and":[{">=":[{"var":"updated_date"},"2020-01-01T08:00:00Z"]}]}'


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complete(server: CvatSandbox, task_id: int, stage: str = "acceptance", state: str = "completed") -> None:
    for job in server.world.jobs_of(server.world.tasks[task_id]):
        server.world.set_job(job, stage=stage, state=state)


# --- the document's behaviour -----------------------------------------------------------------------------------


def test_completed_tasks_are_downloaded_by_default_and_the_run_tells_what_the_document_shows(server, tmp_path):
    first, second, _third = sorted(server.world.tasks)
    complete(server, first)
    complete(server, second)
    done = run(server, tmp_path)
    assert done.code == 0, done.said
    assert done.outcomes == {first: "downloaded", second: "downloaded"}
    for line in (
        "Starting CVAT Download Pipeline", f"Connecting to CVAT at {server.url}...", "Dataset format: COCO 1.0",
        "Include images: false", "Check image exists: true", "Required status: completed", "Found 3 total tasks",
        "Filtering tasks with status: 'completed'", "Filtered out 1 task not matching status", "Will process 2 tasks",
        "CVAT Download Complete", "Tasks downloaded: 2", f"Metrics saved to: {done.folder / 'metrics.json'}",
    ):  # fmt: skip
        assert line in done.out.splitlines(), line
    assert "All good: 2 tasks downloaded" in done.err.splitlines()[-1]
    for folder in done.folders:
        assert assert_complete(done.folder / "cvat_downloads" / folder) == [
            "annotations/instances_default.json",
            "jobs.json",
        ]
    metrics = done.metrics
    document = {
        "total_tasks_found", "tasks_downloaded", "tasks_skipped", "tasks_failed", "images_filtered", "project_id",
        "task_ids_filter", "status_filter", "task_details",
    }  # fmt: skip
    assert document <= set(metrics) and metrics["status_filter"] == "completed" and metrics["total_tasks_found"] == 3
    in_document = {
        "task_id", "task_name", "directory_name", "status", "size", "output_dir", "images_filtered", "success",
    }  # fmt: skip
    assert all(in_document <= set(detail) and detail["success"] for detail in metrics["task_details"])
    assert metrics["bytes"] > 0 and metrics["seconds"] > 0 and metrics["format"] == "COCO 1.0"


@pytest.mark.parametrize(
    ("arguments", "wanted", "asked"),
    [
        (["-o", "cvat_download.required_status=null"], {1, 2, 3}, {}),
        (["-o", "cvat_download.required_status=annotation"], {2}, {"status": "annotation"}),
        (["-o", "cvat_download.task_ids=[1,3]", "-o", "cvat_download.required_status=null"], {1, 3}, None),
        (["-o", "cvat_download.project_id=2", "-o", "cvat_download.required_status=null"], {2}, {"project_id": "2"}),
        (
            ["-o", "cvat_download.organization_slug=null", "-o", "cvat_download.project_id=null"],
            {1},
            {"status": "completed"},
        ),
        (["--required-status", "acceptance"], {1}, {}),
        (["--required-status", "in progress"], {2}, {}),
        (["--required-status", "any", "--exclude", "*2*,nothing", "--include", "*"], "names", {}),
        (["--jobs-completed"], {1, 3}, {}),
        (["--jobs-completed", "--required-status", "completed"], {1}, {"status": "completed"}),
        (["--required-status", "null", "--subset", "Train"], {3}, {"subset": "Train"}),
        (["--required-status", "null", "--updated-since", "2020-01-01T08:00"], {1, 2, 3}, {"filter": SINCE_2020}),
    ],
)
def test_every_filter_lets_pass_what_it_says_and_the_server_is_asked_for_no_more(
    server, tmp_path, arguments, wanted, asked
):
    assert sorted(server.world.tasks) == [1, 2, 3]
    complete(server, 1)
    complete(server, 2, "annotation", "in progress")
    complete(server, 3, "validation", "completed")
    server.world.tasks[3].subset = "Train"
    if wanted == "names":
        wanted = {task.id for task in server.world.tasks.values() if "2" not in task.name}
    done = run(server, tmp_path, *arguments)
    assert done.code == 0, done.said
    assert set(done.outcomes) == set(wanted), done.out
    queries = [parse_qs(each.query) for each in server.log if each.line == "GET /api/tasks"]
    listings = [query for query in queries if query.pop("page_size") != ["1"]]
    plumbing = {"sort": ["id"]}
    assert listings == ([] if asked is None else [{name: [value] for name, value in asked.items()} | plumbing])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "3 tasks are on the server, none has status completed (annotation: 2, validation: 1). NULL."),
        (["--project-id", "2"], "1 task is in project 2, none has status completed (annotation: 1). NULL."),
        (["--task-ids", "1,2"], "task 1: its status is annotation, not completed; task 2: its status is annotation, not "
         "completed. NULL."),
        (["--required-status", "null", "--subset", "x"], "3 tasks are on the server, none is in subset 'x'."),
        (["--required-status", "null", "--project-id", "2", "--include", "x"], "1 task is in project 2, none has such a name."),
        (["--required-status", "null", "--updated-since", "2999-01-01"], "3 tasks are on the server, none was updated since "
         "2999-01-01T00:00:00Z."),
        (["--required-status", "rejected"], "3 tasks are on the server, none has all its jobs in state 'rejected'."),
        (["--jobs-completed"], "3 tasks are on the server, none has all its jobs in state completed."),
    ],
)  # fmt: skip
def test_where_nothing_matched_the_last_words_say_which_filter_took_all_of_it(server, tmp_path, arguments, said):
    complete(server, 3, "validation", "in progress")
    done = run(server, tmp_path, *arguments)
    assert done.code == 0 and done.metrics["total_tasks_found"] == 3 and done.outcomes == {}
    said = said.replace("NULL", "--required-status null takes them as they are")
    assert done.err.splitlines()[-1] == f"Nothing was downloaded: {said}"


def test_a_project_is_told_with_its_labels(server, tmp_path):
    done = run(server, tmp_path, "--project-id", "2")
    project = server.world.projects[2]
    labels = [label.name for label in project.labels]
    assert f"Project: {project.name} (ID: 2)" in done.out and labels
    assert f"Project labels: {labels}" in done.out and "Project has 1 total task" in done.out


def test_null_for_all_eight_keys_of_the_document_means_none_any_or_the_default(server, tmp_path):
    keys = ("organization_slug", "project_id", "task_ids", "required_status", "check_image_exists", "dataset_format",
            "include_images", "overwrite_existing")  # fmt: skip
    arguments = [part for key in keys for part in ("-o", f"cvat_download.{key}=null")]
    done = run(server, tmp_path, *arguments, CVAT_DOWNLOAD_INCLUDE_IMAGES="true", CVAT_DOWNLOAD_DATASET_FORMAT="YOLO 1.1",
               CVAT_DOWNLOAD_TASK_IDS="1", CVAT_DOWNLOAD_CHECK_IMAGE_EXISTS="false")  # fmt: skip
    assert done.code == 0, done.said
    assert set(done.outcomes) == {1, 2, 3} and done.metrics["status_filter"] is None
    for line in ("Dataset format: COCO 1.0", "Include images: false", "Check image exists: true"):
        assert line in done.out.splitlines(), line


def test_a_task_id_that_is_not_there_is_a_named_failure_beside_the_others(server, tmp_path):
    done = run(server, tmp_path, "--task-ids", "[1, 999]", "--required-status", "null")
    assert done.code == 3
    assert done.outcomes == {1: "downloaded", 999: "failed"}
    assert "FAILED   task 999: the server has no such task" in done.err


def test_images_come_along_when_they_are_asked_for_in_the_format_that_is_named_in_any_case(server, tmp_path):
    done = run(
        server,
        tmp_path,
        "--required-status",
        "null",
        "--task-ids",
        "1",
        "--include-images",
        "--dataset-format",
        "yolo 1.1",
    )
    assert done.code == 0 and done.metrics["format"] == "YOLO 1.1"
    names = assert_complete(done.folder / "cvat_downloads" / done.folders[0])
    assert "obj.data" in names and sum(name.endswith(".jpg") for name in names) == server.world.tasks[1].data.size


def test_a_format_that_is_misspelt_is_answered_with_the_nearest_one(server, tmp_path):
    done = run(server, tmp_path, "--dataset-format", "COCO1.0")
    assert done.code == 2
    assert "CVAT_DOWNLOAD_DATASET_FORMAT='COCO1.0' is not a format of this server; did you mean 'COCO 1.0'?" in done.err
    assert "not a format" in done.metrics["reason"]


def test_two_tasks_of_one_name_each_get_a_folder_and_the_job_states_lie_beside_the_annotations(server, tmp_path):
    first, second = (add_project(server, f"p{n}")[1] for n in range(2))
    first.name, second.name = "Scans: A", "scans A"
    complete(server, first.id, "validation", "in progress")
    arguments = ("--required-status", "null", "--include", "scans*")
    done = run(server, tmp_path, *arguments)
    assert done.folders == [f"scans_a__{first.id}", f"scans_a__{second.id}"]
    jobs = json.loads((done.folder / "cvat_downloads" / f"scans_a__{first.id}" / "jobs.json").read_text())
    assert jobs["task_name"] == "Scans: A"
    assert {(job["stage"], job["state"]) for job in jobs["jobs"]} == {("validation", "in progress")}
    # Alone in a later run, it is found again.
    again = run(server, tmp_path, "--required-status", "null", "--task-ids", str(first.id))
    assert again.outcomes == {first.id: "skipped"} and again.folders == done.folders


# --- deleted frames -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["COCO 1.0", "YOLO 1.1", "PASCAL VOC 1.1"])
def test_images_deleted_in_cvat_are_removed_with_their_annotations_and_counted(server, tmp_path, name):
    _, task = add_project(server, "pictures", frames=5)
    server.world.set_deleted_frames(task, {1, 3})
    server.world.leak_deleted_frames = True
    arguments = ("--task-ids", str(task.id), "--required-status", "null", "--include-images", "--dataset-format", name)
    done = run(server, tmp_path, *arguments)
    assert done.code == 0, done.said
    names = assert_complete(done.folder / "cvat_downloads" / "scans")
    assert sum(each.endswith(".jpg") for each in names) == 3
    # On each of these frames lies one box; YOLO knows no turned ones, and that of frame 1 is.
    boxes = {"COCO 1.0": 2, "YOLO 1.1": 1, "PASCAL VOC 1.1": 2}[name]
    assert (done.metrics["images_filtered"], done.metrics["annotations_filtered"]) == (2, boxes)
    assert f"removed 2 deleted images and {boxes} annotation" in done.out
    unchecked = run(server, tmp_path, *arguments, "--check-image-exists", "false")
    assert unchecked.outcomes == {task.id: "downloaded"} and unchecked.metrics["images_filtered"] == 0
    assert sum(each.endswith(".jpg") for each in assert_complete(done.folder / "cvat_downloads" / "scans")) == 5


def test_a_format_that_cannot_be_checked_says_so(server, tmp_path):
    _, task = add_project(server, "pictures", frames=4)
    server.world.set_deleted_frames(task, {0})
    arguments = ("--task-ids", str(task.id), "--required-status", "null", "--dataset-format", "LabelMe 3.0")
    done = run(server, tmp_path, *arguments)
    assert done.code == 0 and "LabelMe 3.0 cannot be checked for deleted images" in done.out
    assert done.detail(task.id)["reason"] == (
        "1 image of this task was deleted in CVAT; LabelMe 3.0 could not be checked for what belongs to them"
    )


# --- the cache ----------------------------------------------------------------------------------------------------


def test_what_is_complete_and_unchanged_is_skipped_and_nothing_is_exported(server, tmp_path):
    assert set(run(server, tmp_path, *ALL).outcomes.values()) == {"downloaded"}
    server.faults.add(Fault("POST /api/tasks", "fail", times=None))
    again = run(server, tmp_path, *ALL)
    assert again.code == 0 and set(again.outcomes.values()) == {"skipped"}
    assert again.metrics["tasks_skipped"] == 3


CHANGED_BY_SOMEBODY = ("file changed", "file added", "manifest torn")


@pytest.mark.parametrize(
    "change",
    [
        "annotations",
        "job state",
        "deleted frame",
        "format",
        "images",
        "file lost",
        "file changed",
        "file added",
        "manifest torn",
        "overwrite",
    ],
)
def test_whatever_changed_is_downloaded_again_and_nothing_old_stays(server, tmp_path, change):
    first = run(server, tmp_path, *ALL, "--task-ids", "1")
    folder = first.folder / "cvat_downloads" / first.folders[0]
    arguments: tuple[str, ...] = (*ALL, "--task-ids", "1")
    task = server.world.tasks[1]
    annotations, manifest = folder / "annotations" / "instances_default.json", folder / ".cvat-download.jsonl"
    if change == "annotations":
        task.updated_date = server.world.now()
    elif change == "file added":
        task.updated_date = server.world.now()
        (folder / "notes.txt").write_text("notes")
    elif change == "job state":
        complete(server, 1, "annotation", "rejected")
    elif change == "deleted frame":
        server.world.set_deleted_frames(task, {0})
    elif change == "format":
        arguments += ("--dataset-format", "Datumaro 1.0")
    elif change == "images":
        arguments += ("--include-images",)
    elif change == "file lost":
        annotations.unlink()
    elif change == "file changed":
        annotations.write_bytes(annotations.read_bytes().replace(b"1", b"2", 1))
    elif change == "manifest torn":
        manifest.write_bytes(manifest.read_bytes()[:-30])
    else:
        arguments += ("--overwrite-existing",)
        (folder / "notes.txt").write_text("old")
    again = run(server, tmp_path, *arguments)
    assert again.code == 0 and again.outcomes == {1: "downloaded"}, again.said
    others = [each for each in again.folders if each != folder.name]
    assert len(again.folders) == len(others) + 1
    # What somebody may have written stays beside it.
    assert [each.startswith(f"{folder.name}.kept-") for each in others] == [True] * (change in CHANGED_BY_SOMEBODY)
    if change in CHANGED_BY_SOMEBODY:
        assert f" is kept as {folder.parent / others[0]}: " in again.out
        last = again.err.splitlines()[-1]
        assert last.endswith(f" 1 folder that somebody had changed is kept: {folder.parent / others[0]}.")
        assert {"file changed": "2", "file added": "notes"}.get(change, "") in tree_of(folder.parent / others[0])[
            "notes.txt" if change == "file added" else "annotations/instances_default.json"
        ].decode()
        assert run(server, tmp_path, *arguments).folders == again.folders
    said = {
        "format": ": the folder held COCO 1.0 without images; it is replaced by Datumaro 1.0 without images",
        "images": ": the folder held COCO 1.0 without images; it is replaced by COCO 1.0 with images",
        "overwrite": f"Replacing {folder}, as --overwrite-existing says (1 file was added to it)",
        "annotations": "Task 1 has changed since it was downloaded",
    }
    assert said.get(change, "") in again.out
    names = assert_complete(folder)
    assert ("annotations/default.json" in names) == (change == "format")
    assert ("annotations/instances_default.json" in names) == (change != "format")


def test_a_folder_that_is_not_ours_is_left_alone_unless_it_is_to_be_overwritten(server, tmp_path):
    name = run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    folder = tmp_path / "outputs" / "cvat_downloads" / name
    (folder / ".cvat-download.jsonl").unlink()
    (folder / "mine.txt").write_text("precious")
    refused = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert refused.code == 1 and "was not made by this program" in refused.err and "--overwrite-existing" in refused.err
    assert (folder / "mine.txt").read_text() == "precious"
    assert run(server, tmp_path, *ALL, "--task-ids", "1", "--overwrite-existing").code == 0
    assert not (folder / "mine.txt").exists() and assert_complete(folder)


def test_a_dataset_folder_that_was_moved_to_another_disk_and_linked_is_skipped_and_its_link_kept(server, tmp_path):
    name = run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    folder, moved = tmp_path / "outputs" / "cvat_downloads" / name, tmp_path / "moved"
    folder.rename(moved)
    folder.symlink_to(moved)
    assert run(server, tmp_path, *ALL, "--task-ids", "1").outcomes == {1: "skipped"}
    before = tree_of(moved)
    server.world.tasks[1].updated_date = server.world.now()
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    [kept] = [each for each in done.folders if each != name]
    assert done.code == 0 and assert_complete(folder) and not folder.is_symlink() and tree_of(moved) == before
    assert (folder.parent / kept).readlink() == moved and f": it is a link to {moved}" in done.out


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_stands_in_a_datasets_place_is_named_before_anything_is_exported(server, tmp_path, kind):
    final = tmp_path / "outputs" / "cvat_downloads" / run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    shutil.rmtree(final)
    if kind == "file":
        final.write_text("precious")
    else:
        final.symlink_to(tmp_path / "nowhere")
    exports = server.log_count("POST .*/export")
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert done.code == 1 and f"the {kind.split()[-1]} {final} exists already and was not made by" in done.err
    assert server.log_count("POST .*/export") == exports
    assert "Run the same command again" not in done.err and "First do what stands below" in done.err
    assert run(server, tmp_path, *ALL, "--task-ids", "1", "--overwrite-existing").code == 0 and assert_complete(final)


@pytest.mark.parametrize("place", ["cvat_downloads", "cvat_downloads/.staging"])
def test_an_output_folder_with_something_in_the_way_is_no_fault_of_the_program(server, tmp_path, place):
    path = tmp_path / "outputs" / place
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    done = run(server, tmp_path, *ALL)
    assert done.code == 2 and f"CVAT_DOWNLOAD_OUTPUT_DIR={tmp_path / 'outputs'} cannot be written" in done.err
    assert str(path) in done.err and "Move away what is in the way there." in done.err
    assert path.read_text() == "precious"


def test_a_task_that_was_renamed_does_not_leave_its_old_folder_behind(server, tmp_path):
    run(server, tmp_path, *ALL, "--task-ids", "1")
    task = server.world.tasks[1]
    task.name, task.updated_date = "another name", server.world.now()
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert done.folders == ["another_name"] and assert_complete(done.folder / "cvat_downloads" / "another_name")
    task.name = "Another  Name"  # the same folder, and no other date
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert done.outcomes == {1: "skipped"} and done.folders == ["another_name"]
    assert assert_complete(done.folder / "cvat_downloads" / "another_name")


@pytest.mark.parametrize("change", ["edited", "added to"])
def test_the_old_folder_of_a_renamed_task_stays_when_somebody_has_changed_it(server, tmp_path, change):
    name = run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    old = tmp_path / "outputs" / "cvat_downloads" / name
    changed = old / ("annotations/instances_default.json" if change == "edited" else "notes.txt")
    changed.write_text("mine")
    task = server.world.tasks[1]
    task.name, task.updated_date = "another name", server.world.now()
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert done.code == 0 and done.folders == sorted(["another_name", name])
    assert changed.read_text() == "mine" and f"Left {old}: the task had another name then, but " in done.out


def test_copies_of_downloaded_folders_are_nobodys_to_delete(server, tmp_path):
    name = run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    downloads = tmp_path / "outputs" / "cvat_downloads"
    for copy in (f"{name}_edited", "0_backup", "lesion_2024"):
        shutil.copytree(downloads / name, downloads / copy)
        (downloads / copy / "annotations" / "instances_default.json").write_text("mine")
    everything = sorted([name, f"{name}_edited", "0_backup", "lesion_2024"])
    assert run(server, tmp_path, *ALL, "--task-ids", "1").folders == everything
    task = server.world.tasks[1]
    task.name, task.updated_date = "Lesion 2024", server.world.now()
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    everything.remove(name)  # as the task has another name now
    assert done.code == 0 and done.folders == sorted([*everything, "lesion_2024__1"])
    for copy in everything:
        assert (downloads / copy / "annotations" / "instances_default.json").read_text() == "mine"


@pytest.mark.parametrize("arguments", [(), ("--overwrite-existing",)], ids=["as it is", "overwritten"])
def test_a_folder_of_ours_that_may_not_be_read_is_called_that(server, tmp_path, arguments):
    [name] = run(server, tmp_path, *ALL, "--task-ids", "1").folders
    folder = tmp_path / "outputs" / "cvat_downloads" / name
    with rights(folder, 0):
        done = run(server, tmp_path, *ALL, "--task-ids", "1", *arguments, preexec=like_anybody)
    assert done.code == 1 and done.outcomes == {1: "failed"}
    assert "may not be read or replaced (Permission denied)" in done.detail(1)["reason"], done.said
    assert "not made by this program" not in done.said
    assert f"writable for the user that runs downloader.py: {folder}" in done.err
    assert_complete(folder)


@pytest.mark.parametrize("name", ["of another name", "of the same name"])
def test_a_server_that_was_set_up_anew_takes_nothing_away_that_was_downloaded_before(server, tmp_path, name):
    first = run(server, tmp_path, *ALL, "--task-ids", "1").folders[0]
    before = tree_of(tmp_path / "outputs" / "cvat_downloads" / first)
    task = server.world.tasks[1]
    task.created_date = task.updated_date = server.world.now()
    if name == "of another name":
        task.name = "weeds 2025"
    new = "weeds_2025" if name == "of another name" else f"{first}__1"
    for outcome in ("downloaded", "skipped"):
        done = run(server, tmp_path, *ALL, "--task-ids", "1")
        assert done.folders == sorted([first, new]) and done.outcomes == {1: outcome}
        assert tree_of(tmp_path / "outputs" / "cvat_downloads" / first) == before


def test_a_link_in_the_place_of_our_own_folder_leads_to_nothing_being_deleted(server, tmp_path):
    precious = tmp_path / "precious"
    (precious / "task_1").mkdir(parents=True)
    (precious / "passwd").write_text("precious")
    staging = tmp_path / "outputs" / "cvat_downloads" / ".staging"
    staging.parent.mkdir(parents=True)
    staging.symlink_to(precious)
    done = run(server, tmp_path, *ALL)
    assert done.code == 2 and f"{staging} is a link to {precious}" in done.err and "Delete the link" in done.err
    assert sorted(path.name for path in precious.iterdir()) == ["passwd", "task_1"]
    staging.unlink()
    staging.mkdir()
    (staging / "mine.txt").write_text("precious")
    (staging / "task_9").mkdir()
    assert run(server, tmp_path, *ALL).code == 0
    assert [path.name for path in staging.iterdir()] == ["mine.txt"]


# --- what goes wrong ----------------------------------------------------------------------------------------------

STEPS = {
    "while it is extracted": "import common.datasets.extract as at; name = '_require_harmless'",
    "before it is put in place": "import common.datasets.task as at; name = 'publish_folder'",
    "before the old one is deleted": "import shutil as at; name = 'rmtree'",
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_killed_at_any_step_leaves_the_old_folder_or_the_new_one_and_the_next_run_ends_it(server, tmp_path, step):
    run(server, tmp_path, *ALL, "--task-ids", "1")
    folder = tmp_path / "outputs" / "cvat_downloads"
    [name] = os.listdir(folder)
    server.world.set_deleted_frames(server.world.tasks[1], {0})
    here = tmp_path / "here"
    patch = f"""
{STEPS[step]}
import time, pathlib
plain, calls = getattr(at, name), []
def stop_here(*arguments, **more):
    calls.append(arguments)
    if len(calls) == {2 if step.startswith("while") else 1}:
        pathlib.Path({str(here)!r}).write_text("")
        time.sleep(600)
    return plain(*arguments, **more)
setattr(at, name, stop_here)
"""
    with running(begin(server, tmp_path, *ALL, "--task-ids", "1", patched=patch)) as process:
        wait_until(here.exists, step, 60)
        process.send_signal(signal.SIGKILL)
    assert_complete(folder / name)
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert done.code == 0 and done.folders == [name], done.said
    assert_complete(folder / name)


def test_a_folder_set_aside_by_a_killed_run_comes_back(server, tmp_path):
    done = run(server, tmp_path, *ALL, "--task-ids", "1")
    folder = done.folder / "cvat_downloads"
    [name] = done.folders
    (folder / ".staging").mkdir()
    (folder / name).rename(folder / ".staging" / f"aside_{name}")
    again = run(server, tmp_path, *ALL, "--task-ids", "1")
    assert again.outcomes == {1: "skipped"} and again.folders == [name]


def hostile(path: Path, kind: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations/instances_default.json", "{}")
        if kind == "leaves the folder":
            archive.writestr("../../escaped", "x")
        elif kind == "absolute":
            archive.writestr("/tmp/escaped-by-archive", "x")
        elif kind == "link":
            link = zipfile.ZipInfo("images")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc")
        elif kind == "twice":
            archive.writestr("annotations/instances_default.json", "[]")
        elif kind == "long name":
            archive.writestr("x" * 300, "x")
        elif kind == "file and folder":
            archive.writestr("annotations", "x")
        elif kind == "our name":
            archive.writestr(".cvat-download.jsonl", "x")
        elif kind == "empty part":
            archive.writestr("a//b", "x")
        elif kind == "deep":
            archive.writestr("d/" * 1900 + "x", "x")
        elif kind == "bomb":
            archive.writestr("zeros", b"\0" * 50_000_000)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("leaves the folder", "leaves its folder"),
        ("absolute", "has an absolute path"),
        ("link", "is a link or a device"),
        ("twice", "two members are called"),
        ("long name", "longer name than file systems allow"),
        ("file and folder", "two members are called"),
        ("our name", "uses itself"),
        ("empty part", "empty part in its path"),
        ("deep", "lies in 1,900 folders within one another"),
        ("bomb", "is not as long as the directory says"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_hostile_archive_writes_nothing_and_fails_its_task_alone(server, tmp_path, monkeypatch, kind, said):
    plain = written.write_dataset

    def write(world, target, target_id, name, save_images, base, path):
        if target_id != 2:
            plain(world, target, target_id, name, save_images, base, path)
            return
        hostile(path, kind)
        if kind == "bomb":
            path.write_bytes(shrunk(path.read_bytes()))

    monkeypatch.setattr(written, "write_dataset", write)
    done = run(server, tmp_path, *ALL)
    assert done.code == 3, done.said
    assert done.outcomes == {1: "downloaded", 2: "failed", 3: "downloaded"}
    assert said in done.detail(2)["reason"], done.detail(2)["reason"]
    assert len(done.folders) == 2, done.folders  # nothing of the bad one is kept either
    left = {path.name for path in tmp_path.rglob("*")}
    assert "escaped" not in left and not Path("/tmp/escaped-by-archive").exists()


def shrunk(data: bytes) -> bytes:
    """A zip whose member "zeros" claims to hold 10 bytes, and unpacks into 50 million."""
    claimed = struct.pack("<L", 10)
    local = data.index(b"PK\x03\x04", 30)
    data = data[: local + 22] + claimed + data[local + 26 :]
    central = data.rindex(b"PK\x01\x02")
    return data[: central + 24] + claimed + data[central + 28 :]


def test_the_disk_is_not_filled_up(server, tmp_path):
    done = run(server, tmp_path, *ALL, CVAT_DOWNLOAD_MIN_FREE_GB="900000")
    assert done.code == 1 and set(done.outcomes.values()) == {"failed"}
    assert "are kept free" in done.detail(1)["reason"]
    assert "CVAT_DOWNLOAD_MIN_FREE_GB" in done.err and "CVAT_BACKUP" not in done.err


def test_one_export_that_fails_does_not_stop_the_others(server, tmp_path):
    server.faults.add(Fault("POST /api/tasks/2/dataset/export", "fail", times=None))
    done = run(server, tmp_path, *ALL)
    assert done.code == 3 and done.outcomes == {1: "downloaded", 2: "failed", 3: "downloaded"}
    last = done.err.splitlines()[-1]
    assert last.startswith("2 tasks downloaded, 0 unchanged, 1 FAILED") and "Run the same command again" not in last
    name = server.world.tasks[2].name
    assert f"To go on without this task: --exclude {shlex.quote(name)}" in done.err
    assert run(server, tmp_path, *ALL, "--exclude", name).code == 0


def test_a_download_that_is_cut_goes_on(server, tmp_path):
    server.faults.add(Fault("GET /api/tasks/1/dataset/download", "cut", after_bytes=300, times=2))
    assert run(server, tmp_path, *ALL, "--include-images").code == 0
    statuses = [each.status for each in server.log if each.line == "GET /api/tasks/1/dataset/download"]
    assert statuses == [200, 206, 206]


def test_exports_of_the_next_tasks_are_prepared_while_one_downloads(server, tmp_path):
    server.faults.add(Fault("GET /api/tasks/.*/dataset/download", "stall", after_bytes=10, seconds=600, times=None))
    with running(begin(server, tmp_path, *ALL, "--concurrency", "1")):
        wait_until(lambda: server.log_count("POST /api/tasks/.*/dataset/export") == 3, "three exports", 60)
        assert server.log_count("GET /api/tasks/.*/dataset/download") <= 1


def test_that_an_export_begins_is_told_when_it_does(server, tmp_path):
    server.faults.add(Fault("POST /api/tasks/1/dataset/export", "hang", times=None))
    with running(begin(server, tmp_path, *ALL, "--task-ids", "1", preexec=os.setpgrp)) as process:
        said = []
        while not said or not said[-1].startswith("Exporting dataset in format: "):
            said.append(process.stdout.readline())
            assert said[-1], said
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert [line.partition(" task 1")[0] for line in said[-3:-1]] == ["Processing", "Downloading"]
    assert "Exporting" not in out


def test_wrong_credentials_end_with_12_and_metrics_say_why(server, tmp_path):
    done = run(server, tmp_path, CVAT_PASSWORD="wrong")
    assert done.code == 12 and "refused user" in done.metrics["reason"] and done.metrics["tasks_downloaded"] == 0
    assert done.metrics["task_details"] == []


def test_an_account_that_sees_nothing_is_told_so(server, tmp_path):
    server.world.add_user("blind", "blind-Pass-123")
    done = run(server, tmp_path, CVAT_USERNAME="blind", CVAT_PASSWORD="blind-Pass-123")
    assert done.code == 1 and "The account sees no task at all" in done.err


def test_an_unknown_organization_or_project_is_named_with_its_setting(server, tmp_path):
    done = run(server, tmp_path, "--organization-slug", "nosuch")
    assert done.code == 2 and "CVAT_DOWNLOAD_ORGANIZATION_SLUG" in done.err
    done = run(server, tmp_path, "--project-id", "999")
    assert done.code == 1 and "CVAT_DOWNLOAD_PROJECT_ID=999" in done.err


def test_a_second_run_in_the_same_folder_is_refused(server, tmp_path):
    server.faults.add(Fault("POST /api/tasks", "hang", times=None))
    with running(begin(server, tmp_path, *ALL)) as process:
        wait_until(
            lambda: server.world and (tmp_path / "outputs" / "cvat_downloads" / ".staging").exists(), "at work", 60
        )
        second = finish(begin(server, tmp_path, *ALL), tmp_path / "outputs")
        assert second.code == 11 and "is already running here" in second.err
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "so far: 0 tasks downloaded, 0 unchanged. Metrics saved to: " in out, out
    assert "the next run goes on from here" in err
    metrics = json.loads((tmp_path / "outputs" / "metrics.json").read_text())
    assert metrics["reason"] == "stopped by a signal"


def test_another_run_is_waited_for_as_long_as_the_setting_says(server, tmp_path):
    (tmp_path / "outputs").mkdir()
    with open(tmp_path / "outputs" / ".lock-downloads", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = begin(server, tmp_path, *ALL, CVAT_LOCK_WAIT_MINUTES="5", preexec=os.setpgrp)
        with running(waiting):
            line = next(line for line in waiting.stderr if "waiting_for_lock" in line)
            fcntl.flock(lock, fcntl.LOCK_UN)
            _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and "5 min" in line and "All good: 3 tasks downloaded" in err


@pytest.mark.parametrize("already", [False, True], ids=["downloaded", "skipped"])
def test_metrics_that_cannot_be_written_are_no_good_end(server, tmp_path, already):
    if already:
        run(server, tmp_path, *ALL)
        (tmp_path / "outputs" / "metrics.json").unlink()
    (tmp_path / "outputs" / "metrics.json").mkdir(parents=True)
    done = finish(begin(server, tmp_path, *ALL), tmp_path / "outputs")
    assert done.code == 3 and "fault of the program" not in done.err
    assert "CVAT Download Complete" in done.out and "Metrics saved" not in done.out
    last = done.err.splitlines()[-1]
    assert "All good" not in last
    assert ("0 tasks downloaded, 3 unchanged" if already else "3 tasks downloaded, 0 unchanged") in last
    assert f"Metrics.json could not be written into {tmp_path / 'outputs'}: Is a directory" in last


def test_all_wrong_settings_are_named_at_once(server, tmp_path):
    done = finish(
        begin(
            server, tmp_path, "-o", "cvat_download.task_ids=one", "-o", "cvat_download.required_status=done",
            "-o", "cvat_download.include_images=perhaps",
        ),
        tmp_path / "outputs",
    )  # fmt: skip
    assert done.code == 2 and not (tmp_path / "outputs").exists()
    for variable in ("TASK_IDS", "REQUIRED_STATUS", "INCLUDE_IMAGES"):
        assert f"CVAT_DOWNLOAD_{variable}=" in done.err
    done = finish(begin(server, tmp_path, "-o", "cvat_download.task_id=1"), tmp_path / "outputs")
    assert done.code == 2 and "did you mean cvat_download.task_ids?" in done.err


def test_without_a_mode_the_two_are_named(server, tmp_path):
    done = finish(start(server, tmp_path, script="downloader"), tmp_path / "outputs")
    assert done.code == 2 and "--mode datasets" in done.err and "--mode images" in done.err


def test_a_run_id_gives_a_run_its_own_folder(server, tmp_path):
    done = run(server, tmp_path, *ALL, "--run-id", "proj")
    assert done.code == 0
    assert (tmp_path / "outputs" / "proj" / "metrics.json").exists()
    assert len(list((tmp_path / "outputs" / "proj" / "cvat_downloads").iterdir())) == 3


def settings_in_python(server: CvatSandbox, tmp_path: Path) -> DatasetSettings:
    values = {
        **environment(server, tmp_path),
        "CVAT_DOWNLOAD_OUTPUT_DIR": str(tmp_path / "out"),
        "CVAT_DOWNLOAD_REQUIRED_STATUS": "null",
    }
    known = {
        name: value
        for name, value in values.items()
        if name.startswith(("CVAT_URL", "CVAT_USER", "CVAT_PASS", "CVAT_DOWN"))
    }
    return DatasetSettings.model_validate(known)


def test_from_python_it_takes_settings_and_returns_the_metrics(server, tmp_path):
    lines: list[str] = []
    metrics = download(settings_in_python(server, tmp_path), tell=lines.append)
    assert metrics["tasks_downloaded"] == 3 and "CVAT Download Complete" in lines


@pytest.mark.parametrize("room", ["one after the other", "for none"])
def test_tasks_that_take_each_others_room_are_tried_again_one_at_a_time(server, tmp_path, monkeypatch, room):
    plain, all_at_once, calls = at.check_archive, threading.Barrier(3), []

    def crowded(*arguments: Any) -> int:
        calls.append(arguments)
        if len(calls) <= 3:
            all_at_once.wait(60)
        elif room != "for none":
            return plain(*arguments)
        raise DiskFull("5 GB are needed in x, 4 GB are free")

    monkeypatch.setattr(at, "check_archive", crowded)
    lines: list[str] = []
    # As many downloads as tasks: each waits, with its archive, for the two others.
    settings = settings_in_python(server, tmp_path).model_copy(update={"concurrency": 3})
    metrics = download(settings, tell=lines.append)
    assert sum("beside the others, it is tried again when they are done: 5 GB" in line for line in lines) == 3
    assert sorted(detail["task_id"] for detail in metrics["task_details"]) == [1, 2, 3]
    if room == "for none":
        assert metrics["tasks_failed"] == 3 and len(calls) == 4
        assert "Not tried again: 2 tasks, since a smaller one finds no room either" in lines
    else:
        assert metrics["tasks_downloaded"] == 3 and len(calls) == 6
