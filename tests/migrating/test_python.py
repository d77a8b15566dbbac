"""SCRESTClient: what users of the older tool know, from Python."""

from __future__ import annotations

import pytest

from common.exits import RunEnds
from sc_client import Incomplete, SCRESTClient

from .conftest import contents, small


def connected(server, **how) -> SCRESTClient:
    how = how or {"token": server.token}
    return SCRESTClient(host=server.url + "/organizations/1", ca_bundle=server.ca_file, wait_seconds=10, **how)


def test_a_project_goes_down_and_up_by_name_into_the_present_folder(sc, tmp_path, monkeypatch):
    source, target = sc(), sc(samples="none")
    monkeypatch.chdir(tmp_path)
    client = connected(source, username=source.username, password=source.password)
    assert client.download_project("Cars").images == 8
    report = connected(target).upload_project("Cars", project_name="Cars 2", enable_auto_train=False)
    assert report.gaps == [] and contents(target)["Cars 2"] == contents(source)["Cars"]
    with pytest.raises(RunEnds, match="no project 'Nobody'"):
        client.download_project(project_name="Nobody", target_folder="x")


def test_all_projects_go_down_and_up_and_what_is_missing_is_raised(sc, tmp_path):
    source, target = sc(samples="losses"), sc(samples="none")
    assert connected(source).download_all_projects(tmp_path)
    connected(target).upload_all_projects(tmp_path)
    assert contents(target) == contents(source)
    with pytest.raises(Incomplete, match="already has a project"):
        connected(source).upload_all_projects(tmp_path)


def test_plain_http_is_refused_unless_it_is_asked_for(sc):
    server = sc(samples="none", tls=False)
    with pytest.raises(ValueError, match="plain http"):
        SCRESTClient(host=server.url, token=server.token)
    assert SCRESTClient(host=server.url, token=server.token, allow_http=True).list_projects() == []


def test_a_folder_that_nobody_foresaw_or_that_is_locked_stops_no_other(sc, tmp_path):
    source, target = small(sc(samples="none")), sc(samples="none")
    assert connected(source).download_all_projects(tmp_path)
    strange = tmp_path / "0-strange"
    strange.mkdir()
    (strange / "project.json").write_text('{"name": "strange", "pipeline": {"tasks": [{}]}}')
    with pytest.raises(Incomplete) as raised:
        connected(target).upload_all_projects(tmp_path)
    assert [each.outcome for each in raised.value.reports] == ["failed", "done"]
    assert contents(target) == contents(source)


def test_a_project_that_was_renamed_goes_on_in_its_folder(sc, tmp_path):
    server = small(sc(samples="none"))
    [first] = connected(server).download_all_projects(tmp_path)
    [project] = server.world.projects.values()
    project.name = "Another name"
    [second] = connected(server).download_all_projects(tmp_path)
    assert second.where == first.where and second.name == "Another name"
