"""HTTP answers as bodies of a resumable transfer (`common.transfer.fetch`)."""

from __future__ import annotations

import re

import requests
from urllib3.exceptions import HTTPError

from common.transfer import PIECE_BYTES, Changed, Interrupted
from common.web.answers import plain_cause


class AnswerBody:
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


class FinishedBody:
    """A body without bytes: everything had already arrived."""

    def __init__(self, total_bytes: int, validator: str) -> None:
        self.offset = total_bytes
        self.total_bytes: int | None = total_bytes
        self.validator = validator

    def read(self) -> bytes:
        return b""


def position(response: requests.Response, asked_offset: int) -> tuple[int, int | None, str]:
    """Where the body begins, how long the whole file is, and under which ETag it can be continued."""
    validator = response.headers.get("ETag", "")
    if validator.startswith("W/"):
        validator = ""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Interrupted(
            "the server sends the file in an encoding that was not asked for",
            "Switch off compression for downloads in the proxy before the server (/api/…/download).",
        )
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != asked_offset:
            raise Changed
        return asked_offset, int(match[3]), validator
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isascii() and length.isdigit() else None, validator
