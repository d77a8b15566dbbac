"""What is said of a project that could not be worked on."""

from __future__ import annotations

import errno
import os

import pytest

from common.migrating.commands import _failed


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EROFS, "copy it to a folder that can be written"), (errno.EACCES, "writable for"), (errno.EIO, "")],
)
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path, number, remedy):
    path = tmp_path / ".uploads"
    report = _failed("Small", OSError(number, os.strerror(number), str(path)))
    assert report.gaps == [f"{path}: {os.strerror(number)}"]
    assert remedy in report.remedy and bool(remedy) == bool(report.remedy)
