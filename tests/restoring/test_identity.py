"""A server set up anew at the same address counts from 1 again: what bears our old numbers there is other people's."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from running import add_project, finish, run_backup, run_restore, start, wait_until, when_asked

from sandbox.cvat import CvatSandbox

IN_PARTS = {"CVAT_RESTORE_UPLOAD_LIMIT_GB": "0.0018"}


@pytest.fixture
def begin() -> Iterator[Callable[..., CvatSandbox]]:
    """A server; or, given an old one, the server that was set up anew at its address."""
    with ExitStack() as running:

        def make(old: CvatSandbox | None = None) -> CvatSandbox:
            if old is not None:
                old.stop()
            port = old.port if old is not None else 0
            return running.enter_context(
                CvatSandbox(samples="none", export_seconds=0.02, anonymous_per_minute=10_000, port=port)
            )

        yield make


def journals(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "backups" / "restores").glob("*/*/restore.json"))


def as_in_older_versions(tmp_path: Path, hours_ago: float = 0) -> None:
    """The journals as they were before they held dates; written so long ago."""
    for path in journals(tmp_path):
        journal = json.loads(path.read_text())
        for piece in journal["pieces"]:
            piece.pop("result_created", None)
        past = timedelta(hours=hours_ago)
        for name in ("at", "created_at"):
            journal[name] = (datetime.fromisoformat(journal[name]) - past).astimezone(UTC).isoformat()
        written = path.stat().st_mtime - past.total_seconds()
        path.write_text(json.dumps(journal))
        os.utime(path, (written, written))


def strangers(server: CvatSandbox, count: int = 6) -> Any:
    """Other people's projects, each with a task; what tells whether anything of them was touched."""
    for number in range(1, count + 1):
        project = server.world.add_project(f"somebody's own {number}")
        server.world.add_task(project, f"their task {number}", frames=1)
    return looks(server)


def looks(server: CvatSandbox, ours: str = "") -> Any:
    world = server.world
    projects = [project for project in world.projects.values() if project.name != ours]
    return (
        [(one.id, one.name, one.owner_id, one.updated_date) for one in projects],
        [(task.id, task.name, task.project_id) for one in projects for task in world.tasks_of(one)],
        [hook for hook in world.webhooks.values() if hook.get("project_id") in {one.id for one in projects}],
    )


def with_webhook(server: CvatSandbox, name: str) -> None:
    project, _task = add_project(server, name)
    moment = server.world.now()
    server.world.webhooks[1] = {
        "id": 1, "type": "project", "target_url": "https://example.com/hook", "project_id": project.id,
        "description": "", "content_type": "application/json", "is_active": True, "enable_ssl": True,
        "created_date": moment, "updated_date": moment, "owner_id": project.owner_id, "organization": None,
        "events": ["update:project"],
    }  # fmt: skip


def killed(server: CvatSandbox, at: CvatSandbox, tmp_path: Path, moment: str, *arguments: str, **more: str) -> None:
    process: list[Any] = []

    def stop() -> None:
        wait_until(lambda: process, "the process")
        process[0].send_signal(signal.SIGKILL)

    when_asked(at, moment, stop)
    process.append(start(server, tmp_path, *arguments, script="restore", **more))
    assert finish(process[0], tmp_path / "backups").code == -signal.SIGKILL


def of_four_tasks(server: CvatSandbox) -> None:
    """A project that comes back in parts."""
    project, _task = add_project(server, "Large", frames=2, megabytes=1)
    for name in ("second", "third", "fourth"):
        server.world.add_task(project, name, 2, files=server.world.media.random_files(2, 300_000))


def named(server: CvatSandbox, name: str) -> list[Any]:
    return [project for project in server.world.projects.values() if project.name == name]


@pytest.mark.parametrize("dates", [True, False], ids=["journal", "older journal"])
@pytest.mark.parametrize("moment", ["PATCH /api/tasks/3", "GET /api/labels"])
def test_a_drill_deletes_nothing_of_a_server_that_was_set_up_anew(
    server: CvatSandbox, begin: Callable[..., CvatSandbox], tmp_path: Path, moment: str, dates: bool
) -> None:
    of_four_tasks(server)
    run_backup(server, tmp_path)
    scratch = begin()

    def where(target: CvatSandbox) -> dict[str, str]:
        return {"CVAT_DRILL_URL": target.url, "CVAT_DRILL_ACCESS_TOKEN": target.write_token}

    killed(server, scratch, tmp_path, moment, "--drill", "--project", "Large", **where(scratch), **IN_PARTS)
    [path] = journals(tmp_path)
    assert len(json.loads(path.read_text())["pieces"]) == 3
    if not dates:
        as_in_older_versions(tmp_path)
    scratch = begin(scratch)
    before = strangers(scratch)
    done = run_restore(server, tmp_path, "--drill", "--project", "Large", **where(scratch), **IN_PARTS)
    assert done.code == 0, done.said
    assert looks(scratch) == before
    assert "what an earlier drill had left was deleted" not in done.err


