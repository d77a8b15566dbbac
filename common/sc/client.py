"""One signed-in connection to one SC or Geti server, safe to use from several threads.

Every request has a timeout, every wait a deadline. A server that restarts, throttles or is locked by a job is waited
for. Credentials go to the configured origin only: a redirect to another host goes without them, one to http not at all.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests
import urllib3

from common import log
from common.lock import Patience as WithRuns
from common.sc.address import origin
from common.sc.generation import Generation
from common.sc.settings import Server
from common.text import printable
from common.waiting import Deadline, StopSignal, growing_pauses
from common.web import errors
from common.web.answers import json_of
from common.web.connection import QUESTION_SECONDS, Connection
from common.web.patience import Patience

MOST_REDIRECTS = 10
# A job of the server holds a project (409, 423), or a video is still being prepared (412): it ends by itself.
LOCKED_STATUSES = (409, 412, 423)
LOCKED_CODES = ("project_locked", "media_is_not_preprocessed", "cannot_edit_project", "jobs_running")
LONGEST_LOCK_SECONDS = 300.0
TOKEN_PAUSE_SECONDS = 0.5

# A body that is made afresh for every attempt: a stream cannot be sent twice.
MakeBody = Callable[[], Any]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Access:
    """What proves who we are: headers, cookies among them. `renew` makes another one; None when none can be made."""

    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    renew: Callable[[], Access] | None = field(repr=False, compare=False, default=None)


def _is_lock(error: errors.Refused) -> bool:
    code = error.payload.get("error_code", "") if isinstance(error.payload, dict) else ""
    return error.status in LOCKED_STATUSES and (error.status != 409 or code in LOCKED_CODES)


class Client(Connection):
    """Talks to one server. Use `common.sc.signing_in.connect` to get one that is signed in."""

    who = "the server"

    generation: Generation
    workspace: Mapping[str, Any]

    def __init__(self, server: Server, stop: StopSignal) -> None:
        verify: bool | str = str(server.ca_bundle) if server.ca_bundle else server.verify_tls
        super().__init__(server.url, stop, verify, server.timeout_seconds, server.wait_seconds)
        self.server = server
        self.address_setting = f"{server.prefix}HOST"
        self.ca_setting = f"{server.prefix}CA_BUNDLE"
        self.access = Access()
        self._renewing = threading.Lock()
        self._refused: errors.CredentialsRefused | None = None
        self._locked_since: dict[str, float] = {}
        if not server.verify_tls and not server.ca_bundle:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            log.get().warning(
                "tls_not_verified",
                detail=f"{server.prefix}VERIFY_TLS=false: anybody on the way can read the credentials",
            )
        for secret in (server.password, server.token):
            if secret is not None:
                log.hide(secret.get_secret_value())

    @property
    def patience_with_runs(self) -> WithRuns:
        """How long another run on the same folder is waited for."""
        return WithRuns(self.server.lock_wait_seconds, self.stop)

    @property
    def home(self) -> str:
        """The path of the workspace, below which projects lie."""
        return f"{self.generation.api}/workspaces/{self.workspace['id']}"

    # --- asking ---------------------------------------------------------------------------------------------

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer of a GET; None when there is nothing (204). Raises WebError."""
        return self.json("GET", path, params=params, repeat=True)

    def json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        repeat: bool = False,
        deadline: Deadline | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer of any request; None when there is nothing (204), or of what changes something an empty body.
        Raises WebError.

        With `repeat` the request says the same however often it is carried out. Without, it is sent again only when it
        surely was not carried out; raises OutcomeUnknown when it may have been.
        """
        response = self.send(method, path, body=body, params=params, repeat=repeat, deadline=deadline, headers=headers)
        if response.status_code == 204:
            return None
        if not response.content:
            if method == "GET":  # a proxy's: whoever asks what there is must not take it for "nothing"
                raise errors.NotJson(f"GET {path.split('?')[0]}: an empty answer")
            return None
        if "html" in response.headers.get("Content-Type", ""):
            raise errors.NotJson(f"{method} {path.split('?')[0]}: a web page came in place of an answer")
        return json_of(response)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
        stream: bool = False,
        repeat: bool = False,
    ) -> requests.Response:
        """Asks, waiting out restarts, throttling and locks, and signing in again once. Raises WebError and RunEnds."""
        patience = Patience(deadline or Deadline(QUESTION_SECONDS), self._silence)
        pauses_of_lock = growing_pauses(0.5, longest=10)
        renewed = False
        while True:
            self.stop.check()
            access = self.access
            try:
                response = self._follow(method, path, access, patience.deadline, stream, params, headers, body)
                if method != "GET":
                    self._locked_since.pop(_what_is_locked(path), None)
                return response
            except (errors.Unauthorized, errors.Forbidden, errors.Redirected) as error:
                # SC answers 403 to a cookie that has expired, or sends us to its login page.
                if renewed or not self._may_mean_expired(error, access):
                    self._end_if_refused(error, access)
                    raise
                renewed = True
                self._renew(access, error)
            except errors.Refused as error:
                if not _is_lock(error):
                    raise
                # Since when, for all questions to one project together: thousands must not wait one after another.
                since = self._locked_since.setdefault(_what_is_locked(path), time.monotonic())
                if time.monotonic() - since > max(LONGEST_LOCK_SECONDS, self.server.lock_wait_seconds):
                    raise
                self.stop.sleep(next(pauses_of_lock))
            except errors.WebError as error:
                if not repeat and errors.may_have_happened(error):
                    raise errors.OutcomeUnknown(str(error)) from None
                self.stop.sleep(patience.pause_after(error))

    def _follow(
        self,
        method: str,
        path: str,
        access: Access,
        deadline: Deadline,
        stream: bool,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        body: Any,
    ) -> requests.Response:
        """One attempt. A GET's redirect is followed: to our own origin with credentials, elsewhere without, to http never."""
        for _ in range(MOST_REDIRECTS):
            is_ours = "://" not in path or origin(path) == origin(self.url)
            sent = {"Accept": "*/*" if stream else "application/json", **(access.headers if is_ours else {})}
            if method not in ("GET", "HEAD", "OPTIONS") and is_ours:
                sent["x-geti-csrf-protection"] = "1"
            response = self._once(
                method, path, None, deadline,
                stream=stream, redirects=stream, params=params, headers={**sent, **(headers or {})}, **_as_sent(body),
            )  # fmt: skip
            if not 300 <= response.status_code < 400:
                return response
            target = urljoin(path if "://" in path else self.url + path, response.headers.get("Location", ""))
            response.close()
            if origin(target)[0] != "https" and origin(target) != origin(self.url):
                raise errors.Redirected(f"{method} {path.split('?')[0]} is redirected to plain http, which is refused")
            if _is_login_page(target):
                raise errors.Redirected(f"{method} {path.split('?')[0]} is redirected to the login page", target)
            path, params = target, None
        raise errors.Redirected(f"{method} {path.split('?')[0]}: redirected more than {MOST_REDIRECTS} times")

    @contextmanager
    def streaming(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
        """A GET whose body the caller reads piece by piece. Raises WebError."""
        response = self.send("GET", path, headers=headers, stream=True, repeat=True)
        try:
            yield response
        finally:
            response.close()

    @contextmanager
    def beside(self, name: str, work: Callable[[], Made]) -> Iterator[Callable[[], Made]]:
        """Does something in a thread of its own and gives back what waits for its result. After a stop nobody waits for a
        silent server: the thread is left behind.
        """
        pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        future = pool.submit(work)

        def result() -> Made:
            with self.stop.asking():
                return future.result()

        try:
            yield result
        finally:
            pool.shutdown(wait=not self.stop.is_set, cancel_futures=True)

    # --- expired credentials --------------------------------------------------------------------------------

    def _may_mean_expired(self, error: errors.WebError, access: Access) -> bool:
        if isinstance(error, errors.Redirected):
            return access.renew is not None and _is_login_page(str(error.payload or ""))
        if isinstance(error, errors.Forbidden):
            return access.renew is not None and "Cookie" in access.headers
        return bool(access.headers)

    def _renew(self, used: Access, error: errors.WebError) -> None:
        """Signs in again, once for all threads that met it."""
        if used.renew is None:
            # Nothing to renew: it is shown once more, for the 401 may be a hiccup of a proxy.
            self.stop.sleep(TOKEN_PAUSE_SECONDS)
            return
        with self._renewing:
            if self._refused is not None:
                raise self._refused  # asking again with a wrong password may lock the account
            if self.access is used:
                log.get().warning("signing_in_again", reason=str(error))
                try:
                    self.access = used.renew()
                except errors.Unauthorized as refusal:
                    self._refused = self.refused(str(refusal))
                    raise self._refused from None

    def _end_if_refused(self, error: errors.WebError, access: Access) -> None:
        """Ends the run where not this one thing is refused but everything: a token that has expired or was revoked."""
        if not isinstance(error, errors.Unauthorized) or not access.headers or not hasattr(self, "generation"):
            return
        headers = {"Accept": "application/json", **access.headers}
        try:
            self._once("GET", f"{self.generation.api}/workspaces", None, Deadline(QUESTION_SECONDS), headers=headers)
        except errors.Unauthorized as refusal:
            raise self.refused(str(refusal)) from None
        except errors.WebError:
            return  # it says nothing about the credentials

    def refused(self, said: str) -> errors.CredentialsRefused:
        """What ends the run when the server takes our credentials no more."""
        prefix = self.server.prefix
        names = f"{prefix}TOKEN" if self.server.token else f"{prefix}USERNAME and {prefix}PASSWORD"
        return errors.CredentialsRefused(
            f"{self.url} refused the credentials ({printable(said, 200)}).",
            f"Correct {names}; a token may have expired. Nothing else was tried.",
        )


def _what_is_locked(path: str) -> str:
    """The image or video, else the project, that a request is about."""
    found = re.search(r"/media/(images|videos)/[^/?]+", path) or re.search(r"/projects/[^/?:]+", path)
    return found[0] if found else ""


def _is_login_page(address: str) -> bool:
    return any(part in address for part in ("/oauth2/", "/dex/", "/user/login"))


def _as_sent(body: Any) -> dict[str, Any]:
    if body is None:
        return {}
    if callable(body):
        return {"data": body()}
    return {"data": body} if isinstance(body, bytes) else {"json": body}
