"""A bucket through botocore: for proxies, client certificates, access points and whatever else it knows and we do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from common.exits import Exit, RunEnds
from common.s3.bucket import Head, Into, Listed, Page, head_of
from common.s3.errors import LOG_IN_AGAIN, CredentialsRefused, Transient, failure
from common.s3.tls import tls_problem
from common.text import printable

PIECE_BYTES = 256 << 10
_SIGN_IN = (SSOError, TokenRetrievalError, UnauthorizedSSOTokenError, CredentialRetrievalError, MetadataRetrievalError,
            NoCredentialsError, PartialCredentialsError)  # fmt: skip
# An answer that botocore's parser does not understand is a ValueError of Python's as often as an error of its own.
_TROUBLE = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OSError, ValueError)
_BROKEN = (EndpointConnectionError, HTTPClientError, IncompleteReadError, HTTPError, OSError)
# One of them is in every listing.
_OF_A_LISTING = frozenset(("Name", "IsTruncated", "KeyCount", "MaxKeys", "Contents"))


def problem_of(error: Exception, not_understood: str = "is not understood") -> Exception:
    """What an exception of botocore means: one of `common.s3.errors`, or RunEnds. An answer it cannot read `not_understood`."""
    if isinstance(error, ClientError):
        meta, said = error.response.get("ResponseMetadata", {}), error.response.get("Error", {})
        region = meta.get("HTTPHeaders", {}).get("x-amz-bucket-region", "")
        code = said.get("Code", "")
        return failure(meta.get("HTTPStatusCode", 0), "" if code.isdecimal() else code, said.get("Message", ""), region)
    if isinstance(error, _SIGN_IN):
        return CredentialsRefused(f"AWS credentials could not be had: {error}", LOG_IN_AGAIN)
    if isinstance(error, SSLError):
        asked = error.kwargs  # what botocore puts its message together from
        return tls_problem(urlsplit(str(asked.get("endpoint_url", ""))).netloc, str(asked.get("error", error)))
    if isinstance(error, _BROKEN):
        return Transient(str(error))
    if isinstance(error, ChecksumError | FlexibleChecksumError):
        return Transient(str(error), "ChecksumDiffers")
    if isinstance(error, ResponseParserError) or not isinstance(error, BotoCoreError):
        return Transient(f"the server's answer {not_understood}: {printable(str(error), 200)}")
    return RunEnds(f"boto3: {error}", "Check --bucket, --profile, --region and --endpoint-url.", Exit.BAD_CONFIGURATION)


def ending_of(error: Exception) -> Exception:
    """The same where nothing has begun yet: it ends the run."""
    if isinstance(error, ProfileNotFound):
        remedy = "Check --profile or AWS_PROFILE; aws configure list-profiles names those that are there."
        return RunEnds(f"{error}", remedy, Exit.BAD_CONFIGURATION)
    problem = problem_of(error)
    return problem if isinstance(problem, RunEnds) else RunEnds(str(problem))


class BotoBucket:
    """See `common.s3.bucket.Bucket`."""

    transport = "boto3"

    def __init__(self, name: str, client: Any, *, payer: bool) -> None:
        self.name = name
        self.where = str(client.meta.endpoint_url)
        self.client = client
        self.extra = {"RequestPayer": "requester"} if payer else {}

    def page(self, prefix: str, *, token: str | None = None, after: str = "") -> Page:
        asked: dict[str, Any] = {"Bucket": self.name, "Prefix": prefix, "MaxKeys": 1000, **self.extra}
        if token is not None:
            asked["ContinuationToken"] = token
        if after:
            asked["StartAfter"] = after
        try:
            answer = self.client.list_objects_v2(**asked)
        except _TROUBLE as error:
            raise problem_of(error, "is no listing") from None
        if not _OF_A_LISTING & answer.keys():
            raise Transient("the server's answer is no listing")
        try:
            objects = [
                Listed(each["Key"], each["Size"], each.get("ETag", "").strip('"'), each.get("StorageClass", ""))
                for each in answer.get("Contents", [])
            ]
        except KeyError:
            raise Transient("the server's listing has an object without a key or a size") from None
        return Page(objects, answer.get("NextContinuationToken"), bool(answer.get("IsTruncated")))

    def reader(self) -> BotoReader:
        return BotoReader(self)


class BotoReader:
    """See `common.s3.bucket.Reader`."""

    def __init__(self, bucket: BotoBucket) -> None:
        self._bucket = bucket

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
        asked: dict[str, Any] = {"Bucket": self._bucket.name, "Key": key, **self._bucket.extra}
        if count is not None:
            asked["Range"] = f"bytes={first}-{first + count - 1}"
        if etag:
            asked["IfMatch"] = f'"{etag}"'
        try:
            answer = self._bucket.client.get_object(**asked)
        except _TROUBLE as error:
            raise problem_of(error) from None
        meta, body, expected = answer["ResponseMetadata"], answer["Body"], answer.get("ContentLength")
        got = 0
        with body:
            head = head_of(meta["HTTPStatusCode"], meta["HTTPHeaders"], expected, first, count)
            begin(head)
            while piece := self._read(body):
                use(memoryview(piece))
                got += len(piece)
        if expected not in (None, got):
            raise Transient(f"the connection ended after {got:,} of {expected:,} bytes")
        return head

    @staticmethod
    def _read(body: Any) -> bytes:
        try:
            return bytes(body.read(PIECE_BYTES))
        except _TROUBLE as error:
            raise problem_of(error) from None

    def close(self) -> None:
        return
