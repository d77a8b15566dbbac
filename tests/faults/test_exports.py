"""Exports that fail, hang, expire or lose their worker; sources that change or go while they are saved."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from running import (
    add_project,
    assert_all_saved,
    assert_equals_server,
    assert_sound,
    finish,
    record_of,
    records,
    run_backup,
    start,
    wait_until,
    when_asked,
)

from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat.world import World

ASK = "POST /api/projects/2/backup/export"
A_LITTLE_WHILE = "0.0005"  # hours: 1.8 s


@pytest.mark.parametrize(
    "message",
    [
        "ValueError: Invalid RLE mask representation\n",
        'Traceback (most recent call last):\n  File "x.py"\nOSError: [Errno 28] No space left on device\n',
        "",
    ],
)
def test_an_export_that_fails_fails_only_its_project_and_says_why(
    server: CvatSandbox, tmp_path: Path, message: str
) -> None:
    server.faults.add(Fault(ASK, "fail", times=None, message=message))
    done = run_backup(server, tmp_path)
    assert done.code == 3
    assert done.outcomes() == {"project 1": "saved", "project 2": "failed", "project 3": "saved"}
    reason = done.last_run()["failures"][0]["reason"]
    assert (message.strip().splitlines() or ["no reason given"])[-1] in reason
    assert "\n" not in reason
    assert len(assert_sound(done.folder)) == 2
    server.faults.clear()
    assert_all_saved(run_backup(server, tmp_path), server)


def test_an_export_that_hangs_past_its_deadline_does_not_hold_up_the_others(
    server: CvatSandbox, tmp_path: Path
) -> None:
    server.faults.add(Fault(ASK, "hang"))
    done = run_backup(
        server, tmp_path, CVAT_BACKUP_REQUEST_TIMEOUT_HOURS=A_LITTLE_WHILE, CVAT_BACKUP_HEALTH_GATE="false"
    )
    assert done.code == 3
    assert done.outcomes() == {"project 1": "saved", "project 2": "failed", "project 3": "saved"}
    [failure] = done.last_run()["failures"]
    assert "1.8 s" in failure["reason"]
    assert "CVAT_BACKUP_REQUEST_TIMEOUT_HOURS" in failure["what_to_do"]
    assert len(assert_sound(done.folder)) == 2


def test_a_hanging_export_is_adopted_by_the_next_run_and_not_asked_for_again(
    server: CvatSandbox, tmp_path: Path
) -> None:
    server.faults.add(Fault(ASK, "hang", seconds=3))
    first = run_backup(server, tmp_path, CVAT_BACKUP_REQUEST_TIMEOUT_HOURS="0.0002", CVAT_BACKUP_HEALTH_GATE="false")
    assert first.outcomes()["project 2"] == "failed"
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert [line["what"] for line in done.happened("export_adopted")] == ["project 2"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_result_that_expires_before_it_is_fetched_is_asked_for_again(
    server: CvatSandbox, tmp_path: Path, times: int
) -> None:
    server.faults.add(Fault(ASK, "expire", times=times))
    assert_all_saved(run_backup(server, tmp_path), server)
    assert server.log_count(ASK) == times + 1


def test_a_request_that_the_server_forgets_is_asked_for_again(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(
        Fault(
            "GET /api/requests/.*target_id%3D2%26", "status", status=404, body="There is no request with specified id"
        )
    )
    assert_all_saved(run_backup(server, tmp_path), server)


def test_a_worker_that_was_killed_for_memory_is_tried_again(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault(ASK, "kill_work_horse"))
    assert_all_saved(run_backup(server, tmp_path), server)
    assert server.log_count(ASK) == 2


def test_an_export_whose_worker_died_is_asked_for_again_once_it_is_freed(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault(ASK, "worker_died", freed_after=1.0))
    assert_all_saved(run_backup(server, tmp_path), server)
    assert server.log_count(ASK) == 2


def test_an_export_whose_worker_died_and_is_never_freed_ends_at_its_deadline(
    server: CvatSandbox, tmp_path: Path
) -> None:
    server.faults.add(Fault(ASK, "worker_died"))
    done = run_backup(
        server, tmp_path, CVAT_BACKUP_REQUEST_TIMEOUT_HOURS=A_LITTLE_WHILE, CVAT_BACKUP_HEALTH_GATE="false"
    )
    assert done.outcomes()["project 2"] == "failed"
    assert done.code == 3


def test_an_answer_finished_without_dates_is_enough(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.null_dates_every = 1
    assert_all_saved(run_backup(server, tmp_path), server)


def test_an_export_that_somebody_began_before_a_change_is_not_taken_for_fresh(
    server: CvatSandbox, tmp_path: Path
) -> None:
    """The same user asked in CVAT's own page, then somebody drew a box, then the run begins: 409."""
    server.world.export_seconds = 1.0
    process = (
        start(server, tmp_path / "one", CVAT_BACKUP_INCLUDE="project:2") if (tmp_path / "one").mkdir() is None else None
    )
    assert process is not None
    wait_until(lambda: server.log_count(ASK), "the first run asks")
    server.world.add_shape(server.world.project(2).task_ids[0], "car")
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    finish(process, tmp_path / "one" / "backups")


