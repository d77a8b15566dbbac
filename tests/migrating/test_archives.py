"""The server's own archives: what an earlier run began is gone on with only where it is still what is wanted."""

from __future__ import annotations

import json
import os

import pytest

from common.migrating import archives
from common.migrating.archives import BadArchive, export_archive, import_archive
from common.sc.archives import JobFailed
from common.sc.projects import list_projects
from common.waiting import Stopped
from common.web import errors
from sandbox.faults import Fault


def project_of(client, name="Cars"):
    return next(each for each in list_projects(client) if each["name"] == name)


def models_asked_for(server):
    return [each.query for each in server.log if each.method == "POST" and each.path.endswith(":export")]


@pytest.fixture
def broken_off(sc, signed_in, tmp_path, monkeypatch):
    """A server and its client, after an export without models was broken off when the job had ended."""
    server = sc("2.x", tls=False)
    client = signed_in(server)

    def stopped(*arguments, **more):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(archives.archives, "fetch_archive", stopped)
        with pytest.raises(Stopped):
            export_archive(client, project_of(client), tmp_path, "none", 1, 0)
    return server, client, tmp_path


def test_an_export_that_was_broken_off_is_gone_on_with(broken_off):
    server, client, folder = broken_off
    export_archive(client, project_of(client), folder, "none", 1, 0)
    assert len(models_asked_for(server)) == 1


def test_an_export_without_models_is_not_taken_for_one_with_models(broken_off):
    server, client, folder = broken_off
    report = export_archive(client, project_of(client), folder, "all", 1, 0)
    assert len(models_asked_for(server)) == 2
    assert json.loads((folder / (report.where.rsplit("/")[-1] + ".json")).read_text())["include_models"] == "all"


def test_the_export_of_another_day_is_not_taken_for_todays(broken_off):
    server, client, folder = broken_off
    [record] = folder.glob(".*.job")
    told = json.loads(record.read_text()) | {"begun_at": "2026-01-01T00:00:00Z"}
    record.write_text(json.dumps(told))
    export_archive(client, project_of(client), folder, "none", 1, 0)
    assert len(models_asked_for(server)) == 2


@pytest.mark.parametrize("content", ["", "[]", "{", '{"job_id": 5}', '"x"'])
def test_a_torn_record_of_an_export_stops_nothing(broken_off, content):
    server, client, folder = broken_off
    [record] = folder.glob(".*.job")
    record.write_text(content)
    export_archive(client, project_of(client), folder, "none", 1, 0)
    assert len(models_asked_for(server)) == 2


def test_an_import_that_the_server_failed_at_begins_anew(sc, signed_in, tmp_path):
    client = signed_in(sc("2.x", tls=False))
    archive = tmp_path / os.path.basename(export_archive(client, project_of(client), tmp_path, "all", 1, 0).where)
    server = sc("2.x", samples="none", tls=False)
    there = signed_in(server)
    server.faults.add(Fault(":import", "fail"))
    with pytest.raises(JobFailed):
        import_archive(there, archive, "Again", 1)
    import_archive(there, archive, "Again", 1)
    assert [each["name"] for each in list_projects(there)] == ["Again"]


def test_an_import_whose_job_the_server_has_forgotten_begins_anew(sc, signed_in, tmp_path, monkeypatch):
    server = sc("2.x", tls=False)
    client = signed_in(server)
    archive = tmp_path / os.path.basename(export_archive(client, project_of(client), tmp_path, "all", 1, 0).where)

    def stopped(*arguments, **more):
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(archives.archives, "wait_for", stopped)
        with pytest.raises(Stopped):
            import_archive(client, archive, "Again", 1)
    server.jobs.finish_all()
    server.world.jobs.clear()
    for each in [one for one in server.world.projects.values() if one.name == "Again"]:
        del server.world.projects[each.id]
    with pytest.raises(errors.NotFound):
        import_archive(client, archive, "Again", 1)
    import_archive(client, archive, "Again", 1)
    assert [each["name"] for each in list_projects(client)].count("Again") == 1


def test_an_archive_that_is_not_there_is_called_that(sc, signed_in, tmp_path):
    with pytest.raises(BadArchive, match="is not there"):
        import_archive(signed_in(sc("2.x", tls=False)), tmp_path / "none.zip", "", 1)
