"""Several processes fetch: what becomes of them, and of the run, when one of them or the run dies; keys that change."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.images.conftest import ended
from tests.images.fake_s3 import FakeS3

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere than on Linux one process fetches")
PATIENCE_SECONDS = 60
OBJECTS = {f"p/{number:03}.jpg": os.urandom(2000 + number) for number in range(60)}
NAMES = [key[2:] for key in OBJECTS]


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Held:
    """A server that keeps all but the first twenty files back until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on, self.reached = threading.Event(), threading.Event()

    def __call__(self, kind, key, number):
        if kind == "get" and key >= "p/020" and not self.go_on.is_set():
            self.reached.set()
            return ("wait", self.go_on)
        return None


def test_two_processes_share_the_work_and_the_figures_are_those_of_both(download):
    with FakeS3(OBJECTS) as server:
        run = download(server.url, NAMES, "--s3-prefix", "p/")
    assert run.code == 0 and {f"p/{name}": data for name, data in run.files.items()} == OBJECTS
    assert run.state["downloaded"] == 60 and run.state["bytes"] == sum(map(len, OBJECTS.values()))
    assert run.log.count(" saved ") == 60 and server.count("get") == 60


def test_a_process_that_is_killed_ends_the_run_with_what_was_saved_and_the_next_one_goes_on(start, download, tmp_path):
    held = Held()
    with FakeS3(OBJECTS, held) as server:
        process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm")
        assert held.reached.wait(PATIENCE_SECONDS)
        wait_for(lambda: len(list((tmp_path / "out").glob("*.jpg"))) == 20)
        workers = children_of(process.pid)
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        run = ended(process, tmp_path / "out")
        assert run.code == 3 and "was killed by signal 9" in run.err and "Run the same command again" in run.err, (
            run.said
        )
        assert len(run.files) == 20 and all(is_gone(pid) for pid in workers)
        held.go_on.set()
        again = download(server.url, NAMES, "--s3-prefix", "p/")
    assert again.code == 0 and {f"p/{name}": data for name, data in again.files.items()} == OBJECTS


def test_when_the_run_is_killed_its_processes_are_gone_and_so_is_its_lock(start, download, tmp_path):
    held = Held()
    with FakeS3(OBJECTS, held) as server:
        process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm")
        assert held.reached.wait(PATIENCE_SECONDS)
        workers = children_of(process.pid)
        process.kill()
        process.communicate()
        wait_for(lambda: all(is_gone(pid) for pid in workers))
        held.go_on.set()
        again = download(server.url, NAMES, "--s3-prefix", "p/")
    assert again.code == 0 and len(again.files) == 60


def test_a_signal_to_all_of_them_as_a_terminal_sends_it_is_heard_by_the_run_alone(start, tmp_path):
    held = Held()
    with FakeS3(OBJECTS, held) as server:
        process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm")
        assert held.reached.wait(PATIENCE_SECONDS)
        wait_for(lambda: len(list((tmp_path / "out").glob("*.jpg"))) == 20)
        workers = children_of(process.pid)
        for pid in (*workers, process.pid):
            os.kill(pid, signal.SIGINT)
        run = ended(process, tmp_path / "out")
        held.go_on.set()
    assert run.code == 130 and run.state["status"] == "stopped" and run.state["downloaded"] == 20, run.said
    assert all(is_gone(pid) for pid in workers)


def test_where_the_system_grants_one_process_but_not_two_the_run_fetches_by_itself(start, tmp_path):
    """As with a limit on processes (a container's pids): the second fork that is to fetch fails."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "forks, fork = [], os.fork\n"
        "def limited():\n"
        "    forks.append(1)\n"
        "    if len(forks) > 2: raise BlockingIOError(11, 'Resource temporarily unavailable')\n"
        "    return fork()\n"
        "os.fork = limited\n"
    )
    with FakeS3(OBJECTS) as server:
        process = start(server.url, NAMES, "--s3-prefix", "p/", "--auto-confirm", PYTHONPATH=str(tmp_path))
        run = ended(process, tmp_path / "out")
    assert run.code == 0 and len(run.files) == 60, run.said
    assert "processes_not_begun" in run.err and run.state["downloaded"] == 60


def test_a_process_that_meets_bad_files_only_does_not_end_the_run_while_another_one_gets_its_own(download):
    """Files are dealt out in turns: the first process has all the bad ones, the second one all the good ones."""
    objects = {f"p/{number:02}.jpg": b"x" * 2000 for number in range(16)}
    bad, good = list(objects)[0::2], list(objects)[1::2]
    asked = {key: threading.Event() for key in bad}

    def half(kind, key, number):
        if key in asked:
            asked[key].set()
            return (500, "InternalError")
        return ("wait", asked[bad[good.index(key)]]) if key in good else None

    with FakeS3(objects, half) as server:
        run = download(
            server.url, [key[2:] for key in objects], "--s3-prefix", "p/", "--retry-seconds", "1.5", "--workers", "2"
        )
    assert "has not sent any file" not in run.err, run.said
    assert run.code == 3 and len(run.files) == 8 and run.state["failed"] == 8 and run.state["left"] == 0


def test_keys_that_change_while_a_run_goes_on_reach_every_process(download, tmp_path):
    """A program gives keys that are valid for a minute: botocore asks it again and again."""
    program = tmp_path / "keys.py"
    program.write_text(
        "import datetime, json, pathlib\n"
        f"count = pathlib.Path({str(tmp_path / 'count')!r})\n"
        "with count.open('a') as file: file.write('x')\n"
        "until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)\n"
        "key = f'AKIDNUMBER{len(count.read_text()):06}'\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': key, 'SecretAccessKey': 'secret of ' + key,\n"
        "    'SessionToken': 'token', 'Expiration': until.isoformat()}))\n"
    )
    config = tmp_path / "config"
    config.write_text(f"[profile changing]\ncredential_process = {sys.executable} {program}\n")
    late = set(NAMES[-4:])
    first_keys: set[str] = set()

    def key_of(headers: dict[str, str]) -> str:
        return headers["authorization"].partition("Credential=")[2].partition("/")[0]

    with FakeS3(OBJECTS) as server:

        def slowly(kind, key, number):
            if kind == "get" and key[2:] in late:
                time.sleep(2.5)  # longer than keys are kept: what is asked for next is signed by later ones

        server.fault = slowly
        run = download(
            server.url, NAMES, "--s3-prefix", "p/", "--profile", "changing", "--workers", "2", AWS_CONFIG_FILE=str(config),
            AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="",
        )  # fmt: skip
        asked = [headers for headers in server.headers if headers[""].startswith("/bkt/p/")]
        first_keys = {key_of(headers) for headers in asked[:40]}
        last_keys = {key_of(headers) for headers in asked[-2:]}
    assert run.code == 0 and len(run.files) == 60, run.said
    assert last_keys.isdisjoint(first_keys)
    assert "secret of" not in run.said and json.dumps(run.state).count("secret") == 0
