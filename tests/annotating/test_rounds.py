"""Rounds of fiftyone_sync.py: what is made, what is left behind, what is thrown away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from annotating.conftest import Played, state

from common.exits import Exit
from common.lock import locked
from sandbox.cvat import CvatSandbox, Fault

Sync = Callable[..., int]
SCRIPT = Path(__file__).resolve().parents[2] / "fiftyone_sync.py"


def names(server: CvatSandbox) -> tuple[list[str], list[str]]:
    world = server.world
    return [each.name for each in world.tasks.values()], [each.name for each in world.projects.values()]


def test_a_create_gives_everything_its_right_name_and_writes_down_what_the_server_holds(
    sync: Sync, server: CvatSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create", "--project-name", "Birds") == Exit.ALL_GOOD
    assert names(server) == (["FiftyOne_birds_1", "FiftyOne_birds_2"], ["Birds"])
    found = state(tmp_path)
    assert found["phase"] == "created"
    assert [each["samples"] for each in found["tasks"]] == [2, 2]
    assert found["project"]["made_by_us"] is True
    folder = next((tmp_path / "state").glob("fiftyone/*/round1-*"))
    assert sorted(path.name for path in (folder / "baseline").iterdir()) == ["1.json", "2.json"]
    assert (folder.stat().st_mode & 0o777) == 0o700
    assert "Sent 4 samples in 2 tasks" in capsys.readouterr().err


def test_the_jobs_go_to_the_people_in_the_order_of_their_frames(sync: Sync, server: CvatSandbox):
    for name in ("alice", "bobby"):
        server.world.add_user(name, "x")
    assert sync("create", "--segment-size", "1", "--job-assignees", "alice,bobby") == Exit.ALL_GOOD
    for task in server.world.tasks.values():
        jobs = sorted(server.world.jobs_of(task), key=lambda each: each.start_frame)
        assert [server.world.users[each.assignee_id].username for each in jobs] == ["alice", "bobby"]


@pytest.mark.parametrize("then", ["die", "silent", "fail"])
def test_a_create_that_fails_leaves_nothing_and_the_next_one_works(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path, then: str, capsys: pytest.CaptureFixture[str]
):
    server.world.add_project("somebody's")
    plan = {"tasks": 1, "then": then, "kind": "data", "reason": "CVAT could not read the files"}
    played.plan(create=plan)
    assert sync("create", "--project-name", "Birds") == Exit.NOTHING_WORKED
    assert names(server) == ([], ["somebody's"])
    assert state(tmp_path) is None
    assert played.requests("forget")
    said = capsys.readouterr().err
    assert {"die": "SIGKILL", "silent": "without an answer", "fail": "could not read"}[then] in said
    played.plan(create={"tasks": 1})
    assert sync("create", "--project-name", "Birds") == Exit.ALL_GOOD


def test_a_task_that_the_worker_could_not_tell_of_any_more_is_found_by_its_mark(
    sync: Sync, server: CvatSandbox, played: Played
):
    played.plan(create={"tasks": 2, "untold": True, "then": "die"})
    assert sync("create") == Exit.NOTHING_WORKED
    assert names(server) == ([], [])


def test_what_a_killed_create_left_is_removed_by_the_next_one(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path
):
    played.plan(create={"tasks": 1, "then": "hang"})
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "create", "--project-name", "Birds"], stderr=subprocess.PIPE, text=True
    )
    assert any('"hanging"' in line for line in process.stderr)
    process.kill()
    process.communicate()
    [task] = names(server)[0]
    assert task.startswith("FiftyOne_birds_1 [fiftyone_sync ")
    assert state(tmp_path)["phase"] == "creating"
    assert sync("load") == Exit.BAD_CONFIGURATION
    played.plan(create={"tasks": 1})
    assert sync("create", "--project-name", "Birds") == Exit.ALL_GOOD
    assert names(server) == (["FiftyOne_birds_1"], ["Birds"])


def test_a_create_that_is_stopped_clears_away_and_ends_its_children(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path
):
    played.plan(create={"tasks": 1, "then": "hang"})
    process = subprocess.Popen([sys.executable, str(SCRIPT), "create"], stderr=subprocess.PIPE, text=True)
    child = next(line for line in process.stderr if '"hanging"' in line)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("Stopped. The next create begins anew.")
    assert process.returncode == 128 + signal.SIGTERM
    assert names(server) == ([], [])
    assert state(tmp_path) is None
    number = int(child.partition('"child": ')[2].partition(",")[0].rstrip("}\n "))
    for _ in range(500):
        if not is_running(number):
            break
        time.sleep(0.01)
    assert not is_running(number)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_key_that_is_in_use_is_not_used_again(sync: Sync, server: CvatSandbox):
    assert sync("create") == Exit.ALL_GOOD
    assert sync("create") == Exit.BAD_CONFIGURATION
    assert len(server.world.tasks) == 2


def test_two_commands_on_one_round_do_not_run_at_once(sync: Sync, tmp_path: Path):
    assert sync("create") == Exit.ALL_GOOD
    [lock] = (tmp_path / "state").glob("fiftyone/*/.lock-round1-*")
    with locked(lock, "another"):
        assert sync("load") == Exit.LOCKED


def test_wrong_credentials_end_it_before_fiftyone_is_started(
    sync: Sync, played: Played, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CVAT_PASSWORD", "wrong")
    assert sync("create") == Exit.CREDENTIALS_REFUSED
    assert played.asked == []


def test_a_token_alone_is_refused_with_the_reason(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("CVAT_PASSWORD")
    monkeypatch.delenv("CVAT_USERNAME")
    monkeypatch.setenv("CVAT_ACCESS_TOKEN", "abc.def")
    assert sync("create") == Exit.BAD_CONFIGURATION
    assert "FiftyOne cannot sign in with CVAT_ACCESS_TOKEN" in capsys.readouterr().err


def test_switched_off_nothing_is_done_and_that_is_said(
    sync: Sync, server: CvatSandbox, played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("CVAT_SYNC", "false")
    for command in ("create", "load", "cleanup"):
        assert sync(command) == Exit.ALL_GOOD
        assert "CVAT_SYNC=false" in capsys.readouterr().err
    assert played.asked == [] and not server.world.tasks


def test_an_existing_project_needs_permission_and_is_never_deleted(sync: Sync, server: CvatSandbox):
    server.world.add_project("Birds", labels=[{"name": "cat"}])
    assert sync("create", "--project-name", "Birds") == Exit.BAD_CONFIGURATION
    assert not server.world.tasks
    assert sync("create", "--project-name", "Birds", "--existing-project") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.ALL_GOOD
    assert names(server) == ([], ["Birds"])


def test_problems_are_found_before_anything_is_made(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    assert sync("create", "--task-assignee", "nobody", "--frame-step", "2") == Exit.BAD_CONFIGURATION
    out = capsys.readouterr().out
    assert "CVAT knows no user 'nobody'" in out and "only videos have frames" in out
    assert not server.world.tasks


def test_a_password_of_digits_stays_a_text_and_no_secret_is_in_the_arguments(
    sandbox: Callable[..., CvatSandbox], sync: Sync, played: Played, monkeypatch: pytest.MonkeyPatch
):
    other = sandbox(password="0012345")
    monkeypatch.setenv("CVAT_URL", other.url)
    monkeypatch.setenv("CVAT_PASSWORD", "0012345")
    assert sync("create") == Exit.ALL_GOOD
    [asked] = [each for each in played.asked if each["request"]["do"] == "create"]
    assert asked["request"]["connection"]["password"] == "0012345"
    assert "0012345" not in " ".join(asked["argv"])
    assert asked["environ"]["FIFTYONE_CVAT_PASSWORD"] == "0012345"
    assert "FIFTYONE_CVAT_EMAIL" not in asked["environ"]
    assert not [name for name in asked["environ"] if name.startswith("CVAT_")]


# --- load -------------------------------------------------------------------------------------------------------


def test_when_completed_only_tasks_whose_jobs_are_done_are_loaded(
    sync: Sync, server: CvatSandbox, played: Played, capsys: pytest.CaptureFixture[str]
):
    assert sync("create", "--segment-size", "1") == Exit.ALL_GOOD
    assert sync("load", "--when", "completed") == Exit.ALL_GOOD
    assert not played.requests("load")
    first, second = server.world.tasks.values()
    for job in server.world.jobs_of(first):
        server.world.set_job(job, state="completed")
    server.world.set_job(server.world.jobs_of(second)[0], state="completed")
    assert sync("load", "--when", "completed") == Exit.ALL_GOOD
    assert [each["tasks"] for each in played.requests("load")] == [[first.id]]
    assert f"NOT COMPLETED  task {second.id}" in capsys.readouterr().out


def test_tasks_deleted_in_cvat_are_told_and_the_others_loaded(
    sync: Sync, server: CvatSandbox, played: Played, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    first, second = server.world.tasks
    server.world.delete_task(first)
    assert sync("load") == Exit.ALL_GOOD
    assert [each["tasks"] for each in played.requests("load")] == [[second]]
    assert f"task {first} was deleted in CVAT" in capsys.readouterr().out
    server.world.delete_task(second)
    assert sync("load") == Exit.NOTHING_WORKED
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD


def test_permissions_are_those_of_create_and_of_load(sync: Sync, played: Played):
    assert sync("create", "--allow-deletions", "false") == Exit.ALL_GOOD
    assert sync("load", "--allow-additions", "false") == Exit.ALL_GOOD
    [request] = played.requests("load")
    allowed = request["permissions"]["gt"]
    assert allowed["allow_deletions"] is False and allowed["allow_additions"] is False
    assert allowed["allow_label_edits"] is True


# --- cleanup ----------------------------------------------------------------------------------------------------


def draw(server: CvatSandbox) -> None:
    task = next(iter(server.world.tasks.values()))
    server.world.add_shape(server.world.jobs_of(task)[0], "cat")


def test_cleanup_throws_nothing_away_that_was_not_loaded(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    assert sync("create", "--project-name", "Birds") == Exit.ALL_GOOD
    draw(server)
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert len(server.world.tasks) == 2
    assert "NOT LOADED  task 1" in capsys.readouterr().out
    assert sync("load") == Exit.ALL_GOOD
    draw(server)
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert sync("load") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.ALL_GOOD
    assert names(server) == ([], [])
    assert sync("cleanup") == Exit.ALL_GOOD


def test_cleanup_discards_when_it_is_told_to(sync: Sync, server: CvatSandbox, played: Played):
    assert sync("create") == Exit.ALL_GOOD
    draw(server)
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD
    assert names(server) == ([], [])
    assert played.requests("forget")[-1]["anno_key"] == "round1"
    assert sync("create") == Exit.ALL_GOOD


def test_a_job_that_somebody_went_on_with_is_looked_at_before_a_cleanup(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    job = next(iter(server.world.jobs.values()))
    server.world.set_job(job, state="completed")
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert "CHANGED     task 1 " in capsys.readouterr().out
    assert len(server.world.tasks) == 2
    assert sync("load") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.ALL_GOOD


def test_a_task_that_cannot_be_removed_does_not_keep_the_others(sync: Sync, server: CvatSandbox):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("DELETE /api/tasks/1", "status", status=403, times=None))
    assert sync("cleanup") == Exit.SOME_FAILED
    assert list(server.world.tasks) == [1]
    server.faults.clear()
    assert sync("cleanup") == Exit.ALL_GOOD
    assert list(server.world.tasks) == []


def test_a_task_that_cannot_be_read_does_not_keep_the_others_from_being_loaded(
    sync: Sync, server: CvatSandbox, played: Played, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("GET /api/tasks/1/annotations", "status", status=403, times=None))
    assert sync("load") == Exit.SOME_FAILED
    assert played.requests("load")[-1]["tasks"] == [2]
    assert "FAILED         task 1: " in capsys.readouterr().out
    server.faults.add(Fault("GET /api/tasks/2/annotations", "status", status=403, times=None))
    assert sync("load") == Exit.NOTHING_WORKED
    assert len(played.requests("load")) == 1


def test_a_task_in_which_images_are_missing_is_no_success(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    server.faults.add(Fault("GET /api/tasks/1/data/meta", "status", status=200, body={"size": 1}, times=None))
    assert sync("create") == Exit.NOTHING_WORKED
    assert "CVAT took 1 image of 2 into task 1" in capsys.readouterr().err
    assert names(server) == ([], [])


def test_a_project_in_which_others_have_tasks_stays(sync: Sync, server: CvatSandbox):
    assert sync("create", "--project-name", "Birds") == Exit.ALL_GOOD
    [project] = server.world.projects.values()
    server.world.add_task(project, "theirs", frames=1)
    assert sync("cleanup") == Exit.ALL_GOOD
    assert names(server) == (["theirs"], ["Birds"])


def test_what_has_the_id_of_our_task_but_is_another_one_is_left_alone(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    task = next(iter(server.world.tasks.values()))
    task.created_date = task.created_date.replace(year=2020)
    assert sync("load") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert "its number is another task's here" in capsys.readouterr().out
    assert len(server.world.tasks) == 2
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD
    assert [each.id for each in server.world.tasks.values()] == [task.id]


def test_a_round_whose_tasks_are_on_another_server_for_a_while_is_not_ended(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    away = dict(server.world.tasks)
    server.world.tasks.clear()
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert "GONE        task 1 (FiftyOne_birds_1): not found, never loaded" in capsys.readouterr().out
    assert not played.requests("forget")
    server.world.tasks.update(away)
    assert sync("load") == Exit.ALL_GOOD
    server.world.tasks.clear()  # deleted by somebody, after the load
    assert sync("cleanup") == Exit.ALL_GOOD
    assert "0 tasks removed, 2 not there any more" in capsys.readouterr().err


def test_a_database_that_cannot_be_reached_is_met_before_anything_is_deleted(
    sync: Sync, server: CvatSandbox, played: Played
):
    assert sync("create") == Exit.ALL_GOOD
    played.plan(create={"tasks": 2}, forget={"then": "fail", "kind": "database", "reason": "no mongod"})
    assert sync("cleanup", "--discard") == Exit.NOTHING_WORKED
    assert len(server.world.tasks) == 2


# --- the rest ---------------------------------------------------------------------------------------------------


def test_a_server_that_fails_after_the_upload_leaves_nothing_either(sync: Sync, server: CvatSandbox, tmp_path: Path):
    server.faults.add(Fault("GET /api/tasks/2/annotations", "status", status=403, times=None))
    assert sync("create") != Exit.ALL_GOOD
    assert names(server) == ([], [])
    assert state(tmp_path) is None


def test_check_tells_what_is_handed_on_and_masks_the_password(
    sync: Sync, server: CvatSandbox, capsys: pytest.CaptureFixture[str]
):
    assert sync("check") == Exit.ALL_GOOD
    out = capsys.readouterr().out
    assert "FIFTYONE_CVAT_PASSWORD=********" in out and server.password not in out
    assert "FIFTYONE_CVAT_EMAIL=(not handed on)" in out
    assert not server.world.tasks


def test_undo_needs_nothing_of_cvat(sync: Sync, server: CvatSandbox, monkeypatch: pytest.MonkeyPatch):
    assert sync("create") == Exit.ALL_GOOD
    assert sync("load") == Exit.ALL_GOOD
    server.stop()
    monkeypatch.delenv("CVAT_PASSWORD")
    assert sync("undo") == Exit.ALL_GOOD


def test_status_lists_every_round_and_looks_at_one(
    sync: Sync, server: CvatSandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    draw(server)
    capsys.readouterr()
    assert sync("status") == Exit.ALL_GOOD
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines() if "birds_" in line] == [
        "changed",
        "unchanged",
    ]
    for name in ("FIFTYONE_SYNC_ANNO_KEY", "CVAT_URL", "CVAT_USERNAME", "CVAT_PASSWORD"):
        monkeypatch.delenv(name)  # the list is on this disk
    assert sync("status") == Exit.ALL_GOOD
    assert "round1" in capsys.readouterr().out


def test_a_round_that_cannot_be_read_is_said_and_the_others_are_listed(
    sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    spoilt = tmp_path / "state" / "fiftyone" / "fish-01234567" / "round1-01234567" / "run.json"
    spoilt.parent.mkdir(parents=True)
    spoilt.write_text("{")
    monkeypatch.delenv("FIFTYONE_SYNC_ANNO_KEY")
    assert sync("status") == Exit.ALL_GOOD
    said = capsys.readouterr()
    assert "birds" in said.out and str(spoilt) in said.err


def test_what_a_killed_create_left_is_looked_for_in_the_organization_that_it_worked_in(
    sync: Sync, server: CvatSandbox, tmp_path: Path
):
    organization = server.world.add_org("acme")
    assert sync("create", "--organization", "acme") == Exit.ALL_GOOD
    [path] = (tmp_path / "state" / "fiftyone").glob("*/*/run.json")
    killed = json.loads(path.read_text()) | {"phase": "creating", "tasks": []}  # it could not even note what it made
    path.write_text(json.dumps(killed))
    left = list(server.world.tasks.values())
    for task in left:
        task.name, task.organization_id = f"FiftyOne_birds [{killed['marker']}]", organization.id
    assert sync("create", "--organization", "@personal") == Exit.ALL_GOOD
    assert not {task.id for task in left} & set(server.world.tasks)
    assert names(server)[0] == ["FiftyOne_birds_1", "FiftyOne_birds_2"]


def test_an_undo_of_a_load_that_changed_nothing_says_so(sync: Sync, played: Played, capsys: pytest.CaptureFixture[str]):
    assert sync("create") == Exit.ALL_GOOD
    played.plan(create={"tasks": 2}, undo={"result": {"undone": "20261121T080000Z", "put_back": 0, "missing": 0}})
    assert sync("undo") == Exit.ALL_GOOD
    assert "had changed nothing" in capsys.readouterr().err
