"""One connection to one web server, safe to use from several threads: the transport below every room's client.

Every request has a timeout, every body a slowest pace; nothing is redirected anywhere. What an answer means to the
room, who signs in and what is asked again is the business of the room's own client.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import default_headers, get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError

from common.exits import RunEnds
from common.tls import TlsTrouble, tls_trouble, tls_words
from common.transfer import SLOWEST_BYTES_PER_SECOND
from common.version import VERSION
from common.waiting import Deadline, StopSignal
from common.web import errors
from common.web.answers import LONGEST_ERROR_BYTES, SUCCESSES, innermost, plain_cause, raise_for_answer
from common.web.patience import Silence, UnknownHost

CONNECT_TIMEOUT_SECONDS = 10
# Timeout of the single attempt that a server gets once it has been waited for in vain.
QUICK_SECONDS = 5
PIECE_BYTES = 1 << 18
QUESTIONS = frozenset(("GET", "HEAD", "OPTIONS"))
# An ordinary question; exports and downloads bring the deadline of their item.
QUESTION_SECONDS = 3600


class Authorization(requests.auth.AuthBase):
    """Sets our header, and keeps requests from taking other credentials out of ~/.netrc."""

    def __init__(self, header: str | None) -> None:
        self.header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.header:
            request.headers["Authorization"] = self.header
        return request


class Connection:
    """Base of a room's client: `who` answers at `url`, the address in the setting named `<prefix><address>`."""

    who = "the server"
    address_setting = "the settings"
    ca_setting = "the settings"

    def __init__(
        self, url: str, stop: StopSignal, verify: bool | str, timeout_seconds: float, server_wait_seconds: float
    ) -> None:
        self.url = url
        self.stop = stop
        self._verify = verify
        self._longest_timeout_seconds = timeout_seconds
        self._local = threading.local()
        self._headers = {**default_headers(), "User-Agent": f"cvat-backups/{VERSION}"}
        self._proxies_of: dict[str, dict[str, str]] = {}
        self._silence = Silence(server_wait_seconds, f"{self.who} at {url}")

    def pieces(self, response: requests.Response, deadline: Deadline | None = None) -> Iterator[bytes]:
        """The body as it arrives, unpacked: large annotations come gzipped, seventy times smaller (measured).

        Raises Unreachable when it breaks off, and when it drips: requests' timeout is only that of each read.
        """
        deadline, window_seconds = deadline or Deadline(QUESTION_SECONDS), self._timeout_seconds
        waited, arrived = 0.0, 0
        while True:
            self.stop.check()
            asked_at = time.monotonic()
            try:
                with self._hearing_stops(response.request.method):
                    piece = response.raw.read1(PIECE_BYTES, decode_content=True)
            except (HTTPError, OSError) as error:
                raise errors.Unreachable(plain_cause(error)) from None
            if not piece:
                return
            waited += time.monotonic() - asked_at
            arrived += len(piece)
            # Not before: a last quick question is answered also when its deadline has just passed.
            if waited >= window_seconds:
                if deadline.is_over or arrived < SLOWEST_BYTES_PER_SECOND * waited:
                    raise errors.Unreachable("the answer is too slow")
                waited, arrived = 0.0, 0
            yield piece

    def _once(
        self,
        method: str,
        path: str,
        authorization: str | None,
        deadline: Deadline,
        *,
        stream: bool = False,
        redirects: bool = False,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        **more: Any,
    ) -> requests.Response:
        """One attempt. `path` may be a whole address elsewhere; `redirects` gives back 3xx answers as they are."""
        what = f"{method} {path.split('?')[0]}"
        try:
            request = requests.PreparedRequest()
            sent = {**self._headers, **{name: value for name, value in (headers or {}).items() if value is not None}}
            request.prepare(
                method,
                path if "://" in path else self.url + path,
                headers=sent,
                params=params,
                auth=Authorization(authorization),
                **more,
            )
            # No session: it would read the whole environment twice for every request, look after cookies that are not
            # wanted and follow redirects that are not to be followed, for half of what a small request costs (measured).
            with self._hearing_stops(method):
                response = self._adapter().send(
                    request,
                    # Always, so that the body is read under our own limits.
                    stream=True,
                    timeout=(min(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds), self._timeout_seconds),
                    verify=self._trusted,
                    proxies=self._proxies(path if "://" in path else self.url),
                )
        except (requests.RequestException, HTTPError) as error:
            if isinstance(error, requests.exceptions.SSLError):
                self._end_without_tls(error)
            if isinstance(innermost(error), NameResolutionError):
                unknown = UnknownHost(f"{what}: the host name in {self.url} is unknown")
                unknown.remedy = f"Check {self.address_setting}, and whether this machine is in the right network."
                raise unknown from None
            if isinstance(innermost(error), ConnectTimeoutError):
                raise errors.NotConnected(f"{what}: {plain_cause(error)}") from None
            raise errors.Unreachable(f"{what}: {plain_cause(error)}") from None
        try:
            if not stream or response.status_code not in SUCCESSES:
                self._read(response, what, deadline)
            if not (redirects and 300 <= response.status_code < 400):
                raise_for_answer(response, what, self.who, self.address_setting)
        except errors.WebError as error:
            response.close()
            if not isinstance(error, errors.Unreachable):
                self._silence.end()
            raise
        self._silence.end()
        return response

    def _read(self, response: requests.Response, what: str, deadline: Deadline) -> None:
        """Reads the body as requests would, but not for ever; of an error as much as can be had."""
        content, is_success = bytearray(), response.status_code in SUCCESSES
        with closing(response.raw):
            try:
                for piece in self.pieces(response, deadline):
                    content += piece
                    if not is_success and len(content) >= LONGEST_ERROR_BYTES:
                        break
            except errors.Unreachable as error:
                if is_success:
                    raise errors.Unreachable(f"{what}: {error}") from None
        response._content = bytes(content)

    def _hearing_stops(self, method: str | None) -> AbstractContextManager[None]:
        """A question that changes nothing need not be answered any more. What changes something is waited for: whether
        it was done has to be known.
        """
        return self.stop.asking() if method in QUESTIONS else nullcontext()

    @property
    def _timeout_seconds(self) -> float:
        longest = self._longest_timeout_seconds
        return min(longest, QUICK_SECONDS) if self._silence.is_too_long else longest

    @property
    def _trusted(self) -> bool | str:
        """What requests takes: our own setting first, then the certificates that the environment names, then its own."""
        if self._verify is not True:
            return self._verify
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def _proxies(self, address: str) -> dict[str, str]:
        """The proxies that the environment names for this server, looked up once for each."""
        server = "/".join(address.split("/", 3)[:3])
        found = self._proxies_of.get(server)
        if found is None:
            found = self._proxies_of[server] = get_environ_proxies(server, no_proxy=None)
        return found

    def _end_without_tls(self, error: requests.exceptions.SSLError) -> None:
        """Raises RunEnds, unless the connection was merely cut off, as by a proxy that restarts."""
        said = str(innermost(error))
        match tls_trouble(said):
            case TlsTrouble.NO_TLS:
                what = f"{self.url}: this port does not speak TLS; use http:// in {self.address_setting}?"
                raise RunEnds(what) from None
            case TlsTrouble.UNTRUSTED:
                raise RunEnds(
                    f"The TLS certificate of {self.url} is not trusted: {plain_cause(error)}.",
                    f"If it is signed by your own authority, name its PEM file in {self.ca_setting}.",
                ) from None
            case TlsTrouble.REFUSED:
                what = f"{self.url} and this machine cannot agree on TLS: {tls_words(said)[1]}."
                raise RunEnds(what, "The server's administrator knows which versions and ciphers it takes.") from None

    def _adapter(self) -> HTTPAdapter:
        """The connections of this thread. Without a session there are no cookies either: the login sets some, and with
        them CVAT would ask for CSRF tokens on every POST.
        """
        adapter: HTTPAdapter | None = getattr(self._local, "adapter", None)
        if adapter is None:
            adapter = self._local.adapter = HTTPAdapter(pool_connections=2, pool_maxsize=2, max_retries=0)
        return adapter
