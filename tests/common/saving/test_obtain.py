"""Getting a file over several runs."""

from __future__ import annotations

import zipfile

import pytest

from common.cvat.exports import ExportOrder
from common.saving.crew import save_one
from common.saving.obtain import obtain
from common.sources import Fingerprint
from common.transfer import Mark, PartFile
from common.waiting import Stopped

ASKED = "POST /api/projects/1/backup/export"


class StopsAt:
    """A watch that stops the run once some bytes have arrived."""

    def __init__(self, desk):
        self.desk = desk

    def phase(self, text):
        pass

    def bytes(self, done, total):
        if done:
            self.desk.stop.set(15)
            self.desk.stop.check()  # here: a small file may arrive in one piece

    def close(self):
        pass


@pytest.fixture
def stopped(server, open_desk, candidate_for):
    """A run that was stopped in the middle of its download."""
    for _ in range(4):
        server.world.add_task(1, "more", frames=30)
    desk = open_desk()
    with pytest.raises(Stopped):
        save_one(desk, candidate_for(desk), StopsAt(desk))
    assert list(desk.store.folder.rglob(".backup.part"))


def test_the_next_run_goes_on_with_the_same_export(server, stopped, saved):
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 1
    assert [one.status for one in server.log if "backup/download" in one.path][-1] in (206, 416)


def test_a_source_that_changed_since_is_exported_anew(server, stopped, saved):
    server.world.add_shape(1, "car")
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 2


def test_an_export_that_the_server_has_lost_since_is_asked_for_anew(server, stopped, saved):
    server.exports.lose_cache()
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 2


ORDERED = {
    "another format": ExportOrder("task", 1, "YOLO 1.1", True),
    "without images": ExportOrder("task", 1, "COCO 1.0", False),
    "the same": ExportOrder("task", 1, "COCO 1.0", True),
}


@pytest.mark.parametrize("second", ORDERED)
@pytest.mark.parametrize("version", ["ours", "older"])
def test_a_download_goes_on_only_as_what_was_ordered(server, open_desk, tmp_path, watch, second, version):
    part = PartFile(tmp_path / "task_1.zip.part")

    def get(desk, order, told):
        unchanged = Fingerprint("2026-11-20T00:00:00Z", 1, 1, "unchanged")
        return obtain(desk, order, part, unchanged, told, lambda path, crcs: zipfile.ZipFile(path).namelist())

    desk = open_desk()
    with pytest.raises(Stopped):
        get(desk, ORDERED["the same"], StopsAt(desk))
    mark = part.read_mark()
    assert mark is not None and part.path.stat().st_size
    if version == "older":  # as it was written before the order stood in it
        digest, _ordered, created_at, request_id = mark.label.split(" ")
        part.write_mark(Mark(f"{digest} {created_at} {request_id}", mark.validator, mark.total_bytes))
    names = get(open_desk(), ORDERED[second], watch).seen
    assert ("obj.data" in names) == (second == "another format")
    assert any(name.endswith(".jpg") for name in names) == (second != "without images")
    exported = server.log_count("POST /api/tasks/1/dataset/export")
    assert exported == (1 if (second, version) == ("the same", "ours") else 2)


def test_a_backup_with_images_does_not_go_on_with_a_dataset_without(server, open_desk, candidate_for, saved, tmp_path):
    desk = open_desk(CVAT_BACKUP_SAVE_IMAGES="false")
    with pytest.raises(Stopped):
        save_one(desk, candidate_for(desk, mode="a"), StopsAt(desk))
    assert list(tmp_path.rglob(".annotations-*.part"))
    record = saved(mode="a", CVAT_BACKUP_SAVE_IMAGES="true").record
    [dataset] = [file.name for file in record.files if file.role == "dataset"]
    [path] = tmp_path.rglob(dataset)
    assert record.export.save_images and any(name.endswith(".jpg") for name in zipfile.ZipFile(path).namelist())
