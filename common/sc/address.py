"""What people put into SC_HOST, understood."""

from __future__ import annotations

import re
from urllib.parse import urlsplit


def base_url(text: str) -> str:
    """`https://host[:port]` of a pasted address; a page's path (`/organizations/…`) is dropped, no scheme means https.

    Raises ValueError with what is wrong; never repeats credentials.
    """
    text = text.strip()
    if "@" in text.split("?")[0].split("#")[0]:
        raise ValueError("must not hold a user name or password: they have settings of their own")
    if "://" not in text:
        text = "https://" + text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not an address ({error})") from None
    scheme = parts.scheme.lower()
    if scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    host = parts.hostname or ""
    if not re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", host):
        raise ValueError("names no host; expected something like https://geti.example.com")
    if ":" in host:
        host = f"[{host}]"
    default_port = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{host}" + ("" if port in (None, default_port) else f":{port}")


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address: two addresses belong together when these are the same."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or {"http": 80, "https": 443}.get(scheme, 0)


def server_key(url: str) -> str:
    """What identifies a server in manifests and journals: its address without the scheme."""
    return url.split("://", 1)[1]
