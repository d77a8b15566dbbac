"""Health in the scheduler's process: it looks by itself and when asked, writes the verdict down, and never harms."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from datetime import timedelta

import pytest
import requests

from common.health import health as health_module
from common.health.check import why_unhealthy
from common.health.health import Health
from common.health.settings import HealthSettings
from common.text import now
from common.waiting import StopSignal
from tests.common.health.shelves import HOUR

PATIENCE_SECONDS = 60


@pytest.fixture
def start(shelves, monkeypatch):
    """Starts a Health on a free port that looks only when it is asked to: `health = start(CVAT_HEALTH_PORT="0")`."""
    monkeypatch.setattr(health_module, "EVERY_SECONDS", 3600.0)
    monkeypatch.setattr(health_module, "SHORTEST_PAUSE_SECONDS", 0.01)
    running = []

    def begin(**changes):
        raw = {
            "CVAT_BACKUP_DIR": str(shelves.backups),
            "CVAT_URL": "https://cvat.example.com",
            "CVAT_HEALTH_PORT": str(a_free_port()),
        }
        settings = HealthSettings.model_validate(raw | changes)
        health = Health(settings, shelves.state, StopSignal())
        running.append(health)
        health.start()
        health.url = f"http://127.0.0.1:{settings.health_port}"  # type: ignore[attr-defined]
        return health

    yield begin
    for health in running:
        health.close()


def a_free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(true):
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError):
            if true():
                return
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def a_night(shelves):
    """Everything saved an hour ago by the clock on the wall."""
    shelves.scheduler(beat_at=now())
    shelves.list(shelves.source(1))
    shelves.saved(shelves.source(1), now() - HOUR)


def verdict(shelves):
    return json.loads((shelves.state / "health.json").read_text())


def test_the_first_look_is_taken_at_once_and_written_down(shelves, start):
    a_night(shelves)
    health = start()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)
    assert verdict(shelves)["healthy"] and why_unhealthy(shelves.state, now()) == []


def test_another_look_is_taken_when_it_is_asked_for(shelves, start):
    a_night(shelves)
    health = start()
    wait_for(lambda: verdict(shelves)["healthy"])
    shelves.list(shelves.source(1), shelves.source(2, name="new"))
    health.refresh()
    wait_for(lambda: not verdict(shelves)["healthy"])
    assert verdict(shelves)["reasons"] == ["project 2 (new): no verified backup of it has ever been made"]
    wait_for(lambda: "“new”" in requests.get(f"{health.url}/", timeout=60).text)


def test_without_a_port_the_verdict_is_written_all_the_same(shelves, start):
    a_night(shelves)
    start(CVAT_HEALTH_PORT="0")
    wait_for(lambda: verdict(shelves)["healthy"])


def test_a_port_that_somebody_holds_is_a_reason_and_is_opened_when_it_is_free(shelves, start):
    a_night(shelves)
    with socket.create_server(("127.0.0.1", 0)) as other:
        health = start(CVAT_HEALTH_PORT=str(other.getsockname()[1]))
        wait_for(lambda: not verdict(shelves)["healthy"])
        [reason] = verdict(shelves)["reasons"]
        assert "cannot listen on 127.0.0.1:" in reason and "CVAT_HEALTH_PORT" in reason
    health.refresh()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)


def test_a_fault_in_looking_is_told_and_is_not_the_end(shelves, start, monkeypatch):
    a_night(shelves)
    health = start()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)
    with monkeypatch.context() as broken:
        broken.setattr(health._look, "look", lambda *_: {}["nothing"])
        health.refresh()
        wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 503)
        assert verdict(shelves)["reasons"] == ["looking failed (KeyError: 'nothing'): see the log"]
    health.refresh()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)


def test_a_look_that_hangs_does_not_leave_the_old_verdict_standing(shelves, start, monkeypatch):
    a_night(shelves)
    health = start()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)
    begun, disk_is_back = threading.Event(), threading.Event()
    looking = health._look.look

    def hang(*arguments):
        begun.set()
        assert disk_is_back.wait(PATIENCE_SECONDS)
        return looking(*arguments)

    monkeypatch.setattr(health._look, "look", hang)
    health.refresh()
    assert begun.wait(PATIENCE_SECONDS)
    monkeypatch.setattr(health_module, "FRESH_FOR", timedelta(seconds=-1))  # as if it had hung for long
    answer = requests.get(f"{health.url}/healthz", timeout=60)
    assert answer.status_code == 503 and "nobody has looked at the backups for" in answer.json()["reasons"][0]
    assert requests.get(f"{health.url}/metrics", timeout=60).text == "cvat_backups_healthy 0\n"
    monkeypatch.setattr(health_module, "FRESH_FOR", timedelta(minutes=10))
    disk_is_back.set()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 200)


def test_closing_frees_the_port_and_ends_the_threads(shelves, start):
    health = start()
    wait_for(lambda: requests.get(f"{health.url}/healthz", timeout=60).status_code == 503)
    health.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{health.url}/healthz", timeout=60)
    assert not health._thread.is_alive()


@pytest.mark.parametrize("token", ["two words", "line\nend", "tökén"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    with pytest.raises(ValueError, match="holds blanks"):
        HealthSettings.model_validate({"CVAT_HEALTH_TOKEN": token})
