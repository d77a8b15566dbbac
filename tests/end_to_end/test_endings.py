"""How runs end: what the exit code, last-run and the last words say when pipes break, disks fill up and servers turn."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import running as tools
from rights import like_anybody, rights
from running import (
    Finished,
    environment,
    finish,
    held_exports,
    let_go,
    run_backup,
    running,
    start,
    wait_until,
    when_asked,
)

from sandbox.cvat import CvatSandbox, Fault

PYTHON_ASCII = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
SECRET = "pa'ss\"wört\\x"


def begin(server: CvatSandbox, tmp_path: Path, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    """backup.py as a shell would start it, with streams of our choice."""
    command = [sys.executable, str(tools._prepared[0][0] / "backup.py"), *arguments]
    more = {name: streams.pop(name) for name in [*streams] if name.isupper()}
    return subprocess.Popen(command, cwd=tmp_path, env=environment(server, tmp_path, **more), **streams)


def closed_pipe() -> int:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def end(process: subprocess.Popen[bytes], tmp_path: Path) -> Finished:
    with process:
        out, err = (text.decode() if text else "" for text in process.communicate(timeout=60))
    assert tools.OUR_FAULT not in out + err and "Traceback" not in out + err, out + err
    return Finished(process.returncode, out, err, tmp_path / "backups")


# --- standard output that nobody takes ------------------------------------------------------------------------------


@pytest.mark.parametrize("opened", [closed_pipe, full_device])
@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
def test_a_run_that_saves_does_not_mind_whether_anybody_reads_it(
    server: CvatSandbox, tmp_path: Path, opened: Callable[[], int], stream: str
) -> None:
    nobody = opened()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    streams |= dict.fromkeys(["stdout", "stderr"] if stream == "both" else [stream], nobody)
    done = end(begin(server, tmp_path, **streams), tmp_path)
    os.close(nobody)
    assert done.code == 0, done.said
    assert done.last_run()["exit_code"] == 0 and done.last_run()["ended_because"] == "finished"
    assert set(done.outcomes().values()) == {"saved"}
    assert stream != "stdout" or done.happened("report_not_printed")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_trouble(server: CvatSandbox, tmp_path: Path, closed: str) -> None:
    for arguments in ("", "--list", "--dry-run"):
        line = f'exec "{sys.executable}" "{tools._prepared[0][0] / "backup.py"}" {arguments} {closed}'
        done = subprocess.run(
            line,
            shell=True,
            cwd=tmp_path,
            env=environment(server, tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        assert "Traceback" not in done.stdout + done.stderr
    assert Finished(0, "", "", tmp_path / "backups").last_run()["exit_code"] == 0


@pytest.mark.parametrize("argument", ["--list", "--dry-run", "--print-config"])
def test_what_only_shows_ends_with_its_reader(server: CvatSandbox, tmp_path: Path, argument: str) -> None:
    run_backup(server, tmp_path)
    for opened, code in ((closed_pipe, 128 + signal.SIGPIPE), (full_device, 1)):
        nobody = opened()
        done = end(begin(server, tmp_path, argument, stdout=nobody, stderr=subprocess.PIPE), tmp_path)
        os.close(nobody)
        assert done.code == code, done.err
        assert code != 1 or "standard output cannot be written" in done.err


def test_ctrl_c_that_also_ends_the_reader_of_the_report_is_written_down(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault("POST .*/export", "hang", times=None))
    reading, writing = os.pipe()
    process = begin(server, tmp_path, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    wait_until(lambda: server.log_count("POST .*/export"), "an export is asked for")
    os.close(reading)
    process.send_signal(signal.SIGINT)
    done = end(process, tmp_path)
    assert done.code == 128 + signal.SIGINT
    assert done.last_run()["exit_code"] == 128 + signal.SIGINT
    assert done.last_run()["ended_because"] == "stopped by SIGINT"
    assert "Stopped." in done.err


# --- runs that end in the middle ------------------------------------------------------------------------------------


def test_credentials_refused_in_the_middle_still_give_a_report(server: CvatSandbox, tmp_path: Path) -> None:
    who = {
        "CVAT_ACCESS_TOKEN": server.access_token,
        "CVAT_USERNAME": None,
        "CVAT_PASSWORD": None,
        "CVAT_BACKUP_CONCURRENCY": "1",
    }
    when_asked(server, "POST /api/projects/3/backup/export", server.world.access_tokens.clear)
    done = run_backup(server, tmp_path, **who)
    assert done.code == 12 == done.last_run()["exit_code"], done.said
    assert "refused" in done.err
    missing = 3 - len(done.outcomes())
    assert (
        missing
        and f"Stopped early: {missing} not looked at ({done.last_run()['ended_because'].rstrip('.')})" in done.out
    )


BREAKS = """
import time
import common.saving.crew as crew
from common.exits import RunEnds
def save(desk, candidate, watch, plain=crew.save_backup):
    if candidate.state.source.id == 3:
        time.sleep(1)
        raise RunEnds("The server has become another one.", "Ask its administrator.")
    return plain(desk, candidate, watch)
