"""Tells pings of every run and alerts of every change of state, from one thread of its own, in order."""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common import log
from common.notify.addresses import addresses_of, at_the_end, with_path, with_run
from common.notify.sending import NotSent, Sender, body_of, host_of, notify_apprise
from common.notify.settings import NotifySettings

MOST_WAITING = 1_000
# How long the last messages may take when the daemon ends (seconds).
LAST_WORDS_SECONDS = 10.0

Told = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Ending:
    """How a run ended, as others are told."""

    job: str
    command: Sequence[str]
    run_id: str
    ping_id: str
    outcome: str
    exit_code: int | None
    started_at: str
    ended_at: str
    seconds: float
    tail: Sequence[str]
    detail: str = ""


class Announcer:
    """`started` and `ended` return at once. `told(job, channel, state)` is called when an alert has arrived."""

    def __init__(self, settings: NotifySettings, told: Told, sender: Sender | None = None) -> None:
        for secret in settings.secrets():
            log.hide(secret)
        self._settings = settings
        self._told = told
        self._sender = sender or Sender(settings.ca_bundle)
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="announcer", daemon=True)
        self._thread.start()

    def started(self, job: str, command: Sequence[str], ping_id: str) -> None:
        for url in addresses_of(job, command, self._settings.ping_urls()):
            address = with_run(with_path(url, "start"), ping_id)
            self._later(lambda address=address: self._ping(job, address, b""))  # type: ignore[misc]

    def ended(self, ending: Ending, told: Mapping[str, str]) -> None:
        """`told` is what each channel of alerts was told last about this job."""
        for url in addresses_of(ending.job, ending.command, self._settings.ping_urls()) if ending.ping_id else ():
            address = with_run(at_the_end(url, ending.outcome, ending.exit_code), ending.ping_id)
            lines = [sentence(ending), *ending.tail]
            self._later(lambda address=address, lines=lines: self._ping(ending.job, address, body_of(lines)))  # type: ignore[misc]
        state = state_of(ending.outcome)
        for channel in self._channels() if state else ():
            if told.get(channel, "good") != state:
                self._later(lambda channel=channel: self._alert(channel, state, ending))  # type: ignore[misc]

    def close(self) -> None:
        """Sends what is waiting, for a short time."""
        threading.Timer(LAST_WORDS_SECONDS / 2, self._sender.closing.set).start()
        self._later(None)
        self._thread.join(LAST_WORDS_SECONDS)
        self._sender.closing.set()

    def _channels(self) -> list[str]:
        wanted = {"webhook": self._settings.alert_webhook_url, "apprise": self._settings.alert_apprise_urls}
        return [channel for channel, url in wanted.items() if url is not None]

    def _later(self, act: Callable[[], None] | None) -> None:
        try:
            self._waiting.put_nowait(act)
        except queue.Full:
            log.get().warning("ping_failed", reason=f"{MOST_WAITING} messages are waiting: this one was dropped")

    def _work(self) -> None:
        while (act := self._waiting.get()) is not None:
            try:
                act()
            except Exception as error:  # noqa: BLE001 - the next message must go out whatever happens to this one
                log.get().warning("ping_failed", reason=type(error).__name__)

    def _ping(self, job: str, url: str, body: bytes) -> None:
        try:
            self._sender.post(url, body, {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "cvat-backups"})
        except NotSent as error:
            log.get().warning("ping_failed", job=job, reason=str(error))
        else:
            log.get().debug("pinged", job=job, host=host_of(url))

    def _alert(self, channel: str, state: str, ending: Ending) -> None:
        try:
            if channel == "webhook" and self._settings.alert_webhook_url is not None:
                body = json.dumps(message(state, ending), ensure_ascii=False).encode("utf-8", "replace")
                url = self._settings.alert_webhook_url.get_secret_value()
                self._sender.post(url, body, {"Content-Type": "application/json", "User-Agent": "cvat-backups"})
            elif self._settings.alert_apprise_urls is not None:
                urls = self._settings.alert_apprise_urls.get_secret_value()
                notify_apprise(urls, headline(state, ending), "\n".join([sentence(ending), *list(ending.tail)[-10:]]))
        except NotSent as error:
            log.get().warning("alert_failed", channel=channel, job=ending.job, reason=str(error))
        else:
            log.get().info("alert_sent", channel=channel, job=ending.job, state=state)
            self._told(ending.job, channel, state)


def state_of(outcome: str) -> str:
    """ "good", "bad", or "" for an outcome that says nothing about the job: stopped, skipped, not started."""
    if outcome == "good":
        return "good"
    return "bad" if outcome in ("some failed", "failed", "locked") else ""


def headline(state: str, ending: Ending) -> str:
    what = "works again" if state == "good" else f"does not work: {ending.outcome}"
    return f"cvat-backups: {ending.job} {what}"


def sentence(ending: Ending) -> str:
    code = "" if ending.exit_code is None else f", exit code {ending.exit_code}"
    detail = f" ({ending.detail})" if ending.detail else ""
    return f"{' '.join(ending.command)}: {ending.outcome}{code}, after {ending.seconds:.1f} s{detail}"


def message(state: str, ending: Ending) -> dict[str, Any]:
    """The webhook's JSON object; `text` is what chat programs show."""
    return {
        "version": 1,
        "event": "job_recovered" if state == "good" else "job_failed",
        "text": f"{headline(state, ending)}. {sentence(ending)}",
        "job": ending.job,
        "command": list(ending.command),
        "run_id": ending.run_id,
        "outcome": ending.outcome,
        "exit_code": ending.exit_code,
        "started_at": ending.started_at,
        "ended_at": ending.ended_at,
        "seconds": ending.seconds,
        "detail": ending.detail,
        "host": socket.gethostname(),
        "tail": list(ending.tail),
    }
