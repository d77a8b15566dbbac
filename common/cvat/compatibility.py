"""Whether this server's version is one that is known to work: a warning, never a refusal."""

from __future__ import annotations

import re

OLDEST, NEWEST = (2, 30), (2, 80)


def version_warnings(server: str) -> list[str]:
    """What to say about a server's version: nothing where it is one that this program was made for."""
    match = re.match(r"(\d+)\.(\d+)", server)
    if match is None:
        return [f"the server calls its version {server!r}, which is none that is known; it goes on all the same"]
    if not OLDEST <= (int(match[1]), int(match[2])) <= NEWEST:
        return [f"CVAT {server} is outside of what this program was made for (2.30 to 2.80); it goes on all the same"]
    return []
