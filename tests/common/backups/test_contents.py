"""What a backup archive holds, and what stands in the way of restoring it."""

from __future__ import annotations

import json

import pytest

from common.backups.archive import BadArchive
from common.backups.contents import (
    ArchiveContents,
    ArchivedTask,
    inspect,
    missing_media,
    restore_warnings,
    version_tuple,
)
from common.sources import Counts
from tests.common.making import task_json, zip_bytes

NOTHING = {"tags": [], "shapes": [], "tracks": []}


def dumped(value) -> bytes:
    return json.dumps(value).encode()


def project_members(*tasks, **more) -> dict[str, bytes]:
    members = {"project.json": dumped({"name": "road", "labels": [{"name": "car"}]})}
    for index, task in tasks or ((0, task_json()),):
        members |= {
            f"task_{index}/task.json": dumped(task),
            f"task_{index}/annotations.json": dumped([NOTHING | {"shapes": [1, 2], "tags": [3]}]),
            f"task_{index}/data/a.jpg": b"picture",
            f"task_{index}/data/manifest.jsonl": b"{}",
        }
    return members | more


def inspected(tmp_path, members, kind="project"):
    (tmp_path / "x.zip").write_bytes(zip_bytes(members))
    return inspect(tmp_path / "x.zip", kind)


def test_a_project_backup_is_described_task_by_task(tmp_path):
    found = inspected(tmp_path, project_members((0, task_json("one")), (3, task_json("two", deleted_frames=[1]))))
    assert (found.name, found.labels, sorted(found.tasks), found.members) == ("road", 1, [0, 3], 9)
    assert found.counts == Counts(2, 4, 0)
    assert found.tasks[3].contents().deleted_frames == {1}
    assert (found.tasks[0].media_files, found.tasks[0].media_bytes) == (1, 7)


def test_an_empty_project_is_a_backup_too(tmp_path):
    found = inspected(tmp_path, {"project.json": dumped({"name": "x", "labels": []})})
    assert found.tasks == {}


def test_a_task_backup_is_described_the_same_way(tmp_path):
    members = {
        name.removeprefix("task_0/"): data for name, data in project_members().items() if name.startswith("task_0/")
    }
    found = inspected(tmp_path, members, "task")
    assert (found.name, list(found.tasks), found.counts) == ("first", [0], Counts(1, 2, 0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"project.json": None}, "holds no project.json"),
        ({"project.json": b"{"}, "project.json is not JSON"),
        ({"project.json": b"[]"}, "project.json is not a JSON object"),
        ({"project.json": b'{"name": "x"}'}, "names no project or no labels"),
        ({"task_0/task.json": None}, "task_0 has no task.json"),
        ({"task_0/annotations.json": None}, "task_0 has no annotations.json"),
        ({"task_0/annotations.json": b"[{"}, "task_0: the annotations are not complete JSON"),
        ({"task_0/task.json": b"\xff"}, "task_0/task.json is not JSON"),
    ],
)
def test_what_is_missing_or_broken_is_named(tmp_path, change, said):
    members = {name: data for name, data in (project_members() | change).items() if data is not None}
    with pytest.raises(BadArchive, match=said):
        inspected(tmp_path, members)


def test_a_project_backup_is_no_task_backup_and_the_other_way_round(tmp_path):
    with pytest.raises(BadArchive, match="no CVAT task backup"):
        inspected(tmp_path, project_members(), "task")


@pytest.mark.parametrize("raw", [{"data": None}, {}, {"data": {"chunk_size": None}}, {"data": []}])
def test_a_failed_upload_is_known_by_its_missing_chunk_size(raw):
    assert ArchivedTask(0, raw, Counts(), 0, 0, False).upload_failed
    assert not ArchivedTask(0, task_json(), Counts(), 0, 0, False).upload_failed


@pytest.mark.parametrize("missing", ["name", "jobs", "data"])
def test_a_task_json_that_misses_what_cvat_always_writes_is_named(missing):
    raw = task_json()
    del raw[missing]
    with pytest.raises(BadArchive, match="is not as CVAT writes it"):
        ArchivedTask(0, raw, Counts(), 0, 0, False).contents()


