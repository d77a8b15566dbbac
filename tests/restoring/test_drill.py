"""One backup is restored for real, compared value by value, and deleted again, whatever happens."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import add_project, finish, run_backup, run_restore, start, wait_until, when_asked

from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault


@pytest.fixture
def scratch() -> Iterator[CvatSandbox]:
    with CvatSandbox(samples="none", export_seconds=0.02, anonymous_per_minute=10_000) as sandbox:
        yield sandbox


def settings(scratch: CvatSandbox) -> dict[str, str]:
    return {
        "CVAT_DRILL_URL": scratch.url,
        "CVAT_DRILL_ACCESS_TOKEN": scratch.write_token,
        "CVAT_RESTORE_CHUNK_MB": "0.1",
    }


def drills(tmp_path: Path) -> list[dict[str, Any]]:
    [path] = (tmp_path / "backups").glob("*/drills.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_drill_restores_compares_and_leaves_nothing(
    server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path
) -> None:
    project, task = add_project(server, "Signs")
    server.world.set_job(task.job_ids[0], stage="acceptance", state="completed")
    run_backup(server, tmp_path)
    for _ in range(2):
        done = run_restore(server, tmp_path, "--drill", "--project", "Signs", **settings(scratch))
        assert done.code == 0, done.said
        assert "equal value by value" in done.out
    assert not scratch.world.projects and not scratch.world.tasks
    assert [line["result"] for line in drills(tmp_path)] == ["good", "good"]
    assert drills(tmp_path)[0]["deleted"]
    assert project.id in server.world.projects


def test_rotating_drills_take_each_source_in_turn(server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    for _ in range(3):
        assert run_restore(server, tmp_path, "--drill", "rotate", **settings(scratch)).code == 0
    assert len({line["source"] for line in drills(tmp_path)}) == 3


def test_a_server_that_loses_something_is_found_out(server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path) -> None:
    add_project(server, "Signs")
    run_backup(server, tmp_path)

    def lose_one_value() -> None:
        for job in scratch.world.jobs.values():
            held = job.annotations.as_json()
            shapes = [{key: value for key, value in shape.items() if key != "id"} for shape in held["shapes"]]
            shapes[0]["points"][0] += 0.5
            tags = [{key: value for key, value in tag.items() if key != "id"} for tag in held["tags"]]
            scratch.world.put_annotations(job, {"shapes": shapes, "tags": tags})

    when_asked(scratch, "GET /api/labels", lose_one_value)
    done = run_restore(server, tmp_path, "--drill", "--project", "Signs", **settings(scratch))
    assert done.code == 3
    assert "shapes differ" in done.out
    assert drills(tmp_path)[-1]["result"] == "bad"
    assert not scratch.world.projects


def test_a_drill_that_fails_cleans_up(server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    scratch.faults.add(Fault("PATCH /api/projects/[0-9]+", "status", status=400, times=None))
    done = run_restore(server, tmp_path, "--drill", **settings(scratch))
    assert done.code == 1
    assert drills(tmp_path)[-1]["result"] == "failed"
    assert not scratch.world.projects


def test_a_drill_that_cannot_delete_again_is_no_good_drill_and_the_next_one_does_it(
    server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path
) -> None:
    run_backup(server, tmp_path)
    scratch.faults.add(
        Fault("DELETE /api/projects/[0-9]+", "status", status=400, body={"detail": "not now"}, times=None)
    )
    done = run_restore(server, tmp_path, "--drill", **settings(scratch))
    assert done.code == 1
    assert "could not be deleted again" in done.out
    [line] = drills(tmp_path)
    assert line["result"] == "failed" and not line["deleted"]
    assert "could not be deleted again" in line["differences"][0]
    assert len(scratch.world.projects) == 1
    scratch.faults.clear()
    again = run_restore(server, tmp_path, "--drill", **settings(scratch))
    assert again.code == 0
    assert "what an earlier drill had left was deleted" in again.err
    assert not scratch.world.projects


def test_an_import_that_has_not_surely_ended_is_left_to_the_next_drill(
    server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path
) -> None:
    run_backup(server, tmp_path)
    scratch.faults.add(Fault(r"POST /api/projects/backup/\?.*filename=", "hang"))
    impatient = "from common.restoring import drill; drill.CLEANING_SECONDS = 0.3"
    done = run_restore(
        server, tmp_path, "--drill", patched=impatient, CVAT_RESTORE_TIMEOUT_HOURS="0.0001", **settings(scratch)
    )
    assert done.code == 1
    assert drills(tmp_path)[-1]["result"] == "failed"
    [path] = (tmp_path / "backups" / "restores").glob("*/*/restore.json")
    assert json.loads(path.read_text())["state"] == "under way"
    scratch.exports.free_all()
    wait_until(lambda: scratch.world.projects, "what the import makes in the end")
    assert run_restore(server, tmp_path, "--drill", **settings(scratch)).code == 0
    assert json.loads(path.read_text())["state"] == "deleted"
    assert not scratch.world.projects


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["POST /api/projects/backup/?filename", "PATCH /api/projects/1", "GET /api/labels"])
def test_a_stopped_drill_leaves_nothing_and_touches_nobody_elses(
    server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path, number: int, moment: str
) -> None:
    run_backup(server, tmp_path)
    others = scratch.world.add_project("somebody's own")
    moment = moment.replace("projects/1", "projects/2")
    process: list[Any] = []

    def stop() -> None:
        wait_until(lambda: process, "the process")
        process[0].send_signal(number)

    when_asked(scratch, moment, stop)
    process.append(start(server, tmp_path, "--drill", script="restore", **settings(scratch)))
    done = finish(process[0], tmp_path / "backups")
    assert done.code in (128 + number, -number), done.said
    if number == signal.SIGKILL:  # the next drill finds what the killed one left
        assert run_restore(server, tmp_path, "--drill", **settings(scratch)).code == 0
    assert list(scratch.world.projects) == [others.id]


def test_drills_are_never_backed_up(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.add_project("cvat-backups drill 2026-01-01 00:00: Signs")
    server.world.add_project("restoring «cvat-backups drill 2026-01-01: Signs» [cvat-backups 0123456789ab]")
    done = run_backup(server, tmp_path)
    assert done.code == 0
    assert done.last_run()["counts"]["excluded"] == 2
    assert len(done.outcomes()) == 3


def test_a_drill_says_what_it_needs(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_restore(server, tmp_path, "--drill")
    assert done.code == 2
    assert "CVAT_DRILL_URL is not set" in done.err
    assert "CVAT_DRILL_ACCESS_TOKEN" in done.err


def test_a_drill_of_everything_is_refused(server: CvatSandbox, scratch: CvatSandbox, tmp_path: Path) -> None:
    done = run_restore(server, tmp_path, "--drill", "--all", **settings(scratch))
    assert done.code == 2
    assert "--drill restores one backup" in done.err
