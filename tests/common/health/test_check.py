"""The question of HEALTHCHECK, from two small files: stale or missing ones are never healthy."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from common.health.check import FRESH_FOR, health_check, state_dir, why_unhealthy
from common.health.health import verdict_json
from tests.common.health.shelves import HOUR, NOW, a_good_night

ROOT = Path(__file__).resolve().parents[3]


def look(shelves):
    (shelves.state / "health.json").write_text(json.dumps(verdict_json(shelves.snapshot())))


def test_what_was_found_healthy_is_healthy_while_it_is_fresh(shelves, capsys):
    a_good_night(shelves)
    look(shelves)
    assert health_check(shelves.state, NOW) == 0
    assert capsys.readouterr().out == "healthy: everything is backed up\n"
    shelves.scheduler(beat_at=NOW + HOUR)
    assert health_check(shelves.state, NOW + HOUR) == 1
    assert "nobody has looked at the backups since 2026-11-21T05:00:00Z" in capsys.readouterr().out


def test_a_scheduler_without_a_beat_is_unhealthy_although_the_verdict_was_good(shelves):
    a_good_night(shelves)
    look(shelves)
    [reason] = why_unhealthy(shelves.state, NOW + timedelta(minutes=4))
    assert reason == "the scheduler does not live: its last sign of life is of 2026-11-21T05:00:00Z"
    assert timedelta(minutes=4) < FRESH_FOR


def test_a_scheduler_that_was_stopped_is_unhealthy_at_once(shelves):
    a_good_night(shelves)
    look(shelves)
    path = shelves.state / "scheduler.json"
    path.write_text(path.read_text().replace('"stopping": false', '"stopping": true'))
    assert why_unhealthy(shelves.state, NOW) == ["the scheduler has been stopped, or is just stopping"]


def test_reasons_are_printed_and_counted(shelves, capsys):
    shelves.scheduler()
    shelves.list(*(shelves.source(number) for number in range(1, 101)))
    look(shelves)
    assert health_check(shelves.state, NOW) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("unhealthy: project 1 (Road signs): no verified backup")
    assert len(lines) == 11 and lines[-1].strip() == "and 41 more"
    assert why_unhealthy(shelves.state, NOW)[-1] == "and 50 more"


@pytest.mark.parametrize("name", ["health.json", "scheduler.json"])
@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"at": 1, "beat_at": "x"}'])
def test_missing_and_damaged_files_are_unhealthy(shelves, name, text):
    a_good_night(shelves)
    look(shelves)
    if text is None:
        (shelves.state / name).unlink()
    else:
        (shelves.state / name).write_text(text)
    [reason] = why_unhealthy(shelves.state, NOW)
    assert name in reason or "cannot be read" in reason


def test_the_question_is_cheap_to_ask():
    code = "import sys, common.health.check; print([name for name in sys.modules if name.split('.')[0] in sys.argv])"
    heavy = ["pydantic", "structlog", "rich", "requests", "jinja2", "prometheus_client", "apscheduler"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_the_state_folder_is_found_as_the_scheduler_finds_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert state_dir({}, tmp_path) == ROOT / "state"
    (tmp_path / ".env").write_text("CVAT_STATE_DIR=mine\n")
    assert state_dir({}, tmp_path) == state_dir({"CVAT_ENV_DIR": str(tmp_path)}) == tmp_path / "mine"
    (tmp_path / ".env.local").write_text("CVAT_STATE_DIR=/elsewhere\n")
    assert state_dir({}, tmp_path) == Path("/elsewhere")
    assert state_dir({"CVAT_STATE_DIR": "here"}, tmp_path) == tmp_path / "here"
    (tmp_path / ".env.local").write_text("no assignment\n")
    assert state_dir({}, tmp_path) == tmp_path / "mine"


@pytest.mark.parametrize("flags", [["--health"], ["--health", "--health-port", "0"]])
def test_the_scheduler_answers_the_question_with_an_exit_code(shelves, flags):
    a_good_night(shelves)
    look(shelves)
    environ = {"CVAT_STATE_DIR": str(shelves.state), "PATH": "", "CVAT_ENV_DIR": str(shelves.root)}
    command = [sys.executable, str(ROOT / "scheduler.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stdout.startswith("unhealthy: the scheduler does not live")  # it was alive on the day of the tests