crew.save_backup = save
"""


def test_a_run_that_cannot_go_on_has_still_saved_what_it_has(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, patched=BREAKS)
    assert done.code == 3 == done.last_run()["exit_code"]
    assert sorted(done.outcomes().values()) == ["saved", "saved"]
    assert "2 backups saved" in done.out
    assert "Stopped early: 1 not looked at (The server has become another one)." in done.out
    assert "The server has become another one.\nAsk its administrator.\n" in done.err


def test_a_journal_that_cannot_be_written_ends_no_run(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    [journal] = (tmp_path / "backups").glob("*/runs.jsonl")
    journal.unlink()
    journal.mkdir()
    done = run_backup(server, tmp_path, "--force")
    assert done.code == 0, done.said
    assert done.last_run()["counts"]["saved"] == 3
    assert len(done.happened("journal_not_written")) == 1


# --- secrets --------------------------------------------------------------------------------------------------------


def test_a_server_that_repeats_the_password_does_not_get_it_into_any_file(server: CvatSandbox, tmp_path: Path) -> None:
    next(iter(server.world.users.values())).password = SECRET
    echo = {"username": "admin", "password": SECRET}
    server.faults.add(Fault("POST /api/projects/2/backup/export", "status", status=400, body=repr(echo), times=None))
    server.faults.add(Fault("POST /api/projects/3/backup/export", "fail", message=f"no {SECRET} here", times=None))
    done = run_backup(server, tmp_path, CVAT_PASSWORD=SECRET)
    assert done.code == 3, done.said
    written = [path.read_text() for path in done.folder.rglob("*") if path.suffix in (".json", ".jsonl")]
    for text in (done.out, done.err, *written):
        assert not re.search(r"""pa\\*'ss\\*"w""", text), text
    failures = {each["source"]["id"]: each["reason"] for each in done.last_run()["failures"]}
    assert "********" in failures[2] and "no ******** here" in failures[3]
    assert "********" in done.out


def test_a_sign_in_that_repeats_the_password_does_not_either(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault("POST /api/auth/login", "status", status=400, body=repr({"password": SECRET}), times=None))
    done = run_backup(server, tmp_path, CVAT_PASSWORD=SECRET)
    assert done.code == 12
    assert "********" in done.last_run()["ended_because"]
    assert "wört" not in done.said + str(done.last_run())


# --- locales, locks, folders ----------------------------------------------------------------------------------------


def test_names_of_all_scripts_in_a_locale_of_ascii(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.project(1).name = "Straße … 日本"
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for arguments in ([], ["--force"], ["--dry-run"], ["--list"]):
        done = end(begin(server, tmp_path, *arguments, **streams, **PYTHON_ASCII), tmp_path)
        assert done.code == 0, done.said
    assert "Straße … 日本" in done.out
    done = end(begin(server, tmp_path, "--list", **streams, PYTHONIOENCODING="ascii"), tmp_path)
    assert done.code == 0 and "Stra?e" in done.out


def test_who_holds_the_lock_is_told_by_its_own_name(server: CvatSandbox, tmp_path: Path) -> None:
    with held_exports(server), running(start(server, tmp_path)) as process:
        wait_until(lambda: server.log_count("POST .*/export"), "the first run works")
        refused = run_backup(server, tmp_path, "--mode", "p", "t")
        assert refused.code == 11
        assert "backup.py --mode p is already running here" in refused.err
        let_go(server)
        assert finish(process, tmp_path / "backups").code == 0


def test_the_text_log_says_the_exit_code_as_a_number(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, CVAT_PASSWORD="wrong", LOG_FORMAT="text")
    assert done.code == 12 and "exit_code=12" in done.err


@pytest.mark.parametrize("below", ["", "backups"])
@pytest.mark.parametrize("argument", ["--list", "--dry-run", "--force"])
def test_a_file_in_place_of_the_folder_is_called_a_file(
    server: CvatSandbox, tmp_path: Path, argument: str, below: str
) -> None:
    (tmp_path / "file").write_text("")
    done = run_backup(server, tmp_path, argument, CVAT_BACKUP_DIR=str(tmp_path / "file" / below))
    assert done.code == 2
    assert f"{tmp_path / 'file'} is not a folder" in done.err
    assert "There are no backups" not in done.out and "writable" not in done.err


@pytest.mark.parametrize("on_the_server", [True, False], ids=["listed", "gone from the server"])
def test_a_folder_of_a_source_that_may_not_be_read_costs_the_others_nothing(
    server: CvatSandbox, tmp_path: Path, on_the_server: bool
) -> None:
    run_backup(server, tmp_path)
    closed = next((tmp_path / "backups").glob("*/project-1-*"))
    before = sorted(path.name for path in closed.iterdir())
    if not on_the_server:
        server.world.delete_project(1)
    server.world.add_shape(server.world.jobs_of(server.world.tasks_of(server.world.project(2))[0])[0].id, "car")
    with rights(closed, 0o000):
        run = run_backup(server, tmp_path, preexec=like_anybody)
    assert "fault of the program" not in run.err and "1 saved" in run.out, run.said
    assert run.code == (3 if on_the_server else 0), run.said
    if on_the_server:
        assert f"FAILED   project 1 (project 0001): its folder {closed} cannot be read: Permission denied" in run.out
        assert "writable for the user that runs backup.py" in run.out
    assert sorted(path.name for path in closed.iterdir()) == before
