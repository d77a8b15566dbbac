"""Whether a format can be merged at all, and what becomes of what lies about in the place of a merged dataset."""

from __future__ import annotations

import pytest

from common.datasets.merging import require_mergeable
from common.datasets.settings import DatasetSettings
from common.exits import Exit, RunEnds


@pytest.mark.parametrize(
    "name", ["Segmentation mask 1.1", "CVAT for video 1.1", "Ultralytics YOLO Detection Track 1.0", "MOT 1.1"]
)
def test_a_format_that_cannot_be_merged_is_refused_before_anything_is_done(name):
    settings = DatasetSettings.model_validate({"CVAT_DOWNLOAD_DATASET_FORMAT": name})
    with pytest.raises(RunEnds, match="cannot be merged") as caught:
        require_mergeable(settings)
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION
    assert "CVAT for images" in caught.value.remedy
