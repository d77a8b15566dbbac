"""The FiftyOne App as the service starts it: what it answers, what it knows of CVAT, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from environment import fiftyone_environment
from making import pictures

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 180.0
# FiftyOne takes it for a number, unless it is told.
PASSWORD = "0012345"


class App:
    """One running App, and how to ask it."""

    def __init__(self, process: subprocess.Popen[str], port: int, said: Path) -> None:
        self.process, self.port, self.said = process, port, said

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if self.get("/fiftyone")[0] == 200:
                    return
            time.sleep(0.2)
        raise AssertionError(f"the App does not answer:\n{self.said.read_text()[-4000:]}")

    def environment(self) -> dict[str, str]:
        """What the process really has, as the system knows it."""
        text = Path(f"/proc/{self.process.pid}/environ").read_text()
        return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


Start = Callable[..., App]


@pytest.fixture
def start(fiftyone_python: str, fiftyone_database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts Apps with settings in a folder of their own, which holds a secret besides."""
    with contextlib.ExitStack() as running:

        def one(**settings: str) -> App:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            config = tmp_path / "config"
            config.mkdir(exist_ok=True)
            values = {"FIFTYONE_MEDIA": str(tmp_path), "FIFTYONE_APP_PORT": str(port)} | settings
            text = "".join(f"{name}={value}\n" for name, value in values.items())
            (config / ".env.local").write_text(f"CVAT_ACCESS_TOKEN=hidden-token\n{text}")
            environ = fiftyone_environment(fiftyone_database, tmp_path / "home")
            environ |= {
                "CVAT_ENV_DIR": str(config),
                "FIFTYONE_SYNC_PYTHON": fiftyone_python,
                "CVAT_PING_URL": "http://x",
            }
            said = tmp_path / "said.log"
            with open(said, "a") as log:
                process = subprocess.Popen(
                    [sys.executable, str(ROOT / "fiftyone_app.py")], env=environ, stdout=log, stderr=log,
                    stdin=subprocess.DEVNULL, text=True, start_new_session=True,
                )  # fmt: skip
            running.callback(end, process)
            app = App(process, port, said)
            app.wait_until_it_answers()
            return app

        yield one


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def of_cvat(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if "CVAT" in name}


def test_with_the_switch_on_it_knows_cvat_and_shows_only_its_media(start: Start, tmp_path: Path) -> None:
    [picture, *_] = pictures(tmp_path)
    app = start(CVAT_SYNC="true", CVAT_URL="http://127.0.0.1:9/tasks", CVAT_USERNAME="alice", CVAT_PASSWORD=PASSWORD)
    assert "version" in json.loads(app.get("/fiftyone")[1])
    assert of_cvat(app.environment()) == {
        "FIFTYONE_CVAT_URL": "http://127.0.0.1:9",
        "FIFTYONE_CVAT_USERNAME": "alice",
        "FIFTYONE_CVAT_PASSWORD": PASSWORD,
    }
    status, content = app.get(f"/media?filepath={urllib.request.quote(str(picture))}")
    assert status == 200 and content == Path(picture).read_bytes()
    assert app.get("/media?filepath=/etc/hostname")[0] == 404
    assert app.get("/fiftyone", Origin="https://elsewhere.example")[0] == 403
    assert app.get("/fiftyone", Origin=f"http://127.0.0.1:{app.port}")[0] == 200
    status, page = app.get("/")
    assert status == 200 and b"<title>FiftyOne</title>" in page
    assert PASSWORD not in app.said.read_text() and "hidden-token" not in app.said.read_text()


def test_with_the_switch_off_it_knows_nothing_of_cvat_and_a_stop_ends_it(start: Start) -> None:
    app = start(CVAT_SYNC="false", CVAT_URL="http://127.0.0.1:9", CVAT_USERNAME="alice", CVAT_PASSWORD=PASSWORD)
    assert app.get("/fiftyone")[0] == 200
    assert of_cvat(app.environment()) == {}
    app.process.terminate()
    assert app.process.wait(60) == 0, app.said.read_text()[-2000:]


def test_settings_lie_where_neither_fiftyone_nor_its_visitors_can_read(start: Start, tmp_path: Path) -> None:
    app = start(CVAT_SYNC="false")
    if "settings_readable" in app.said.read_text():
        pytest.skip("this system has no Landlock")
    # The folder of the settings is even below FIFTYONE_MEDIA here.
    assert app.get(f"/media?filepath={tmp_path}/config/.env.local")[0] == 404
    assert "NoNewPrivs:\t1" in Path(f"/proc/{app.process.pid}/status").read_text(), "Landlock needs it, and is in force"
