"""`undo`: what it says, and what run.json knows of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import Played, state

from common.exits import Exit
from sandbox.cvat import CvatSandbox

Sync = Callable[..., int]


def answers(played: Played, **undo: Any) -> None:
    played.plan(create={"tasks": 2}, undo=undo)


def test_an_undo_that_is_killed_leaves_nothing_called_loaded(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path
):
    assert sync("create") == Exit.ALL_GOOD
    [job, *_] = server.world.jobs.values()
    server.world.add_shape(job, "cat")
    assert sync("load") == Exit.ALL_GOOD
    answers(played, then="die")
    assert sync("undo") == Exit.NOTHING_WORKED
    assert state(tmp_path)["loaded"] == {}
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert len(server.world.tasks) == 2


def test_without_a_load_to_take_back_everything_stays_loaded(sync: Sync, played: Played, tmp_path: Path):
    assert sync("create") == Exit.ALL_GOOD
    assert sync("load") == Exit.ALL_GOOD
    before = state(tmp_path)
    answers(played, result={"undone": None, "put_back": 0, "missing": 0, "saved": None})
    assert sync("undo") == Exit.ALL_GOOD
    assert state(tmp_path) == before


@pytest.mark.parametrize(("put_back", "code"), [(1, Exit.SOME_FAILED), (0, Exit.NOTHING_WORKED)])
def test_values_changed_after_the_load_are_named_with_where_the_old_ones_are(
    sync: Sync, played: Played, put_back: int, code: Exit, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    since = {"changed_since": [{"sample": "/media/a.png", "field": "gt"}], "changed_count": 1}
    answers(played, result={"undone": "2026", "put_back": put_back, "missing": 0, "saved": "saved/1.jsonl"} | since)
    assert sync("undo") == code
    said = capsys.readouterr()
    assert "CHANGED SINCE  sample /media/a.png, field gt" in said.out
    assert "saved/1.undone.jsonl" in said.err
