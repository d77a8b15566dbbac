"""The listener only reads, keeps strangers out when a token is set, and is held up by nobody."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import time

import pytest
import requests

from common.health import listener as listener_module
from common.health.health import prepared, starting
from common.health.listener import MOST_CONNECTIONS, Listener
from tests.common.health.shelves import HOUR, MAX_AGE, NOW, a_good_night

TOKEN = "a-token-for-tests"
PATIENCE_SECONDS = 30


@pytest.fixture
def serve(shelves):
    """Starts a listener on a free port: `get = serve(token="x")`, then `get("/healthz")`."""
    running: list[Listener] = []

    def start(token="", shown=None):
        shown = shown or prepared(shelves.snapshot())
        listener = Listener("127.0.0.1", 0, token, lambda: shown)
        listener.start()
        running.append(listener)

        def get(path, method="GET", **more):
            more = {"timeout": PATIENCE_SECONDS, "allow_redirects": False, **more}
            return requests.request(method, f"http://127.0.0.1:{listener.port}{path}", **more)

        get.port = listener.port
        return get

    yield start
    for listener in running:
        listener.close()


def test_healthz_says_200_or_503_and_why(shelves, serve):
    a_good_night(shelves)
    get = serve()
    answer = get("/healthz")
    assert (answer.status_code, answer.json()["healthy"], answer.json()["reasons"]) == (200, True, [])
    shelves.list(shelves.source(7, name="new"))
    answer = serve()("/healthz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["project 7 (new): no verified backup of it has ever been made"]
    assert serve(shown=starting(MAX_AGE))("/healthz").status_code == 503


def test_the_page_and_the_metrics_are_served(shelves, serve):
    a_good_night(shelves)
    get = serve()
    page, metrics = get("/"), get("/metrics")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8" and "Everything is backed up" in page.text
    assert metrics.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "cvat_backups_healthy 1.0" in metrics.text
    assert get("/?q=project+2").text.count("<bdi>") == 1
    assert "No source is called" in get("/?q=nobody").text


def test_every_answer_forbids_everything_else(shelves, serve):
    get = serve()
    for path in ("/", "/healthz", "/metrics", "/elsewhere"):
        headers = get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Server"] == "cvat-backups"


def test_only_get_and_head_are_answered(serve):
    get = serve()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = get("/healthz", method)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    head = get("/", "HEAD")
    assert head.text == "" and int(head.headers["Content-Length"]) > 1000
    assert get("/../../etc/passwd").status_code == get("/favicon.ico").status_code == 404


def test_a_large_answer_is_compressed_when_that_is_understood(serve):
    get = serve()
    plain = get("/", headers={"Accept-Encoding": "identity"})
    packed = get("/", headers={"Accept-Encoding": "gzip"}, stream=True)
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.raw.read()) == plain.content


def test_without_the_token_only_the_verdict_is_told(shelves, serve):
    a_good_night(shelves)
    get = serve(TOKEN)
    for path in ("/", "/metrics", "/?q=x"):
        assert get(path).status_code == 401 and "Project" not in get(path).text
    assert get("/healthz").json() == {"healthy": True}
    assert get("/metrics?token=wrong").status_code == 401
    assert get("/metrics", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
    assert get("/metrics", headers={"Authorization": "Bearer é"}).status_code == 401
    assert get("/", headers={"Cookie": f"cvat-backups={TOKEN}"}).status_code == 401


def test_with_the_token_everything_is_told(shelves, serve):
    a_good_night(shelves)
    get = serve(TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert get("/metrics", headers=bearer).status_code == get(f"/metrics?token={TOKEN}").status_code == 200
    assert get("/", headers=bearer).status_code == 200
    assert get("/healthz", headers=bearer).json()["wanted"] == 2


def test_a_token_in_a_browsers_address_becomes_a_cookie_that_does_not_hold_it(shelves, serve):
    a_good_night(shelves)
    get = serve(TOKEN)
    answer = get(f"/?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, ".")
    cookie = answer.headers["Set-Cookie"]
    assert TOKEN not in cookie and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    page = get("/", headers={"Cookie": cookie.split(";")[0]})
    assert page.status_code == 200 and TOKEN not in page.text
    assert serve(TOKEN)("/", headers={"Cookie": cookie.split(";")[0]}).status_code == 401  # another daemon


@pytest.mark.parametrize(
    "request_text",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0\xff\xfe\r\n\r\n", b"GET http://[ HTTP/1.0\r\n\r\n",
     b"GET /" + b"x" * 70_000 + b" HTTP/1.0\r\n\r\n", b"GET / HTTP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n"],
)  # fmt: skip
def test_nonsense_does_not_end_the_listener(serve, request_text):
    get = serve()
    with socket.create_connection(("127.0.0.1", get.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(request_text)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert get("/healthz").status_code == 503


def test_more_connections_than_the_limit_are_refused_and_those_after_them_served(serve):
    get = serve()
    silent = [
        socket.create_connection(("127.0.0.1", get.port), timeout=PATIENCE_SECONDS) for _ in range(MOST_CONNECTIONS)
    ]
    with pytest.raises(requests.ConnectionError):
        get("/healthz")
    for client in silent:
        client.close()
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        with contextlib.suppress(requests.ConnectionError):
            assert get("/healthz").status_code == 503
            break
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_client_that_sends_a_byte_now_and_then_is_broken_off(serve, monkeypatch):
    monkeypatch.setattr(listener_module, "REQUEST_SECONDS", 0.3)
    get = serve()
    with socket.create_connection(("127.0.0.1", get.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET / HT")
        assert client.recv(1) == b""  # the deadline of the request, not that of the silence


def test_many_readers_at_once_are_served(shelves, serve):
    a_good_night(shelves)
    get = serve()
    codes = []
    readers = [
        threading.Thread(target=lambda: codes.append(get("/").status_code)) for _ in range(MOST_CONNECTIONS // 2)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert codes == [200] * len(readers)


def test_an_answer_needs_nothing_of_the_disk(shelves, serve):
    a_good_night(shelves)
    get = serve()
    for path in sorted(shelves.root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert [get(path).status_code for path in ("/", "/healthz", "/metrics", "/?q=project")] == [200] * 4


def test_json_is_json_whatever_a_source_is_called(shelves, serve):
    shelves.scheduler()
    shelves.list(shelves.source(1, name="\ud800 \u202e</script>"))
    shelves.attempt(shelves.source(1, name="\ud800"), "failed", NOW - HOUR, reason="\ud800")
    answer = serve()("/healthz")
    assert "last attempt failed" in json.loads(answer.content)["reasons"][0]
    assert serve()("/").status_code == 200


@pytest.mark.parametrize("target", [b"http://[", b"/?" + b"&".join([b"a=1"] * 20)])
def test_an_address_that_is_none_gets_an_answer_and_is_no_error_of_ours(serve, capsys, target):
    with socket.create_connection(("127.0.0.1", serve().port), PATIENCE_SECONDS) as client:
        client.sendall(b"GET " + target + b" HTTP/1.0\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.0 400 ")
    assert "health_request_failed" not in capsys.readouterr().err
