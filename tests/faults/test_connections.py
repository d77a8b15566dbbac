"""The connection breaks, the server goes away or refuses for a while: a run waits, goes on, and everything is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import assert_all_saved, assert_equals_server, assert_sound, record_of, run_backup, when_asked

from sandbox.cvat import CvatSandbox, Fault

PHASES = {
    "about": "GET /api/server/about",
    "sign-in": "POST /api/auth/login",
    "who am I": "GET /api/users/self",
    "list of projects": r"GET /api/projects\?",
    "list of tasks": r"GET /api/tasks\?",
    "list of jobs": r"GET /api/jobs\?",
    "health": "GET /api/server/health/",
    "look at a project": "GET /api/projects/2$",
    "asking for the export": "POST /api/projects/2/backup/export",
    "first poll": "GET /api/requests/",
    "download": "GET /api/projects/2/backup/download",
    "annotations": "GET /api/jobs/2/annotations",
    "frames": "GET /api/tasks/2/data/meta",
}
phases = pytest.mark.parametrize("phase", PHASES.values(), ids=PHASES.keys())


@phases
def test_a_connection_cut_before_the_answer_is_survived(server: CvatSandbox, tmp_path: Path, phase: str) -> None:
    server.faults.add(Fault(phase, "cut", rst=True))
    server.faults.add(Fault(phase, "cut", skip=1))
    assert_all_saved(run_backup(server, tmp_path), server)


@phases
def test_a_connection_cut_inside_the_answer_is_survived(server: CvatSandbox, tmp_path: Path, phase: str) -> None:
    server.faults.add(Fault(phase, "cut", after_bytes=7))
    assert_all_saved(run_backup(server, tmp_path), server)


def test_an_export_that_was_asked_for_but_not_confirmed_is_adopted(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.export_seconds = 1.0
    server.faults.add(Fault("POST /api/projects/2/backup/export", "cut", after_handling=True))
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert server.log_count("POST /api/projects/2/backup/export") == 2
    assert [line["what"] for line in done.happened("export_adopted")] == ["project 2"]


@pytest.mark.parametrize("mode", ["p", "a"])
@pytest.mark.parametrize(
    "phase", [r"GET /api/labels\?", "GET /api/server/annotation/formats", "POST /api/projects/2/dataset/export"]
)
def test_cuts_in_the_other_phases_of_mode_a_are_survived(
    server: CvatSandbox, tmp_path: Path, mode: str, phase: str
) -> None:
    server.faults.add(Fault(phase, "cut", after_bytes=0 if mode == "p" else 5))
    done = run_backup(server, tmp_path, "--mode", "a")
    assert done.code == 0, done.said
    assert len(assert_sound(done.folder)) == 3


# --- restarts -----------------------------------------------------------------------------------------------------


@phases
@pytest.mark.parametrize("how", ["refused", "502", "503"])
def test_a_restart_of_the_server_is_waited_for(server: CvatSandbox, tmp_path: Path, phase: str, how: str) -> None:
    plain = phase.replace("\\", "").rstrip("$")
    when_asked(server, plain, lambda: server.restart(0.7, how))
    assert_all_saved(run_backup(server, tmp_path), server)


def test_a_server_that_is_down_at_first_is_waited_for(server: CvatSandbox, tmp_path: Path) -> None:
    server.restart(1.5)
    assert_all_saved(run_backup(server, tmp_path), server)


def test_a_server_that_stays_down_ends_the_run_naming_it(server: CvatSandbox, tmp_path: Path) -> None:
    server.stop()
    done = run_backup(server, tmp_path, CVAT_SERVER_WAIT_SECONDS="0.3")
    assert done.code == 1
    assert server.url in done.err
    assert done.last_run()["exit_code"] == 1
    assert done.last_run()["listed"] is None


def test_a_server_that_goes_for_good_leaves_what_was_saved(server: CvatSandbox, tmp_path: Path) -> None:
    when_asked(server, "GET /api/projects/3/backup/download", server.stop)
    done = run_backup(server, tmp_path, CVAT_SERVER_WAIT_SECONDS="0.6", CVAT_BACKUP_CONCURRENCY="1")
    assert done.code in (1, 3)
    assert done.outcomes()["project 3"] == "failed"
    assert all(path.suffix != ".zip" or path.with_name(path.name + ".json").exists() for path in done.folder.rglob("*"))


# --- throttling and server errors ---------------------------------------------------------------------------------


@phases
def test_throttling_is_obeyed(server: CvatSandbox, tmp_path: Path, phase: str) -> None:
    server.faults.add(Fault(phase, "status", status=429, headers={"Retry-After": "1"}, body={"detail": "throttled"}))
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    if "health" not in phase:
        assert [line["wait_seconds"] for line in done.happened("server_throttles")] == [1]


@phases
def test_a_hiccup_of_the_server_is_survived(server: CvatSandbox, tmp_path: Path, phase: str) -> None:
    server.faults.add(Fault(phase, "status", status=500))
    assert_all_saved(run_backup(server, tmp_path), server)


@pytest.mark.parametrize("phase", ["asking for the export", "look at a project", "download", "annotations", "frames"])
@pytest.mark.parametrize("status", [500, 403, 418])
def test_a_lasting_error_of_one_project_fails_only_it(
    server: CvatSandbox, tmp_path: Path, phase: str, status: int
) -> None:
    server.faults.add(Fault(PHASES[phase], "status", times=None, status=status))
    done = run_backup(server, tmp_path)
    assert done.code == 3, done.said
    assert done.outcomes() == {"project 1": "saved", "project 2": "failed", "project 3": "saved"}
    [failure] = done.last_run()["failures"]
    assert failure["source"]["id"] == 2
    assert "project 2" in done.out
    server.faults.clear()
    again = run_backup(server, tmp_path)
    assert again.outcomes() == {"project 1": "unchanged", "project 2": "saved", "project 3": "unchanged"}
    assert_all_saved(again, server)


@pytest.mark.parametrize("phase", ["about", "sign-in", "who am I", "list of projects", "list of tasks", "list of jobs"])
@pytest.mark.parametrize("status", [500, 403])
def test_a_lasting_error_before_the_list_is_known_ends_the_run(
    server: CvatSandbox, tmp_path: Path, phase: str, status: int
) -> None:
    server.faults.add(Fault(PHASES[phase], "status", times=None, status=status))
    done = run_backup(server, tmp_path)
    # A sign-in that is forbidden is one that will not work later either.
    assert done.code == (12 if (phase, status) == ("sign-in", 403) else 1)
    assert done.last_run()["exit_code"] == done.code
    assert str(status) in done.err
    assert assert_sound(done.folder) == []


def test_a_sign_in_that_expires_in_the_middle_is_renewed_once(server: CvatSandbox, tmp_path: Path) -> None:
    admin = next(iter(server.world.users.values()))

    def end_all_sessions() -> None:
        admin.key = ""

    when_asked(server, "POST /api/projects/2/backup/export", end_all_sessions)
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert server.log_count("POST /api/auth/login") == 2


def test_an_account_that_is_closed_in_the_middle_ends_the_run(server: CvatSandbox, tmp_path: Path) -> None:
    admin = next(iter(server.world.users.values()))

    def close_account() -> None:
        admin.key, admin.password = "", "other"

    when_asked(server, "POST /api/projects/3/backup/export", close_account)
    done = run_backup(server, tmp_path, CVAT_BACKUP_CONCURRENCY="1")
    assert done.code == 12, done.said
    assert done.last_run()["exit_code"] == 12
    assert admin.username in done.err


def test_a_token_that_is_revoked_in_the_middle_ends_the_run(server: CvatSandbox, tmp_path: Path) -> None:
    when_asked(server, "POST /api/projects/3/backup/export", server.world.access_tokens.clear)
    done = run_backup(server, tmp_path, CVAT_ACCESS_TOKEN=server.access_token, CVAT_USERNAME=None, CVAT_PASSWORD=None)
    assert done.code == 12, done.said
    assert server.log_count("POST /api/auth/login") == 0


@pytest.mark.parametrize("status", [401, 403, 404, 302, 503])
def test_a_health_page_that_is_closed_to_us_only_warns(server: CvatSandbox, tmp_path: Path, status: int) -> None:
    headers = {"Location": "http://elsewhere.example/login"} if status == 302 else {}
    server.faults.add(Fault("GET /api/server/health/", "status", times=None, status=status, headers=headers))
    done = run_backup(server, tmp_path, CVAT_ACCESS_TOKEN=server.access_token, CVAT_USERNAME=None, CVAT_PASSWORD=None)
    assert_all_saved(done, server)
    assert len(done.happened("server_health_unclear")) == 1


def test_a_task_shared_by_a_page_limit_of_one_is_still_listed(server: CvatSandbox, tmp_path: Path) -> None:
    patched = "import common.cvat.listing as listing\nlisting.pages.__defaults__ = (None, 1)\n"
    assert_all_saved(run_backup(server, tmp_path, patched=patched), server)


@pytest.mark.parametrize("what", ["add_project", "delete_project"])
def test_a_list_that_changes_while_it_is_read_skips_nothing(server: CvatSandbox, tmp_path: Path, what: str) -> None:
    patched = "import common.cvat.listing as listing\nlisting.pages.__defaults__ = (None, 1)\n"
    # When the second page is asked for, the first project goes, or a new one comes.
    action = {
        "add_project": lambda: server.world.add_project("new"),
        "delete_project": lambda: server.world.delete_project(1),
    }[what]
    when_asked(server, "GET /api/projects?page_size=1&sort=id&filter", action)
    done = run_backup(server, tmp_path, patched=patched)
    assert done.code == 0, done.said
    for number in (2, 3):
        assert_equals_server(server, done.folder, record_of(done.folder, "project", number))
