"""The writer: what it copies opens in zipfile and is equal, and it copies no damage."""

from __future__ import annotations

import io
import os
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.archive import Archive, BadArchive
from common.backups.writer import ArchiveWriter
from tests.common.backups.zips import MEMBERS, METHODS, by_zipfile, contents, written
from tests.common.making import zip_bytes


@given(members=MEMBERS, method=METHODS, prefix=st.sampled_from(["", "task_3/", "ü/"]))
def test_what_the_writer_copies_opens_in_zipfile_and_is_equal(tmp_path, members, method, prefix):
    path, copy = written(tmp_path, zip_bytes(members, method)), tmp_path / "copy.zip"
    with Archive(path) as archive:
        writer = ArchiveWriter(copy)
        for member in archive.members():
            writer.copy(archive, member, prefix + member.name)
        writer.finish()
    assert by_zipfile(copy) == contents(copy) == {prefix + name: content for name, content in members.items()}
    with Archive(copy) as archive:
        archive.check_all()
    assert sorted(os.listdir(tmp_path)) == ["copy.zip", "x.zip"]


def test_a_copy_keeps_dates_and_attributes(tmp_path):
    info = zipfile.ZipInfo("a", (2024, 5, 6, 7, 8, 10))
    info.external_attr = 0o100644 << 16
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(info, b"1")
    with Archive(written(tmp_path, target.getvalue())) as source:
        writer = ArchiveWriter(tmp_path / "copy.zip")
        for member in source.members():
            writer.copy(source, member)
        writer.finish()
    with zipfile.ZipFile(tmp_path / "copy.zip") as archive:
        [copied] = archive.infolist()
        assert copied.date_time == info.date_time
        assert copied.external_attr == info.external_attr


def test_the_writer_does_not_copy_damage(tmp_path):
    data = bytearray(zip_bytes({"a": b"content"}))
    data[31 + 2] ^= 1
    with Archive(written(tmp_path, bytes(data))) as archive:
        writer = ArchiveWriter(tmp_path / "copy.zip")
        [member] = archive.members()
        with pytest.raises(BadArchive, match="damaged"):
            writer.copy(archive, member)
        writer.abandon()
    assert not (tmp_path / "copy.zip.directory").exists()
