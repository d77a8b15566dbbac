"""Records: the same shape on disk and in memory, and nothing else is believed."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.record import (
    RECORD_VERSION,
    BadRecord,
    Export,
    LeftOut,
    Original,
    Record,
    Server,
    StoredFile,
    Verified,
    from_json,
    read,
    to_json,
)
from common.files import write_json
from common.sources import Counts, Fingerprint, Source
from tests.common.making import a_record

TEXT = st.text()
NUMBER = st.integers(0, 2**63)
TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
NAMES = st.text(min_size=1).filter(lambda name: "/" not in name and "\0" not in name and name not in (".", ".."))
RECORDS = st.builds(
    Record,
    source=st.builds(
        Source, TEXT, st.sampled_from(["project", "task"]), NUMBER, TEXT, TEXT, organization_id=st.none() | NUMBER
    ),
    server=st.builds(Server, TEXT, TEXT),
    content=st.sampled_from(["backup", "annotations"]),
    stamp=TEXT,
    files=st.lists(st.builds(StoredFile, TEXT, NAMES, NUMBER, TEXT), min_size=1, max_size=3).map(tuple),
    started_at=TIMES,
    finished_at=TIMES,
    fingerprint=st.builds(Fingerprint, TEXT, NUMBER, NUMBER, TEXT),
    export=st.builds(Export, st.lists(TEXT, max_size=2).map(tuple), st.booleans(), TEXT),
    verified=st.builds(
        Verified,
        st.sampled_from(["good", "good with warnings"]),
        NUMBER,
        NUMBER,
        NUMBER,
        st.builds(Counts, NUMBER, NUMBER, NUMBER),
        NUMBER,
        NUMBER,
        st.booleans(),
    ),
    tool_version=TEXT,
    run_id=TEXT,
    changed_while_exporting=st.booleans(),
    warnings=st.lists(TEXT, max_size=2).map(tuple),
    alterations=st.lists(TEXT, max_size=2).map(tuple),
    original=st.none() | st.builds(Original, NUMBER, TEXT),
    left_out=st.lists(st.builds(LeftOut, NUMBER, TEXT, TEXT), max_size=2).map(tuple),
    offsite=st.lists(st.dictionaries(TEXT, TEXT, max_size=2), max_size=2).map(tuple),
    version=st.just(RECORD_VERSION),
)


@given(RECORDS)
def test_any_record_survives_being_written_and_read(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("record") / "x.zip.json"
    write_json(path, to_json(record))
    assert read(path) == record


def test_the_version_stands_first_so_that_people_see_it():
    assert next(iter(to_json(a_record()))) == "version"


def test_a_record_of_a_later_program_is_not_guessed_at():
    with pytest.raises(BadRecord, match=f"version {RECORD_VERSION + 1}; this program knows versions up to"):
        from_json(to_json(a_record()) | {"version": RECORD_VERSION + 1})


@pytest.mark.parametrize("name", ["../x.zip", "/etc/passwd", "a/b", "", ".", ".."])
def test_a_record_cannot_name_files_outside_of_its_folder(name):
    value = json.loads(json.dumps(to_json(a_record())))
    value["files"][0]["name"] = name
    with pytest.raises(BadRecord, match="file name"):
        from_json(value)


REQUIRED = [
    field.name
    for field in dataclasses.fields(Record)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
]


@pytest.mark.parametrize("missing", REQUIRED)
def test_a_record_that_lacks_something_is_damaged(missing):
    value = to_json(a_record())
    del value[missing]
    with pytest.raises(BadRecord):
        from_json(value)


@pytest.mark.parametrize(
    "change",
    [{"files": []}, {"files": None}, {"files": [5]}, {"finished_at": "yesterday"}, {"started_at": None}, {"verified": []},
     {"source": "project 1"}, {"version": None}, {"version": "1"}, {"export": {"formats": 5}}, {"left_out": [{}]}],
)  # fmt: skip
def test_a_record_with_nonsense_in_it_is_damaged_and_no_crash(change):
    with pytest.raises(BadRecord):
        from_json(json.loads(json.dumps(to_json(a_record()))) | change)


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))
)
def test_any_other_json_is_no_record(value):
    with pytest.raises(BadRecord):
        from_json(value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_torn_file_is_no_record(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadRecord):
        read(tmp_path / "x")
    with pytest.raises(BadRecord, match="cannot be read"):
        read(tmp_path / "absent")


def test_the_size_of_a_backup_is_that_of_all_its_files():
    record = a_record(files=(StoredFile("backup", "a.zip", 5, "x"), StoredFile("left-out", "b.json", 7, "y")))
    assert record.size_bytes == 12
    assert record.main_file.name == "a.zip"
