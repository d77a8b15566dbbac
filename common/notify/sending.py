"""Sending: one HTTP request with timeouts and few retries, and what went wrong in words that hold no address."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from common.tls import TlsTrouble, tls_trouble
from common.web.answers import innermost

TIMEOUT_SECONDS = (5.0, 10.0)
# Pauses before the second and the third attempt (seconds).
PAUSES_SECONDS = (1.0, 3.0)
BODY_BYTES = 100_000


class NotSent(Exception):
    """Nobody took it; says why without naming more of the address than its host."""


class _Trusting(HTTPAdapter):
    """Trusts the usual certificates and those of one more file."""

    def __init__(self, ca_bundle: Path) -> None:
        self._context = ssl.create_default_context()
        self._context.load_verify_locations(ca_bundle)
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=self._context, **options)


class Sender:
    """Sends one thing after the other; `closing` ends pauses early."""

    def __init__(self, ca_bundle: Path | None = None, pauses: tuple[float, ...] = PAUSES_SECONDS) -> None:
        """Raises OSError, ssl.SSLError when the certificates cannot be read."""
        self._session = requests.Session()
        self._pauses = pauses
        self.closing = threading.Event()
        if ca_bundle is not None:
            self._session.mount("https://", _Trusting(ca_bundle))

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Raises NotSent. What may be repeated is: these receivers take the same message twice."""
        for pause in (*self._pauses, None):
            try:
                self._once(url, body, headers)
                return
            except _TryAgain as error:
                if pause is None or self.closing.wait(pause):
                    raise NotSent(str(error)) from None

    def _once(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        host = host_of(url)
        try:
            answer = self._session.post(
                url, data=body, headers=dict(headers), timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True
            )
            status = answer.status_code
            answer.close()  # what they answer is of no interest, however long it is
        except requests.exceptions.SSLError as error:
            match tls_trouble(str(innermost(error))):
                case TlsTrouble.UNTRUSTED:
                    raise NotSent(f"{host}: its certificate is not trusted (CVAT_CA_BUNDLE)") from None
                case TlsTrouble.CUT:
                    raise _TryAgain(f"{host}: no connection") from None
            raise NotSent(f"{host}: no TLS came about") from None
        except requests.exceptions.Timeout:
            raise _TryAgain(f"{host}: no answer within {TIMEOUT_SECONDS[1]:.0f} s") from None
        except requests.exceptions.ConnectionError:
            raise _TryAgain(f"{host}: no connection") from None
        except (requests.exceptions.RequestException, ValueError, OSError) as error:
            raise NotSent(f"{host}: {type(error).__name__}") from None
        if status >= 500 or status == 429:
            raise _TryAgain(f"{host}: answered {status}")
        if not 200 <= status < 300:
            raise NotSent(f"{host}: answered {status}")


class _TryAgain(Exception):
    pass


def host_of(url: str) -> str:
    return urlsplit(url).hostname or "?"


def notify_apprise(urls: str, title: str, body: str) -> None:
    """Hands a message to all apprise addresses. Raises NotSent."""
    try:
        import apprise
    except ImportError:
        raise NotSent("the package apprise is not installed: pip install -r requirements-apprise.txt") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it names addresses, which hold tokens
    try:
        receiver = apprise.Apprise()
        refused = [number for number, url in enumerate(urls.split(), start=1) if not receiver.add(url)]
        if refused:
            raise NotSent(f"address {', '.join(map(str, refused))} of CVAT_ALERT_APPRISE_URLS is not understood")
        if not receiver.notify(title=title, body=body):
            raise NotSent("at least one of CVAT_ALERT_APPRISE_URLS did not take it")
    except NotSent:
        raise
    except Exception as error:  # noqa: BLE001 - a hundred plugins of others
        raise NotSent(f"apprise: {type(error).__name__}") from None


def body_of(lines: list[str] | tuple[str, ...], most_bytes: int = BODY_BYTES) -> bytes:
    """The last lines as a request's body; when they are too long, their end."""
    body = "\n".join(lines).encode("utf-8", "replace")
    return body if len(body) <= most_bytes else body[-most_bytes:].decode("utf-8", "ignore").encode()
