"""Bodies that come in chunks: the lengths that RFC 9112 knows, and nothing else that Python takes for a number."""

from __future__ import annotations

import contextlib
import socket

import pytest

from common.s3.errors import Transient
from common.s3.wire import Address, Connection


def body_of(chunks: bytes) -> bytes:
    """What a connection makes of them; the server closes its side behind them."""
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
    theirs.shutdown(socket.SHUT_WR)
    connection = Connection(Address("127.0.0.1", 9, None, 10.0))
    connection._socket = ours
    with theirs, contextlib.closing(connection):
        return connection.whole(connection.ask(b"GET / HTTP/1.1\r\n\r\n"))


@pytest.mark.parametrize("length", [b"5", b"05", b"5;a=b", b"5 ;a=b", b"5\t", b"000000000000005"])
def test_a_chunk_is_read(length):
    assert body_of(length + b"\r\nhello\r\n" + b"A\r\n0123456789\r\n0\r\n\r\n") == b"hello0123456789"


@pytest.mark.parametrize(
    "length", [b"-5", b"+5", b"0x5", b"1_0", b" 5", b"5\n", b"5 5", b"", b"g", b"5" * 16, "٥".encode()]
)
def test_what_is_no_length_of_a_chunk_is_a_broken_answer_at_once(length):
    with pytest.raises(Transient, match="a chunk has no length"):
        body_of(length + b"\r\nhello\r\n0\r\n\r\n")
