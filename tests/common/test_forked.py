"""A process forked from ours: deaf to signals, gone when we are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from common.forked import Forked, can_fork
from common.waiting import Deadline

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 60
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux such processes end together with ours")


def echo(link: socket.socket) -> None:
    while data := link.recv(1000):
        link.sendall(data.upper())


def test_it_answers_and_ends_when_nothing_more_will_come():
    forked = Forked(echo)
    forked.link.sendall(b"a word")
    assert forked.link.recv(1000) == b"A WORD"
    forked.hang_up()
    assert forked.end(Deadline(PATIENCE_SECONDS)) == 0
    assert forked.end(Deadline(0)) == 0  # asked again: the same


def test_it_does_not_hear_the_signals_that_a_terminal_sends_to_all_and_is_killed_when_it_does_not_end():
    forked = Forked(echo)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(forked.pid, number)
    forked.link.sendall(b"still here?")
    assert forked.link.recv(1000) == b"STILL HERE?"
    assert forked.end(Deadline(0)) == -signal.SIGKILL


def test_its_exit_code_is_known_also_where_our_own_parent_has_sigchld_ignored():
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        ends, is_killed = Forked(lambda link: None), Forked(echo)
        assert ends.end(Deadline(PATIENCE_SECONDS)) == 0
        assert is_killed.end(Deadline(0)) == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_fault_in_it_is_an_exit_code_and_nothing_of_ours_is_done_twice(capfd):
    def fails(link: socket.socket) -> None:
        raise ValueError("a fault")

    print("not yet flushed", end="")
    assert Forked(fails).end(Deadline(PATIENCE_SECONDS)) == 1
    sys.stdout.flush()
    assert capfd.readouterr().out == "not yet flushed"


def test_it_dies_with_us_however_we_die():
    program = (
        "import sys, time; from common.forked import Forked\n"
        "forked = Forked(lambda link: time.sleep(600)); print(forked.pid, flush=True); time.sleep(600)\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert ours.stdout is not None
    pid = int(ours.stdout.readline())
    ours.kill()
    ours.communicate()
    patience = Deadline(PATIENCE_SECONDS)
    while is_alive(pid) and not patience.is_over:
        time.sleep(0.01)
    assert not is_alive(pid)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_beside_other_threads_nothing_is_forked():
    go_on = threading.Event()
    beside = threading.Thread(target=go_on.wait)
    beside.start()
    try:
        assert not can_fork()
    finally:
        go_on.set()
        beside.join()
