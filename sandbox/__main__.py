"""`python -m sandbox cvat` or `python -m sandbox sc`: starts a server and says where it listens."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.cvat import CvatSandbox
from sandbox.demo import demo

if TYPE_CHECKING:
    from sandbox.sc import ScSandbox


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] == ["demo"]:
        return demo(given[1:])
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    servers = parser.add_subparsers(dest="server", required=True)
    cvat = servers.add_parser("cvat", help="a server that plays CVAT")
    cvat.add_argument("--host", default="127.0.0.1")
    cvat.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    cvat.add_argument("--samples", default="demo", help="demo, none, many:N or big:COUNTxMB")
    cvat.add_argument("--export-seconds", type=float, default=0.5, help="how long every export takes")
    cvat.add_argument("--workers", type=int, default=2, help="how many exports run at once")
    cvat.add_argument("--data", type=Path, help="folder for media and exports (default: a temporary one)")
    cvat.add_argument("--username", default="admin")
    cvat.add_argument("--password", default="sandbox-Pass-123")
    cvat.add_argument("--version", default="2.54.1", help="the server version it claims to be")
    cvat.add_argument("--anonymous-per-minute", type=int, default=100, help="throttling of sign-ins and strangers")
    cvat.add_argument("--seed", type=int, default=1)
    cvat.add_argument("--control", action="store_true", help="switches under /sandbox/ (no sign-in)")
    cvat.add_argument("--ready-file", type=Path, help="JSON with url, username, password, tokens, once it listens")
    cvat.add_argument("--exit-with-parent", action="store_true", help="ends when the starting process does")
    _add_sc(servers)
    chosen = parser.parse_args(given)

    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    parent = os.getppid()
    server = _sc(chosen) if chosen.server == "sc" else _cvat(chosen)
    try:
        server.start()
    except OSError as error:
        print(f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror}", file=sys.stderr)
        server.stop()
        return 1
    try:
        facts = _facts(server)
        secret = "read-only token" if isinstance(server, CvatSandbox) else "token"
        print(
            f"sandbox {'CVAT' if isinstance(server, CvatSandbox) else 'SC'} listening on {server.url}"
            f"  user {facts['username']}  password {facts['password']}  {secret} {facts['access_token']}"
            + (f"  certificate {facts['ca_file']}" if facts.get("ca_file") else ""),
            flush=True,
        )
        if chosen.ready_file is not None:
            _write_ready(chosen.ready_file, facts)
        # Event.wait with a timeout, so that signals are seen and a lost parent is noticed.
        while not ended.wait(0.2):
            if chosen.exit_with_parent and os.getppid() != parent:
                break
    finally:
        server.stop()
    return 0


def _cvat(chosen: argparse.Namespace) -> CvatSandbox:
    return CvatSandbox(
        samples=chosen.samples,
        export_seconds=chosen.export_seconds,
        workers=chosen.workers,
        host=chosen.host,
        port=chosen.port,
        data=chosen.data,
        username=chosen.username,
        password=chosen.password,
        version=chosen.version,
        anonymous_per_minute=chosen.anonymous_per_minute,
        control=chosen.control,
        seed=chosen.seed,
    )


def _add_sc(servers: Any) -> None:
    sc = servers.add_parser("sc", help="a server that plays Sonoma Creek / Intel Geti")
    sc.add_argument("--generation", default="2.x", choices=["1.1", "1.x", "2.x", "3.x"])
    sc.add_argument("--version", help="another release of the generation, such as 2.11.0")
    sc.add_argument("--host", default="127.0.0.1")
    sc.add_argument("--port", type=int, default=8443, help="0 takes a free one")
    sc.add_argument(
        "--http", action="store_true", help="plain http instead of TLS with a certificate made at the start"
    )
    sc.add_argument("--samples", default="demo", help="demo, losses, many:N or none")
    sc.add_argument("--job-seconds", type=float, default=0.5, help="how long exports and imports take")
    sc.add_argument("--training-seconds", type=float, default=20.0, help="how long a training takes")
    sc.add_argument("--data", type=Path, help="folder for media and archives (default: a temporary one)")
    sc.add_argument("--username", default="admin@sc.example")
    sc.add_argument("--password", default="sandbox-Pass-123")
    sc.add_argument("--seed", type=int, default=1)
    sc.add_argument("--control", action="store_true", help="switches under /sandbox/ (no sign-in)")
    sc.add_argument("--ready-file", type=Path, help="JSON with url, username, password, token, once it listens")
    sc.add_argument("--exit-with-parent", action="store_true", help="ends when the starting process does")


def _sc(chosen: argparse.Namespace) -> ScSandbox:
    from sandbox.sc import ScSandbox  # here: it needs more packages than the CVAT one

    return ScSandbox(
        generation=chosen.generation,
        version=chosen.version,
        samples=chosen.samples,
        tls=not chosen.http,
        host=chosen.host,
        port=chosen.port,
        data=chosen.data,
        username=chosen.username,
        password=chosen.password,
        job_seconds=chosen.job_seconds,
        training_seconds=chosen.training_seconds,
        control=chosen.control,
        seed=chosen.seed,
    )


def _facts(server: CvatSandbox | ScSandbox) -> dict[str, str]:
    facts = {"url": server.url, "username": server.username, "password": server.password}
    if isinstance(server, CvatSandbox):
        return facts | {"access_token": server.access_token, "write_token": server.write_token}
    facts |= {"access_token": server.token, "token": server.token, "generation": server.generation.name}
    return facts | {"ca_file": str(server.ca_file)} if server.tls else facts


def _write_ready(path: Path, known: dict[str, str]) -> None:
    facts = known | {"pid": os.getpid()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(facts))
    partial.rename(path)


if __name__ == "__main__":
    sys.exit(main())
