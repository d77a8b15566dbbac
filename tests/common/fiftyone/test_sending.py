"""How the worker sends: forms that are read while they are sent, refusals in the server's words, timeouts."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from common.fiftyone.protocol import CREDENTIALS, SERVER, UNREACHABLE, VERSION, Failed
from common.fiftyone.worker.careful import Connection, at_home, check_inside, last_line, send
from common.fiftyone.worker.multipart import FormBody


def test_a_form_is_what_requests_would_have_sent(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"\x00\x01" * 700_000)
    (tmp_path / "b.png").write_bytes(b"")
    sent: list[int] = []
    files = [("client_files[0]", 'ü "x".png', tmp_path / "a.png"), ("client_files[1]", "b.png", tmp_path / "b.png")]
    body = FormBody([("image_quality", "75")], files, sent.append)
    whole = b"".join(body)
    assert len(whole) == len(body) == sum(sent)
    assert body.read(10) == b""
    parts = whole.split(f"--{body.boundary}".encode())
    assert [part for part in parts if b'filename="b.png"' in part] == [
        b'\r\nContent-Disposition: form-data; name="client_files[1]"; filename="b.png"\r\n\r\n\r\n'
    ]
    assert 'filename="ü %22x%22.png"'.encode() in parts[2]
    assert parts[-1] == b"--\r\n"


def test_a_file_that_grows_while_it_is_sent_is_an_error(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    body = FormBody([], [("f", "a.png", path)])
    path.write_bytes(b"123456")
    with pytest.raises(OSError, match="changed while it was sent"):
        list(body)


@pytest.mark.parametrize(
    ("link", "ours"),
    [
        ("http://internal:8080/api/labels?task_id=7", "https://cvat.example.com/api/labels?task_id=7"),
        ("https://cvat.example.com/prefix/api/tasks/1", "https://cvat.example.com/api/tasks/1"),
    ],
)
def test_cookies_go_to_the_configured_server_only(link: str, ours: str):
    assert at_home(link, "https://cvat.example.com/") == ours


def test_a_link_that_leads_away_is_not_followed():
    with pytest.raises(Failed):
        at_home("https://evil.example.com/login", "https://cvat.example.com")


def test_of_a_traceback_the_last_line_is_told():
    assert last_line("Traceback\n  File x\nPIL.UnidentifiedImageError: no\n\n") == "PIL.UnidentifiedImageError: no"
    assert last_line("") == "it gave no reason"


def test_another_inside_of_fiftyone_is_refused():
    class Other:
        def post(self, address: str) -> None: ...

    with pytest.raises(Failed) as met:
        check_inside(Other)
    assert met.value.kind == VERSION


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with what stands in `plan`, one after the other; the last one again and again."""

    plan: ClassVar[list[tuple[int, bytes]]] = []
    seen: ClassVar[list[str]] = []

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(self.command)
        status, body = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering(*plan: tuple[int, bytes]) -> Iterator[str]:
    Answers.plan, Answers.seen = list(plan), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def to(url: str, method: str, path: str, wait: float = 30, in_own_words: bool = True, **more: Any) -> Any:
    session = requests.Session()
    connection = Connection(url, "me", "secret", timeout_seconds=5, wait_seconds=wait)
    return send(getattr(session, method), url + path, connection, in_own_words, more)


@pytest.mark.parametrize(
    ("path", "status", "body", "kind", "said"),
    [
        ("/api/auth/login", 400, b'{"non_field_errors":["Unable to log in"]}', CREDENTIALS, "Unable to log in"),
        ("/api/tasks", 400, b'{"image_quality":["Too large."]}', SERVER, "400, image_quality: Too large."),
        ("/api/tasks", 403, b'["not allowed"]', SERVER, "403, not allowed"),
        ("/api/tasks", 500, b"<html>\x89PNG\x00</html>", SERVER, "500, Internal Server Error"),
        ("/api/tasks", 302, b"", SERVER, "leads elsewhere"),
        ("/api/tasks/7/data", 200, b"<html>Sign in</html>", SERVER, "a login page or a proxy in the way"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(path: str, status: int, body: bytes, kind: str, said: str):
    with answering((status, body)) as url, pytest.raises(Failed) as met:
        to(url, "post", path, json={"secret": "bytes of files"})
    assert met.value.kind == kind and met.value.status == status
    assert said in met.value.reason and "bytes of files" not in met.value.reason


def test_what_is_safe_to_repeat_is_repeated_and_the_rest_is_not():
    with answering((502, b""), (429, b""), (200, b"{}")) as url:
        assert to(url, "get", "/api/tasks").status_code == 200
    assert Answers.seen == ["GET"] * 3
    with answering((502, b""), (200, b"{}")) as url, pytest.raises(Failed):
        to(url, "post", "/api/tasks", json={})
    assert Answers.seen == ["POST"]


def test_a_404_that_fiftyone_looks_for_stays_one():
    with answering((404, b"{}")) as url, pytest.raises(requests.exceptions.HTTPError):
        to(url, "get", "/api/projects/7", in_own_words=False)


def test_a_server_that_is_not_there_is_told_when_it_was_waited_for():
    with socket.socket() as taken:  # bound and not listening: whoever comes is refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Failed) as met:
            to(f"http://127.0.0.1:{taken.getsockname()[1]}", "post", "/api/tasks", wait=0.1, json={})
    assert met.value.kind == UNREACHABLE and "refused" in met.value.reason
