"""What is shown while names are read and the bucket is listed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import pytest
import structlog

from common.images.screen import LOG_EVERY_SECONDS, QUICK_SECONDS, AnalysisLine


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)`: so much later."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


@pytest.fixture
def terminal(monkeypatch):
    """`with terminal() as seen`: stderr is a terminal, and `seen()` gives what has come to it."""
    master, slave = os.openpty()
    os.set_blocking(master, False)
    stream = open(slave, "w")  # noqa: SIM115 - closed below
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)

    def seen() -> str:
        try:
            return os.read(master, 1 << 16).decode()
        except BlockingIOError:
            return ""

    @contextlib.contextmanager
    def terminal():
        # In the test itself: pytest gives every phase a stderr of its own.
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            yield seen

    yield terminal
    stream.close()
    os.close(master)


def test_without_a_terminal_there_is_a_log_line_at_intervals(clock):
    with structlog.testing.capture_logs() as logs, AnalysisLine() as line:
        line.begin("listing the bucket", lambda: 3000)
        line.show()
        clock(LOG_EVERY_SECONDS)
        line.show()
        line.show()
    assert [(each["event"], each["doing"], each["count"]) for each in logs] == [
        ("analysing", "listing the bucket", 3000)
    ]


def test_on_a_terminal_what_takes_longer_is_told_and_wiped_away_at_the_end(clock, terminal):
    threads = threading.active_count()
    with terminal() as seen:
        with AnalysisLine() as line:
            line.begin("reading the names", lambda: 1)
            line.show()
            assert seen() == ""
            clock(QUICK_SECONDS)
            line.begin("listing the bucket", lambda: 123_000)
            line.show()
            assert "listing the bucket: 123,000" in seen()
            # A second thread would keep the run from forking the processes that fetch.
            assert threading.active_count() == threads
        assert seen().endswith("\x1b[2K")
