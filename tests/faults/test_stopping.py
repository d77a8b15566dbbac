"""Runs that are stopped, killed or without room: nothing good is lost, nothing bad has a name, the next run completes."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import (
    add_project,
    assert_all_saved,
    assert_completed,
    assert_sound,
    check_record,
    debris,
    finish,
    held_exports,
    let_go,
    record_headers,
    records,
    run_backup,
    running,
    start,
    wait_until,
    when_asked,
)

from common.backups.record import Record
from sandbox.cvat import CvatSandbox, Fault

GRACE_SECONDS = 20.0
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)


@pytest.fixture
def large(server: CvatSandbox) -> int:
    """The id of one project of 8 MB, whose first download stands still after half of it."""
    project, _task = add_project(server, "large", megabytes=8)
    download = f"GET /api/projects/{project.id}/backup/download"
    server.faults.add(Fault(download, "stall", after_bytes=4_000_000, seconds=45))
    return project.id


def asked(server: CvatSandbox) -> list[int]:
    """How the server answered those who asked for exports, in order."""
    return [one.status for one in list(server.log) if re.fullmatch("POST .*/export", one.line)]


# --- signals ------------------------------------------------------------------------------------------------------


@SIGNALS
def test_a_stop_during_a_download_is_quick_and_the_next_run_goes_on_with_it(
    server: CvatSandbox, tmp_path: Path, large: int, number: signal.Signals
) -> None:
    with running(start(server, tmp_path)) as process:
        part = f"*/project-{large}-*/.backup.part"
        wait_until(lambda: sum(p.stat().st_size for p in (tmp_path / "backups").glob(part)) >= 3_900_000, "half of it")
        wait_until(lambda: len(records(tmp_path / "backups")) == 3, "the others are saved")
        began = time.monotonic()
        process.send_signal(number)
        done = finish(process, tmp_path / "backups")
    assert time.monotonic() - began < GRACE_SECONDS
    assert done.code == 128 + number, done.said
    assert done.last_run()["exit_code"] == 128 + number
    assert number.name in done.last_run()["ended_because"]
    assert set(done.outcomes()) == {"project 1", "project 2", "project 3"}
    assert len(assert_sound(done.folder, parts=True)) == 3
    server.faults.clear()
    seen = record_headers(server)
    again = run_backup(server, tmp_path)
    assert_all_saved(again, server)
    [begun] = [headers["range"] for line, headers in seen if f"projects/{large}/backup/download" in line]
    assert 0 < int(begun.removeprefix("bytes=").removesuffix("-")) <= 4_000_000
    assert again.happened("download_resumed")
    assert server.log_count(f"POST /api/projects/{large}/backup/export") == 1


@SIGNALS
def test_a_stop_while_the_server_prepares_is_quick_and_the_export_is_adopted(
    server: CvatSandbox, tmp_path: Path, number: signal.Signals
) -> None:
    with held_exports(server):
        with running(start(server, tmp_path)) as process:
            wait_until(lambda: asked(server) == [202, 202], "exports are asked for")
            began = time.monotonic()
            process.send_signal(number)
            done = finish(process, tmp_path / "backups")
        assert time.monotonic() - began < GRACE_SECONDS
        assert done.code == 128 + number
        assert assert_sound(done.folder, parts=True) == []
        next_run = start(server, tmp_path)
        wait_until(lambda: 409 in asked(server), "the next run asks for the same")
    again = finish(next_run, tmp_path / "backups")
    assert_all_saved(again, server)
    assert again.happened("export_adopted")


QUESTIONS = [
    *(("backup", question) for question in ("GET /api/server/about", "POST /api/auth/login", "GET /api/tasks?")),
    # Metadata, and whether something that is no longer listed is gone.
    *(("backup", question) for question in ("GET /api/issues?", "GET /api/projects/4")),
    *(("restore", question) for question in ("GET /api/server/about", "POST /api/auth/login", "GET /api/requests")),
]


@pytest.mark.parametrize(("script", "question"), QUESTIONS)
def test_a_stop_while_a_question_is_not_answered_is_quick_too(
    server: CvatSandbox, tmp_path: Path, script: str, question: str
) -> None:
    project, _ = add_project(server, "soon gone")
    assert run_backup(server, tmp_path).code == 0
    server.world.delete_project(project.id)
    stopped, released = [], threading.Event()

    def stop_and_say_nothing() -> None:
        wait_until(lambda: processes, "the process is known")
        processes[0].send_signal(signal.SIGTERM)
        stopped.append(question)
        released.wait(60)

    processes: list[Any] = []
    when_asked(server, question, stop_and_say_nothing)
    arguments = ("--project", "soon gone") if script == "restore" else ()
    with running(start(server, tmp_path, *arguments, script=script, CVAT_HTTP_TIMEOUT_SECONDS="60")) as process:
        processes.append(process)
        done = finish(process, tmp_path / "backups", within_seconds=GRACE_SECONDS)
    released.set()
    assert stopped == [question]
    assert done.code == 128 + signal.SIGTERM, done.said
    assert run_backup(server, tmp_path).code == 0


def test_a_second_signal_ends_the_run_at_once(server: CvatSandbox, tmp_path: Path, large: int) -> None:
    with running(start(server, tmp_path)) as process:
        wait_until(lambda: list((tmp_path / "backups").glob(f"*/project-{large}-*/.backup.part")), "the download")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        done = finish(process, tmp_path / "backups", within_seconds=5)
    assert done.code in (-signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
    server.faults.clear()
    assert_all_saved(run_backup(server, tmp_path), server)


# --- two runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("p", "p"), ("p", "t"), ("t", "p"), ("a", "a")])
def test_a_second_run_of_the_same_job_ends_at_once_and_says_who_is_first(
    server: CvatSandbox, tmp_path: Path, first: str, second: str
) -> None:
    server.world.add_task(None, "loose", 2, labels=[{"name": "car"}])
    with held_exports(server), running(start(server, tmp_path, "--mode", first)) as process:
        wait_until(lambda: server.log_count("POST .*/export"), "the first run works")
        before = sorted((tmp_path / "backups").rglob("last-run*"))
        refused = run_backup(server, tmp_path, "--mode", second)
        assert refused.code == 11
        assert str(process.pid) in refused.err
        assert sorted((tmp_path / "backups").rglob("last-run*")) == before
        let_go(server)
        assert finish(process, tmp_path / "backups").code == 0
    assert_sound(tmp_path / "backups")
    assert run_backup(server, tmp_path, "--mode", second).code == 0


def test_a_killed_run_leaves_no_lock(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.export_seconds = 1.0
    with running(start(server, tmp_path)) as process:
        wait_until(lambda: server.log_count("POST .*/export"), "the first run works")
        process.kill()
        process.communicate()
    assert_all_saved(run_backup(server, tmp_path), server)


# --- kill -9 ------------------------------------------------------------------------------------------------------


def kill_at_random(server: CvatSandbox, tmp_path: Path, kills: int, seed: int) -> None:
    """Runs are killed at random moments while the server changes; what was good stays good, and the last completes."""
    chance = random.Random(seed)
    project, _task = add_project(server, "large", megabytes=3)
    server.world.fail_upload(server.world.add_empty_task("broken", project))
    folder = tmp_path / "backups"
    good: dict[str, str] = {}
    killed = 0
    while killed < kills:
        server.world.add_shape(server.world.project(chance.randint(1, 4)).task_ids[0], "car")
        if chance.random() < 0.5:
            server.world.delete_frame(server.world.project(chance.randint(1, 4)).task_ids[0], 1)
            server.world.restore_frame(server.world.project(4).task_ids[0], 1)
        with running(start(server, tmp_path, "--mode", "p", "a", CVAT_BACKUP_FULL_EVERY_DAYS="0")) as process:
            try:
                process.communicate(timeout=chance.uniform(0.05, 1.0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
        found = {file.name: file.sha256 for record in _sound_records(folder, set(good)) for file in record.files}
        assert found.items() >= good.items(), "a good backup was lost or changed"
        good = found
    done = run_backup(server, tmp_path, "--mode", "p", "a")
    assert_completed(server, done, project.id)


def _sound_records(folder: Path, known: set[str]) -> list[Record]:
    """Every new record tells the truth, whatever else a killed run has left: nothing else has a backup's name."""
    for path in (folder / name for name in debris(folder)):
        # A file may have its name already while its record still waits for its own.
        waiting = [one.read_text() for one in path.parent.glob(".*.json.pending")]
        assert path.name.startswith(".") or any(path.name in text for text in waiting), path
    found = records(folder)
    for record in found:
        if record.main_file.name not in known:
            check_record(folder, record)
    return found


