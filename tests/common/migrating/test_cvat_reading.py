"""A CVAT backup is gone through, not held: the annotations of one task at a time, one file on the disk."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.migrating import cvat_reading
from common.migrating.cvat_reading import BadBackup, plan_of, read_backup
from sandbox.cvat import CvatSandbox, archive

LABELS = [{"name": "car", "type": "rectangle", "color": "#2080c0"}]


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Path]:
    """A project of three tasks with two images each, a box on every image."""
    with CvatSandbox(samples="none") as server:
        project = server.world.add_project("Street", labels=LABELS)
        for number in range(3):
            task = server.world.add_task(project, f"part {number}", frames=2)
            job = server.world.jobs[task.job_ids[0]]
            label = server.world.label_index(job).named("car")
            rows = [
                {"type": "rectangle", "label_id": label, "frame": frame, "points": [1.0, 2.0, 30.0, 40.0 + number]}
                for frame in range(2)
            ]
            server.world.put_annotations(job, {"shapes": rows})
        archive.write_project(server.world, project.id, tmp_path / "street.zip")
    yield tmp_path / "street.zip"


def test_the_look_through_counts_what_it_holds(backup):
    contents = read_backup(backup)
    assert contents.name == "Street" and contents.used == {("rectangle", "car"): 6}
    assert not contents.several_tags and contents.gaps == [] and contents.media_bytes > 0


def test_pictures_come_one_by_one_and_tasks_are_read_when_they_are_due(backup, tmp_path, monkeypatch):
    contents = read_backup(backup)
    read: list[str] = []
    plain = cvat_reading._json

    def noted(opened, members, name):
        read.append(name)
        return plain(opened, members, name)

    monkeypatch.setattr(cvat_reading, "_json", noted)
    folder = tmp_path / "unpacked"
    seen = []
    for number, picture in enumerate(contents.pictures(plan_of(contents), folder)):
        assert [each.name for each in folder.iterdir()] == [picture.path.name]
        assert sum(name.endswith("annotations.json") for name in read) == 1 + number // 2
        seen.append((picture.name, picture.figures[0].values[3]))
    assert [height for _, height in seen] == [38, 38, 39, 39, 40, 40]
    assert not folder.exists()


def test_a_file_that_was_moved_away_is_no_trouble(backup, tmp_path):
    contents = read_backup(backup)
    kept = []
    for number, picture in enumerate(contents.pictures(plan_of(contents), tmp_path / "unpacked")):
        assert picture.may_be_moved
        kept.append(picture.path.rename(tmp_path / f"{number}.jpg"))
    assert len(kept) == 6 and all(each.stat().st_size for each in kept)


def test_a_backup_that_is_cut_off_is_told(backup):
    backup.write_bytes(backup.read_bytes()[:-500])
    with pytest.raises(BadBackup, match="cannot be read"):
        read_backup(backup)


def test_a_track_is_drawn_on_the_frames_that_are_there_whatever_the_backup_claims(tmp_path):
    track = {"label": "car", "frame": 0, "shapes": [{"frame": 0, "type": "rectangle", "points": [1, 1, 5, 5]}]}
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("project.json", json.dumps({"name": "x", "labels": LABELS}))
        about = {"name": "t", "data": {"start_frame": 0, "stop_frame": 10**10}, "jobs": [{"stop_frame": 10**10}]}
        made.writestr("task_0/task.json", json.dumps(about))
        made.writestr("task_0/annotations.json", json.dumps([{"tags": [], "shapes": [], "tracks": [track]}]))
        for name in ("a.png", "b.png"):
            made.writestr(f"task_0/data/{name}", b"x")
    assert read_backup(tmp_path / "x.zip").used == {("rectangle", "car"): 2}
