"""What an upload takes for its own on the target, and what it deletes there: never what may be somebody else's."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.sc.media import upload
from common.text import iso, now
from sandbox.faults import Fault
from sandbox.sc.samples import Maker, box, detection

from .conftest import get

GENERATIONS = ["1.1", "2.x"]


@pytest.fixture
def moved(sc, signed_in, tmp_path):
    """A folder with one annotated image, and an empty target with a client of it."""

    def make(generation: str = "2.x"):
        source, target = sc(generation, "none", tls=False), sc(generation, "none", tls=False)
        maker = Maker(source.world, source.generation)
        project = maker.project("Small", [detection("Detection", "thing", "other")])
        maker.annotate(
            project, maker.image(project.datasets[0], "alone", size=(64, 48)), [(box(3, 4, 20, 10), ["thing"])]
        )
        get(signed_in(source), tmp_path / "x")
        return open_source(tmp_path / "x"), target, signed_in(target)

    return make


def twice(source, client, *, days_ago: int = 0):
    """The file once more on the target, and in the journal as sent twice, the first time without an answer."""
    [entry] = source.entries
    [path] = source.folder.path.glob(".uploads/*.jsonl")
    at = iso(now() - timedelta(days=days_ago))
    with open(path, "a", encoding="utf-8") as file:
        for line in ({"sending": entry.id, "at": at}, {"doubt": entry.id}, {"sending": entry.id, "at": at}):
            file.write(json.dumps(line) + "\n")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    project_id = next(line["project"]["id"] for line in lines if "project" in line)
    dataset_id = next(line["dataset"][1] for line in lines if "dataset" in line)
    file = source.folder.inside(entry.file)
    return upload(client, project_id, dataset_id, "image", file, entry.file_name)


def on(target):
    [project] = target.world.projects.values()
    return project.datasets[0].media


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_arrived_twice_is_deleted_and_never_thought_of_again(moved, no_waiting, generation):
    source, target, client = moved(generation)
    first = upload_project(client, source)
    second = twice(source, client)
    assert first.gaps == [] and len(on(target)) == 2
    assert upload_project(client, source).gaps == []
    assert len(on(target)) == 1 and second.id not in on(target)
    third = twice_by_a_person(target, (64, 48))
    assert "1 file that this upload did not send" in upload_project(client, source).gaps[0]
    assert third.id in on(target)


def twice_by_a_person(target, size):
    """Another image of the same name."""
    [project] = target.world.projects.values()
    maker = Maker(target.world, target.generation)
    media = maker.image(project.datasets[0], "else", size=size)
    media.name = "alone"
    media.path.write_bytes(media.path.read_bytes() + b"mine")
    return media


@pytest.mark.parametrize("size", [(200, 150), (64, 48)])
def test_an_image_of_that_name_with_other_bytes_is_not_deleted(moved, no_waiting, size):
    source, target, client = moved()
    upload_project(client, source)
    second = twice(source, client)
    own = twice_by_a_person(target, size)
    upload_project(client, source)
    assert own.id in on(target) and second.id not in on(target)


def test_equal_bytes_that_somebody_annotated_since_are_listed_and_left(moved, no_waiting):
    source, target, client = moved()
    upload_project(client, source)
    second = on(target)[twice(source, client).id]
    [project] = target.world.projects.values()
    Maker(target.world, target.generation).annotate(project, second, [(box(9, 9, 9, 9), ["other"])])
    for _ in range(2):
        assert any(f"({second.id}) may also be somebody else's" in each for each in upload_project(client, source).gaps)
    assert second.id in on(target) and second.scenes


@pytest.mark.parametrize("uploaded", ["long after", ""])
def test_equal_bytes_that_did_not_come_between_the_two_sendings_are_left(moved, no_waiting, uploaded):
    source, target, client = moved()
    upload_project(client, source)
    second = on(target)[twice(source, client, days_ago=2).id]
    second.uploaded = iso(now() + timedelta(hours=1)) if uploaded else ""
    assert any("somebody else's" in each for each in upload_project(client, source).gaps)
    assert second.id in on(target)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_after_a_run_that_was_broken_off_an_annotated_image_of_that_name_is_somebody_elses(
    moved, no_waiting, generation
):
    source, target, client = moved(generation)
    target.faults.add(Fault("POST .*/media/images", "status", status=400, body={"message": "no"}))
    assert upload_project(client, source).gaps
    own = twice_by_a_person(target, (64, 48))
    shutil.copyfile(source.folder.inside(source.entries[0].file), own.path)  # down to the last byte
    [project] = target.world.projects.values()
    Maker(target.world, target.generation).annotate(project, own, [(box(9, 9, 9, 9), ["other"])])
    before = json.dumps([scene.annotations for scene in own.scenes.values()])
    upload_project(client, source)
    assert json.dumps([scene.annotations for scene in own.scenes.values()]) == before
    assert len(on(target)) == 2 and all(each.scenes for each in on(target).values())


def test_a_lost_answer_does_not_make_another_image_of_that_name_ours(moved, no_waiting):
    source, target, client = moved()
    upload_project(client, source)
    on(target).clear()
    own = twice_by_a_person(target, (64, 48))
    target.faults.add(Fault("POST .*/media/images", "cut", rst=True))
    upload_project(client, source)
    assert not own.scenes and len(on(target)) == 2
