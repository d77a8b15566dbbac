"""Asking for exports: adopted, lost, failed, expired."""

from __future__ import annotations

import pytest

from common.cvat.download import opener
from common.cvat.errors import ExportFailed, NotFound, Refused, TooSlow
from common.cvat.exports import ExportOrder, ask, find
from common.text import iso, now
from common.transfer import PartFile, fetch
from common.waiting import Deadline, StopSignal
from sandbox.cvat import Fault

ORDER = ExportOrder("project", 1)
ASKED = "POST /api/projects/1/backup/export"


@pytest.fixture
def server(sandbox):
    server = sandbox(export_seconds=0.05)
    server.world.add_task(server.world.add_project("road", labels=[{"name": "car"}]), "one")
    return server


@pytest.fixture
def client(server, signed_in):
    return signed_in(server)


def wait() -> Deadline:
    return Deadline(20)


def test_a_backup_is_asked_for_once_with_a_local_result_and_fetched(server, client, tmp_path):
    ready = ask(client, ORDER, wait())
    assert ready.path.startswith("/api/projects/1/backup/download?rq_id=")
    assert [one.query for one in server.log if one.method == "POST" and "export" in one.path] == ["location=local"]
    got = fetch(opener(client, ready), PartFile(tmp_path / ".part"), "x", StopSignal())
    assert got.size_bytes > 1000


@pytest.mark.parametrize("save_images", [True, False])
def test_a_dataset_is_asked_for_in_its_format(server, client, save_images):
    ready = ask(client, ExportOrder("project", 1, "CVAT for images 1.1", save_images), wait())
    assert "/dataset/download" in ready.path
    [query] = [one.query for one in server.log if one.path.endswith("/dataset/export")]
    assert f"save_images={str(save_images).lower()}" in query and "location=local" in query


def test_an_export_that_already_runs_is_adopted(server, client):
    server.world.export_seconds = 0.5
    first = client.post("/api/projects/1/backup/export").json()["rq_id"]
    ready = ask(client, ORDER, wait())
    assert ready.request_id == first
    assert server.log_count(ASKED) == 2
    assert [one.status for one in server.log if one.line == ASKED] == [202, 409]


def test_an_adopted_export_older_than_the_last_change_is_asked_for_again(server, client):
    server.world.export_seconds = 0.3
    client.post("/api/projects/1/backup/export")
    ask(client, ORDER, wait(), changed_at=iso(now()))
    assert [one.status for one in server.log if one.line == ASKED] == [202, 409, 202]


def test_an_adopted_export_younger_than_the_last_change_is_taken(server, client):
    server.world.export_seconds = 0.3
    changed_at = iso(server.world.now())
    client.post("/api/projects/1/backup/export")
    ask(client, ORDER, wait(), changed_at=changed_at)
    assert [one.status for one in server.log if one.line == ASKED] == [202, 409]


def test_a_killed_work_horse_is_asked_again(server, client, no_waiting):
    server.faults.add(Fault(ASKED, "kill_work_horse", times=2))
    ask(client, ORDER, wait())
    assert server.log_count(ASKED) == 3


def test_an_export_that_is_lost_every_time_fails(server, client, no_waiting):
    server.faults.add(Fault(ASKED, "kill_work_horse", times=None))
    with pytest.raises(ExportFailed, match="Work-horse terminated"):
        ask(client, ORDER, wait())
    assert server.log_count(ASKED) == 3


def test_a_dead_worker_is_waited_for_and_then_asked_again(server, client, no_waiting):
    server.faults.add(Fault(ASKED, "worker_died", freed_after=0.3))
    ask(client, ORDER, wait())
    assert server.log_count(ASKED) == 2


def test_an_export_that_fails_says_what_cvat_said_and_is_not_repeated(server, client):
    server.faults.add(Fault(ASKED, "fail", message="Traceback\n  File x\nValueError: Invalid RLE mask\n", times=None))
    with pytest.raises(ExportFailed, match="CVAT's export failed: ValueError: Invalid RLE mask"):
        ask(client, ORDER, wait())
    assert server.log_count(ASKED) == 1


def test_an_export_that_hangs_ends_with_its_deadline(server, client):
    server.faults.add(Fault(ASKED, "hang", times=None))
    with pytest.raises(TooSlow, match=r"has not finished the export in 0.3 s .*'started'"):
        ask(client, ORDER, Deadline(0.3))


def test_a_project_that_is_gone_is_not_found_and_one_without_data_is_refused(server, client):
    with pytest.raises(NotFound):
        ask(client, ExportOrder("project", 99), wait())
    task = server.world.add_empty_task("no data")
    with pytest.raises(Refused, match="Backup of a task without data is not allowed"):
        ask(client, ExportOrder("task", task.id), wait())


def test_a_request_that_the_server_forgot_is_asked_for_again(server, client, no_waiting):
    server.faults.add(Fault("GET /api/requests/", "status", status=404, body="There is no request", times=1))
    ask(client, ORDER, wait())
    assert server.log_count(ASKED) == 2


def test_the_host_in_the_result_url_is_never_believed(server, client):
    server.faults.add(Fault(ASKED, "result_host", host="http://evil.example:81/prefix"))
    assert ask(client, ORDER, wait()).path.startswith("/api/projects/1/backup/download?rq_id=")


def test_a_finished_export_of_an_earlier_run_is_found_again(server, client):
    ready = ask(client, ORDER, wait())
    assert find(client, ORDER, ready.request_id) == ready
    assert find(client, ORDER, "action=export&target=project&target_id=77&user_id=1&subresource=backup") is None
    body = {"status": "finished", "result_url": None}
    server.faults.add(Fault("GET /api/requests/", "status", status=200, body=body))
    assert find(client, ORDER, ready.request_id) is None


@pytest.mark.parametrize("url", [None, "", 5, "http://x/elsewhere", "ftp://"])
def test_a_finished_export_without_a_usable_address_is_a_failure(server, client, url):
    body = {"status": "finished", "result_url": url, "id": "x"}
    server.faults.add(Fault("GET /api/requests/", "status", status=200, body=body, times=None))
    with pytest.raises(ExportFailed):
        ask(client, ORDER, wait())


@pytest.mark.parametrize("body", [{}, [], {"rq_id": None}, {"rq_id": 5}, ["text"]])
def test_a_post_that_names_no_request_is_a_failure(server, client, body):
    server.faults.add(Fault(ASKED, "status", status=202, body=body))
    with pytest.raises(ExportFailed, match="named no request"):
        ask(client, ORDER, wait())