# --- what changes or goes meanwhile -------------------------------------------------------------------------------


MOMENTS = {
    "before it is looked at": "GET /api/projects/2",
    "before it is asked for": "POST /api/projects/2/backup/export",
    "before it is fetched": "GET /api/projects/2/backup/download",
    "before it is compared": "GET /api/tasks/2/data/meta",
    "before its annotations are compared": "GET /api/jobs/2/annotations",
}


@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS.keys())
def test_a_project_deleted_meanwhile_is_gone_and_no_failure(server: CvatSandbox, tmp_path: Path, moment: str) -> None:
    when_asked(server, moment, lambda: server.world.delete_project(2))
    done = run_backup(server, tmp_path)
    assert done.code == 0, done.said
    assert done.outcomes()["project 2"] in ("gone", "saved")
    found = assert_sound(done.folder)
    assert all(record.warnings for record in found if record.source.id == 2)
    assert run_backup(server, tmp_path).outcomes() == {"project 1": "unchanged", "project 3": "unchanged"}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_project_deleted_while_it_is_exported_is_gone_and_no_failure(
    server: CvatSandbox, tmp_path: Path, when: str
) -> None:
    server.faults.add(Fault(ASK, "change_while_exporting", call="delete_project", args=(2,), when=when))
    done = run_backup(server, tmp_path)
    assert done.code == 0, done.said
    assert_sound(done.folder)


def test_a_project_deleted_while_its_annotations_are_saved_is_gone(server: CvatSandbox, tmp_path: Path) -> None:
    when_asked(server, "GET /api/jobs/2/annotations", lambda: server.world.delete_project(2))
    done = run_backup(server, tmp_path, "--mode", "a")
    assert done.code == 0, done.said
    assert done.outcomes("a") == {"project 1": "saved", "project 2": "gone", "project 3": "saved"}
    assert len(assert_sound(done.folder)) == 2


def test_an_id_that_now_belongs_to_another_project_is_not_saved_as_the_old_one(
    server: CvatSandbox, tmp_path: Path
) -> None:
    def reinstall() -> None:
        server.world.project(2).created_date = server.world.now()
        server.world.rename_project(2, "somebody else's")

    when_asked(server, "GET /api/projects/2", reinstall)
    done = run_backup(server, tmp_path)
    assert done.code == 0, done.said
    assert done.outcomes() == {"project 1": "saved", "project 2": "gone", "project 3": "saved"}
    assert {record.source.id for record in assert_sound(done.folder)} == {1, 3}
    assert_all_saved(run_backup(server, tmp_path), server)


