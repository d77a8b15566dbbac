"""Progress without a terminal is a log line now and then."""

from __future__ import annotations

import json
import sys

import pytest

from common import log, progress
from common.progress import Display


@pytest.fixture
def always(monkeypatch):
    """A log line at every tick."""
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    log.set_up("INFO", "json")


def test_without_a_terminal_every_tick_says_what_is_being_worked_on(capsys, always):
    with Display("saving", 3) as display:
        item = display.item("project 1 Road\x1b signs")
        item.phase("downloading")
        item.bytes(500_000, 2_000_000)
        display.tick()
        item.close()
        display.advance()
        display.tick()
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first["event"] == "progress"
    assert (first["done"], first["total"], first["fetched"]) == (0, 3, "500 kB")
    assert first["working"] == {"project 1 Road signs": "downloading 500 kB of 2.0 MB"}
    assert (second["done"], second["working"]) == (1, {})


def test_ticks_within_the_interval_are_silent(capsys):
    log.set_up("INFO", "json")
    with Display("saving", 3) as display:
        for _ in range(10):
            display.tick()
    assert capsys.readouterr().err == ""


def test_bytes_that_were_there_before_a_new_beginning_are_not_counted_twice(capsys, always):
    with Display("saving", 1) as display:
        item = display.item("x")
        item.bytes(100, None)
        item.bytes(250, None)
        item.bytes(50, None)  # begun again
        assert item.detail == "waiting 50 B"
        item.phase("checking")
        assert item.detail == "checking"
        display.tick()
    assert json.loads(capsys.readouterr().err)["fetched"] == "250 B"


def test_a_terminal_that_can_only_write_lines_gets_the_lines(monkeypatch, capsys, always):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    with Display("saving", 3) as display:
        display.tick()
    assert json.loads(capsys.readouterr().err)["event"] == "progress"


def test_on_a_terminal_bars_are_drawn_and_taken_away_again(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Display("saving", 2) as display:
        item = display.item("[bold]project 1[/bold]")
        item.phase("downloading")
        item.bytes(10, 20)
        display.tick()
        item.close()
        display.advance()
    assert "\x1b[" in capsys.readouterr().err
