"""What archives lose, read from listings and sorted by source."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from reviewed import SignIn, add_comment, add_issue

from common.cvat import listing
from common.cvat.client import Client
from common.cvat.listing import inventory
from common.cvat.metadata import Ledger, disabled_frames
from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault


@pytest.fixture
def server(sandbox: Callable[..., CvatSandbox], signed_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> CvatSandbox:
    """Two projects and a loose task with five issues each, on pages of two."""
    server = sandbox()
    world, client = server.world, signed_in(server)
    tasks = [world.add_task(world.add_project(name), "frames", 2) for name in ("one", "two")]
    for number in range(5):
        for task in [*tasks, *([] if number else [world.add_task(None, "loose", 2)])]:
            issue = add_issue(client, task.job_ids[0], 0, f"{task.id} said {number}")
            add_comment(client, issue, f"{task.id} answered {number}")
    monkeypatch.setattr(listing.pages, "__defaults__", (None, 2))
    return server


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger()
    yield made
    made.close()


def said(ledger: Ledger, kind: str, source_id: int) -> list[str]:
    return [item["message"] for item in ledger.of(kind, source_id).get("comment", ())]


def test_each_source_gets_its_own_in_the_order_of_ids(server: CvatSandbox, ledger: Ledger, signed_in: SignIn) -> None:
    client = signed_in(server)
    inventory(client, ledger.see)
    ledger.gather(client)
    assert ledger.not_readable == {}
    for task_id, (kind, source_id) in {1: ("project", 1), 2: ("project", 2), 3: ("task", 3)}.items():
        numbers = range(5) if kind == "project" else range(1)
        assert said(ledger, kind, source_id) == [
            f"{task_id} {word} {number}" for number in numbers for word in ("said", "answered")
        ]
        found = ledger.of(kind, source_id)
        assert [item["id"] for item in found["task"]] == [task_id]
        assert {item["job"] for item in found["issue"]} == {item["id"] for item in found["job"]}
        assert len(found["quality"]) == (2 if kind == "project" else 1)
    assert ledger.of("project", 99) == {}


def test_half_a_listing_is_none(
    server: CvatSandbox, ledger: Ledger, signed_in: SignIn, no_waiting: list[float]
) -> None:
    client = signed_in(server)
    inventory(client, ledger.see)
    server.faults.add(Fault("GET /api/comments", "status", skip=2, times=None, status=403))
    ledger.gather(client)
    assert list(ledger.not_readable) == ["issues"]
    assert "issue" not in ledger.of("project", 1)
    assert said(ledger, "project", 1) == []
    assert ledger.of("project", 1)["quality"]


def test_what_came_after_the_listing_waits_for_the_next_run(
    server: CvatSandbox, ledger: Ledger, signed_in: SignIn
) -> None:
    client = signed_in(server)
    inventory(client, ledger.see)
    task = server.world.add_task(1, "new", 2)
    add_comment(client, add_issue(client, task.job_ids[0], 0, "too new"), "yes")
    ledger.gather(client)
    assert ledger.not_readable == {}
    assert len(ledger.of("project", 1)["issue"]) == 5


def test_nobody_in_an_organization_nobody_asked_for_them(
    server: CvatSandbox, ledger: Ledger, signed_in: SignIn
) -> None:
    client = signed_in(server)
    inventory(client, ledger.see)
    ledger.gather(client)
    assert not server.log_count("GET /api/organizations")
    assert not server.log_count("GET /api/cloudstorages")


def test_a_server_that_is_gone_is_waited_for_once(
    server: CvatSandbox, ledger: Ledger, signed_in: SignIn, no_waiting: list[float]
) -> None:
    client = signed_in(server, CVAT_SERVER_WAIT_SECONDS="0")
    inventory(client, ledger.see)
    server.faults.add(Fault("GET /api/webhooks", "status", times=None, status=502))
    ledger.gather(client)
    assert list(ledger.not_readable) == ["webhooks", "quality", "consensus", "organization"]
    assert len(set(ledger.not_readable.values())) == 1
    assert not server.log_count("GET /api/quality/settings")


@pytest.mark.parametrize("answer", ["{}", '{"count": 1, "results": [{"id": 1}]}', '{"count": 1, "results": [7]}', "[]"])
def test_an_odd_answer_is_not_read(
    server: CvatSandbox, ledger: Ledger, signed_in: SignIn, no_waiting: list[float], answer: str
) -> None:
    client = signed_in(server)
    inventory(client, ledger.see)
    kind = {"Content-Type": "application/vnd.cvat+json"}
    server.faults.add(Fault("GET /api/issues", "status", times=None, status=200, body=answer, headers=kind))
    ledger.gather(client)
    assert list(ledger.not_readable) == ["issues"]


def test_disabled_frames_are_those_of_the_layout(sandbox: Callable[..., CvatSandbox], signed_in: SignIn) -> None:
    server = sandbox()
    client: Client = signed_in(server)
    plain = server.world.add_task(None, "plain", 3)
    checked = server.world.add_task(None, "checked", 3, gt_frames=[0, 2])
    assert (disabled_frames(client, plain.id), disabled_frames(client, checked.id)) == (None, ())
    client.change("PATCH", f"/api/tasks/{checked.id}/validation_layout", {"disabled_frames": [2]})
    assert disabled_frames(client, checked.id) == (2,)
