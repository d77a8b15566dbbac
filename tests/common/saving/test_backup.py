"""Saving a project: what the server has is what lies on the disk."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from sandbox.cvat import Fault

ASKED = "POST /api/projects/1/backup/export"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backups"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def archive_of(result, folder) -> zipfile.ZipFile:
    [path] = folder.rglob(result.record.main_file.name)
    return zipfile.ZipFile(path)


def test_a_project_is_saved_with_a_record_that_says_what_is_in_it(saved, folder, watch):
    result = saved()
    assert result.outcome == "saved", result.reason
    record = result.record
    assert (record.verified.tasks, record.verified.frames, record.verified.counts.shapes) == (2, 8, 2)
    assert (record.verified.result, record.verified.compared_with_server) == ("good", True)
    assert record.warnings == () and record.original is None
    assert files(folder) == [record.main_file.name, f"{record.main_file.name}.json"]
    assert {"exporting", "downloading", "checking"} <= set(watch.phases)


def test_a_stale_part_is_replaced_by_a_fresh_task_backup(server, saved, folder):
    """The server's cache is keyed by the project's date, which a deleted frame does not touch."""
    saved()
    server.world.delete_frame(1, 2)
    record = saved().record
    assert record.alterations and "deleted frames [2] on the server, [] in the archive" in record.alterations[0]
    assert record.original is not None and record.original.sha256 != record.main_file.sha256
    assert record.warnings == ()
    task = json.loads(archive_of(saved(), folder).read("task_0/task.json"))
    assert task["data"]["deleted_frames"] == [2]


def test_a_task_whose_upload_failed_is_left_out_and_kept_beside(server, saved, folder):
    server.world.fail_upload(server.world.add_empty_task("broken", 1))
    record = saved().record
    assert [item.name for item in record.left_out] == ["broken"]
    assert [file.role for file in record.files] == ["backup", "left-out"]
    [kept] = folder.rglob("*_left-out.json")
    assert json.loads(kept.read_text())["tasks"][0]["task_id"] == 3


def test_a_task_without_data_is_named_in_the_record(server, saved):
    server.world.add_empty_task("no data", 1)
    [left] = saved().record.left_out
    assert left.name == "no data" and "CVAT does not put it into a backup" in left.reason


def test_an_empty_project_is_saved(server, saved):
    server.world.add_project("empty")
    assert saved("project 2").record.verified.tasks == 0


def test_a_loose_task_is_saved(server, saved):
    server.world.add_task(None, "loose")
    assert saved("task 3").record.verified.tasks == 1


def test_a_change_during_the_export_is_marked_and_not_mended(server, saved):
    server.faults.add(Fault(ASKED, "change_while_exporting", call="add_shape", args=(1, "car")))
    record = saved().record
    assert record.changed_while_exporting and not record.verified.compared_with_server
    assert record.alterations == ()


@pytest.mark.parametrize("after_bytes", [0, 100, 2000])
def test_a_broken_download_is_resumed(server, saved, after_bytes):
    server.faults.add(Fault("backup/download", "cut", after_bytes=after_bytes, times=2))
    assert saved().outcome == "saved"


def test_damage_on_the_way_is_fetched_again(server, saved, folder):
    server.faults.add(Fault("backup/download", "corrupt", offset=300, count=4, times=1))
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 1


def test_damage_on_the_servers_disk_is_exported_again_and_then_given_up_without_debris(server, saved, folder):
    server.faults.add(Fault("backup/download", "corrupt", offset=300, count=4, times=None))
    result = saved()
    assert result.outcome == "failed" and "not sound 3 times" in result.reason
    assert files(folder) == []


def test_an_expired_export_is_asked_for_again(server, saved):
    server.faults.add(Fault(ASKED, "expire", times=1))
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 2


def test_a_project_that_is_deleted_meanwhile_is_gone_and_not_failed(server, open_desk, candidate_for, watch):
    from common.saving.crew import save_one

    desk = open_desk()
    candidate = candidate_for(desk)
    server.world.delete_project(1)
    assert save_one(desk, candidate, watch).outcome == "gone"


def test_a_hostile_project_name_stays_in_its_folder(server, saved, folder):
    server.world.rename_project(1, '../../x/a\\b: "q" <x>|*')
    record = saved().record
    assert (folder / files(folder)[0]).parent == folder
    [path] = folder.rglob(record.main_file.name)
    assert path.parent.parent.parent == folder


def test_too_little_room_fails_the_item_and_leaves_nothing(saved, folder):
    result = saved(CVAT_BACKUP_MIN_FREE_GB="1000000")
    assert result.outcome == "failed" and "are needed in" in result.reason
    assert "Make room" in result.remedy
    assert files(folder) == []
