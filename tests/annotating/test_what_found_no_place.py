"""What was done in CVAT and could not be put into FiftyOne is told, is not called loaded, and is not deleted unasked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotating.conftest import Played, state

from common.annotating.report import print_load
from common.annotating.state import fingerprint, is_as_before
from common.exits import Exit
from common.fiftyone.worker.counting import Counts
from sandbox.cvat import CvatSandbox

Sync = Callable[..., int]


def told(changed: int = 0, **more: Any) -> dict[str, Any]:
    """What the worker tells of a load."""
    counts = {"added": 0, "changed": changed, "removed": 0, "put_back": 0, "same": 1}
    return {"fields": {"gt": counts}, "deleted_frames": [], "missing": [], "saved": None} | more


def lost(task: int = 1) -> dict[str, Any]:
    return {"missing": [{"task": task, "sample": "a"}], "missing_count": 1, "not_placed": {str(task): 1}}


def plan(played: Played, **load: Any) -> None:
    played.plan(create={"tasks": 2}, load={"result": load})


def folder(tmp_path: Path) -> Path:
    return next((tmp_path / "state" / "fiftyone").glob("birds-*/round1-????????"))


def test_a_task_with_an_edit_that_found_no_place_is_not_loaded_and_not_removed(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    plan(played, **told(changed=1, **lost(1)))
    assert sync("load") == Exit.SOME_FAILED
    assert "1 edit made in CVAT found no place" in capsys.readouterr().err
    assert list(state(tmp_path)["loaded"]) == ["2"]
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert "NOT LOADED  task 1" in capsys.readouterr().out
    assert len(server.world.tasks) == 2
    plan(played, **told())
    assert sync("load") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.ALL_GOOD


def test_a_load_of_which_nothing_found_a_place_worked_not_at_all(sync: Sync, played: Played, tmp_path: Path):
    assert sync("create") == Exit.ALL_GOOD
    assert sync("load") == Exit.ALL_GOOD
    plan(played, **told(missing_count=2, not_placed={"1": 1, "2": 1}))
    assert sync("load") == Exit.NOTHING_WORKED
    assert state(tmp_path)["loaded"] == {}


def test_what_fiftyone_cannot_hold_is_removed_only_when_told_to(
    sync: Sync, server: CvatSandbox, played: Played, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    plan(played, **told(not_held={"2": 1}))
    assert sync("load") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert "NOT LOADED  task 2" in capsys.readouterr().out
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD
    assert not server.world.tasks


def test_edits_are_counted_by_task_and_what_is_not_listed_is_told(capsys: pytest.CaptureFixture[str]):
    counts = Counts(["gt"])
    for number in range(25):
        counts.miss(task=7, sample=str(number))
    counts.task = 8
    counts.not_supported("gt", "cuboid")
    assert counts.left_behind() == {"not_placed": {"7": 25}, "not_held": {"8": 1}}
    print_load(told(missing=counts.missing, missing_count=counts.missing_count))
    out = capsys.readouterr().out
    assert out.count("MISSING ") == 21 and "and 5 more of them" in out


@pytest.mark.parametrize("name", ["originals.jsonl", "frames.jsonl"])
@pytest.mark.parametrize("content", [None, "{}\n"], ids=["lost", "cut"])
def test_a_load_from_damaged_files_is_refused(
    sync: Sync, played: Played, tmp_path: Path, name: str, content: str | None, capsys: pytest.CaptureFixture[str]
):
    assert sync("create") == Exit.ALL_GOOD
    path = folder(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    assert sync("load") == Exit.NOTHING_WORKED
    assert str(path) in capsys.readouterr().err
    assert not played.requests("load")


@pytest.mark.parametrize(
    ("content", "older"), [(None, False), ("", False), ('{"annotations": {}}', False), ("", True), ("{}", True)]
)
def test_a_task_whose_baseline_is_damaged_is_left_out_and_kept(
    sync: Sync, server: CvatSandbox, played: Played, tmp_path: Path, content: str | None, older: bool,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    assert sync("create") == Exit.ALL_GOOD
    if older:
        known = state(tmp_path)
        (folder(tmp_path) / "run.json").write_text(json.dumps(known | {"files": {}}))
    path = folder(tmp_path) / "baseline" / "1.json"
    path.unlink() if content is None else path.write_text(content)
    assert sync("load") == Exit.SOME_FAILED
    assert played.requests("load")[-1]["tasks"] == [2]
    assert f"FAILED         task 1: {path}" in capsys.readouterr().out
    assert sync("status") == Exit.ALL_GOOD
    assert sync("cleanup") == Exit.NOTHING_WORKED
    assert len(server.world.tasks) == 2
    assert sync("cleanup", "--discard") == Exit.ALL_GOOD


def test_a_class_that_is_renamed_or_an_attribute_is_a_change_and_one_that_nothing_has_is_none():
    labels = [{"id": 1, "name": "car", "attributes": [{"id": 5, "name": "color"}]}, {"id": 2, "name": "dog"}]
    shapes = [{"id": 1, "label_id": 1, "frame": 0, "attributes": [{"spec_id": 5, "value": "red"}]}]
    held = {"annotations": {"shapes": shapes}, "labels": labels, "meta": {}}

    def now(change: Callable[[Any], object]) -> bool:
        other = json.loads(json.dumps(held))
        change(other["labels"])
        return fingerprint(other) != fingerprint(held)

    as_earlier = json.dumps(
        [{"tags": [], "shapes": [json.dumps(shapes[0], sort_keys=True)], "tracks": []}, []], sort_keys=True
    )
    assert is_as_before(held, hashlib.sha256(as_earlier.encode()).hexdigest()), "a load by an earlier version"
    assert is_as_before(held, fingerprint(held)) and not is_as_before(held, "")
    assert now(lambda them: them[0].update(name="automobile"))
    assert now(lambda them: them[0]["attributes"][0].update(name="colour"))
    assert not now(lambda them: them[1].update(name="wolf"))
    assert not now(lambda them: them.append({"id": 3, "name": "new", "attributes": []}))
