"""Backed up, everything deleted, restored: what was there is there again, value by value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from portraits import portrait, task_portrait
from running import add_project, path_of, record_of, run_backup, run_restore

from sandbox.cvat import CvatSandbox
from sandbox.cvat.world import World


def wipe(world: World) -> None:
    for project_id in list(world.projects):
        world.delete_project(project_id)
    for task_id in list(world.tasks):
        world.delete_task(task_id)


def all_portraits(world: World) -> list[str]:
    """Of every project and loose task with data; in an order of their own."""
    found: list[Any] = [portrait(world, project) for project in world.projects.values()]
    loose = [task for task in world.tasks.values() if task.project_id is None and task.data is not None]
    found += [task_portrait(world, task) for task in loose]
    return sorted(repr(each) for each in found)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The demo's world, saved once; its portraits. Nothing may change the backups."""
    tmp_path = tmp_path_factory.mktemp("demo")
    with CvatSandbox(samples="demo", export_seconds=0.01, anonymous_per_minute=10_000) as server:
        assert run_backup(server, tmp_path, "--mode", "p", "a").code == 0
        yield server, tmp_path, all_portraits(server.world)


def test_the_whole_demo_comes_back_on_the_emptied_server_and_on_a_new_one(demo: Any) -> None:
    server, tmp_path, wanted = demo
    wipe(server.world)
    done = run_restore(server, tmp_path, "--all")
    assert done.code == 0, done.said
    assert all_portraits(server.world) == wanted
    assert "DIFFERS" not in done.out
    slugs = {org.id: org.slug for org in server.world.organizations.values()}
    acme = [project.name for project in server.world.projects.values() if slugs.get(project.organization_id) == "acme"]
    assert sorted(acme) == ["Acme cars", "Parking lots", "foo_bar"]
    again = run_restore(server, tmp_path, "--all")
    assert again.code == 0, again.said
    assert all_portraits(server.world) == wanted  # nothing twice
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as other:
        moved = run_restore(other, tmp_path, "--all", "--without-metadata")
        assert moved.code == 0, moved.said
        assert all_portraits(other.world) == wanted