@pytest.mark.parametrize("dates", [True, False], ids=["journal", "older journal"])
@pytest.mark.parametrize("moment", ["PATCH /api/tasks/9", "GET /api/labels"])
def test_the_parts_of_a_killed_drill_are_deleted_by_the_next_one(
    server: CvatSandbox, begin: Callable[..., CvatSandbox], tmp_path: Path, moment: str, dates: bool
) -> None:
    of_four_tasks(server)
    run_backup(server, tmp_path)
    scratch = begin()
    before = strangers(scratch)
    where = {"CVAT_DRILL_URL": scratch.url, "CVAT_DRILL_ACCESS_TOKEN": scratch.write_token}
    killed(server, scratch, tmp_path, moment, "--drill", "--project", "Large", **where, **IN_PARTS)
    assert looks(scratch) != before
    if not dates:
        as_in_older_versions(tmp_path)
    done = run_restore(server, tmp_path, "--drill", "--project", "Large", **where, **IN_PARTS)
    assert done.code == 0, done.said
    assert looks(scratch) == before and len(scratch.world.tasks) == 6


def test_a_part_that_somebody_took_into_a_project_of_their_own_is_no_drills(
    server: CvatSandbox, begin: Callable[..., CvatSandbox], tmp_path: Path
) -> None:
    of_four_tasks(server)
    run_backup(server, tmp_path)
    scratch = begin()
    where = {"CVAT_DRILL_URL": scratch.url, "CVAT_DRILL_ACCESS_TOKEN": scratch.write_token}
    killed(server, scratch, tmp_path, "GET /api/labels", "--drill", "--project", "Large", **where, **IN_PARTS)
    [path] = journals(tmp_path)
    part = scratch.world.tasks[json.loads(path.read_text())["pieces"][-1]["result_id"]]
    theirs = scratch.world.add_project("somebody's own", labels=[{"name": "car"}])
    scratch.world.projects[part.project_id].task_ids.remove(part.id)
    part.project_id = theirs.id
    theirs.task_ids.append(part.id)
    assert run_restore(server, tmp_path, "--drill", "--project", "Large", **where, **IN_PARTS).code == 0
    assert list(scratch.world.tasks) == [part.id] and list(scratch.world.projects) == [theirs.id]


@pytest.mark.parametrize("dates", [True, False], ids=["journal", "older journal"])
def test_everything_comes_back_on_a_server_set_up_anew_where_others_have_the_numbers(
    begin: Callable[..., CvatSandbox], tmp_path: Path, dates: bool
) -> None:
    server = begin()
    for number in (1, 2, 3):
        add_project(server, f"project {number}")
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    assert run_restore(server, tmp_path, "--all").code == 0
    if not dates:
        as_in_older_versions(tmp_path)
    assert "3 there already" in run_restore(server, tmp_path, "--all").out
    server = begin(server)
    before = strangers(server)
    done = run_restore(server, tmp_path, "--all")
    assert done.code == 0, done.said
    assert "3 backups restored" in done.out
    assert [len(named(server, f"project {number}")) for number in (1, 2, 3)] == [1, 1, 1]
    assert [one for one in looks(server)[0] if one[1].startswith("somebody's")] == before[0]
    assert "3 there already" in run_restore(server, tmp_path, "--all").out


@pytest.mark.parametrize("dates", [True, False], ids=["journal", "older journal"])
@pytest.mark.parametrize("moment", ["PATCH /api/projects/1", "POST /api/webhooks"])
def test_a_restore_taken_up_on_a_server_set_up_anew_leaves_other_peoples_projects_alone(
    begin: Callable[..., CvatSandbox], tmp_path: Path, moment: str, dates: bool
) -> None:
    old = begin()
    with_webhook(old, "Signs")
    run_backup(old, tmp_path)
    old = begin(old)
    killed(old, old, tmp_path, moment, "--project", "Signs")
    if not dates:
        as_in_older_versions(tmp_path)
    server = begin(old)
    before = strangers(server)
    done = run_restore(server, tmp_path, "--project", "Signs")
    assert done.code == 0, done.said
    assert looks(server, ours="Signs") == before
    assert len(named(server, "Signs")) == 1
    again = run_restore(server, tmp_path, "--project", "Signs")
    assert again.code == 0 and "there already" in again.out, again.said


@pytest.mark.parametrize("moment", ["", "POST /api/webhooks"], ids=["done", "killed"])
@pytest.mark.parametrize("dates", [True, False], ids=["journal", "older journal"])
def test_a_namesake_with_our_number_on_a_server_set_up_anew_is_not_our_copy(
    begin: Callable[..., CvatSandbox], tmp_path: Path, moment: str, dates: bool
) -> None:
    old = begin()
    with_webhook(old, "Signs")
    run_backup(old, tmp_path)
    old = begin(old)
    if moment:
        killed(old, old, tmp_path, moment, "--project", "Signs")
    else:
        assert run_restore(old, tmp_path, "--project", "Signs").code == 0
    if not dates:
        as_in_older_versions(tmp_path, hours_ago=2)
    server = begin(old)
    namesake = server.world.add_project("Signs")
    assert namesake.id == json.loads(journals(tmp_path)[0].read_text())["pieces"][0]["result_id"]
    for order in (["--project", "Signs"], ["--all"]):
        done = run_restore(server, tmp_path, *order)
        assert done.code == 1, done.said
        assert "is on the server already" in done.out and "there already" not in done.out
    assert list(server.world.projects) == [namesake.id] and not server.world.tasks


def test_with_an_older_journal_what_was_renamed_since_counts_as_gone(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    assert run_restore(server, tmp_path, "--all").code == 0
    as_in_older_versions(tmp_path)
    copy = max(server.world.projects)
    server.world.rename_project(copy, "another name")
    assert "1 backup restored, 2 there already" in run_restore(server, tmp_path, "--all").out
    assert server.world.projects[copy].name == "another name" and len(server.world.projects) == 4
