"""What all tests share: a clean environment, logging set back, a sandbox to talk to, and no real waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from common import log
from common.cvat.client import Client, connect
from common.saving.settings import BackupSettings
from common.waiting import StopSignal
from sandbox.cvat import CvatSandbox

# A shell that runs the tests in the background has them ignore Ctrl+C, and so would every program that they start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two busy cores are no reason to call a property false; monkeypatch and tmp_path are meant to be shared by examples.
settings.register_profile(
    "tests",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting of the person who runs the tests leaks in, and what one test hides or configures ends with it."""
    for name in list(os.environ):
        if name.startswith(("CVAT_", "SC_", "LOG_", "FIFTYONE_")):
            monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    log._hidden.clear()


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses last a millisecond and still end with a stop; the list fills with how long they were meant to last."""
    pauses: list[float] = []

    def nap(stop: StopSignal, seconds: float) -> None:
        stop.check()
        pauses.append(seconds)
        time.sleep(min(seconds, 0.001))
        stop.check()

    monkeypatch.setattr(StopSignal, "sleep", nap)
    return pauses


@pytest.fixture
def sandbox() -> Iterator[Callable[..., CvatSandbox]]:
    """A factory of running, empty CVAT sandboxes: `server = sandbox(workers=1)`; they are stopped after the test."""
    with contextlib.ExitStack() as running:

        def start(**options: Any) -> CvatSandbox:
            options = {"samples": "none", "export_seconds": 0.02, "anonymous_per_minute": 10_000, **options}
            return running.enter_context(CvatSandbox(**options))

        yield start


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., BackupSettings]:
    """Settings of backup.py for a sandbox or an address: `settings_for(server, CVAT_BACKUP_CONCURRENCY="1")`."""

    def make(server: CvatSandbox | str, **changes: str) -> BackupSettings:
        raw = {
            "CVAT_URL": server if isinstance(server, str) else server.url,
            "CVAT_USERNAME": "admin" if isinstance(server, str) else server.username,
            "CVAT_PASSWORD": "a secret" if isinstance(server, str) else server.password,
            "CVAT_BACKUP_DIR": str(tmp_path / "backups"),
            "CVAT_BACKUP_MIN_FREE_GB": "0",
            "CVAT_SERVER_WAIT_SECONDS": "5",
        }
        return BackupSettings.model_validate(raw | changes)

    return make


@pytest.fixture
def signed_in(settings_for: Callable[..., BackupSettings]) -> Callable[..., Client]:
    """A client that is signed in: `client = signed_in(server)`; more arguments are settings."""

    def make(server: CvatSandbox, **changes: str) -> Client:
        return connect(settings_for(server, **changes), StopSignal())[0]

    return make
