"""The sandbox as a program of its own, and as large as the benchmarks need it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from sandbox_client import Client

from sandbox.cvat import CvatSandbox

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "cvat", "--port", "0", "--ready-file", str(ready), *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 20
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, json.loads(ready.read_text())
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_program_says_where_it_listens_and_ends_cleanly(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(tmp_path, "--export-seconds", "0", "--data", str(data)) as (process, ready):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith(f"sandbox CVAT listening on {ready['url']}  user admin  password ")
        assert ready["access_token"] in line
        header = {"Authorization": f"Bearer {ready['access_token']}"}
        assert requests.get(f"{ready['url']}/api/projects", headers=header, timeout=60).json()["count"] >= 25
        assert requests.get(f"{ready['url']}/sandbox/log", headers=header, timeout=60).status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert data.is_dir()


def test_the_switches_work_over_http(tmp_path: Path) -> None:
    with running(tmp_path, "--samples", "many:3", "--export-seconds", "0", "--control") as (_, ready):
        url = ready["url"]

        def switch(method: str, path: str, body: Any = None) -> Any:
            answer = requests.request(method, f"{url}/sandbox/{path}", json=body, timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()

        header = {"Authorization": f"Bearer {ready['access_token']}"}
        switch("POST", "faults", {"match": "GET /api/projects", "kind": "status", "status": 503})
        assert requests.get(f"{url}/api/projects", headers=header, timeout=60).status_code == 503
        switch("POST", "faults", {"match": "GET /api/projects", "kind": "status", "status": 503})
        switch("DELETE", "faults")
        assert requests.get(f"{url}/api/projects", headers=header, timeout=60).status_code == 200
        assert [row["status"] for row in switch("GET", "log")["exchanges"]][-1] == 200
        switch("POST", "do", {"call": "rename_project", "args": [1, "renamed"]})
        made = switch("POST", "do", {"call": "add_task", "args": [1, "new task"], "kwargs": {"frames": 2}})
        assert requests.get(f"{url}/api/tasks/{made['result']['id']}", headers=header, timeout=60).json()["size"] == 2
        assert requests.get(f"{url}/api/projects/1", headers=header, timeout=60).json()["name"] == "renamed"
        refused = requests.post(f"{url}/sandbox/do", json={"call": "now"}, timeout=60)
        assert (refused.status_code, "not allowed" in refused.text) == (400, True)
        switch("POST", "set", {"health": {"DiskUsage": "full"}})
        assert requests.get(f"{url}/api/server/health/?format=json", timeout=60).status_code == 500
        switch("POST", "restart", {"down_seconds": 0.5})
        heard = []
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and heard[-1:] != ["back"]:
            try:
                count = requests.get(f"{url}/api/projects", headers=header, timeout=60).json()["count"]
                heard.append("back" if "away" in heard and count == 3 else "there")
            except requests.ConnectionError:
                heard.append("away")
            time.sleep(0.02)
        assert heard[-1] == "back"


def test_the_program_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    ready = tmp_path / "ready.json"
    script = (
        "import subprocess, sys, time, pathlib\n"
        f"ready = pathlib.Path({str(ready)!r})\n"
        "child = subprocess.Popen([sys.executable, '-m', 'sandbox', 'cvat', '--port', '0', '--samples', 'none',\n"
        f"    '--exit-with-parent', '--ready-file', str(ready)])\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))\n"
        "while not ready.exists(): time.sleep(0.02)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, timeout=30, stdout=subprocess.DEVNULL)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie waiting for whoever inherited it is as good as gone.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_a_thousand_projects_are_made_and_listed() -> None:
    with CvatSandbox(samples="many:1000") as server:
        client = Client(server)
        for path in ("projects", "tasks", "jobs"):
            assert client.get(f"/api/{path}?page_size=all&sort=id").json()["count"] == 1000
        assert client.backup("project", 1000).testzip() is None


def test_a_big_project_is_a_true_backup(tmp_path: Path) -> None:
    with CvatSandbox(samples="big:2x64", data=tmp_path) as server:
        client = Client(server)
        archive = client.backup("project", 2)
        assert archive.testzip() is None
        assert sum(info.file_size for info in archive.infolist()) > 64_000_000
        names = [line for line in archive.read("task_0/data/manifest.jsonl").decode().splitlines()[2:] if line]
        assert len(names) == sum(name.endswith(".jpg") for name in archive.namelist())


def test_the_demo_is_small() -> None:
    with CvatSandbox(samples="demo") as server:
        assert len(server.world.projects) >= 25
        assert len([task for task in server.world.tasks.values() if task.project_id is None]) >= 3
        assert sum(file.stat().st_size for file in server.directory.rglob("*") if file.is_file()) < 15_000_000


def test_the_temporary_folder_is_gone_afterwards() -> None:
    with CvatSandbox(samples="none") as server:
        folder = server.directory
        assert folder.is_dir()
    assert not folder.exists()
