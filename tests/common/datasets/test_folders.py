"""Folders are put in place in one step, and what is not ours in them, or in their place, is nobody's to delete."""

from __future__ import annotations

import errno
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from common.datasets import folders
from common.datasets.folders import aside_of, name_to_keep, publish_folder, recover, sync_tree, trouble_named
from common.exits import RunEnds
from common.files import DiskFull

MOMENT = datetime(2026, 11, 22, 1, 5, tzinfo=UTC)


@pytest.fixture(params=["in one step", "in two"])
def exchange(request, monkeypatch):
    """Not every system can exchange two folders."""
    if request.param == "in two":
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)


def folder(path: Path, text: str) -> Path:
    path.mkdir(parents=True)
    (path / "a.txt").write_text(text)
    return path


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize("before", [None, "folder", "file", "link", "dangling link"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_folder_takes_the_place_of_whatever_has_its_name(tmp_path, before, keep):
    staging, elsewhere = tmp_path / "d" / ".staging", folder(tmp_path / "elsewhere", "precious")
    new, final = folder(staging / "task_1", "new"), tmp_path / "d" / "fog"
    if before == "folder":
        folder(final, "old")
    elif before == "file":
        final.write_text("old")
    elif before:
        final.symlink_to(elsewhere if before == "link" else tmp_path / "nowhere")
    kept = name_to_keep(final, MOMENT) if keep else None
    publish_folder(new, final, aside_of(staging, "fog"), kept)
    assert (final / "a.txt").read_text() == "new" and not final.is_symlink()
    assert (elsewhere / "a.txt").read_text() == "precious" and not list(staging.iterdir())
    there = sorted(path.name for path in final.parent.iterdir())
    assert there == [".staging", "fog", *(["fog.kept-20261122-0105"] if keep and before else [])]
    if kept and before == "folder":
        assert (kept / "a.txt").read_text() == "old"


def test_what_is_kept_never_takes_the_name_of_something_else(tmp_path):
    final = tmp_path / "fog"
    (tmp_path / "fog.kept-20261122-0105").mkdir()
    (tmp_path / "fog.kept-20261122-0105-2").symlink_to(tmp_path / "nowhere")
    assert name_to_keep(final, MOMENT).name == "fog.kept-20261122-0105-3"


def test_everything_is_durable_before_it_gets_its_name(tmp_path, monkeypatch):
    new, final = folder(tmp_path / "new", "new"), folder(tmp_path / "fog", "old")
    seen = []
    monkeypatch.setattr(folders, "sync_tree", lambda path: seen.append((path, (final / "a.txt").read_text())))
    publish_folder(new, final, tmp_path / "aside")
    assert seen == [(new, "old")] and (final / "a.txt").read_text() == "new"


def test_a_disk_that_could_not_write_what_it_had_taken_is_no_good_end(tmp_path, monkeypatch):
    class Library:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def syncfs(self, _descriptor: int) -> int:
            return -1

    monkeypatch.setattr(folders.ctypes, "CDLL", Library)
    monkeypatch.setattr(folders.ctypes, "get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync_tree(tmp_path)
    monkeypatch.setattr(folders.ctypes, "get_errno", lambda: errno.ENOSYS)
    sync_tree(tmp_path)


def test_parts_of_archives_that_nobody_can_go_on_with_go_and_the_others_stay(tmp_path):
    names = ["task_1.zip.part", "task_1.zip.part.json", "task_2.zip.part", "task_2.zip.part.json", "mine.part"]
    for name in names:
        (tmp_path / name).write_text("x")
        if "2" not in name:
            os.utime(tmp_path / name, (0, time.time() - 8 * 86400))
    recover(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.part", "task_2.zip.part", "task_2.zip.part.json"]


@pytest.mark.parametrize("place", ["link", "dangling link", "file", "nothing"])
def test_what_was_set_aside_comes_back_only_where_nothing_has_its_name(tmp_path, place):
    staging, final = tmp_path / ".staging", tmp_path / "fog"
    folder(aside_of(staging, "fog"), "old")
    if place == "file":
        final.write_text("mine")
    elif place != "nothing":
        final.symlink_to(folder(tmp_path / "there", "mine") if place == "link" else tmp_path / "nowhere")
    recover(staging)
    assert final.is_symlink() == ("link" in place) and not list(staging.iterdir())
    assert place != "nothing" or (final / "a.txt").read_text() == "old"


def test_what_the_runs_own_folder_refuses_is_said_with_what_to_do(tmp_path):
    (tmp_path / "cvat_downloads").write_text("mine")
    said = r"CVAT_DOWNLOAD_OUTPUT_DIR=.*: .*/cvat_downloads is a file, no folder\.$"
    with pytest.raises(RunEnds, match=said) as caught, trouble_named(tmp_path):
        (tmp_path / "cvat_downloads" / ".staging").mkdir(parents=True, exist_ok=True)
    assert "Move away what is in the way there." in caught.value.remedy
    with pytest.raises(DiskFull), trouble_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left", str(tmp_path / "x"))
    with pytest.raises(FileNotFoundError), trouble_named(tmp_path):  # a fault of ours is one of ours
        raise FileNotFoundError(errno.ENOENT, "No such file", "/elsewhere")