def test_ten_kills_at_random_moments_harm_nothing(server: CvatSandbox, tmp_path: Path) -> None:
    kill_at_random(server, tmp_path, kills=10, seed=int.from_bytes(os.urandom(2)))


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 kills fifty times")
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_at_random_moments_harm_nothing(server: CvatSandbox, tmp_path: Path, seed: int) -> None:
    kill_at_random(server, tmp_path, kills=10, seed=seed)


# --- no room ------------------------------------------------------------------------------------------------------


def test_no_room_left_is_a_clear_failure_without_debris(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, "--mode", "p", "a", CVAT_BACKUP_MIN_FREE_GB="1000000")
    assert done.code == 1
    assert set(done.outcomes("p").values()) == set(done.outcomes("a").values()) == {"failed"}
    assert "CVAT_BACKUP_MIN_FREE_GB" in done.out
    assert assert_sound(done.folder) == []
    assert_all_saved(run_backup(server, tmp_path, CVAT_BACKUP_MIN_FREE_GB="0.001"), server)


def test_a_disk_that_fills_up_in_the_middle_fails_the_large_item_only(
    server: CvatSandbox, tmp_path: Path, large: int
) -> None:
    """A limit on the size of files answers as a full disk does, in the middle of a write."""
    server.faults.clear()

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    done = run_backup(server, tmp_path, preexec=limit)
    assert done.code == 3, done.said
    assert done.outcomes()[f"project {large}"] == "failed"
    assert list(done.outcomes().values()).count("saved") == 3
    assert "room" in done.out
    assert len(assert_sound(done.folder)) == 3
    assert_all_saved(run_backup(server, tmp_path), server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("mode", ["p", "a"])
@pytest.mark.parametrize("length_is_told", [True, False])
def test_a_full_disk_fails_the_large_item_only(
    server: CvatSandbox, tmp_path: Path, small_disk: Path, large: int, mode: str, length_is_told: bool
) -> None:
    server.faults.clear()
    if not length_is_told:
        server.faults.add(Fault("/download", "no_length", times=None))
    settings = {"CVAT_BACKUP_DIR": str(small_disk), "CVAT_BACKUP_CONCURRENCY": "1", "CVAT_BACKUP_SAVE_IMAGES": "true"}
    done = run_backup(server, tmp_path, "--mode", mode, **settings)
    done = type(done)(done.code, done.out, done.err, small_disk)
    assert done.code == 3, done.said
    assert done.outcomes(mode)[f"project {large}"] == "failed"
    assert list(done.outcomes(mode).values()).count("saved") == 3
    assert len(assert_sound(small_disk)) == 3


def test_a_folder_that_cannot_be_written_is_named(server: CvatSandbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_backup(server, tmp_path, CVAT_BACKUP_DIR=str(tmp_path / "file" / "backups"))
    assert done.code == 2
    assert str(tmp_path / "file") in done.err
    assert server.log_count("POST .*") == 0


# --- the clock ----------------------------------------------------------------------------------------------------


CLOCK = """import datetime, common.text
common.text.now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(days={})
"""


def test_a_clock_that_goes_back_years_neither_loses_nor_hides_a_backup(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    server.world.add_shape(server.world.project(2).task_ids[0], "car")
    done = run_backup(server, tmp_path, patched=CLOCK.format(-4000))
    # What was saved "in the future" does not count as recent, and the newest backup keeps the newest name.
    assert set(done.outcomes().values()) == {"saved"}
    assert_all_saved(done, server)
    again = run_backup(server, tmp_path, patched=CLOCK.format(-4000))
    assert set(again.outcomes().values()) == {"unchanged"}
    assert set(run_backup(server, tmp_path).outcomes().values()) == {"saved"}
    assert len(assert_sound(done.folder)) == 9


def test_a_clock_that_jumps_while_exports_run_changes_nothing(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.export_seconds = 0.5
    jumping = (
        "import datetime, itertools, common.text\n"
        "jumps = itertools.cycle((0, -9000, 4000))\n"
        "common.text.now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=next(jumps))"
    )
    assert_all_saved(run_backup(server, tmp_path, patched=jumping), server)
