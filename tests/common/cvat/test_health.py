"""The gate before exports."""

from __future__ import annotations

import pytest

from common.cvat import health
from common.cvat.errors import TooSlow
from common.cvat.health import HealthGate, trouble
from common.waiting import Deadline
from sandbox.cvat import Fault

PAGE = "GET /api/server/health/"


@pytest.fixture
def server(sandbox):
    return sandbox()


@pytest.fixture
def gate(server, signed_in, monkeypatch, no_waiting):
    """A gate that asks every time."""
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    return HealthGate(signed_in(server), enabled=True, longest_seconds=3600)


def test_what_is_serious_and_what_is_not():
    checks = {
        "Cache backend: media": "working",
        "DiskUsage": "95% used",
        "DatabaseBackend[default]": "unavailable",
        "MemoryUsage": "x",
        "OPAHealthCheck": "unexpected",
        "Anything": None,
    }
    serious, other = trouble(checks)
    assert [line.split(":")[0] for line in serious] == ["DiskUsage", "DatabaseBackend[default]", "MemoryUsage"]
    assert [line.split(":")[0] for line in other] == ["OPAHealthCheck", "Anything"]
    assert trouble({}) == ([], [])


def test_a_healthy_server_is_asked_without_credentials_and_lets_exports_pass(server, gate):
    gate.wait_until_open(Deadline(60))
    [asked] = [one for one in server.log if "health" in one.path]
    assert (asked.status, asked.user) == (200, None)


def test_trouble_holds_exports_back_until_it_is_over(server, gate, no_waiting):
    server.world.health["DiskUsage"] = "warning: 95% used"
    answers = iter(range(3))

    def later(seconds):
        no_waiting.append(seconds)
        if next(answers, None) is None:
            server.world.health["DiskUsage"] = "working"

    gate._client.stop.sleep = later
    gate.wait_until_open(Deadline(3600))
    assert no_waiting == [health.CLOSED_POLL_SECONDS] * 4


def test_trouble_that_outlasts_the_deadline_is_named(server, gate):
    server.world.health["DiskUsage"] = "warning: 95% used"
    with pytest.raises(TooSlow, match="DiskUsage: warning: 95% used: no export was asked for"):
        gate.wait_until_open(Deadline(10))


def test_trouble_that_lasts_longer_than_one_item_may_take_fails_the_next_ones_at_once(server, gate, monkeypatch):
    monkeypatch.setattr(gate, "_longest_seconds", 0)
    server.world.health["MemoryUsage"] = "full"
    with pytest.raises(TooSlow):
        gate.wait_until_open(Deadline(3600))


@pytest.mark.parametrize("status", [301, 401, 403, 404, 406, 500, 502, 503])
def test_a_health_page_that_cannot_be_read_only_warns(server, gate, status):
    headers = {"Location": "https://elsewhere.example/"} if status == 301 else {}
    server.faults.add(Fault(PAGE, "status", status=status, body="no", headers=headers, times=None))
    gate.wait_until_open(Deadline(60))
    gate.wait_until_open(Deadline(60))
    assert server.log_count("POST /api/auth/login") == 1


def test_a_closed_health_page_is_no_reason_to_doubt_an_access_token(server, signed_in, no_waiting):
    client = signed_in(server, CVAT_ACCESS_TOKEN=server.access_token)
    server.faults.add(Fault(PAGE, "status", status=401, body="no", times=None))
    HealthGate(client, enabled=True, longest_seconds=60).wait_until_open(Deadline(60))


@pytest.mark.parametrize("body", ["[]", "5", '"x"', "<html>", ""])
def test_a_health_page_that_is_no_json_object_only_warns(server, gate, body):
    server.faults.add(Fault(PAGE, "status", status=200, body=body, times=None))
    gate.wait_until_open(Deadline(60))


def test_a_500_with_its_checks_is_believed(server, gate):
    server.faults.add(Fault(PAGE, "status", status=500, body={"DatabaseBackend": "unavailable"}, times=None))
    with pytest.raises(TooSlow, match="DatabaseBackend: unavailable"):
        gate.wait_until_open(Deadline(10))


def test_a_cut_connection_there_only_warns(server, gate):
    server.faults.add(Fault(PAGE, "cut", times=None))
    gate.wait_until_open(Deadline(60))


def test_the_gate_can_be_switched_off(server, signed_in):
    server.world.health["DiskUsage"] = "full"
    HealthGate(signed_in(server), enabled=False, longest_seconds=60).wait_until_open(Deadline(60))
    assert server.log_count(PAGE) == 0


def test_within_a_few_seconds_the_page_is_not_asked_again(server, signed_in):
    gate = HealthGate(signed_in(server), enabled=True, longest_seconds=60)
    for _ in range(5):
        gate.wait_until_open(Deadline(60))
    assert server.log_count(PAGE) == 1
