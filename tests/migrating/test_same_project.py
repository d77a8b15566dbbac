"""Whether the project of a journal is still there: a page of a proxy, a half list and a server set up anew do not decide it."""

from __future__ import annotations

import pytest

from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.sc.media import list_media
from common.sc.projects import list_projects, same_moment
from common.web import errors
from sandbox.faults import Fault
from sandbox.sc.samples import Maker, box, detection

from .conftest import contents, get
from .test_updates import PAGE

ONE_PROJECT = r"GET .*/projects/[0-9a-f]{24}$"


@pytest.fixture
def half(pair, signed_in, tmp_path):
    """A folder, its server and a target with a client, after an upload that one image failed of."""

    def make(generation: str = "2.x"):
        source, target = pair(generation)
        assert get(signed_in(source), tmp_path / "x").gaps == []
        target.faults.add(Fault("POST .*/media/images", "status", status=400, body={"message": "no"}))
        there = signed_in(target)
        assert upload_project(there, open_source(tmp_path / "x")).gaps
        return open_source(tmp_path / "x"), source, target, there

    return make


@pytest.mark.parametrize(
    "answer", [PAGE, {"body": {"message": "no such route"}}, {"body": {"error_code": "project_not_found"}}]
)
@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_a_single_404_does_not_make_a_project_gone(half, no_waiting, generation, answer):
    folder, source, target, client = half(generation)
    target.faults.add(Fault(ONE_PROJECT, "status", status=404, **answer))
    with pytest.raises(errors.NotFound):
        upload_project(client, folder)
    assert upload_project(client, folder).gaps == []
    assert len(target.world.projects) == 1 and len(contents(target)["Small"][0][1]) == len(
        contents(source)["Small"][0][1]
    )


def test_a_project_that_was_deleted_is_made_anew(half, no_waiting):
    folder, source, target, client = half()
    target.world.projects.clear()
    assert upload_project(client, folder).gaps == []
    assert contents(target) == contents(source)


@pytest.mark.parametrize("alike", ["the id", "the id, before there are datasets", "all ids"])
def test_another_project_of_that_id_is_left_alone(half, no_waiting, alike):
    folder, _, target, client = half()
    [ours] = target.world.projects.values()
    if "before" in alike:  # as after a kill just behind the making of the project
        [path] = folder.folder.path.glob(".uploads/*.jsonl")
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(line for line in lines if '"dataset"' not in line), encoding="utf-8")
    target.world.projects.clear()
    maker = Maker(target.world, target.generation)
    stranger = maker.project("Stranger's work", [detection("Detection", "thing", "other")])
    for name in ("alone", "twice", "more"):
        maker.annotate(stranger, maker.image(stranger.datasets[0], name, size=(64, 48)), [(box(9, 9, 9, 9), ["thing"])])
    if alike == "all ids":
        stranger.datasets[0].id = ours.datasets[0].id
    target.world.projects.clear()
    stranger.id, stranger.created = ours.id, "2020-01-01T00:00:00+00:00"
    target.world.projects[ours.id] = stranger
    before = contents(target)["Stranger's work"]
    report = upload_project(client, folder)
    assert report.gaps == [] and report.project_id != ours.id
    assert contents(target)["Stranger's work"] == before


@pytest.mark.parametrize("body", [{}, [], {"media": None}, {"media": {}}, {"media": [3]}, {"media": [{"id": "1"}]}, 5])
@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_a_list_of_media_that_is_none_is_not_taken_for_an_empty_one(pair, signed_in, generation, body):
    server, _ = pair(generation)
    client = signed_in(server)
    [project] = list_projects(client)
    [dataset, *_] = server.world.projects[project["id"]].datasets
    server.faults.add(Fault("POST .*media:query|GET .*/media/images", "status", status=200, body=body, times=None))
    with pytest.raises(errors.NotJson):
        list(list_media(client, str(project["id"]), dataset.id))


@pytest.mark.parametrize("times", [1, None])
def test_what_a_half_list_lacks_is_not_sent_twice(pair, signed_in, tmp_path, no_waiting, times):
    source, target = pair("2.x")
    assert get(signed_in(source), tmp_path / "x").gaps == []
    client = signed_in(target)
    assert upload_project(client, open_source(tmp_path / "x")).gaps == []
    before = contents(target)
    target.faults.add(Fault("POST .*media:query", "status", status=200, body={"media": []}, times=times))
    if times is None:
        with pytest.raises(errors.ServerError, match="nothing was sent a second time"):
            upload_project(client, open_source(tmp_path / "x"))
    else:
        upload_project(client, open_source(tmp_path / "x"))
    assert contents(target) == before
    target.faults.clear()
    assert upload_project(client, open_source(tmp_path / "x")).gaps == []


def test_what_somebody_deleted_on_the_target_is_sent_again(pair, signed_in, tmp_path, no_waiting):
    source, target = pair("2.x")
    assert get(signed_in(source), tmp_path / "x").gaps == []
    client = signed_in(target)
    assert upload_project(client, open_source(tmp_path / "x")).gaps == []
    [project] = target.world.projects.values()
    project.datasets[0].media.clear()
    assert upload_project(client, open_source(tmp_path / "x")).gaps == []
    assert contents(target) == contents(source)


def test_creation_times_that_say_nothing_are_no_difference():
    assert same_moment("", "2026-01-01T00:00:00Z") and same_moment(
        "2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123Z"
    )
    assert same_moment("2026-01-01T00:00:00.923456Z", "2026-01-01T00:00:00Z")
    assert not same_moment("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    assert not same_moment("2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.923Z")
