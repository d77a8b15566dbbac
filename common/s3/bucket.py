"""What the rest of the program knows of a bucket: its objects, and the bytes of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from common.s3.errors import Changed, KeyFailed, Transient


class Listed(NamedTuple):
    """One object as a listing tells of it. `etag` without quotes; `storage` is S3's storage class or ""."""

    key: str
    size_bytes: int
    etag: str
    storage: str = ""


@dataclass(frozen=True)
class Page:
    """One page of a listing. `next_token` is None on the last."""

    objects: list[Listed]
    next_token: str | None
    is_truncated: bool


class Head(NamedTuple):
    """What an answer says of the object whose bytes follow. `size_bytes` is that of the whole object.

    `encrypted`: with a key of KMS or of the customer, so that its ETag is no MD5 even if it looks like one
    (https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html).
    """

    size_bytes: int
    etag: str
    encrypted: bool = False


class HasHeaders(Protocol):
    """Headers by their names in lower case."""

    def get(self, name: str, otherwise: str, /) -> str: ...
    def __contains__(self, name: str, /) -> bool: ...


def is_encrypted(headers: HasHeaders) -> bool:
    """Whether the headers of an answer (names in lower case) tell of a key of KMS or of the customer."""
    kind = headers.get("x-amz-server-side-encryption", "")
    return kind.startswith("aws:kms") or "x-amz-server-side-encryption-customer-algorithm" in headers


def head_of(status: int, headers: HasHeaders, length: int | None, first: int, count: int | None) -> Head:
    """What an answer with `length` bytes says of the object of which `count` bytes from `first` on were asked for.

    Raises Transient, Changed or KeyFailed when it brings something else.
    """
    etag = headers.get("etag", "").removeprefix("W/").strip('"')
    if status == 206:
        unit, _, rest = headers.get("content-range", "").partition(" ")
        span, _, total = rest.partition("/")
        expected = f"{first}-{first + (count or 0) - 1}"
        if total.isdecimal() and int(total) < first + (count or 0):
            raise Changed("the object changed while it was fetched", "Changed")
        if unit != "bytes" or span != expected or not total.isdecimal():
            raise Transient(f"the server answered with the range {rest!r} instead of {expected!r}")
        if length not in (None, count):
            raise Transient(f"the server answered with {length:,} bytes instead of {count:,}")
        return Head(int(total), etag, is_encrypted(headers))
    if length is None:
        raise KeyFailed("the server does not say how long the object is")
    if first or (count is not None and length > count):
        raise KeyFailed("the server does not know ranges", "NoRanges")
    return Head(length, etag, is_encrypted(headers))


class Into(NamedTuple):
    """The file that the bytes go to, from `offset` on: the system may move them there without us. `moved` hears how many.

    `turn` is held for each write, where others write to the same file: the system lets only one in, and the others spin
    (measured: 8 % of the processor time).
    """

    descriptor: int
    offset: int
    moved: Callable[[int], None]
    turn: AbstractContextManager[Any] = contextlib.nullcontext()


class Reader(Protocol):
    """Fetches objects, for one thread."""

    def get(
        self,
        key: str,
        begin: Callable[[Head], None],
        use: Callable[[memoryview], None],
        *,
        first: int = 0,
        count: int | None = None,
        etag: str = "",
        into: Into | None = None,
    ) -> Head:
        """Calls `begin` once and `use` with each piece of the bytes from `first` on (`count` of them, or all).

        With `into`, pieces may also be put there instead, each in its place; `into.moved` is called for these.
        Raises Transient, KeyFailed, Changed (the object no longer has this `etag`), RunEnds; what `begin` and `use` raise.
        """

    def close(self) -> None: ...


class Bucket(Protocol):
    """One bucket of one server, with the credentials to read it."""

    name: str
    where: str
    transport: str

    def page(self, prefix: str, *, token: str | None = None, after: str = "") -> Page:
        """One page of a listing in the order of the keys. Raises Transient, KeyFailed (no right to list), RunEnds."""

    def reader(self) -> Reader: ...


def pages(ask: Callable[..., Page], prefix: str, *, full_page: int = 1000) -> Iterator[list[Listed]]:
    """All pages beneath a prefix, asking with `ask(prefix, token=, after=)`.

    Servers that forget the token of the next page, or call a full page the last one, are asked for what follows the
    last key (s5cmd issue 487). Raises ValueError when a server gives the same page again and again.
    """
    token: str | None = None
    after = ""
    last_key = ""
    was_truncated = False
    while True:
        page = ask(prefix, token=token, after=after)
        if after and page.objects and page.objects[0].key <= after:
            # It does not know start-after and began anew. Asked on the mere suspicion of a full page, that is an end.
            if was_truncated:
                raise ValueError(f"the server says that more follows {after!r}, and does not tell how to ask for it")
            return
        if page.objects:
            if page.objects[-1].key == last_key:
                raise ValueError(f"the server gives the page that ends with {last_key!r} again and again")
            last_key = page.objects[-1].key
            yield page.objects
        if page.next_token and page.is_truncated:
            if page.next_token == token:
                raise ValueError("the server gives the same continuation token again and again")
            token, after = page.next_token, ""
        elif page.objects and (page.is_truncated or len(page.objects) >= full_page):
            token, after, was_truncated = None, last_key, page.is_truncated
        else:
            return
