"""The real cvat-sdk works against the sandbox."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from cvat_sdk import make_client, models
from cvat_sdk.core.client import Client as SdkClient
from cvat_sdk.core.exceptions import BackgroundRequestException
from cvat_sdk.core.proxies.tasks import ResourceType
from PIL import Image

from sandbox.cvat import CvatSandbox, Fault

QUICK = 0.02


def sdk(server: CvatSandbox) -> SdkClient:
    return make_client(server.url, credentials=(server.username, server.password))


def pictures(folder: Path, count: int) -> list[Path]:
    paths = []
    for number in range(count):
        path = folder / f"shot_{number}.jpg"
        Image.new("RGB", (64, 48), (number * 40, 90, 120)).save(path)
        paths.append(path)
    return paths


def test_the_sdk_signs_in_by_password_and_by_access_token(demo: CvatSandbox) -> None:
    with sdk(demo) as client:
        assert {project.name for project in client.projects.list()} >= {"Road signs 2026", "..", "foo_bar"}
    with make_client(demo.url, access_token=demo.access_token) as client:
        assert len(client.projects.list()) == len(demo.world.projects)
        assert len(client.tasks.list()) == len(demo.world.tasks)
        assert len(client.jobs.list()) == len(demo.world.jobs)
        assert {org.slug for org in client.organizations.list()} == {"acme", "beta-lab"}
        assert client.users.retrieve_current_user().username == "admin"


def test_the_sdk_reads_every_task_job_and_annotation_of_the_demo(demo: CvatSandbox) -> None:
    with make_client(demo.url, access_token=demo.access_token) as client:
        for task in client.tasks.list():
            if demo.world.tasks[task.id].has_frames:
                task.get_meta()
                task.get_labels()
                task.get_annotations()
        for job in client.jobs.list():
            job.get_annotations()
            job.get_meta()
            assert not job.get_issues() or job.id == 2


def test_the_sdk_stays_within_an_organization(demo: CvatSandbox) -> None:
    with sdk(demo) as client, client.organization_context("acme"):
        assert {project.name for project in client.projects.list()} == {"Acme cars", "foo_bar", "Parking lots"}


def test_the_sdk_makes_a_project_with_a_task_and_annotations_backs_it_up_and_restores_it(
    server: CvatSandbox, tmp_path: Path
) -> None:
    with sdk(server) as client:
        project = client.projects.create({"name": "made by sdk", "labels": [{"name": "car"}, {"name": "bus"}]})
        task = client.tasks.create_from_data(
            {"name": "three shots", "project_id": project.id, "segment_size": 2},
            resource_type=ResourceType.LOCAL,
            resources=pictures(tmp_path, 3),
            data_params={"image_quality": 80},
            status_check_period=QUICK,
        )
        assert task.size == 3
        assert len(task.get_jobs()) == 2
        label = project.get_labels()[0].id
        shape = models.LabeledShapeRequest(type="rectangle", frame=2, label_id=label, points=[1.0, 2.0, 30.0, 40.0])
        task.set_annotations(models.LabeledDataRequest(version=0, tags=[], shapes=[shape], tracks=[]))
        archive = tmp_path / "backup.zip"
        project.download_backup(archive, status_check_period=QUICK)
        with zipfile.ZipFile(archive) as opened:
            assert opened.testzip() is None
            assert "task_0/data/shot_2.jpg" in opened.namelist()
        again = client.projects.create_from_backup(archive, status_check_period=QUICK)
        assert again.id != project.id
        [copy] = again.get_tasks()
        assert copy.size == 3
        [held] = copy.get_annotations().shapes
        assert (held.frame, held.points) == (2, [1.0, 2.0, 30.0, 40.0])
        task_archive = tmp_path / "task.zip"
        task.download_backup(task_archive, status_check_period=QUICK)
        loose = client.tasks.create_from_backup(task_archive, status_check_period=QUICK)
        assert loose.project_id is None
        assert loose.get_meta().size == 3


def test_the_sdk_exports_datasets(demo: CvatSandbox, tmp_path: Path) -> None:
    with sdk(demo) as client:
        project = client.projects.retrieve(1)
        for name in ("CVAT for images 1.1", "CVAT for video 1.1", "COCO 1.0", "YOLO 1.1"):
            path = tmp_path / f"{name}.zip"
            project.export_dataset(name, path, include_images=True, status_check_period=QUICK)
            with zipfile.ZipFile(path) as opened:
                assert any(member.endswith("frame_0000.jpg") for member in opened.namelist())


def test_the_sdk_reports_an_export_that_failed(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.add_project("unlucky")
    server.faults.add(Fault("POST .*/backup/export", "fail", message="OSError: [Errno 28] No space left on device\n"))
    with sdk(server) as client, pytest.raises(BackgroundRequestException, match="No space left"):
        client.projects.retrieve(1).download_backup(tmp_path / "x.zip", status_check_period=QUICK)


def test_the_sdk_uploads_a_large_archive_in_pieces(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.add_task(
        server.world.add_project("heavy"), "scans", files=server.world.media.random_files(3, 9_000_000)
    )
    with sdk(server) as client:
        archive = tmp_path / "heavy.zip"
        client.projects.retrieve(1).download_backup(archive, status_check_period=QUICK)
        restored = client.projects.create_from_backup(archive, status_check_period=QUICK)
        assert restored.get_tasks()[0].size == 3
    assert server.log_count(r"PATCH /api/projects/backup/.*") == 3
