"""What FiftyOne is started with: the credentials of CVAT when the switch is on, nothing of them when it is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fiftyone_app
from common.annotating import app
from common.annotating.app_settings import AppSettings

ROOT = Path(app.__file__).resolve().parents[2]
SECRET = "0012345,$x"


def settings(**values: str) -> AppSettings:
    given = {"CVAT_SYNC": "true", "CVAT_URL": "https://cvat.example.com/projects/5", "CVAT_USERNAME": "alice"}
    return AppSettings.model_validate(given | {"CVAT_PASSWORD": SECRET} | values)


def test_only_what_is_not_empty_is_handed_on():
    assert app.handed_on(settings(), {}) == {
        "FIFTYONE_CVAT_URL": "https://cvat.example.com",
        "FIFTYONE_CVAT_USERNAME": "alice",
        "FIFTYONE_CVAT_PASSWORD": SECRET,
    }
    assert app.handed_on(settings(CVAT_EMAIL="a@b.c"), {})["FIFTYONE_CVAT_EMAIL"] == "a@b.c"
    assert app.handed_on(AppSettings.model_validate({"CVAT_SYNC": "true"}), {}) == {}


def test_what_else_is_set_for_the_backend_goes_along_but_ours_wins():
    given = {"FIFTYONE_CVAT_TASK_SIZE": "4", "FIFTYONE_CVAT_PASSWORD": "old", "FIFTYONE_CVAT_EMAIL": ""}
    found = app.handed_on(settings(), given)
    assert found["FIFTYONE_CVAT_TASK_SIZE"] == "4" and found["FIFTYONE_CVAT_PASSWORD"] == SECRET
    assert "FIFTYONE_CVAT_EMAIL" not in found


def test_with_the_switch_off_nothing_of_cvat_reaches_fiftyone():
    values = {
        "CVAT_URL": "https://cvat.example.com",
        "CVAT_USERNAME": "alice",
        "CVAT_PASSWORD": SECRET,
        "CVAT_SYNC": "false",
    }
    environ = {
        "PATH": "/bin", "CVAT_ACCESS_TOKEN": "t", "CVAT_PASSWORD_FILE": "/x", "FIFTYONE_CVAT_PASSWORD": "p",
        "SC_TOKEN": "s", "FIFTYONE_DATABASE_URI": "mongodb://mongo:27017",
    }  # fmt: skip
    begin = app.launch(AppSettings.model_validate(values), Path("/opt/python"), "serve", (), environ)
    assert begin.environment == {"PATH": "/bin", "FIFTYONE_DATABASE_URI": "mongodb://mongo:27017"}
    assert SECRET not in " ".join(begin.command)


def test_the_command_holds_no_secret_and_names_media_and_what_is_closed(tmp_path: Path):
    begin = app.launch(
        settings(FIFTYONE_MEDIA=str(tmp_path)), Path("/opt/python"), "serve", (), {"CVAT_ENV_DIR": "/etc"}
    )
    words = list(begin.command)
    assert words[:3] == ["/opt/python", "-P", str(ROOT / "common" / "fiftyone" / "app.py")]
    assert words[words.index("--media") + 1] == str(tmp_path)
    assert words[words.index("--closed") + 1] == "/etc"
    assert words[words.index("--address") + 1] == "127.0.0.1" and words[words.index("--port") + 1] == "5151"
    assert SECRET not in " ".join(words)
    assert "CVAT_ENV_DIR" not in begin.environment


def test_a_script_of_the_users_gets_the_same_environment():
    begin = app.launch(settings(), Path("/opt/python"), "python", ["example.py", "create"], {"PATH": "/bin"})
    assert begin.command == ("/opt/python", "example.py", "create")
    assert begin.environment == {"PATH": "/bin"} | app.handed_on(settings(), {})


def test_the_database_of_the_settings_is_that_of_the_app():
    begin = app.launch(settings(FIFTYONE_DATABASE_URI="mongodb://u:p@db"), Path("/opt/python"), "serve", (), {})
    assert begin.environment["FIFTYONE_DATABASE_URI"] == "mongodb://u:p@db"
    assert "u:p" not in " ".join(begin.command)


def test_what_keeps_annotating_from_working_is_said():
    [line] = app.what_is_missing(settings(CVAT_URL="http://cvat", CVAT_USERNAME=""), {"CVAT_ACCESS_TOKEN": "t"})
    assert "CVAT_USERNAME is not set" in line and "takes no access token" in line
    [line] = app.what_is_missing(settings(), {})
    assert "does not verify TLS" in line
    assert app.what_is_missing(settings(CVAT_SYNC="false", CVAT_URL="https://cvat", CVAT_USERNAME=""), {}) == []


def test_secrets_are_masked_when_shown():
    lines = app.shown_masked(
        {"FIFTYONE_CVAT_PASSWORD": SECRET, "FIFTYONE_CVAT_URL": "http://cvat", "FIFTYONE_CVAT_X": "y"}
    )
    assert lines == ["FIFTYONE_CVAT_PASSWORD=********", "FIFTYONE_CVAT_URL=http://cvat", "FIFTYONE_CVAT_X=********"]


def test_the_running_app_is_found_and_what_it_has_of_cvat(tmp_path: Path):
    assert app.of_the_running_app(tmp_path) is None
    for number, words in (("1", ["/sbin/docker-init"]), ("7", ["/opt/python", "-P", str(app.SERVER), "--port", "1"])):
        (tmp_path / number).mkdir()
        (tmp_path / number / "cmdline").write_text("\0".join(words) + "\0")
        (tmp_path / number / "environ").write_text("PATH=/bin\0FIFTYONE_CVAT_URL=http://a=b\0\0")
    assert app.of_the_running_app(tmp_path) == {"FIFTYONE_CVAT_URL": "http://a=b"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / ".env.local").write_text(
        f"CVAT_SYNC=true\nCVAT_URL=http://cvat.example.com\nCVAT_USERNAME=alice\nCVAT_PASSWORD_FILE={tmp_path / 'pass'}\n"
    )
    (tmp_path / "pass").write_text(SECRET + "\n")
    return folder


def run(config: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "CVAT_ENV_DIR": str(config), "FIFTYONE_SYNC_PYTHON": sys.executable} | more
    command = [sys.executable, str(ROOT / "fiftyone_app.py"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


PRINT = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if 'CVAT' in n}))"


def test_settings_of_files_arrive_and_nothing_else_of_ours(config: Path):
    def seen(**more: str) -> Any:
        done = run(config, "python", "--", "-c", PRINT, CVAT_ACCESS_TOKEN="t", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert seen() == {
        "FIFTYONE_CVAT_URL": "http://cvat.example.com",
        "FIFTYONE_CVAT_USERNAME": "alice",
        "FIFTYONE_CVAT_PASSWORD": SECRET,
    }
    assert seen(CVAT_SYNC="false", FIFTYONE_CVAT_PASSWORD="p") == {}


def test_show_tells_what_is_handed_on_without_secrets(config: Path):
    done = run(config, "show")
    assert done.returncode == 0
    assert "FIFTYONE_CVAT_PASSWORD=********" in done.stdout and "FIFTYONE_CVAT_USERNAME=alice" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    done = run(config, "show", CVAT_SYNC="false")
    assert "CVAT_SYNC=false\nnothing of CVAT is handed on to FiftyOne\n" in done.stdout
    assert "FIFTYONE_CVAT" not in done.stdout.partition("The App that runs here")[0]


def test_what_is_wrong_is_named_at_once(config: Path, tmp_path: Path):
    done = run(config, FIFTYONE_MEDIA=str(tmp_path / "nowhere"), FIFTYONE_APP_PORT="0", CVAT_SYNC="perhaps")
    assert done.returncode == 2
    assert done.stderr.count("configuration: ") == 3 and "is not a folder" in done.stderr


def test_show_says_that_a_restart_is_needed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(fiftyone_app, "of_the_running_app", lambda: {"FIFTYONE_CVAT_URL": "http://old"})
    assert fiftyone_app.show(settings(CVAT_URL="http://new")) == 0
    said = capsys.readouterr().out
    assert "restart it" in said and "FIFTYONE_CVAT_URL=http://old" in said
    monkeypatch.setattr(fiftyone_app, "of_the_running_app", lambda: app.handed_on(settings(), {}))
    assert fiftyone_app.show(settings()) == 0
    assert "has the same" in capsys.readouterr().out
