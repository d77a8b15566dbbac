"""A growing file is read once: what is new, whole lines only, across rotations."""

from __future__ import annotations

import pytest

from common.health import tail as tail_module
from common.health.tail import Tail


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.jsonl"


@pytest.fixture
def tail(path):
    return Tail(path, path.with_name("runs.1.jsonl"))


def new(tail):
    return [line.decode().strip() for line in tail.lines()]


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


def test_only_what_was_appended_is_read(tail, path):
    assert new(tail) == []
    append(path, "one\ntwo\n")
    assert new(tail) == ["one", "two"]
    assert new(tail) == []
    append(path, "three\n")
    assert new(tail) == ["three"]


def test_a_line_that_is_still_being_written_waits_until_it_is_whole(tail, path):
    append(path, "one\ntw")
    assert new(tail) == ["one"]
    append(path, "o\nthree\n")
    assert new(tail) == ["two", "three"]


def test_nothing_is_lost_or_read_twice_when_the_file_is_rotated(tail, path):
    append(path, "one\n")
    assert new(tail) == ["one"]
    append(path, "two\n")
    path.rename(path.with_name("runs.1.jsonl"))
    assert new(tail) == []  # until the new one is there
    append(path, "three\n")
    assert new(tail) == ["two", "three"]
    append(path, "four\n")
    path.rename(path.with_name("runs.1.jsonl"))
    append(path, "five\n")
    assert new(tail) == ["four", "five"]


def test_the_first_look_reads_the_older_file_first(tail, path):
    append(path.with_name("runs.1.jsonl"), "one\n")
    append(path, "two\n")
    assert new(tail) == ["one", "two"]
    assert new(tail) == []


def test_a_file_that_was_cut_is_read_anew(tail, path):
    append(path, "one\ntwo\n")
    assert new(tail) == ["one", "two"]
    path.write_text("six\n")
    assert new(tail) == ["six"]


def test_a_reader_that_breaks_off_goes_on_where_it_was(tail, path):
    append(path, "one\ntwo\nthree\n")
    for line in tail.lines():
        assert line == b"one\n"
        break
    assert new(tail) == ["two", "three"]


def test_damage_without_an_end_is_passed_over_without_being_held(tail, path, monkeypatch):
    monkeypatch.setattr(tail_module, "LONGEST_LINE_BYTES", 100)
    append(path, "one\n" + "\0" * 350)
    assert new(tail) == ["one"]
    append(path, "tail of it\ntwo\n")
    assert new(tail) == ["two"]
