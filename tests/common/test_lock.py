"""One run of a job at a time."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading

import pytest

from common.lock import Locked, Patience, Shared, all_locked, locked, locks_of
from common.run import new_run_id
from common.settings import ROOT
from common.shards import Shard
from common.waiting import Stopped, StopSignal

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


def test_who_may_wait_takes_the_lock_when_it_is_free(tmp_path, holder, capsys):
    threading.Timer(0.3, holder.kill).start()
    with locked(tmp_path / "lock", "sweeper.py", Patience(60, StopSignal())):
        pass
    said = capsys.readouterr().out
    assert said.count("waiting_for_lock") == 1 and f"process {holder.pid}" in said and "lock_taken" in said


def test_a_wait_ends_with_its_time_and_with_a_stop(tmp_path, holder):
    with (
        pytest.raises(Locked, match="also after a wait of"),
        locked(tmp_path / "lock", "x", Patience(0.2, StopSignal())),
    ):
        raise AssertionError("not reached")
    stop = StopSignal()
    threading.Timer(0.2, stop.set, [signal.SIGTERM]).start()
    with pytest.raises(Stopped), locked(tmp_path / "lock", "x", Patience(60, stop)):
        raise AssertionError("not reached")


def test_who_waits_for_several_locks_holds_none_of_them_meanwhile(tmp_path, holder):
    stop = StopSignal()
    ended = []

    def wait() -> None:
        try:
            with all_locked([tmp_path / "free", tmp_path / "lock"], "sweeper.py", Patience(60, stop)):
                ended.append("taken")
        except Stopped:
            ended.append("stopped")

    waiting = threading.Thread(target=wait)
    waiting.start()
    with locked(tmp_path / "free", "backup.py --mode a", Patience(20, StopSignal())):
        pass
    stop.set(signal.SIGTERM)
    waiting.join(20)
    assert ended == ["stopped"]


def test_a_run_takes_the_id_that_the_scheduler_gave_it():
    assert new_run_id({"CVAT_RUN_ID": "0a1b2c3d"}) == "0a1b2c3d"
    for odd in ("", "../../x", "0A1B2C3D", "0a1b2c3d\n"):
        assert new_run_id({"CVAT_RUN_ID": odd}) != odd


def test_a_full_disk_keeps_nobody_from_a_lock(tmp_path, monkeypatch):
    def no_room(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", no_room)
    with (
        locked(tmp_path / "lock", "sweeper.py"),
        pytest.raises(Locked, match="by a process that left no name"),
        locked(tmp_path / "lock", "backup.py"),
    ):
        raise AssertionError("not reached")


@pytest.mark.parametrize("kind", [lambda path: path, Shared])
def test_a_link_in_the_place_of_a_lock_leads_nowhere_and_is_named(tmp_path, kind):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "lock").symlink_to("precious")
    with pytest.raises(OSError, match="this lock file is a link to precious") as refused:
        all_locked([kind(tmp_path / "lock")], "job").__enter__()
    assert refused.value.filename == str(tmp_path / "lock")
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_link_to_nowhere_in_the_place_of_a_shards_lock_makes_nothing_there(tmp_path):
    shard = Shard(1, 2)
    (tmp_path / f".lock-t{shard.ending}").symlink_to("nowhere")
    with pytest.raises(OSError, match="is a link to nowhere"):
        locks_of(tmp_path, "t", shard)
    assert not (tmp_path / "nowhere").exists()