@pytest.mark.parametrize(
    ("data", "media", "version", "said"),
    [
        ({}, 1, "2.54.1", None),
        ({}, 0, "2.54.1", None),  # that is no warning: the archive is incomplete
        ({"storage": "share"}, 0, "2.51.9", "mounted from a share"),
        ({"storage": "share"}, 0, "2.52.0", None),
        ({"storage": "cloud_storage"}, 0, "2.54.1", "lies in a cloud storage"),
        ({"storage": "cloud_storage", "start_frame": 5}, 3, "2.54.1", "takes a range of frames from a cloud storage"),
        ({"storage": "cloud_storage"}, 3, "2.54.1", None),
        ({"chunk_size": None}, 0, "2.54.1", None),
    ],
)
def test_known_obstacles_to_a_restore_are_warnings(data, media, version, said):
    task = ArchivedTask(0, task_json(**data), Counts(), media, 0, True)
    warnings = restore_warnings(ArchiveContents("project", "x", 0, {0: task}, 1, 1), version, 1000)
    assert (len(warnings) == 1 and said in warnings[0]) if said else warnings == []


def test_a_file_that_cvat_would_not_take_back_is_warned_about():
    [said] = restore_warnings(ArchiveContents("project", "x", 0, {}, 1, 1), "2.54.1", 26 * 2**30)
    assert "larger than 25 GiB" in said


def test_versions_compare_as_numbers():
    assert version_tuple("2.54.1") == (2, 54, 1)
    assert version_tuple("2.9") < version_tuple("2.52") and version_tuple("dev") == ()


def manifest(*names: str) -> bytes:
    rows = [
        {"version": "1.1"},
        {"type": "images"},
        *({"name": name, "extension": ".jpg", "width": 1} for name in names),
    ]
    return b"\n".join(json.dumps(row).encode() for row in rows) + b"\n"


def test_an_image_that_the_manifest_names_and_the_archive_lacks_is_missed(tmp_path):
    members = project_members(**{"task_0/data/manifest.jsonl": manifest("a", "b", "deep/c"), "task_0/data/b.jpg": b"x"})
    found = inspected(tmp_path, members)
    assert (found.tasks[0].listed_images, found.tasks[0].missing_images) == (3, 1)
    assert "lacks 1 of its 3 images" in missing_media(found)[0]


def test_a_whole_set_of_images_and_images_inside_an_archive_of_their_own_are_not_missed(tmp_path):
    whole = project_members(**{"task_0/data/manifest.jsonl": manifest("a")})
    assert missing_media(inspected(tmp_path, whole)) == []
    packed = project_members(**{"task_0/data/manifest.jsonl": manifest("x", "y"), "task_0/data/All.ZIP": b"x"})
    assert missing_media(inspected(tmp_path, packed)) == []


def test_as_many_images_under_names_that_are_written_in_another_way_are_not_missed(tmp_path):
    members = project_members(**{"task_0/data/manifest.jsonl": manifest("x", "y"), "task_0/data/b.jpg": b"x"})
    assert missing_media(inspected(tmp_path, members)) == []
    del members["task_0/data/b.jpg"]
    assert "lacks 2 of its 2 images" in missing_media(inspected(tmp_path, members))[0]
    elsewhere = project_members(
        (0, task_json(storage="share")), **{"task_0/data/manifest.jsonl": manifest("s/x", "s/y")}
    )
    assert missing_media(inspected(tmp_path, elsewhere)) == [], "a share's manifest may name what it does not hold"


@pytest.mark.parametrize(
    ("task", "files", "said"),
    [
        ({}, 0, "has no images or video in the backup"),
        ({"storage": "local"}, 2, "has 2 files for its 3 images"),
        ({}, 3, None),
        ({"storage": "share"}, 0, None),
        ({"storage": "cloud_storage"}, 0, None),
        ({"storage": "share"}, 2, None),
        ({"validation_layout": {"mode": "gt_pool"}}, 2, None),
        ({"chunk_size": None}, 0, None),
        ({"jobs": []}, 0, None),
    ],
)
def test_a_task_without_a_manifest_is_held_against_the_number_of_its_images(tmp_path, task, files, said):
    raw = task_json(**task) | ({"jobs": []} if "jobs" in task else {})
    members = project_members((0, raw)) | {f"task_0/data/{number}.png": b"x" for number in range(files)}
    del members["task_0/data/a.jpg"], members["task_0/data/manifest.jsonl"]
    found = missing_media(inspected(tmp_path, members), {0: 3})
    assert (len(found) == 1 and said in found[0]) if said else found == []


def test_an_archive_of_its_own_may_hold_any_number_of_images(tmp_path):
    members = project_members(**{"task_0/data/All.ZIP": b"x"})
    del members["task_0/data/manifest.jsonl"]
    assert missing_media(inspected(tmp_path, members), {0: 300}) == []
