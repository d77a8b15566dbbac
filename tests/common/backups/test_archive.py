"""Zip archives: whatever zipfile writes reads back the same, and no damage passes unseen."""

from __future__ import annotations

import io
import os
import random
import struct
import zipfile

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from common.backups.archive import Archive, BadArchive, unsafe_name
from common.backups.writer import ArchiveWriter
from common.waiting import Stopped, StopSignal
from tests.common.backups.zips import MEMBERS, METHODS, NAMES, by_zipfile, contents, is_seen, streamed_zip, written
from tests.common.making import zip_bytes


@given(members=MEMBERS, method=METHODS)
@example({"task_0/data/ünï 道路.jpg": b"x" * 1000, "a\nb": b""}, zipfile.ZIP_DEFLATED)
def test_whatever_zipfile_writes_reads_back_the_same(tmp_path, members, method):
    path = written(tmp_path, zip_bytes(members, method))
    with Archive(path) as archive:
        assert archive.count == len(members)
        assert archive.check_all() == sum(map(len, members.values()))
        assert [member.name for member in archive.members()] == list(members)
    assert contents(path) == by_zipfile(path) == members


@given(members=MEMBERS, zip64=st.booleans())
def test_zips_with_sizes_behind_the_data_or_with_zip64_fields_read_back_the_same(tmp_path, members, zip64):
    path = written(tmp_path, streamed_zip(members, zip64=zip64))
    with Archive(path) as archive:
        archive.check_all()
    assert contents(path) == members


def test_a_zip_of_more_than_65535_members_is_read_and_rewritten(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(66_000):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    path = written(tmp_path, target.getvalue())
    copy = tmp_path / "copy.zip"
    with Archive(path) as archive:
        assert archive.count == 66_000
        archive.check_all()
        writer = ArchiveWriter(copy)
        for member in archive.members():
            writer.copy(archive, member)
        writer.finish()
    with Archive(copy) as archive:
        assert archive.count == 66_000
        archive.check_all()
    with zipfile.ZipFile(copy) as archive:
        assert len(archive.namelist()) == 66_000


def test_a_zip_with_a_comment_is_read(tmp_path):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a", b"1")
        archive.comment = b"a comment"
    assert contents(written(tmp_path, target.getvalue())) == {"a": b"1"}


@given(
    members=st.dictionaries(NAMES, st.binary(max_size=60), min_size=1, max_size=3),
    method=METHODS,
    place=st.floats(0, 1, exclude_max=True),
    bits=st.integers(1, 255),
)
def test_a_flipped_byte_is_seen_or_changes_nothing_that_is_restored(tmp_path, members, method, place, bits):
    data = bytearray(zip_bytes(members, method))
    data[int(place * len(data))] ^= bits
    path = written(tmp_path, bytes(data))
    if not is_seen(path):
        # A date, an attribute, a version: names and contents are the same for every reader.
        assert contents(path) == members
        assert by_zipfile(path) == members


def test_every_flipped_bit_of_the_data_is_seen(tmp_path):
    members = {"project.json": b'{"name": "x"}', "task_0/data/1.jpg": os.urandom(80)}
    whole = zip_bytes(members)
    with Archive(written(tmp_path, whole)) as archive:
        places = [archive.data_offset(member) + n for member in archive.members() for n in range(member.size_bytes)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << random.randrange(8)
        assert is_seen(written(tmp_path, bytes(data))), place


@pytest.mark.parametrize(("offset", "length"), [(0, 4), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 5)])
def test_every_flipped_byte_of_a_local_header_that_means_something_is_seen(tmp_path, offset, length):
    whole = zip_bytes({"a.txt": b"content", "b.txt": b"more"})
    for place in range(offset, offset + length):
        for bits in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= bits
            assert is_seen(written(tmp_path, bytes(data))), (place, bits)


@settings(max_examples=8)
@given(members=st.dictionaries(NAMES, st.binary(max_size=40), max_size=3), method=METHODS)
def test_truncation_at_every_length_is_seen(tmp_path, members, method):
    path = written(tmp_path, zip_bytes(members, method))
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        assert is_seen(path), length


def test_truncation_inside_a_zip_that_holds_a_zip_is_seen(tmp_path):
    inner = zip_bytes({"a": b"1"})
    whole = zip_bytes({"inner.zip": inner, "b": b"2"})
    for length in range(len(whole)):
        assert is_seen(written(tmp_path, whole[:length])), length


def test_bytes_behind_the_end_and_before_the_beginning_are_seen(tmp_path):
    whole = zip_bytes({"a": b"1"})
    assert is_seen(written(tmp_path, whole + b"\0"))
    assert is_seen(written(tmp_path, b"x" + whole))
    assert is_seen(written(tmp_path, b""))
    assert is_seen(written(tmp_path, b"<html>" * 100))


@given(place=st.integers(0, 200), value=st.binary(min_size=8, max_size=8))
@example(0, b"\xff" * 8)
@example(8, b"\xff" * 8)
def test_a_zip64_end_with_mad_numbers_is_damage_and_no_crash(tmp_path, place, value):
    body = zip_bytes({"a": b"1"})
    end = body[-22:]
    fields = struct.unpack("<4s4H2LH", end)
    begin = len(body) - 22
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, fields[5], fields[6])
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, begin, 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    data = bytearray(body[:-22] + end64 + locator + last)
    assert not is_seen(written(tmp_path, bytes(data)))
    at = begin + place % (len(data) - begin - 8)
    data[at : at + 8] = value
    path = written(tmp_path, bytes(data))
    if not is_seen(path):
        assert contents(path) == {"a": b"1"}


