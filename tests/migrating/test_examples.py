"""The scripts in examples/, run as a reader of the documentation runs them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.reader import python_with_datumaro

from .coco import coco

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ALL = bool(os.environ.get("CVAT_TESTS_ALL"))


def run(python: str, *arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SC_", "CVAT_"))}
    env |= {"PYTHONPATH": str(EXAMPLES.parent), **settings}
    command = [python, str(EXAMPLES / str(arguments[0])), *map(str, arguments[1:])]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


# --- download_coco.py ---------------------------------------------------------------------------------------------


class Files:
    """A web server of two zip archives that takes ranges; `cut` holds how much the next answers send before they end."""

    def __init__(self, folder: Path) -> None:
        data = coco(folder / "made")
        self.files = {
            "/zips/val2017.zip": self._zip(
                {f"val2017/{each.name}": each for each in sorted((data / "images").iterdir())}
            ),
            "/annotations/annotations_trainval2017.zip": self._zip(
                {"annotations/instances_val2017.json": data / "annotations" / "instances_val2017.json"}
            ),
        }
        self.data, self.cut, self.asked = data, [], []
        self.url = ""

    @staticmethod
    def _zip(members: dict[str, Path]) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, path in members.items():
                archive.write(path, name)
        return content.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    served = Files(tmp_path)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = served.files[self.path]
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            begin = int(asked[1]) if asked else 0
            served.asked.append((self.path, begin))
            if begin >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            length = served.cut.pop(0) if served.cut else len(content)
            self.wfile.write(content[begin : begin + length])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        served.url = f"http://127.0.0.1:{listening.server_port}"
        yield served
        listening.shutdown()


def same(folder: Path, files: Files) -> bool:
    parts = ("images", "annotations")
    return all(
        {each.name: each.read_bytes() for each in (folder / part).iterdir()}
        == {each.name: each.read_bytes() for each in (files.data / part).iterdir()}
        for part in parts
    )


def test_coco_is_downloaded_and_a_second_run_fetches_nothing(files, tmp_path):
    for _ in range(2):
        done = run(sys.executable, "download_coco.py", tmp_path / "coco", files.url)
        assert done.returncode == 0, done.stderr
        assert "All good: 18 images" in done.stdout
    assert same(tmp_path / "coco", files) and len(files.asked) == 2


def test_a_download_that_broke_off_goes_on(files, tmp_path):
    files.cut = [1000]
    done = run(sys.executable, "download_coco.py", tmp_path / "coco", files.url)
    assert done.returncode == 1 and "run this again, it goes on from there" in done.stderr
    done = run(sys.executable, "download_coco.py", tmp_path / "coco", files.url)
    assert done.returncode == 0, done.stderr
    assert files.asked[1] == ("/zips/val2017.zip", 1000) and same(tmp_path / "coco", files)


def test_what_had_arrived_whole_is_not_fetched_again_and_damage_is_found(files, tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    whole = files.files["/zips/val2017.zip"]
    (folder / "val2017.part").write_bytes(whole)
    assert run(sys.executable, "download_coco.py", folder, files.url).returncode == 0
    assert files.asked[0] == ("/zips/val2017.zip", len(whole)) and same(folder, files)
    (folder / "val2017.zip").unlink()
    at = len(whole) // 2
    (folder / "val2017.part").write_bytes(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
    done = run(sys.executable, "download_coco.py", folder, files.url)
    assert done.returncode == 1 and "is damaged" in done.stderr
    assert run(sys.executable, "download_coco.py", folder, files.url).returncode == 0
    assert same(folder, files)


# --- projects of it -------------------------------------------------------------------------------------------------


def settings(server, tmp_path: Path) -> dict[str, str]:
    return {
        "SC_HOST": server.url, "SC_TOKEN": server.token, "SC_CA_BUNDLE": str(server.ca_file),
        "SC_DIR": str(tmp_path / "sc"), "CVAT_ENV_DIR": str(tmp_path),
    }  # fmt: skip


def test_the_six_demo_projects_are_made_once(sc, tmp_path, monkeypatch):
    python, server = python_with_datumaro(), sc(samples="none")
    monkeypatch.chdir(tmp_path)
    data = coco(tmp_path / "coco", 36)
    for _ in range(2):
        done = run(python, "create_demo_projects.py", data, 5, **settings(server, tmp_path))
        assert done.returncode == 0, done.stdout + done.stderr
    found = {project.name: project for project in server.world.projects.values()}
    assert sorted(found) == sorted(
        ["Segmentation demo", "Detection demo", "Classification demo", "Anomaly classification demo",
         "Animal detection to segmentation demo", "Animal detection to classification demo"]
    ) and len(server.world.projects) == 6  # fmt: skip
    for name, project in found.items():
        media = list(project.datasets[0].media.values())
        shapes = Counter(
            each["shape"]["type"] for one in media for scene in one.scenes.values() for each in scene.annotations
        )
        assert len(media) == 5 and sum(shapes.values()) >= 5, (name, shapes)
        assert ("POLYGON" in shapes) == ("egmentation" in name), (name, shapes)
    assert done.stdout.count(": 5 images, ") == 6


@pytest.mark.parametrize("script", ["create_coco_project_single_task.py", "create_coco_project_task_chain.py"])
def test_a_project_of_dogs_is_made(sc, tmp_path, monkeypatch, script):
    python, server = python_with_datumaro(), sc(samples="none")
    monkeypatch.chdir(tmp_path)
    done = run(python, script, coco(tmp_path / "coco"), **settings(server, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    [project] = server.world.projects.values()
    assert len(project.datasets[0].media) == 2 and "2 images" in done.stdout
