"""What a task holds according to the server, read as streams and again when they break."""

from __future__ import annotations

import pytest

from common.cvat.contents import job_counts, job_range, task_contents
from common.cvat.errors import NotFound, ServerError
from common.cvat.listing import look_at, source_of
from common.sources import Counts, JobRange
from sandbox.cvat import Fault
from sandbox.cvat.http import Response


@pytest.fixture
def server(sandbox):
    server = sandbox()
    world = server.world
    project = world.add_project("road", labels=[{"name": "car"}])
    task = world.add_task(project, "one", frames=6, segment_size=3, gt_frames=(1, 2))
    for _ in range(5):
        world.add_shape(task.job_ids[0], "car")
    world.add_shape(task.job_ids[1], "car")
    world.add_shape(task.job_ids[2], "car", frame=1)
    world.delete_frame(task, 4)
    return server


def looked(client):
    return look_at(client, source_of("x", "project", client.get("/api/projects/1")))


def test_frames_jobs_and_annotations_of_every_kind_of_job_are_told(server, signed_in):
    client = signed_in(server)
    look = looked(client)
    told = task_contents(client, look.tasks[0], look.jobs[1])
    assert (told.name, told.start_frame, told.stop_frame, told.frames) == ("one", 0, 5, 6)
    assert told.deleted_frames == {4}
    assert told.counts == Counts(0, 7, 0)
    assert [(job.type, job.start_frame, job.stop_frame) for job in told.jobs] == [
        ("annotation", 0, 2),
        ("annotation", 3, 5),
        ("ground_truth", 0, 5),
    ]


@pytest.mark.parametrize(
    "fault", [{"kind": "cut", "after_bytes": 40}, {"kind": "cut"}, {"kind": "status", "status": 200}]
)
def test_an_answer_that_breaks_off_is_read_again(server, signed_in, no_waiting, fault):
    client = signed_in(server)
    server.faults.add(Fault("GET /api/jobs/1/annotations", times=2, body='{"tags": [', **fault))
    assert job_counts(client, 1) == Counts(0, 5, 0)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("application/json", "the annotations are not complete JSON"),
        ("text/html; charset=utf-8", "a web page came instead of an answer"),
    ],
)
def test_an_answer_that_never_is_whole_is_a_failure_of_the_item(server, signed_in, no_waiting, kind, said):
    client, plain = signed_in(server), server.answer
    page = Response(200, [("Content-Type", kind)], b"<html>")
    server.answer = lambda request, faults: (
        page if request.target.startswith("/api/jobs/1/annotations") else plain(request, faults)
    )
    with pytest.raises(ServerError, match=f"GET /api/jobs/1/annotations: {said}"):
        job_counts(client, 1)


def test_annotations_that_drip_are_a_failure_of_the_item(server, signed_in, no_waiting, monkeypatch):
    client = signed_in(server)
    server.faults.add(Fault("GET /api/jobs/1/annotations", "slow", bytes_per_second=100, times=None))
    monkeypatch.setattr(type(client), "_timeout_seconds", 0.2)
    with pytest.raises(ServerError, match="the answer is too slow"):
        job_counts(client, 1)


def test_a_job_that_is_gone_is_not_asked_for_again(server, signed_in):
    client = signed_in(server)
    with pytest.raises(NotFound):
        job_counts(client, 999)
    assert server.log_count("GET /api/jobs/999/annotations") == 1


def test_a_job_of_an_older_server_without_a_type_is_an_annotation_job():
    assert job_range({"start_frame": 1, "stop_frame": 2}) == JobRange("annotation", 1, 2, "")
