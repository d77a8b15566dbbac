"""Pings and alerts, sent to a server that really listens."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from common.notify.announcer import Announcer, Ending
from common.notify.sending import Sender
from common.notify.settings import NotifySettings
from common.settings import load


class Receiver:
    """Notes (path with query, body) of every request; answers with `statuses`, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.got.append((self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0))))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with contextlib.closing(Receiver()) as started:
        yield started


def announcer(told: list[Any], tmp_path, **settings: str) -> Announcer:
    loaded = load(NotifySettings, environ=settings, folder=tmp_path)
    return Announcer(loaded.settings, lambda *what: told.append(what), Sender(pauses=(0.01, 0.01)))


def ending(outcome: str, code: int | None, **more: Any) -> Ending:
    values = {"job": "backup p", "command": ["backup.py", "--mode", "p"], "run_id": "0a1b2c3d", "ping_id": "rid-1"}
    values |= {"started_at": "a", "ended_at": "b", "seconds": 1.5, "tail": ("ERROR the disk is full",)}
    return Ending(**{**values, "outcome": outcome, "exit_code": code, **more})


def test_a_run_is_pinged_at_its_start_and_its_end_with_its_last_lines(receiver, tmp_path):
    speaker = announcer([], tmp_path, CVAT_PING_URL=f"{receiver.url}/key")
    speaker.started("backup p", ["backup.py", "--mode", "p"], "rid-1")
    speaker.ended(ending("some failed", 3), {})
    speaker.ended(ending("good", 0), {})
    speaker.close()
    base = "/key/backup-p"
    assert receiver.paths == [f"{base}/start?rid=rid-1", f"{base}/3?rid=rid-1", f"{base}?rid=rid-1"]
    assert b"some failed, exit code 3" in receiver.got[1][1] and b"the disk is full" in receiver.got[1][1]


def test_a_body_keeps_its_end_and_to_100_kb(receiver, tmp_path):
    speaker = announcer([], tmp_path, CVAT_PING_URL_BACKUP_P=receiver.url)
    speaker.ended(ending("failed", 1, tail=("ü" * 2_000,) * 60), {})
    speaker.close()
    assert 99_000 < len(receiver.got[0][1]) <= 100_000 and receiver.got[0][1].decode("utf-8").endswith("ü")


def test_an_alert_goes_out_once_per_change_of_state(receiver, tmp_path):
    told: list[Any] = []
    speaker = announcer(told, tmp_path, CVAT_ALERT_WEBHOOK_URL=f"{receiver.url}/hook")
    speaker.ended(ending("good", 0), {})
    speaker.ended(ending("failed", 1), {})
    speaker.ended(ending("locked", 11), {"webhook": "bad"})
    speaker.ended(ending("stopped", 143), {"webhook": "bad"})
    speaker.ended(ending("good", 0), {"webhook": "bad"})
    speaker.close()
    events = [json.loads(body) for _, body in receiver.got]
    assert [event["event"] for event in events] == ["job_failed", "job_recovered"]
    assert events[0]["text"].startswith("cvat-backups: backup p does not work: failed. backup.py --mode p: failed")
    assert events[0]["tail"] == ["ERROR the disk is full"]
    assert told == [("backup p", "webhook", "bad"), ("backup p", "webhook", "good")]


def test_a_server_in_trouble_is_tried_again_and_one_that_refuses_is_not(receiver, tmp_path, capsys):
    told: list[Any] = []
    speaker = announcer(told, tmp_path, CVAT_ALERT_WEBHOOK_URL=f"{receiver.url}/s3cret-token")
    receiver.statuses = [503, 429]
    speaker.ended(ending("failed", 1), {})
    receiver.statuses += [404]
    speaker.ended(ending("failed", 1), {})
    receiver.statuses += [302]
    speaker.ended(ending("failed", 1), {})
    speaker.close()
    assert len(receiver.got) == 3 + 1 + 1 and len(told) == 1
    said = capsys.readouterr()
    assert "answered 404" in said.out + said.err and "s3cret-token" not in said.out + said.err


def test_nobody_there_is_logged_and_ends_nothing(tmp_path, capsys):
    speaker = announcer([], tmp_path, CVAT_PING_URL="http://127.0.0.1:9/s3cret-token")
    speaker.started("backup p", ["backup.py"], "rid-1")
    speaker.close()
    said = capsys.readouterr()
    assert "ping_failed" in said.out + said.err and "s3cret-token" not in said.out + said.err


def test_apprise_really_delivers(receiver, tmp_path):
    pytest.importorskip("apprise", reason="apprise is an extra (requirements-apprise.txt)")
    told: list[Any] = []
    address = receiver.url.replace("http://", "json://") + "/s3cret"
    speaker = announcer(told, tmp_path, CVAT_ALERT_APPRISE_URLS=address)
    speaker.ended(ending("failed", 1), {})
    speaker.close()
    [(_, body)] = receiver.got
    assert json.loads(body)["title"] == "cvat-backups: backup p does not work: failed"
    assert told == [("backup p", "apprise", "bad")]
