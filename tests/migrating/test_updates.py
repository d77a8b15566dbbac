"""A second download into a good folder: what a wrong answer says is nothing does not delete what was something."""

from __future__ import annotations

from dataclasses import replace

import pytest

from common.migrating import download
from common.migrating.folder import BadFolder, ProjectFolder
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files
from common.waiting import StopSignal
from sandbox.faults import Fault

from .conftest import contents, files_of, get

PAGE = {"body": "<html><h1>default backend - 404</h1></html>", "headers": {"Content-Type": "text/html"}}
# What stands between us and a server answers, as if there were no annotations.
WRONG = {
    "a page": {"status": 404, **PAGE},
    "a 404 of another": {"status": 404, "body": {"message": "no route"}},
    "no content": {"status": 204, "body": ""},
    "an empty object": {"status": 200, "body": {}},
    "an empty body": {"status": 200, "body": ""},
    "null": {"status": 200, "body": {"annotations": None, "video_annotations": None}},
}
SCENES = r"GET .*annotations/latest"


@pytest.fixture
def known(pair, signed_in, tmp_path):
    """A folder that was downloaded, and its server with a client."""

    def make(generation: str = "2.x"):
        source, target = pair(generation)
        client = signed_in(source)
        assert get(client, tmp_path / "x").gaps == []
        return tmp_path / "x", source, target, client

    return make


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_a_wrong_answer_for_annotations_is_a_gap_and_deletes_none(known, no_waiting, generation, wrong):
    folder, source, _, client = known(generation)
    before, entries = files_of(folder), ProjectFolder(folder).entries()
    source.faults.add(Fault(SCENES, "status", times=None, **WRONG[wrong]))
    report = get(client, folder)
    assert len([each for each in report.gaps if each.startswith("annotations of")]) == len(entries)
    assert files_of(folder) == before and ProjectFolder(folder).entries() == entries
    source.faults.clear()
    assert get(client, folder).gaps == [] and files_of(folder) == before


@pytest.mark.parametrize("counts", [True, False])
def test_where_the_list_does_not_tell_the_counts_decide(known, monkeypatch, no_waiting, counts):
    folder, source, _, client = known()
    before, listed = files_of(folder), download.list_media
    monkeypatch.setattr(
        download, "list_media", lambda *which: [replace(each, surely_annotated=False) for each in listed(*which)]
    )
    source.faults.add(Fault(SCENES, "status", times=None, status=204))
    if not counts:
        source.faults.add(Fault("GET .*/statistics", "status", times=None, status=404, **PAGE))
    report = get(client, folder)
    if counts:
        assert any("those of the earlier download stay" in each for each in report.gaps)
        assert files_of(folder) == before and verify_files(folder, StopSignal(), 1).shapes == report.shapes > 0
        return
    aside = {each.name for each in (folder / "annotations" / "gone").iterdir()}
    assert aside == {name.split("/")[-1] for name in before if name.startswith("annotations/")}


def test_what_was_deleted_on_the_server_goes_from_the_folder_too(known):
    folder, source, _, client = known()
    [project] = source.world.projects.values()
    next(each for each in project.datasets[0].media.values() if each.name == "alone").scenes.clear()
    assert get(client, folder).gaps == []
    assert not (folder / "annotations" / "alone.json").exists()


def test_another_project_of_that_id_is_not_downloaded_into_the_folder(known):
    folder, source, _, client = known()
    before = files_of(folder)
    [project] = source.world.projects.values()
    project.created = "2020-01-01T00:00:00+00:00"
    with pytest.raises(BadFolder, match="set up anew"):
        get(client, folder)
    assert files_of(folder) == before


def test_labels_of_stretches_stay_where_the_server_seems_to_know_of_none(known):
    folder, source, _, client = known()
    record = ProjectFolder(folder)
    entries = record.entries()
    [film] = [each for each in entries.values() if each.kind == "video"]
    film.ranges = record.write_small(film.ranges_file, [{"start_frame": 0, "end_frame": 2, "label_ids": ["1"]}])
    record.finish(entries.values(), record.manifest() or {})
    source.faults.add(Fault("GET .*/range_annotation", "status", times=None, status=404, **PAGE))
    assert any("labels of stretches, which it had" in each for each in get(client, folder).gaps)
    assert (folder / film.ranges_file).exists()


def test_an_update_that_was_broken_off_is_no_whole_source(known, signed_in, no_waiting):
    folder, source, target, client = known()
    record = ProjectFolder(folder)
    record.begin((record.manifest() or {})["source"])
    [entry, *_] = record.entries().values()
    record.note(replace(entry, scenes=None))
    record.close()
    report = upload_project(signed_in(target), open_source(folder))
    assert any("broken off" in each for each in report.gaps) and report.outcome == "incomplete"
    assert any("annotations" in each and entry.id in each for each in report.gaps)
    wrong = verify_files(folder, StopSignal(), 1).gaps
    assert sum("broken off" in each for each in wrong) == 1
    assert get(client, folder).gaps == []
    assert upload_project(signed_in(target), open_source(folder)).gaps == []
    assert contents(target) == contents(source)
