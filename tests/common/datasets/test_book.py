"""What a run says at its end: what became of the tasks, and whether the same command again is any use."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.datasets.book import Book
from common.datasets.metrics import Outcome, TaskDetail
from common.datasets.settings import DatasetSettings


def book(*tasks: tuple[Outcome, int]) -> Book:
    settings = DatasetSettings.model_validate({"CVAT_URL": "http://cvat", "CVAT_ACCESS_TOKEN": "t"})
    kept = Book(settings, lambda line: None)
    for number, (outcome, size) in enumerate(tasks, 1):
        detail = TaskDetail(number, "name", "name", "completed", size, "", outcome, bytes=1000 if size else 0)
        kept.metrics.details.append(detail)
    return kept


def test_unchanged_tasks_and_those_without_images_are_two_things_and_only_what_came_has_bytes():
    both = book(("downloaded", 3), ("skipped", 3), ("skipped", 3), ("skipped", 0))
    assert both.last_words().startswith("All good: 1 task downloaded, 2 unchanged, 1 without images (1.0 kB) in ")
    assert book(("skipped", 3)).last_words().startswith("All good: 0 tasks downloaded, 1 unchanged in ")


@pytest.mark.parametrize(
    ("remedy", "passing", "ends"),
    [
        ("Check the id.", False, "alone would fail again."),
        ("", False, " s."),
        ("", True, " Run the same command again: what is complete is skipped."),
    ],
)
def test_to_run_it_again_is_said_only_where_that_may_help(remedy, passing, ends):
    failed = book(("downloaded", 3), ("failed", 3))
    failed.passing |= {2} if passing else set()
    failed.remedies |= {2: remedy} if remedy else {}
    assert failed.last_words().endswith(ends) and ", 1 FAILED (1.0 kB)" in failed.last_words()


def test_folders_that_were_kept_are_named_a_few_of_many():
    several = book(("downloaded", 3))
    several.kept = [Path(f"/out/{name}.kept") for name in "abcd"]
    assert several.last_words().endswith(
        " 4 folders that somebody had changed are kept: /out/a.kept, /out/b.kept, /out/c.kept and others."
    )
