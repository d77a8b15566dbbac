"""Whether a format can be merged at all, and what becomes of what lies about in the place of a merged dataset."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.datasets import folders, merging
from common.datasets.joining import NotMerged
from common.datasets.merging import merge_datasets, recover_merged, require_mergeable
from common.datasets.settings import DatasetSettings
from common.exits import Exit, RunEnds
from common.waiting import Stopped, StopSignal


def merged(folder: Path, mark: str) -> Path:
    folder.mkdir()
    (folder / "merge.json").write_text(mark)
    return folder


def of_two_files(folder: Path) -> Path:
    """A merged dataset as it is put into its place."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations.json").write_text("{}")
    (folder / "images" / "a.jpg").write_bytes(b"a")
    merging._write_list(folder)
    (folder / "merge.json").write_text("{}")
    return folder


def test_a_merged_dataset_that_was_only_moved_looked_at_or_given_away_is_nobodys_own(tmp_path):
    folder = of_two_files(tmp_path / "merged")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))  # with the times of the files
    (copy / "images" / "a.jpg").chmod(0o600)
    (copy / "images" / ".DS_Store").write_bytes(b"x")
    (copy / "annotations.json").unlink()
    assert merging.find_theirs(copy) == "" == merging.find_theirs(folder)


def test_what_somebody_has_put_into_a_merged_dataset_or_changed_in_it_is_theirs(tmp_path):
    for number, change in enumerate(
        (
            lambda folder: (folder / "images" / "best.pt").write_bytes(b"x"),
            lambda folder: (folder / "images" / "a.jpg").write_bytes(b"other"),
            lambda folder: (folder / "images" / "link").symlink_to("a.jpg"),
            lambda folder: (folder / merging.LIST).write_text("{}\n"),
        )
    ):
        folder = of_two_files(tmp_path / str(number))
        change(folder)
        assert merging.find_theirs(folder), number
    link = tmp_path / "link"
    link.symlink_to(of_two_files(tmp_path / "moved"))
    assert "link" in merging.find_theirs(link)


def desk(folder: Path, stop: StopSignal | None = None) -> Any:
    settings = SimpleNamespace(
        folder=folder, dataset_format="COCO 1.0", include_images=False, split=(), overwrite_existing=False
    )
    return SimpleNamespace(settings=settings, stop=stop or StopSignal(), kept=[])


def tell(_line: str) -> None:
    pass


@pytest.mark.parametrize(
    "name", ["Segmentation mask 1.1", "CVAT for video 1.1", "Ultralytics YOLO Detection Track 1.0", "MOT 1.1"]
)
def test_a_format_that_cannot_be_merged_is_refused_before_anything_is_done(name):
    settings = DatasetSettings.model_validate({"CVAT_DOWNLOAD_DATASET_FORMAT": name})
    with pytest.raises(RunEnds, match="cannot be merged") as caught:
        require_mergeable(settings)
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION
    assert "CVAT for images" in caught.value.remedy


