"""What is backed up can be put back, and equals what it was, but for what CVAT loses."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from portraits import portrait
from sandbox_client import Client

from sandbox.cvat import CvatSandbox

RECORDED_ZIPS = Path(__file__).parents[3] / "shared" / "recordings" / "cvat" / "zips"


def test_every_sound_project_of_the_demo_is_equal_after_a_restore() -> None:
    with CvatSandbox(samples="demo", anonymous_per_minute=999) as server:
        client, world = Client(server), server.world
        for project in list(world.projects.values()):
            if project.name == "Failed uploads":
                continue
            content = client.download(client.export(f"/api/projects/{project.id}/backup/export")).content
            request = client.restore("project", content)
            assert request["status"] == "finished", request["message"]
            copy = world.projects[request["result_id"]]
            assert copy.id != project.id
            assert portrait(world, copy) == portrait(world, project)


def test_a_restore_loses_what_cvat_loses(demo: CvatSandbox) -> None:
    client, world = Client(demo), demo.world
    content = client.download(client.export("/api/projects/1/backup/export")).content
    request = client.restore("project", content, "?org=beta-lab")
    copy = world.projects[request["result_id"]]
    assert copy.organization_id == world.org_named("beta-lab").id
    task = world.tasks_of(copy)[0]
    assert task.assignee_id is None
    jobs = world.jobs_of(task)
    assert {(job.stage, job.state, job.assignee_id) for job in jobs} == {("annotation", "new", None)}
    assert [job.status for job in jobs] == ["annotation", "validation", "completed"]
    assert not any(issue["job"] in task.job_ids for issue in world.issues.values())
    world.delete_project(copy.id)


def test_a_project_with_a_failed_upload_cannot_be_restored_and_leaves_nothing(demo: CvatSandbox) -> None:
    client, world = Client(demo), demo.world
    failed = next(project.id for project in world.projects.values() if project.name == "Failed uploads")
    content = client.download(client.export(f"/api/projects/{failed}/backup/export")).content
    before = (set(world.projects), set(world.tasks), set(world.jobs))
    request = client.restore("project", content)
    assert request["status"] == "failed"
    assert request["message"] == "TypeError: '>' not supported between instances of 'NoneType' and 'int'\n"
    assert (set(world.projects), set(world.tasks), set(world.jobs)) == before

    without = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(without, "w") as target:
        for info in source.infolist():
            if not info.filename.startswith("task_1/"):
                target.writestr(info, source.read(info))
    assert client.restore("project", without.getvalue())["status"] == "finished"


def test_archives_that_are_none_fail_with_the_servers_words(server: CvatSandbox) -> None:
    client = Client(server)
    hello = client.restore("project", b"hello" * 100)
    assert hello["message"].startswith("Traceback (most recent call last):")
    assert hello["message"].endswith("zipfile.BadZipFile: File is not a zip file\n")
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    bare = client.restore("project", empty.getvalue())
    assert bare["message"] == "KeyError: \"There is no item named 'project.json' in the archive\"\n"
    assert server.world.projects == {}
    unknown = client.post("/api/projects/backup/?filename=nosuch", json={}, headers={"Upload-Finish": ""})
    assert (unknown.status_code, unknown.json()) == (400, ["No such file were uploaded"])


def test_an_upload_needs_an_origin_or_traefiks_header(server: CvatSandbox) -> None:
    client = Client(server)
    headers = {"Upload-Length": "10", "Upload-Metadata": "filename eC56aXA="}
    assert client.post("/api/projects/backup/", headers=headers).status_code == 500
    for host in ({"Origin": "http://anywhere"}, {"X-Forwarded-Host": "cvat.example.com"}):
        assert client.post("/api/projects/backup/", headers=headers | host).status_code == 201
    crooked = client.post("/api/projects/backup", headers=headers | {"Origin": "http://anywhere"})
    assert "/api/projects/backup1_" in crooked.headers["Location"]


def test_a_task_is_restored_and_moved_into_a_project(demo: CvatSandbox) -> None:
    client, world = Client(demo), demo.world
    source = world.tasks_of(world.projects[3])[0]  # skeletons
    content = client.download(client.export(f"/api/tasks/{source.id}/backup/export")).content
    task_id = client.restore("task", content)["result_id"]
    assert world.tasks[task_id].project_id is None
    refused = client.patch(f"/api/tasks/{task_id}", json={"project_id": 1})
    assert refused.status_code == 400
    assert refused.json() == {
        "non_field_errors": ["All task or project label names must be mapped to the target project"]
    }
    assert client.patch(f"/api/tasks/{task_id}", json={"project_id": None, "name": "x"}).status_code == 200
    moved = client.patch(f"/api/tasks/{task_id}", json={"project_id": 3})
    assert moved.status_code == 200
    there, original = (client.get(f"/api/tasks/{one}/annotations").json() for one in (task_id, source.id))
    assert [shape["points"] for shape in there["shapes"]] == [shape["points"] for shape in original["shapes"]]
    assert {shape["label_id"] for shape in there["shapes"]} == {shape["label_id"] for shape in original["shapes"]}
    assert client.patch(f"/api/tasks/{task_id}", json={"project_id": None}).status_code == 500


def test_an_upload_over_the_limit_is_refused(server: CvatSandbox) -> None:
    server.world.upload_limit_bytes = 100
    headers = {"Upload-Length": "101", "Upload-Metadata": "filename eC56aXA=", "Origin": server.url}
    assert Client(server).post("/api/projects/backup/", headers=headers).status_code == 413


@pytest.mark.parametrize("folder", [3, 4])
def test_a_tasks_folder_of_a_project_is_a_task_archive_by_itself(demo: CvatSandbox, folder: int) -> None:
    client = Client(demo)
    source = client.backup("project", folder)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for info in source.infolist():
            if info.filename.startswith("task_0/"):
                archive.writestr(info.filename.removeprefix("task_0/"), source.read(info))
    assert client.restore("task", target.getvalue())["status"] == "finished"


def test_overlapping_jobs_keep_their_ranges(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    world.add_task(world.add_project("p"), "t", kind="video", segment_size=20)
    copy = world.projects[client.restore("project", _content(client, 1))["result_id"]]
    old, new = (world.tasks_of(project)[0] for project in (world.projects[1], copy))
    assert (new.overlap, new.segment_size) == (old.overlap, old.segment_size) == (5, 20)
    ranges = [[(job.start_frame, job.stop_frame) for job in world.jobs_of(task)] for task in (old, new)]
    assert ranges == [[(0, 19), (15, 34), (30, 39)]] * 2


def _content(client: Client, project_id: int) -> bytes:
    return client.download(client.export(f"/api/projects/{project_id}/backup/export")).content


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("05_backup_flow.047", "project"),
        ("05_backup_flow.050", "project"),
        ("05_backup_flow.054", "project"),
        ("05_backup_flow.072", "project"),
        ("05_backup_flow.088", "task"),
        ("05_backup_flow.097", "task"),
    ],
)
def test_a_real_servers_archive_comes_out_as_it_went_in(server: CvatSandbox, name: str, target: str) -> None:
    path = RECORDED_ZIPS / f"{name}.zip"
    if not path.exists():
        pytest.skip("the recordings of a real server are not beside this checkout")
    client = Client(server)
    request = client.restore(target, path.read_bytes())
    assert request["status"] == "finished", request["message"]
    again = client.backup(target, request["result_id"])
    with zipfile.ZipFile(path) as original:
        assert sorted(again.namelist()) == sorted(original.namelist())
        for member in original.namelist():
            before, after = original.read(member), again.read(member)
            if member.endswith(".json"):
                assert json.loads(after) == json.loads(before)
            else:
                assert after == before
