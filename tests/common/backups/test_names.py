"""Names of folders and files: readable, unique, sorted by time, and safe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.backups.names import (
    folder_key,
    format_slug,
    next_stamp,
    server_folder,
    source_folder,
    source_key,
    stamp,
    stamp_of,
    stamp_time,
    stem,
)
from tests.common.making import a_source

AWKWARD = st.text(max_size=256) | st.sampled_from(
    ["..", "a/b\\c: \"q\" <x>|*", "x" * 256, "道" * 256, "CON", "a\tb", "2024-abcdef12", "-", "\u202egpj.exe"]
)  # fmt: skip
MOMENTS = st.floats(0, 4e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(AWKWARD, st.sampled_from(["project", "task"]), st.integers(1, 2**40), MOMENTS)
@example("1-0a1b2c3d", "project", 1, datetime(2024, 1, 1, tzinfo=UTC))
def test_a_sources_folder_is_found_again_whatever_its_name_is(name, kind, number, created):
    source = a_source(name=name, kind=kind, id=number, created_at=created.isoformat())
    folder = source_folder(source)
    assert folder_key(folder) == source_key(source)
    assert len(folder.encode("utf-8")) <= 120
    assert not set(folder) & set('./\\:*?"<>|\0\n\t ')


def test_a_renamed_project_keeps_its_key_and_a_reinstalled_servers_project_has_another():
    source = a_source()
    assert source_key(a_source(name="other")) == source_key(source)
    assert source_key(a_source(created_at="2027-01-01T00:00:00Z")) != source_key(source)


def test_one_moment_written_in_two_ways_is_one_key():
    keys = {
        source_key(a_source(created_at=text))
        for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00", "2026-01-02T05:04:05.000000+02:00")
    }
    assert len(keys) == 1
    source_key(a_source(created_at="no time at all"))


@pytest.mark.parametrize("name", ["runs.jsonl", "project-12", "project-x-12345678", "lost+found", "job-1-12345678", ""])
def test_folders_of_something_else_have_no_key(name):
    assert folder_key(name) is None


@pytest.mark.parametrize(
    ("server", "folder"), [("cvat.example.com", "cvat.example.com"), ("localhost:8080", "localhost_8080")]
)
def test_a_servers_folder_is_its_address(server, folder):
    assert server_folder(server) == folder


@given(st.text(min_size=1))
@example("[::1]:8080")
@example("host/../..")
@example("a" * 300)
def test_a_servers_folder_is_harmless(server):
    folder = server_folder(server)
    assert folder not in ("", ".", "..") and "/" not in folder and "\\" not in folder
    assert len(folder.encode()) <= 110


@pytest.mark.parametrize(
    ("one", "other"),
    [("host/a", "host_a"), ("host:80", "host/80"), ("host/a_b", "host/a/b"), ("[::1]", "1"), ("host/A", "host/a")],
)
def test_two_servers_never_share_a_folder(one, other):
    assert server_folder(one).lower() != server_folder(other).lower()


@given(MOMENTS)
def test_a_stamp_stands_for_its_second(moment):
    assert stamp_time(stamp(moment)) == moment.replace(microsecond=0)


@given(MOMENTS, MOMENTS)
def test_a_new_stamp_is_always_later_than_the_newest(moment, newest):
    assert next_stamp(moment, stamp(newest)) > stamp(newest)


def test_a_new_stamp_is_now_unless_the_clock_went_back():
    moment = datetime(2026, 11, 21, 1, 33, tzinfo=UTC)
    assert next_stamp(moment, None) == next_stamp(moment, "20261120T000000Z") == "20261121T013300Z"
    assert next_stamp(moment, "20270101T000000Z") == "20270101T000001Z"
    assert next_stamp(moment + timedelta(seconds=0.5), "20261121T013300Z") == "20261121T013301Z"


@given(
    AWKWARD,
    st.sampled_from(["backup", "annotations"]),
    MOMENTS,
    st.sampled_from(["", "_api", "_left-out", "_coco-1.0"]),
)
def test_the_stamp_is_read_out_of_every_file_name_of_ours(name, content, moment, suffix):
    other = "annotations" if content == "backup" else "backup"
    front = stem(a_source(name=name), content, stamp(moment))
    for ending in (".zip", ".zip.json", ".json"):
        file_name = front + suffix + ending
        assert stamp_of(file_name, content) == stamp(moment)
        assert stamp_of(file_name, other) is None
        assert len(file_name.encode()) < 200


@pytest.mark.parametrize(
    "name", [".backup.part", ".x_backup_20261121T013300Z.zip.json.pending", "x_backup_2026.zip", "x_backup_20261121T013300Z.txt",
             "Copy of project-12_backup_20261121T013300Z.zip", "keep-project-12-x_backup_20261121T013300Z.zip.json",
             "project-x_backup_20261121T013300Z.zip", "x_backup_20261121T013300Z.zip"]
)  # fmt: skip
def test_temporary_and_foreign_files_have_no_stamp(name):
    assert stamp_of(name, "backup") is None


def test_a_file_is_called_after_its_source_and_a_format_after_itself():
    assert stem(a_source(), "backup", "20261121T013300Z") == "project-12-road-signs_backup_20261121T013300Z"
    assert stem(a_source(name=".."), "backup", "S") == "project-12_backup_S"
    assert format_slug("CVAT for images 1.1") == "cvat-for-images-1.1"
    assert format_slug("../..") == "dataset"