def test_what_a_killed_run_left_goes_and_the_merged_dataset_stays(tmp_path):
    for name in ("aside_.cvat_merged", ".cvat_merged.new", ".cvat_merged.new.views"):
        merged(tmp_path / name, "old")
    merged(tmp_path / "cvat_merged", "new")
    assert recover_merged(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cvat_merged"]
    assert (tmp_path / "cvat_merged" / "merge.json").read_text() == "new"


def test_a_merged_dataset_that_a_killed_run_had_set_aside_comes_back(tmp_path):
    merged(tmp_path / "aside_.cvat_merged", "old")
    assert recover_merged(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cvat_merged"]
    assert (tmp_path / "cvat_merged" / "merge.json").read_text() == "old"


def test_half_of_what_was_being_deleted_does_not_come_back(tmp_path):
    (tmp_path / "aside_.cvat_merged" / "annotations").mkdir(parents=True)
    assert not recover_merged(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_last_merged_dataset_is_not_deleted_because_a_stranger_has_its_place(tmp_path):
    merged(tmp_path / "aside_.cvat_merged", "old")
    (tmp_path / "cvat_merged").mkdir()
    assert not recover_merged(tmp_path)
    assert (tmp_path / "aside_.cvat_merged" / "merge.json").read_text() == "old"
    with pytest.raises(NotMerged, match=r"not made: .* was not made by this program; move it away"):
        merge_datasets(desk(tmp_path), [], 0, tell)


def test_an_incomplete_dataset_is_never_made(tmp_path):
    with pytest.raises(NotMerged, match=r"^the merged dataset was not made: 1 of 1 task failed$"):
        merge_datasets(desk(tmp_path), [], 1, tell)
    assert not list(tmp_path.iterdir())
    merged(tmp_path / "cvat_merged", "old")
    with pytest.raises(
        NotMerged, match=r"not made anew: 2 of 2 tasks failed; .*/cvat_merged is still that of an earlier"
    ):
        merge_datasets(desk(tmp_path), [], 2, tell)
    assert (tmp_path / "cvat_merged" / "merge.json").read_text() == "old"


def write(desk: Any, _placed: Any, _form: Any, target: Path, views: Path, _listed: Any) -> dict[str, int]:
    views.mkdir()
    target.mkdir()
    return {"train": 3}


def write_one(desk: Any, placed: Any, form: Any, target: Path, views: Path, listed: Any) -> dict[str, int]:
    counts = write(desk, placed, form, target, views, listed)
    (target / "images").mkdir()
    (target / "images" / "one.txt").write_text("one")
    return counts


def test_a_disk_that_refuses_is_blamed_itself_and_what_was_there_stays(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    merged(tmp_path / "cvat_merged", "old")
    monkeypatch.setattr(merging, "write_joined", write)
    monkeypatch.setattr(merging, "publish_folder", refuse)
    with pytest.raises(NotMerged, match=r"could not be put in its place \(.*Permission denied\)") as caught:
        merge_datasets(desk(tmp_path), [], 0, tell)
    assert "datumaro" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["cvat_merged"]
    assert (tmp_path / "cvat_merged" / "merge.json").read_text() == "old"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", ["added", "changed", "a folder moved there", "linked"])
def test_a_merged_dataset_that_somebody_has_changed_is_kept_unless_it_is_to_be_overwritten(
    tmp_path, monkeypatch, change, overwrite
):
    out, mine = tmp_path / "out", tmp_path / "mine"
    mine.mkdir()
    (mine / "best.pt").write_text("precious")
    out.mkdir()
    monkeypatch.setattr(merging, "write_joined", write_one)
    tools, lines = desk(out), []
    tools.settings.overwrite_existing, tools.kept = overwrite, []
    final = merge_datasets(tools, [], 0, lines.append)
    assert merge_datasets(tools, [], 0, lines.append) == final and [p.name for p in out.iterdir()] == ["cvat_merged"]
    if change == "added":
        (final / "best.pt").write_text("precious")
    elif change == "changed":
        (final / "images" / "one.txt").write_text("precious")
    elif change == "a folder moved there":
        mine.rename(final / "images" / "runs")
    else:
        final.rename(tmp_path / "moved")
        final.symlink_to(tmp_path / "moved")
    merge_datasets(tools, [], 0, lines.append)
    assert (final / "images" / "one.txt").read_text() == "one" and not final.is_symlink()
    assert [p.name for p in out.iterdir() if p not in (final, *tools.kept)] == []
    assert (tmp_path / "moved").exists() == (change == "linked")
    if overwrite:
        assert not tools.kept and f"Replaced {final}, as --overwrite-existing says" in lines[-2]
    else:
        [kept] = tools.kept
        assert kept.name.startswith("cvat_merged.kept-") and f"is kept as {kept}: " in lines[-2]
        assert "precious" in [p.read_text() for p in kept.rglob("*") if p.is_file()] or change == "linked"


def test_a_run_that_is_stopped_puts_nothing_in_its_place(tmp_path, monkeypatch):
    stop = StopSignal()

    def write_and_stop(*of: Any) -> dict[str, int]:
        assert stop.breaks_off
        stop.set(15)
        return write(*of)

    monkeypatch.setattr(merging, "write_joined", write_and_stop)
    with pytest.raises(Stopped):
        merge_datasets(desk(tmp_path, stop), [], 0, tell)
    assert not stop.breaks_off
    assert not list(tmp_path.iterdir())


def test_putting_it_in_its_place_is_not_broken_off(tmp_path, monkeypatch):
    stop = StopSignal()

    def publish(new: Path, final: Path, _aside: Path, _kept: None) -> None:
        assert not stop.breaks_off
        stop.set(15)
        shutil.move(new, final)

    monkeypatch.setattr(merging, "write_joined", write)
    monkeypatch.setattr(merging, "publish_folder", publish)
    assert merge_datasets(desk(tmp_path, stop), [], 0, tell) == tmp_path / "cvat_merged"
    assert (tmp_path / "cvat_merged" / "merge.json").exists()


@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "one after the other"])
def test_where_a_link_was_the_folder_itself_stands_after_every_merge(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(folders, "_exchanged", lambda *_: False)
    elsewhere, outputs = merged(tmp_path / "elsewhere", "old"), tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "cvat_merged").symlink_to(elsewhere)
    (outputs / "aside_.cvat_merged").symlink_to(elsewhere)  # as an earlier version left it
    monkeypatch.setattr(merging, "write_joined", write)
    tools, told = desk(outputs), []
    for _ in range(3):
        merge_datasets(tools, [], 0, told.append)
        [kept] = tools.kept
        assert {path.name for path in outputs.iterdir()} == {"cvat_merged", kept.name}
    assert kept.is_symlink() and not (outputs / "cvat_merged").is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["merge.json"]
    assert (elsewhere / "merge.json").read_text() == "old"
    assert sum(f"is a link to {elsewhere}" in line for line in told) == 1


def test_an_old_folder_that_cannot_be_deleted_does_not_make_the_new_one_not_made(tmp_path, monkeypatch):
    def refuse(*_: object, **_more: object) -> None:
        raise OSError(16, "Device or resource busy")

    merged(tmp_path / "cvat_merged", "old")
    monkeypatch.setattr(merging, "write_joined", write)
    monkeypatch.setattr(Path, "rename", refuse)
    merge_datasets(desk(tmp_path), [], 0, tell)
    assert (tmp_path / "cvat_merged" / "merge.json").read_text() != "old"


def test_a_folder_that_may_not_be_looked_at_is_named(tmp_path, monkeypatch):
    def refuse(_folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", "here")

    monkeypatch.setattr(merging, "recover_merged", refuse)
    with pytest.raises(NotMerged, match=r"here cannot be looked at \(Permission denied\)"):
        merge_datasets(desk(tmp_path), [], 0, tell)


def test_a_task_of_which_no_image_is_left_is_left_out_with_a_word(tmp_path, monkeypatch):
    placed = []
    for number, images in enumerate(([], [{"id": 1, "file_name": "a.jpg"}])):
        path = tmp_path / f"t{number}"
        (path / "annotations").mkdir(parents=True)
        (path / "annotations" / "instances_default.json").write_text(json.dumps({"images": images}))
        placed.append((SimpleNamespace(id=number, name=f"T{number}", subset=""), path))
    outputs, given, told = tmp_path / "outputs", [], []
    outputs.mkdir()

    def write_those(desk: Any, those: Any, *of: Any) -> dict[str, int]:
        given.extend(task.id for task, _ in those)
        return write(desk, those, *of)

    monkeypatch.setattr(merging, "write_joined", write_those)
    merge_datasets(desk(outputs), placed, 0, told.append)
    assert given == [1] and "Left out of it: task 0 (t0), no image of which is left" in told
    summary = json.loads((outputs / "cvat_merged" / "merge.json").read_text())
    assert [task["task_id"] for task in summary["tasks"]] == [1]
    with pytest.raises(NotMerged, match="no image of the chosen tasks is left"):
        merge_datasets(desk(outputs), placed[:1], 0, tell)
