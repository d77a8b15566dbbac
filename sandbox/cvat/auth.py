"""Who is asking: password, key, session, personal access token; and the throttling of strangers."""

from __future__ import annotations

import base64
import binascii
import math
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox.cvat.http import Request, detail
from sandbox.cvat.world import NoSuchObject, User, World

CHALLENGE = [("WWW-Authenticate", "Token")]


@dataclass(frozen=True)
class Identity:
    user: User
    by: str  # "basic", "token", "session" or "access token"
    read_only: bool = False


class Doorman:
    """Recognises callers and counts anonymous requests."""

    def __init__(self, world: World, anonymous_per_minute: int) -> None:
        self.world = world
        self.anonymous_per_minute = anonymous_per_minute
        self.sessions: dict[str, int] = {}
        self._seen: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def identify(self, request: Request) -> Identity | None:
        """The caller, None for a stranger; wrong credentials are refused."""
        header = request.headers.get("authorization", "")
        scheme, _, value = header.partition(" ")
        match scheme.lower():
            case "basic":
                return self._by_password(value)
            case "token":
                for user in self.world.users.values():
                    if user.key and secrets.compare_digest(user.key.encode(), value.encode()):
                        return Identity(user, "token")
                raise detail(401, "Invalid token.", CHALLENGE)
            case "bearer":
                return self._by_access_token(value)
        session = _cookies(request).get("sessionid")
        if session in self.sessions:
            return Identity(self.world.users[self.sessions[session]], "session")
        return None

    def _by_password(self, value: str) -> Identity:
        try:
            username, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise detail(401, "Invalid basic header. Credentials not correctly base64 encoded.", CHALLENGE) from None
        user = self.check_password(username, password)
        if user is None:
            raise detail(401, "Invalid username/password.", CHALLENGE)
        return Identity(user, "basic")

    def _by_access_token(self, value: str) -> Identity:
        for token in self.world.access_tokens.values():
            if secrets.compare_digest(token.value.encode(), value.encode()):
                if token.expiry_date and datetime.fromisoformat(
                    token.expiry_date.replace("Z", "+00:00")
                ) < datetime.now(UTC):
                    break
                token.last_used_date = self.world.now()
                return Identity(self.world.users[token.user_id], "access token", token.read_only)
        raise detail(401, "Invalid token.", CHALLENGE)

    def check_password(self, username: str, password: str) -> User | None:
        try:
            user = self.world.user_named(username)
        except NoSuchObject:
            return None
        return user if secrets.compare_digest(user.password.encode(), password.encode()) else None

    def throttle(self, request: Request) -> None:
        """Counts one anonymous request; the 101st within a minute is refused. Sign-ins count as anonymous."""
        now = time.monotonic()
        with self._lock:
            seen = self._seen.setdefault(request.client_host, deque())
            while seen and seen[0] <= now - 60:
                seen.popleft()
            if len(seen) >= self.anonymous_per_minute:
                # DRF spreads the rest of the minute over what would still be allowed: here nothing is.
                wait = max(1, math.ceil(60 - (now - seen[0]))) if seen else 60
                text = f"Request was throttled. Expected available in {wait} second{'s' if wait != 1 else ''}."
                raise detail(429, text, [("Retry-After", str(wait))])
            seen.append(now)

    def sign_in(self, user: User) -> list[tuple[str, str]]:
        """The cookies of a new session; the key stays the one the user has."""
        user.last_login = self.world.now()
        if not user.key:
            user.key = secrets.token_hex(20)
        session = secrets.token_hex(16)
        self.sessions[session] = user.id
        return [
            ("Set-Cookie", f"csrftoken={secrets.token_hex(16)}; Max-Age=31449600; Path=/; SameSite=Lax"),
            ("Set-Cookie", "sessionfresh=1; HttpOnly; Max-Age=86400; Path=/; SameSite=Lax"),
            ("Set-Cookie", f"sessionid={session}; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax"),
        ]

    def sign_out(self, request: Request, identity: Identity) -> None:
        """Ends the session and the user's key, which every other holder shares."""
        identity.user.key = ""
        session = _cookies(request).get("sessionid")
        if session is not None:
            self.sessions.pop(session, None)


def _cookies(request: Request) -> dict[str, str]:
    found = {}
    for item in request.headers.get("cookie", "").split(";"):
        name, _, value = item.strip().partition("=")
        found[name] = value
    return found
