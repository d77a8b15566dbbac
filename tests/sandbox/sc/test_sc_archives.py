"""Whole projects as one file: export, download, resumable upload, import; and how each of them goes wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from sc_visitor import TIMEOUT, Visit, Visitor

from sandbox.sc import Fault

TUS = {"tus-resumable": "1.0.0"}


def finished(visitor: Visitor, job_id: str) -> Any:
    """The job once it has ended."""
    until = time.monotonic() + TIMEOUT
    while (job := visitor.get(f"jobs/{job_id}"))["state"] in ("scheduled", "running"):
        assert time.monotonic() < until, job
        time.sleep(0.01)
    return job


def export(visitor: Visitor, name: str, **query: str) -> Any:
    project = visitor.server.world.project_named(name)
    response = visitor.ask("POST", f"projects/{project.id}:export", params=query)
    return finished(visitor, response.json()["job_id"])


def archive_of(visitor: Visitor, name: str, **query: str) -> bytes:
    job = export(visitor, name, **query)
    away = visitor.ask("GET", f"/{job['metadata']['download_url']}")
    assert away.status_code == 307
    content = requests.get(away.headers["location"], timeout=TIMEOUT).content
    assert len(content) == job["metadata"]["size"]
    return content


def send(visitor: Visitor, content: bytes, pieces: int = 1) -> str:
    """The id of an uploaded file."""
    begun = visitor.ask("POST", "projects/uploads/resumable", headers=TUS | {"upload-length": str(len(content))})
    assert begun.status_code == 201
    where = begun.headers["location"]
    size = -(-len(content) // pieces)
    for at in range(0, len(content), size):
        assert append(visitor, where, at, content[at : at + size]).status_code == 204
    return where.rpartition("/")[2]


def append(visitor: Visitor, where: str, at: int, piece: bytes) -> requests.Response:
    headers = TUS | {"upload-offset": str(at), "content-type": "application/offset+octet-stream"}
    return visitor.ask("PATCH", where.removeprefix(visitor.server.url), headers=headers, data=piece)


def bring_in(visitor: Visitor, file_id: str, name: str = "Brought in") -> Any:
    return finished(visitor, visitor.post("projects:import", {"file_id": file_id, "project_name": name}, 202)["job_id"])


def facts(visitor: Visitor, name: str) -> Any:
    """What a project consists of, without ids."""
    project = visitor.server.world.project_named(name)
    return (
        [
            (t.title, t.task_type, [(x.name, x.color, x.group, x.hotkey, x.is_empty) for x in t.labels])
            for t in project.tasks
        ],
        [
            (
                d.name,
                d.use_for_training,
                m.name,
                m.extension,
                m.path.read_bytes(),
                sorted(m.scenes),
                sorted(m.predictions),
            )
            for d, m in visitor.server.world.all_media(project)
        ],
        [[(model.version, model.active, model.content) for model in group.models] for group in project.groups],
    )


def test_a_project_comes_back_whole_from_its_archive_with_ids_of_its_own(visit: Visit) -> None:
    source, target = visit("2.x", samples="demo"), visit("2.x", seed=2)
    job = bring_in(target, send(target, archive_of(source, "Cars"), pieces=3), "Cars")
    assert facts(target, "Cars") == facts(source, "Cars")
    there = target.get(f"projects/{job['metadata']['project']['id']}")
    before = source.server.world.project_named("Cars")
    assert there["id"] != before.id
    assert {task["id"] for task in there["pipeline"]["tasks"]}.isdisjoint({task.id for task in before.tasks})
    components = target.get(f"projects/{there['id']}/configuration")["task_chain"][0]["components"]
    assert {one["entity_identifier"].get("project_id", there["id"]) for one in components} == {there["id"]}


def test_models_travel_as_they_are_asked_to(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    for models, versions in (("all", [1, 2]), ("latest_active", [2]), ("none", [])):
        bring_in(visitor, send(visitor, archive_of(visitor, "Cars", include_models=models)), models)
        (group,) = visitor.server.world.project_named(models).groups
        assert [model.version for model in group.models] == versions


def test_jobs_are_listed_with_their_counts(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo", job_seconds=3600.0)
    project = visitor.server.world.project_named("Cars")
    job_id = visitor.ask("POST", f"projects/{project.id}:export").json()["job_id"]
    listed = visitor.get("jobs", project_id=project.id)
    assert ([job["id"] for job in listed["jobs"]], listed["jobs_count"]["n_running_jobs"]) == ([job_id], 1)
    assert visitor.refused("DELETE", f"projects/{project.id}") == (409, "project_locked")
    visitor.server.jobs.finish_all()
    assert visitor.get(f"jobs/{job_id}")["state"] == "finished"


def test_exports_fail_finish_without_an_address_or_hang(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    faults = visitor.server.faults
    faults.add(Fault("POST .*:export", "fail", message="out of memory"))
    failed = export(visitor, "Cars")
    assert (failed["state"], failed["steps"][0]["message"]) == ("failed", "out of memory")
    faults.add(Fault("POST .*:export", "no_download_url"))
    assert "download_url" not in export(visitor, "Cars")["metadata"]
    faults.add(Fault("POST .*:export", "hang"))
    project = visitor.server.world.project_named("Cars")
    job_id = visitor.ask("POST", f"projects/{project.id}:export").json()["job_id"]
    assert visitor.get(f"jobs/{job_id}")["state"] == "running"


def test_a_cut_download_goes_on_where_it_stopped(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    job = export(visitor, "Cars")
    visitor.server.faults.add(Fault("GET .*/fileservice/", "cut", after_bytes=5000))
    where = visitor.ask("GET", f"/{job['metadata']['download_url']}").headers["location"]
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(where, timeout=TIMEOUT)
    rest = requests.get(where, headers={"Range": "bytes=5000-"}, timeout=TIMEOUT)
    assert (rest.status_code, len(rest.content)) == (206, job["metadata"]["size"] - 5000)


def test_an_interrupted_upload_tells_how_far_it_came(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    content = archive_of(visitor, "Leaves")
    begun = visitor.ask("POST", "projects/uploads/resumable", headers=TUS | {"upload-length": str(len(content))})
    where = begun.headers["location"].removeprefix(visitor.server.url)
    visitor.server.faults.add(Fault("PATCH", "cut_upload", after_bytes=1000))
    with pytest.raises(requests.ConnectionError):
        append(visitor, where, 0, content)
    told = visitor.ask("HEAD", where, headers=TUS)
    assert (told.headers["upload-offset"], told.headers["upload-length"]) == ("1000", str(len(content)))
    assert append(visitor, where, 0, content).status_code == 409
    assert append(visitor, where, 1000, content[1000:]).headers["upload-offset"] == str(len(content))
    assert bring_in(visitor, where.rpartition("/")[2])["state"] == "finished"


def test_the_rules_of_the_upload(visit: Visit) -> None:
    visitor = visit("2.x", max_archive_bytes=1000)
    where = "projects/uploads/resumable"
    assert visitor.ask("OPTIONS", where).headers["tus-extension"] == "creation"
    assert visitor.refused("POST", where, headers={"upload-length": "5"}) == (412, "precondition_failed")
    assert visitor.refused("POST", where, headers=TUS | {"upload-length": "1001"}) == (413, "payload_too_large")
    assert visitor.refused("POST", "projects:import", json={"file_id": "nothing"}) == (404, "file_not_found")
    assert visit("2.x", tus_options=False).refused("OPTIONS", where) == (403, "forbidden")


def test_what_is_no_archive_makes_the_job_fail(visit: Visit) -> None:
    visitor = visit("2.x")
    assert bring_in(visitor, send(visitor, b"not a zip at all"))["state"] == "failed"
    assert visitor.server.world.projects == {}


def test_a_full_server_takes_no_more_projects(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo", max_projects=1)
    file_id = send(visitor, archive_of(visitor, "Leaves"))
    assert visitor.refused("POST", "projects:import", json={"file_id": file_id}) == (409, "max_projects_reached")


@pytest.mark.parametrize("generation", ["1.1", "1.x"])
def test_older_servers_have_no_archives(visit: Visit, generation: str) -> None:
    visitor = visit(generation)
    response = visitor.ask("POST", f"projects/{visitor.create()['id']}:export")
    assert response.headers["content-type"] == "text/html"


# --- the switches ------------------------------------------------------------------------------------------------------


def test_the_switches_work_from_outside(visit: Visit) -> None:
    visitor = visit("1.1", samples="demo", control=True)
    fault = {"match": "GET .*/projects", "kind": "status", "status": 503, "times": 1}
    assert visitor.ask("POST", "/sandbox/faults", json=fault).status_code == 200
    assert [visitor.ask("GET", "projects").status_code for _ in range(2)] == [503, 200]
    assert len(visitor.get("/sandbox/world")["projects"]) == len(visitor.server.world.projects)
    visitor.ask("POST", "/sandbox/do", json={"call": "expire_sessions"})
    assert visitor.ask("GET", "projects").status_code == 401
    assert [one["status"] for one in visitor.get("/sandbox/log")["exchanges"]][-2:] == [200, 401]
    assert visitor.ask("POST", "/sandbox/do", json={"call": "wish"}).status_code == 400


def test_a_restart_cuts_connections_and_keeps_the_state(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    visitor.server.restart(down_seconds=0.1)
    until = time.monotonic() + TIMEOUT
    while time.monotonic() < until:
        try:
            count = visitor.get("projects")["project_counts"]
            break
        except requests.ConnectionError:
            time.sleep(0.05)
    assert count == len(visitor.server.world.projects)
