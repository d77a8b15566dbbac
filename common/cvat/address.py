"""What people put into CVAT_URL, understood."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

# First path segments of CVAT's own pages: what follows the installation's address when a page is pasted.
_PAGES = frozenset(
    "about admin analytics api auth cloudstorages django-rq documentation guides invitations jobs models "
    "organization organizations profile projects requests tasks user user-agreement".split()
)
_LOCAL = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/|$)")


def base_url(text: str) -> str:
    """The installation's base address, without a trailing slash: `https://cvat.example.com[:port][/prefix]`.

    Understands a trailing slash, a pasted page (`…/projects/12?page=2`) and a missing scheme (https, but http
    for this machine). Raises ValueError with what is wrong; never repeats credentials.
    """
    text = text.strip()
    if "@" in text.split("?")[0]:
        raise ValueError("must not hold a user name or password: use CVAT_USERNAME and CVAT_PASSWORD")
    if "://" not in text:
        text = ("http://" if _LOCAL.match(text) else "https://") + text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is not an address ({error})") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    host = parts.hostname or ""
    if not re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", host):
        raise ValueError("names no host; expected something like https://cvat.example.com")
    if ":" in host:
        host = f"[{host}]"
    kept: list[str] = []
    for segment in parts.path.split("/"):
        if segment in _PAGES:
            break
        if segment:
            kept.append(segment)
    default_port = {"http": 80, "https": 443}[parts.scheme.lower()]
    place = host if port in (None, default_port) else f"{host}:{port}"
    return "/".join([f"{parts.scheme.lower()}://{place}", *kept])


def server_key(url: str) -> str:
    """What identifies a server in records and folder names: its address without the scheme.

    Moving from http to https does not make another server of it.
    """
    return url.split("://", 1)[1]
