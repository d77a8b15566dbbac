"""What a server's answers mean: every one that is no success becomes an error with a plain sentence."""

from __future__ import annotations

import json
import re
from typing import Any

import requests

from common.text import printable
from common.web import errors

SUCCESSES = (200, 201, 202, 204, 206)
# An error's text is read so far and no further.
LONGEST_ERROR_BYTES = 20_000


def raise_for_answer(response: requests.Response, what: str, who: str, address_setting: str) -> None:
    """Turns every answer that is not a success into the WebError for it.

    `who` answers ("CVAT"), at the address in the setting of this name.
    """
    status = response.status_code
    if status in SUCCESSES:
        return
    if 300 <= status < 400:
        target = printable(response.headers.get("Location", "elsewhere"), 200)
        redirected = errors.Redirected(f"The server in {address_setting} redirects {what} to {target}.", target)
        redirected.remedy = (
            f"Credentials are never sent after a redirect: set {address_setting} to the address it should be."
        )
        raise redirected
    if status == 416:
        total = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        raise errors.PastTheEnd(f"{what}: nothing there any more", int(total[1]) if total else None)
    said, payload = answer_text(response)
    text = f"{what}: {who} answered {status}" + (f": {said}" if said else "")
    if status == 401:
        raise errors.Unauthorized(text)
    if status == 403:
        raise errors.Forbidden(text)
    if status == 404:
        raise errors.NotFound(text, payload)
    if status == 429:
        raise errors.Throttled(text, _retry_after(response))
    if status in (502, 503, 504):
        raise errors.Unreachable(text)
    if status >= 500:
        raise errors.ServerError(text, payload)
    raise errors.Refused(text, status, said, payload)


def answer_text(response: requests.Response) -> tuple[str, Any]:
    """What the server said, on one line, and its JSON: errors come as objects, lists, bare strings, text and HTML."""
    text, payload = response.content[:LONGEST_ERROR_BYTES].decode("utf-8", "replace"), None
    if "html" in response.headers.get("Content-Type", ""):
        title = re.search(r"<(title|h1)[^>]*>(.*?)</\1>", text, re.DOTALL | re.IGNORECASE)
        text = title[2] if title else re.sub(r"<[^>]+>", " ", text)
    else:
        try:
            payload = json.loads(text)
            text = _flat(payload)
        except (ValueError, RecursionError):
            pass
    return printable(text, 300), payload


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        parts = [
            _flat(item) if key in ("detail", "non_field_errors") else f"{key}: {_flat(item)}"
            for key, item in value.items()
        ]
        return "; ".join(parts)
    if isinstance(value, list):
        return "; ".join(_flat(item) for item in value)
    return str(value)


def _retry_after(response: requests.Response) -> float:
    try:
        # In this order, so that "nan" becomes the shortest pause.
        return min(max(0.1, float(response.headers.get("Retry-After", ""))), 86400)
    except ValueError:
        return 30.0


def is_page(response: requests.Response) -> bool:
    """Whether a success says that it is a web page, which no API answers with."""
    return "html" in response.headers.get("Content-Type", "").lower()


def refuse_page(response: requests.Response) -> None:
    """Raises NotJson for a page in place of an answer. An empty answer is none, whatever type it is said to be."""
    if is_page(response) and response.content.strip():
        title = answer_text(response)[0]
        what = f"{response.request.method} {(response.request.path_url or '').split('?')[0]}"
        raise errors.NotJson(f"{what}: a web page came instead of an answer ({printable(title, 80)})")


def json_of(response: requests.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError, requests.RequestException):
        raise errors.NotJson(
            f"{response.request.method} {response.request.path_url.split('?')[0]}: not a JSON answer"
        ) from None


def innermost(error: BaseException) -> BaseException:
    current: BaseException = error
    while True:
        reason = getattr(current, "reason", None)
        inner = (
            reason
            if isinstance(reason, BaseException)
            else next((part for part in current.args if isinstance(part, BaseException)), None)
        )
        if inner is None:
            return current
        current = inner


def plain_cause(error: BaseException) -> str:
    """The innermost reason of a failed connection in plain words."""
    inner = innermost(error)
    text = printable(str(inner), 200)
    # urllib3 begins with the connection's repr: "HTTPConnection(host=…): Failed to …".
    text = re.sub(r"^.*?(?:object at 0x[0-9a-f]+>|HTTPS?Connection(?:Pool)?\([^)]*\)): ", "", text)
    for pattern, plain in (
        ("Connection refused", "connection refused"),
        ("timed out", "no answer in time"),
        ("Connection reset", "connection cut"),
        ("RemoteDisconnected|closed connection|without response", "connection closed without an answer"),
        ("IncompleteRead", "the answer was cut off"),
    ):
        if re.search(pattern, text):
            return plain
    return text or type(inner).__name__
