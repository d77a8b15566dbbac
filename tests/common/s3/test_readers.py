"""Our own connections and botocore's understand the answers of a server alike."""

from __future__ import annotations

import os
import socket

import pytest
from botocore.exceptions import (
    EndpointConnectionError,
    FlexibleChecksumError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
from botocore.exceptions import SSLError as BotoSslError

from common.exits import RunEnds
from common.s3.boto import problem_of
from common.s3.client import open_bucket
from common.s3.errors import Changed, KeyFailed, OtherRegion, Transient
from common.s3.reach import Reach
from tests.images.fake_s3 import FakeS3

BODY = bytes(range(250)) * 12


@pytest.fixture(params=["auto", "boto3"])
def reach(request, monkeypatch, tmp_path) -> Reach:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return Reach("bkt", no_sign_request=True, transport=request.param, timeout_seconds=10)


def get(reach: Reach, server: FakeS3, begin=lambda head: None, **asked) -> bytes:
    body = bytearray()
    reader = open_bucket(reach._replace(endpoint_url=server.url)).reader()
    try:
        reader.get("p/a.jpg", begin, body.extend, **asked)
    finally:
        reader.close()
    return bytes(body)


def answering(raw: bytes) -> FakeS3:
    return FakeS3({"p/a.jpg": BODY}, lambda kind, key, number: ("raw", raw))


def test_a_body_that_breaks_off_is_worth_another_attempt(reach):
    cut = FakeS3({"p/a.jpg": BODY}, lambda kind, key, number: ("cut", 3) if number == 1 else None)
    with cut as server:
        with pytest.raises(Transient):
            get(reach, server)
        assert get(reach, server) == BODY


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
    ],
)
def test_an_object_without_a_length_is_that_objects_failure(reach, raw):
    with answering(raw) as server, pytest.raises(KeyFailed, match="how long the object is"):
        get(reach, server)


@pytest.mark.parametrize(
    ("raw", "kind", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + BODY, KeyFailed, "ranges"),
        (b"HTTP/1.1 206 P\r\ncontent-range: bytes 10-11/12\r\ncontent-length: 2\r\n\r\nab", Changed, "changed"),
        (b"HTTP/1.1 206 P\r\ncontent-range: bytes 0-9/3000\r\ncontent-length: 10\r\n\r\n" + BODY[:10], Transient, "range"),
        (b"HTTP/1.1 206 P\r\ncontent-range: bytes 10-19/3000\r\ncontent-length: 11\r\n\r\n" + BODY[:11], Transient, "11 bytes"),
    ],
)  # fmt: skip
def test_other_bytes_than_those_of_the_range_are_not_taken(reach, raw, kind, said):
    with answering(raw) as server, pytest.raises(kind, match=said):
        get(reach, server, first=10, count=10)


def test_a_range_is_had(reach):
    heads: list[int] = []
    with FakeS3({"p/a.jpg": BODY}) as server:
        assert get(reach, server, lambda head: heads.append(head.size_bytes), first=10, count=10) == BODY[10:20]
    assert heads == [3000]


def test_a_body_that_is_not_wanted_is_never_the_next_answer(reach):
    """Its bytes could be an answer that somebody has put into the object."""
    evil = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"

    def refuse(head) -> None:
        raise Transient("not wanted")

    def late(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(evil))
        if connection.recv(65536):
            connection.sendall(evil)

    with FakeS3({"p/b.jpg": b"good"}) as server:
        server.hijack = lambda kind, key: late if key == "p/a.jpg" else None
        reader = open_bucket(reach._replace(endpoint_url=server.url)).reader()
        with pytest.raises(Transient, match="not wanted"):
            reader.get("p/a.jpg", refuse, bytearray().extend)
        came = bytearray()
        reader.get("p/b.jpg", lambda head: None, came.extend)
        reader.close()
    assert came == b"good"


def test_another_region_is_said_by_its_name(reach):
    raw = b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with answering(raw) as server, pytest.raises(OtherRegion, match="eu-west-1"):
        get(reach, server)


@pytest.mark.parametrize(
    "body",
    [b"<html>log in</html>", b"<ListBucketResult><Name>b</Name><Contents><ETag>x</ETag></Contents></ListBucketResult>"],
)
def test_a_page_that_is_no_listing_is_not_an_empty_bucket(reach, body):
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with answering(raw) as server, pytest.raises(Transient, match=r"no listing|without a key"):
        open_bucket(reach._replace(endpoint_url=server.url)).page("")


def test_a_port_of_tls_that_was_spoken_to_plainly_is_called_so(reach):
    own = reach._replace(transport="auto")  # botocore keeps nothing of such a body
    page = b"<center>The plain HTTP request was sent to HTTPS port</center>"
    raw = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page)
    with answering(raw) as server, pytest.raises(RunEnds) as ended:
        open_bucket(own._replace(endpoint_url=server.url)).page("")
    assert "speaks TLS" in ended.value.why and "https://" in ended.value.remedy


@pytest.mark.parametrize(
    "error",
    [
        IncompleteReadError(actual_bytes=3, expected_bytes=9),
        ResponseStreamingError(error="x"),
        ReadTimeoutError(endpoint_url="http://x", error="x"),
        EndpointConnectionError(endpoint_url="http://x", error="x"),
        FlexibleChecksumError(error_msg="x"),
        BotoSslError(
            endpoint_url="https://x:9/b?list-type=2", error="EOF occurred in violation of protocol (_ssl.c:1)"
        ),
        ValueError("invalid literal for int()"),
    ],
)
def test_what_botocore_says_of_a_connection_that_broke_is_worth_another_attempt(error):
    assert isinstance(problem_of(error), Transient)
