"""Requests that change something: repeated where that is harmless, otherwise said to be unknown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from common.cvat import errors
from common.cvat.client import Client
from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault


@pytest.fixture
def client(sandbox: Callable[..., CvatSandbox], signed_in: Callable[..., Client], no_waiting: list[float]) -> Client:
    server = sandbox()
    server.world.add_project("one")
    made = signed_in(server)
    made.server = server  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("carried_out", [True, False])
def test_what_may_have_happened_is_not_sent_again(client: Client, status: int, carried_out: bool) -> None:
    server: CvatSandbox = client.server  # type: ignore[attr-defined]
    server.faults.add(Fault("POST /api/projects", "status", status=status, after_handling=carried_out))
    with pytest.raises(errors.OutcomeUnknown):
        client.change("POST", "/api/projects", {"name": "two"})
    assert len(server.world.projects) == 1 + carried_out


def test_a_cut_answer_is_unknown_too(client: Client) -> None:
    server: CvatSandbox = client.server  # type: ignore[attr-defined]
    server.faults.add(Fault("POST /api/projects", "cut", after_bytes=0))
    with pytest.raises(errors.OutcomeUnknown):
        client.change("POST", "/api/projects", {"name": "two"})


def test_throttling_and_a_server_that_is_down_surely_did_nothing(client: Client) -> None:
    server: CvatSandbox = client.server  # type: ignore[attr-defined]
    server.faults.add(Fault("POST /api/projects", "status", status=429, headers={"Retry-After": "1"}))
    client.change("POST", "/api/projects", {"name": "two"})
    assert [project.name for project in server.world.projects.values()] == ["one", "two"]
    server.stop()
    with pytest.raises(errors.NotConnected):
        client.change("POST", "/api/projects", {"name": "three"})


def test_what_says_the_same_each_time_is_repeated(client: Client) -> None:
    server: CvatSandbox = client.server  # type: ignore[attr-defined]
    server.faults.add(Fault("PATCH /api/projects/1", "status", status=502, after_handling=True, times=2))
    client.change("PATCH", "/api/projects/1", {"name": "renamed"}, repeat=True)
    assert server.world.projects[1].name == "renamed"


def test_a_refusal_is_a_refusal(client: Client) -> None:
    with pytest.raises(errors.Forbidden):
        client.change("PATCH", "/api/projects/1", {"created_date": "now"})
