"""Servers that speak TLS as planned, a connection each."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trustme

Plan = Callable[[ssl.SSLSocket], None]


@contextmanager
def tls_servers(authority: trustme.CA) -> Iterator[Callable[[Plan], int]]:
    """Gives what starts one, for 127.0.0.1, that does with its connection what is planned (no hands are shaken yet); that
    gives its port. All are over at the end.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    threads: list[threading.Thread] = []

    def start(plan: Plan) -> int:
        listening = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            with listening:
                plain, _ = listening.accept()
            with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as connection:
                plan(connection)

        threads.append(threading.Thread(target=answer, daemon=True))
        threads[-1].start()
        return int(listening.getsockname()[1])

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
