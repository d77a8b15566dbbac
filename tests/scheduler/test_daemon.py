"""scheduler.py as its users meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import wait_until
from scheduler_process import Scheduler, is_gone

from common.text import iso


def test_jobs_run_their_lines_are_named_and_their_ends_are_written_down(scheduler: Scheduler):
    scheduler.start(
        "@startup backup.py --say hello --env CVAT_LOCK_WAIT_MINUTES\n"
        "@startup restore.py --say broken --exit 1\n"
        '@after "backup.py --say hello --env CVAT_LOCK_WAIT_MINUTES" sweeper.py --exit 3\n'
        '@after "restore.py --say broken --exit 1" sweeper.py --never 1\n'
        '@after-partly "sweeper.py --exit 3" backup.py --mode t\n'
        "0 0 1 1 * backup.py --mode p\n"
    )
    scheduler.until(lambda: len(scheduler.runs) == 5, "five runs are written down")
    status = scheduler.status
    assert scheduler.stop() == 0
    by_job = {run["job"]: run for run in scheduler.runs}
    assert {job: run["outcome"] for job, run in by_job.items()} == {
        "backup say hello env CVAT_LOCK_WAIT_MINUTES": "good",
        "restore say broken exit 1": "failed",
        "sweeper exit 3": "some failed",
        "sweeper never 1": "not started",
        "backup t": "good",
    }
    failed = by_job["restore say broken exit 1"]
    assert failed["exit_code"] == 1 and sorted(failed["tail"]) == ["WARNING said what=broken", "broken"]
    said = [json.loads(line) for line in scheduler.out]
    mine = [line for line in said if line["job"] == "backup say hello env CVAT_LOCK_WAIT_MINUTES"]
    assert {line["run"] for line in mine} == {by_job[mine[0]["job"]]["run_id"]}
    assert {line.get("line") or line["what"] for line in mine} == {"hello", "ENV 240"}
    nightly = next(job for job in status["jobs"] if job["job"] == "backup p")
    assert nightly["next_at"].endswith("-01-01T00:00:00Z") and nightly["running_since"] is None


def test_as_text_every_line_begins_with_its_job(scheduler: Scheduler):
    scheduler.start("@startup backup.py --mode p --say hello\n", LOG_FORMAT="text")
    scheduler.until(lambda: scheduler.runs, "a run")
    assert scheduler.stop() == 0
    [plain] = [line for line in scheduler.out if line.endswith("hello\n")]
    assert plain.startswith("[backup p say hello ")


def test_a_job_that_still_runs_is_not_started_twice(scheduler: Scheduler):
    slow = "backup.py --name slow --until go"
    scheduler.start(
        f'@startup {slow}\n@startup sweeper.py --until slow.began\n@after "sweeper.py --until slow.began" {slow}\n'
    )
    scheduler.began("slow")
    scheduler.until(lambda: scheduler.events("job_skipped"), "due again while it runs, it is skipped")
    assert scheduler.events("job_skipped")[0]["skipped"] == 1
    (scheduler.folder / "go").touch()
    scheduler.until(lambda: ("backup", "good") in scheduler.outcomes, "it ends")
    assert scheduler.stop() == 0
    assert scheduler.outcomes == [("sweeper", "good"), ("backup", "skipped"), ("backup", "good")]
    assert scheduler.status["jobs"][0]["skipped"] == 1


def test_all_bad_lines_are_said_at_the_start_and_nothing_runs(scheduler: Scheduler):
    for arguments in ((), ("--check", "--next", "3")):
        scheduler.start("61 * * * * backup.py\n* * * * * rm -rf /\n@startup backup.py --name x\n", *arguments)
        assert scheduler.end() == 2
        said = "".join(scheduler.err)
        assert "line 1: '61' is no minute" in said and "line 2: 'rm' is no script" in said
    assert not (scheduler.folder / "x.began").exists()


def test_check_and_next_say_what_will_run_when(scheduler: Scheduler):
    scheduler.start(
        "CRON_TZ=Europe/Berlin\n0 0 1 1 * backup.py --mode p\n@startup sweeper.py\n", "--check", "--next", "1"
    )
    assert scheduler.end() == 0
    assert scheduler.out[0] == "All good: 2 lines (1 by the clock, 1 at the start of the daemon).\n"
    assert "01-01 00:00 Europe/Berlin  12-31 23:00 UTC  backup.py --mode p" in scheduler.out[1]
    assert "at the start of the daemon" in scheduler.out[2]


def test_a_changed_crontab_is_taken_over_and_a_bad_one_is_refused(scheduler: Scheduler):
    scheduler.start("@startup backup.py --name slow --until go\n0 0 1 1 * backup.py --mode p\n")
    pid = scheduler.began("slow")
    scheduler.crontab.write_text("0 0 * * backup.py\n70 * * * * sweeper.py\n")
    scheduler.until(lambda: len(scheduler.events("crontab_refused")) == 2, "both problems are said")
    scheduler.until(lambda: len(scheduler.status["crontab"]["problems"]) == 2, "they stand in the status")
    assert "backup p" in [job["job"] for job in scheduler.status["jobs"]]
    new = scheduler.folder / "new"
    new.write_text("0 0 1 1 * sweeper.py\n")
    os.replace(new, scheduler.crontab)
    scheduler.until(lambda: scheduler.status["jobs"][0]["job"] == "sweeper", "the new one is taken over")
    assert scheduler.status["crontab"]["problems"] == [] and not is_gone(pid)
    scheduler.crontab.write_text("0 0 1 1 * restore.py\n")
    assert scheduler.process is not None
    scheduler.process.send_signal(signal.SIGHUP)
    scheduler.until(lambda: scheduler.status["jobs"][0]["job"] == "restore", "SIGHUP reloads")
    (scheduler.folder / "go").touch()
    scheduler.until(lambda: ("backup", "good") in scheduler.outcomes, "the job was not disturbed")
    assert scheduler.stop() == 0


def test_a_stop_is_passed_on_waited_for_and_ends_with_0(scheduler: Scheduler):
    scheduler.start(
        '@startup backup.py --name slow --until never\n@after "backup.py --name slow --until never" sweeper.py\n'
    )
    pid = scheduler.began("slow")
    assert scheduler.stop() == 0
    assert is_gone(pid)
    assert scheduler.outcomes == [("backup", "stopped")] and scheduler.runs[0]["exit_code"] == 143
    assert scheduler.status["stopping"] is True


def test_a_job_that_does_not_end_within_the_grace_period_is_killed(scheduler: Scheduler):
    scheduler.start("@startup backup.py --deaf 1 --name deaf --until never\n", CVAT_STOP_GRACE_SECONDS="0.5")
    pid = scheduler.began("deaf")
    scheduler.until(lambda: _ignores_sigterm(pid), "it has made itself deaf")
    assert scheduler.stop() == 3
    assert is_gone(pid)
    assert "CVAT_STOP_GRACE_SECONDS" in "".join(scheduler.err) and scheduler.runs[0]["exit_code"] == 137


def _ignores_sigterm(pid: int) -> bool:
    [mask] = re.findall(r"SigIgn:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def test_kill_9_takes_the_jobs_along_and_the_next_start_says_what_had_been_running(scheduler: Scheduler):
    scheduler.start("@startup backup.py --name slow --until never\n")
    pid = scheduler.began("slow")
    scheduler.until(lambda: scheduler.status["jobs"][0]["running_since"], "the status says that it runs")
    scheduler.kill()
    wait_until(lambda: is_gone(pid), "the job ends with the daemon", 60)
    scheduler.start("0 0 1 1 * sweeper.py\n")
    scheduler.until(lambda: scheduler.outcomes == [("backup", "stopped")], "the interrupted run is written down")
    [run] = scheduler.runs
    assert run["exit_code"] is None and "without warning" in run["detail"]
    assert scheduler.stop() == 0


def test_what_a_job_leaves_behind_ends_with_it(scheduler: Scheduler):
    scheduler.start("@startup backup.py --leave left.pid\n")
    scheduler.until(lambda: scheduler.runs, "the run ends although something it started lives on")
    wait_until(lambda: is_gone(int((scheduler.folder / "left.pid").read_text())), "that ends too", 60)
    assert scheduler.stop() == 0


def test_what_was_missed_runs_once_at_the_start(scheduler: Scheduler):
    """Two days asleep: nightly and hourly lines run once each, one that succeeded in time does not."""
    old = iso(datetime.now(UTC) - timedelta(days=2))
    scheduler.state.mkdir()
    lines = [
        {"job": job, "line": "", "command": [], "run_id": "0", "outcome": "good", "exit_code": 0, "started_at": old,
         "ended_at": at, "seconds": 1, "because": "schedule", "version": 1}
        for job, at in (("backup p", old), ("backup a", old), ("restore verify", iso(datetime.now(UTC))))
    ]  # fmt: skip
    (scheduler.state / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    crontab = "0 0 * * * backup.py --mode p\n0 * * * * backup.py --mode a\n0 0 * * * restore.py --verify\n@yearly sweeper.py\n"
    scheduler.start(crontab, CVAT_SCHEDULE_CATCH_UP="true")
    scheduler.until(lambda: len(scheduler.runs) >= 5, "both missed lines run")
    assert scheduler.stop() == 0
    assert sorted((run["job"], run["because"]) for run in scheduler.runs[3:5]) == [
        ("backup a", "missed"),
        ("backup p", "missed"),
    ]
    assert all(run["because"] == "schedule" for run in scheduler.runs[5:])


def test_a_second_scheduler_of_the_same_state_folder_ends_with_11(scheduler: Scheduler, program):
    scheduler.start("0 0 1 1 * sweeper.py\n")
    scheduler.until(lambda: (scheduler.state / "scheduler.json").exists(), "the first one is up")
    second = Scheduler(program, scheduler.folder)
    second.start()
    assert second.end() == 11
    assert "scheduler.py is already running here" in "".join(second.err)
    assert scheduler.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a process 1")
def test_as_process_1_it_buries_orphans_and_stops_on_sigterm(scheduler: Scheduler):
    probe = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"no new process namespace here: {probe.stderr.decode()}")
    script = "import subprocess; subprocess.Popen(['setsid', 'sh', '-c', '(sleep 0.3) & (sleep 0.4) & exit 0']).wait()"
    extra = scheduler.program / "sc_migrate.py"
    extra.write_text(script)
    scheduler.start(
        "@startup sc_migrate.py\n@startup backup.py --name slow --until never\n",
        prefix=("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"), LOG_LEVEL="DEBUG",
    )  # fmt: skip
    scheduler.began("slow")
    scheduler.until(lambda: len(scheduler.events("orphan_reaped")) >= 2, "two orphans are buried")
    assert scheduler.status["pid"] == 1
    assert [run["exit_code"] for run in scheduler.runs] == [0]  # our own child's exit code was not taken away
    assert scheduler.process is not None
    children = Path(f"/proc/{scheduler.process.pid}/task/{scheduler.process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert scheduler.end() == 0
    extra.unlink()