def test_one_project_under_another_name_into_an_organization(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    server.world.add_org("lab", "Lab", server.world.users[project.owner_id])
    run_backup(server, tmp_path)
    done = run_restore(server, tmp_path, "--project", "Signs", "--name", "Signs again", "--organization", "lab")
    assert done.code == 0, done.said
    [copy] = [one for one in server.world.projects.values() if one.name == "Signs again"]
    assert copy.organization_id == server.world.org_named("lab").id
    assert f"{server.url}/projects/{copy.id}" in done.out


def test_what_is_there_is_refused_unless_asked_for_again(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    refused = run_restore(server, tmp_path, "--project", str(project.id))
    assert refused.code == 1
    assert "--again" in refused.out
    assert [one.name for one in server.world.projects.values()].count("Signs") == 1
    assert run_restore(server, tmp_path, "--project", str(project.id), "--again").code == 0
    assert [one.name for one in server.world.projects.values()].count("Signs") == 2


def test_a_moment_chooses_the_backup_that_was_in_force(server: CvatSandbox, tmp_path: Path) -> None:
    project, task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    first = record_of(tmp_path / "backups", "project", project.id)
    for job in server.world.jobs_of(task):
        server.world.put_annotations(job, {})
    run_backup(server, tmp_path)
    server.world.delete_project(project.id)
    done = run_restore(server, tmp_path, "--project", "Signs", "--at", first.stamp)
    assert done.code == 0, done.said
    [copy] = [one for one in server.world.projects.values() if one.name == "Signs"]
    assert server.world.jobs_of(server.world.tasks_of(copy)[0])[0].annotations.shapes
    too_early = run_restore(server, tmp_path, "--project", "Signs", "--at", "2001-01-01")
    assert too_early.code == 2
    assert "no backup that old" in too_early.err


def test_a_large_project_travels_in_parts_in_its_order(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Large", frames=2, megabytes=1)
    for name in ("second", "third", "fourth"):
        server.world.add_task(project, name, 2, files=server.world.media.random_files(2, 300_000))
    run_backup(server, tmp_path)
    wanted = portrait(server.world, project)
    server.world.delete_project(project.id)
    server.world.upload_limit_bytes = int(0.0018 * 2**30)
    done = run_restore(server, tmp_path, "--project", "Large", CVAT_RESTORE_UPLOAD_LIMIT_GB="0.0018")
    assert done.code == 0, done.said
    assert "in 3 parts" in done.out
    [copy] = [one for one in server.world.projects.values() if one.name == "Large"]
    assert portrait(server.world, copy) == wanted
    assert len(server.world.tasks) == 3 + 4


def test_a_task_that_no_upload_can_carry_is_refused_with_the_way_out(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Large", frames=2, megabytes=1)
    run_backup(server, tmp_path)
    server.world.delete_project(project.id)
    before = server.log_count("POST /api/projects/backup/")
    done = run_restore(server, tmp_path, "--project", "Large", CVAT_RESTORE_UPLOAD_LIMIT_GB="0.0005")
    assert done.code == 1
    assert "TUS_MAX_FILE_SIZE" in done.out
    assert "--at chooses" not in done.out  # no other backup is any smaller
    assert server.log_count("POST /api/projects/backup/") == before
    # The limit of the server may be lower than ours: that is said too.
    server.world.upload_limit_bytes = 500_000
    smaller = run_restore(server, tmp_path, "--project", "Large")
    assert smaller.code == 1
    assert "CVAT_RESTORE_UPLOAD_LIMIT_GB" in smaller.out


@pytest.mark.parametrize(
    ("script", "flag"),
    [("restore", "--list"), ("restore", "--verify"), ("restore", "--all"), ("backup", "--list"), ("backup", "--force")],
)
def test_the_folder_of_one_server_does_not_look_like_no_backups(
    server: CvatSandbox, tmp_path: Path, script: str, flag: str
) -> None:
    run_backup(server, tmp_path)
    [inner] = (tmp_path / "backups").glob("127*")
    before = sorted(inner.iterdir())
    done = run_backup(server, tmp_path, flag, script=script, CVAT_BACKUP_DIR=str(inner))
    assert done.code == 2
    assert f"Set it to {tmp_path / 'backups'}." in done.err
    assert sorted(inner.iterdir()) == before


def test_a_read_only_token_is_named_as_such(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    server.world.delete_project(project.id)
    done = run_restore(
        server, tmp_path, "--project", "Signs",
        CVAT_USERNAME=None, CVAT_PASSWORD=None, CVAT_ACCESS_TOKEN=server.access_token,
    )  # fmt: skip
    assert done.code == 1
    assert "read-only access token is enough for backups, not for restoring" in done.err
    assert server.access_token not in done.said


def test_choices_that_are_not_clear_name_what_there_is(server: CvatSandbox, tmp_path: Path) -> None:
    for _ in range(2):
        add_project(server, "Twins")
    run_backup(server, tmp_path)
    ambiguous = run_restore(server, tmp_path, "--project", "Twins")
    assert ambiguous.code == 2
    assert "means 2 sources" in ambiguous.err and "Choose one by its id" in ambiguous.err
    unknown = run_restore(server, tmp_path, "--project", "Triplets")
    assert unknown.code == 2
    assert "Twins" in unknown.err
    nothing = run_restore(server, tmp_path)
    assert nothing.code == 2
    assert "--project" in nothing.err
    assert run_restore(server, tmp_path, "--list").code == 0


def test_the_journal_of_a_restore_is_plain_json_and_holds_no_secret(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    server.world.delete_project(project.id)
    run_restore(server, tmp_path, "--project", "Signs")
    [path] = (tmp_path / "backups" / "restores").glob("*/*/restore.json")
    assert json.loads(path.read_text())["state"] == "done"
    assert server.password not in path.read_text()
    assert [one.name for one in path.parent.iterdir()] == ["restore.json"]


def test_all_restores_only_what_is_gone(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    done = run_restore(server, tmp_path, "--all")
    assert done.code == 0, done.said
    assert "1 backup restored, 2 there already" in done.out
    assert sorted(project.name for project in server.world.projects.values()) == [f"project 000{n}" for n in (1, 2, 3)]


def test_what_an_account_may_not_look_at_is_not_taken_for_gone(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    server.world.add_user("lesser", "lesser-Pass-1")
    count = len(server.world.projects)
    done = run_restore(server, tmp_path, "--all", CVAT_USERNAME="lesser", CVAT_PASSWORD="lesser-Pass-1")
    assert done.code == 1, done.said
    assert "this account may not look" in done.out
    assert len(server.world.projects) == count


def test_a_restored_project_is_found_under_a_new_name_and_not_restored_twice(
    server: CvatSandbox, tmp_path: Path
) -> None:
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    assert run_restore(server, tmp_path, "--all").code == 0
    copy = max(server.world.projects)
    server.world.rename_project(copy, "another name")
    again = run_restore(server, tmp_path, "--all")
    assert "3 there already" in again.out, again.said
    assert max(server.world.projects) == copy


def test_one_bad_backup_does_not_keep_the_others_from_coming_back(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    folder = tmp_path / "backups"
    path_of(folder, record_of(folder, "project", 2)).write_bytes(b"gone bad")
    wipe(server.world)
    done = run_restore(server, tmp_path, "--all")
    assert done.code == 3
    assert "2 backups restored, 1 refused" in done.out
    assert "has 8 bytes instead of" in done.out
    assert sorted(project.name for project in server.world.projects.values()) == ["project 0001", "project 0003"]
    before = run_restore(server, tmp_path, "--all", "--at", "2001-01-01")
    assert before.code == 2
    assert "nothing has a backup that old" in before.err


def test_one_deleted_task_goes_back_into_its_project(server: CvatSandbox, tmp_path: Path) -> None:
    world = server.world
    project, _first = add_project(server, "Signs")
    world.add_empty_task("nothing yet", project)
    task = world.add_task(project, "lost", 4, segment_size=2)
    world.add_shape(task.job_ids[1], "car", frame=3)
    world.set_job(task.job_ids[0], stage="validation", state="in progress")
    run_backup(server, tmp_path)
    wanted = task_portrait(world, task)
    present = run_restore(server, tmp_path, "--task", "lost")
    assert present.code == 1
    assert "is on the server already" in present.out
    world.delete_task(task.id)
    for _ in range(2):
        done = run_restore(server, tmp_path, "--task", "lost")
        assert done.code == 0, done.said
        [copy] = [each for each in world.tasks.values() if each.name == "lost"]
        assert copy.project_id == project.id
        assert task_portrait(world, copy) == wanted
        assert next((job.stage, job.state) for job in world.jobs_of(copy)) == ("validation", "in progress")
    assert (
        f"in project {project.id} again"
        in run_restore(server, tmp_path, "--task", str(task.id), "--name", "second").out
    )
    world.delete_project(project.id)
    alone = run_restore(server, tmp_path, "--task", "lost")
    assert alone.code == 0, alone.said
    assert "in no project now" in alone.out


def test_one_task_is_extracted_without_the_others(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    server.world.add_task(project, "second batch", frames=2)
    run_backup(server, tmp_path)
    done = run_restore(server, tmp_path, "--extract", str(tmp_path / "out"), "--task", "second batch")
    assert done.code == 0, done.said
    assert {path.name.split("-")[0] for path in (tmp_path / "out").glob("*/*")} == {"task_1"}
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 2
