"""What the environment says of proxies and certificates is heeded, though no session of requests reads it; how TLS fails."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from tls_servers import Plan, tls_servers

from common.exits import RunEnds
from common.waiting import Deadline, StopSignal
from common.web import errors
from common.web.connection import Connection


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def server(asked: list[str]) -> Iterator[str]:
    """A server that notes what stands in its request lines, as a proxy is asked and as any other."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(f"{self.path} {self.headers.get('Cookie', 'no cookie')}")
            self.send_response(200)
            self.send_header("Set-Cookie", "sessionid=1")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(url: str, path: str = "/x") -> None:
    connection = Connection(url, StopSignal(), True, 10, 0)
    for _ in range(2):
        connection._once("GET", path, None, Deadline(10))


def test_a_proxy_of_the_environment_is_asked(server, asked, monkeypatch):
    monkeypatch.setenv("http_proxy", server)
    get("http://far-away.invalid:8080")
    assert asked == ["http://far-away.invalid:8080/x no cookie"] * 2


def test_who_needs_no_proxy_is_asked_directly(server, asked, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://nobody.invalid:1")
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    get(server)
    assert asked == ["/x no cookie"] * 2


def test_no_cookie_is_kept(server, asked):
    get(server)
    assert asked == ["/x no cookie"] * 2


def test_certificates_of_the_environment_are_trusted_unless_the_settings_name_some(monkeypatch):
    def trusted(verify: bool | str) -> bool | str:
        return Connection("https://x.invalid", StopSignal(), verify, 10, 0)._trusted

    assert (trusted(True), trusted(False), trusted("/own.pem")) == (True, False, "/own.pem")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl.pem")
    assert trusted(True) == "/curl.pem"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/requests.pem")
    assert (trusted(True), trusted(False), trusted("/own.pem")) == ("/requests.pem", False, "/own.pem")


@pytest.fixture
def over_tls(tmp_path, monkeypatch) -> Iterator[Callable[[Plan], str]]:
    """A server that does with its first connection what is planned; its certificate is trusted. Gives its address."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with tls_servers(authority) as start:
        yield lambda plan: f"https://127.0.0.1:{start(plan)}"


def cut_in_the_handshake(connection: ssl.SSLSocket) -> None:
    socket.socket.recv(connection, 5)
    connection.close()


def cut_after_the_question(connection: ssl.SSLSocket) -> None:
    connection.do_handshake()
    connection.recv(4096)
    connection.close()  # without a word of TLS, as a proxy that is killed


def reset_after_the_question(connection: ssl.SSLSocket) -> None:
    connection.do_handshake()
    connection.recv(4096)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def cut_in_the_answer(connection: ssl.SSLSocket) -> None:
    connection.do_handshake()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    connection.close()


@pytest.mark.parametrize(
    "plan", [cut_in_the_handshake, cut_after_the_question, reset_after_the_question, cut_in_the_answer]
)
def test_a_connection_that_is_cut_off_is_worth_another_attempt_and_says_nothing_of_certificates(over_tls, plan):
    connection = Connection(over_tls(plan), StopSignal(), True, 10, 0)
    with pytest.raises(errors.Unreachable) as caught:
        connection._once("GET", "/x", None, Deadline(10))
    assert "certificate" not in str(caught.value)


def test_a_version_of_tls_that_the_server_does_not_take_is_told_as_what_it_is(over_tls):
    def insist_on_the_future(connection: ssl.SSLSocket) -> None:
        socket.socket.recv(connection, 4096)
        socket.socket.sendall(connection, b"\x15\x03\x03\x00\x02\x02\x46")  # a fatal alert: protocol_version
        connection.close()

    connection = Connection(over_tls(insist_on_the_future), StopSignal(), True, 10, 0)
    with pytest.raises(RunEnds, match=r"cannot agree on TLS: .*protocol version"):
        connection._once("GET", "/x", None, Deadline(10))
