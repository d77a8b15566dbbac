"""Pieces of a large object: noted only when they are durable, without holding up those who fetch."""

from __future__ import annotations

import errno
import io
import os
import threading

import pytest

from common.exits import RunEnds
from common.images.fetch import PIECE_BYTES, Fetcher, Large
from common.images.pace import Pace
from common.images.plan import Job
from common.waiting import StopSignal

WAIT_SECONDS = 60


@pytest.fixture
def large(tmp_path) -> Large:
    (tmp_path / "parts").mkdir()
    path = tmp_path / "parts" / "x.big"
    path.touch()
    job = Job(1, "a.jpg", "p/a.jpg", 3 * PIECE_BYTES, "not-an-md5")
    return Large(job, path, io.FileIO(path, "r+b"), job.etag, 0.0, {0, 1, 2})


@pytest.fixture
def fetcher(tmp_path) -> Fetcher:
    return Fetcher(
        tmp_path, tmp_path / "parts", StopSignal(), Pace(4), True, 1.0, 0, lambda pieces: None, lambda count: None
    )


def noted(large: Large) -> bytes:
    return large.done_path.read_bytes() if large.done_path.exists() else b""


def test_a_piece_that_lands_during_a_sync_waits_for_the_next_one_and_nobody_waits_for_it(fetcher, large, monkeypatch):
    began, go_on, before_each = threading.Event(), threading.Event(), []

    def slow_sync(descriptor: int) -> None:
        before_each.append(noted(large))
        began.set()
        assert go_on.wait(WAIT_SECONDS)

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", slow_sync)
    outcomes = []
    syncing = threading.Thread(target=lambda: outcomes.append(fetcher._piece_done(large, 0)))
    syncing.start()
    assert began.wait(WAIT_SECONDS)
    assert fetcher._piece_done(large, 2) is None  # at once, though a sync goes on
    assert fetcher._piece_done(large, 1) is None
    assert noted(large) == b"" and not (fetcher.folder / "a.jpg").exists()
    go_on.set()
    syncing.join(WAIT_SECONDS)
    assert before_each == [b"", b"\0\0\0\0"]  # the sync that began before they landed did not count for 1 and 2
    assert outcomes[0] is not None and outcomes[0].reason == "" and (fetcher.folder / "a.jpg").exists()
    assert not large.done_path.exists()


def test_pieces_of_an_object_that_failed_meanwhile_are_not_noted(fetcher, large, monkeypatch):
    monkeypatch.setattr(
        os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", lambda _: setattr(large, "over", True)
    )
    assert fetcher._piece_done(large, 0) is None
    assert noted(large) == b"" and large.waiting == {0, 1, 2}


def test_a_sync_that_fails_notes_nothing(fetcher, large, monkeypatch):
    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        fetcher._piece_done(large, 0)
    assert noted(large) == b"" and large.waiting == {0, 1, 2}


class NoFiles:
    """A connection that gets no descriptor."""

    def get(self, *_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_too_many_open_files_are_called_so_and_not_a_folder_that_cannot_be_written(fetcher):
    (fetcher.folder / "parts").mkdir()
    with pytest.raises(RunEnds) as ends:
        fetcher.work(Job(1, "a.jpg", "p/a.jpg", 10, ""), NoFiles())
    assert "open files" in ends.value.why and "ulimit -n" in ends.value.remedy
    assert "writable" not in ends.value.remedy
