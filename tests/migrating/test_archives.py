"""The server's own archives: what an earlier run began is gone on with only where it is still what is wanted."""

from __future__ import annotations

import json
import os
import zipfile

import pytest

from common.migrating import archives
from common.migrating.archives import BadArchive, damage_of, export_archive, import_archive
from common.sc.archives import JobFailed
from common.sc.projects import list_projects
from common.waiting import Stopped, StopSignal
from common.web import errors
from sandbox.faults import Fault

from .conftest import small


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


# --- damaged, strange, taken names ------------------------------------------------------------------------------


@pytest.fixture
def exported(sc, signed_in, tmp_path):
    """The archive of a small project, and an empty server with its client."""
    client = signed_in(small(sc("2.x", "none", tls=False)))
    archive = tmp_path / os.path.basename(
        export_archive(client, project_of(client, "Small"), tmp_path, "all", 1, 0).where
    )
    target = sc("2.x", samples="none", tls=False)
    return archive, client, target, signed_in(target)


def flip(path, at=600):
    data = bytearray(path.read_bytes())
    data[at] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize("with_record", [True, False])
def test_a_damaged_archive_is_not_sent(exported, with_record):
    archive, _, target, there = exported
    flip(archive)
    if not with_record:
        archive.with_name(archive.name + ".json").unlink()
    with pytest.raises(BadArchive, match="damaged"):
        import_archive(there, archive, "Again", 1)
    assert not target.uploads and not target.world.projects


def test_an_import_that_made_nothing_is_no_success(exported, monkeypatch):
    archive, _, target, there = exported
    finished = {"state": "finished", "metadata": {"project": {}}}
    monkeypatch.setattr(archives.archives, "wait_for", lambda *arguments, **more: finished)
    target.jobs.job_seconds = None
    with pytest.raises(JobFailed, match="there is no project 'Again'"):
        import_archive(there, archive, "Again", 1)


def test_an_import_whose_job_does_not_name_its_project_is_looked_for(exported, monkeypatch):
    archive, _, target, there = exported
    wait_for = archives.archives.wait_for
    monkeypatch.setattr(
        archives.archives, "wait_for", lambda *arguments: {**wait_for(*arguments), "metadata": {"project": None}}
    )
    report = import_archive(there, archive, "Again", 1)
    assert [report.project_id] == list(target.world.projects)


def test_an_archive_that_the_server_made_damaged_is_not_kept(exported, monkeypatch):
    archive, client, _, _ = exported
    archive.unlink()
    fetch = archives.archives.fetch_archive

    def damaged(client, job, part, *rest):
        fetched = fetch(client, job, part, *rest)
        flip(part.path)
        return fetched

    monkeypatch.setattr(archives.archives, "fetch_archive", damaged)
    with pytest.raises(BadArchive, match="damaged"):
        export_archive(client, project_of(client, "Small"), archive.parent, "all", 1, 0)
    assert (
        not archive.exists() and not list(archive.parent.glob(".*.part*")) and not list(archive.parent.glob(".*.job"))
    )


def test_zips_that_python_cannot_unpack_are_not_called_damaged(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a", b"x" * 100)
    assert damage_of(tmp_path / "x.zip", StopSignal()) == ""
    data = bytearray((tmp_path / "x.zip").read_bytes())
    for name in (b"PK\x03\x04", b"PK\x01\x02"):
        data[data.index(name) + (6 if name[2] == 3 else 8)] |= 1  # encrypted
    (tmp_path / "x.zip").write_bytes(data)
    assert damage_of(tmp_path / "x.zip", StopSignal()) == ""


def test_an_archive_replaces_its_own_file_and_nobody_elses(exported):
    archive, client, _, _ = exported
    export_archive(client, project_of(client, "Small"), archive.parent, "all", 1, 0)  # its own
    archive.write_bytes(b"MY OWN FILE")
    with pytest.raises(BadArchive, match="did not write it"):
        export_archive(client, project_of(client, "Small"), archive.parent, "all", 1, 0)
    assert archive.read_bytes() == b"MY OWN FILE"


def test_an_archive_that_keeps_breaking_off_is_the_networks_trouble_and_stops_no_other(sc, command, no_waiting, capsys):
    server = sc("2.x", samples="none", tls=False)
    small(server)
    small(server)
    [_, second] = server.world.projects.values()
    second.name = "Other"
    server.faults.add(Fault("GET .*fileservice", "cut", times=5, after_bytes=500))
    assert command(server, None, "export-archive", "Small", "Other") == 3
    said = capsys.readouterr()
    assert "did not arrive whole" in said.out and "fault of the program" not in said.err


def test_the_file_for_cvat_and_the_servers_archive_lie_side_by_side(sc, command, tmp_path):
    server = small(sc("2.x", "none", tls=False))
    into = tmp_path / "into"
    assert command(server, None, "export-archive", "Small", "--into", into) == 0
    [archive] = into.glob("*.zip")
    whole = archive.read_bytes()
    for _ in range(2):
        assert command(server, None, "sc-to-cvat", "Small", "--into", into) == 0
    assert archive.read_bytes() == whole and len(list(into.glob("*.zip"))) == 2
    [made] = into.glob("*.cvat.zip")
    made.write_bytes(b"MY OWN FILE")
    assert command(server, None, "sc-to-cvat", "Small", "--into", into) == 1
    assert made.read_bytes() == b"MY OWN FILE"
