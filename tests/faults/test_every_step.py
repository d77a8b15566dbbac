"""backup.py is killed right before each single thing that it does to files; the next run leaves all as if nothing had been."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from running import add_project, assert_completed, finish, run_backup, start

from sandbox.cvat import CvatSandbox

# Counts what the process does to files of a folder, and kills it right before number WHICH.
KILLER = """
import os, signal, sys
_folder, _which, _count = os.environ["CVAT_BACKUP_DIR"], int(os.environ["WHICH"]), 0
def _hook(event, arguments):
    global _count
    if event == "open":
        counts = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    else:
        counts = event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "os.link")
    if counts and str(arguments[0]).startswith(_folder):
        _count += 1
        os.write(_steps, b".")
        if _count == _which:
            os.kill(os.getpid(), signal.SIGKILL)
_steps = os.open(os.environ["STEPS"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
sys.addaudithook(_hook)
"""
FORCED = ("--mode", "p", "a")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 kills at every step")
@pytest.mark.parametrize("first", [False, True], ids=["saved before", "never saved"])
def test_a_kill_at_any_step_loses_nothing_and_leaves_nothing_behind(
    server: CvatSandbox, tmp_path: Path, first: bool
) -> None:
    project, _task = add_project(server, "with a part left out")
    server.world.fail_upload(server.world.add_empty_task("broken", project))
    folder, before = tmp_path / "backups", tmp_path / "before"
    if not first:
        assert run_backup(server, tmp_path, *FORCED).code == 0
        shutil.copytree(folder, before)

    def forced(which: int) -> tuple[int, str]:
        shutil.rmtree(folder, ignore_errors=True)
        if before.exists():
            shutil.copytree(before, folder)
        process = start(
            server, tmp_path, *FORCED, patched=KILLER, WHICH=str(which), CVAT_BACKUP_FULL_EVERY_DAYS="0",
            STEPS=str(tmp_path / "steps"), CVAT_BACKUP_CONCURRENCY="1",
        )  # fmt: skip
        done = finish(process, folder)
        return done.code, done.said

    code, said = forced(0)
    assert code == 0, said
    steps = (tmp_path / "steps").stat().st_size
    assert steps > 40
    for which in range(1, steps + 1, int(os.environ.get("STRIDE", "4"))):
        code, said = forced(which)
        if code == 0:
            continue
        assert code == -9, said
        done = run_backup(server, tmp_path, *FORCED)
        assert_completed(server, done, project.id)
