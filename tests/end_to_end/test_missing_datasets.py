"""A dataset that CVAT cannot make costs neither the annotations themselves nor an honest exit code."""

from __future__ import annotations

from pathlib import Path

from running import assert_sound, run_backup

from sandbox.cvat import CvatSandbox, Fault

COCO_FAILS = Fault(
    r"POST /api/projects/1/dataset/export.*COCO", kind="fail", times=None, message="ValueError: Invalid RLE\n"
)


def test_the_annotations_are_saved_although_their_dataset_cannot_be_made(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(COCO_FAILS)
    done = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_FORMAT="COCO 1.0")
    assert done.code == 3, done.said
    assert "no dataset as 'COCO 1.0': CVAT's export failed: ValueError: Invalid RLE" in done.out
    [partly] = [record for record in assert_sound(done.folder) if record.source.id == 1]
    assert [file.role for file in partly.files] == ["api"]
    assert partly.export.formats == ()
    assert done.last_run("a")["failures"][0]["source"]["id"] == 1


def test_it_is_tried_again_at_every_run_without_piling_up_equal_copies(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(COCO_FAILS)
    for _ in range(3):
        done = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_FORMAT="COCO 1.0")
        assert done.code == 3
    assert len([record for record in assert_sound(done.folder) if record.source.id == 1]) == 1
    server.faults.clear()
    healed = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_FORMAT="COCO 1.0")
    assert healed.code == 0
    newest = max(
        (record for record in assert_sound(healed.folder) if record.source.id == 1), key=lambda record: record.stamp
    )
    assert [file.role for file in newest.files] == ["api", "dataset"]


def test_mode_t_is_content_with_a_server_without_loose_tasks(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, "--mode", "t")
    assert done.code == 0
    assert "tasks: 0 on the server = 0 saved" in done.out
