"""Who we are, where we look, and how passwords reach the program."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import (
    add_project,
    assert_adds_up,
    assert_all_saved,
    assert_sound,
    path_of,
    program,
    record_of,
    records,
    run_backup,
)

from sandbox.cvat import CvatSandbox, Fault

AWKWARD_PASSWORD = "a;b$c\"d'e#f${X} g `h` \\i  %j"


@pytest.fixture(scope="module")
def demo() -> Iterator[CvatSandbox]:
    with CvatSandbox(samples="demo", export_seconds=0.01, anonymous_per_minute=10_000) as sandbox:
        yield sandbox


# --- organizations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("organization", "place"), [("acme", "acme"), ("beta-lab", "beta-lab"), ("@personal", None)])
def test_one_organization_is_saved_and_nothing_else(
    demo: CvatSandbox, tmp_path: Path, organization: str, place: str | None
) -> None:
    wanted = demo.world.org_named(place).id if place else None
    done = run_backup(demo, tmp_path, CVAT_ORGANIZATION=organization)
    assert done.code == 0, done.said
    found = assert_sound(done.folder)
    assert {record.source.organization_id for record in found} == {wanted}
    here = {project.id for project in demo.world.projects.values() if project.organization_id == wanted}
    assert {record.source.id for record in found if record.source.kind == "project"} == here


def test_an_unknown_organization_is_named(demo: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(demo, tmp_path, CVAT_ORGANIZATION="acmee")
    assert done.code == 2
    assert "'acmee'" in done.err
    assert "CVAT_ORGANIZATION" in done.err


def test_an_account_that_sees_nothing_is_told_which_rights_it_lacks(demo: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(demo, tmp_path, CVAT_USERNAME="bob")
    assert done.code == 1
    assert "'bob'" in done.err
    assert "maintainer" in done.err
    assert done.last_run()["exit_code"] == 1
    assert records(done.folder) == []


def test_an_account_that_sees_a_part_saves_it_and_is_warned(demo: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(demo, tmp_path, CVAT_USERNAME="alice")
    assert done.code == 0, done.said
    assert done.happened("account_sees_a_part")
    assert 0 < len(assert_sound(done.folder)) < len(demo.world.projects)


# --- credentials --------------------------------------------------------------------------------------------------


def test_a_read_only_token_is_enough_for_everything(server: CvatSandbox, tmp_path: Path) -> None:
    who = {"CVAT_ACCESS_TOKEN": server.access_token, "CVAT_USERNAME": None, "CVAT_PASSWORD": None}
    done = run_backup(server, tmp_path, "--mode", "p", "a", **who)
    assert done.code == 0, done.said
    assert len(assert_sound(done.folder)) == 6
    assert server.log_count("POST /api/auth/login") == 0
    assert server.access_token not in done.said


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_secrets_are_read_from_files(server: CvatSandbox, tmp_path: Path, ending: str) -> None:
    admin = next(iter(server.world.users.values()))
    admin.password = AWKWARD_PASSWORD
    (tmp_path / "password").write_bytes((AWKWARD_PASSWORD + ending).encode())
    by_password = {"CVAT_PASSWORD": None, "CVAT_PASSWORD_FILE": str(tmp_path / "password")}
    assert run_backup(server, tmp_path, **by_password).code == 0
    (tmp_path / "token").write_bytes((server.access_token + ending).encode())
    by_token = {"CVAT_USERNAME": None, "CVAT_PASSWORD": None, "CVAT_ACCESS_TOKEN_FILE": str(tmp_path / "token")}
    assert run_backup(server, tmp_path, "--force", **by_token).code == 0


@pytest.mark.parametrize("quote", ["", "'", '"'])
def test_a_password_in_env_local_means_itself(server: CvatSandbox, tmp_path: Path, quote: str) -> None:
    next(iter(server.world.users.values())).password = AWKWARD_PASSWORD
    own = program(tmp_path / "installed")
    lines = [f"CVAT_URL={server.url}/", f"CVAT_PASSWORD={quote}{AWKWARD_PASSWORD}{quote}", "CVAT_USERNAME=admin"]
    (own / ".env.local").write_text("\n".join(lines) + "\n")
    silent = {"CVAT_URL": None, "CVAT_USERNAME": None, "CVAT_PASSWORD": "", "X": "interpolated"}
    done = run_backup(server, tmp_path, folder=own, **silent)
    assert_all_saved(done, server)
    assert AWKWARD_PASSWORD not in done.said
    shown = run_backup(server, tmp_path, "--print-config", folder=own, **silent)
    assert AWKWARD_PASSWORD not in shown.said
    assert server.url in shown.out


def test_the_environment_wins_over_env_local(server: CvatSandbox, tmp_path: Path) -> None:
    own = program(tmp_path / "installed")
    (own / ".env.local").write_text("CVAT_PASSWORD=wrong\nCVAT_URL=http://nobody.invalid\n")
    assert_all_saved(run_backup(server, tmp_path, folder=own), server)


WRONG = [
    {"CVAT_PASSWORD": "wrong"},
    {"CVAT_USERNAME": "nobody"},
    {"CVAT_USERNAME": "nobody@example.com"},
    {"CVAT_ACCESS_TOKEN": "wrong", "CVAT_USERNAME": None, "CVAT_PASSWORD": None},
]


@pytest.mark.parametrize("who", WRONG, ids=lambda who: " ".join(who))
def test_wrong_credentials_end_the_run_at_once_naming_user_and_server(
    server: CvatSandbox, tmp_path: Path, who: dict[str, str | None]
) -> None:
    done = run_backup(server, tmp_path, **who)
    assert done.code == 12
    assert server.url in done.err
    assert (who.get("CVAT_USERNAME") or ("token" if "CVAT_ACCESS_TOKEN" in who else "admin")) in done.err
    assert done.last_run()["exit_code"] == 12
    assert server.log_count("GET /api/projects") == 0


MISSING = [
    ({"CVAT_URL": None}, "CVAT_URL", "--demo"),
    ({"CVAT_USERNAME": None}, "CVAT_USERNAME", "CVAT_ACCESS_TOKEN"),
    ({"CVAT_PASSWORD": None}, "CVAT_PASSWORD", "CVAT_ACCESS_TOKEN"),
    ({"CVAT_URL": "ftp://cvat.example.com"}, "CVAT_URL", "https://"),
    ({"CVAT_BACKUP_CONCURRENCY": "many"}, "CVAT_BACKUP_CONCURRENCY", "number"),
    ({"CVAT_BACKUP_REQUEST_TIMEOUT_HOURS": "0"}, "CVAT_BACKUP_REQUEST_TIMEOUT_HOURS", "more than 0"),
    ({"CVAT_BACKUP_INCLUDE": "project:"}, "CVAT_BACKUP_INCLUDE", "id"),
]


@pytest.mark.parametrize(("settings", "named", "hint"), MISSING, ids=lambda value: str(value))
def test_a_bad_setting_is_named_before_anything_is_done(
    server: CvatSandbox, tmp_path: Path, settings: dict[str, str | None], named: str, hint: str
) -> None:
    done = run_backup(server, tmp_path, **settings)
    assert done.code == 2
    assert named in done.err
    assert hint in done.err
    assert not done.folder.exists()
    assert len(server.log) == 0


def test_an_unknown_mode_and_an_unknown_format_are_named(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, "--mode", "x")
    assert (done.code, "'x'" in done.err) == (2, True)
    done = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_FORMAT="COCO 1.1")
    assert (done.code, "COCO 1.0" in done.err) == (2, True)


@pytest.mark.parametrize("page", ["/", "/projects", "/projects/2?page=3", "/tasks/1/jobs/1", "/auth/login"])
def test_a_pasted_page_address_is_understood(server: CvatSandbox, tmp_path: Path, page: str) -> None:
    assert_all_saved(run_backup(server, tmp_path, CVAT_URL=server.url + page), server)


def test_an_address_that_is_no_cvat_is_named(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault("GET /api/server/about", "status", times=None, status=200, body="<html>hello</html>"))
    done = run_backup(server, tmp_path)
    assert done.code == 1
    assert "CVAT_URL" in done.err


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "warned"),
    [("2.30.0", False), ("2.80.0", False), ("2.29.0", True), ("3.1", True), ("dev", True)],
)
def test_any_version_of_the_server_is_backed_up_with_a_warning_at_most(
    server: CvatSandbox, tmp_path: Path, version: str, warned: bool
) -> None:
    server.world.version = version
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert bool(done.happened("server_version")) is warned
    assert record_of(done.folder, "project", 1).server.version == version


# --- identity -----------------------------------------------------------------------------------------------------


def test_renaming_a_project_does_not_split_its_history(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    server.world.rename_project(2, "quite another name")
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    both = [path_of(done.folder, record).parent for record in records(done.folder) if record.source.id == 2]
    assert len(both) == 2
    assert len(set(both)) == 1


def test_after_a_reinstall_the_same_id_begins_a_history_of_its_own(tmp_path: Path) -> None:
    with CvatSandbox(samples="many:2", anonymous_per_minute=10_000) as old:
        first = run_backup(old, tmp_path)
        port = old.port
    before = {path: path.read_bytes() for path in first.folder.rglob("*.zip*")}
    with CvatSandbox(samples="many:2", port=port, anonymous_per_minute=10_000) as new:
        done = run_backup(new, tmp_path)
        assert done.outcomes() == {"project 1": "saved", "project 2": "saved"}
        assert_all_saved(done, new)
    folders = {path_of(done.folder, record).parent for record in records(done.folder) if record.source.id == 1}
    assert len(folders) == 2
    assert all(path.read_bytes() == content for path, content in before.items())


def test_two_servers_share_a_backup_folder_in_peace(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with CvatSandbox(samples="many:3", anonymous_per_minute=10_000) as other:
        assert run_backup(other, tmp_path).code == 0
    assert len(assert_sound(tmp_path / "backups")) == 6
    assert len([path for path in (tmp_path / "backups").iterdir() if path.is_dir()]) == 2


def test_a_backup_folder_that_was_moved_is_still_known(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "backups", tmp_path / "elsewhere" / "backups")
    done = run_backup(server, tmp_path, CVAT_BACKUP_DIR=str(tmp_path / "elsewhere" / "backups"))
    assert done.code == 0
    assert server.log_count("POST .*/export") == 3


# --- gentleness ---------------------------------------------------------------------------------------------------


def test_what_exceeds_the_days_limit_is_postponed_and_comes_first_next_time(
    server: CvatSandbox, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        add_project(server, name, megabytes=2)
    one_at_a_time = {"CVAT_BACKUP_CONCURRENCY": "1", "CVAT_BACKUP_MAX_GB_PER_DAY": "0.002"}
    patched = "import common.crew as crew\ncrew.min = lambda *numbers: 1\n"
    done = run_backup(server, tmp_path, patched=patched, **one_at_a_time)
    assert done.code == 0, done.said
    assert_adds_up(done, server)
    assert done.outcomes()["project 5"] == "postponed"
    assert "postponed" in done.out
    saved = [source for source, outcome in done.outcomes().items() if outcome == "saved"]
    assert saved == ["project 1", "project 2", "project 3", "project 4"]
    again = run_backup(server, tmp_path, patched=patched, **one_at_a_time)
    assert again.outcomes()["project 5"] == "postponed"
    server.world.add_shape(1, "car")
    # Before anything else is imported: each module takes `now` along when it is.
    tomorrow = (
        "import datetime, common.text\n"
        "common.text.now = lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=25)\n"
    ) + patched
    last = run_backup(server, tmp_path, patched=tomorrow, **one_at_a_time)
    assert next(source for source, outcome in last.outcomes().items() if outcome == "saved") == "project 5"
    assert_sound(done.folder)


QUICK_GATE = "import common.cvat.health as health\nhealth.CLOSED_POLL_SECONDS = health.FRESH_SECONDS = 0.1\n"


def test_trouble_of_the_server_holds_exports_back_until_it_is_over(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.health["DiskUsage"] = "warning: host 95.2% disk usage exceeds 90%"
    looked = []
    plain_answer = server.answer

    def answer(request, faults):  # type: ignore[no-untyped-def]
        if request.path == "/api/server/health/":
            looked.append(server.log_count("POST .*/export"))
            if len(looked) == 5:
                server.world.health["DiskUsage"] = "working"
        return plain_answer(request, faults)

    server.answer = answer  # type: ignore[method-assign]
    done = run_backup(server, tmp_path, patched=QUICK_GATE)
    assert_all_saved(done, server)
    assert looked[:5] == [0, 0, 0, 0, 0]
    assert done.happened("exports_held_back")
    assert done.happened("exports_go_on")


@pytest.mark.parametrize("check", ["DiskUsage", "MemoryUsage", "Cache backend: media", "DatabaseBackend[default]"])
def test_trouble_that_does_not_end_fails_the_items_and_says_which(
    server: CvatSandbox, tmp_path: Path, check: str
) -> None:
    server.world.health[check] = "unavailable: full"
    done = run_backup(server, tmp_path, patched=QUICK_GATE, CVAT_BACKUP_REQUEST_TIMEOUT_HOURS="0.0002")
    assert done.code == 1
    assert server.log_count("POST .*/export") == 0
    assert all(check in failure["reason"] for failure in done.last_run()["failures"])
    ungated = run_backup(server, tmp_path, CVAT_BACKUP_HEALTH_GATE="false")
    assert_all_saved(ungated, server)


def test_other_trouble_only_warns(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.health["OPAHealthCheck"] = "unavailable: no answer"
    done = run_backup(server, tmp_path)
    assert_all_saved(done, server)
    assert len(done.happened("server_health_unclear")) == 1


# --- words and codes ----------------------------------------------------------------------------------------------


def test_the_settings_in_force_are_shown_without_secrets(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, "--print-config", "--concurrency", "3", CVAT_ACCESS_TOKEN="t0ken-secret")
    assert done.code == 0
    assert server.password not in done.said
    assert "t0ken-secret" not in done.said
    assert "CVAT_BACKUP_CONCURRENCY=3" in done.out
    assert "CVAT_PASSWORD=********" in done.out
    assert len(server.log) == 0


def test_a_mistyped_setting_is_reported_with_the_nearest_name(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, CVAT_BACKUP_CONCURENCY="3")
    assert_all_saved(done, server)
    assert "CVAT_BACKUP_CONCURRENCY" in done.happened("unknown_setting")[0]["detail"]


def test_listing_an_empty_shelf_says_so(server: CvatSandbox, tmp_path: Path) -> None:
    done = run_backup(server, tmp_path, "--list")
    assert done.code in (0, 1)
    assert str(done.folder) in done.out
    assert not done.folder.exists()


def test_everything_failing_is_exit_code_1_and_something_failing_3(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault("POST .*/export", "fail", times=None))
    assert run_backup(server, tmp_path).code == 1
    server.faults.clear()
    server.faults.add(Fault("POST /api/projects/1/backup/export", "fail", times=None))
    assert run_backup(server, tmp_path).code == 3
