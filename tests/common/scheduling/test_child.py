"""One run of one job as a child process."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from zoneinfo import ZoneInfo

import pytest
from running import wait_until

from common.scheduling import child as child_module
from common.scheduling.child import Child, Order
from common.scheduling.crontab import parse
from common.scheduling.relay import Output
from common.waiting import Deadline


def the_start_fails(monkeypatch, what, fault):
    begun: list[subprocess.Popen[bytes]] = []

    def cannot(*_arguments: object, **_options: object) -> None:
        raise fault

    popen = subprocess.Popen
    monkeypatch.setattr(child_module.subprocess, "Popen", lambda *a, **o: begun.append(popen(*a, **o)) or begun[-1])
    monkeypatch.setattr(*what, cannot)
    return begun


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted in /proc")
@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ((threading.Thread, "start"), RuntimeError("can't start new thread")),
        ((os, "dup"), OSError(24, "Too many open files")),
    ],
    ids=["threads", "files"],
)
def test_a_job_that_nobody_can_listen_to_is_ended_and_leaves_no_file_open(tmp_path, monkeypatch, what, fault):
    (tmp_path / "backup.py").write_text("import time; time.sleep(300)")
    [entry] = parse("@startup backup.py\n", {"backup.py"}, ZoneInfo("UTC")).entries
    begun = the_start_fails(monkeypatch, what, fault)
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match=str(fault.args[-1])):
        Child(Order(entry, "startup"), "0a1b2c3d", tmp_path, dict(os.environ), Output("text"))
    assert begun[0].poll() is not None
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_what_a_job_leaves_in_a_session_of_its_own_holds_nobody_up(tmp_path):
    (tmp_path / "backup.py").write_text(
        "import subprocess, sys\n"
        "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'], start_new_session=True)\n"
        "print(left.pid, flush=True)\n"
    )
    [entry] = parse("@startup backup.py\n", {"backup.py"}, ZoneInfo("UTC")).entries
    child = Child(Order(entry, "startup"), "0a1b2c3d", tmp_path, dict(os.environ), Output("text"))
    child._process.wait(60)
    try:
        wait_until(lambda: child._listener.tail, "it has said who is left")
        assert not child.has_ended, "its output is still open"
        child._output_until = Deadline(0)
        assert child.has_ended and child.finish()[0] == 0
    finally:
        os.kill(int(child._listener.tail[0]), signal.SIGKILL)
