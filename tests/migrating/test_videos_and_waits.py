"""Labels of stretches of videos, media that are still being prepared, projects that a job holds."""

from __future__ import annotations

import json

import pytest

from common.migrating.download import Wanted, download_project
from common.migrating.folder import ProjectFolder
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files, verify_server
from common.sc import client as client_module
from common.sc.projects import list_projects
from common.waiting import StopSignal
from common.web import errors
from sandbox.faults import Fault
from sandbox.sc.samples import Maker, box, detection, full, label, task

from .conftest import contents

LOCKED = {"http_status": 409, "error_code": "project_locked", "message": "Project is locked: a job is running."}


def with_stretches(server):
    """A video whose frames 3 to 9 are "night"; one frame of them says something else, one outside something too."""
    maker = Maker(server.world, server.generation)
    labels = [label("day", "light"), label("night", "light")]
    project = maker.project("Light", [task("Light", "classification", labels)])
    video = maker.video(project.datasets[0], "film", 20, (64, 48))
    # Named so that the files of its annotations could be those of the video.
    image = maker.image(project.datasets[0], "film_ranges", size=(64, 48))
    maker.annotate(project, image, [(full(image), ["day"])])
    video.ranges = [
        {"start_frame": 3, "end_frame": 9, "label_ids": [maker.label(project, "night")]},
        {"start_frame": 10, "end_frame": 12, "label_ids": [maker.label(project, "day")]},
    ]
    for frame in range(3, 10):
        maker.annotate(project, video, [(full(video), ["day" if frame == 3 else "night"])], frame)
    for frame in (10, 11, 12, 15):
        maker.annotate(project, video, [(full(video), ["day"])], frame)
    return server


def stretches(server) -> list:
    [project] = server.world.projects.values()
    names = {each.id: each.name for task in project.trainable for each in task.labels}
    return [
        (each["start_frame"], each["end_frame"], [names[label] for label in each["label_ids"]])
        for dataset in project.datasets
        for media in dataset.media.values()
        for each in media.ranges
    ]


def down(client, folder):
    [project] = list_projects(client)
    return download_project(client, str(project["id"]), folder, Wanted())


@pytest.mark.parametrize("new", ["2.x", "1.x"])
def test_labels_of_stretches_of_a_video_arrive_and_change_no_scene(sc, signed_in, tmp_path, new):
    source, target = with_stretches(sc(samples="none")), sc(new, "none")
    assert down(signed_in(source), tmp_path / "x").gaps == []
    there = signed_in(target)
    for _ in range(2):
        assert upload_project(there, open_source(tmp_path / "x")).gaps == []
        assert stretches(target) == stretches(source) == [(3, 9, ["night"]), (10, 12, ["day"])]
        assert contents(target) == contents(source)
    assert verify_server(tmp_path / "x", there).gaps == []


def test_stretches_that_fail_at_first_do_not_undo_scenes_of_the_run_before(sc, signed_in, tmp_path, no_waiting):
    source, target = with_stretches(sc(samples="none")), sc(samples="none")
    assert down(signed_in(source), tmp_path / "x").gaps == []
    there = signed_in(target)
    target.faults.add(Fault("POST .*/range_annotation", "status", status=500, times=3))
    assert any("stretches" in gap for gap in upload_project(there, open_source(tmp_path / "x")).gaps)
    assert upload_project(there, open_source(tmp_path / "x")).gaps == []
    assert contents(target) == contents(source) and stretches(target) == stretches(source)


def test_stretches_that_have_changed_on_disk_or_cannot_be_had_are_gaps(
    sc, signed_in, tmp_path, monkeypatch, no_waiting
):
    source = with_stretches(sc(samples="none"))
    client = signed_in(source)
    monkeypatch.setattr(client_module, "LONGEST_LOCK_SECONDS", 0)
    source.faults.add(Fault("GET .*/range_annotation", "status", status=409, body=LOCKED, times=None))
    report = down(client, tmp_path / "x")
    assert report.outcome == "incomplete" and any("annotations of video 'film'" in gap for gap in report.gaps)
    source.faults.clear()
    assert down(client, tmp_path / "x").gaps == []
    [entry] = [each for each in ProjectFolder(tmp_path / "x").entries().values() if each.kind == "video"]
    path = tmp_path / "x" / entry.ranges_file
    path.write_text(path.read_text().replace("3", "4"))
    assert any(entry.ranges_file in gap for gap in verify_files(tmp_path / "x", StopSignal(), 2).gaps)


def test_sc_has_no_labels_of_stretches_and_that_is_said(sc, signed_in, tmp_path):
    source, target = with_stretches(sc(samples="none")), sc("1.1", "none")
    assert down(signed_in(source), tmp_path / "x").gaps == []
    report = upload_project(signed_in(target), open_source(tmp_path / "x"))
    assert report.gaps == ["labels of stretches of video 'film': the target has none"]


