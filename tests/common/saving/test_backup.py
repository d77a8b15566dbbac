"""Saving a project: what the server has is what lies on the disk."""

from __future__ import annotations

import dataclasses
import json
import re
import zipfile
from pathlib import Path

import pytest

from common.cvat import listing
from common.saving.crew import save_one
from sandbox.cvat import Fault
from sandbox.cvat.http import Response
from tests.common.making import zip_bytes

ASKED = "POST /api/projects/1/backup/export"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def download(server):
    """`download("projects/1", members)`: from now on its archive is what `members` makes of CVAT's own."""
    plain, changed = server.answer, {}

    def answer(request, faults):
        given = plain(request, faults)
        for what, members in changed.items():
            if given.status == 200 and request.target.startswith(f"/api/{what}/backup/download"):
                with zipfile.ZipFile(given.body.path) as archive:
                    own = {info.filename: archive.read(info) for info in archive.infolist()}
                return Response(200, [("ETag", '"x"')], zip_bytes(members(own)))
        return given

    server.answer = answer
    return changed.__setitem__


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def archive_of(result, folder) -> zipfile.ZipFile:
    [path] = folder.rglob(result.record.main_file.name)
    return zipfile.ZipFile(path)


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


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


def test_an_archive_of_another_project_is_fetched_and_exported_again_and_never_kept(server, saved, folder, download):
    other = server.world.add_project("Bravo", labels=[{"name": "car"}])
    server.world.add_task(other, "theirs", frames=9)
    saved(f"project {other.id}")
    [path] = folder.rglob("*.zip")
    theirs = members_of(path)
    download("projects/1", lambda own: theirs)
    result = saved()
    assert (result.outcome, result.record) == ("failed", None)
    assert "it is the backup of a project 'Bravo', not of 'Road signs'" in result.reason
    assert server.log_count(ASKED) == 2
    assert not list(folder.rglob("project-1-*/*"))


def test_an_archive_of_another_task_is_never_kept(server, saved, folder, download):
    server.world.add_task(None, "loose")
    download("tasks/3", lambda own: own | {"task.json": own["task.json"].replace(b'"loose"', b'"other"')})
    result = saved("task 3")
    assert (result.outcome, result.record) == ("failed", None)
    assert "it is the backup of a task 'other', not of 'loose'" in result.reason


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_project_that_is_given_another_name_while_it_is_exported_is_saved(server, saved, when):
    server.faults.add(Fault(ASKED, "change_while_exporting", call="rename_project", args=(1, "New name"), when=when))
    result = saved()
    assert result.outcome == "saved", result.reason
    assert result.record.changed_while_exporting and result.record.verified.result == "good"


def test_an_archive_from_before_a_task_was_deleted_is_made_anew_from_task_backups(server, saved, folder):
    saved()
    server.world.delete_task(1)
    server.world.add_shape(3, "car")
    server.faults.add(Fault(ASKED, "lie_stale", times=None))
    result = saved()
    assert result.outcome == "saved", result.reason
    assert (result.record.verified.tasks, result.record.verified.result) == (1, "good")
    assert "is called 'two' on the server, 'one' in the archive" in result.record.alterations[0]
    assert "task_1 (two) was left out: no such task is on the server" in result.record.alterations
    archive = archive_of(result, folder)
    assert json.loads(archive.read("task_0/task.json"))["name"] == "two"
    assert not [name for name in archive.namelist() if name.startswith("task_1/")]


def test_an_archive_of_another_project_of_the_same_name_is_known_by_its_labels(server, saved, folder, download):
    def other(own):
        own["project.json"] = own["project.json"].replace(b'"car"', b'"cat"')
        return own | {"task_0/task.json": own["task_0/task.json"].replace(b'"one"', b'"uno"')}

    download("projects/1", other)
    result = saved()
    assert (result.outcome, result.record) == ("failed", None)
    assert "another project's" in result.reason


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (r"task_0/data/(?!manifest).*", "has no images or video in the backup"),
        (r"task_1/data/.*", "has no images or video in the backup"),
        (r"task_0/data/(manifest|.*_0+[01]\D).*", "has 2 files for its 4 images"),
    ],
)
def test_an_archive_without_the_images_of_a_task_is_incomplete_and_saved_again(server, saved, download, gone, said):
    def without(own):
        return {name: data for name, data in own.items() if not re.fullmatch(gone, name)}

    download("projects/1", without)
    result = saved()
    assert result.outcome == "failed" and said in result.reason, result.reason
    assert result.record.verified.result == "incomplete"


def test_what_is_lost_for_good_fails_every_night_and_piles_up_no_copies(
    server, saved, open_desk, candidate_for, watch, folder, download
):
    def lost(own):
        return {name: data for name, data in own.items() if not name.startswith("task_1/data/")}

    def again(**more):
        desk = open_desk()
        newest = desk.store.newest(first.record.source, "backup").record
        return save_one(desk, dataclasses.replace(candidate_for(desk), newest=newest, **more), watch)

    download("projects/1", lost)
    first = saved()
    kept = files(folder)
    second = again()
    assert (second.outcome, second.record) == ("failed", None) and "still incomplete" in second.reason
    assert files(folder) == kept
    assert again(anew=True).record.verified.result == "incomplete"  # --force, CVAT_BACKUP_FULL_EVERY_DAYS
    download("projects/1", lambda own: {name: data for name, data in lost(own).items() if "task_0/data" not in name})
    assert again().record.verified.result == "incomplete"  # it lacks more: this is kept too
    download("projects/1", lambda own: own)
    assert again().record.verified.result == "good"


def test_an_incomplete_backup_that_has_rotted_is_no_reason_to_add_no_copy(
    server, saved, open_desk, candidate_for, watch, folder, download
):
    download(
        "projects/1", lambda own: {name: data for name, data in own.items() if not name.startswith("task_1/data/")}
    )
    first = saved().record
    [path] = folder.rglob(first.main_file.name)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    desk = open_desk()
    again = save_one(desk, dataclasses.replace(candidate_for(desk), newest=first), watch)
    assert again.record.verified.result == "incomplete" and again.record.stamp != first.stamp
    assert path.with_name(path.name + ".bad.json").exists()


def test_a_project_of_which_the_account_is_shown_a_part_is_kept_whole_and_not_mended(
    server, saved, folder, monkeypatch
):
    everything = listing.items
    shown = lambda *given: (item for item in everything(*given) if item.get("task_id", item["id"]) != 1)  # noqa: E731
    monkeypatch.setattr(listing, "items", shown)
    record = saved().record
    assert (record.verified.result, record.verified.tasks, record.alterations) == ("good with warnings", 2, ())
    assert "1 task of it not shown to this account" in record.warnings[0] and not record.verified.compared_with_server


def test_a_busy_project_is_no_excuse_for_the_archive_of_another(server, saved, download):
    download("projects/1", lambda own: own | {"task_0/task.json": own["task_0/task.json"].replace(b'"one"', b'"uno"')})
    server.faults.add(Fault(ASKED, "change_while_exporting", call="add_shape", args=(1, "car")))
    result = saved()
    assert result.outcome == "failed" and "'one' is missing in the archive" in result.reason


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
