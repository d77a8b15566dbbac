"""Signing in, in each generation's way, and finding out which generation it is.

SC 1.1 and Geti 1.x: a login page behind dex, whose redirects end in a cookie. Geti 1.x tokens are exchanged for a
Bearer header; Geti 1.14 and later take them as x-api-key. Geti 2.x passwords go through dex with a code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

from common import log
from common.exits import Exit, RunEnds
from common.sc.address import origin
from common.sc.client import MOST_REDIRECTS, Access, Client
from common.sc.generation import Generation, is_geti_3, organization_of, tell_generation, workspaces_of
from common.sc.settings import Server
from common.text import plural, printable
from common.waiting import Deadline, StopSignal
from common.web import errors
from common.web.patience import Patience

LOGIN_SECONDS = 600
_SCOPE = "openid profile groups email offline_access"
_GETI_3 = (
    "answers as Geti 3.x, which this program cannot speak to: it has another API, without workspaces, and takes in no "
    "project of an older server; only its datasets can be moved, one by one, in Geti itself."
)


def connect(server: Server, stop: StopSignal) -> Client:
    """A signed-in client that knows its server's generation and its workspace. Raises RunEnds and WebError."""
    client = Client(server, stop)
    try:
        client.access, organization = _access(client)
        client.generation, workspaces = _generation(client, organization)
        client.workspace = _workspace(client, workspaces)
    except errors.Unauthorized as error:
        raise client.refused(str(error)) from None
    except errors.Unreachable as error:
        raise RunEnds(f"{server.url} cannot be reached ({error}).", error.remedy) from None
    except errors.Redirected as error:
        raise RunEnds(str(error), error.remedy, Exit.BAD_CONFIGURATION) from None
    log.get().info(
        "signed_in", server=client.url, generation=client.generation.name, workspace=client.workspace.get("name", "")
    )
    return client


def _access(client: Client) -> tuple[Access, str | None]:
    """How we may ask from now on, and the organization if the server has them."""
    if client.server.token is not None:
        return _with_token(client, client.server.token.get_secret_value())
    if (mode := _serving_mode(client)) is not None:
        if mode == "saas":
            raise RunEnds(
                f"{client.url} takes no passwords from programs.",
                f"Make a personal access token in its page and set {client.server.prefix}TOKEN.",
                Exit.BAD_CONFIGURATION,
            )
        access = _geti_login(client)
        answer = _question(client, "GET", "/api/v1/profile", access)
        return access, organization_of(answer)
    return _sc_login(client), None


# --- tokens -----------------------------------------------------------------------------------------------------


def _with_token(client: Client, token: str) -> tuple[Access, str | None]:
    access = Access({"x-api-key": token})
    refused: errors.WebError | None = None
    for path in (
        "/api/v1/personal_access_tokens/organization",
        f"/api/v1/personal_access_tokens/organization/{token}",  # Geti 1.15
    ):
        try:
            answer = _question(client, "GET", path, access)
        except errors.Unauthorized as error:
            refused = refused or errors.Unauthorized(str(error).replace(token, log.MASK))
            break
        except (errors.NotFound, errors.Refused, errors.Forbidden, errors.Redirected):
            continue
        if organization := organization_of(answer):
            return access, organization
    try:
        return _bearer(client, token), None
    except errors.Unauthorized as error:
        raise refused or error from None
    except (errors.NotFound, errors.Refused, errors.Redirected, errors.Forbidden, errors.ServerError) as error:
        if refused:
            raise refused from None
        raise _unknown_server(client, str(error)) from None


def _bearer(client: Client, token: str) -> Access:
    """A token of Geti 1.0 to 1.13 exchanged for the header that is asked with."""
    answer = _question(client, "POST", "/api/v1/service_accounts/access_token", Access(), json={"service_id": token})
    value = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value:
        raise errors.NotFound("POST /api/v1/service_accounts/access_token: no access token came back")
    log.hide(value)
    return Access({"Authorization": f"Bearer {value}"}, lambda: _bearer(client, token))


# --- passwords --------------------------------------------------------------------------------------------------


def _serving_mode(client: Client) -> str | None:
    """What /deployment-config.json says ("on-prem", "saas"): only Geti 2.x has it."""
    try:
        answer = _question(client, "GET", "/deployment-config.json", Access())
    except (errors.NotFound, errors.Refused, errors.Redirected, errors.Forbidden, errors.Unauthorized):
        return None
    mode = answer.get("servingMode") if isinstance(answer, dict) else None
    return str(mode) if mode else None


