"""Waiting ends: with a stop, with a deadline, and never in a deadlock."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
import time
from itertools import islice

import pytest

from common.settings import ROOT
from common.waiting import FOREVER, Deadline, Stopped, StopSignal, growing_pauses, poll_pause


def test_a_sleep_lasts_as_long_as_it_was_asked_for():
    began = time.monotonic()
    StopSignal().sleep(0.05)
    StopSignal().sleep(0)
    StopSignal().sleep(-5)
    assert 0.05 <= time.monotonic() - began < 2


def test_a_stop_wakes_every_sleeper():
    stop, ended = StopSignal(), []

    def sleeper():
        with pytest.raises(Stopped):
            stop.sleep(60)
        ended.append(1)

    threads = [threading.Thread(target=sleeper) for _ in range(3)]
    for thread in threads:
        thread.start()
    stop.set(signal.SIGTERM)
    for thread in threads:
        thread.join(5)
    assert len(ended) == 3


def test_after_a_stop_nothing_sleeps_any_more():
    stop = StopSignal()
    stop.check()
    stop.set(signal.SIGTERM)
    assert stop.is_set
    for wait in (stop.check, lambda: stop.sleep(0), lambda: stop.sleep(60)):
        with pytest.raises(Stopped):
            wait()


def test_the_first_signal_is_the_one_that_counts():
    stop = StopSignal()
    stop.set(signal.SIGTERM)
    stop.set(signal.SIGINT)
    assert stop.signal_number == signal.SIGTERM


def test_a_signal_in_the_middle_of_a_wait_never_hangs():
    """threading.Event did: its handler waited for the lock that the interrupted thread held."""
    program = (
        "import signal\n"
        "from common.waiting import Stopped, StopSignal\n"
        "stop = StopSignal()\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: stop.set(number))\n"
        "print('ready', flush=True)\n"
        "try:\n    while True: stop.sleep(0.0)\nexcept Stopped: pass\n"
    )
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout is not None
        child.stdout.readline()
        child.terminate()
        try:
            assert child.wait(20) == 0
        finally:
            child.kill()
            child.stdout.close()


def test_a_deadline_ends_and_a_sooner_one_ends_sooner():
    assert Deadline(0).is_over
    assert not Deadline(60).is_over
    assert Deadline(60).sooner(5).left_seconds <= 5
    assert Deadline(1).sooner(60).left_seconds <= 1
    assert Deadline(-1).sooner(60).is_over
    assert FOREVER.left_seconds == math.inf and FOREVER.sooner(3).seconds == 3


def test_pauses_grow_up_to_the_longest():
    assert list(islice(growing_pauses(0.5, longest=3), 5)) == [0.5, 1.0, 2.0, 3, 3]


def test_polling_begins_fast_and_slows_down():
    assert poll_pause(0) == 0.1
    assert poll_pause(20) == 2.0
    assert poll_pause(10_000) == 5.0