@pytest.mark.parametrize(
    ("name", "why"),
    [("../../x", "leaves its folder"), ("a/../../x", "leaves its folder"), ("a\\..\\x", "leaves its folder"),
     ("/etc/passwd", "has an absolute path"), ("\\\\server\\x", "has an absolute path"), ("C:\\x", "has an absolute path"),
     ("..", "leaves its folder")],
)  # fmt: skip
def test_hostile_member_names_are_refused(tmp_path, name, why):
    assert unsafe_name(name) == why
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"1")
    with Archive(written(tmp_path, target.getvalue())) as archive, pytest.raises(BadArchive, match=why):
        archive.check_all()


@pytest.mark.parametrize("name", ["a..b", "...", "task_0/data/c:d.jpg", "a/b\\c", "x" * 256, "道路", " ", "C:"])
def test_honest_names_pass(name):
    assert unsafe_name(name) == ""


def test_a_nul_in_a_name_is_refused():
    assert unsafe_name("a\0b")


def test_members_that_share_bytes_are_refused(tmp_path):
    """Two entries of the directory for the same bytes are the trick of zip bombs."""
    whole = zip_bytes({"a": b"x" * 50})
    directory = whole[-22 - 47 : -22]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, 2 * len(directory), len(whole) - 22 - len(directory), 0)
    with Archive(written(tmp_path, whole[:-22] + directory + end)) as archive, pytest.raises(BadArchive, match="share"):
        archive.check_all()


def test_a_member_that_unpacks_to_more_than_it_says_is_broken_off(tmp_path):
    data = bytearray(zip_bytes({"a": b"0" * 5_000_000}, zipfile.ZIP_DEFLATED))
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = data[22:26] = struct.pack("<L", 10)
    with Archive(written(tmp_path, bytes(data))) as archive:
        [member] = archive.members()
        read = 0
        with pytest.raises(BadArchive, match="not as long as"):
            for piece in archive.read(member):
                read += len(piece)
        assert read <= 10


def test_encrypted_and_unusually_packed_members_are_named(tmp_path):
    data = bytearray(zip_bytes({"a": b"1"}))
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 8] |= 1
    with Archive(written(tmp_path, bytes(data))) as archive, pytest.raises(BadArchive, match="encrypted"):
        archive.check_all()
    path = written(tmp_path, zip_bytes({"a": b"1" * 100}, zipfile.ZIP_BZIP2))
    with Archive(path) as archive, pytest.raises(BadArchive, match="unusual compression"):
        archive.check_all()


def test_a_member_too_large_for_memory_is_not_read_whole(tmp_path):
    with Archive(written(tmp_path, zip_bytes({"a": b"1" * 100}))) as archive:
        [member] = archive.members()
        assert archive.read_small(member, 100) == b"1" * 100
        with pytest.raises(BadArchive, match="claims 100 bytes"):
            archive.read_small(member, 99)


def test_a_check_can_be_stopped(tmp_path):
    stop = StopSignal()
    stop.set(15)
    with Archive(written(tmp_path, zip_bytes({"a": b"1"}))) as archive, pytest.raises(Stopped):
        archive.check_all(between=stop.check)


@given(st.binary(max_size=400))
def test_any_bytes_are_either_an_archive_or_named_as_none(tmp_path, data):
    path = written(tmp_path, data)
    assume(not zipfile.is_zipfile(path))
    assert is_seen(path)
