"""The folder of a project that is made of a dataset: nothing of anybody else's is deleted, and changes are noticed."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from PIL import Image

from common.migrating.commands import wrong_arguments
from common.migrating.folder import BadFolder, ProjectFolder
from common.migrating.making import Order, fingerprint_of, left_behind, make_folder, require_apart
from common.migrating.pictures import Figure, Picture, plan_for
from common.waiting import StopSignal

STOP = StopSignal()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "x.json").write_text("{}")
    for name in ("a", "b"):
        Image.new("RGB", (64, 48)).save(folder / "images" / f"{name}.jpg")
    return folder


def pictures(dataset: Path, *names: str) -> list[Picture]:
    box = Figure("rectangle", "dog", (1, 2, 20, 10))
    return [Picture(dataset / "images" / f"{name}.jpg", name, (box,)) for name in names or ("a", "b")]


def made(dataset: Path, folder: Path, *names: str, **origin: str):
    origin = {"dataset": str(dataset), "fingerprint": fingerprint_of(dataset, STOP), **origin}
    plan = plan_for("detection", ["dog"])
    return make_folder(pictures(dataset, *names), plan, "Dogs", folder, Order(), origin, STOP)


def files(folder: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in folder.rglob("*") if each.is_file() and not each.name.startswith(".")}


def test_a_folder_of_somebody_else_is_refused_and_keeps_its_files(dataset, tmp_path):
    own = tmp_path / "own"
    (own / "images").mkdir(parents=True)
    (own / "images" / "mine.jpg").write_bytes(b"mine")
    for folder in (own, dataset):
        before = files(folder)
        with pytest.raises(BadFolder, match="not empty"):
            made(dataset, folder)
        assert files(folder) == before


def test_a_dataset_and_the_folder_of_its_project_lie_apart(tmp_path):
    for folder in ("coco", "coco/projects/coco", "."):
        with pytest.raises(BadFolder, match="within each other"):
            require_apart(tmp_path / "coco", tmp_path / folder)
    require_apart(tmp_path / "coco", tmp_path / "projects" / "coco")
    (tmp_path / "coco").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "coco")
    with pytest.raises(BadFolder, match="within each other"):
        require_apart(tmp_path / "coco", tmp_path / "link" / "x")


def test_what_a_run_of_the_same_dataset_left_unfinished_is_laid_down_anew(dataset, tmp_path):
    folder = ProjectFolder(tmp_path / "made")
    folder.begin({"server": "dataset", "dataset": str(dataset), "type": "other"})
    stray = folder.folder_for("images/Dataset") / "stray.jpg"
    stray.write_bytes(b"half")
    assert not made(dataset, folder.path)
    assert not stray.exists() and len(folder.entries()) == 2
    other = ProjectFolder(tmp_path / "other")
    other.begin({"server": "https://geti", "project_id": "1"})
    with pytest.raises(BadFolder, match="not begun for this"):
        made(dataset, other.path)


def test_a_dataset_that_has_changed_since_is_not_taken_for_what_was_sent(dataset, tmp_path):
    folder = tmp_path / "made"
    made(dataset, folder)
    made(dataset, folder)  # the same once more
    (dataset / "annotations" / "x.json").write_text('{"new": 1}')
    with pytest.raises(BadFolder, match=r"has changed since .*--resume"):
        made(dataset, folder)
    with pytest.raises(BadFolder, match="something else"):
        made(dataset, folder, type="segmentation")


def test_a_folder_of_an_earlier_version_has_no_fingerprint_and_is_kept(dataset, tmp_path):
    plan = plan_for("detection", ["dog"])
    make_folder(pictures(dataset), plan, "Dogs", tmp_path / "made", Order(), {"dataset": str(dataset)}, STOP)
    made(dataset, tmp_path / "made")


def test_images_that_stay_behind_are_missing_in_every_run(dataset, tmp_path):
    (dataset / "images" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    for _ in range(2):
        lost = made(dataset, tmp_path / "made", "a", "broken", "absent")
        assert left_behind(lost).total() == 2
    assert [each.name for each in ProjectFolder(tmp_path / "made").entries().values()] == ["a"]


def test_no_number_of_images_is_below_nothing():
    arguments = argparse.Namespace(
        command="create-from-dataset", what=["x"], images=-1, all=False, name=None, project_type="detection"
    )
    assert any("--images" in each for each in wrong_arguments(arguments))
