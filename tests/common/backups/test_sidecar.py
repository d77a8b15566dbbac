"""Sidecars: the same shape on disk and in memory, a new one only for news, the right one for a moment."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.backups.record import BadRecord, Server
from common.backups.sidecar import (
    PARTS,
    SIDECAR_VERSION,
    Comment,
    Issue,
    Job,
    Member,
    Organization,
    Person,
    Sidecar,
    Task,
    Webhook,
    from_json,
    newest_sidecar,
    sidecar_path,
    sidecar_stamp,
    sidecar_stamps,
    to_json,
    write_if_new,
)
from common.files import write_json
from tests.common.making import a_source

TEXT = st.text()
NUMBER = st.integers(0, 2**53)
PEOPLE = st.builds(Person, NUMBER, TEXT, TEXT)
SOMEBODY = st.none() | PEOPLE
VALUES = st.none() | st.dictionaries(TEXT, st.none() | st.booleans() | NUMBER | TEXT, max_size=3)
STORAGES = VALUES
POINTS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=4).map(tuple)
JOBS = st.builds(Job, NUMBER, TEXT, NUMBER, NUMBER, TEXT, TEXT, TEXT, SOMEBODY, TEXT, TEXT)
TASKS = st.builds(
    Task, NUMBER, TEXT, st.booleans(), SOMEBODY, SOMEBODY, TEXT, TEXT, STORAGES, STORAGES,
    st.lists(JOBS, max_size=2).map(tuple), st.none() | TEXT, st.none() | st.lists(NUMBER, max_size=2).map(tuple),
    VALUES, VALUES,
)  # fmt: skip
COMMENTS = st.builds(Comment, NUMBER, SOMEBODY, TEXT, TEXT, TEXT)
ISSUES = st.builds(
    Issue, NUMBER, NUMBER, NUMBER, POINTS, SOMEBODY, SOMEBODY, st.booleans(), TEXT, TEXT,
    st.lists(COMMENTS, max_size=2).map(tuple),
)  # fmt: skip
HOOKS = st.lists(
    st.builds(
        Webhook, NUMBER, TEXT, TEXT, TEXT, st.booleans(), st.booleans(), st.lists(TEXT, max_size=2).map(tuple),
        SOMEBODY, TEXT, TEXT,
    ),
    max_size=2,
).map(tuple)  # fmt: skip
ORGANIZATIONS = st.builds(
    Organization, NUMBER, TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=1), SOMEBODY, TEXT, TEXT,
    st.lists(st.builds(Member, PEOPLE, TEXT, st.booleans(), TEXT), max_size=2).map(tuple),
)  # fmt: skip
SIDECARS = st.builds(
    Sidecar, st.just(a_source()), st.builds(Server, TEXT, TEXT), TEXT, TEXT, TEXT, TEXT, SOMEBODY, SOMEBODY, TEXT,
    STORAGES, STORAGES, st.lists(TASKS, max_size=2).map(tuple), st.none() | ORGANIZATIONS,
    st.lists(ISSUES, max_size=2).map(tuple), HOOKS, HOOKS, VALUES,
    st.dictionaries(st.sampled_from(PARTS), TEXT, max_size=2),
)  # fmt: skip
ALICE, BOB = Person(2, "alice"), Person(3, "bob")


def a_task(**more: Any) -> Task:
    values: dict[str, Any] = {
        "id": 1, "name": "first", "has_data": True, "owner": ALICE, "assignee": None,
        "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        "source_storage": None, "target_storage": None, "jobs": (),
    }  # fmt: skip
    return Task(**{**values, **more})


def an_issue(number: int = 1) -> Issue:
    said = Comment(number, BOB, "too wide", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z")
    return Issue(number, 1, 0, (1.0, 2.0), BOB, None, False, said.created_at, said.updated_at, (said,))


def a_sidecar(**more: Any) -> Sidecar:
    values: dict[str, Any] = {
        "source": a_source(), "server": Server("https://cvat.example.com", "2.54.1"), "stamp": "",
        "read_at": "2026-11-20T10:00:00Z", "read_by": "admin", "tool_version": "0.1.0", "owner": ALICE,
        "assignee": None, "updated_at": "2026-01-02T03:04:05Z", "source_storage": None, "target_storage": None,
        "tasks": (a_task(),),
    }  # fmt: skip
    return Sidecar(**{**values, **more})


@given(SIDECARS)
def test_what_is_written_is_what_is_read(tmp_path: Path, sidecar: Sidecar) -> None:
    write_json(tmp_path / "x.json", to_json(sidecar))
    assert from_json(json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))) == sidecar


@given(SIDECARS, st.data())
def test_what_lacks_a_piece_or_has_a_wrong_one_is_refused(sidecar: Sidecar, data: st.DataObject) -> None:
    value = to_json(sidecar)
    name = data.draw(st.sampled_from(["source", "server", "owner", "tasks", "organization", "issues", "webhooks"]))
    if data.draw(st.booleans()):
        del value[name]
    else:
        value[name] = data.draw(st.sampled_from([7, [7], {"a": 1}, [{"a": 1}]]))
    with pytest.raises(BadRecord):
        from_json(value)


@pytest.mark.parametrize("value", [None, [], {}, {"version": SIDECAR_VERSION + 1}, {"version": "1"}, {"version": 1}])
def test_something_else_is_no_sidecar(value: Any) -> None:
    with pytest.raises(BadRecord):
        from_json(value)


@pytest.mark.parametrize(
    ("name", "stamp"),
    [
        ("metadata_20261121T013300Z.json", "20261121T013300Z"),
        (".metadata_20261121T013300Z.json.tmp", None),
        ("project-1-metadata_20261121T013300Z.json", None),
        ("metadata_2026.json", None),
        ("metadata_20261121T013300Z.json.pending", None),
    ],
)
def test_the_name_of_a_sidecar_is_known(name: str, stamp: str | None) -> None:
    assert sidecar_stamp(name) == stamp


def test_only_news_is_written(tmp_path: Path) -> None:
    sidecar = a_sidecar()
    assert write_if_new(tmp_path, sidecar)
    # Who reads it, when and with what says nothing about the source.
    later = dataclasses.replace(
        sidecar, read_at="2027-01-01T00:00:00Z", read_by="robot", tool_version="9", server=Server("http://x", "3.0")
    )
    assert not write_if_new(tmp_path, later)
    assert write_if_new(tmp_path, dataclasses.replace(later, issues=(an_issue(),)))
    assert not write_if_new(tmp_path, dataclasses.replace(later, issues=(an_issue(),)))
    assert write_if_new(tmp_path, later)  # the issue was deleted
    stamps = sidecar_stamps(tmp_path)
    assert len(stamps) == len(set(stamps)) == 3
    found = newest_sidecar(tmp_path)
    assert found is not None
    assert (found.stamp, found.issues) == (stamps[0], ())


def test_what_cannot_be_read_today_is_no_news_and_what_can_again_is(tmp_path: Path) -> None:
    whole = a_sidecar(issues=(an_issue(),), tasks=(a_task(quality={"iou": 0.4}),))
    assert write_if_new(tmp_path, whole)
    blind = dataclasses.replace(whole, issues=(), tasks=(a_task(),), not_readable={"issues": "403", "quality": "403"})
    assert not write_if_new(tmp_path, blind)
    assert write_if_new(tmp_path, dataclasses.replace(blind, owner=BOB))
    found = newest_sidecar(tmp_path)
    assert found == dataclasses.replace(whole, owner=BOB, stamp=sidecar_stamps(tmp_path)[0])
    assert write_if_new(tmp_path, dataclasses.replace(whole, owner=BOB))
    assert json.loads(sidecar_path(tmp_path, sidecar_stamps(tmp_path)[0]).read_text())["not_readable"] == {}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_taken_from_the_newest_that_has_it(tmp_path: Path, part: str) -> None:
    task = a_task(quality={"q": 1}, consensus={"c": 1}, validation_mode="gt", disabled_frames=(1, 2))
    hook = Webhook(1, "https://example.com", "", "application/json", True, True, ("create:job",), ALICE, "", "")
    source = a_source(organization_id=3)
    whole = a_sidecar(
        source=source, tasks=(task,), quality={"p": 1}, issues=(an_issue(),), webhooks=(hook,),
        organization_webhooks=(hook,), organization=Organization(3, "lab"),
    )  # fmt: skip
    oldest = dataclasses.replace(whole, owner=BOB, quality={"p": 0}, issues=(), webhooks=(), organization=None)
    # A task that came later has no older value.
    newer = a_task(id=2, name="second")
    bare = a_sidecar(
        source=source, tasks=(a_task(validation_mode="gt"), newer), not_readable=dict.fromkeys(PARTS, "403")
    )
    for stamp, each in (("20261101T000000Z", oldest), ("20261102T000000Z", whole), ("20261103T000000Z", bare)):
        write_json(sidecar_path(tmp_path, stamp), to_json(dataclasses.replace(each, stamp=stamp)))
    found = newest_sidecar(tmp_path)
    assert found is not None
    assert part not in found.not_readable
    assert found == dataclasses.replace(whole, stamp="20261103T000000Z", tasks=(task, newer))


def test_the_one_in_force_at_a_moment(tmp_path: Path) -> None:
    assert newest_sidecar(tmp_path) is None
    for day, owner in (("05", ALICE), ("07", BOB)):
        stamp = f"202611{day}T000000Z"
        write_json(sidecar_path(tmp_path, stamp), to_json(a_sidecar(owner=owner, stamp=stamp)))

    def owner_at(stamp: str | None) -> Person | None:
        found = newest_sidecar(tmp_path, stamp)
        assert found is not None
        return found.owner

    assert owner_at(None) == BOB
    # No backup is newer than this one: what was learnt since belongs to it.
    assert owner_at("20261101T000000Z") == BOB
    for stamp in ("20261106T000000Z", "20261108T000000Z"):
        (tmp_path / f"project-12_backup_{stamp}.zip.json").write_text("{}")
    assert owner_at("20261108T000000Z") == owner_at("20261107T000000Z") == BOB
    assert owner_at("20261106T000000Z") == owner_at("20261105T000000Z") == ALICE
    assert owner_at("20261101T000000Z") == ALICE  # none is so old: the oldest is nearest
    sidecar_path(tmp_path, "20261107T000000Z").write_text("{")
    assert owner_at(None) == ALICE
