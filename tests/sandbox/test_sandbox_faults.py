"""Every fault does over a real socket what it says."""

from __future__ import annotations

import contextlib
import time
import zipfile

import pytest
import requests
from sandbox_client import Client

from sandbox.cvat import CvatSandbox, Fault

DOWNLOAD = "GET .*/backup/download"
EXPORT = "POST .*/backup/export"


@pytest.fixture
def ready(server: CvatSandbox) -> tuple[CvatSandbox, Client, dict[str, object], bytes]:
    """A finished export and what its download holds."""
    client = Client(server)
    server.world.add_task(server.world.add_project("p"), "t", frames=4)
    request = client.export("/api/projects/1/backup/export")
    return server, client, request, client.download(request).content


Ready = tuple[CvatSandbox, Client, dict[str, object], bytes]


def test_a_status_is_answered_once_after_as_many_as_are_skipped(server: CvatSandbox) -> None:
    client = Client(server)
    server.faults.add(
        Fault("GET /api/projects", "status", status=429, headers={"Retry-After": "3"}, body={"detail": "x"}, skip=1)
    )
    answers = [client.get("/api/projects") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 200]
    assert answers[1].headers["Retry-After"] == "3"
    server.faults.add(Fault("GET /api/tasks", "status", status=502, times=None))
    assert [client.get("/api/tasks").status_code for _ in range(3)] == [502] * 3
    server.faults.clear()
    assert client.get("/api/tasks").status_code == 200


def test_a_status_after_handling_hides_that_the_request_was_carried_out(server: CvatSandbox) -> None:
    server.faults.add(Fault("POST /api/projects", "status", status=504, after_handling=True))
    assert Client(server).post("/api/projects", json={"name": "made all the same"}).status_code == 504
    assert server.world.projects[1].name == "made all the same"


@pytest.mark.parametrize("rst", [True, False])
@pytest.mark.parametrize("after_bytes", [0, 1, 5000])
def test_a_connection_is_cut_after_so_many_bytes(ready: Ready, after_bytes: int, rst: bool) -> None:
    server, client, request, content = ready
    server.faults.add(Fault(DOWNLOAD, "cut", after_bytes=after_bytes, rst=rst))
    got = b""
    with pytest.raises(requests.RequestException):
        for piece in client.download(request, stream=True).iter_content(512):
            got += piece
    assert len(got) <= after_bytes
    assert content.startswith(got)
    assert client.download(request).content == content


def test_without_a_length_a_cut_looks_like_the_end(ready: Ready) -> None:
    server, client, request, content = ready
    server.faults.add(Fault(DOWNLOAD, "no_length"))
    server.faults.add(Fault(DOWNLOAD, "cut", after_bytes=1000))
    answer = client.download(request)
    assert "Content-Length" not in answer.headers
    assert answer.content == content[:1000]
    server.faults.add(Fault(DOWNLOAD, "no_length"))
    assert client.download(request).content == content


def test_a_length_can_be_wrong(ready: Ready) -> None:
    server, client, request, content = ready
    server.faults.add(Fault(DOWNLOAD, "wrong_length", delta=100))
    with pytest.raises(requests.RequestException):
        _ = client.download(request).content
    server.faults.add(Fault(DOWNLOAD, "wrong_length", delta=-100))
    assert client.download(request).content == content[:-100]


def test_bytes_are_flipped_at_their_place_in_the_whole_file(ready: Ready) -> None:
    server, client, request, content = ready
    server.faults.add(Fault(DOWNLOAD, "corrupt", offset=2000, count=3, times=2))
    bad = client.download(request).content
    assert [n for n, (a, b) in enumerate(zip(content, bad, strict=True)) if a != b] == [2000, 2001, 2002]
    part = client.download(request, headers={"Range": "bytes=1990-2009"}).content
    assert part == bad[1990:2010]


def test_answers_can_be_slow_late_and_stall(ready: Ready) -> None:
    server, client, request, content = ready
    for fault in (
        Fault(DOWNLOAD, "slow", seconds=0.3),
        Fault(DOWNLOAD, "slow", bytes_per_second=len(content) / 0.3),
        Fault(DOWNLOAD, "stall", after_bytes=100, seconds=0.3),
    ):
        server.faults.add(fault)
        begun = time.monotonic()
        assert client.download(request).content == content
        assert time.monotonic() - begun >= 0.29


def test_a_header_a_host_and_the_range_can_be_tampered_with(ready: Ready) -> None:
    server, client, request, content = ready
    hostile = 'attachment; filename="../../../etc/passwd"'
    server.faults.add(Fault(DOWNLOAD, "header", name="Content-Disposition", value=hostile))
    assert client.download(request).headers["Content-Disposition"] == hostile
    server.faults.add(Fault(DOWNLOAD, "drop_range"))
    whole = client.download(request, headers={"Range": "bytes=100-"})
    assert (whole.status_code, whole.content) == (200, content)
    server.faults.add(Fault(EXPORT, "result_host"))
    assert str(client.export("/api/projects/1/backup/export")["result_url"]).startswith("http://evil.example:81/api/")


