"""Killed at any moment, begun again: exactly one copy on the server, and it is whole."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from portraits import portrait
from running import add_project, finish, run_backup, run_restore, start, wait_until, when_asked

from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault, FaultsMet
from sandbox.cvat.http import Request, Response

KILLS = 50 if os.environ.get("CVAT_TESTS_ALL") else 10
NAME = "Harbour at night"
SMALL = {"CVAT_RESTORE_CHUNK_MB": "0.1"}


@pytest.fixture
def backed_up(server: CvatSandbox, tmp_path: Path) -> Any:
    """A project that was saved and is gone; its portrait."""
    project, _task = add_project(server, NAME, frames=4, megabytes=1)
    for _ in range(2):
        server.world.add_task(project, "more", 2, files=server.world.media.random_files(2, 150_000))
    assert run_backup(server, tmp_path).code == 0
    wanted = portrait(server.world, project)
    server.world.delete_project(project.id)
    return wanted


def assert_one_copy(server: CvatSandbox, wanted: Any) -> None:
    world = server.world
    copies = [project for project in world.projects.values() if project.name == NAME]
    assert len(copies) == 1, {project.id: project.name for project in world.projects.values()}
    assert not [one for one in (*world.projects.values(), *world.tasks.values()) if "restoring" in one.name]
    assert portrait(world, copies[0]) == wanted
    assert all(task.project_id is not None for task in world.tasks.values())


def kill_at(server: CvatSandbox, number: int, delay: float, process: list[Any]) -> None:
    """Kills the run when its request of this number arrives: the request itself is still carried out."""
    plain_answer, seen, lock = server.answer, [0], threading.Lock()

    def answer(request: Request, faults: FaultsMet) -> Response:
        with lock:
            seen[0] += 1
            mine = seen[0] == number
        if mine:
            if delay:
                threading.Timer(delay, process[0].send_signal, [signal.SIGKILL]).start()
            else:
                process[0].send_signal(signal.SIGKILL)
        return plain_answer(request, faults)

    server.answer = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("limit", ["25", "0.00107"], ids=["whole", "in parts"])
def test_killed_at_random_moments_and_run_again_it_makes_exactly_one_copy(
    server: CvatSandbox, tmp_path: Path, backed_up: Any, limit: str
) -> None:
    settings = {**SMALL, "CVAT_RESTORE_UPLOAD_LIMIT_GB": limit}
    order = ("--project", NAME)
    before = len(server.log)
    first = run_restore(server, tmp_path, *order, **settings)
    assert first.code == 0
    assert ("parts" in first.out) == (limit != "25")
    requests = len(server.log) - before
    assert_one_copy(server, backed_up)
    chance = random.Random(4711)
    plain_answer = server.answer
    killed = 0
    for _ in range(max(3, KILLS // 2)):
        for project in [one for one in server.world.projects.values() if one.name == NAME]:
            server.world.delete_project(project.id)
        process: list[Any] = []
        kill_at(server, chance.randint(1, requests), chance.choice((0, 0, 0.002, 0.01)), process)
        process.append(start(server, tmp_path, *order, script="restore", **settings))
        done = finish(process[0], tmp_path / "backups")
        killed += done.code == -signal.SIGKILL
        server.answer = plain_answer  # type: ignore[method-assign]
        again = run_restore(server, tmp_path, *order, **settings)
        assert again.code == 0, again.said
        assert_one_copy(server, backed_up)
    assert killed


def test_killed_again_and_again_it_still_ends_with_one_copy(
    server: CvatSandbox, tmp_path: Path, backed_up: Any
) -> None:
    chance, plain_answer = random.Random(7), server.answer
    for _ in range(6):
        process: list[Any] = []
        kill_at(server, chance.randint(6, 16), 0, process)
        process.append(start(server, tmp_path, "--project", NAME, script="restore", **SMALL))
        finish(process[0], tmp_path / "backups")
        server.answer = plain_answer  # type: ignore[method-assign]
    assert run_restore(server, tmp_path, "--project", NAME, **SMALL).code == 0
    assert_one_copy(server, backed_up)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_an_import_that_was_begun_but_not_answered_is_found_and_not_begun_again(
    server: CvatSandbox, tmp_path: Path, backed_up: Any, status: int
) -> None:
    server.faults.add(Fault(r"POST /api/projects/backup/\?.*filename=", "status", status=status, after_handling=True))
    done = run_restore(server, tmp_path, "--project", NAME)
    assert done.code == 0, done.said
    assert done.happened("import_unknown")
    assert_one_copy(server, backed_up)


def test_an_import_that_never_reached_the_server_is_begun_again(
    server: CvatSandbox, tmp_path: Path, backed_up: Any
) -> None:
    server.faults.add(Fault(r"POST /api/projects/backup/\?.*filename=", "status", status=504))
    done = run_restore(server, tmp_path, "--project", NAME)
    assert done.code == 0, done.said
    assert_one_copy(server, backed_up)


def test_an_upload_that_is_cut_goes_on_where_it_stopped(server: CvatSandbox, tmp_path: Path, backed_up: Any) -> None:
    server.faults.add(Fault("PATCH /api/projects/backup/", "cut_upload", after_bytes=30_000, times=3, skip=2))
    server.faults.add(Fault("PATCH /api/projects/backup/", "status", status=502, after_handling=True, skip=7))
    done = run_restore(server, tmp_path, "--project", NAME, **SMALL)
    assert done.code == 0, done.said
    assert done.happened("upload_interrupted")
    assert server.log_count("POST /api/projects/backup/") == 3  # start, create, finish: never begun anew
    assert_one_copy(server, backed_up)


@pytest.mark.parametrize("mode", ["refused", "502"])
def test_a_server_that_restarts_during_the_upload_is_waited_for(
    server: CvatSandbox, tmp_path: Path, backed_up: Any, mode: str
) -> None:
    when_asked(server, "PATCH /api/projects/backup/", lambda: server.restart(0.4, mode))
    done = run_restore(server, tmp_path, "--project", NAME, **SMALL)
    assert done.code == 0, done.said
    assert_one_copy(server, backed_up)


def test_an_upload_that_the_server_lost_is_sent_anew(server: CvatSandbox, tmp_path: Path, backed_up: Any) -> None:
    when_asked(server, "PATCH /api/projects/backup/", server.uploads.known.clear)
    done = run_restore(server, tmp_path, "--project", NAME, **SMALL)
    assert done.code == 0, done.said
    assert done.happened("upload_begun_anew")
    assert_one_copy(server, backed_up)


def test_a_stop_is_noticed_within_seconds_and_the_next_run_resumes_the_upload(
    server: CvatSandbox, tmp_path: Path, backed_up: Any
) -> None:
    server.faults.add(Fault("PATCH /api/projects/backup/", "slow", seconds=0.2, times=None))
    process = start(server, tmp_path, "--project", NAME, script="restore", **SMALL)
    wait_until(lambda: server.log_count("PATCH /api/projects/backup/.+"), "an upload")
    process.send_signal(signal.SIGTERM)
    done = finish(process, tmp_path / "backups", within_seconds=5)
    assert done.code == 128 + signal.SIGTERM
    server.faults.clear()
    again = run_restore(server, tmp_path, "--project", NAME, **SMALL)
    assert again.code == 0
    assert again.happened("upload_resumed")
    assert_one_copy(server, backed_up)


def test_an_import_that_failed_is_sent_anew_by_the_next_run(
    server: CvatSandbox, tmp_path: Path, backed_up: Any
) -> None:
    server.faults.add(Fault(r"POST /api/projects/backup/\?.*filename=", "fail", message="ValueError: out of luck\n"))
    failed = run_restore(server, tmp_path, "--project", NAME)
    assert failed.code == 1
    assert "out of luck" in failed.out
    assert run_restore(server, tmp_path, "--project", NAME).code == 0
    assert_one_copy(server, backed_up)


def test_an_import_that_takes_too_long_is_waited_for_by_the_next_run(
    server: CvatSandbox, tmp_path: Path, backed_up: Any
) -> None:
    server.faults.add(Fault(r"POST /api/projects/backup/\?.*filename=", "hang", seconds=1.5))
    slow = run_restore(server, tmp_path, "--project", NAME, CVAT_RESTORE_TIMEOUT_HOURS="0.0001")
    assert slow.code == 1
    assert "Run the same command again" in slow.out
    assert run_restore(server, tmp_path, "--project", NAME).code == 0
    assert_one_copy(server, backed_up)
