"""What an S3 server refuses or fails at, sorted by what it means for the run."""

from __future__ import annotations

import re

from common.exits import Exit, RunEnds
from common.text import printable

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the later ones are other servers' words.
CREDENTIALS_EXPIRED = frozenset(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"))
CREDENTIALS_REFUSED = frozenset(
    (
        "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "AuthFailure",
        "UnrecognizedClientException", "InvalidClientTokenId", "MissingSecurityHeader", "NotSignedUp", "AccountProblem",
        "AllAccessDisabled",
    )
)  # fmt: skip
THROTTLED = frozenset(("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
                       "BandwidthLimitExceeded", "RequestThrottled"))  # fmt: skip
BROKEN_FOR_NOW = frozenset(("InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeoutException",
                            "OperationAborted"))  # fmt: skip
WRONG_REGION = frozenset(
    ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "TemporaryRedirect")
)
LOG_IN_AGAIN = (
    "Run: aws sso login (with --profile NAME if you use one), or renew the token in your environment or "
    "~/.aws/credentials. Then run the same command again: it goes on from here."
)


class S3Error(Exception):
    """An answer that is not what was asked for; `code` is S3's word for it."""

    def __init__(self, why: str, code: str = "") -> None:
        super().__init__(why)
        self.code = code


class Transient(S3Error):
    """Worth another attempt: a broken connection, a 5xx. `throttled`: the server asks us to be slower."""

    def __init__(self, why: str, code: str = "", *, throttled: bool = False) -> None:
        super().__init__(why, code)
        self.throttled = throttled


class KeyFailed(S3Error):
    """This key cannot be had; others may."""


class Denied(KeyFailed):
    """The credentials do not reach as far as this key."""


class Changed(S3Error):
    """The object is no longer the one that was begun."""


class OtherRegion(S3Error):
    """The bucket lives in `region`."""

    def __init__(self, why: str, region: str) -> None:
        super().__init__(why, "PermanentRedirect")
        self.region = region


class CredentialsRefused(RunEnds):
    """Nothing more can be had with these credentials."""

    exit_code = Exit.CREDENTIALS_REFUSED


def failure(status: int, code: str, message: str, region: str = "") -> Exception:
    """The exception that an error answer stands for. `code` may be empty: answers to HEAD and of proxies have none."""
    said = code or f"HTTP {status}"
    words = f"{said}: {message}" if message else said
    if code in CREDENTIALS_EXPIRED or (code == "AccessDenied" and "expired" in message.lower()):
        return CredentialsRefused(f"The AWS token has expired ({words}).", LOG_IN_AGAIN)
    if code in CREDENTIALS_REFUSED or (status == 401):
        remedy = "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, --profile) and the region."
        return CredentialsRefused(f"The server refused the credentials ({words}).", remedy)
    if code in WRONG_REGION or status in (301, 307):
        if region:
            return OtherRegion(f"the server says that it is in the region {printable(region)}: check --region", region)
        return RunEnds(
            f"The bucket is in another region or at another address ({words}).",
            "Set --region or --endpoint-url.",
            Exit.BAD_CONFIGURATION,
        )
    if code == "NoSuchBucket":
        return RunEnds(
            f"There is no such bucket ({words}).", "Check --bucket and --endpoint-url.", Exit.BAD_CONFIGURATION
        )
    if code in THROTTLED or status in (429, 509) or (status == 503 and code in ("", "ServiceUnavailable")):
        return Transient(words, code, throttled=True)
    if code in BROKEN_FOR_NOW or status >= 500 or status == 408:
        return Transient(words, code)
    if code == "RequestTimeTooSkewed":
        return RunEnds(f"The clock of this machine is wrong ({words}).", "Set the clock.", Exit.CREDENTIALS_REFUSED)
    if code == "InvalidObjectState":
        return KeyFailed("archived: restore it in S3 first (GLACIER or DEEP_ARCHIVE)", code)
    if code == "NoSuchKey" or status == 404:
        return KeyFailed("it is no longer in the bucket", code or "NoSuchKey")
    if status in (412, 416):
        return Changed("the object changed while it was fetched", code or "PreconditionFailed")
    if status == 403:
        return Denied(f"access denied ({words})", code or "AccessDenied")
    return KeyFailed(words, code or str(status))


# What nginx, servers written in Go (MinIO, Caddy, Traefik) and Apache answer.
_SPOKEN_TO_PLAINLY = re.compile(
    rb"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server|plain HTTP to an SSL-enabled"
)
_ELEMENT = {name: re.compile(rf"<{name}>(.*?)</{name}>".encode(), re.DOTALL) for name in ("Code", "Message", "Region")}


def failure_of(status: int, body: bytes, region: str = "") -> Exception:
    """The same from the body of an error answer (XML, as S3 gives it, or anything a proxy says)."""
    found = {
        name: match.group(1).decode("utf-8", "replace") if (match := pattern.search(body)) else ""
        for name, pattern in _ELEMENT.items()
    }
    if status == 400 and _SPOKEN_TO_PLAINLY.search(body):
        what = "The server speaks TLS at this address, and was spoken to without (HTTP 400)."
        remedy = "Let --endpoint-url begin with https://, or name another port there."
        return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
    return failure(status, found["Code"], " ".join(found["Message"].split())[:300], region or found["Region"])
