"""One signed-in connection to one CVAT server, safe to use from several threads.

Every request has a timeout, every wait a deadline. A server that is down, restarting or throttling is
waited for; credentials go to the configured host only; nothing is redirected anywhere.
"""

from __future__ import annotations

import http.cookiejar
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError

from common import log
from common.cvat import errors
from common.cvat.answers import innermost, json_of, plain_cause, raise_for_answer
from common.cvat.settings import CvatSettings
from common.exits import Exit, RunEnds
from common.text import duration, printable
from common.version import VERSION
from common.waiting import Deadline, StopSignal, growing_pauses

API_TYPE = "application/vnd.cvat+json"
CONNECT_TIMEOUT_SECONDS = 10
LONGEST_THROTTLE_SECONDS = 900
MOST_SERVER_ERRORS = 2
# An ordinary question; exports and downloads bring the deadline of their item.
QUESTION_SECONDS = 3600


@dataclass(frozen=True)
class Account:
    """Who the server says we are."""

    id: int
    username: str
    is_superuser: bool


class _Authorization(requests.auth.AuthBase):
    """Sets our header, and keeps requests from taking other credentials out of ~/.netrc."""

    def __init__(self, header: str | None) -> None:
        self.header = header

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.header:
            request.headers["Authorization"] = self.header
        return request


class _Patience:
    """How long one question is repeated: a server that restarts or throttles is waited for, a refusal is final."""

    def __init__(self, deadline: Deadline, server_wait_seconds: float, *, patient: bool = True) -> None:
        self._deadline = deadline
        self._server_wait_seconds = server_wait_seconds
        self._patient = patient
        self._pauses = growing_pauses(0.5, longest=15)
        self._until: Deadline | None = None
        self._server_errors = 0

    def pause_after(self, error: errors.CvatError) -> float:
        """Seconds to wait before asking again. Raises `error` when asking again is of no use, or for too long already."""
        if isinstance(error, errors.Throttled):
            if error.retry_after_seconds > min(self._deadline.left_seconds, LONGEST_THROTTLE_SECONDS):
                raise error
            log.get().warning("server_throttles", wait_seconds=error.retry_after_seconds)
            return error.retry_after_seconds
        if isinstance(error, errors.ServerError) and self._patient:
            # Some are hiccups of a busy server; one that stays is this item's failure.
            self._server_errors += 1
            if self._server_errors <= MOST_SERVER_ERRORS:
                return float(self._server_errors)
        if isinstance(error, errors.Unreachable) and self._patient:
            if self._until is None:
                self._until = self._deadline.sooner(self._server_wait_seconds)
                log.get().warning(
                    "server_unreachable", reason=str(error), waiting_at_most=duration(self._server_wait_seconds)
                )
            pause = next(self._pauses)
            if pause <= self._until.left_seconds:
                return pause
        raise error


