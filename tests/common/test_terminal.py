"""What is drawn, and in which colours, is up to the terminal and to who sits there."""

from __future__ import annotations

import sys

import pytest

from common import terminal


@pytest.mark.parametrize(
    ("is_terminal", "environment", "draws", "has_colours"),
    [
        (True, {"TERM": "xterm"}, True, True),
        (True, {}, True, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True, True),
        (True, {"TERM": "dumb"}, False, False),
        (True, {"TERM": "unknown"}, False, False),
        (False, {"TERM": "xterm"}, False, False),
    ],
)
def test_a_dumb_terminal_gets_lines_only_and_no_color_means_none(
    monkeypatch, is_terminal, environment, draws, has_colours
):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    assert (terminal.draws(), terminal.has_colours()) == (draws, has_colours)
