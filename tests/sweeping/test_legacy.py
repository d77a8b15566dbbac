"""Files of the predecessor: recognised, never mixed up, swept only when asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.backups.legacy import legacy_name
from tests.sweeping.shelves import CONTENT

OLD, OLDER, OLDEST = "2026_03_01_00_00_00", "2026_02_01_00_00_00", "2026_01_01_00_00_00"


@pytest.fixture
def put(tmp_path: Path):
    def make(*names: str, content: bytes = CONTENT) -> None:
        (tmp_path / "backups").mkdir(exist_ok=True)
        for name in names:
            (tmp_path / "backups" / name).write_bytes(content)

    return make


def left(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "backups").iterdir()} - {"last-run-sweep.json"}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("project_car_front_backup_2026_03_01_00_00_00.zip", "project_car_front_backup_*.zip"),
        ("project__x_backup_2026_03_01_00_00_00.zip", "project__x_backup_*.zip"),
        ("PROJECT_Cars_BACKUP_2026_03_01_00_00_00.ZIP", "PROJECT_Cars_BACKUP_*.zip"),
        ("project_مشروع 道路_backup_2026_03_01_00_00_00.zip", "project_مشروع 道路_backup_*.zip"),
        ("project_a_backup_2020_01_01_00_00_00_backup_2026_03_01_00_00_00.zip",
         "project_a_backup_2020_01_01_00_00_00_backup_*.zip"),
        ("project_x_backup-lightweight_2026_03_01_00_00_00.zip", "project_x_backup-lightweight_*.zip"),
        ("project_12_annotations_2026_03_01_00_00_00_coco 1.0.zip", "project_12_annotations_*_coco 1.0.zip"),
    ],
)  # fmt: skip
def test_a_file_is_grouped_by_its_whole_name(name: str, group: str):
    found = legacy_name(name)
    assert found is not None and found.group == group
    assert found.at is not None and found.at.month == 3


@pytest.mark.parametrize(
    "name",
    ["project_x_backup_2026_03_01.zip", "task_x_backup_2026_03_01_00_00_00.zip", "notes.zip", "project_x.zip",
     "project_x_backup_2026_03_01_00_00_00.zip.part", "project_x_annotations_2026_03_01_00_00_00_coco.zip",
     'name.zip"; filename*=UTF-8\'\'project_x_backup_2026_03_01_00_00_00.zip',
     "project_x_backup_２０２６_03_01_00_00_00.zip"],
)  # fmt: skip
def test_other_files_are_nobodys(name: str):
    assert legacy_name(name) is None


def test_they_are_only_counted_unless_asked_for(put, sweep, tmp_path):
    names = {f"project_x_backup_{date}.zip" for date in (OLD, OLDER, OLDEST)}
    put(*names)
    done = sweep()
    assert done.code == 0
    assert "3 files of this program's predecessor left alone" in done.out
    assert left(tmp_path) == names


def test_car_front_and_car_rear_are_two_and_so_are_cars_and_Cars(put, sweep, tmp_path):  # noqa: N802
    rear = [f"project_car_rear_backup_{date}.zip" for date in (OLD, OLDER, OLDEST)]
    alone = {f"project_car_front_backup_{OLDEST}.zip", f"project_Cars_backup_{OLDER}.zip",
             f"project_cars_backup_{OLD}.zip", f"project_cars_backup-lightweight_{OLD}.zip",
             f"project_12_annotations_{OLDEST}_coco 1.0.zip", f"project_12_annotations_{OLDEST}_yolo 1.1.zip",
             f"project_1_annotations_{OLDEST}_coco 1.0.zip"}  # fmt: skip
    put(*rear, *alone)
    done = sweep(sweep_legacy="true", min_num_backups="2")
    assert done.code == 0
    assert left(tmp_path) == alone | set(rear[:2])
    assert done.happened("file_goes")[0]["file"] == rear[2]


def test_impossible_dates_are_never_swept_and_hold_up_nobody(put, sweep, tmp_path):
    bad = {"project_x_backup_2026_13_01_00_00_00.zip", "project_x_backup_2026_02_30_00_00_00.zip"}
    put(*bad, *(f"project_x_backup_{date}.zip" for date in (OLD, OLDER)))
    done = sweep(sweep_legacy="true")
    assert done.code == 0
    assert left(tmp_path) == bad | {f"project_x_backup_{OLD}.zip"}
    assert "2 files with an impossible date" in done.out


def test_a_file_that_cannot_be_opened_counts_for_nothing_and_stays(put, sweep, tmp_path):
    put(f"project_x_backup_{OLD}.zip", content=CONTENT[:-9])
    put(f"project_x_backup_{OLDER}.zip", f"project_x_backup_{OLDEST}.zip")
    sweep("--dry-run", sweep_legacy="true")
    assert len(left(tmp_path)) == 3
    sweep(sweep_legacy="true")
    assert left(tmp_path) == {f"project_x_backup_{OLD}.zip", f"project_x_backup_{OLDER}.zip"}


def test_without_a_ttl_they_stay(put, sweep, tmp_path):
    put(*(f"project_x_backup_{date}.zip" for date in (OLD, OLDER, OLDEST)))
    sweep(sweep_legacy="true", ttl="0")
    assert len(left(tmp_path)) == 3
