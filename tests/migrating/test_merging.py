"""Adding to a project that is there: its labels, its scenes, and waiting for another run."""

from __future__ import annotations

import threading

import pytest

from common.lock import Locked, locked
from common.migrating.download import Wanted, download_project
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.sc.projects import list_projects
from sandbox.faults import Fault
from sandbox.sc.samples import Maker, box, detection, label, task

from .conftest import contents


def project_with(server, name: str, task, *labels: str, media: int = 2):
    maker = Maker(server.world, server.generation)
    project = maker.project(name, [task])
    for number in range(media):
        image = maker.image(project.datasets[0], f"{name}_{number}", size=(64, 48))
        maker.annotate(project, image, [(box(5, 5 + number, 20, 20), [label]) for label in labels[:1]])
    return project


def fetched(client, name: str, folder):
    [project] = [each for each in list_projects(client) if each["name"] == name]
    assert download_project(client, str(project["id"]), folder, Wanted()).gaps == []
    return open_source(folder)


def classification(title: str, *names: str):
    return task(title, "classification", [label(name, "Kind") for name in names])


def keypoints(title: str, *names: str):
    positions = [{"label": name, "x": 0.5, "y": 0.5} for name in names]
    structure = {"edges": [{"nodes": list(names[:2])}], "positions": positions}
    return task(title, "keypoint_detection", [label(name) for name in names]) | {"keypoint_structure": structure}


def labels_of(project) -> list[tuple[str, str, str]]:
    return sorted(
        (one.name, one.color, one.group) for task in project.trainable for one in task.labels if not one.is_empty
    )


@pytest.mark.parametrize(
    "fault", [None, Fault("PUT .*/projects/", "cut", after_handling=True), Fault("PUT .*/projects/", "cut")]
)
def test_labels_that_the_project_lacks_are_added_once(sc, signed_in, tmp_path, no_waiting, fault):
    source, target = sc(samples="none"), sc(samples="none")
    project_with(source, "Street", detection("Objects", "car", "van"), "van")
    there = project_with(target, "Street", detection("Objects", "car", "tram"), "tram", media=1)
    before = {one.name: one.id for one in there.trainable[0].labels}
    if fault is not None:
        target.faults.add(fault)
    for _ in range(2):
        report = upload_project(
            signed_in(target), fetched(signed_in(source), "Street", tmp_path / "x"), if_there="merge"
        )
        assert report.gaps == []
    assert sorted(name for name, *_ in labels_of(there)) == ["car", "tram", "van"]
    assert {one.name: one.id for one in there.trainable[0].labels if one.name in before} == before
    added = next(one for one in there.trainable[0].labels if one.name == "van")
    [original] = [one for one in next(iter(source.world.projects.values())).trainable[0].labels if one.name == "van"]
    assert added.color == original.color
    scenes = [scene for media in there.datasets[0].media.values() for scene in media.scenes.values()]
    assert (
        sum(label["id"] == added.id for scene in scenes for each in scene.annotations for label in each["labels"]) == 2
    )


def test_that_labels_were_added_is_told_and_resuming_adds_none(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc(samples="none")
    project_with(source, "Street", detection("Objects", "car", "van"), "van")
    there = project_with(target, "Street", detection("Objects", "car"), "car")
    folder = fetched(signed_in(source), "Street", tmp_path / "x")
    report = upload_project(signed_in(target), folder, if_there="resume")
    assert "label Objects: van has no counterpart in the target" in report.gaps
    assert [name for name, *_ in labels_of(there)] == ["car"]
    report = upload_project(signed_in(target), folder, if_there="merge")
    assert report.gaps == [] and report.done == ["labels were added to the project (Objects: van)"]


def test_a_class_that_is_added_joins_the_exclusive_group(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc(samples="none")
    project_with(source, "Pets", classification("Pet", "cat", "dog", "newt"), media=0)
    there = project_with(target, "Pets", classification("Pet", "cat", "dog"), media=0)
    report = upload_project(signed_in(target), fetched(signed_in(source), "Pets", tmp_path / "x"), if_there="merge")
    assert report.gaps == []
    assert len({group for _, _, group in labels_of(there)}) == 1 and len(labels_of(there)) == 3


def test_where_labels_cannot_be_added_it_is_said(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc("1.1", "none")
    project_with(source, "Street", detection("Objects", "car", "van"), "van")
    there = project_with(target, "Street", detection("Objects", "car"), "car")
    report = upload_project(signed_in(target), fetched(signed_in(source), "Street", tmp_path / "x"), if_there="merge")
    assert "labels cannot be added to a project of SC" in report.notes
    assert "label Objects: van has no counterpart in the target" in report.gaps
    assert [name for name, *_ in labels_of(there)] == ["car"]
    geti = sc(samples="none")
    project_with(source, "People", keypoints("Person", "head", "hand", "foot"), media=0)
    project_with(geti, "People", keypoints("Person", "head", "hand"), media=0)
    report = upload_project(signed_in(geti), fetched(signed_in(source), "People", tmp_path / "p"), if_there="merge")
    assert "labels cannot be added to anomaly and keypoint tasks" in report.notes and report.gaps


def test_a_server_that_refuses_further_labels_is_quoted(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc(samples="none")
    project_with(source, "Street", detection("Objects", "car", "van"), "van")
    project_with(target, "Street", detection("Objects", "car"), "car")
    target.faults.add(Fault("PUT .*/projects/", "status", status=400, body={"message": "Not for you."}, times=None))
    report = upload_project(signed_in(target), fetched(signed_in(source), "Street", tmp_path / "x"), if_there="merge")
    assert any("labels could not be added" in each and "Not for you" in each for each in report.notes)
    assert "label Objects: van has no counterpart in the target" in report.gaps


def test_scenes_that_were_deleted_in_the_source_since_stay_and_that_is_told(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc(samples="none")
    project = project_with(source, "Street", detection("Objects", "car"), "car")
    assert upload_project(signed_in(target), fetched(signed_in(source), "Street", tmp_path / "x")).notes == []
    before = contents(target)
    next(iter(project.datasets[0].media.values())).scenes.clear()
    report = upload_project(signed_in(target), fetched(signed_in(source), "Street", tmp_path / "x"), if_there="resume")
    assert report.gaps == []
    assert "1 scene of an earlier upload, deleted in the source since, stay there" in report.notes
    assert contents(target) == before


def test_another_run_on_the_folder_is_waited_for_as_long_as_the_settings_say(sc, signed_in, tmp_path):
    source = sc(samples="none")
    project_with(source, "Street", detection("Objects", "car"), "car")
    client = signed_in(source)
    [project] = list_projects(client)
    folder, waiting = tmp_path / "x", threading.Event()
    folder.mkdir()
    patient = signed_in(source, lock_wait_seconds=60)
    sleep = patient.stop.sleep

    def nap(seconds: float) -> None:
        waiting.set()
        sleep(seconds)

    patient.stop.sleep = nap  # type: ignore[method-assign]
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(download_project(patient, str(project["id"]), folder, Wanted()))
    )
    with locked(folder / ".lock", "another"):
        with pytest.raises(Locked):
            download_project(client, str(project["id"]), folder, Wanted())
        thread.start()
        assert waiting.wait(60)
        assert not (folder / "manifest.json").exists()
    thread.join(60)
    assert reports[0].gaps == []
