"""One run over the demo server in all modes: everything is there, as the server has it, and can be put back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cvat_sdk import Client, make_client
from running import (
    Finished,
    assert_adds_up,
    assert_equals_server,
    assert_sound,
    path_of,
    record_of,
    records,
    run_backup,
)

from sandbox.cvat import CvatSandbox
from sandbox.cvat.samples import LONG_NAME
from sandbox.cvat.world import World


@dataclass(frozen=True)
class Saved:
    server: CvatSandbox
    done: Finished

    @property
    def folder(self) -> Path:
        return self.done.folder

    def project(self, name: str) -> int:
        return next(project.id for project in self.server.world.projects.values() if project.name == name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """The demo server after `backup.py --mode p a t`; the tests here only read."""
    with CvatSandbox(samples="demo", export_seconds=0.02, anonymous_per_minute=10_000) as server:
        yield Saved(server, run_backup(server, tmp_path_factory.mktemp("demo"), "--mode", "p", "a", "t"))


def test_everything_is_saved_and_sound(saved: Saved) -> None:
    assert saved.done.code == 0, saved.done.said
    assert_sound(saved.folder)
    assert_adds_up(saved.done, saved.server, "p", "a", "t")


def test_every_project_and_loose_task_equals_the_server(saved: Saved) -> None:
    world = saved.server.world
    for project in world.projects.values():
        failed = [n for n, task in enumerate(world.tasks_of(project)) if task.data is not None and task.data.failed]
        record = record_of(saved.folder, "project", project.id)
        assert_equals_server(saved.server, saved.folder, record, without=tuple(failed))
    for task in world.tasks.values():
        if task.project_id is None and task.has_frames:
            assert_equals_server(saved.server, saved.folder, record_of(saved.folder, "task", task.id))


def test_records_say_what_is_in_the_backup(saved: Saved) -> None:
    world = saved.server.world
    for record in records(saved.folder):
        tasks = (
            world.tasks_of(world.project(record.source.id))
            if record.source.kind == "project"
            else [world.task(record.source.id)]
        )
        with_data = [task for task in tasks if task.has_frames]
        jobs = [job for task in with_data for job in world.jobs_of(task)]
        assert record.verified.tasks == len(with_data)
        assert record.verified.jobs == len(jobs)
        assert record.verified.frames == sum(task.data.size for task in with_data if task.data)
        assert record.verified.counts.tags == sum(len(job.annotations.tags) for job in jobs)
        assert record.verified.counts.shapes == sum(len(job.annotations.shapes) for job in jobs)
        assert record.verified.counts.tracks == sum(len(job.annotations.tracks) for job in jobs)
        assert record.verified.compared_with_server
        assert not record.changed_while_exporting
        assert record.server.version == "2.54.1"
        assert record.server.url == saved.server.url


def test_awkward_names_live_side_by_side(saved: Saved) -> None:
    names = (
        "..",
        'a/b\\c: raw? "q" <x>|*',
        "ünïcödé — проект 日本語 🚗",
        "name\twith\ttabs.zip",
        LONG_NAME,
        "CON",
        "-rf",
    )
    for name in names:
        record = record_of(saved.folder, "project", saved.project(name))
        assert record.source.name == name
    folders = [path.name for path in saved.folder.glob("*/*") if path.is_dir()]
    assert len(folders) == len({name.casefold() for name in folders})
    for path in saved.folder.rglob("*"):
        assert len(path.name.encode()) <= 255
        assert not set(path.name) & set('<>:"/\\|?*\t'), path.name
        assert path.name == path.name.strip(" .") or path.name.startswith(".lock"), path.name
    assert [path.name for path in saved.folder.parent.iterdir()] == ["backups"]


def test_a_failed_upload_is_left_out_with_its_description_kept(saved: Saved) -> None:
    record = record_of(saved.folder, "project", saved.project("Failed uploads"))
    assert [(left.name, "failed" in left.reason) for left in record.left_out] == [
        ("broken image", True),
        ("no data at all", False),
    ]
    assert record.original is not None
    assert record.original.sha256 != record.main_file.sha256
    kept = json.loads(path_of(saved.folder, record, "left-out").read_text())
    assert [task["task_id"] for task in kept["tasks"]] == [left.task_id for left in record.left_out]


def test_a_file_that_was_not_mended_is_what_the_server_sent(saved: Saved) -> None:
    for record in records(saved.folder):
        altered = record.source.id == saved.project("Failed uploads") and record.content == "backup"
        assert (record.original is not None) is altered
        assert bool(record.alterations) is altered


# --- annotations --------------------------------------------------------------------------------------------------


def api_archive(saved: Saved, kind: str, source_id: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path_of(saved.folder, record_of(saved.folder, kind, source_id, "annotations"), "api"))


def test_each_job_is_kept_byte_for_byte_ground_truth_and_consensus_too(saved: Saved) -> None:
    world, seen = saved.server.world, set()
    headers = {"Authorization": f"Bearer {saved.server.access_token}", "Accept": "application/vnd.cvat+json"}
    for task in world.tasks.values():
        if not task.has_frames:
            continue
        source = ("project", task.project_id) if task.project_id is not None else ("task", task.id)
        with api_archive(saved, *source) as opened:
            for job in world.jobs_of(task):
                url = f"{saved.server.url}/api/jobs/{job.id}/annotations"
                answer = requests.get(url, headers=headers, timeout=60).content
                assert opened.read(f"tasks/{task.id}/jobs/{job.id}.json") == answer
                seen.add(job.type)
    assert seen == {"annotation", "ground_truth", "consensus_replica"}


def test_the_api_archive_explains_its_numbers(saved: Saved) -> None:
    world, project = saved.server.world, saved.server.world.project(saved.project("Ground truth and consensus"))
    with api_archive(saved, "project", project.id) as opened:
        labels = {row["id"]: row["name"] for row in json.loads(opened.read("labels.json"))}
        assert labels == {label.id: label.name for label in project.labels}
        jobs = {row["id"]: row["type"] for row in json.loads(opened.read("jobs.json"))}
        assert jobs == {job.id: job.type for task in world.tasks_of(project) for job in world.jobs_of(task)}
        for task in world.tasks_of(project):
            frames = json.loads(opened.read(f"tasks/{task.id}/frames.json"))
            assert task.data is not None
            assert [row["name"] for row in frames["frames"]] == [frame.name for frame in task.data.frames]
        assert json.loads(opened.read("source.json"))["name"] == project.name


def test_video_gets_the_video_format_so_that_tracks_survive(saved: Saved) -> None:
    def formats(kind: str, source_id: int) -> tuple[str, ...]:
        return record_of(saved.folder, kind, source_id, "annotations").export.formats

    loose = {task.name: task.id for task in saved.server.world.tasks.values() if task.project_id is None}
    assert formats("task", loose["standalone video"]) == ("CVAT for video 1.1",)
    assert formats("task", loose["standalone task"]) == ("CVAT for images 1.1",)
    assert formats("project", saved.project("Video tracks")) == ("CVAT for images 1.1", "CVAT for video 1.1")
    record = record_of(saved.folder, "project", saved.project("Video tracks"), "annotations")
    video = next(file.name for file in record.files if "cvat-for-video" in file.name)
    with zipfile.ZipFile(path_of(saved.folder, record).with_name(video)) as opened:
        assert opened.read("annotations.xml").count(b"<track ") >= 2


# --- putting back -------------------------------------------------------------------------------------------------


def contents(world: World, project_id: int) -> Any:
    """What a restored project must have in common with the one it came from."""
    project = world.project(project_id)

    def plain(value: Any, names: dict[int, str]) -> Any:
        if isinstance(value, dict):
            named = {"label_id": lambda x: names[x], "spec_id": lambda x: names[-x]}
            return {
                key: named.get(key, lambda x: plain(x, names))(item)
                for key, item in value.items()
                if key not in ("id", "parent")
            }
        return [plain(item, names) for item in value] if isinstance(value, list) else value

    names: dict[int, str] = {}
    labels = list(project.labels)
    for label in labels:
        names[label.id] = label.name
        names |= {-spec.id: spec.name for spec in label.attributes}
        labels += label.sublabels
    return {
        "name": project.name,
        "bug_tracker": project.bug_tracker,
        "labels": sorted((label.name, label.color, label.type, label.parent_id is not None) for label in labels),
        "tasks": [
            {
                "name": task.name,
                "subset": task.subset,
                "frames": [(frame.name, frame.width, frame.height) for frame in task.data.frames],
                "deleted": sorted(task.data.deleted_frames),
                "jobs": [
                    {
                        "range": (job.start_frame, job.stop_frame, job.type, job.status),
                        "tags": plain(job.annotations.tags, names),
                        "shapes": plain(job.annotations.shapes, names),
                        "tracks": plain(job.annotations.tracks, names),
                    }
                    for job in world.jobs_of(task)
                ],
            }
            for task in world.tasks_of(project)
            if task.data is not None and not task.data.failed
        ],
    }


@contextmanager
def signed_in(server: CvatSandbox) -> Iterator[Client]:
    """The real cvat-sdk. Without traefik before it, a CVAT wants to be told by whom uploads are sent."""
    with make_client(server.url, access_token=server.write_token) as client:
        client.api_client.set_default_header("Origin", server.url)
        yield client


def test_every_project_can_be_put_back_into_a_fresh_server(saved: Saved) -> None:
    world = saved.server.world
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as fresh:
        with signed_in(fresh) as client:
            for project in world.projects.values():
                path = path_of(saved.folder, record_of(saved.folder, "project", project.id))
                restored = client.projects.create_from_backup(path, status_check_period=0.02)
                assert contents(fresh.world, restored.id) == contents(world, project.id)
        assert len(fresh.world.projects) == len(world.projects)


def test_every_loose_task_can_be_put_back_into_a_fresh_server(saved: Saved) -> None:
    loose = [task for task in saved.server.world.tasks.values() if task.project_id is None and task.has_frames]
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as fresh:
        with signed_in(fresh) as client:
            for task in loose:
                path = path_of(saved.folder, record_of(saved.folder, "task", task.id))
                restored = client.tasks.create_from_backup(path, status_check_period=0.02)
                assert fresh.world.task(restored.id).name == task.name
        assert len(fresh.world.tasks) == len(loose) == 3


# --- the run's own words ------------------------------------------------------------------------------------------


def test_the_list_shows_every_backup_without_asking_the_server(saved: Saved) -> None:
    before = len(saved.server.log)
    done = run_backup("http://nobody.invalid", saved.folder.parent, "--list")
    assert done.code == 0
    assert len(saved.server.log) == before
    for record in records(saved.folder):
        assert done.out.count(record.main_file.name) == 1


def test_no_secret_is_said_or_written_anywhere(saved: Saved) -> None:
    key = next(iter(saved.server.world.users.values())).key
    for secret in (saved.server.password, key):
        assert secret not in saved.done.said
        for path in saved.folder.rglob("*.json*"):
            assert secret not in path.read_text()


def test_the_run_signs_in_once_and_never_out(saved: Saved) -> None:
    assert saved.server.log_count("POST /api/auth/login") == 1
    assert saved.server.log_count("POST /api/auth/logout") == 0


def test_nothing_on_the_server_was_written_to(saved: Saved) -> None:
    changing = {line.line for line in saved.server.log if line.method not in ("GET", "HEAD")}
    assert all(line.endswith("/export") or line == "POST /api/auth/login" for line in changing)
