"""One run of a job at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from common.lock import Locked, locked
from common.settings import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from common.lock import locked
with locked(Path(sys.argv[1]), "backup.py --mode p"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock."""
    child = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "lock"], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_second_process_is_told_at_once_who_holds_the_lock(tmp_path, holder):
    with pytest.raises(Locked) as caught, locked(tmp_path / "lock", "backup.py --mode t p"):
        raise AssertionError("not reached")
    assert f"backup.py --mode p is already running here: process {holder.pid} on " in str(caught.value)
    assert str(tmp_path / "lock") in str(caught.value)


def test_kill_9_of_the_holder_frees_the_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "lock", "job"):
        pass


def test_a_lock_is_free_again_after_the_block_also_after_an_error(tmp_path):
    with locked(tmp_path / "lock", "job"):
        pass
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "lock", "job"):
        raise ZeroDivisionError
    with locked(tmp_path / "lock", "job"):
        pass


def test_two_jobs_of_one_process_exclude_each_other_too(tmp_path):
    with locked(tmp_path / "lock", "job"), pytest.raises(Locked), locked(tmp_path / "lock", "job"):
        pass


@pytest.mark.parametrize("content", [b"", b"5", b"[]", b"{}", b"\xff\xfe", b'{"pid": 1}', b"null"])
def test_whatever_stands_in_the_lock_file_the_answer_is_the_same(tmp_path, content):
    with locked(tmp_path / "lock", "job"):
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(Locked, match="by a process that left no name"), locked(tmp_path / "lock", "job"):
            pass


def test_a_lock_is_not_inherited_by_programs_that_are_started(tmp_path):
    with locked(tmp_path / "lock", "job"):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with locked(tmp_path / "lock", "job"):
            pass
    finally:
        child.kill()
        child.wait()
