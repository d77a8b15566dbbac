"""Nights of backup.py against a played server, with sweeper.py after each; and sources that vanish from the server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from running import ROOT, run_backup

import sweeper
from common.backups.journal import Journal
from common.backups.record import read, to_json
from common.files import write_json
from common.text import iso, parse_time
from sandbox.cvat import CvatSandbox
from sandbox.cvat.http import Response, json_response


def later(folder: Path, days: float) -> None:
    """Everything that was saved or written down so far was so many days earlier."""
    for path in folder.glob("*/*/*.zip.json"):
        record = to_json(read(path))
        moment = parse_time(record["finished_at"]) - timedelta(days=days)
        write_json(path, record | {"finished_at": iso(moment)})
    for path in folder.glob("*/runs.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        moved = [line | {"at": iso(parse_time(line["at"]) - timedelta(days=days))} for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in moved))


def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setenv("CVAT_ENV_DIR", str(tmp_path))
    return sweeper.main([*flags, "--dir", str(tmp_path / "backups"), "--log-format", "json"])


def count(tmp_path: Path, source: int) -> int:
    return len(list((tmp_path / "backups").glob(f"*/project-{source}-*/*.zip.json")))


def test_ten_nights_with_a_failed_one_and_a_gap(server: CvatSandbox, tmp_path: Path, monkeypatch, capsys):
    flags = ("--ttl", "72", "--min-num-backups", "2")
    for _night in range(6):
        assert run_backup(server, tmp_path, "--force").code == 0
        assert sweep(tmp_path, monkeypatch, *flags) == 0
        later(tmp_path / "backups", 1)
    assert count(tmp_path, 1) == 3  # today's, and those of the last two days

    later(tmp_path / "backups", 5)
    assert sweep(tmp_path, monkeypatch, *flags) == 0
    assert count(tmp_path, 1) == 3  # the server of backup.py was off for five days: nothing goes
    assert run_backup(server, tmp_path, "--force").code == 0
    assert sweep(tmp_path, monkeypatch, *flags) == 0
    assert count(tmp_path, 1) == 4  # and not at once when it is back

    for _night in range(4):
        later(tmp_path / "backups", 1)
        assert run_backup(server, tmp_path, "--force").code == 0
        assert sweep(tmp_path, monkeypatch, *flags) == 0
    assert count(tmp_path, 1) == 3
    assert capsys.readouterr().out.count("FAILED") == 0


def test_a_project_deleted_on_the_server_is_absent_and_vanishes_after_two_runs_a_day_apart(
    server: CvatSandbox, tmp_path: Path, monkeypatch
):
    flags = ("--ttl", "1", "--orphan-days", "10", "--min-num-backups", "1")
    run_backup(server, tmp_path)
    later(tmp_path / "backups", 20)
    server.world.delete_project(2)
    first = run_backup(server, tmp_path)
    assert first.last_run()["absent"] == 1
    assert "1 source no longer on the server; the backups stay: project 2" in first.out
    assert [line["outcome"] for line in first.journal if line["source"]["id"] == 2] == ["saved", "absent"]
    assert first.code == 0
    later(tmp_path / "backups", 12)
    sweep(tmp_path, monkeypatch, *flags)
    assert count(tmp_path, 2) == 1  # told so once
    run_backup(server, tmp_path)
    sweep(tmp_path, monkeypatch, *flags)
    assert count(tmp_path, 2) == 1  # told so twice, but only now
    later(tmp_path / "backups", 11)
    sweep(tmp_path, monkeypatch, "--ttl", "1", "--min-num-backups", "1")
    assert count(tmp_path, 2) == 1  # nobody set CVAT_BACKUP_ORPHAN_DAYS
    sweep(tmp_path, monkeypatch, *flags)
    assert count(tmp_path, 2) == 0
    assert count(tmp_path, 1) == count(tmp_path, 3) == 3


def journalled(tmp_path: Path) -> list[str]:
    [server] = (tmp_path / "backups").iterdir()
    return [attempt.outcome for attempt in Journal(server).attempts() if attempt.outcome == "absent"]


@pytest.mark.parametrize("answer", [403, 500, "a proxy's 404"])
def test_no_other_answer_than_cvats_own_404_counts(server: CvatSandbox, tmp_path: Path, answer):
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    plain = server.answer

    def other(request, faults):
        if request.target.split("?")[0] == "/api/projects/2":
            if answer == "a proxy's 404":
                return Response(404, [("Content-Type", "text/html")], b"<html><title>not here</title></html>")
            return json_response({"detail": "no"}, int(answer))
        return plain(request, faults)

    server.answer = other  # type: ignore[method-assign]
    done = run_backup(server, tmp_path)
    assert done.code == 0
    assert journalled(tmp_path) == []


def test_neither_a_filter_nor_an_organization_nor_a_dry_run_makes_anything_absent(server: CvatSandbox, tmp_path: Path):
    run_backup(server, tmp_path)
    run_backup(server, tmp_path, CVAT_BACKUP_INCLUDE="project:1")
    run_backup(server, tmp_path, "--mode", "a")
    server.world.delete_project(2)
    run_backup(server, tmp_path, "--dry-run")
    run_backup(server, tmp_path, CVAT_ORGANIZATION="@personal")
    assert journalled(tmp_path) == []


def test_an_empty_or_another_server_at_the_same_address_makes_nothing_absent(server: CvatSandbox, tmp_path: Path):
    run_backup(server, tmp_path)
    for project in (1, 2, 3):
        server.world.delete_project(project)
    server.world.add_project("of somebody else")
    time.sleep(1.1)  # stamps count seconds
    for _run in range(3):
        assert run_backup(server, tmp_path, "--force").code == 0
        later(tmp_path / "backups", 1)
    assert journalled(tmp_path) == []


def test_an_id_that_now_belongs_to_another_project_is_absent_too(server: CvatSandbox, tmp_path: Path):
    run_backup(server, tmp_path)
    server.world.projects[2].created_date += timedelta(days=1)
    assert run_backup(server, tmp_path).code == 0
    assert journalled(tmp_path) == ["absent"]


def test_one_question_is_asked_for_each_absent_source_and_none_for_the_others(server: CvatSandbox, tmp_path: Path):
    run_backup(server, tmp_path)
    server.world.delete_project(2)
    before = len(server.log)
    run_backup(server, tmp_path)
    asked = [line.line for line in list(server.log)[before:]]
    assert sum(line.startswith("GET /api/projects/2") for line in asked) == 1
    assert sum(line.startswith(("GET /api/projects/1", "GET /api/projects/3")) for line in asked) == 0


def test_the_wrapper_uses_the_users_settings_and_nothing_else(tmp_path: Path):
    text = (ROOT / "run-locally-sweeper.sh").read_text()
    assert "TTL" not in text and "MIN_NUM" not in text
    assert "deploy/venv.sh" in text
    done = subprocess.run(
        [sys.executable, str(ROOT / "sweeper.py"), "--print-config"], capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "CVAT_ENV_DIR": str(tmp_path), "CVAT_BACKUP_TTL_HOURS": "99"},
    )  # fmt: skip
    assert "CVAT_BACKUP_TTL=99.0" in done.stdout
