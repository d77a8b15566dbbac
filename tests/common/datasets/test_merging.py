"""Whether a format can be merged at all, and what becomes of what lies about in the place of a merged dataset."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.datasets.joining import NotMerged
from common.datasets.merging import merge_datasets, require_mergeable
from common.datasets.settings import DatasetSettings
from common.exits import Exit, RunEnds
from common.waiting import StopSignal


def merged(folder: Path, mark: str) -> Path:
    folder.mkdir()
    (folder / "merge.json").write_text(mark)
    return folder


def desk(folder: Path, stop: StopSignal | None = None) -> Any:
    settings = SimpleNamespace(folder=folder, dataset_format="COCO 1.0", include_images=False, split=())
    return SimpleNamespace(settings=settings, stop=stop or StopSignal())


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
