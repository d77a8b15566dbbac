"""CRCs of passing bytes: they agree with a full check, and hide no damage."""

from __future__ import annotations

import zipfile

from hypothesis import given
from hypothesis import strategies as st

from common.backups.archive import Archive, BadArchive
from common.backups.streamed import StreamedCrcs
from tests.common.backups.zips import MEMBERS, METHODS, NAMES, is_seen, streamed_zip, written
from tests.common.making import zip_bytes


@given(members=MEMBERS, method=METHODS, cuts=st.lists(st.integers(1, 200)))
def test_crcs_of_passing_bytes_agree_with_a_full_check_however_they_are_cut(tmp_path, members, method, cuts):
    data = zip_bytes(members, method)
    crcs, rest = StreamedCrcs(), data
    for cut in [*cuts, len(data)]:
        crcs(rest[:cut])
        rest = rest[cut:]
    with Archive(written(tmp_path, data)) as archive:
        seen = [crcs.saw(member, archive.data_offset(member)) for member in archive.members()]
        if method == zipfile.ZIP_STORED:
            assert all(seen)
        else:
            assert not any(
                was_seen and member.method != zipfile.ZIP_STORED
                for was_seen, member in zip(seen, archive.members(), strict=True)
            )
        assert archive.check_all(crcs) == archive.check_all()


@given(members=st.dictionaries(NAMES, st.binary(min_size=1, max_size=100), min_size=1, max_size=4), data=st.data())
def test_crcs_of_damaged_bytes_do_not_hide_the_damage(tmp_path, members, data):
    whole = bytearray(zip_bytes(members))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    crcs = StreamedCrcs()
    crcs(bytes(whole))
    path = written(tmp_path, bytes(whole))
    try:
        with Archive(path) as archive:
            archive.check_all(crcs)
    except BadArchive:
        return
    assert not is_seen(path)


def test_passing_crcs_follow_empty_members_and_zip64_headers_and_give_up_at_data_descriptors(tmp_path):
    members = {"empty": b"", "a": b"1" * 100, "also empty": b""}
    for data, followed in (
        (zip_bytes(members), True),
        (streamed_zip(members, zip64=True), True),
        (streamed_zip(members, zip64=False), False),
    ):
        crcs = StreamedCrcs()
        for byte in data:
            crcs(bytes([byte]))
        with Archive(written(tmp_path, data)) as archive:
            assert all(crcs.saw(member, archive.data_offset(member)) == followed for member in archive.members())
            archive.check_all(crcs)


def test_crcs_that_saw_only_garbage_know_nothing(tmp_path):
    crcs = StreamedCrcs()
    crcs(b"<html>not a zip</html>" * 10)
    with Archive(written(tmp_path, zip_bytes({"a": b"1"}))) as archive:
        assert not any(crcs.saw(member, archive.data_offset(member)) for member in archive.members())