class Client:
    """Talks to the server in CVAT_URL. Use `connect` to get one that is signed in."""

    def __init__(self, settings: CvatSettings, stop: StopSignal) -> None:
        self.url = settings.url
        self.stop = stop
        self._settings = settings
        self._local = threading.local()
        self._sign_in_lock = threading.Lock()
        self._authorization: str | None = None
        self._verify: bool | str = str(settings.ca_bundle) if settings.ca_bundle else settings.verify_tls
        if not settings.verify_tls and not settings.ca_bundle:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            log.get().warning(
                "tls_not_verified", detail="CVAT_VERIFY_TLS=false: anybody on the way can read the credentials"
            )
        for secret in (settings.password, settings.access_token):
            if secret is not None:
                log.hide(secret.get_secret_value())

    # --- asking ---------------------------------------------------------------------------------------------

    def get(self, path: str, params: Mapping[str, Any] | None = None, deadline: Deadline | None = None) -> Any:
        """The JSON answer of a GET. Raises CvatError."""
        return json_of(self.send("GET", path, params=params, deadline=deadline))

    def post(
        self, path: str, params: Mapping[str, Any] | None = None, deadline: Deadline | None = None
    ) -> requests.Response:
        """A POST that may safely be repeated (an export's request id is the same each time). Raises CvatError."""
        return self.send("POST", path, params=params, deadline=deadline)

    def change(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeat: bool = False,
        deadline: Deadline | None = None,
    ) -> requests.Response:
        """A request that changes something on the server. `content` is JSON, or bytes as they are.

        With `repeat` it says the same however often it is carried out (a PATCH of a name): sent until the server
        answers. Without, it is sent again only when it surely was not carried out (no connection, 429); raises
        OutcomeUnknown when it may have been, and the caller must look before doing anything. Raises CvatError.
        """
        return self.send(method, path, params=params, headers=headers, deadline=deadline, body=content, repeat=repeat)

    @contextmanager
    def streaming(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        accept: str = API_TYPE,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[requests.Response]:
        """A GET whose body the caller reads piece by piece (`response.raw`). Raises CvatError."""
        response = self.send("GET", path, params=params, headers={"Accept": accept, **(headers or {})}, stream=True)
        try:
            yield response
        finally:
            response.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
        stream: bool = False,
        patient: bool = True,
        anonymous: bool = False,
        body: Any = None,
        repeat: bool = True,
    ) -> requests.Response:
        """Sends until the server answers, waiting out restarts and throttling. Raises CvatError.

        Without `patient` a server that is down or answers 500 is not asked again; `anonymous` shows no credentials,
        so that a 401 says nothing about them. `body` is sent as JSON, bytes as they
        are. Without `repeat` see `change`.
        """
        patience = _Patience(
            deadline or Deadline(QUESTION_SECONDS), self._settings.server_wait_seconds, patient=patient
        )
        signed_in_again = False
        while True:
            self.stop.check()
            authorization = None if anonymous else self._authorization
            try:
                return self._once(method, path, params, headers, stream, authorization, body)
            except errors.Unauthorized:
                if authorization is None:
                    raise
                if signed_in_again:
                    raise self._refused_again() from None
                signed_in_again = True
                self._sign_in_again(authorization)
            except errors.NotFound as error:
                if "organization does not exist" in str(error):
                    raise RunEnds(
                        f"The server knows no organization {self._settings.organization!r} (CVAT_ORGANIZATION).",
                        "It is the short name at the end of the organization's address in CVAT; empty means all of them.",
                        Exit.BAD_CONFIGURATION,
                    ) from None
                raise
            except errors.CvatError as error:
                if not repeat and errors.may_have_happened(error):
                    raise errors.OutcomeUnknown(str(error)) from None
                self.stop.sleep(patience.pause_after(error))

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        stream: bool,
        authorization: str | None,
        body: Any = None,
    ) -> requests.Response:
        what = f"{method} {path.split('?')[0]}"
        try:
            response = self._session().request(
                method,
                self.url + path,
                params=params,
                json=None if isinstance(body, bytes) else body,
                data=body if isinstance(body, bytes) else None,
                headers={"Accept": API_TYPE, **self._organization_header(), **(headers or {})},
                auth=_Authorization(authorization),
                # Per request: requests lets REQUESTS_CA_BUNDLE win over what a session says.
                verify=self._verify,
                timeout=(CONNECT_TIMEOUT_SECONDS, self._settings.http_timeout_seconds),
                allow_redirects=False,
                stream=stream,
            )
        except requests.exceptions.SSLError as error:
            raise RunEnds(
                f"The TLS certificate of {self.url} is not trusted: {plain_cause(error)}.",
                "If it is signed by your own authority, name its PEM file in CVAT_CA_BUNDLE.",
            ) from None
        except (requests.RequestException, HTTPError) as error:
            if isinstance(innermost(error), NameResolutionError):
                raise errors.NotConnected(f"{what}: the host name in {self.url} is unknown") from None
            if isinstance(innermost(error), ConnectTimeoutError):
                raise errors.NotConnected(f"{what}: {plain_cause(error)}") from None
            raise errors.Unreachable(f"{what}: {plain_cause(error)}") from None
        try:
            raise_for_answer(response, what)
        except errors.CvatError:
            response.close()
            raise
        return response

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = f"cvat-backups/{VERSION}"
            adapter = HTTPAdapter(pool_connections=1, pool_maxsize=2, max_retries=0)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            # The login sets session cookies; with them CVAT would ask for CSRF tokens on every POST.
            session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            self._local.session = session
        return session

    def _organization_header(self) -> dict[str, str]:
        # No header: everything the account may see. An empty one: its personal space only (measured).
        organization = self._settings.organization
        if not organization:
            return {}
        return {"X-Organization": "" if organization == "@personal" else organization}

    # --- signing in -----------------------------------------------------------------------------------------

    def sign_in(self) -> None:
        """Gets the key for this run. Called once: login is throttled, and its key is shared by all of the user's sessions."""
        token = self._settings.access_token
        if token is not None:
            self._authorization = f"Bearer {token.get_secret_value()}"
            return
        password = self._settings.password.get_secret_value() if self._settings.password else ""
        forms = [{"username": self._settings.username, "password": password}]
        if "@" in self._settings.username:
            forms.append({"email": self._settings.username, "password": password})
        for form in forms:
            try:
                answer = self._log_in(form)
            except errors.Refused as error:
                if error.status != 400:
                    raise
                said = error.said
                continue
            key = answer.get("key") if isinstance(answer, dict) else None
            if not isinstance(key, str) or not key:
                raise RunEnds(
                    f"{self.url} answered the sign-in without a key; is CVAT_URL the address of a CVAT server?"
                )
            log.hide(key)
            self._authorization = f"Token {key}"
            return
        raise errors.CredentialsRefused(
            f"CVAT at {self.url} refused user {self._settings.username!r}: {said}",
            "Correct CVAT_USERNAME and CVAT_PASSWORD. Nothing else was tried.",
        )

    def _log_in(self, form: Mapping[str, str]) -> Any:
        # Not through send(): its body holds the password, and a 401 here must not lead to another login.
        patience = _Patience(Deadline(QUESTION_SECONDS), self._settings.server_wait_seconds)
        while True:
            self.stop.check()
            try:
                try:
                    response = self._session().post(
                        f"{self.url}/api/auth/login",
                        json=dict(form),
                        headers={"Accept": API_TYPE},
                        auth=_Authorization(None),
                        verify=self._verify,
                        timeout=(CONNECT_TIMEOUT_SECONDS, self._settings.http_timeout_seconds),
                        allow_redirects=False,
                    )
                except requests.RequestException as error:
                    raise errors.Unreachable(f"sign-in: {plain_cause(error)}") from None
                raise_for_answer(response, "sign-in")
                return json_of(response)
            except errors.CvatError as error:
                self.stop.sleep(patience.pause_after(error))

    def _refused_again(self) -> errors.CredentialsRefused:
        return errors.CredentialsRefused(
            f"CVAT at {self.url} refuses the credentials of {self._settings.username or 'the access token'!r}, "
            "also after signing in again.",
            "The account may have been disabled or its password changed during the run.",
        )

    def _sign_in_again(self, refused: str) -> None:
        """After a 401 in the middle of a run: once for all threads that met it. Raises CredentialsRefused."""
        with self._sign_in_lock:
            if self._authorization != refused:
                return  # another thread has already done it
            if self._settings.access_token is not None:
                raise errors.CredentialsRefused(
                    f"CVAT at {self.url} refused the access token.",
                    "It may have expired or been revoked: make a new one in CVAT (profile, Security) and set CVAT_ACCESS_TOKEN.",
                )
            log.get().warning("signing_in_again", user=self._settings.username)
            self.sign_in()


def connect(settings: CvatSettings, stop: StopSignal) -> tuple[Client, str, Account]:
    """A signed-in client, the server's version and our account there. Raises RunEnds and CvatError."""
    client = Client(settings, stop)
    try:
        about = client.get("/api/server/about")
        version = about["version"]
    except errors.Unreachable as error:
        raise RunEnds(f"CVAT at {settings.url} cannot be reached ({error}).", error.remedy) from None
    except (errors.Refused, errors.NotFound, ValueError, KeyError, TypeError) as error:
        raise RunEnds(
            f"{settings.url} answers, but not like a CVAT server ({printable(str(error), 200)}).",
            "Check CVAT_URL: it is the address that you open in the browser to use CVAT.",
        ) from None
    client.sign_in()
    try:
        who = client.get("/api/users/self")
    except errors.Unauthorized as error:
        raise errors.CredentialsRefused(f"CVAT at {settings.url} refused the credentials: {error}") from None
    account = Account(int(who["id"]), str(who["username"]), bool(who.get("is_superuser")))
    return client, str(version), account
