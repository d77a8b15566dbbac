"""How the tests of whole runs start backup.py, and how they look at what it left on the disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ended import Ended
from stable import Run, Stable

from common.backups.record import Record, read
from common.backups.sidecar import sidecar_stamp
from sandbox.cvat import CvatSandbox, Fault, archive
from sandbox.cvat.faults import FaultsMet
from sandbox.cvat.http import Request, Response
from sandbox.cvat.samples import TRAFFIC, traffic_annotations
from sandbox.cvat.world import Project, Task

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 60
# What a product process says in its own words; a traceback or this sentence is a bug wherever it shows.
OUR_FAULT = "This is a fault of the program"


@dataclass(frozen=True)
class Finished(Ended):
    """A run that is over: its exit code, what it said, and where it was to put its backups."""

    folder: Path

    def last_run(self, mode: str = "p") -> dict[str, Any]:
        [path] = self.folder.glob(f"*/last-run-{mode}.json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    @property
    def journal(self) -> list[dict[str, Any]]:
        """The lines of runs.jsonl; every one of them must be JSON."""
        paths = list(self.folder.glob("*/runs.jsonl"))  # none yet when a run ended before its first attempt did
        assert len(paths) <= 1
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def outcomes(self, mode: str = "p") -> dict[str, str]:
        """What the journal says of this run: "project 3" -> "saved"."""
        run_id = self.last_run(mode)["run_id"]
        return {
            f"{line['source']['kind']} {line['source']['id']}": line["outcome"]
            for line in self.journal
            if line["run_id"] == run_id and line["mode"] == mode
        }


# --- starting ---------------------------------------------------------------------------------------------------


_prepared: list[tuple[Path, Stable]] = []


def program(folder: Path) -> Path:
    """A copy of the program, so that no .env.local of this checkout has a say and tests may write their own."""
    copy = folder / "program"
    if not copy.exists():
        copy.mkdir(parents=True)
        for script in ("backup.py", "restore.py", "downloader.py"):
            shutil.copy(ROOT / script, copy)
        shutil.copytree(ROOT / "common", copy / "common", ignore=shutil.ignore_patterns("__pycache__"))
        if (ROOT / ".env").exists():
            shutil.copy(ROOT / ".env", copy)
    return copy


@pytest.fixture(scope="session", autouse=True)
def _program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One copy for all tests of this process, compiled once."""
    folder = program(tmp_path_factory.mktemp("program"))
    _prepared.append((folder, Stable(folder)))
    yield
    _prepared.pop()[1].close()


def environment(server: CvatSandbox | str, tmp_path: Path, **changes: str | None) -> dict[str, str]:
    """Nothing of the tester's own environment; impatient, so that tests are short. None takes a variable away."""
    values: dict[str, str | None] = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(tmp_path / "home"),
        "CVAT_BACKUP_DIR": str(tmp_path / "backups"),
        "CVAT_BACKUP_MIN_FREE_GB": "0",
        "CVAT_SERVER_WAIT_SECONDS": "30",
        "CVAT_HTTP_TIMEOUT_SECONDS": "20",
        "LOG_FORMAT": "json",
    }
    if isinstance(server, CvatSandbox):
        values |= {"CVAT_URL": server.url, "CVAT_USERNAME": server.username, "CVAT_PASSWORD": server.password}
    else:
        values |= {"CVAT_URL": server, "CVAT_USERNAME": "admin", "CVAT_PASSWORD": "sandbox-Pass-123"}
    values |= changes
    return {name: value for name, value in values.items() if value is not None}


def start(
    server: CvatSandbox | str,
    tmp_path: Path,
    *arguments: str,
    patched: str = "",
    folder: Path | None = None,
    preexec: Callable[[], None] | None = None,
    script: str = "backup",
    **changes: str | None,
) -> subprocess.Popen[str] | Run:
    """Starts a `script`. `patched` is Python that runs in its process first, `folder` another copy of the program."""
    copy, stable = _prepared[0]
    if not (patched or folder or preexec):
        return stable.start(list(arguments), environment(server, tmp_path, **changes), tmp_path, script)
    folder = folder or copy
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{patched}\n"
    code += f"import runpy; sys.argv[0] = '{script}.py'; runpy.run_path({str(folder / (script + '.py'))!r}, run_name='__main__')"
    command = [sys.executable, "-c", code] if patched else [sys.executable, str(folder / f"{script}.py")]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=tmp_path,
        env=environment(server, tmp_path, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
    )


