"""Which FiftyOne this is, and whether its inside is the one that `careful.py` wraps."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

from common.fiftyone.protocol import SUPPORTED_VERSION, VERSION, Failed
from common.fiftyone.worker.channel import Tell


def installed_version() -> str:
    """FiftyOne's version. Raises Failed when it is not installed."""
    try:
        return importlib.metadata.version("fiftyone")
    except importlib.metadata.PackageNotFoundError:
        raise Failed(VERSION, "this Python has no fiftyone") from None


def version(request: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """{"fiftyone", "python", "supported"}; does not import FiftyOne, which takes seconds and starts a database."""
    found = installed_version()
    return {"fiftyone": found, "python": platform.python_version(), "supported": found == SUPPORTED_VERSION}


def check_version() -> None:
    """Raises Failed for a version whose inside is not known."""
    found = installed_version()
    if found != SUPPORTED_VERSION:
        raise Failed(
            VERSION,
            f"this is FiftyOne {found}; fiftyone_sync.py goes with {SUPPORTED_VERSION}, whose uploading it wraps. "
            f"Install that version (requirements-fiftyone.txt)",
        )
