"""Exports: asking, waiting, downloading, and the cache that lies."""

from __future__ import annotations

import io
import json
import threading
import time
import zipfile
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from sandbox_client import Client

from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat.samples import TRAFFIC, traffic_annotations


def task_json(archive: zipfile.ZipFile, prefix: str = "") -> dict[str, object]:
    described: dict[str, object] = json.loads(archive.read(f"{prefix}task.json"))
    return described


def test_the_id_of_an_export_is_known_beforehand(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_task(server.world.add_project("p"), "t")
    backup = "action=export&target=project&target_id=1&user_id=1&subresource=backup"
    assert client.post("/api/projects/1/backup/export").json() == {"rq_id": backup}
    dataset = client.post("/api/projects/1/dataset/export?format=CVAT for images 1.1&save_images=true").json()
    assert (
        dataset["rq_id"]
        == "action=export&target=project&target_id=1&user_id=1&format=CVAT_for_images_1~1&subresource=dataset"
    )
    labels = client.post("/api/tasks/1/dataset/export?format=COCO 1.0").json()["rq_id"]
    assert labels == "action=export&target=task&target_id=1&user_id=1&format=COCO_1~0&subresource=annotations"
    client.wait(backup)
    assert client.get(f"/api/requests/{backup}").json()["status"] == "finished"  # unencoded works too
    operation = client.wait(labels)["operation"]
    assert operation == {
        "type": "export:annotations",
        "target": "task",
        "project_id": 1,
        "task_id": 1,
        "job_id": None,
        "format": "COCO 1.0",
        "lightweight": None,
    }


def test_an_export_is_queued_then_started_then_finished_and_asking_again_meanwhile_is_a_409() -> None:
    with CvatSandbox(samples="none", export_seconds=0.3, workers=1, anonymous_per_minute=999) as server:
        client = Client(server)
        for name in ("first", "second"):
            server.world.add_project(name)
        first = client.post("/api/projects/1/backup/export").json()["rq_id"]
        second = client.post("/api/projects/2/backup/export").json()["rq_id"]
        time.sleep(0.05)
        assert client.get(f"/api/requests/{first}").json()["status"] == "started"
        waiting = client.get(f"/api/requests/{second}").json()
        assert (waiting["status"], waiting["started_date"], waiting["result_url"]) == ("queued", None, None)
        again = client.post("/api/projects/1/backup/export?lightweight=true")
        assert (again.status_code, again.json()) == (409, {"rq_id": first})
        early = client.get(f"/api/projects/1/backup/download?rq_id={quote(first, safe='')}")
        assert (early.status_code, early.text) == (400, "The export process is not finished")
        refused = client.post(f"/api/requests/{first}/cancel")
        assert (refused.status_code, refused.text) == (
            400,
            "Only requests that have not yet been started can be cancelled",
        )
        assert client.post(f"/api/requests/{second}/cancel").status_code == 200
        gone = client.get(f"/api/requests/{second}")
        assert (gone.status_code, gone.text) == (404, "There is no request with specified id")
        assert client.wait(first)["status"] == "finished"
        assert client.get("/api/requests?status=finished&action=export&target=project").json()["count"] == 1


def test_downloads_know_ranges_and_validators_but_no_head(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_task(server.world.add_project("Road signs 2026"), "t")
    request = client.export("/api/projects/1/backup/export")
    whole = client.download(request)
    size = len(whole.content)
    assert whole.headers["Content-Type"] == "application/zip"
    assert whole.headers["Content-Length"] == str(size)
    assert whole.headers["Accept-Ranges"] == "bytes"
    stamp = server.world.projects[1].updated_date.strftime("%Y_%m_%d_%H_%M_%S")
    named = f'attachment; filename="project_road signs 2026_backup_{stamp}.zip"'
    etag = whole.headers["ETag"]

    part = client.download(request, headers={"Range": "bytes=100-", "If-Range": etag})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    few = client.download(request, headers={"Range": "bytes=5-9"})
    assert (few.status_code, few.content) == (206, whole.content[5:10])
    last = client.download(request, headers={"Range": "bytes=-7"})
    assert last.content == whole.content[-7:]
    other = client.download(request, headers={"Range": "bytes=5-9", "If-Range": '"another"'})
    assert (other.status_code, len(other.content)) == (200, size)
    past = client.download(request, headers={"Range": f"bytes={size}-"})
    assert (past.status_code, past.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert client.download(request, headers={"If-None-Match": etag}).status_code == 304
    same_date = {"If-Modified-Since": whole.headers["Last-Modified"]}
    assert client.download(request, headers=same_date).status_code == 304
    head = client.ask("HEAD", request["result_url"].removeprefix(server.url))
    assert head.status_code == 500

    assert named == whole.headers["Content-Disposition"]
    client.session.headers.pop("Authorization")
    assert client.download(request).status_code == 401


def test_the_etag_changes_with_every_request_for_the_same_file(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p")
    first = client.download(client.export("/api/projects/1/backup/export"))
    time.sleep(1.1)
    second = client.download(client.export("/api/projects/1/backup/export"))
    assert first.content == second.content
    assert first.headers["ETag"] != second.headers["ETag"]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ('a/b\\c: raw? "q" <x>|*', 'filename="project_a/b\\\\c: raw? \\"q\\" <x>|*_backup_'),
        ("name\twith tabs", 'filename="project_name with tabs_backup_'),
        ("ünïcödé — проект", 'filename="project_unicode'),
        ("..", 'filename="project_.._backup_'),
    ],
)
def test_the_file_name_is_the_raw_name_in_lower_case(server: CvatSandbox, name: str, header: str) -> None:
    client = Client(server)
    server.world.add_project(name)
    disposition = client.download(client.export("/api/projects/1/backup/export")).headers["Content-Disposition"]
    assert header in disposition
    assert ("filename*=UTF-8''project_%C3%BCn" in disposition) == (name[0] == "ü")


def test_wrong_downloads_are_refused_each_in_its_own_way(server: CvatSandbox) -> None:
    client = Client(server)
    for name in ("a", "b"):
        server.world.add_project(name)
    request = client.export("/api/projects/1/backup/export")
    rq_id = quote(request["id"], safe="")
    assert client.get("/api/projects/1/backup/download").json() == ["Missing request id in the query parameters"]
    assert client.get("/api/projects/1/backup/download?rq_id=zzz").json() == ["Unexpected request id format"]
    assert client.get(f"/api/projects/2/backup/download?rq_id={rq_id}").json() == ["Invalid export request id"]
    unknown = client.get(f"/api/projects/2/backup/download?rq_id={rq_id.replace('target_id%3D1', 'target_id%3D2')}")
    assert (unknown.status_code, unknown.text) == (400, "Unknown export request id")
    server.exports.lose_cache()
    expired = client.download(request)
    assert (expired.status_code, expired.json()) == (404, "The exported file has expired, please retry exporting")
    assert client.wait(request["id"])["status"] == "finished"
    assert client.download(client.export("/api/projects/1/backup/export")).status_code == 200


def test_finished_answers_lack_their_dates_now_and_then(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p")
    answers = [client.export("/api/projects/1/backup/export") for _ in range(6)]
    assert [answer["finished_date"] is None for answer in answers] == [False, False, True] * 2
    assert all(answer["result_url"] for answer in answers)


def test_a_project_that_stores_elsewhere_has_no_result_unless_a_local_one_is_asked_for(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p", target_storage={"id": 1, "location": "cloud_storage", "cloud_storage_id": 4})
    assert client.export("/api/projects/1/backup/export")["result_url"] is None
    assert client.export("/api/projects/1/backup/export?location=local")["result_url"] is not None


def test_a_project_deleted_meanwhile_fails_its_export_or_loses_its_download() -> None:
    with CvatSandbox(samples="none", workers=1, anonymous_per_minute=999) as server:
        client = Client(server)
        for name in ("slow", "doomed", "later"):
            server.world.add_project(name)
        server.world.export_seconds = {1: 0.2}
        client.post("/api/projects/1/backup/export")
        rq_id = client.post("/api/projects/2/backup/export").json()["rq_id"]
        server.world.delete_project(2)
        failed = client.wait(rq_id)
        assert failed["status"] == "failed"
        assert failed["message"] == (
            "rest_framework.exceptions.ValidationError: "
            "[ErrorDetail(string='Such a project does not exist', code='invalid')]\n"
        )
        finished = client.export("/api/projects/3/backup/export")
        server.world.delete_project(3)
        assert client.download(finished).json() == {"detail": "No Project matches the given query."}


# --- the stale cache ----------------------------------------------------------------------------------------------------


def test_a_project_backup_does_not_notice_deleted_frames_but_a_task_backup_does(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    task = world.add_task(world.add_project("p", labels=TRAFFIC), "t", frames=4)
    first = client.backup("project", 1)
    world.delete_frame(task, 1)
    world.set_job(1, state="completed", stage="acceptance")
    stale = client.backup("project", 1)
    assert task_json(stale, "task_0/")["data"]["deleted_frames"] == []  # type: ignore[index]
    assert stale.read("task_0/task.json") == first.read("task_0/task.json")
    fresh = client.backup("task", 1)
    assert task_json(fresh)["data"]["deleted_frames"] == [1]  # type: ignore[index]
    assert task_json(fresh)["jobs"][0]["status"] == "completed"  # type: ignore[index]
    world.patch_project(world.projects[1], {"bug_tracker": "x"})
    assert task_json(client.backup("project", 1), "task_0/")["data"]["deleted_frames"] == [1]  # type: ignore[index]


def test_a_dataset_does_notice_deleted_frames(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    task = world.add_task(world.add_project("p", labels=TRAFFIC), "t", frames=4)
    traffic_annotations(world, world.jobs[1])

    def images() -> int:
        request = client.export("/api/projects/1/dataset/export?format=CVAT for images 1.1")
        with zipfile.ZipFile(io.BytesIO(client.download(request).content)) as archive:
            return len(ElementTree.fromstring(archive.read("annotations.xml")).findall("image"))

    assert images() == 4
    world.delete_frame(task, 1)
    assert images() == 3


# --- what is in the files -----------------------------------------------------------------------------------------------


def test_a_backup_counts_tasks_without_data_and_leaves_them_out(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    project = world.add_project("p", labels=TRAFFIC)
    world.add_empty_task("no data", project)
    broken = world.add_empty_task("broken", project)
    world.fail_upload(broken)
    world.add_task(project, "good", frames=2)
    archive = client.backup("project", project.id)
    assert archive.namelist() == [
        "project.json",
        "task_1/data/broken.jpg",
        "task_1/task.json",
        "task_1/annotations.json",
        "task_2/data/frame_0000.jpg",
        "task_2/data/frame_0001.jpg",
        "task_2/data/manifest.jsonl",
        "task_2/task.json",
        "task_2/annotations.json",
    ]
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert task_json(archive, "task_1/")["data"]["chunk_size"] is None  # type: ignore[index]
    assert archive.getinfo("task_2/annotations.json").date_time == (1980, 1, 1, 0, 0, 0)


def test_annotations_in_a_backup_go_by_name_one_entry_per_job(demo: CvatSandbox) -> None:
    archive = Client(demo).backup("project", 1)
    entries = json.loads(archive.read("task_0/annotations.json"))
    assert len(entries) == 3
    car = next(shape for shape in entries[0]["shapes"] if shape["label"] == "car")
    assert {attribute["name"] for attribute in car["attributes"]} == {"color", "moving"}
    assert "id" not in car
    assert "label_id" not in car
    assert b"assets/example sign" in archive.read("annotation_guide.md")
    assert any(name.startswith("assets/") for name in archive.namelist())


def test_empty_projects_export_an_empty_coco_and_a_bare_backup(demo: CvatSandbox) -> None:
    client = Client(demo)
    empty = next(p.id for p in demo.world.projects.values() if p.name == "empty_no_labels")
    coco = client.export(f"/api/projects/{empty}/dataset/export?format=COCO 1.0&save_images=true")
    assert len(client.download(coco).content) == 22
    xml = client.export(f"/api/projects/{empty}/dataset/export?format=CVAT for images 1.1")
    with zipfile.ZipFile(io.BytesIO(client.download(xml).content)) as archive:
        assert archive.namelist() == ["annotations.xml"]
    assert len(client.download(client.export(f"/api/projects/{empty}/backup/export")).content) == 215


def test_coco_fails_on_an_odd_mask_and_cvats_own_format_does_not(demo: CvatSandbox) -> None:
    client = Client(demo)
    odd = next(p.id for p in demo.world.projects.values() if p.name == "odd mask")
    failed = client.export(f"/api/projects/{odd}/dataset/export?format=COCO 1.0")
    assert (failed["status"], failed["message"]) == ("failed", "ValueError: Invalid RLE mask representation\n")
    assert client.export(f"/api/projects/{odd}/dataset/export?format=CVAT for images 1.1")["status"] == "finished"


def test_every_format_of_the_list_exports_something(demo: CvatSandbox) -> None:
    client = Client(demo)
    formats = client.get("/api/server/annotation/formats").json()["exporters"]
    assert len(formats) == 32
    for row in formats:
        assert client.export(f"/api/projects/1/dataset/export?format={row['name']}")["status"] == "finished"
    for wrong in ("COCO", "Nope 1.0", ""):
        refused = client.post(f"/api/projects/1/dataset/export?format={wrong}")
        assert (refused.status_code, refused.json()) == (400, ["Unknown format specified for the request"])
    assert client.post("/api/projects/1/dataset/export?format=COCO 1.0&save_images=maybe").status_code == 500


def test_the_video_format_keeps_tracks(demo: CvatSandbox) -> None:
    client = Client(demo)
    request = client.export("/api/projects/2/dataset/export?format=CVAT for video 1.1&save_images=true")
    with zipfile.ZipFile(io.BytesIO(client.download(request).content)) as archive:
        tree = ElementTree.fromstring(archive.read("annotations.xml"))
        assert sum(name.startswith("images/default/") for name in archive.namelist()) == 42
    tracks = tree.findall("track")
    assert len([track for track in tracks if len(track.findall("box")) == 3]) == 2
    assert tree.findtext("meta/project/tasks/task/source") == "street.mp4"


# --- workers ------------------------------------------------------------------------------------------------------------


def test_exports_run_as_many_at_once_as_there_are_workers() -> None:
    with CvatSandbox(samples="many:8", export_seconds=0.4, workers=4, anonymous_per_minute=999) as server:
        client = Client(server)
        asked = [client.post(f"/api/projects/{n}/backup/export").json()["rq_id"] for n in range(1, 9)]
        most = 0
        done = threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.01):
                most = max(most, server.exports.running)

        watcher = threading.Thread(target=watch)
        watcher.start()
        for rq_id in asked:
            client.wait(rq_id)
        done.set()
        watcher.join()
        assert most == 4


def test_a_dead_worker_leaves_its_request_started_until_it_is_freed(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p")
    server.faults.add(Fault("POST .*/backup/export", "worker_died", freed_after=0.3))
    rq_id = client.post("/api/projects/1/backup/export").json()["rq_id"]
    time.sleep(0.1)
    assert client.get(f"/api/requests/{rq_id}").json()["status"] == "started"
    assert client.post("/api/projects/1/backup/export").status_code == 409
    freed = client.wait(rq_id)
    assert (freed["status"], freed["message"]) == ("failed", "Job was stuck in intermediate queue.")
    assert client.export("/api/projects/1/backup/export")["status"] == "finished"


def test_exports_in_several_formats_live_side_by_side(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    world.add_task(world.add_project("p", labels=TRAFFIC), "t")
    asked = [
        client.export(f"/api/projects/1/dataset/export?format={name}")
        for name in ("COCO 1.0", "CVAT for images 1.1", "YOLO 1.1")
    ]
    world.rename_project(1, "q")
    client.export("/api/projects/1/dataset/export?format=COCO 1.0")
    assert [client.download(request).status_code for request in asked[1:]] == [200, 200]


def test_a_hanging_export_holds_its_worker_until_it_is_let_go() -> None:
    with CvatSandbox(samples="many:2", workers=1, anonymous_per_minute=999) as server:
        client = Client(server)
        server.faults.add(Fault("POST /api/projects/1/backup/export", "hang"))
        first = client.post("/api/projects/1/backup/export").json()["rq_id"]
        second = client.post("/api/projects/2/backup/export").json()["rq_id"]
        time.sleep(0.1)
        assert client.get(f"/api/requests/{second}").json()["status"] == "queued"
        server.exports.free_all()
        assert [client.wait(rq_id)["status"] for rq_id in (first, second)] == ["finished"] * 2
