"""The gate before every export: a CVAT that is short of disk, memory, cache or database is left in peace."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from common import log
from common.cvat.client import Client
from common.cvat.errors import CvatError, ServerError, TooSlow
from common.exits import RunEnds
from common.text import printable
from common.waiting import Deadline

# Names of CVAT's own checks, measured: "DiskUsage", "MemoryUsage", "Cache backend: media", "DatabaseBackend[default]".
_SERIOUS = ("disk", "memory", "cache", "database")
FRESH_SECONDS = 5.0
CLOSED_POLL_SECONDS = 15.0


def trouble(checks: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """What a health answer complains of: (reasons to hold exports back, other complaints), one line each."""
    serious: list[str] = []
    other: list[str] = []
    for name, said in checks.items():
        if said == "working":
            continue
        line = printable(f"{name}: {said}", 200)
        (serious if any(word in name.lower() for word in _SERIOUS) else other).append(line)
    return serious, other


class HealthGate:
    """Asked before each export. Closed while the server is in serious trouble, for at most `longest_seconds` in a row."""

    def __init__(self, client: Client, *, enabled: bool, longest_seconds: float) -> None:
        self._client = client
        self._enabled = enabled
        self._longest_seconds = longest_seconds
        self._lock = threading.Lock()
        self._asked_at = -FRESH_SECONDS
        self._serious: list[str] = []
        self._closed_since: Deadline | None = None
        self._warned: set[str] = set()

    def wait_until_open(self, deadline: Deadline) -> None:
        """Returns when exports may be asked for. Raises TooSlow when the trouble outlasts the deadline."""
        while True:
            reasons = self._reasons()
            if not reasons:
                return
            with self._lock:
                self._closed_since = self._closed_since or Deadline(self._longest_seconds)
                over = self._closed_since.is_over
            if over or deadline.left_seconds < CLOSED_POLL_SECONDS:
                raise TooSlow(f"the server's health check reports {'; '.join(reasons)}: no export was asked for")
            self._client.stop.sleep(min(CLOSED_POLL_SECONDS, self._longest_seconds))

    def _reasons(self) -> list[str]:
        if not self._enabled:
            return []
        with self._lock:
            if time.monotonic() - self._asked_at < FRESH_SECONDS:
                return self._serious
            try:
                serious, other = trouble(self._ask())
            except (CvatError, RunEnds, ValueError) as error:
                # Not being able to ask is no reason not to back up: this page may be closed to us or not exist.
                serious, other = [], [f"the health page cannot be read ({printable(str(error), 150)})"]
            self._asked_at = time.monotonic()
            for line in other:
                self._warn_once("server_health_unclear", line)
            if serious and not self._serious:
                log.get().warning("exports_held_back", reasons=serious)
            elif self._serious and not serious:
                log.get().info("exports_go_on", after="the server's health check is good again")
            if not serious:
                self._closed_since = None
            self._serious = serious
            return serious

    def _ask(self) -> Mapping[str, object]:
        # Not an API endpoint: it refuses CVAT's own media type, needs its trailing slash, and answers 500 with
        # its JSON when something is wrong (measured, and django-health-check's habit).
        try:
            answer = self._client.send(
                "GET",
                "/api/server/health/",
                params={"format": "json"},
                headers={"Accept": "application/json"},
                deadline=Deadline(60),
                patient=False,
                anonymous=True,
            )
            checks = answer.json()
        except ServerError as error:
            if error.payload is None:
                raise
            checks = error.payload
        if not isinstance(checks, dict):
            raise ValueError("not a JSON object")
        return checks

    def _warn_once(self, event: str, detail: str) -> None:
        if detail not in self._warned:
            self._warned.add(detail)
            log.get().warning(event, detail=detail)
