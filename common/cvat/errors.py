"""What can go wrong between us and CVAT, each as one class with a plain sentence."""

from __future__ import annotations

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
    "may_have_happened",
]

CvatError = WebError


class ExportFailed(CvatError):
    """CVAT's export worker said that it failed."""

    remedy = "Try the same export in CVAT's own page; its worker's log says more."


class TooSlow(CvatError):
    """The deadline of an item passed."""

    remedy = "Raise CVAT_BACKUP_REQUEST_TIMEOUT_HOURS, or look why CVAT's export workers are busy."
