"""Files are there whole or not at all; names are safe everywhere."""

from __future__ import annotations

import ast
import errno
import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rights import like_anybody, rights

from common.exits import Trouble
from common.files import (
    DiskFull,
    append_lines,
    disk_full_named,
    is_device,
    is_file,
    is_folder,
    is_link,
    is_there,
    publish,
    slug,
    walk,
    write_json,
)

ROOT = Path(__file__).parents[2]


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


def test_what_is_there_is_told_apart(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for name, leads_to in (("to folder", "folder"), ("to file", "file"), ("to nowhere", "gone"), ("round", "round")):
        (tmp_path / name).symlink_to(leads_to)
    found = {
        name: "".join(
            "tfdl"[at] for at, look in enumerate((is_there, is_file, is_folder, is_link)) if look(tmp_path / name)
        )
        for name in ("folder", "file", "to folder", "to file", "to nowhere", "round", "gone", "file/below", "nul\0")
    }
    assert found == {
        "folder": "td", "file": "tf", "to folder": "tdl", "to file": "tfl", "to nowhere": "l", "round": "l", "gone": "",
        "file/below": "", "nul\0": "",
    }  # fmt: skip


@pytest.mark.parametrize("look", [is_there, is_file, is_folder, is_link])
def test_what_cannot_be_looked_at_is_not_taken_for_missing(look, tmp_path):
    with pytest.raises(OSError, match="name too long"):
        look(tmp_path / ("a" * 300))
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "file").touch()
    code = f"import sys; from pathlib import Path; from common.files import *; {look.__name__}(Path(sys.argv[1]))"
    with rights(tmp_path / "closed", 0o000):
        command = [sys.executable, "-c", code, str(tmp_path / "closed" / "file")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=like_anybody)
    assert "PermissionError" in done.stderr


def test_a_folder_that_cannot_be_read_is_not_taken_for_empty(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed" / "file").touch()
    assert sum(len(files) for _, _, files in walk(tmp_path)) == 1
    assert list(walk(tmp_path / "gone")) == []
    code = "import sys; from pathlib import Path; from common.files import walk; list(walk(Path(sys.argv[1])))"
    with rights(tmp_path / "closed", 0o000):
        command = [sys.executable, "-c", code, str(tmp_path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=like_anybody)
    assert "PermissionError" in done.stderr and "closed" in done.stderr


def test_nothing_asks_pathlib_whether_a_file_is_there():
    """Since Python 3.14 its answers do not tell missing from unreadable; an `entry` of os.scandir() does. Nor does os.walk()."""
    # Each of them must live without the rest: the first before anything is loaded, the second beside FiftyOne's server.
    alone = {ROOT / "common/__init__.py", ROOT / "common/fiftyone/app.py"}
    asking = []
    for path in sorted({*ROOT.glob("*.py"), *(ROOT / "common").rglob("*.py")} - alone):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            who, what = ast.unparse(node.func.value), node.func.attr
            looks = what in ("exists", "is_dir", "is_file", "is_symlink") and who != "entry"
            of_others = who in ("os.path",) or who.startswith("F(")  # FiftyOne's fields
            walks = (who, what) == ("os", "walk") and path.name != "files.py"
            if (looks and not of_others) or walks:
                asking.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert asking == []