class _Browser:
    """What a browser does on a login page: follows redirects on this host and keeps its cookies."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.cookies: dict[str, str] = {}
        self.at = client.url

    def go(
        self, method: str, address: str, form: Mapping[str, str] | None = None, until: str | None = None
    ) -> requests.Response:
        """The page where the redirects end; with `until` also at the first redirect to that path."""
        for _ in range(MOST_REDIRECTS):
            address = urljoin(self.at, address)
            if origin(address) != origin(self._client.url):
                raise errors.Redirected(
                    f"The login of {self._client.url} leads to {printable(address.split('?')[0], 100)}: "
                    "the credentials were not sent there."
                )
            self.at = address
            if until and urlsplit(address).path == until:
                return requests.Response()
            response = self._ask(method, address, form)
            for header in response.raw.headers.getlist("Set-Cookie"):
                self._keep(header)
            if not 300 <= response.status_code < 400:
                return response
            address, method, form = response.headers.get("Location", ""), "GET", None
        raise errors.Redirected(f"The login of {self._client.url} redirects for ever.")

    def _ask(self, method: str, address: str, form: Mapping[str, str] | None) -> requests.Response:
        headers = {"Accept": "text/html"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        more: dict[str, Any] = {"data": dict(form)} if form else {}
        return _patiently(
            self._client,
            lambda deadline: self._client._once(
                method, address, None, deadline, redirects=True, headers=headers, **more
            ),
        )

    def _keep(self, header: str) -> None:
        try:
            for name, morsel in SimpleCookie(header).items():
                if morsel.value and morsel["max-age"] != "0":
                    self.cookies[name] = morsel.value
                    if len(morsel.value) > 3:
                        log.hide(morsel.value)
                else:
                    self.cookies.pop(name, None)
        except CookieError:
            return


def _credentials(client: Client) -> dict[str, str]:
    password = client.server.password.get_secret_value() if client.server.password else ""
    return {"login": client.server.username, "password": password}


def _sc_login(client: Client) -> Access:
    """SC 1.1 and Geti 1.x: /user/login, dex's page, and back with the cookie _oauth2_proxy."""
    browser = _Browser(client)
    try:
        page = browser.go("GET", "/user/login")
    except (errors.NotFound, errors.Refused, errors.Forbidden, errors.Unauthorized, errors.ServerError) as error:
        raise _unknown_server(client, str(error)) from None
    if "/dex/" not in browser.at or page.status_code != 200:
        raise _unknown_server(client, "it has no login page")
    login_page = browser.at
    try:
        browser.go("POST", login_page, _credentials(client))
    except (errors.Unauthorized, errors.Forbidden) as error:
        raise errors.Unauthorized(str(error)) from None
    # A wrong password shows the login page once more, as a success.
    if not any(name.startswith("_oauth2_proxy") and "csrf" not in name for name in browser.cookies):
        raise errors.Unauthorized("the login page came again")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return Access({"Cookie": cookie}, lambda: _sc_login(client))


def _geti_login(client: Client) -> Access:
    """Geti 2.x with a password (the server's makers advise tokens): dex's code, exchanged for the geti-cookie."""
    browser = _Browser(client)
    asked = {
        "client_id": "web_ui", "redirect_uri": "/callback", "code_challenge_method": "S256", "response_type": "code",
        "response_mode": "query", "scope": _SCOPE,
    }  # fmt: skip
    browser.go("GET", "/dex/auth/regular_users?" + urlencode(asked))
    try:
        browser.go("POST", browser.at, _credentials(client), until="/callback")
    except (errors.Forbidden, errors.Refused) as error:
        raise errors.Unauthorized(str(error)) from None
    code = parse_qs(urlsplit(browser.at).query).get("code", [""])[0]
    if not code:
        raise errors.Unauthorized("the login page came again")
    form = {"grant_type": "authorization_code", "redirect_uri": "/callback", "code": code, "client_id": "web_ui"}
    answer = _question(client, "POST", "/dex/token", Access(), data=form)
    value = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value:
        raise errors.Unauthorized("no access token came back")
    log.hide(value)
    return Access({"Cookie": f"geti-cookie={value}"}, lambda: _geti_login(client))


# --- which server it is -----------------------------------------------------------------------------------------


