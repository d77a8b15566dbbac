"""What can go wrong between us and CVAT, each as one class with a plain sentence."""

from __future__ import annotations

from typing import Any

from common.exits import Exit, RunEnds, Trouble


class CvatError(Trouble):
    """A question to CVAT failed. The text is for people: what, and what CVAT said.

    `payload` is the answer's JSON where it was JSON, else None.
    """

    def __init__(self, text: str, payload: Any = None) -> None:
        super().__init__(text)
        self.payload = payload


class Unreachable(CvatError):
    """No answer, a broken one, or 502/503/504: the server is down, restarting, or the network is."""

    remedy = "Look whether the CVAT server is up; the next run tries again."


class NotConnected(Unreachable):
    """No connection was made: whatever was asked for was surely not carried out."""


class OutcomeUnknown(CvatError):
    """No answer to a request that changes something and must not be repeated blindly: it may have been carried out."""

    remedy = "Run the same command again: it looks first what the server has done."


def may_have_happened(error: CvatError) -> bool:
    """Whether a request that ended so may have been carried out all the same."""
    return isinstance(error, Unreachable | ServerError) and not isinstance(error, NotConnected)


class Throttled(CvatError):
    """429: too many questions. `retry_after_seconds` as the server asked."""

    def __init__(self, text: str, retry_after_seconds: float) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(CvatError):
    """401: the key or token is not, or no longer, accepted."""


class Forbidden(CvatError):
    """403: signed in, but without the right to do this."""

    remedy = "Give the account the right to see this, best as a superuser (or an organization's maintainer)."


class NotFound(CvatError):
    """404: not there, or no longer."""


class Refused(CvatError):
    """Any other 4xx. `status` is the HTTP status, `said` what the server said, on one line."""

    def __init__(self, text: str, status: int, said: str, payload: Any = None) -> None:
        super().__init__(text, payload)
        self.status = status
        self.said = said


class Redirected(CvatError):
    """3xx: never followed."""

    remedy = "Credentials are never sent after a redirect: set CVAT_URL to the address it should be."


class PastTheEnd(CvatError):
    """416: the range that was asked for lies behind the file's end. `total_bytes` is the file's length, if said."""

    def __init__(self, text: str, total_bytes: int | None) -> None:
        super().__init__(text)
        self.total_bytes = total_bytes


class ServerError(CvatError):
    """500 and other server-side failures that waiting does not heal."""

    remedy = "Look into the CVAT server's log; the next run tries again."


class NotJson(ServerError):
    """A success whose body is not JSON: another web server, or a page that a proxy put in its place."""


class ExportFailed(CvatError):
    """CVAT's export worker said that it failed."""

    remedy = "Try the same export in CVAT's own page; its worker's log says more."


class TooSlow(CvatError):
    """The deadline of an item passed."""

    remedy = "Raise CVAT_BACKUP_REQUEST_TIMEOUT_HOURS, or look why CVAT's export workers are busy."


class CredentialsRefused(RunEnds):
    """The user name, password or token is wrong: no other item can work either."""

    exit_code = Exit.CREDENTIALS_REFUSED
