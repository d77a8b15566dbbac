"""Logs: fixed events, readable or JSON, and never a secret."""

from __future__ import annotations

import json
import sys

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


@pytest.mark.parametrize("sentence", ["CVAT does not answer.", ""])
def test_a_line_with_a_sentence_is_that_sentence_for_people_and_event_and_fields_for_machines(capsys, sentence):
    log.set_up("INFO", "text")
    log.get().info("server_unreachable", reason="refused", sentence=sentence)
    assert capsys.readouterr().err.splitlines() == [sentence][: len(sentence)]
    log.set_up("INFO", "json")
    log.get().info("server_unreachable", reason="refused", sentence=sentence)
    [line] = lines(capsys)
    assert line["reason"] == "refused" and "sentence" not in line


@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)]
)
def test_on_a_terminal_lines_are_coloured_unless_nobody_wants_that(monkeypatch, capsys, name, value, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    log.set_up("INFO", "auto")
    log.get().info("one", name="x")
    text = capsys.readouterr().err
    assert "one" in text and not text.startswith("{") and ("\x1b[" in text) is coloured


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


@pytest.mark.parametrize("secret", ["a'b\"c\\d", " ends blank ", 'wört"x', "line\nbreak"])
def test_a_secret_is_also_masked_where_it_stands_quoted_stripped_or_escaped(secret):
    log.hide(secret)
    for form in (
        secret,
        secret.strip(),
        repr(secret)[1:-1],
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
    ):
        assert log.without_secrets(f"<{form}>").strip('<">') == "********"


def test_a_short_secret_is_masked_only_where_it_stands_alone():
    log.hide("x")
    assert log.without_secrets("the next x: {'password': 'x'} x_y") == "the next ********: {'password': '********'} x_y"


@pytest.mark.parametrize("error", [BrokenPipeError, OSError, ValueError])
def test_a_log_that_nobody_takes_ends_nothing(monkeypatch, error):
    def refuse(_text):
        raise error

    log.set_up("INFO", "json")
    monkeypatch.setattr(sys.stderr, "write", refuse)
    log.get().info("one")


@given(secret=st.text(min_size=4), inner=st.text("abc$", min_size=4, max_size=5))
def test_a_secret_that_holds_another_is_masked_whole(secret, inner):
    log._hidden.clear()
    log.hide(inner)
    log.hide(secret + inner)
    assert log.without_secrets(f"<{secret}{inner}>") == "<********>"
    log._hidden.clear()


def test_an_empty_secret_hides_nothing():
    log.hide("")
    assert log.without_secrets("text") == "text"


def test_as_a_library_warnings_go_to_standard_error_and_nothing_to_standard_output(capsys):
    log.set_up_for_library()
    log.get().info("quiet")
    log.get().warning("loud")
    said = capsys.readouterr()
    assert said.out == "" and "loud" in said.err and "quiet" not in said.err


def test_a_program_that_has_set_its_logs_up_keeps_them(capsys):
    log.set_up("INFO", "json")
    log.set_up_for_library()
    log.get().info("theirs")
    assert [line["event"] for line in lines(capsys)] == ["theirs"]
