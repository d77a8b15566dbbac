"""Answers of CVAT that are none of CVAT's must never look like what people did there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import Played, state

from common.exits import Exit
from sandbox.cvat import CvatSandbox, Fault

Sync = Callable[..., int]
NO_ANNOTATIONS = [
    {},
    [],
    {"tags": [], "shapes": []},
    {"tags": [], "shapes": None, "tracks": []},
    {"tags": [], "shapes": [{"id": 1, "frame": 0, "label_id": 987654}], "tracks": []},
    {"tags": [], "shapes": [{"frame": 0, "label_id": 1}], "tracks": []},
]


@pytest.mark.parametrize("body", NO_ANNOTATIONS, ids=str)
def test_an_answer_that_is_no_list_of_annotations_is_not_loaded_as_if_all_labels_were_deleted(
    sync: Sync, server: CvatSandbox, played: Played, body: Any, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("GET /api/tasks/2/annotations", "status", status=200, body=body, times=None))
    assert sync("load") == Exit.SOME_FAILED
    assert [each["tasks"] for each in played.requests("load")] == [[1]]
    assert "FAILED         task 2: GET /api/tasks/2/annotations" in capsys.readouterr().out


@pytest.mark.parametrize(
    "body", [{}, [], {"size": 2, "deleted_frames": "x"}, {"size": 2, "deleted_frames": ["1"]}], ids=str
)
def test_a_task_whose_frames_are_not_told_is_left_for_a_later_load(
    sync: Sync, server: CvatSandbox, played: Played, body: Any
):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("GET /api/tasks/2/data/meta", "status", status=200, body=body, times=None))
    assert sync("load") == Exit.SOME_FAILED
    assert [each["tasks"] for each in played.requests("load")] == [[1]]


def test_a_create_that_cannot_read_what_it_sent_leaves_nothing(sync: Sync, server: CvatSandbox, tmp_path: Path):
    server.faults.add(Fault("GET /api/tasks/2/annotations", "status", status=200, body={}, times=None))
    assert sync("create") == Exit.NOTHING_WORKED
    assert not server.world.tasks
    assert state(tmp_path) is None


def test_a_task_that_is_not_described_is_not_taken_for_deleted(sync: Sync, server: CvatSandbox, tmp_path: Path):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("GET /api/tasks/1", "status", status=200, body={}, times=None))
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert sorted(server.world.tasks) == [1, 2]
    assert state(tmp_path)["phase"] == "created"


def test_a_page_instead_of_an_answer_deletes_no_task_and_ends_no_round(
    sync: Sync, server: CvatSandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    server.faults.add(Fault("DELETE /api/tasks/1", "status", status=200, body="<html>sign in</html>", times=None))
    assert sync("cleanup") == Exit.SOME_FAILED
    assert "FAILED  task 1 " in capsys.readouterr().out
    assert list(server.world.tasks) == [1] and state(tmp_path)["phase"] == "created"
    server.faults.clear()
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD


@pytest.mark.parametrize("what", ["PATCH /api/tasks/1", "PATCH /api/jobs/.*"])
def test_a_name_or_a_person_that_was_never_set_fails_the_create(sync: Sync, server: CvatSandbox, what: str):
    server.world.add_user("alice", "x")
    server.faults.add(Fault(what, "status", status=200, body="<html>sign in</html>", times=None))
    assert sync("create", "--job-assignees", "alice") == Exit.NOTHING_WORKED
    assert not server.world.tasks
