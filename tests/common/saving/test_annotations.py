"""Saving annotations: each job byte for byte, and the dataset beside it."""

from __future__ import annotations

import json
import zipfile

import pytest

from common.cvat.errors import NotFound, Unreachable
from common.saving.annotations import wanted_export
from sandbox.cvat import Fault
from tests.common.making import a_state

OFFERED = {"CVAT for images 1.1": "2d", "CVAT for video 1.1": "2d"}


def api_archive(tmp_path, record) -> zipfile.ZipFile:
    [path] = tmp_path.rglob(record.main_file.name)
    return zipfile.ZipFile(path)


def test_each_job_lies_in_the_archive_byte_for_byte_with_what_it_refers_to(server, saved, open_desk, tmp_path):
    server.world.add_ground_truth(server.world.task(1), [0])
    record = saved(mode="a").record
    archive = api_archive(tmp_path, record)
    client = open_desk().client
    for job in server.world.jobs.values():
        raw = client.send("GET", f"/api/jobs/{job.id}/annotations").content
        assert archive.read(f"tasks/{job.task_id}/jobs/{job.id}.json") == raw
    assert {"source.json", "labels.json", "jobs.json", "tasks/1/task.json", "tasks/1/frames.json"} <= set(
        archive.namelist()
    )
    assert [job["type"] for job in json.loads(archive.read("jobs.json"))].count("ground_truth") == 1
    assert record.verified.jobs == 5 and record.verified.counts.shapes == 2
    assert [file.role for file in record.files] == ["api", "dataset"]


def test_videos_are_exported_in_the_video_format(server, saved):
    server.world.add_task(1, "film", kind="video")
    assert saved(mode="a").record.export.formats == ("CVAT for images 1.1", "CVAT for video 1.1")


def test_a_source_without_data_needs_no_dataset(server, saved):
    server.world.add_project("empty")
    record = saved("project 2", "a").record
    assert record.export.formats == () and [file.role for file in record.files] == ["api"]


@pytest.mark.parametrize("path", ["jobs/1/annotations", "tasks/1/data/meta", "labels"])
def test_an_answer_that_broke_off_leaves_nothing_half_in_the_archive(server, saved, tmp_path, no_waiting, path):
    server.faults.add(Fault(f"GET /api/{path}", "cut", after_bytes=20, times=1))
    record = saved(mode="a").record
    names = api_archive(tmp_path, record).namelist()
    assert len(names) == len(set(names))


def test_a_failed_save_leaves_no_debris(server, saved, tmp_path, no_waiting):
    server.faults.add(Fault("GET /api/jobs/1/annotations", "status", status=500, times=None))
    assert saved(mode="a").outcome == "failed"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST /api/projects/1/dataset/export", "status", status=500, times=None),
        Fault("POST /api/projects/1/dataset/export", "status", status=400, body=["no such format"], times=None),
        Fault("GET /api/requests/", "status", status=404, times=None),
        Fault("GET /api/requests/", "status", status=200, body="<html>login</html>", times=None),
        Fault("dataset/download", "header", name="Content-Encoding", value="gzip", times=None),
        Fault("dataset/download", "status", status=403, times=None),
    ],
    ids=lambda fault: f"{fault.match} {fault.status} {fault.name}",
)
def test_no_failure_of_a_dataset_costs_the_annotations(server, saved, no_waiting, fault):
    server.faults.add(fault)
    result = saved(mode="a")
    assert result.outcome == "failed" and "no dataset as 'CVAT for images 1.1'" in result.reason, result.reason
    assert [file.role for file in result.record.files] == ["api"]


def test_a_source_that_is_gone_when_its_dataset_is_made_is_gone(server, saved, tmp_path, monkeypatch):
    def gone(*_):
        server.world.delete_project(1)
        raise NotFound("no such project")

    monkeypatch.setattr("common.saving.annotations._dataset", gone)
    assert saved(mode="a").outcome == "gone"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_server_that_dies_over_a_dataset_costs_no_annotations(server, saved, no_waiting, monkeypatch):
    def dies(*_):
        server.faults.add(Fault("/api/", "status", status=503, times=None))
        raise Unreachable("connection refused")

    monkeypatch.setattr("common.saving.annotations._dataset", dies)
    result = saved(mode="a", CVAT_SERVER_WAIT_SECONDS="0")
    assert result.outcome == "failed" and result.record.changed_while_exporting
    assert "could not be looked at again" in result.record.warnings[-2] + result.record.warnings[-1]


def test_a_change_meanwhile_is_marked(server, saved):
    server.faults.add(Fault("dataset/export", "change_while_exporting", call="add_shape", args=(1, "car")))
    assert saved(mode="a").record.changed_while_exporting


def test_what_is_wanted_follows_what_the_source_holds():
    assert wanted_export(a_state(has_images=False), "COCO 1.0", OFFERED, save_images=True).formats == ()
    wanted = wanted_export(a_state(has_video=True), "CVAT for images 1.1", OFFERED, save_images=True)
    assert wanted.formats == ("CVAT for images 1.1", "CVAT for video 1.1") and wanted.save_images
