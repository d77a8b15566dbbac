"""Large bodies go from the socket to the file within the kernel where that works, and arrive whole where it does not."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from common.s3.bucket import Into
from common.s3.errors import Transient
from common.s3.wire import PIPE_BYTES, Address, Connection
from tests.images.fake_s3 import FakeS3

pytestmark = pytest.mark.skipif(not hasattr(os, "splice"), reason="this system has no splice(2)")
BODY = os.urandom(3 * PIPE_BYTES + 12_345)
SMALL = b"a small one"


class Target:
    """A file, and how many bytes came to it in which way."""

    def __init__(self, path: Path) -> None:
        self.turn = threading.Lock()
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        self.at = self.offset = 7
        self.used = self.moved = 0

    def use(self, piece: memoryview) -> None:
        self.at += os.pwrite(self.descriptor, piece, self.at)
        self.used += len(piece)

    def move(self, count: int) -> None:
        self.at += count
        self.moved += count

    def get(self, connection: Connection, key: str) -> bytes:
        answer = connection.ask(f"GET /bkt/{key} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        connection.pieces(answer, self.use, Into(self.descriptor, self.offset, self.move, self.turn))
        os.close(self.descriptor)
        return self.path.read_bytes()[self.offset :]


@pytest.fixture
def connection():
    with FakeS3({"big": BODY, "small": SMALL}, lambda kind, key, number: third_is_cut(key, number)) as server:
        address = urlsplit(server.url)
        opened = Connection(Address(str(address.hostname), int(address.port or 0)))
        yield opened
        opened.close()


def third_is_cut(key: str, number: int):
    return ("cut", PIPE_BYTES + 5) if key == "big" and number == 3 else None


def test_a_large_body_is_moved_and_the_connection_serves_the_next_one(connection, tmp_path):
    first, second = Target(tmp_path / "1"), Target(tmp_path / "2")
    assert first.get(connection, "big") == BODY
    assert first.moved > PIPE_BYTES and first.moved + first.used == len(BODY)
    assert second.get(connection, "small") == SMALL and second.moved == 0


def test_the_turn_is_held_while_the_file_is_written_and_never_while_the_server_is_waited_for(
    connection, tmp_path, monkeypatch
):
    truly, target, held = os.splice, Target(tmp_path / "1"), {True: set(), False: set()}

    def splice(*arguments, **more):
        held["offset_dst" in more].add(target.turn.locked())
        return truly(*arguments, **more)

    monkeypatch.setattr(os, "splice", splice)
    assert target.get(connection, "big") == BODY
    assert held == {True: {True}, False: {False}} and not target.turn.locked()


@pytest.mark.parametrize("fails_at", [1, 2, 4])
def test_what_cannot_be_moved_is_written_and_nothing_is_lost(connection, tmp_path, monkeypatch, fails_at):
    truly, calls = os.splice, []

    def splice(*arguments, **more):
        calls.append(arguments)
        if len(calls) == fails_at:  # odd calls read from the socket, even ones write to the file
            raise OSError(errno.EINVAL, "not here")
        return truly(*arguments, **more)

    monkeypatch.setattr(os, "splice", splice)
    target = Target(tmp_path / "1")
    assert target.get(connection, "big") == BODY
    assert len(calls) == fails_at and target.used > PIPE_BYTES
    again = Target(tmp_path / "2")
    assert again.get(connection, "big") == BODY and again.moved == 0


def test_a_disk_that_is_full_is_no_fault_of_the_server(connection, tmp_path, monkeypatch):
    truly = os.splice

    def splice(source, target, *rest, **more):
        if "offset_dst" in more:
            raise OSError(errno.ENOSPC, "full")
        return truly(source, target, *rest, **more)

    monkeypatch.setattr(os, "splice", splice)
    with pytest.raises(OSError, match="full") as caught:
        Target(tmp_path / "1").get(connection, "big")
    assert caught.value.errno == errno.ENOSPC


def test_a_body_that_breaks_off_while_it_is_moved_is_noticed(connection, tmp_path):
    for number in (1, 2):
        assert Target(tmp_path / str(number)).get(connection, "big") == BODY
    with pytest.raises(Transient, match="too early"):
        Target(tmp_path / "3").get(connection, "big")
