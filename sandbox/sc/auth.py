"""Who is asking: the cookie of the dex login, the token exchanged for a Bearer, the key in a header.

The login of SC 1.1 was recorded, redirect by redirect. The others follow the source of the servers and of geti-sdk.
"""

from __future__ import annotations

import html
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sandbox.http import Answered, Request, Response, nginx_page, text_response
from sandbox.sc.answering import answer, body_object, index_page, refusal

if TYPE_CHECKING:
    from sandbox.sc.server import ScSandbox

HTML = "text/html; charset=utf-8"
SCOPE = "openid profile groups email offline_access"
LOGIN_PAGE = """<!DOCTYPE html>
<html lang="en" class="spectrum spectrum--medium spectrum--sonoma-creek">
<head><meta charset="UTF-8"><title>{title}</title></head>
<body><h1 class="loginBox__signIn" id="login-sign-in">Sign in</h1>{wrong}
<form method="post" action="{action}">
<input required id="login" name="login" type="text"><input required id="password" name="password" type="password">
<button id="submit-login" type="submit">Sign in</button></form></body></html>
"""
WRONG = '<div id="login-error">Invalid Email Address and password.</div>'
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass
class Doorman:
    server: ScSandbox
    username: str
    password: str
    token: str
    bearer_seconds: float = 3600.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _logins: dict[str, str] = field(default_factory=dict)  # state of the login page: state of the proxy
    _approved: set[str] = field(default_factory=set)  # of these states the password was right
    _codes: set[str] = field(default_factory=set)
    _cookies: set[str] = field(default_factory=set)
    _bearers: dict[str, float] = field(default_factory=dict)  # until when (monotonic)

    def expire(self) -> None:
        """Everyone must sign in again; keys stay good."""
        with self._lock:
            self._cookies.clear()
            self._bearers.clear()

    # --- is he known? ----------------------------------------------------------------------------------------------

    def admit(self, request: Request) -> str:
        """The name of who is asking; strangers get what a stranger of this generation gets."""
        cookies = _cookies(request)
        name = self.server.generation.name
        if name == "1.1":
            if cookies.get("_oauth2_proxy") in self._cookies:
                return self.username
            raise Answered(nginx_page(401, "Authorization Required"))
        if name == "1.x":
            return self._admit_1x(request, cookies)
        key = request.headers.get("x-api-key")
        if key is not None:
            if secrets.compare_digest(key.encode(), self.token.encode()):
                return "token"
            raise refusal(401, "unauthorized", "The personal access token is invalid or has expired.")
        cookie = cookies.get("geti-cookie")
        if cookie is None:
            raise Answered(index_page())
        if cookie not in self._cookies:
            raise refusal(401, "unauthorized", "The session has expired.")
        if request.method in CHANGING and request.headers.get("x-geti-csrf-protection") != "1":
            raise refusal(403, "forbidden", "The CSRF protection header is missing.")
        return self.username

    def _admit_1x(self, request: Request, cookies: dict[str, str]) -> str:
        kind, _, bearer = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            if self._bearers.get(bearer.strip(), 0.0) > time.monotonic():
                return "token"
            raise refusal(401, "unauthorized", "The access token is invalid or has expired.")
        if cookies.get("_oauth2_proxy") in self._cookies:
            return self.username
        raise Answered(nginx_page(401, "Authorization Required"))

    # --- the way in --------------------------------------------------------------------------------------------------

    def login(self, request: Request) -> Response | None:
        """The answer to an address of the login, or None."""
        base = self.server.base_of(request)
        path, query = request.path, request.query
        if self.server.generation.name == "3.x":
            return None
        if path == "/oauth2/sign_out":
            self._cookies -= set(_cookies(request).values())
            return Response(302, [("Location", "/")])
        if self.server.generation.organizations:
            return self._login_2x(request)
        match (request.method, path):
            case ("POST", "/api/v1/service_accounts/access_token") if self.server.generation.name == "1.x":
                return self._exchange(request)
            case ("GET", "/user/login"):
                page = nginx_page(302, "Found")
                back = quote(f"{base}/user/login".removeprefix(base + "/"), safe="")
                page.headers.append(("Location", f"{base}/oauth2/start?rd={base}%2F{back}"))
                return page
            case ("GET", "/oauth2/start"):
                state = f"{secrets.token_urlsafe(32)}:/"
                with self._lock:
                    self._logins[state] = state
                where = {
                    "approval_prompt": "force",
                    "client_id": "impt",
                    "redirect_uri": f"{base}/oauth2/callback",
                    "response_type": "code",
                    "scope": SCOPE,
                    "state": state,
                }
                cookie = self._cookie("_oauth2_proxy_csrf", secrets.token_urlsafe(24))
                return _to(302, f"{base}/dex/auth?{urlencode(where)}", [cookie])
            case ("GET", "/dex/auth"):
                return _to(302, f"/dex/auth/ldap?{request.target.partition('?')[2]}")
            case ("GET", "/dex/auth/ldap"):
                return self._to_page("/dex/auth/ldap/login", query.get("state", ""))
            case ("GET" | "POST", "/dex/auth/ldap/login"):
                return self._page(request, "Sonoma Creek")
            case ("GET", "/dex/approval"):
                return self._approval(query.get("req", ""), f"{base}/oauth2/callback")
            case ("GET", "/oauth2/callback"):
                return self._callback(request)
        return None

    def _login_2x(self, request: Request) -> Response | None:
        query = request.query
        match (request.method, request.path):
            case ("GET", "/deployment-config.json"):
                return answer(
                    {"servingMode": "on-prem", "auth": {"type": "dex", "clientId": "web_ui", "authority": "/dex"}}
                )
            case ("GET", "/dex/auth/regular_users"):
                if query.get("client_id") != "web_ui" or query.get("response_type") != "code":
                    return text_response("Bad Request\nInvalid client_id.", 400, HTML)
                state = secrets.token_hex(12)
                with self._lock:
                    self._logins[state] = query.get("redirect_uri", "/callback")
                return self._to_page("/dex/auth/regular_users/login", state)
            case ("GET" | "POST", "/dex/auth/regular_users/login"):
                return self._page(request, "Intel Geti")
            case ("GET", "/dex/approval"):
                return self._approval(query.get("req", ""), "/callback")
            case ("GET", "/callback"):
                return index_page()
            case ("POST", "/dex/token"):
                form = request.json()
                with self._lock:
                    good = form.get("grant_type") == "authorization_code" and form.get("code") in self._codes
                    self._codes.discard(form.get("code"))
                    if not good:
                        return answer({"error": "invalid_grant", "error_description": "Invalid or expired code"}, 400)
                    cookie = secrets.token_urlsafe(40)
                    self._cookies.add(cookie)
                return answer({"access_token": cookie, "token_type": "bearer", "expires_in": 86399})
        return None

    def _exchange(self, request: Request) -> Response:
        given = str(body_object(request).get("service_id", ""))
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            raise refusal(401, "unauthorized", "The personal access token is not valid.")
        bearer = secrets.token_urlsafe(40)
        with self._lock:
            self._bearers[bearer] = time.monotonic() + self.bearer_seconds
        return answer({"access_token": bearer})

    def _to_page(self, page: str, proxy_state: str) -> Response:
        state = secrets.token_hex(12)
        with self._lock:
            if proxy_state not in self._logins:
                return text_response("Bad Request\nUnregistered state.", 400, HTML)
            self._logins[state] = proxy_state
        return _to(302, f"{page}?back=&state={state}")

    def _page(self, request: Request, title: str) -> Response:
        """The login form; a right password leads on, a wrong one to the form again (status 200)."""
        state = request.query.get("state", "")
        if state not in self._logins:
            return text_response("Bad Request\nUser session error.", 400, HTML)
        wrong = ""
        if request.method == "POST":
            form = request.json()
            if (form.get("login"), form.get("password")) == (self.username, self.password):
                self._approved.add(state)
                return Response(303, [("location", f"/dex/approval?req={state}")])
            wrong = WRONG
        page = LOGIN_PAGE.format(title=title, wrong=wrong, action=html.escape(request.target))
        return text_response(page, 200, HTML)

    def _approval(self, state: str, callback: str) -> Response:
        with self._lock:
            proxy_state = self._logins.pop(state, None)
            if proxy_state is None or state not in self._approved:
                return text_response("Bad Request\nUser session error.", 400, HTML)
            self._approved.discard(state)
            code = secrets.token_hex(12)
            self._codes.add(code)
        return _to(303, f"{callback}?{urlencode({'code': code, 'state': proxy_state})}")

    def _callback(self, request: Request) -> Response:
        """Both the code and the cookie set at the start are needed, as oauth2-proxy wants it."""
        with self._lock:
            good = request.query.get("code") in self._codes and "_oauth2_proxy_csrf" in _cookies(request)
            self._codes.discard(request.query.get("code", ""))
            if not good:
                return text_response("<html><body>403 Permission Denied</body></html>", 403, HTML)
            cookie = secrets.token_urlsafe(48)
            self._cookies.add(cookie)
        return _to(302, "/", [self._cookie("_oauth2_proxy_csrf", ""), self._cookie("_oauth2_proxy", cookie)])

    def _cookie(self, name: str, value: str) -> tuple[str, str]:
        secure = " Secure;" if self.server.tls is not None else ""
        expires = "" if value else " Expires=Tue, 12 Apr 2022 19:11:39 GMT;"
        return "Set-Cookie", f"{name}={value}; Path=/;{expires} HttpOnly;{secure} SameSite=Strict"


def _to(status: int, where: str, headers: list[tuple[str, str]] | None = None) -> Response:
    words = "Found" if status == 302 else "See Other"
    text = f'<a href="{html.escape(where)}">{words}</a>.\n\n'
    page = text_response(text, status, HTML)
    page.headers += [("location", where), *(headers or [])]
    return page


def _cookies(request: Request) -> dict[str, str]:
    jar = SimpleCookie()
    try:
        jar.load(request.headers.get("cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}
