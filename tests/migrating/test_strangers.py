"""Servers are strangers: their names, ids and answers lead out of no folder, overwrite nothing and stop nothing else."""

from __future__ import annotations

import errno
import os

import pytest

import sc_migrate
from common.exits import Exit
from common.lock import locked
from common.migrating.download import Wanted, download_project
from common.migrating.folder import ProjectFolder
from common.migrating.names import dataset_folders, project_folder, safe_id, stems_of
from common.migrating.report import Report, exit_code
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files, verify_server
from common.sc.media import Media
from common.sc.projects import list_projects
from common.waiting import StopSignal
from sandbox.faults import Fault
from sandbox.sc.samples import Maker, box, detection

HOSTILE = (
    "../../../out",
    "..",
    ".",
    "/etc/passwd",
    "a\\..\\b",
    "a\x00b",
    "\u202egpj.exe",
    "CON",
    "",
    "x" * 400,
    "a\nb",
)


@pytest.mark.parametrize("identity", HOSTILE)
def test_no_name_or_id_leads_out_of_its_folder_or_is_too_long_for_one(identity):
    made = [
        *stems_of([Media(identity, "d", name, "image") for name in HOSTILE]).values(),
        *dataset_folders([(identity, "a"), ("2", "a"), ("3", identity)]).values(),
        project_folder(identity, identity),
        safe_id(identity),
    ]
    for name in made:
        assert name not in ("", ".", "..") and not set(name) & set("/\\\0\n")
        assert len(f".{name}_frame_123456.json.{2**47}.tmp".encode()) <= 255


def test_ids_that_differ_only_in_what_is_unsafe_get_files_of_their_own():
    stems = stems_of([Media("a/b", "d", "same", "image"), Media("a_b", "d", "same", "image")])
    assert len({each.casefold() for each in stems.values()}) == 2


def hostile(server):
    """Every name that the server's users can choose tries to lead elsewhere."""
    maker = Maker(server.world, server.generation)
    project = maker.project("../../out", [detection("../task", "..\\label", "label\u202e")])
    second = maker.dataset(project, "../../../elsewhere")
    for number, dataset in enumerate((project.datasets[0], second)):
        for name in ("../../../../media", "..", "/etc/passwd"):
            media = maker.image(dataset, "placeholder", size=(64, 48))
            media.name = name
            maker.annotate(project, media, [(box(4 + number, 4, 20, 20), ["..\\label"])])
    return server


def test_a_hostile_project_is_downloaded_whole_into_its_own_folder(sc, signed_in, tmp_path, monkeypatch):
    server = hostile(sc(samples="none"))
    run_here(monkeypatch, server, tmp_path)
    assert sc_migrate.main(["download-all"]) == Exit.ALL_GOOD
    [folder] = (tmp_path / "projects").iterdir()
    assert {each.name for each in tmp_path.iterdir()} == {"projects"}
    entries = ProjectFolder(folder).entries().values()
    assert len(entries) == 6 and len({each.file for each in entries}) == 6
    for entry in entries:
        for relative in (entry.file, *(entry.scene_file(frame) for frame in entry.scenes)):
            assert (folder / relative).resolve().is_relative_to(folder.resolve()) and (folder / relative).is_file()
    target = sc(samples="none")
    report = upload_project(signed_in(target), open_source(folder))
    assert not [gap for gap in report.gaps if "annotations" in gap]


