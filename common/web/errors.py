"""What can go wrong between us and a web server, each as one class with a plain sentence."""

from __future__ import annotations

from typing import Any

from common.exits import Exit, RunEnds, Trouble


class WebError(Trouble):
    """A question to a server failed. The text is for people: what, and what the server said.

    `payload` is the answer's JSON where it was JSON, else None.
    """

    def __init__(self, text: str, payload: Any = None) -> None:
        super().__init__(text)
        self.payload = payload


class Unreachable(WebError):
    """No answer, a broken one, or 502/503/504: the server is down, restarting, or the network is."""

    remedy = "Look whether the server is up; the next run tries again."


class NotConnected(Unreachable):
    """No connection was made: whatever was asked for was surely not carried out."""


class OutcomeUnknown(WebError):
    """No answer to a request that changes something and must not be repeated blindly: it may have been carried out."""

    remedy = "Run the same command again: it looks first what the server has done."


def may_have_happened(error: WebError) -> bool:
    """Whether a request that ended so may have been carried out all the same."""
    return isinstance(error, Unreachable | ServerError) and not isinstance(error, NotConnected)


class Throttled(WebError):
    """429: too many questions. `retry_after_seconds` as the server asked."""

    def __init__(self, text: str, retry_after_seconds: float) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(WebError):
    """401: the key or token is not, or no longer, accepted."""


class Forbidden(WebError):
    """403: signed in, but without the right to do this."""

    remedy = "Give the account the right to see and do this."


class NotFound(WebError):
    """404: not there, or no longer."""


class Refused(WebError):
    """Any other 4xx. `status` is the HTTP status, `said` what the server said, on one line."""

    def __init__(self, text: str, status: int, said: str, payload: Any = None) -> None:
        super().__init__(text, payload)
        self.status = status
        self.said = said


class Redirected(WebError):
    """3xx: never followed."""

    remedy = "Credentials are never sent after a redirect: set the address of the server to what it should be."


class PastTheEnd(WebError):
    """416: the range that was asked for lies behind the file's end. `total_bytes` is the file's length, if said."""

    def __init__(self, text: str, total_bytes: int | None) -> None:
        super().__init__(text)
        self.total_bytes = total_bytes


class ServerError(WebError):
    """500 and other server-side failures that waiting does not heal."""

    remedy = "Look into the server's log; the next run tries again."


class NotJson(ServerError):
    """A success whose body is not JSON: another web server, or a page that a proxy put in its place."""

    remedy = "Something between us and the server answers in its place: a sign-in proxy, a maintenance page?"


class CredentialsRefused(RunEnds):
    """The user name, password or token is wrong: no other item can work either."""

    exit_code = Exit.CREDENTIALS_REFUSED
