"""Folders and files of a round that are not as they should be: which, and what to do, in plain words."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import Played, state

from common.annotating.state import read_round
from common.exits import Exit, RunEnds
from sandbox.cvat import CvatSandbox

Sync = Callable[..., int]


def folder(tmp_path: Path) -> Path:
    return next((tmp_path / "state" / "fiftyone").glob("birds-*/round1-????????"))


@pytest.mark.parametrize(
    ("change", "said"), [({"phase": "foo"}, "phase 'foo'"), ({"tasks": []}, "it names no task"), ({"version": 9}, "version 9")]
)  # fmt: skip
def test_a_run_json_that_cannot_be_is_named_and_nothing_is_ended(
    sync: Sync, server: CvatSandbox, tmp_path: Path, change: dict[str, Any], said: str,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    assert sync("create") == Exit.ALL_GOOD
    path = folder(tmp_path) / "run.json"
    path.write_text(json.dumps(state(tmp_path) | change))
    for command in ("status", "load", "cleanup"):
        assert sync(command) == Exit.NOTHING_WORKED
        told = capsys.readouterr().err
        assert f"{path} is damaged ({said})" in told and "fault of the program" not in told
    assert len(server.world.tasks) == 2


def test_a_lost_run_json_is_told_with_the_folder_that_still_holds_the_rest(
    sync: Sync, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    found = folder(tmp_path)
    (found / "run.json").unlink()
    assert sync("load") == Exit.BAD_CONFIGURATION
    assert f"run.json is missing in {found}" in capsys.readouterr().err
    assert sync("create") == Exit.ALL_GOOD
    assert f"run.json is missing in {found}" in capsys.readouterr().err
    assert len(list(found.parent.glob("round1-*.*/originals.jsonl"))) == 1


def test_a_folder_that_is_lost_is_made_again_for_what_cvat_holds_now(sync: Sync, tmp_path: Path):
    assert sync("create") == Exit.ALL_GOOD
    shutil.rmtree(folder(tmp_path) / "current")
    assert sync("load") == Exit.ALL_GOOD


def test_a_file_in_the_place_of_the_state_folder_is_named(
    sync: Sync, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CVAT_STATE_DIR", str(tmp_path / "file"))
    for command in ("create", "status"):
        assert sync(command) == Exit.NOTHING_WORKED
        said = capsys.readouterr().err
        assert "Not a directory" in said and "in the way" in said and "fault of the program" not in said


def test_a_state_folder_that_is_mounted_for_reading_only_is_told(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    @contextlib.contextmanager
    def refused(path: Path, *_: Any) -> Iterator[None]:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        yield

    monkeypatch.setattr("common.annotating.state.locked", refused)
    assert sync("load") == Exit.NOTHING_WORKED
    said = capsys.readouterr().err
    assert "Read-only file system" in said and "CVAT_STATE_DIR" in said and "fault of the program" not in said


def test_a_good_file_of_somebody_else_is_not_to_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def denied(path: Path, **_: Any) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(RunEnds) as met:
        read_round(tmp_path / "run.json")
    assert "Permission denied" in met.value.why
    assert "writable for" in met.value.remedy and "remove" not in met.value.remedy


# --- check --------------------------------------------------------------------------------------------------------


def test_check_finds_what_create_would_refuse_also_where_the_dataset_could_be_made_of_a_folder(
    sync: Sync, played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("check", "--media-dir", str(tmp_path), "--frame-step", "2") == Exit.BAD_CONFIGURATION
    assert "only videos have frames" in capsys.readouterr().out
    assert not played.requests("build")


def test_check_names_the_settings_that_create_needs(
    sync: Sync, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("FIFTYONE_SYNC_LABEL_FIELD")
    assert sync("check") == Exit.ALL_GOOD
    assert "All good so far; create also needs FIFTYONE_SYNC_LABEL_FIELD." in capsys.readouterr().err


def test_check_waits_once_for_a_server_that_does_not_answer(
    sync: Sync, played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = []

    def unreachable(*_: Any) -> None:
        asked.append(1)
        raise RunEnds("CVAT cannot be reached.")

    monkeypatch.setattr("common.annotating.desk.connect", unreachable)
    assert sync("check") == Exit.NOTHING_WORKED
    assert len(asked) == 1 and played.requests("describe")
    assert "dataset   birds: 4 image" in capsys.readouterr().out


def test_a_dataset_that_was_made_is_told_when_the_rest_is_refused(
    sync: Sync, server: CvatSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create", "--media-dir", str(tmp_path), "--frame-step", "2") == Exit.BAD_CONFIGURATION
    assert f"but for the dataset, which was made of {tmp_path} and stays" in capsys.readouterr().err
    assert not server.world.tasks
