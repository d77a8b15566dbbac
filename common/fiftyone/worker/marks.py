"""By what a round knows its own things again: a mark in names, and the moment of FiftyOne's record."""

from __future__ import annotations

import inspect
from typing import Any

from common.fiftyone.protocol import VERSION, Failed

# The database keeps milliseconds of a moment that had microseconds when it was noted.
CLOCK_SECONDS = 0.002


def marked(name: str, marker: str) -> str:
    """The name that a thing has until everything is there: whoever finds it knows which run has left it."""
    return f"{name} [{marker}]"


def with_marked_record(register: Any, marker: str) -> Any:
    """FiftyOne's way to note a run, with our mark in the record: somebody else's of the same key has none. Raises Failed."""
    if register is None or list(inspect.signature(register).parameters) != [
        "self", "samples", "key", "overwrite", "cleanup",
    ]:  # fmt: skip
        raise Failed(VERSION, "this FiftyOne is another inside than the one that is known (register_run)")

    def note(self: Any, samples: Any, key: Any, overwrite: bool = True, cleanup: bool = True) -> Any:
        name = self.config.task_name
        self.config.task_name = marked(name or "", marker)
        try:
            return register(self, samples, key, overwrite=overwrite, cleanup=cleanup)
        finally:
            self.config.task_name = name

    return note


def is_ours(info: Any, marker: str, recorded_at: float = 0.0) -> bool:
    """Whether a round made this record (FiftyOne's information of a run): by its mark, or by its very moment (seconds since
    1970), which is all that rounds of older versions know."""
    if marker and f"[{marker}]" in str(getattr(info.config, "task_name", "")):
        return True
    return bool(recorded_at) and abs(moment_of(info) - recorded_at) <= CLOCK_SECONDS


def moment_of(info: Any) -> float:
    """When a run was recorded, in seconds since 1970 (FiftyOne keeps naive UTC)."""
    from datetime import timezone

    moment = info.timestamp
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - this interpreter may be older than 3.11
    return float(moment.timestamp())
