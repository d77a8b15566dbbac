"""What the FiftyOne App answers, and what it can read: with any ASGI application in FiftyOne's place."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from common.fiftyone import app

MODULE = Path(app.__file__)


async def shows_everything(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"shown"})


def ask(
    path: str,
    query: str = "",
    *,
    folders: list[str] | None = None,
    closed: tuple[str, ...] = (),
    allowed: str = "",
    kind: str = "http",
    **headers: str,
) -> Any:
    """The status that a request gets through the door, or the first message where there is none."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "query_string": query.encode(), "headers": pairs}
    asyncio.run(app.guarded(shows_everything, folders or [], closed, allowed)(scope, None, send))
    return sent[0].get("status", sent[0])


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    (folder / "a b.png").write_bytes(b"x")
    return folder


def test_media_below_the_folder_are_shown(media: Path):
    assert ask("/media", f"filepath={media}/a%20b.png", folders=[str(media)]) == 200
    assert ask("/media", f"filepath={media}/a+b.png", folders=[str(media)]) == 200
    assert ask("/media", "", folders=[str(media)]) == 200, "what names no file is FiftyOne's business"
    assert ask("/datasets/x", "filepath=/etc/passwd", folders=[str(media)]) == 200, "a page is no file"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/proc/self/environ", "{media}/../secret", "{media}-other/x", "{media}/link", "a.png", "%00"],
)
def test_no_other_file_is_shown(media: Path, path: str, capsys: pytest.CaptureFixture[str]):
    (media / "link").symlink_to("/etc/passwd")
    query = f"filepath={path.format(media=media)}"
    assert ask("/media", query, folders=[str(media)]) == 404
    assert ask("/media/", query, folders=[str(media)]) == 404
    assert '"media_refused"' in capsys.readouterr().err


def test_a_file_named_beside_an_allowed_one_is_not_shown_either(media: Path):
    allowed = f"filepath={media}/a%20b.png"
    assert ask("/media", f"{allowed}&filepath=/etc/passwd", folders=[str(media)]) == 404
    assert ask("/media", f"filepath=/etc/passwd&{allowed}", folders=[str(media)]) == 404


def test_what_is_closed_is_not_shown_even_below_the_media(media: Path):
    (media / "config").mkdir()
    query = f"filepath={media}/config/.env.local"
    assert ask("/media", query, folders=["/"]) == 200
    assert ask("/media", query, folders=["/"], closed=(f"{media}/config",)) == 404
    assert ask("/media", query, folders=["/"], closed=(f"{media}/config/.env.local",)) == 404


def test_a_stranger_cannot_fill_the_log(media: Path, capsys: pytest.CaptureFixture[str]):
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    door = app.guarded(shows_everything, [str(media)], [], "")

    async def ask_often() -> None:
        for number in range(200):
            query = f"filepath=/x{number}/y".encode()
            await door({"type": "http", "path": "/media", "query_string": query, "headers": []}, None, send)

    asyncio.run(ask_often())
    assert len(sent) == 400
    assert len(capsys.readouterr().err.splitlines()) == app.MOST_TOLD


def test_only_its_own_pages_may_ask():
    assert ask("/operators/execute", host="127.0.0.1:5151") == 200, "a program sends no Origin"
    assert ask("/operators/execute", host="127.0.0.1:5151", origin="http://127.0.0.1:5151") == 200
    assert ask("/operators/execute", host="FO.example.com", origin="https://fo.example.com") == 200
    for stranger in ("https://evil.example", "null", "http://127.0.0.1:8000"):
        assert ask("/operators/execute", host="127.0.0.1:5151", origin=stranger) == 403
    assert ask("/", host="a", origin="https://b", allowed="https://c, https://b") == 200
    assert ask("/", host="a", origin="https://b", allowed="*") == 200


def test_a_websocket_of_a_stranger_is_closed():
    message = ask("/", kind="websocket", host="a", origin="http://b")
    assert message == {"type": "websocket.close", "code": 1008}


def test_what_is_no_request_passes():
    assert ask("/", kind="lifespan") == 200


def test_credentials_stay_text():
    backends: dict[str, Any] = {"cvat": {"password": 12345, "username": ["a", "b"], "url": "https://app.cvat.ai"}}
    app.keep_texts(backends, {"FIFTYONE_CVAT_PASSWORD": "0012345", "FIFTYONE_CVAT_USERNAME": "a,b"})
    assert backends["cvat"] == {"password": "0012345", "username": "a,b", "url": "https://app.cvat.ai"}
    app.keep_texts(without := {"labelbox": {}}, {"FIFTYONE_CVAT_PASSWORD": "1"})
    assert without == {"labelbox": {}}


def test_the_largest_folders_without_what_is_closed_are_found(tmp_path: Path):
    for name in ("a/secret", "a/b", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    found = set(app.everything_but([str(tmp_path / "a" / "secret")]))
    assert {str(tmp_path / "a" / "b"), str(tmp_path / "c"), "/usr"} <= found
    assert not any((tmp_path / "a" / "secret").is_relative_to(path) for path in found)
    assert str(tmp_path / "link") not in found


READS = """
import pathlib, runpy, subprocess, sys
door = runpy.run_path(sys.argv[1])
print(door["close_off"]([sys.argv[2]]) or "closed")
def reads(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError as error:
        return type(error).__name__
print(reads(sys.argv[2] + "/.env.local"), reads(sys.argv[3]))
print(subprocess.run(["cat", sys.argv[2] + "/.env.local"], capture_output=True, text=True).stdout)
"""


def test_settings_cannot_be_read_any_more_by_the_process_or_its_children(tmp_path: Path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / ".env.local").write_text("hidden")
    (tmp_path / "picture").write_text("seen")
    arguments = [str(MODULE), str(tmp_path / "config"), str(tmp_path / "picture")]
    done = subprocess.run(
        [sys.executable, "-c", READS, *arguments], capture_output=True, text=True, timeout=120, check=True
    )
    lines = done.stdout.splitlines()
    if lines[0] != "closed":
        assert "Linux" in lines[0]
        pytest.skip(f"this system cannot: {lines[0]}")
    assert lines[1:] == ["PermissionError seen", ""]


def test_nothing_is_closed_when_nothing_is_named():
    before = os.listdir("/proc/self") if Path("/proc/self").exists() else []
    assert app.close_off([]) == ""
    assert bool(before) == Path("/proc/self").exists()


def test_it_needs_nothing_of_ours_beside_it(tmp_path: Path):
    """Another Python runs it: one without pydantic, structlog and the rest of the product."""
    copy = tmp_path / "alone.py"
    copy.write_text(MODULE.read_text())
    command = [sys.executable, "-I", "-S", str(copy), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "--closed" in done.stdout
