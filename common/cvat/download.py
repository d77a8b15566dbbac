"""Fetching the file of a finished export from CVAT, in pieces that can be resumed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from urllib3.exceptions import HTTPError

from common.cvat import errors
from common.cvat.client import Client
from common.cvat.exports import ReadyExport, ResultExpired
from common.transfer import PIECE_BYTES, Body, Changed, Interrupted, Opener
from common.web.answers import plain_cause


class _Answer:
    """One HTTP answer as a Body."""

    def __init__(self, response: requests.Response, offset: int, total_bytes: int | None, validator: str) -> None:
        self._raw = response.raw
        self.offset = offset
        self.total_bytes = total_bytes
        self.validator = validator

    def read(self) -> bytes:
        try:
            return bytes(self._raw.read1(PIECE_BYTES))
        except (HTTPError, OSError) as error:
            raise Interrupted(plain_cause(error)) from None


class _Finished:
    """A body without bytes: everything had already arrived."""

    def __init__(self, total_bytes: int, validator: str) -> None:
        self.offset = total_bytes
        self.total_bytes: int | None = total_bytes
        self.validator = validator

    def read(self) -> bytes:
        return b""


def opener(client: Client, ready: ReadyExport) -> Opener:
    """How `transfer.fetch` opens this export's file. HEAD is never used: CVAT answers it with 500 (measured)."""

    @contextmanager
    def open_at(offset: int, validator: str) -> Iterator[Body]:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            # An ETag is good within one export request only (measured); If-Range makes the server decide.
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        try:
            with client.streaming(ready.path, accept="*/*", headers=headers) as response:
                yield _Answer(response, *_position(response, offset))
        except errors.NotFound as error:
            raise ResultExpired(f"the server no longer has the exported file ({error})") from None
        except errors.Refused as error:
            # 400: somebody signed in as the same user asked for this export again, and it is not finished yet.
            raise ResultExpired(f"the exported file cannot be fetched any more ({error})") from None
        except errors.PastTheEnd as error:
            # Nothing behind our offset: either all of it has arrived, or what we hold is of something else.
            if error.total_bytes != offset:
                raise Changed from None
            yield _Finished(offset, validator)

    return open_at


def _position(response: requests.Response, asked_offset: int) -> tuple[int, int | None, str]:
    """Where the body begins, how long the whole file is, and under which ETag it can be continued."""
    validator = response.headers.get("ETag", "")
    if validator.startswith("W/"):
        validator = ""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Interrupted("the server sends the file in an encoding that was not asked for")
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != asked_offset:
            raise Changed
        return asked_offset, int(match[3]), validator
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isascii() and length.isdigit() else None, validator
