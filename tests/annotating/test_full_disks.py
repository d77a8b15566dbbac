"""A full disk is told as one, on either side of the wall."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from annotating.conftest import Played

from common.exits import Exit
from common.fiftyone.protocol import DATABASE, DISK, STATE, UNEXPECTED
from common.fiftyone.worker.__main__ import in_words
from common.files import DiskFull

Sync = Callable[..., int]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device", "/x/saved/1.jsonl"), OSError(errno.EDQUOT, "Quota"),
              DiskFull("no room left in /x")], ids=["no space", "quota", "told by us"],
)  # fmt: skip
def test_the_worker_tells_a_full_disk_from_a_fault(error: Exception):
    assert in_words(error).kind == DISK
    assert in_words(OSError(errno.EIO, "Input/output error")).kind == UNEXPECTED


def test_the_worker_tells_what_is_wrong_around_it_from_a_fault_of_its_own():
    assert in_words(OSError(errno.EACCES, "Permission denied")).kind == STATE
    assert in_words(OSError(errno.EROFS, "Read-only file system")).kind == STATE
    assert in_words(ConnectionError("Could not connect to `mongod`")).kind == DATABASE


def test_a_load_that_finds_the_disk_full_says_which_disk(
    sync: Sync, played: Played, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    played.plan(load={"then": "fail", "kind": DISK, "reason": "[Errno 28] No space left on device: '/x/saved/1.jsonl'"})
    assert sync("load") == Exit.NOTHING_WORKED
    said = capsys.readouterr().err
    assert "No space left on device" in said and "Make room on the disk of CVAT_STATE_DIR" in said
