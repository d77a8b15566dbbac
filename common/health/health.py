"""Health as the scheduler uses it: looks every minute and after every job, writes the verdict down, shows it."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from datetime import timedelta, tzinfo
from pathlib import Path
from typing import Any

from common import log
from common.exits import Trouble
from common.files import write_json
from common.health import metrics, page
from common.health.check import FRESH_FOR, HEALTH_FILE
from common.health.listener import Listener, Shown, health_json
from common.health.look import Look
from common.health.settings import HealthSettings
from common.health.snapshot import Snapshot
from common.text import duration, iso, now
from common.waiting import Stopped, StopSignal

EVERY_SECONDS = 60.0
# Several jobs that end together are one look.
SHORTEST_PAUSE_SECONDS = 2.0


class Health:
    """Use from `start` to `close`; `refresh` whenever something has changed. Nothing of it ever fails a backup."""

    def __init__(self, settings: HealthSettings, state_dir: Path, stop: StopSignal, zone: tzinfo | None = None) -> None:
        self._state_dir = state_dir
        self._stop = stop
        self._zone = zone
        self._look = Look(settings.dir, state_dir, settings.url, settings.health_max_age, zone)
        self._shown = starting(settings.health_max_age)
        token = settings.health_token.get_secret_value() if settings.health_token else ""
        if token:
            log.hide(token)
        self._listener = (
            Listener(settings.health_host, settings.health_port, token, self._to_show) if settings.health_port else None
        )
        self._address = f"{settings.health_host}:{settings.health_port}"
        self._listener_trouble = ""
        self._looked_at = time.monotonic()
        self._wanted = threading.Event()
        self._closing = threading.Event()
        self._healthy: bool | None = None
        self._thread = threading.Thread(target=self._keep_looking, name="health", daemon=True)

    def start(self) -> None:
        """Opens the port and begins to look, in threads of its own."""
        self._open_listener()
        self._thread.start()

    def refresh(self) -> None:
        """Asks for a look soon; costs nothing and may be called from any thread."""
        self._wanted.set()

    def close(self) -> None:
        """Closes the port; a look that is under way ends by itself."""
        self._closing.set()
        self._wanted.set()
        if self._listener is not None:
            self._listener.close()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _open_listener(self) -> None:
        """A port that somebody else holds makes the verdict bad and is tried again; backups go on meanwhile."""
        if self._listener is None or self._listener.is_listening:
            return
        try:
            self._listener.start()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            trouble = f"the status page cannot listen on {self._address} (CVAT_HEALTH_HOST, CVAT_HEALTH_PORT): {reason}"
            if trouble != self._listener_trouble:
                log.get().error("health_listener_failed", address=self._address, reason=reason)
            self._listener_trouble = trouble
        else:
            self._listener_trouble = ""
            log.get().info("health_listening", address=self._address)

    def _keep_looking(self) -> None:
        while not self._closing.is_set() and not self._stop.is_set:
            self._wanted.clear()
            began = time.monotonic()
            try:
                self._once()
            except Stopped:
                return
            except Exception as error:  # noqa: BLE001 - a fault here must neither end the scheduler nor pass for health
                log.get().exception("health_failed")
                self._tell_of(f"looking failed ({type(error).__name__}: {error}): see the log")
            self._looked_at = time.monotonic()
            # One that takes long (a slow network disk) rests as long as it worked.
            self._closing.wait(max(SHORTEST_PAUSE_SECONDS, min(time.monotonic() - began, EVERY_SECONDS)))
            self._wanted.wait(EVERY_SECONDS)

    def _once(self) -> None:
        self._open_listener()
        troubles = (self._listener_trouble,) if self._listener_trouble else ()
        snapshot = self._look.look(now(), self._check, troubles)
        self._write_down(verdict_json(snapshot))
        if self._listener is not None:
            self._shown = prepared(snapshot, self._zone)
        if snapshot.verdict.healthy != self._healthy:
            self._healthy = snapshot.verdict.healthy
            log.get().info("health_changed", healthy=self._healthy, reasons=list(snapshot.verdict.reasons[:5]))

    def _tell_of(self, trouble: str) -> None:
        """Nothing is known at the moment: that is not healthy. The page stays what it was; its date tells its age."""
        self._healthy = False
        verdict = {"version": 1, "at": iso(now()), "healthy": False, "reasons": [trouble]}
        self._write_down(verdict)
        self._shown = _unhealthy(self._shown, verdict)

    def _to_show(self) -> Shown:
        """What is answered now. A look that hangs (a network disk that is gone) must not leave an old "healthy"."""
        silent = time.monotonic() - self._looked_at
        if silent <= FRESH_FOR.total_seconds():
            return self._shown
        trouble = f"nobody has looked at the backups for {duration(silent)}: their disk, or that of the state, does not answer"
        return _unhealthy(self._shown, {"version": 1, "at": iso(now()), "healthy": False, "reasons": [trouble]})

    def _check(self) -> None:
        if self._closing.is_set() or self._stop.is_set:
            raise Stopped

    def _write_down(self, verdict: dict[str, Any]) -> None:
        try:
            write_json(self._state_dir / HEALTH_FILE, verdict)
        except (OSError, Trouble) as error:
            log.get().error("health_not_written", file=str(self._state_dir / HEALTH_FILE), reason=str(error))


def _unhealthy(shown: Shown, verdict: dict[str, Any]) -> Shown:
    """The same page; the verdict is this one."""
    return dataclasses.replace(
        shown,
        healthy=False,
        health=health_json(verdict),
        health_in_short=health_json({"healthy": False}),
        metrics=f"{metrics.PREFIX}healthy 0\n".encode(),
    )


def verdict_json(snapshot: Snapshot) -> dict[str, Any]:
    """The verdict as `/healthz` and `health.json` tell it."""
    verdict = snapshot.verdict
    return {
        "version": 1,
        "at": iso(snapshot.at),
        "healthy": verdict.healthy,
        "reasons": list(verdict.reasons),
        "more_reasons": verdict.more_reasons,
        "wanted": verdict.wanted,
        "good": verdict.good,
        "missed": verdict.missed,
        "without_data": verdict.without_data,
        "max_age_hours": snapshot.max_age.total_seconds() / 3600,
    }


def prepared(snapshot: Snapshot, zone: tzinfo | None = None) -> Shown:
    """Everything that is answered until the next look, so that no request waits for anything."""

    @functools.lru_cache(maxsize=8)
    def search(words: str) -> bytes:
        return _bytes(page.render(snapshot, words, zone))

    verdict = verdict_json(snapshot)
    return Shown(
        healthy=snapshot.verdict.healthy,
        health=health_json(verdict),
        health_in_short=health_json({"healthy": snapshot.verdict.healthy}),
        metrics=metrics.exposition(snapshot),
        metrics_type=metrics.CONTENT_TYPE,
        page=_bytes(page.render(snapshot, zone=zone)),
        search=search,
    )


def starting(max_age: timedelta) -> Shown:
    """Before the first look is done."""
    verdict = {
        "healthy": False,
        "reasons": ["the scheduler has just started, and is looking at what there is"],
        "max_age_hours": max_age.total_seconds() / 3600,
    }
    text = _bytes(page.render(None))
    return Shown(
        healthy=False,
        health=health_json(verdict),
        health_in_short=health_json({"healthy": False}),
        metrics=b"# the first look is not done yet\n",
        metrics_type=metrics.CONTENT_TYPE,
        page=text,
        search=lambda _words: text,
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
