"""The hash of a file."""

from __future__ import annotations

import hashlib

import pytest

from common.hashing import PIECE_BYTES, sha256_of
from common.waiting import Stopped, StopSignal


@pytest.mark.parametrize("length", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 2 * PIECE_BYTES + 3])
def test_the_hash_is_that_of_the_whole_file(tmp_path, length):
    content = bytes(range(256)) * (length // 256 + 1)
    (tmp_path / "x").write_bytes(content[:length])
    assert sha256_of(tmp_path / "x") == hashlib.sha256(content[:length]).hexdigest()


def test_hashing_can_be_stopped(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    stop = StopSignal()
    stop.set(15)
    with pytest.raises(Stopped):
        sha256_of(tmp_path / "x", stop.check)
