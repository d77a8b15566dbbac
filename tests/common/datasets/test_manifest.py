"""What a manifest tells apart: what this program has written, what is damaged, what somebody has made their own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from common.datasets import manifest
from common.datasets.extract import check_archive, extract
from common.datasets.manifest import Head, find_damage, find_theirs, read_head
from common.files import write_json
from common.waiting import StopSignal
from tests.common.making import zip_bytes


@pytest.fixture
def ours(tmp_path) -> Path:
    archive = tmp_path / "in.zip"
    archive.write_bytes(zip_bytes({"images/a.jpg": b"aaaa", "list.txt": b"a"}))
    folder, index = tmp_path / "fog", tmp_path / "index"
    check_archive(archive, 0)
    extract(archive, folder, index, 0, StopSignal().check)
    write_json(folder / manifest.JOB_STATUS, {})
    manifest.write(folder, HEAD, index, set(), [])
    return folder


HEAD = Head("cvat", 1, "Fog", "then", "now", "print", "COCO 1.0", include_images=False, check_image_exists=True)


def test_what_was_written_is_neither_damaged_nor_anybody_elses(ours):
    assert read_head(ours) == HEAD
    assert find_damage(ours) == ("", 8) and find_theirs(ours) == ""


@pytest.mark.parametrize(
    ("change", "theirs"),
    [
        ("a file added", "1 file was added to it"),
        ("two files added", "2 files were added to it"),
        ("a link added", "1 file was added to it"),
        ("a file changed", "list.txt was changed"),
        ("a link in a file's place", "list.txt was changed"),
        ("a file of theirs in the place of a lost one", "1 file was added to it"),
        ("torn", "what is in it cannot be told"),
        ("no manifest", "what is in it cannot be told"),
        ("moved and linked", "it is a link to "),
        ("touched", ""),
        ("a file lost", ""),
        ("a folder lost", ""),
        ("looked at", ""),
    ],
)
def test_somebody_elses_is_what_would_be_lost_with_the_folder(ours, change, theirs):
    listed = ours / ".cvat-download.jsonl"
    if change in ("a file added", "two files added"):
        (ours / "runs").mkdir()
        for number in range(1 + ("two" in change)):
            (ours / "runs" / f"best{number}.pt").write_text("x")
    elif change == "a link added":
        (ours / "images" / "runs").symlink_to(ours.parent)
    elif change == "a file changed":
        (ours / "list.txt").write_text("b")
        os.utime(ours / "list.txt", (0, 0))
    elif change == "a link in a file's place":
        (ours / "list.txt").unlink()
        (ours / "list.txt").symlink_to(ours / "images")
    elif change == "a file of theirs in the place of a lost one":
        (ours / "list.txt").rename(ours / "mine.txt")
    elif change == "torn":
        listed.write_bytes(listed.read_bytes()[:-30])
    elif change == "no manifest":
        listed.unlink()
    elif change == "moved and linked":
        ours.rename(ours.parent / "moved")
        ours.symlink_to(ours.parent / "moved")
    elif change == "touched":
        os.utime(ours / "list.txt", (0, 0))
    elif change == "a file lost":
        (ours / "list.txt").unlink()
    elif change == "a folder lost":
        (ours / "images" / "a.jpg").unlink()
        (ours / "images").rmdir()
    elif change == "looked at":
        (ours / "images" / ".DS_Store").write_text("x")
    found = find_theirs(ours)
    assert found.startswith(theirs) and bool(found) == bool(theirs), found


def test_every_name_that_is_written_there_is_kept_from_archives(ours, monkeypatch):
    names = set()
    plain = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: (names.update({Path(old).name, Path(new).name}), plain(old, new))
    )
    write_json(ours / manifest.JOB_STATUS, {})
    manifest.write(ours, HEAD, _index(ours), set(), [])
    assert names == manifest.RESERVED


def _index(folder: Path) -> Path:
    index = folder.parent / "index"
    index.write_text(json.dumps({"path": "list.txt", "bytes": 1, "sha256": ""}) + "\n")
    return index
