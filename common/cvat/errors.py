"""What can go wrong between us and CVAT, each as one class with a plain sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.text import printable
from common.web.errors import (
    CredentialsRefused,
    Forbidden,
    NotConnected,
    NotFound,
    NotJson,
    OutcomeUnknown,
    PastTheEnd,
    Redirected,
    Refused,
    ServerError,
    Throttled,
    Unauthorized,
    Unreachable,
    WebError,
    may_have_happened,
)

__all__ = [
    "CredentialsRefused",
    "CvatError",
    "ExportFailed",
    "Forbidden",
    "NotAsCvat",
    "NotConnected",
    "NotFound",
    "NotJson",
    "OutcomeUnknown",
    "PastTheEnd",
    "Redirected",
    "Refused",
    "ServerError",
    "Throttled",
    "TooSlow",
    "Unauthorized",
    "Unreachable",
    "as_cvat_gives",
    "may_have_happened",
]

CvatError = WebError


class NotAsCvat(CvatError):
    """An answer is JSON, but not what CVAT's would be: something is missing, or of another type."""

    remedy = (
        "Look whether something between us and CVAT changes its answers; otherwise please report this with the log."
    )


@contextmanager
def as_cvat_gives(what: str) -> Iterator[None]:
    """Around what takes an answer apart. Raises NotAsCvat when it has another shape."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = printable(f"{type(error).__name__}: {error}", 200)
        raise NotAsCvat(f"{what} is not as CVAT gives it ({why})") from error


class ExportFailed(CvatError):
    """CVAT's export worker said that it failed."""

    remedy = "Try the same export in CVAT's own page; its worker's log says more."


class TooSlow(CvatError):
    """The deadline of an item passed."""

    remedy = "Raise CVAT_BACKUP_REQUEST_TIMEOUT_HOURS, or look why CVAT's export workers are busy."