def _generation(client: Client, organization: str | None) -> tuple[Generation, list[dict[str, Any]]]:
    """Which it is, and its workspaces."""
    apis = [f"/api/v1/organizations/{organization}"] if organization else ["/api/v1", "/api/v1.0"]
    said = "it lists no workspaces"
    for api in apis:
        product_path = "/api/v1/product_info" if "/v1.0" not in api else "/api/v1.0/product_info"
        product = _if_any(client, product_path)
        found = workspaces_of(_if_any(client, f"{api}/workspaces"))
        if not found:
            continue
        projects_path = f"{api}/workspaces/{found[0]['id']}/projects"
        projects = _if_any(client, f"{projects_path}/" if api == "/api/v1.0" else projects_path)
        generation = tell_generation(
            product,
            projects,
            api,
            in_organization=organization is not None,
            answers_query=organization is not None and _answers_queries(client, projects_path, projects, product),
        )
        if generation is not None:
            return generation, found
        said = "its list of projects is like none that is known"
    raise _unknown_server(client, said)


def _answers_queries(client: Client, projects_path: str, projects: Any, product: Any) -> bool:
    """Whether media are listed by media:query (2.x). Asked of a project that is there, else told by the version."""
    listed = projects.get("projects") if isinstance(projects, dict) else None
    for project in (listed or [])[:3]:
        detail = _if_any(client, f"{projects_path}/{project.get('id')}")
        for dataset in (detail or {}).get("datasets") or []:
            path = f"{projects_path}/{project['id']}/datasets/{dataset['id']}/media:query"
            try:
                with client.stop.asking():  # a question, though a POST
                    answer = client.json("POST", path, {}, params={"limit": 1, "skip": 0}, repeat=True)
                return isinstance(answer, dict)
            except (errors.NotFound, errors.Refused, errors.ServerError):
                return False
    version = str(product.get("product-version", "")) if isinstance(product, dict) else ""
    return not version.startswith(("0.", "1."))


def _workspace(client: Client, found: list[dict[str, Any]]) -> Mapping[str, Any]:
    setting, wanted = f"{client.server.prefix}WORKSPACE", client.server.workspace
    listed = "; ".join(f"{each.get('name', '')} ({each['id']})" for each in found)
    if wanted:
        chosen = [each for each in found if wanted == each["id"]] or [
            each for each in found if wanted == each.get("name")
        ]
        if len(chosen) == 1:
            return chosen[0]
        why = "there is none of that name or id" if not chosen else f"{len(chosen)} have that name"
        raise RunEnds(f"{setting}={wanted!r}: {why}.", f"There are: {listed}.", Exit.BAD_CONFIGURATION)
    if len(found) == 1:
        return found[0]
    defaults = [each for each in found if each.get("name") == "Default Workspace"]
    if client.generation.era == "SC" and len(defaults) == 1:
        return defaults[0]
    raise RunEnds(
        f"{client.url} has {plural(len(found), 'workspace')}: name one in {setting}.",
        f"There are: {listed}.",
        Exit.BAD_CONFIGURATION,
    )


def _unknown_server(client: Client, said: str) -> RunEnds:
    """Why it is no server that we can speak to; Geti 3.x by name."""
    try:
        for path in ("/api/projects", "/api/health"):
            answer = _question(client, "GET", path, Access())
            if is_geti_3(answer if path == "/api/projects" else None, answer if path == "/api/health" else None):
                return RunEnds(f"{client.url} {_GETI_3}", exit_code=Exit.BAD_CONFIGURATION)
    except (errors.WebError, RunEnds):
        pass  # it is not Geti 3 either
    return RunEnds(
        f"{client.url} answers, but not like an SC or Geti server ({printable(said, 200)}).",
        f"Check {client.server.prefix}HOST: it is the address that you open in the browser to use it.",
    )


# --- asking before there is a generation ------------------------------------------------------------------------


def _if_any(client: Client, path: str) -> Any:
    """The JSON of a GET, or None where the server has nothing like it (also when a page comes in its place)."""
    try:
        return client.get(path)
    except (errors.NotFound, errors.Refused, errors.NotJson, errors.Forbidden, errors.Redirected):
        return None


def _question(client: Client, method: str, path: str, access: Access, **more: Any) -> Any:
    """One question with this access: no signing in again. The JSON answer, None when it is none. Raises WebError."""
    headers = {"Accept": "application/json", **access.headers}
    response = _patiently(
        client,
        lambda deadline: client._once(method, path, None, deadline, headers=headers, **more),
    )
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def _patiently(client: Client, ask: Any) -> requests.Response:
    patience = Patience(Deadline(LOGIN_SECONDS), client._silence)
    while True:
        client.stop.check()
        try:
            with client.stop.asking():
                response: requests.Response = ask(patience.deadline)
            return response
        except errors.WebError as error:
            client.stop.sleep(patience.pause_after(error))
