"""What people use instead, as processes of their own, so that their start and their memory count as ours do.

`python -m bench.peers sdk|poller URL USER PASSWORD PERIOD FOLDER ID…`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests

from bench.measure import ROOT, Ran, Sandbox, run


def backup_py(server: Sandbox, folder: Path) -> Ran:
    """The product as a person runs it, with default settings."""
    return run(
        [sys.executable, ROOT / "backup.py", "--mode", "p", "--dir", folder],
        CVAT_URL=server.url, CVAT_USERNAME=server.username, CVAT_PASSWORD=server.password,
    )  # fmt: skip


def cvat_cli(server: Sandbox, folder: Path, ids: Sequence[int]) -> Ran:
    """`cvat-cli project backup ID FILE` for one project after the other."""
    folder.mkdir()
    address = urlsplit(server.url)
    ran = []
    for project in ids:
        command: list[str | Path] = [
            Path(sys.executable).with_name("cvat-cli"), "--server-host", f"http://{address.hostname}",
            "--server-port", str(address.port), "--auth", f"{server.username}:{server.password}",
            "project", "backup", str(project), folder / f"{project}.zip",
        ]  # fmt: skip
        ran.append(run(command))
    return Ran(sum(one.seconds for one in ran), max(one.peak_bytes for one in ran), "")


def in_a_loop(kind: str, server: Sandbox, folder: Path, ids: Sequence[int], period: float | None = None) -> Ran:
    """The loop below of that kind ("sdk", "poller"), in one process."""
    folder.mkdir()
    return run(
        [
            sys.executable, "-m", "bench.peers", kind, server.url, server.username, server.password,
            "default" if period is None else str(period), folder, *(str(project) for project in ids),
        ]
    )  # fmt: skip


def _sdk(url: str, user: str, password: str, period: float | None, folder: Path, ids: Sequence[int]) -> None:
    # Here, so that whoever only starts these loops stays small.
    from cvat_sdk import Client  # type: ignore[import-untyped]
    from cvat_sdk.core.client import Config  # type: ignore[import-untyped]

    config = Config() if period is None else Config(status_check_period=period)
    with Client(url, config=config) as client:
        client.login((user, password))
        for project in ids:
            client.projects.retrieve(project).download_backup(folder / f"{project}.zip")


def _poller(url: str, user: str, password: str, period: float | None, folder: Path, ids: Sequence[int]) -> None:
    """The simple loop that many write: ask, sleep until it is finished, download."""
    assert period is not None
    with requests.Session() as session:
        session.headers["Accept"] = "application/vnd.cvat+json"
        key = session.post(f"{url}/api/auth/login", json={"username": user, "password": password}, timeout=60)
        session.headers["Authorization"] = f"Token {key.json()['key']}"
        for project in ids:
            asked = session.post(f"{url}/api/projects/{project}/backup/export", timeout=60)
            while True:
                state = session.get(f"{url}/api/requests/{asked.json()['rq_id']}", timeout=60).json()
                if state["status"] == "finished":
                    break
                time.sleep(period)
            with (
                session.get(state["result_url"], headers={"Accept": "*/*"}, stream=True, timeout=60) as answer,
                open(folder / f"{project}.zip", "wb") as file,
            ):
                answer.raise_for_status()
                for piece in answer.iter_content(1 << 20):
                    file.write(piece)


if __name__ == "__main__":
    _kind, _url, _user, _password, _period, _folder, *_ids = sys.argv[1:]
    {"sdk": _sdk, "poller": _poller}[_kind](
        _url,
        _user,
        _password,
        None if _period == "default" else float(_period),
        Path(_folder),
        [int(text) for text in _ids],
    )
