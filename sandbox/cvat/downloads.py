"""Files as CVAT names them: what is sent otherwise is shared by all played servers."""

from __future__ import annotations

from pathlib import Path

from sandbox import downloads
from sandbox.cvat.answers import content_disposition
from sandbox.cvat.http import Request, Response


def file_response(
    request: Request, path: Path, filename: str, content_type: str = "application/zip", *, ranges: bool = True
) -> Response:
    """The file, or the part of it that was asked for. With `ranges` False, Range is ignored (a fault)."""
    kind = "attachment" if content_type == "application/zip" else "inline"
    disposition = ("Content-Disposition", content_disposition(filename, kind))
    return downloads.file_response(request, path, content_type, [disposition], ranges=ranges)
