"""Whether this server's version is one that is known to work: a warning, never a refusal."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

OLDEST, NEWEST = (2, 30), (2, 80)


def version_warnings(server: str, sdk: str | None = None) -> list[str]:
    """What to say about a server's version. `sdk` is the installed cvat-sdk's, found out when not given."""
    match = re.match(r"(\d+)\.(\d+)", server)
    if match is None:
        return [f"the server calls its version {server!r}, which is none that is known"]
    present = (int(match[1]), int(match[2]))
    if not OLDEST <= present <= NEWEST:
        return [f"CVAT {server} is outside of what this program was made for (2.30 to 2.80); it goes on all the same"]
    try:
        sdk = sdk or installed_version("cvat-sdk")
    except PackageNotFoundError:
        return []
    if sdk.split(".")[:2] != server.split(".")[:2]:
        return [f"the server is CVAT {server}, the installed cvat-sdk {sdk}; known to work, it goes on"]
    return []
