"""What restore.py decides, without a server: which backup, which share, which parts, which annotations."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.compose import Composed
from common.backups.names import is_drill
from common.backups.store import Backup
from common.restoring.find import NotThere, moment_of, the_one
from common.restoring.jobs import Scope, parse_frames, problems, same, wanted_annotations
from common.restoring.labels import Translation, labels_of
from common.restoring.parts import plan_parts, project_with, task_alone
from common.restoring.verify import Share, due, parse_share
from tests.common.making import a_record, a_source


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20261121T021358Z", datetime(2026, 11, 21, 2, 13, 58, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 21, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-11-21T13:05", datetime(2026, 11, 21, 13, 5, 59, 999999, tzinfo=UTC)),
        ("2026-11-21 13:05:07Z", datetime(2026, 11, 21, 13, 5, 7, 999999, tzinfo=UTC)),
        ("2026-11-21T13:05+02:00", datetime(2026, 11, 21, 11, 5, 59, 999999, tzinfo=UTC)),
        ("yesterday", None),
        ("road signs", None),
    ],
)
def test_moments(text: str, moment: datetime | None) -> None:
    assert moment_of(text) == moment


@pytest.mark.parametrize(
    ("second", "remedy"),
    [
        ({"id": 1, "created_at": "2026-05-06T07:08:09Z"}, "Choose one with --at FILE."),
        ({"id": 7}, "Choose one by its id (project:12 or task:7), or with --at FILE."),
    ],
)
def test_sources_that_share_a_name_are_told_apart_by_what_differs(second: dict[str, Any], remedy: str) -> None:
    groups = [[Backup(a_record(a_source(**more)), Path("x"))] for more in ({"id": 1}, second)]
    with pytest.raises(
        NotThere, match=r"'Road signs' means 2 sources: project 1, created 2026-01-02 03:04:05 "
    ) as caught:
        the_one(groups, "project", "Road signs")
    assert caught.value.remedy == remedy


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 9))
def test_shares_read_everything_within_as_many_runs(sizes: list[int], of: int) -> None:
    last = [""] * len(sizes)
    for run in range(of):
        for index in due(sizes, last, Share(1, of)):
            last[index] = f"2026-01-{run + 1:02}"
    assert all(last)


@pytest.mark.parametrize("text", ["", "1", "0/7", "8/7", "1/0", "a/b", "-1/7"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="share"):
        parse_share(text)


@given(st.dictionaries(st.integers(0, 30), st.integers(1, 100), max_size=12), st.integers(0, 50), st.integers(1, 300))
def test_parts_hold_every_task_once_in_order_and_within_the_limit(tasks: dict[int, int], own: int, limit: int) -> None:
    parts = plan_parts(own, tasks, limit)
    assert [*parts.first, *parts.single] == sorted(tasks)
    assert not parts.first or own + sum(tasks[index] for index in parts.first) <= limit
    assert all((tasks[index] <= limit) == (index not in parts.too_large) for index in parts.single)


@given(st.lists(st.binary(max_size=300), max_size=8), st.booleans(), st.integers(1, 97), st.binary(max_size=50))
def test_a_composed_archive_is_a_zip_read_in_any_pieces(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], packed: bool, piece: int, described: bytes
) -> None:
    folder = tmp_path_factory.mktemp("composed")
    original = folder / "original.zip"
    with zipfile.ZipFile(original, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as made:
        made.writestr("project.json", "old")
        for number, content in enumerate(contents):
            made.writestr(f"task_{number % 3}/data/ü{number}", content)
    cases: list[tuple[Any, str]] = [(project_with([0, 2]), "project.json"), (task_alone(1), "task.json")]
    for rename, new in cases:
        wanted = {new: described}
        for number, content in enumerate(contents):
            if name := rename(f"task_{number % 3}/data/ü{number}"):
                wanted[name] = content
        with Composed(original, folder / "skeleton", rename, {new: described}) as composed:
            size = composed.size_bytes
            data = b"".join(composed.read_at(offset, piece) for offset in range(0, size, piece))
            assert len(data) == size
            again = composed.read_at(size // 3, size)
        assert again == data[size // 3 :]
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None
            assert {name: opened.read(name) for name in opened.namelist()} == wanted
        assert [path.name for path in folder.iterdir()] == ["original.zip"]


SAVED = [
    {"id": 1, "name": "car", "attributes": [{"id": 11, "name": "color", "default_value": "red"}]},
    {"id": 2, "name": "person", "sublabels": [{"id": 3, "name": "car"}]},
]
TARGET = [
    {"id": 52, "name": "person", "sublabels": [{"id": 53, "name": "car"}]},
    {
        "id": 51, "name": "car",
        "attributes": [
            {"id": 61, "name": "color", "default_value": "red"},
            {"id": 62, "name": "new", "default_value": "no", "mutable": True},
        ],
    },
]  # fmt: skip


def rectangle(**more: Any) -> dict[str, Any]:
    return {"id": 9, "type": "rectangle", "label_id": 1, "frame": 0, "points": [0, 0, 1, 1], "attributes": [], **more}


def skeleton(element_frame: int = 0) -> dict[str, Any]:
    element = {"id": 8, "type": "points", "label_id": 3, "frame": element_frame, "points": [1, 2], "attributes": []}
    return {**rectangle(type="skeleton", label_id=2, points=[]), "elements": [element]}


def holding(*shapes: dict[str, Any]) -> dict[str, Any]:
    return {"version": 0, "tags": [], "shapes": list(shapes), "tracks": []}


def test_labels_are_found_by_name_and_sublabels_by_their_parents() -> None:
    translation = Translation(labels_of(SAVED), labels_of(TARGET))
    made = translation.item(rectangle(attributes=[{"spec_id": 11, "value": "blue"}]))
    assert "id" not in made
    assert made["label_id"] == 51
    assert made["attributes"] == [{"spec_id": 61, "value": "blue"}, {"spec_id": 62, "value": "no"}]
    bones = translation.item(skeleton())
    assert (bones["label_id"], bones["elements"][0]["label_id"]) == (52, 53)
    assert "id" not in bones["elements"][0]
    assert not translation.missing
    Translation(labels_of(TARGET), labels_of(SAVED)).item(
        {**rectangle(label_id=51), "attributes": [{"spec_id": 62, "value": "x"}]}
    )
    lacking = Translation(labels_of(SAVED), labels_of(TARGET[:1]))
    lacking.item(rectangle())
    assert lacking.missing == {"label 'car'"}


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        (holding(rectangle()), ""),
        (holding(skeleton()), ""),
        (holding(skeleton(element_frame=1)), "another frame"),
        ({"shapes": []}, "would be wiped"),
        ([], "would be wiped"),
        (holding(rectangle(frame=7)), "outside the job"),
        (holding(rectangle(points=[1, 2])), "do not make a rectangle"),
        (holding(rectangle(points=[1, 2, 3, float("nan")])), "no number"),
        (holding(rectangle(type="blob")), "unknown type"),
        (holding(rectangle(group=-1)), "negative group"),
        (holding(rectangle(z_order=2**31)), "z_order"),
        (holding(rectangle(attributes=[{"spec_id": 1, "value": "x" * 5000}])), "4096"),
        (holding({"type": "rectangle"}), "not as CVAT writes it"),
    ],
)
def test_what_may_be_sent(annotations: Any, said: str) -> None:
    found = problems(annotations, 0, 5, 6)
    assert bool(found) == bool(said)
    assert said in "; ".join(found)


def test_what_is_out_of_scope_stays() -> None:
    translation = Translation(labels_of(SAVED), labels_of(TARGET))
    saved = holding(rectangle(), rectangle(frame=3), skeleton())
    present = holding({**rectangle(label_id=51, frame=3), "id": 77}, {**rectangle(label_id=51), "id": 78})
    made = wanted_annotations(saved, present, Scope(frames=((3, 5),)), translation, 5)
    assert sorted(shape["frame"] for shape in made["shapes"]) == [0, 3]
    by_label = wanted_annotations(saved, present, Scope(labels=frozenset({"person"})), translation, 5)
    assert sorted(shape["type"] for shape in by_label["shapes"]) == ["rectangle", "rectangle", "skeleton"]
    assert len(wanted_annotations(saved, present, Scope(), translation, 5)["shapes"]) == 3


def test_order_and_ids_mean_nothing_values_do() -> None:
    one, other = rectangle(), rectangle(frame=1)
    assert same(holding(one, other), holding({**other, "id": 1}, {**one, "group": 0}))
    assert not same(holding(one, one), holding(one))
    assert not same(holding(one), holding(rectangle(points=[0, 0, 1, 1.0000001])))


def test_frames() -> None:
    assert parse_frames("0-9, 15") == ((0, 9), (15, 15))
    for wrong in ("", "a", "9-1", "1-"):
        with pytest.raises(ValueError, match="frames"):
            parse_frames(wrong)


def test_drills_are_known_by_their_names() -> None:
    assert is_drill("cvat-backups drill 2026-01-01 00:00: Signs")
    assert is_drill("restoring «cvat-backups drill 2026-01-01 00:00: Signs» [cvat-backups 0123]")
    assert not is_drill("Signs")
    assert not is_drill("restoring «Signs» [cvat-backups 0123]")