EDITS: dict[str, Callable[[World], object]] = {
    "its name": lambda world: world.rename_project(2, "renamed while it was saved"),
    "a shape": lambda world: world.add_shape(world.project(2).task_ids[0], "car"),
    "a deleted frame": lambda world: world.delete_frame(world.project(2).task_ids[0], 0),
    "a new task": lambda world: world.add_task(2, "more", 2),
    "a deleted task": lambda world: world.delete_task(world.project(2).task_ids[0]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_edited_while_it_is_saved_is_marked_and_saved_again_next_time(
    server: CvatSandbox, tmp_path: Path, edit: Callable[[World], object], when: str
) -> None:
    server.faults.add(Fault(ASK, "change_while_exporting", call=lambda: edit(server.world), when=when))
    first = run_backup(server, tmp_path)
    assert first.code == 0, first.said
    assert record_of(first.folder, "project", 2).changed_while_exporting
    assert [r.source.id for r in records(first.folder) if r.changed_while_exporting] == [2]
    done = run_backup(server, tmp_path)
    assert done.outcomes() == {"project 1": "unchanged", "project 2": "saved", "project 3": "unchanged"}
    assert not record_of(done.folder, "project", 2).changed_while_exporting
    assert_equals_server(server, done.folder, record_of(done.folder, "project", 2))


# --- stale caches -------------------------------------------------------------------------------------------------


STALE: dict[str, Callable[[World, int], object]] = {
    "deleted frames": lambda world, task: world.delete_frame(task, 1),
    "a stage": lambda world, task: world.set_job(world.task(task).job_ids[0], stage="acceptance", state="completed"),
}


@pytest.mark.parametrize("edit", STALE.values(), ids=STALE.keys())
def test_a_stale_archive_is_mended_and_equals_the_server(
    server: CvatSandbox, tmp_path: Path, edit: Callable[[World, int], object]
) -> None:
    first = run_backup(server, tmp_path)
    task_id = server.world.project(2).task_ids[0]
    edit(server.world, task_id)
    done = run_backup(server, tmp_path)
    assert done.outcomes()["project 2"] == "saved"
    record = record_of(done.folder, "project", 2)
    assert_all_saved(done, server)
    assert len(record.alterations) == 1
    assert record.original is not None
    # What the server sent was yesterday's file to the byte.
    assert record.original.sha256 == next(r for r in records(first.folder) if r.source.id == 2).main_file.sha256
    assert record.main_file.sha256 != record.original.sha256
    assert record.warnings == ()


def test_many_stale_tasks_beside_a_failed_upload_are_mended_together(server: CvatSandbox, tmp_path: Path) -> None:
    project, _first = add_project(server, "mixed")
    world = server.world
    world.fail_upload(world.add_empty_task("broken", project))
    world.add_empty_task("nothing", project)
    second = world.add_task(project, "second", 4, gt_frames=[1])
    run_backup(server, tmp_path)
    for task in (world.task(project.task_ids[0]), second):
        world.delete_frame(task, 2)
    done = run_backup(server, tmp_path)
    record = record_of(done.folder, "project", project.id)
    assert_equals_server(server, done.folder, record, without=(1,))
    assert len(record.alterations) == 3
    assert_sound(done.folder)


def test_a_stale_task_that_cannot_be_mended_is_kept_with_a_warning_or_fails(
    server: CvatSandbox, tmp_path: Path
) -> None:
    run_backup(server, tmp_path)
    task_id = server.world.project(2).task_ids[0]
    server.world.delete_frame(task_id, 1)
    server.faults.add(Fault(f"POST /api/tasks/{task_id}/backup/export", "fail", times=None))
    done = run_backup(server, tmp_path)
    assert done.outcomes()["project 2"] in ("saved", "failed")
    if done.outcomes()["project 2"] == "saved":
        assert record_of(done.folder, "project", 2).warnings
        assert run_backup(server, tmp_path).outcomes()["project 2"] == "saved"
    else:
        assert done.code == 3
    server.faults.clear()
    assert_all_saved(run_backup(server, tmp_path, "--force"), server)


# --- hostile contents ---------------------------------------------------------------------------------------------


HOSTILE = [
    "../../outside.txt",
    "/etc/outside.txt",
    "a/../../outside.txt",
    "..\\..\\outside.txt",
    "C:\\outside.txt",
    "..",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_member_that_would_leave_its_folder_is_refused(server: CvatSandbox, tmp_path: Path, name: str) -> None:
    import zipfile

    from sandbox.cvat import archive

    plain = archive.write_project

    def write(world: World, project_id: int, path: Path) -> None:
        plain(world, project_id, path)
        if project_id == 2:
            with zipfile.ZipFile(path, "a") as opened:
                opened.writestr(name, "hostile")

    archive.write_project = write
    try:
        done = run_backup(server, tmp_path)
    finally:
        archive.write_project = plain
    assert done.code == 3
    assert done.outcomes() == {"project 1": "saved", "project 2": "failed", "project 3": "saved"}
    assert not list(tmp_path.rglob("*outside*"))
    assert_sound(done.folder, parts=True)


@pytest.mark.parametrize(
    "disposition",
    [
        'attachment; filename="../../outside.zip"',
        "attachment; filename*=UTF-8''..%2F..%2Foutside.zip",
        f'attachment; filename="{"x" * 4000}.zip"',
        'attachment; filename=".."',
    ],
)
def test_the_name_the_server_offers_is_not_used(server: CvatSandbox, tmp_path: Path, disposition: str) -> None:
    server.faults.add(Fault("/download", "header", times=None, name="Content-Disposition", value=disposition))
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert not list(tmp_path.rglob("*outside*"))


@pytest.mark.parametrize(
    "name", ["../../outside", "/outside", "..", "x" * 256, "ü" * 256, "\x1b[31mred", "a\nb", "con.", "🚗"]
)
def test_a_hostile_name_stays_inside_and_harmless(server: CvatSandbox, tmp_path: Path, name: str) -> None:
    add_project(server, name)
    done = run_backup(server, tmp_path, "--mode", "p", "a")
    assert done.code == 0, done.said
    assert_sound(done.folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups"]
    assert not [path for path in done.folder.rglob("*") if len(path.name.encode()) > 255]
    assert "\x1b" not in done.said
    listed = run_backup(server, tmp_path, "--list")
    assert listed.code == 0
    assert "\x1b" not in listed.said


@pytest.mark.parametrize(
    "body",
    [
        "null",
        "[]",
        '{"results": []}',
        '{"count": 3, "next": null, "previous": null, "results": []}',
        "<html>",
        '{"count"',
    ],
)
def test_a_list_that_is_none_never_counts_as_an_empty_server(server: CvatSandbox, tmp_path: Path, body: str) -> None:
    server.faults.add(
        Fault(
            r"GET /api/projects\?", "status", times=None, status=200, body=json.loads(body) if body[0] in "n[" else body
        )
    )
    done = run_backup(server, tmp_path)
    assert done.code == 1, done.said
    assert assert_sound(done.folder) == []


def test_two_runs_of_different_modes_side_by_side_do_not_disturb_each_other(
    server: CvatSandbox, tmp_path: Path
) -> None:
    processes = [start(server, tmp_path, "--mode", mode) for mode in "pa"]
    codes = {}

    def wait(mode: str, process: object) -> None:
        codes[mode] = finish(process, tmp_path / "backups").code  # type: ignore[arg-type]

    threads = [threading.Thread(target=wait, args=pair) for pair in zip("pa", processes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == {"p": 0, "a": 0}
    assert len(assert_sound(tmp_path / "backups")) == 6