# --- waiting --------------------------------------------------------------------------------------------------------


def cars(server):
    maker = Maker(server.world, server.generation)
    project = maker.project("Cars", [detection("Cars", "car")])
    for number in range(6):
        media = maker.image(project.datasets[0], f"street_{number}", size=(64, 48))
        maker.annotate(project, media, [(box(5, 5, 20 + number, 20), ["car"])])
    film = maker.video(project.datasets[0], "film", 12, (64, 48))
    maker.annotate(project, film, [(box(5, 5, 20, 20), ["car"])], 7)
    return server


def test_media_that_are_still_being_prepared_are_waited_for_on_both_sides(sc, signed_in, tmp_path):
    source, target = cars(sc(samples="none")), sc(samples="none", preprocessing_seconds=1.5)
    source.faults.add(
        Fault(
            "GET .*/display/(full|stream)", "status", status=412, times=3,
            body={"http_status": 412, "error_code": "media_is_not_preprocessed", "message": "Not yet."},
        )
    )  # fmt: skip
    assert down(signed_in(source), tmp_path / "x").gaps == []
    assert upload_project(signed_in(target), open_source(tmp_path / "x")).gaps == []
    assert any(each.status == 412 for each in target.log)
    assert contents(target) == contents(source)


def test_a_project_that_a_job_holds_is_waited_for(sc, signed_in, tmp_path, no_waiting):
    source, target = cars(sc(samples="none")), sc(samples="none")
    assert down(signed_in(source), tmp_path / "x").gaps == []
    target.faults.add(Fault("POST .*/(annotations|images)$", "status", status=409, body=LOCKED, times=20))
    assert upload_project(signed_in(target), open_source(tmp_path / "x")).gaps == []
    assert contents(target) == contents(source)


def test_a_lock_that_never_ends_costs_one_wait_for_all_and_the_next_run_goes_on(
    sc, signed_in, tmp_path, no_waiting, monkeypatch
):
    source, target = cars(sc(samples="none")), sc(samples="none")
    assert down(signed_in(source), tmp_path / "x").gaps == []
    there = signed_in(target, connections=1)
    monkeypatch.setattr(client_module, "LONGEST_LOCK_SECONDS", 0.2)
    target.faults.add(Fault("POST .*/images$", "status", status=409, body=LOCKED, times=None))
    report = upload_project(there, open_source(tmp_path / "x"))
    assert sum("409" in gap for gap in report.gaps) == 6 and report.outcome == "incomplete"
    asked = [each.status for each in target.log if each.method == "POST" and each.path.endswith("/images")]
    target.faults.clear()
    assert upload_project(there, open_source(tmp_path / "x")).gaps == []
    assert contents(target) == contents(source)
    assert asked == []  # the switch answers before the server notes it: none got through


def test_a_conflict_that_is_no_lock_is_not_waited_for(sc, signed_in, no_waiting):
    server = cars(sc(samples="none"))
    client = signed_in(server)
    body = {"http_status": 409, "error_code": "dataset_already_exists", "message": "There is one."}
    server.faults.add(Fault("GET .*/projects", "status", status=409, body=body, times=1))
    with pytest.raises(errors.Refused, match="There is one"):
        list_projects(client)
    assert no_waiting == []


def test_annotations_that_changed_since_the_last_upload_are_sent_again(sc, signed_in, tmp_path):
    source, target = cars(sc(samples="none")), sc(samples="none")
    here, there = signed_in(source), signed_in(target)
    assert down(here, tmp_path / "x").gaps == []
    assert upload_project(there, open_source(tmp_path / "x")).gaps == []
    [project] = source.world.projects.values()
    maker = Maker(source.world, source.generation)
    media = next(iter(project.datasets[0].media.values()))
    maker.annotate(project, media, [(box(1, 1, 9, 9), ["car"]), (box(30, 20, 9, 9), ["car"])])
    assert down(here, tmp_path / "x").gaps == []
    assert upload_project(there, open_source(tmp_path / "x")).gaps == []
    assert contents(target) == contents(source)
    assert json.loads((tmp_path / "x" / "manifest.json").read_text())["counts"]["shapes"] == 8


@pytest.mark.parametrize("cut", [False, True])
def test_files_whose_length_the_server_does_not_say_are_whole_only_with_their_end(
    pair, signed_in, tmp_path, no_waiting, cut
):
    source, _ = pair("2.x")
    files = r"GET .*(display/full|display/stream|fileservice)"
    source.faults.add(Fault(files, "no_length", times=None))
    if cut:
        source.faults.add(Fault(files, "cut", times=None, after_bytes=400))
    report = down(signed_in(source), tmp_path / "x")
    entries = ProjectFolder(tmp_path / "x").entries()
    if cut:
        assert not entries and sum("did not say how long" in each for each in report.gaps) == 5
    else:
        assert report.gaps == [] and len(entries) == 5
