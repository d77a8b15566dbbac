"""What is shown while names are read and the bucket is listed."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import sys
import threading
import time

import pytest
import structlog

from common.images.screen import LOG_EVERY_SECONDS, QUICK_SECONDS, AnalysisLine, DownloadBar


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

    class Seen:
        is_there = True

        def __call__(self) -> str:
            try:
                return os.read(master, 1 << 16).decode()
            except BlockingIOError:
                return ""

        def until(self, text: str) -> str:
            """What comes until this has come: the system hands it over a moment later."""
            came = ""
            while text not in came:
                readable, _, _ = select.select([master], [], [], 10)
                assert readable, came
                came += self()
            return came

        def hang_up(self) -> None:
            os.close(master)
            self.is_there = False

    seen = Seen()

    @contextlib.contextmanager
    def terminal():
        # In the test itself: pytest gives every phase a stderr of its own.
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            yield seen

    yield terminal
    with contextlib.suppress(OSError):  # what is still to be written has no terminal any more
        stream.close()
    if seen.is_there:
        seen.hang_up()


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


def test_a_terminal_that_can_only_write_lines_gets_log_lines_and_nothing_drawn(clock, terminal, monkeypatch):
    with structlog.testing.capture_logs() as logs, terminal() as seen:
        monkeypatch.setenv("TERM", "dumb")
        with AnalysisLine() as line, DownloadBar(2, 200) as bar:
            line.begin("listing the bucket", lambda: 3000)
            clock(LOG_EVERY_SECONDS)
            line.show()
            bar.show(1, 100, 0, "a.jpg")
        assert seen() == ""
    assert [each["event"] for each in logs] == ["analysing", "progress"]


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
            seen.until("listing the bucket: 123,000")
            # A second thread would keep the run from forking the processes that fetch.
            assert threading.active_count() == threads
        seen.until("\x1b[1A\x1b[2K")


def test_the_bar_tells_how_many_how_much_how_fast_how_long_and_which(terminal):
    whole = re.compile(r"[1-9] of 2, 1 failed +\S+ +(\d+)% +[\d.]+ \w*(?:B|bytes)/s +\d*\d:\d\d +a\.jpg")
    with terminal() as seen, DownloadBar(2, 10_000) as bar:
        came, until = "", time.monotonic() + 20
        for step in itertools.count(1):
            bar.show(1, min(9000, 10 * step), 1, "a.jpg")  # slowly: there is time left to be told of
            came += re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen())
            if found := whole.search(came):
                break
            assert time.monotonic() < until, came
            time.sleep(0.01)
    assert 0 <= int(found[1]) <= 90


def test_a_terminal_that_goes_away_ends_nothing(clock, terminal):
    with terminal() as seen, AnalysisLine() as line:
        line.begin("listing the bucket", lambda: 1)
        clock(QUICK_SECONDS)
        line.show()
        seen.until("listing the bucket: 1")
        seen.hang_up()
        clock(QUICK_SECONDS)
        line.show()
