"""A bucket over our own connections: signed GETs with nothing between them and the socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from common.s3.bucket import Head, Into, Page, head_of
from common.s3.errors import OtherRegion, Transient, failure_of
from common.s3.listing import parse_page
from common.s3.signing import Keys, Signer, quoted_path, quoted_query
from common.s3.wire import MOST_ERROR_BYTES, Address, Connection

USER_AGENT = "cvat-backups"


@dataclass(frozen=True)
class Place:
    """Where a bucket is: the address of its server, what stands before the keys in the path, who signs."""

    address: Address
    where: str
    path: str
    signer: Signer
    extra: dict[str, str]


class FastBucket:
    """See `common.s3.bucket.Bucket`. Safe to use from several threads; readers are not."""

    transport = "own connections"

    def __init__(
        self,
        name: str,
        place: Place,
        keys: Callable[[], Keys | None],
        moved: Callable[[str], Place | None],
        *,
        renews: bool = False,
    ) -> None:
        self.name = name
        self.place = place
        self.where = place.where
        # Gives the keys that sign now; `renews` says whether these change while a run goes on.
        self.keys = keys
        self.renews = renews
        self._moved = moved
        self._listing = threading.local()

    def request(self, key: str, query: dict[str, str], plain: str = "") -> bytes:
        """A whole request. `plain` are header lines that are not signed."""
        place = self.place
        path = quoted_path(f"{place.path}/{key}")
        asked = quoted_query(query) if query else ""
        keys = self.keys()
        if keys is None:
            signed = f"host: {place.signer.host}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in place.extra.items())
        else:
            signed = place.signer.headers("GET", path, asked, keys, place.extra)
        target = f"{path}?{asked}" if asked else path
        return f"GET {target} HTTP/1.1\r\n{signed}user-agent: {USER_AGENT}\r\n{plain}\r\n".encode()

    def page(self, prefix: str, *, token: str | None = None, after: str = "") -> Page:
        query = {"list-type": "2", "encoding-type": "url", "max-keys": "1000", "prefix": prefix}
        if token is not None:
            query["continuation-token"] = token
        if after:
            query["start-after"] = after
        for attempt in (1, 2):
            connection: Connection | None = getattr(self._listing, "connection", None)
            if connection is None:
                connection = self._listing.connection = Connection(self.place.address)
            # A bucket's own address is `/bucket` or `/bucket/`; servers take both, and the former is what botocore sends.
            answer = connection.ask(self.request("", query))
            body = connection.whole(answer)
            if answer.status == 200:
                try:
                    return parse_page(body)
                except ValueError as error:
                    raise Transient(str(error)) from None
            problem = failure_of(answer.status, body, answer.headers.get("x-amz-bucket-region", ""))
            if isinstance(problem, OtherRegion) and attempt == 1:
                place = self._moved(problem.region)
                if place is not None:
                    connection.close()
                    self._listing.connection = None
                    self.place, self.where = place, place.where
                    continue
            raise problem
        raise AssertionError

    def reader(self) -> FastReader:
        return FastReader(self)


class FastReader:
    """See `common.s3.bucket.Reader`."""

    def __init__(self, bucket: FastBucket) -> None:
        self._bucket = bucket
        self._connection = Connection(bucket.place.address)

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
        plain = ""
        if count is not None:
            plain = f"range: bytes={first}-{first + count - 1}\r\n"
        if etag:
            plain += f'if-match: "{etag}"\r\n'
        answer = self._connection.ask(self._bucket.request(key, {}, plain))
        if answer.status not in (200, 206):
            body = self._connection.whole(answer, MOST_ERROR_BYTES)
            raise failure_of(answer.status, body, answer.headers.get("x-amz-bucket-region", ""))
        try:
            head = head_of(answer.status, answer.headers, answer.length, first, count)
            begin(head)
        except BaseException:
            self.close()  # the body, which nobody wants, must not be taken for the next answer
            raise
        self._connection.pieces(answer, use, into)
        return head

    def close(self) -> None:
        self._connection.close()
