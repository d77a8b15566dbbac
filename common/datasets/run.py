"""One run of downloader.py --mode datasets."""

from __future__ import annotations

import argparse

from common.datasets.settings import DatasetSettings
from common.exits import Exit
from common.run import Run, say


def add_dataset_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that are no settings of their own."""


def run_datasets(run: Run[DatasetSettings]) -> int:
    """One run of the mode."""
    say("--mode datasets is being written.")
    return Exit.NOTHING_WORKED
