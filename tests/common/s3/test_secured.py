"""TLS that is decrypted from memory: against Python's own TLS and, for what that cannot do, OpenSSL's test server."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from tls_servers import Plan, tls_servers

from common.s3.secured import SecuredSocket


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def serve(authority) -> Iterator[Callable[[Plan], int]]:
    with tls_servers(authority) as start:
        yield start


def opened(port: int, context: ssl.SSLContext, timeout_seconds: float = 10.0) -> SecuredSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)
    return SecuredSocket(plain, context, "127.0.0.1")


def all_of(connection: SecuredSocket) -> bytes:
    found, view = bytearray(), memoryview(bytearray(100_000))
    while count := connection.recv_into(view):
        found += view[:count]
    return bytes(found)


@pytest.mark.parametrize("says_goodbye", [True, False])
def test_everything_comes_as_it_was_sent_until_the_end_however_that_is_told(serve, trusting, says_goodbye):
    content = os.urandom(3_000_001)

    def plan(connection: ssl.SSLSocket) -> None:
        connection.do_handshake()
        assert connection.recv(100) == b"all of it, please"
        connection.sendall(content)
        if says_goodbye:
            with suppress(ssl.SSLEOFError):  # the other side says none
                connection.unwrap()

    connection = opened(serve(plan), trusting)
    connection.sendall(b"all of it, please")
    found = all_of(connection)
    connection.close()
    assert hashlib.sha256(found).digest() == hashlib.sha256(content).digest()


def test_a_server_that_is_not_trusted_hears_why(serve):
    heard: list[str] = []

    def plan(connection: ssl.SSLSocket) -> None:
        with pytest.raises(ssl.SSLError) as caught:
            connection.do_handshake()
            connection.recv(1)  # TLS 1.3: only now does it hear of it
        heard.append(caught.value.reason)

    port = serve(plan)
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    with plain, pytest.raises(ssl.SSLCertVerificationError):
        SecuredSocket(plain, ssl.create_default_context(), "127.0.0.1")
    while not heard:
        threading.Event().wait(0.01)
    assert heard == ["TLSV1_ALERT_UNKNOWN_CA"]


def test_another_hosts_certificate_is_not_taken(serve, trusting):
    def plan(connection: ssl.SSLSocket) -> None:
        with pytest.raises(ssl.SSLError):
            connection.do_handshake()
            connection.recv(1)

    plain = socket.create_connection(("127.0.0.1", serve(plan)), timeout=10)
    with plain, pytest.raises(ssl.SSLCertVerificationError, match=r"not valid for '127\.0\.0\.2'"):
        SecuredSocket(plain, trusting, "127.0.0.2")


def test_silence_in_the_handshake_ends_and_a_cut_is_told(serve, trusting):
    over = threading.Event()
    with pytest.raises(TimeoutError):
        opened(serve(lambda connection: over.wait(10)), trusting, 0.2)
    over.set()
    with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
        opened(serve(lambda connection: connection.close()), trusting)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl, which plays the server, is not here")
@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
def test_keys_that_are_changed_in_the_middle_are_followed(authority, trusting, tmp_path, version):
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", version, "-accept", f"127.0.0.1:{port}", "-cert", "server.pem", "-naccept", "1"]
    log = tmp_path / "said"
    with (
        open(log, "wb") as said,
        subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=said, stderr=said) as server,
    ):
        assert server.stdin is not None
        try:
            wait_for(log, b"ACCEPT")
            connection = opened(port, trusting)
            view = memoryview(bytearray(100))

            def hears(line: bytes) -> None:
                assert server.stdin is not None
                server.stdin.write(line)
                server.stdin.flush()
                got = b""
                while len(got) < len(line):
                    got += bytes(view[: connection.recv_into(view)])
                assert got == line

            hears(b"before\n")
            if version == "-tls1_3":
                server.stdin.write(b"K\n")  # new keys, and new ones are asked for
                server.stdin.flush()
                threading.Event().wait(0.5)  # it reads a line of ours at a time, and writes its own when it likes
            hears(b"after\n")
            connection.sendall(b"and the other way\n")
            wait_for(log, b"and the other way")
            connection.close()
        finally:
            server.kill()


def wait_for(log: Path, word: bytes) -> None:
    for _ in range(1000):
        if word in log.read_bytes():
            return
        threading.Event().wait(0.01)
    raise AssertionError(log.read_bytes().decode("utf-8", "replace"))
