"""Several machines side by side: each shard saves its part, all of them together save everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from running import (
    Finished,
    add_project,
    assert_all_saved,
    assert_equals_server,
    assert_sound,
    finish,
    records,
    run_backup,
    running,
    start,
    wait_until,
)

from sandbox.cvat import CvatSandbox, Fault


def last_run(done: Finished, name: str) -> dict[str, Any]:
    [path] = done.folder.glob(f"*/{name}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def ids(folder: Path) -> list[int]:
    return sorted(record.source.id for record in records(folder) if record.source.kind == "project")


def test_two_shards_at_the_same_time_save_everything_once(server: CvatSandbox, tmp_path: Path):
    for number in range(5):
        add_project(server, f"more {number}")
    both = [start(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=f"{index}/2") for index in (0, 1)]
    ended = [finish(process, tmp_path / "backups") for process in both]
    assert [done.code for done in ended] == [0, 0], ended[0].said + ended[1].said
    found = assert_sound(tmp_path / "backups")
    assert sorted((r.source.kind, r.source.id) for r in found) == sorted(
        [("project", each) for each in server.world.projects]
        + [("task", task.id) for task in server.world.tasks.values() if task.project_id is None]
    )
    for record in found:
        assert_equals_server(server, tmp_path / "backups", record)
    parts = [last_run(ended[0], f"last-run-p.{index}of2.json") for index in (0, 1)]
    assert [part["shard"] for part in parts] == ["0/2", "1/2"]
    assert sum(part["listed"] for part in parts) == len(found) == sum(part["counts"]["saved"] for part in parts)
    lines = [json.loads(line) for path in (tmp_path / "backups").glob("*/runs.jsonl") for line in path.open()]
    assert len([line for line in lines if line["outcome"] == "saved"]) == len(found)
    listed = [json.loads(path.read_text()) for path in (tmp_path / "backups").glob("*/listed-p.*of2.json")]
    assert sorted(each["shard"] for each in listed) == ["0/2", "1/2"]


def test_a_later_run_without_shards_finds_nothing_left_to_do(server: CvatSandbox, tmp_path: Path):
    for index in ("0", "1", "2"):
        pod = {"JOB_COMPLETION_INDEX": index, "JOB_COMPLETION_COUNT": "3"}
        assert run_backup(server, tmp_path, "--mode", "p", **pod).code == 0
    done = run_backup(server, tmp_path, "--mode", "p")
    assert_all_saved(done, server)
    assert done.last_run()["counts"]["saved"] == 0


def test_a_killed_shard_goes_on_by_itself_and_leaves_the_others_alone(server: CvatSandbox, tmp_path: Path):
    project, _ = add_project(server, "large", megabytes=12)
    mine = f"{project.id % 2}/2"
    server.faults.add(Fault("GET .*/download", "slow", bytes_per_second=1_000_000))
    with running(start(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=mine)) as process:
        wait_until(
            lambda: any(part.stat().st_size > 1_000_000 for part in (tmp_path / "backups").rglob("*.part")),
            "the download is under way",
        )
        process.kill()
    before = ids(tmp_path / "backups")
    other = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=f"{1 - project.id % 2}/2")
    assert other.code == 0
    assert project.id not in ids(tmp_path / "backups")
    assert list((tmp_path / "backups").rglob("*.part")), "another shard's part file is none of our business"
    done = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=mine)
    assert done.code == 0 and set(before) < set(ids(tmp_path / "backups"))
    assert ids(tmp_path / "backups") == sorted(server.world.projects)
    assert_sound(tmp_path / "backups")


def test_each_shard_tells_of_the_deleted_sources_that_are_its_own(server: CvatSandbox, tmp_path: Path):
    run_backup(server, tmp_path, "--mode", "p")
    gone = sorted(server.world.projects)[:2]
    for project_id in gone:
        server.world.delete_project(project_id)
    for index in (0, 1):
        done = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=f"{index}/2")
        assert last_run(done, f"last-run-p.{index}of2.json")["absent"] == 1
    absent = [line["source"]["id"] for line in done.journal if line["outcome"] == "absent"]
    assert sorted(absent) == gone


def test_a_filter_that_leaves_a_shard_nothing_is_no_mistake(server: CvatSandbox, tmp_path: Path):
    [one, *_] = sorted(server.world.projects)
    chosen = {"CVAT_BACKUP_INCLUDE": f"project:{one}"}
    for index in (0, 1):
        done = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=f"{index}/2", **chosen)
        assert done.code == 0, done.said
        assert "pattern_matches_nothing" not in done.said
    assert ids(tmp_path / "backups") == [one]
    nothing = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD="0/2", CVAT_BACKUP_INCLUDE="no such name")
    assert nothing.code == 2


@pytest.mark.parametrize("first", ["", "0/2"])
def test_a_whole_run_and_a_shard_do_not_meet(server: CvatSandbox, tmp_path: Path, first: str):
    second = "" if first else "0/2"
    server.faults.add(Fault("GET .*/download", "slow", bytes_per_second=5_000, times=None))
    with running(start(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=first)):
        wait_until(lambda: list((tmp_path / "backups").rglob("*.part")), "the first run is at work")
        assert run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_SHARD=second).code == 11