def test_an_export_fails_hangs_expires_or_is_killed(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p")
    server.faults.add(Fault(EXPORT, "fail", message="OSError: no\n"))
    assert client.export("/api/projects/1/backup/export")["message"] == "OSError: no\n"
    server.faults.add(Fault(EXPORT, "kill_work_horse"))
    assert "waitpid returned 9" in client.export("/api/projects/1/backup/export")["message"]
    server.faults.add(Fault(EXPORT, "expire"))
    assert client.download(client.export("/api/projects/1/backup/export")).status_code == 404
    server.faults.add(Fault(EXPORT, "hang", seconds=0.3))
    begun = time.monotonic()
    assert client.export("/api/projects/1/backup/export")["status"] == "finished"
    assert time.monotonic() - begun >= 0.29


def test_a_project_changes_while_it_is_exported(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("before")
    server.faults.add(Fault(EXPORT, "change_while_exporting", call="rename_project", args=(1, "after")))
    archive = client.backup("project", 1)
    assert b'"name":"before"' in archive.read("project.json")
    assert server.world.projects[1].name == "after"


def test_an_older_backup_is_served_for_a_new_one(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("before")
    client.backup("project", 1)
    server.world.rename_project(1, "after")
    server.faults.add(Fault(EXPORT, "lie_stale"))
    assert b'"name":"before"' in client.backup("project", 1).read("project.json")
    assert b'"name":"after"' in client.backup("project", 1).read("project.json")


def test_an_upload_is_cut_and_goes_on_where_it_was(server: CvatSandbox) -> None:
    client = Client(server)
    headers = {"Upload-Length": "1000", "Upload-Metadata": "filename eC56aXA=", "Origin": server.url}
    location = client.post("/api/projects/backup/", headers=headers).headers["Location"].removeprefix(server.url)
    server.faults.add(Fault("PATCH /api/projects/backup/", "cut_upload", after_bytes=300))
    piece = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    with pytest.raises(requests.RequestException):
        client.patch(location, data=b"x" * 1000, headers=piece)
    state = client.ask("HEAD", location)
    assert (state.headers["Upload-Offset"], state.headers["Upload-Length"]) == ("300", "1000")
    assert client.patch(location, data=b"x" * 1000, headers=piece).status_code == 409
    rest = client.patch(location, data=b"x" * 700, headers=piece | {"Upload-Offset": "300"})
    assert (rest.status_code, rest.headers["Upload-Offset"]) == (204, "1000")


def back_again(client: Client) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(requests.ConnectionError):
            if client.get("/api/projects").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the server did not come back within a minute")


def test_the_server_goes_away_and_comes_back_on_its_port_with_its_state(ready: Ready) -> None:
    server, client, request, content = ready
    server.restart(down_seconds=2)
    with pytest.raises(requests.ConnectionError):
        client.get("/api/projects")
    back_again(client)
    assert client.download(request).content == content
    server.restart(down_seconds=2, mode="502")
    away = client.get("/api/projects")
    assert (away.status_code, away.headers["Content-Type"]) == (502, "text/html")
    back_again(client)


def test_a_restart_cuts_a_download_in_the_middle(ready: Ready) -> None:
    server, client, request, content = ready
    server.faults.add(Fault(DOWNLOAD, "slow", bytes_per_second=len(content)))
    answer = client.download(request, stream=True)
    server.restart(down_seconds=0.2)
    with pytest.raises(requests.RequestException):
        _ = answer.content


def test_the_log_counts_what_was_asked(server: CvatSandbox) -> None:
    client = Client(server)
    for _ in range(3):
        client.get("/api/projects?page_size=1")
    assert server.log_count("GET /api/projects") == 3
    assert server.log_count("GET /api/.*") == 3
    last = server.log[-1]
    assert (last.method, last.path, last.query, last.status, last.user) == (
        "GET",
        "/api/projects",
        "page_size=1",
        200,
        "admin",
    )


def test_a_fault_of_an_unknown_kind_or_with_a_bad_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="no such kind"):
        Fault("GET", "nosuch")
    with pytest.raises(ValueError, match="unknown keys"):
        Fault.from_json({"match": "GET", "kind": "cut", "colour": 1})


def test_a_served_backup_is_a_sound_zip_when_no_fault_is_set(ready: Ready) -> None:
    server, client, _, _ = ready
    archive = client.backup("project", 1)
    assert isinstance(archive, zipfile.ZipFile)
    assert archive.testzip() is None
    assert server.faults.take("GET /") is not None
