"""Datasets of CVAT tasks as folders: chosen, exported, extracted, checked against deleted frames, kept up to date.

from common.datasets import DatasetSettings, download
metrics = download(DatasetSettings.model_validate({"CVAT_URL": ..., "CVAT_DOWNLOAD_PROJECT_ID": 5}))
"""

from common.datasets.run import download
from common.datasets.settings import DatasetSettings

__all__ = ["DatasetSettings", "download"]
