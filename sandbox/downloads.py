"""Files as nginx serves them: ranges, validators, 206, 304 and 416."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path

from sandbox.http import FileBody, Request, Response, nginx_page


def file_response(
    request: Request,
    path: Path,
    content_type: str,
    extra: Sequence[tuple[str, str]] = (),
    *,
    ranges: bool = True,
) -> Response:
    """The file, or the part of it that was asked for. With `ranges` False, Range is ignored (a fault)."""
    facts = path.stat()
    size = facts.st_size
    modified = datetime.fromtimestamp(int(facts.st_mtime), UTC)
    etag = f'"{int(facts.st_mtime):x}-{size:x}"'
    kind = ("Content-Type", content_type)
    validators = [("Last-Modified", format_datetime(modified, usegmt=True)), ("ETag", etag)]
    if _not_modified(request, etag, modified):
        return Response(304, [*validators, *extra])
    wanted = request.headers.get("range") if ranges else None
    if wanted is not None and _if_range_holds(request, etag, modified):
        span = _span(wanted, size)
        if span == "unsatisfiable":
            page = nginx_page(416, "Requested Range Not Satisfiable")
            page.headers += [*extra, ("Content-Range", f"bytes */{size}")]
            return page
        if isinstance(span, tuple):
            first, last = span
            headers = [
                kind,
                *validators,
                *extra,
                ("Content-Range", f"bytes {first}-{last}/{size}"),
            ]
            return Response(206, headers, FileBody(path, first, last - first + 1))
    headers = [kind, *validators, *extra, ("Accept-Ranges", "bytes")]
    return Response(200, headers, FileBody(path, 0, size))


def _not_modified(request: Request, etag: str, modified: datetime) -> bool:
    given = request.headers.get("if-none-match")
    if given is not None:
        return given.strip() == "*" or etag in [one.strip().removeprefix("W/") for one in given.split(",")]
    since = _date(request.headers.get("if-modified-since"))
    return since is not None and modified == since


def _if_range_holds(request: Request, etag: str, modified: datetime) -> bool:
    given = request.headers.get("if-range")
    if given is None:
        return True
    return given.strip() == etag or _date(given) == modified


def _date(text: str | None) -> datetime | None:
    if text is None or text.strip().startswith('"'):
        return None
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None


def _span(text: str, size: int) -> tuple[int, int] | str | None:
    """One range; several at once are answered with the whole file, which is allowed."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text.strip())
    if match is None or match.group(1) == match.group(2) == "":
        return None
    if match.group(1) == "":
        length = min(int(match.group(2)), size)
        return (size - length, size - 1) if length else "unsatisfiable"
    first = int(match.group(1))
    last = min(int(match.group(2)), size - 1) if match.group(2) else size - 1
    if first >= size:
        return "unsatisfiable"
    return (first, last) if first <= last else None
