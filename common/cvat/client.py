"""One signed-in connection to one CVAT server, safe to use from several threads.

Every request has a timeout, every wait a deadline. A server that is down, restarting or throttling is
waited for; credentials go to the configured host only; nothing is redirected anywhere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from common import log
from common.cvat import errors
from common.cvat.settings import CvatSettings
from common.exits import Exit, RunEnds
from common.text import printable
from common.waiting import Deadline, StopSignal
from common.web.answers import json_of, refuse_page
from common.web.connection import QUESTION_SECONDS, Connection
from common.web.patience import Patience

API_TYPE = "application/vnd.cvat+json"
TOKEN_PAUSE_SECONDS = 0.5


@dataclass(frozen=True)
class Account:
    """Who the server says we are."""

    id: int
    username: str
    is_superuser: bool


def _as_sent(body: Any) -> dict[str, Any]:
    """A body as requests takes it: bytes as they are, anything else as JSON."""
    if body is None:
        return {}
    return {"data": body} if isinstance(body, bytes) else {"json": body}


class Client(Connection):
    """Talks to the server in CVAT_URL. Use `connect` to get one that is signed in."""

    who, address_setting, ca_setting = "CVAT", "CVAT_URL", "CVAT_CA_BUNDLE"

    def __init__(self, settings: CvatSettings, stop: StopSignal) -> None:
        verify: bool | str = str(settings.ca_bundle) if settings.ca_bundle else settings.verify_tls
        super().__init__(settings.url, stop, verify, settings.http_timeout_seconds, settings.server_wait_seconds)
        self._settings = settings
        self._sign_in_lock = threading.Lock()
        self._authorization: str | None = None
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
        """A GET whose body the caller reads piece by piece (`pieces`, or `response.raw`). Raises CvatError."""
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
        patience = Patience(deadline or Deadline(QUESTION_SECONDS), self._silence, patient=patient)
        headers = {"Accept": API_TYPE, **self._organization_header(), **(headers or {})}
        signed_in_again = False
        while True:
            self.stop.check()
            authorization = None if anonymous else self._authorization
            try:
                response = self._once(
                    method, path, authorization, patience.deadline,
                    stream=stream, params=params, headers=headers, **_as_sent(body),
                )  # fmt: skip
                if authorization is not None and not stream:
                    # It knew us a moment ago: a page that a proxy shows for a while. Before, the address may be wrong.
                    refuse_page(response)
                return response
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
                        f"The server knows no organization {self._settings.organization!r} "
                        f"({self._settings.organization_variable}).",
                        "It is the short name at the end of the organization's address in CVAT; empty means all of them.",
                        Exit.BAD_CONFIGURATION,
                    ) from None
                raise
            except errors.CvatError as error:
                if not repeat and errors.may_have_happened(error):
                    raise errors.OutcomeUnknown(str(error)) from None
                self.stop.sleep(patience.pause_after(error))

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
            except (errors.Refused, errors.Unauthorized, errors.Forbidden) as error:
                # 400 is what CVAT says; what stands before or behind it may say 401 or 403.
                if isinstance(error, errors.Refused) and error.status != 400:
                    raise
                said = error.said if isinstance(error, errors.Refused) else str(error)
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
        patience, headers = Patience(Deadline(QUESTION_SECONDS), self._silence), {"Accept": API_TYPE}
        while True:
            self.stop.check()
            try:
                with self.stop.asking():
                    response = self._once(
                        "POST", "/api/auth/login", None, patience.deadline, json=dict(form), headers=headers
                    )
                return json_of(response)
            except errors.CvatError as error:
                self.stop.sleep(patience.pause_after(error))

    def _refused_again(self) -> errors.CredentialsRefused:
        if self._settings.access_token is not None:
            return errors.CredentialsRefused(
                f"CVAT at {self.url} refused the access token.",
                "It may have expired or been revoked: make a new one in CVAT (profile, Security) and set CVAT_ACCESS_TOKEN.",
            )
        return errors.CredentialsRefused(
            f"CVAT at {self.url} refuses the credentials of {self._settings.username!r}, also after signing in again.",
            "The account may have been disabled or its password changed during the run.",
        )

    def _sign_in_again(self, refused: str) -> None:
        """After a 401 in the middle of a run: once for all threads that met it. Raises CredentialsRefused."""
        if self._settings.access_token is not None:
            # Nothing to renew: it is shown once more, for the 401 may be a hiccup of a proxy.
            self.stop.sleep(TOKEN_PAUSE_SECONDS)
            return
        with self._sign_in_lock:
            if self._authorization != refused:
                return  # another thread has already done it
            log.get().warning("signing_in_again", user=self._settings.username)
            self.sign_in()


# What everything else on the web says to a question for CVAT's version, which CVAT answers to everybody.
_NO_CVAT = (errors.Refused, errors.NotFound, errors.Forbidden, errors.Unauthorized, errors.NotJson)


def connect(settings: CvatSettings, stop: StopSignal) -> tuple[Client, str, Account]:
    """A signed-in client, the server's version and our account there. Raises RunEnds and CvatError."""
    client = Client(settings, stop)
    try:
        version = _version_of(client)
        client.sign_in()
        who = client.get("/api/users/self")
    except errors.Redirected as error:
        raise RunEnds(str(error), error.remedy, Exit.BAD_CONFIGURATION) from None
    except errors.Unauthorized as error:
        raise errors.CredentialsRefused(f"CVAT at {settings.url} refused the credentials: {error}") from None
    except errors.NotJson as error:
        raise _no_cvat(client, str(error)) from None
    try:
        account = Account(int(who["id"]), str(who["username"]), bool(who.get("is_superuser")))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _no_cvat(client, "GET /api/users/self does not say who we are") from None
    return client, version, account


def _version_of(client: Client) -> str:
    try:
        return str(client.get("/api/server/about")["version"])
    except errors.Unreachable as error:
        raise RunEnds(f"CVAT at {client.url} cannot be reached ({error}).", error.remedy) from None
    except (*_NO_CVAT, ValueError, KeyError, TypeError) as error:
        raise _no_cvat(client, str(error)) from None


def _no_cvat(client: Client, why: str) -> RunEnds:
    return RunEnds(
        f"{client.url} answers, but not like a CVAT server ({printable(why, 200)}).",
        "Check CVAT_URL: it is the address that you open in the browser to use CVAT.",
    )
