"""Files are there whole or not at all; names are safe everywhere."""

from __future__ import annotations

import errno
import json
import os
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.exits import Trouble
from common.files import DiskFull, append_lines, disk_full_named, is_device, publish, slug, write_json


@given(st.text(), st.integers(0, 80))
@example('a/b\\c: "q" <x>|*', 60)
@example("..", 60)
@example("\u202eevil\x00\x1b[0m", 60)
@example("İstanbul ﬃ ẞ", 60)
@example("न" * 200, 61)
def test_a_slug_of_any_name_is_harmless(name, longest):
    text = slug(name, longest)
    assert len(text.encode("utf-8")) <= longest
    assert not set(text) & set("./\\:*?\"<>|'`$;& \t\n\0")
    assert all(unicodedata.category(character)[0] in "LNM" or character == "-" for character in text)
    assert not text.startswith("-") and not text.endswith("-") and "--" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [("Road signs (2024) #1", "road-signs-2024-1"), ("..", ""), ("../../etc/passwd", "etc-passwd"), ("道路 標識", "道路-標識"),
     ("Ünïcode", "ünïcode"), ("हिन्दी", "हिन्दी"), ("🚗🚗", ""), ("a" * 256, "a" * 60)],
)  # fmt: skip
def test_a_slug_stays_readable_in_every_script(name, text):
    assert slug(name) == text


@pytest.mark.parametrize(
    ("name", "device"),
    [("CON", True), ("nul.tar.gz", True), ("com0.jpg", True), ("LPT¹", True), ("aux .txt", True), ("console", False),
     ("com", False), ("com10", False), ("a.con", False), ("", False)],
)  # fmt: skip
def test_what_windows_keeps_for_devices_is_known_with_any_ending(name, device):
    assert is_device(name) is device


def test_json_is_written_whole_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"name": "Ünï\u2028\x00 \ud800"})
    write_json(path, {"name": "Ünï\u2028\x00 \ud800"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "Ünï\u2028\x00 \ud800"}
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, 1)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no room left in"):
        write_json(path, 2)
    assert path.read_text() == "1\n"
    assert os.listdir(tmp_path) == ["x.json"]


def test_what_cannot_be_json_leaves_no_debris(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", object())
    assert os.listdir(tmp_path) == []


def test_publishing_replaces_in_one_step(tmp_path):
    (tmp_path / "new").write_text("new")
    (tmp_path / "final").write_text("old")
    publish(tmp_path / "new", tmp_path / "final")
    assert (tmp_path / "final").read_text() == "new"
    assert os.listdir(tmp_path) == ["final"]


def test_a_folder_that_refuses_to_be_synced_is_as_durable_as_it_gets(tmp_path, monkeypatch):
    """Some network file systems answer EINVAL to fsync of a folder."""
    real = os.fsync

    def fsync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_json(tmp_path / "x.json", 1)
    assert (tmp_path / "x.json").exists()


def test_lines_are_appended_and_a_torn_one_stays_alone(tmp_path):
    path = tmp_path / "lines"
    append_lines(path, ["one", "two"])
    with open(path, "a") as file:
        file.write('{"torn')
    append_lines(path, ["three"])
    assert path.read_text() == 'one\ntwo\n{"torn\nthree\n'


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_a_quota_and_a_size_limit_are_one_plain_trouble_with_a_remedy(tmp_path, code):
    with pytest.raises(DiskFull) as caught, disk_full_named(tmp_path):
        raise OSError(code, "x")
    assert isinstance(caught.value, Trouble)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.remedy


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), disk_full_named(tmp_path):
        raise PermissionError(errno.EACCES, "x")
