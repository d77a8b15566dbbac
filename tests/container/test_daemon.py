"""The daemon in its container: healthy, killed, stopped, restarted together with the engine."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request

import pytest

from tests.container.engine import Engine, Project, wait_until

NIGHTLY = "* * * * * backup.py --mode p"
# Kills every process of one script: the image has no pkill, and process 1 is never it.
KILL = """
import os, pathlib, signal, sys
killed = []
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = path.read_bytes().split(b"\\0")
    if any(word.endswith(b"/backup.py") for word in words) and int(path.parent.name) != os.getpid():
        os.kill(int(path.parent.name), signal.SIGKILL)
        killed.append(path.parent.name)
print(len(killed))
"""


@pytest.fixture
def daemon(project: Project) -> Project:
    """A daemon that looks at its health often, with a job at its start, not yet started."""
    project.change(
        healthcheck={"test": ["CMD", "python", "/app/scheduler.py", "--health"], "interval": "2s", "retries": 1000}
    )
    project.schedule("@startup backup.py --mode p", NIGHTLY)
    return project


def is_healthy(project: Project) -> bool:
    return bool(project.state().get("Health", {}).get("Status") == "healthy")


def page(project: Project, path: str) -> str:
    address = project.compose("port", "cvat-backups", "8080").strip().splitlines()[-1]
    with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
        found: bytes = answer.read()
        return found.decode()


def downloading(project: Project) -> bool:
    """More than a megabyte has arrived of a file that has no name yet."""
    found = project.inside("find", "/backups", "-name", "*.part", "-size", "+1000k", check=False)
    return ".part" in found


def slow_download(project: Project) -> None:
    """One project of 30 MB, whose first download takes minutes; the next ones are fast."""
    project.add_server("--samples", "big:1x30")
    fault = {"match": "GET .*/download", "kind": "slow", "bytes_per_second": 400_000, "times": 1}
    assert project.control("POST", "/sandbox/faults", fault) == {}


def was_resumed(project: Project) -> bool:
    return any(row["status"] == 206 for row in project.control("GET", "/sandbox/log")["exchanges"])


def test_it_becomes_healthy_and_shows_what_it_has(daemon: Project):
    daemon.add_server("--samples", "many:3")
    daemon.up()
    wait_until(lambda: is_healthy(daemon), "the container is healthy")
    assert len(daemon.backups()) >= 3
    assert daemon.inside("id", "-u").strip() == "1000"
    assert "cvat" in page(daemon, "/").lower()
    assert page(daemon, "/healthz")
    assert "# TYPE" in page(daemon, "/metrics")
    state = daemon.state()
    assert state["Pid"] and not state["OOMKilled"]


def test_a_killed_job_is_noticed_and_the_next_one_goes_on_where_it_was(daemon: Project):
    slow_download(daemon)
    daemon.up()
    wait_until(lambda: downloading(daemon), "a download is under way")
    assert int(daemon.inside("python", "-c", KILL)) >= 1
    wait_until(lambda: is_healthy(daemon), "the next run has saved everything")
    assert len(daemon.backups()) == 1 and was_resumed(daemon)
    assert daemon.engine.inspect(daemon.container)["RestartCount"] == 0, "the scheduler itself has not ended"


def test_a_killed_scheduler_is_started_again_and_goes_on(daemon: Project):
    slow_download(daemon)
    daemon.up()
    wait_until(lambda: downloading(daemon), "a download is under way")
    os.kill(int(daemon.state()["Pid"]), signal.SIGKILL)
    wait_until(lambda: daemon.engine.inspect(daemon.container)["RestartCount"] >= 1, "it is started again")
    wait_until(lambda: is_healthy(daemon), "it has saved everything")
    assert len(daemon.backups()) == 1 and was_resumed(daemon)


def test_a_stop_in_the_middle_of_a_download_is_clean_and_the_next_start_resumes_it(daemon: Project):
    slow_download(daemon)
    daemon.up()
    wait_until(lambda: downloading(daemon), "a download is under way")
    began = time.monotonic()
    daemon.compose("stop", "cvat-backups")
    state = daemon.state()
    assert state["Status"] == "exited" and state["ExitCode"] == 0, daemon.logs()[-3000:]
    assert time.monotonic() - began < 100, "within the grace of CVAT_STOP_GRACE_SECONDS, not of compose"
    daemon.compose("start", "cvat-backups")
    wait_until(lambda: is_healthy(daemon), "it has saved everything")
    assert len(daemon.backups()) == 1 and was_resumed(daemon)


@pytest.mark.restarts_engine
def test_it_comes_back_with_the_engine(daemon: Project):
    daemon.change(depends_on=[])
    daemon.add_server("--samples", "many:2")
    daemon.up()
    wait_until(lambda: is_healthy(daemon), "the container is healthy")
    before = daemon.backups()
    daemon.engine.restart()
    wait_until(lambda: daemon.state()["Running"], "the container runs again")
    daemon.compose("up", "-d", "--no-build", "cvat")  # the played server has no restart policy
    wait_until(lambda: is_healthy(daemon), "it is healthy again")
    assert set(before) <= set(daemon.backups())


def lines(project: Project) -> list[str]:
    return [line for line in project.logs().splitlines() if line.strip()]


def test_without_settings_it_says_what_is_missing_and_does_not_flood_the_log(daemon: Project):
    daemon.schedule(NIGHTLY)
    daemon.up()
    wait_until(lambda: "CVAT_URL" in daemon.logs(), "it names what is missing")
    time.sleep(15)
    said = daemon.logs()
    assert "Traceback" not in said
    assert len(lines(daemon)) < 100, said[-3000:]


def test_a_folder_of_roots_is_named_with_the_command_and_the_log_is_not_flooded(daemon: Project):
    folder = daemon.folder / "backups"
    folder.mkdir(mode=0o755)
    daemon.add_server("--samples", "many:1")
    daemon.set(BACKUPS_VOLUME=str(folder))
    daemon.up()
    wait_until(lambda: "chown" in daemon.logs(), "it says what to do")
    time.sleep(15)
    said = daemon.logs()
    assert f"chown -R 1000:1000 {folder}" in said and "Traceback" not in said
    assert len(lines(daemon)) < 150, said[-3000:]
    os.chown(folder, 1000, 1000)
    wait_until(lambda: is_healthy(daemon), "it goes on by itself once the folder is its own")


def test_a_changed_crontab_counts_without_a_restart(daemon: Project):
    daemon.add_server("--samples", "many:2")
    daemon.schedule("0 0 1 1 * backup.py --mode p")
    daemon.configure(CVAT_SCHEDULE_CATCH_UP="false")
    daemon.up()
    wait_until(lambda: lines(daemon), "it has started")
    # As editors do it: a new file under the old name.
    (daemon.folder / "new").write_text(NIGHTLY + "\n")
    (daemon.folder / "new").replace(daemon.folder / "crontab")
    wait_until(lambda: is_healthy(daemon), "the new line has run")
    assert len(daemon.backups()) == 2


def test_the_demo_shows_a_living_system(project: Project):
    project.compose("--profile", "demo", "up", "-d", "--no-build")
    try:

        def shown() -> str:
            found = project.compose("--profile", "demo", "port", "demo", "8080", check=False).strip().splitlines()
            try:
                with urllib.request.urlopen(f"http://{found[-1]}/", timeout=30) as answer:
                    return answer.read().decode()
            except (OSError, IndexError):
                return ""

        wait_until(lambda: "Road signs" in shown(), "its page shows the projects")
        said = project.compose("--profile", "demo", "logs", "--no-color")
        assert "Traceback" not in said
        names = re.findall(r"^(\S+?)\s*\|", said, re.MULTILINE)
        assert any("demo" in name for name in names)
    finally:
        project.compose("--profile", "demo", "logs", "--no-color", check=False)


def test_both_ways_of_starting_it_are_the_same(project: Project, engine: Engine):
    for arguments in (("--env-file", ".env"), ()):
        assert project.compose(*arguments, "config", "--services").split()[0] == "cvat-backups"
        said = project.compose(*arguments, "config")
        assert f"container_name: {project.name}-local" in said and "under-test" in said