def finish(process: subprocess.Popen[str] | Run, folder: Path, within_seconds: float = PATIENCE_SECONDS) -> Finished:
    try:
        out, err = process.communicate(timeout=within_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"backup.py did not end in {within_seconds} s; it said\n{out}\n{err[-4000:]}") from None
    return Finished(process.returncode, out, err, folder)


def run_backup(server: CvatSandbox | str, tmp_path: Path, *arguments: str, **more: Any) -> Finished:
    """One whole run."""
    done = finish(start(server, tmp_path, *arguments, **more), tmp_path / "backups")
    assert OUR_FAULT not in done.said and "Traceback" not in done.said, done.said
    return done


def run_restore(server: CvatSandbox | str, tmp_path: Path, *arguments: str, **more: Any) -> Finished:
    """One whole run of restore.py on the backups that run_backup made."""
    return run_backup(server, tmp_path, *arguments, script="restore", **more)


# --- the played server ------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[CvatSandbox]:
    """A server with three small projects, which nobody else uses."""
    with CvatSandbox(samples="many:3", export_seconds=0.02, anonymous_per_minute=10_000) as sandbox:
        yield sandbox


def add_project(
    server: CvatSandbox, name: str, frames: int = 3, megabytes: int = 0, **more: Any
) -> tuple[Project, Task]:
    """A project with one annotated task, of `megabytes` if given."""
    project = server.world.add_project(name, labels=TRAFFIC, **more)
    files = server.world.media.random_files(frames, megabytes * 1_000_000 // frames) if megabytes else None
    task = server.world.add_task(project, "scans", frames, files=files)
    traffic_annotations(server.world, server.world.jobs_of(task)[0])
    return project, task


def when_asked(server: CvatSandbox, pattern: str, action: Callable[[], Any]) -> None:
    """Calls `action` once, when the first request whose "METHOD /path?query" holds `pattern` arrives."""
    plain_answer, once = server.answer, threading.Lock()

    def answer(request: Request, faults: FaultsMet) -> Response:
        if pattern in f"{request.method} {request.target}" and once.acquire(blocking=False):
            action()
        return plain_answer(request, faults)

    server.answer = answer  # type: ignore[method-assign]


def record_headers(server: CvatSandbox) -> list[tuple[str, dict[str, str]]]:
    """A list that grows by ("METHOD /path?query", headers) with every request."""
    seen: list[tuple[str, dict[str, str]]] = []
    plain_answer = server.answer

    def answer(request: Request, faults: FaultsMet) -> Response:
        seen.append((f"{request.method} {request.target}", dict(request.headers)))
        return plain_answer(request, faults)

    server.answer = answer  # type: ignore[method-assign]
    return seen


def wait_until(true: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.005)


@contextmanager
def running(process: subprocess.Popen[str] | Run) -> Iterator[subprocess.Popen[str] | Run]:
    """A process that does not outlive the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.communicate()


@contextmanager
def held_exports(server: CvatSandbox) -> Iterator[None]:
    """Exports asked for in the block are worked on until it ends, however slow this machine is."""
    server.faults.add(Fault("POST .*/export", "hang", times=None))
    try:
        yield
    finally:
        let_go(server)


def let_go(server: CvatSandbox) -> None:
    """Ends `held_exports` early."""
    server.faults.clear()
    server.exports.free_all()


# --- looking at the disk ----------------------------------------------------------------------------------------


def records(folder: Path) -> list[Record]:
    """All records, oldest first."""
    found = [read(path) for path in folder.glob("*/*/*.zip.json")]
    return sorted(found, key=lambda record: (record.stamp, record.content, record.source.id))


def record_of(folder: Path, kind: str, source_id: int, content: str = "backup") -> Record:
    """The newest record of one source."""
    return [r for r in records(folder) if (r.source.kind, r.source.id, r.content) == (kind, source_id, content)][-1]


def path_of(folder: Path, record: Record, role: str | None = None) -> Path:
    """The main file of a backup, or its file with this role."""
    name = next(file.name for file in record.files if role in (None, file.role))
    found = list(folder.glob(f"*/*/{_literal(name)}"))
    if len(found) > 1:  # another server's, or from before a reinstall
        found = [path for path in found if read(path.with_name(f"{record.main_file.name}.json")) == record]
    [path] = found
    return path


def _literal(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def debris(folder: Path) -> list[str]:
    """Everything below a backup folder that is no part of a backup."""
    wanted: set[Path] = set()
    for path in folder.glob("*/*/*.zip.json"):
        wanted |= {path, *(path.parent / file.name for file in read(path).files)}
    left = []
    for path in folder.rglob("*"):
        ours = path.name.startswith((".lock-", "last-run-", "listed-", "runs.")) and path.parent.parent == folder
        ours = ours or sidecar_stamp(path.name) is not None
        if path.is_file() and path not in wanted and not ours:
            left.append(str(path.relative_to(folder)))
    return left


def assert_sound(folder: Path, *, parts: bool = False) -> list[Record]:
    """Every backup is what its record says, every zip is whole for Python's own zipfile, and nothing lies about.

    With `parts`, what has arrived of a file may wait for the next run.
    """
    found = records(folder)
    for record in found:
        check_record(folder, record)
    left = [name for name in debris(folder) if not (parts and re.search(r"/\.[^/]+\.part(\.json)?$", name))]
    assert left == [], left
    for path in folder.glob("*/runs.jsonl"):
        assert all(json.loads(line) for line in path.read_text().splitlines())
    return found


def check_record(folder: Path, record: Record) -> None:
    """The files of one backup are what its record says."""
    for file in record.files:
        path = path_of(folder, record).with_name(file.name)
        content = path.read_bytes()
        assert len(content) == file.size_bytes, file
        assert hashlib.sha256(content).hexdigest() == file.sha256, file
        if file.name.endswith(".zip"):
            with zipfile.ZipFile(path) as opened:
                assert opened.testzip() is None
        else:
            json.loads(content)
    if record.content == "backup":
        _assert_cvat_backup(path_of(folder, record), record)


def _assert_cvat_backup(path: Path, record: Record) -> None:
    with zipfile.ZipFile(path) as opened:
        names = opened.namelist()
        assert len(names) == len(set(names)) == record.verified.members
        described = [name for name in names if name.endswith("task.json")]
        tasks = [json.loads(opened.read(name)) for name in described]
        assert len(tasks) == record.verified.tasks
        if record.source.kind == "project":
            assert json.loads(opened.read("project.json"))["name"] == record.source.name
        else:
            assert tasks[0]["name"] == record.source.name
        for name in described:
            assert isinstance(json.loads(opened.read(name.replace("task.json", "annotations.json"))), list)


def members(path: Path) -> dict[str, int]:
    """Name and CRC of everything in a zip."""
    with zipfile.ZipFile(path) as opened:
        return {info.filename: info.CRC for info in opened.infolist()}


def assert_completed(server: CvatSandbox, done: Finished, project_id: int) -> None:
    """A run after kills has all projects and their annotations; the second task of `project_id` cannot be restored."""
    assert done.code == 0, done.said
    assert_sound(done.folder)
    for mode in "pa":
        assert set(done.outcomes(mode).values()) <= {"saved", "unchanged"}
    for number in server.world.projects:
        record = record_of(done.folder, "project", number)
        assert_equals_server(server, done.folder, record, without=(1,) if number == project_id else ())
        record_of(done.folder, "project", number, "annotations")


def assert_equals_server(server: CvatSandbox, folder: Path, record: Record, *, without: tuple[int, ...] = ()) -> None:
    """A backup holds, member by member, what the server would write at this moment without its cache."""
    source = record.source
    truth = server.world.media.directory / f"truth-{source.kind}-{source.id}.zip"
    write = archive.write_project if source.kind == "project" else archive.write_task
    write(server.world, source.id, truth)
    dropped = tuple(f"task_{index}/" for index in without)
    wanted = {name: crc for name, crc in members(truth).items() if not name.startswith(dropped or ("\0",))}
    assert members(path_of(folder, record)) == wanted


def assert_adds_up(done: Finished, server: CvatSandbox, *modes: str) -> None:
    """What the server holds and what the run says became of it are the same number."""
    world = server.world
    loose = sum(task.project_id is None for task in world.tasks.values())
    here = {"p": len(world.projects) + loose, "t": loose, "a": len(world.projects) + loose}
    if "t" in modes:
        here["p"] -= loose
    for mode in modes or ("p",):
        last = done.last_run(mode)
        assert last["listed"] == here[mode] == sum(last["counts"].values())
        assert last["exit_code"] == done.code or len(modes) > 1
        counted = dict.fromkeys(last["counts"], 0)
        for outcome in done.outcomes(mode).values():
            counted[outcome] += 1
        counted["excluded"] = last["counts"]["excluded"]
        assert counted == last["counts"]


def assert_all_saved(done: Finished, server: CvatSandbox, mode: str = "p") -> list[Record]:
    """The run succeeded, everything the server holds is on the disk as the server has it, and nothing else is."""
    assert done.code == 0, done.said
    found = assert_sound(done.folder)
    assert_adds_up(done, server, mode)
    for project in server.world.projects.values():
        assert_equals_server(server, done.folder, record_of(done.folder, "project", project.id))
    return found
