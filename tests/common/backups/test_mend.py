"""Rewriting an archive: tasks replaced, tasks left out, everything else byte for byte."""

from __future__ import annotations

import os
import zipfile

import pytest

from common.backups.archive import Archive, BadArchive
from common.backups.mend import mended
from common.waiting import Stopped, StopSignal
from tests.common.making import zip_bytes

ORIGINAL = {
    "project.json": b"{}",
    **{f"task_{n}/{name}": f"{n}{name}".encode() for n in (0, 1, 11) for name in ("task.json", "data/a.jpg")},
}
FRESH = {"task.json": b"fresh", "annotations.json": b"new", "data/a.jpg": b"picture"}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "original.zip").write_bytes(zip_bytes(ORIGINAL))
    (tmp_path / "fresh.zip").write_bytes(zip_bytes(FRESH, zipfile.ZIP_DEFLATED))
    return tmp_path / "original.zip", tmp_path / "fresh.zip", tmp_path / "mended.zip"


def members(path):
    with Archive(path) as archive:
        archive.check_all()
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_a_dropped_task_is_gone_and_no_other_is(files):
    original, _, target = files
    mended(original, target, drop=[1], replace={})
    assert members(target) == {name: data for name, data in ORIGINAL.items() if not name.startswith("task_1/")}


def test_a_replaced_task_is_the_fresh_one(files):
    original, fresh, target = files
    mended(original, target, drop=[], replace={1: fresh})
    kept = {name: data for name, data in ORIGINAL.items() if not name.startswith("task_1/")}
    assert members(target) == kept | {f"task_1/{name}": data for name, data in FRESH.items()}


def test_a_task_that_was_missing_is_added(files):
    original, fresh, target = files
    mended(original, target, drop=[0, 1, 11], replace={2: fresh})
    assert members(target) == {"project.json": b"{}"} | {f"task_2/{name}": data for name, data in FRESH.items()}


@pytest.mark.parametrize("trouble", ["damage", "stop"])
def test_after_trouble_nothing_half_written_stays(files, trouble):
    original, fresh, target = files
    stop = StopSignal()
    if trouble == "damage":
        data = bytearray(original.read_bytes())
        data[data.index(b"project.json") + len("project.json")] ^= 1
        original.write_bytes(data)
    else:
        stop.set(15)
    with pytest.raises((BadArchive, Stopped)):
        mended(original, target, drop=[], replace={1: fresh}, between=stop.check)
    assert sorted(os.listdir(target.parent)) == ["fresh.zip", "original.zip"]
