"""Logs: fixed events, readable or JSON, and never a secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import log


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_its_event_and_fields(capsys):
    log.set_up("INFO", "json")
    log.get().info("backup_saved", name="Straße\n2", bytes=5)
    [line] = lines(capsys)
    assert (line["event"], line["name"], line["bytes"], line["level"]) == ("backup_saved", "Straße\n2", 5, "info")


def test_lines_below_the_level_are_not_written(capsys):
    log.set_up("WARNING", "json")
    log.get().info("quiet")
    log.get().warning("loud")
    assert [line["event"] for line in lines(capsys)] == ["loud"]


def test_away_from_a_terminal_logs_are_json_and_text_can_be_asked_for(capsys):
    log.set_up("INFO", "auto")
    log.get().info("one")
    assert lines(capsys)[0]["event"] == "one"
    log.set_up("INFO", "text")
    log.get().info("two", name="x")
    text = capsys.readouterr().err
    assert "two" in text and "name=x" in text and not text.startswith("{")


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_hidden_secret_shows_nowhere(capsys, style):
    log.set_up("INFO", style)
    log.hide("geh$eim")
    try:
        raise ValueError("the password geh$eim is wrong")
    except ValueError:
        log.get().exception("trouble: geh$eim", url="https://x/?p=geh$eim", nested={"a": ["geh$eim", ("geh$eim",)]})
    text = capsys.readouterr().err
    assert "geh$eim" not in text
    assert log.without_secrets("a geh$eim b") == "a ******** b"


@given(secret=st.text(min_size=4), inner=st.text(min_size=2, max_size=3))
def test_a_secret_that_holds_another_is_masked_whole(secret, inner):
    log._hidden.clear()
    log.hide(inner)
    log.hide(secret + inner)
    assert log.without_secrets(f"<{secret}{inner}>") == "<********>"
    log._hidden.clear()


def test_an_empty_secret_hides_nothing():
    log.hide("")
    assert log.without_secrets("text") == "text"