def run_here(monkeypatch, server, folder):
    values = {
        "SC_HOST": server.url, "SC_TOKEN": server.token, "SC_CA_BUNDLE": str(server.ca_file), "SC_MIN_FREE_GB": "0",
        "SC_DIR": str(folder / "projects"), "CVAT_ENV_DIR": str(folder), "SC_SERVER_WAIT_SECONDS": "5",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def simple(server, *names):
    maker = Maker(server.world, server.generation)
    for name in names or ("Simple",):
        project = maker.project(name, [detection("Detection", "thing")])
        for number in range(3):
            media = maker.image(project.datasets[0], f"picture_{number}", size=(64, 48))
            maker.annotate(project, media, [(box(4 + number, 4, 20, 20), ["thing"])])
    return server


def down(client, folder):
    [project] = list_projects(client)
    return download_project(client, str(project["id"]), folder, Wanted())


def test_what_was_deleted_on_the_server_keeps_its_file_when_another_takes_its_name(sc, signed_in, tmp_path):
    server = simple(sc(samples="none"))
    client = signed_in(server)
    assert down(client, tmp_path / "x").gaps == []
    [project] = server.world.projects.values()
    gone = next(iter(project.datasets[0].media))
    before = ProjectFolder(tmp_path / "x").entries()[gone]
    kept = (tmp_path / "x" / before.file).read_bytes()
    name = project.datasets[0].media.pop(gone).name
    Maker(server.world, server.generation).image(project.datasets[0], name, [(1, 1, 30, 30)], size=(64, 48))
    report = down(client, tmp_path / "x")
    assert report.gaps == [] and report.images == 3
    assert (tmp_path / "x" / before.file).read_bytes() == kept
    assert len({each.file for each in ProjectFolder(tmp_path / "x").entries().values()}) == 4


def test_a_file_that_cannot_be_written_stops_no_other(sc, signed_in, tmp_path, monkeypatch):
    client = signed_in(simple(sc(samples="none")))
    original = ProjectFolder.place

    def place(self, temporary, final):
        if final.name == "picture_1.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(final))
        original(self, temporary, final)

    monkeypatch.setattr(ProjectFolder, "place", place)
    report = down(client, tmp_path / "x")
    assert (report.outcome, report.images) == ("incomplete", 2)
    assert any("picture_1" in gap and "Input/output error" in gap for gap in report.gaps)
    monkeypatch.undo()
    assert down(client, tmp_path / "x").gaps == []


def test_an_answer_that_nobody_foresaw_is_a_gap_of_its_picture_and_of_no_other(sc, signed_in, tmp_path):
    server = simple(sc(samples="none"))
    server.faults.add(
        Fault("GET .*/images/[^/]+/annotations/latest", "status", status=200, body={"annotations": 7}, times=1)
    )
    report = down(signed_in(server), tmp_path / "x")
    assert report.outcome == "incomplete" and len([gap for gap in report.gaps if "picture_" in gap]) == 1


def test_a_project_whose_answers_nobody_foresaw_stops_no_other(sc, tmp_path, monkeypatch, capsys):
    server = simple(sc(samples="none"), "First", "Second")
    run_here(monkeypatch, server, tmp_path)
    server.faults.add(
        Fault("POST .*/media:query", "status", status=200, body={"media": [{"what": 1}]}, skip=1, times=1)
    )
    assert sc_migrate.main(["download-all"]) == Exit.SOME_FAILED
    assert "1 of 2 projects downloaded whole" in capsys.readouterr().err
    assert sc_migrate.main(["download-all"]) == Exit.ALL_GOOD


def test_a_full_disk_ends_the_project_at_once_and_names_the_right_setting(sc, tmp_path, monkeypatch, capsys):
    run_here(monkeypatch, simple(sc(samples="none")), tmp_path)
    monkeypatch.setenv("SC_MIN_FREE_GB", "900000")
    assert sc_migrate.main(["download-all"]) == Exit.NOTHING_WORKED
    said = capsys.readouterr()
    assert "SC_MIN_FREE_GB" in said.out and "CVAT_" not in said.out + said.err


def test_a_folder_that_another_run_works_on_ends_with_11(sc, tmp_path, monkeypatch):
    run_here(monkeypatch, simple(sc(samples="none")), tmp_path)
    assert sc_migrate.main(["download", "Simple", "--into", str(tmp_path / "x")]) == Exit.ALL_GOOD
    with locked(tmp_path / "x" / ".lock", "another"):
        assert sc_migrate.main(["download", "Simple", "--into", str(tmp_path / "x")]) == Exit.LOCKED


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["done", "done"], 0), (["failed", "refused"], 1), (["done", "failed"], 3), (["incomplete"], 3),
        (["locked"], 11), (["locked", "failed"], 1), (["locked", "done"], 3),
    ],
)  # fmt: skip
def test_exit_codes_say_how_it_went(outcomes, code):
    assert exit_code([Report("x", each) for each in outcomes]) == code


def test_no_credential_is_in_the_logs_the_output_or_any_file(sc, tmp_path, monkeypatch, capsys, no_waiting):
    for generation in ("1.1", "2.x"):
        server = simple(sc(generation, "none"))
        (tmp_path / generation).mkdir()
        run_here(monkeypatch, server, tmp_path / generation)
        monkeypatch.setenv("LOG_LEVEL", "DEBUG")
        if generation == "1.1":
            monkeypatch.delenv("SC_TOKEN")
            monkeypatch.setenv("SC_USERNAME", server.username)
            monkeypatch.setenv("SC_PASSWORD", server.password)
        server.faults.add(Fault(".*(login|organization|display/full).*", "status", status=503, times=4))
        assert sc_migrate.main(["download-all"]) == Exit.ALL_GOOD
        said = capsys.readouterr()
        files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        for secret in (server.token, server.password):
            assert secret not in said.out + said.err
            assert not any(secret.encode() in each for each in files)


def test_annotations_that_only_the_server_has_are_found(sc, signed_in, tmp_path):
    server = simple(sc(samples="none"))
    client = signed_in(server)
    assert down(client, tmp_path / "x").gaps == []
    assert verify_server(tmp_path / "x", client).gaps == []
    [project] = server.world.projects.values()
    maker = Maker(server.world, server.generation)
    plain = maker.image(project.datasets[0], "plain", size=(64, 48))
    assert down(client, tmp_path / "x").gaps == []
    maker.annotate(project, plain, [(box(1, 1, 9, 9), ["thing"])])
    assert verify_server(tmp_path / "x", client).gaps == [
        "image 'plain': annotations there that the folder does not have"
    ]
    assert verify_files(tmp_path / "x", StopSignal(), 2).gaps == []
