"""A whole server to disk and into an empty one: nothing is missing, nothing is there twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.exits import Exit, RunEnds
from common.migrating.download import Wanted, download_project
from common.migrating.folder import BadFolder, ProjectFolder
from common.migrating.source import open_source
from common.migrating.target import NameTaken
from common.migrating.upload import upload_project
from common.migrating.verify import verify_files, verify_server
from common.sc import configuration
from common.sc.projects import choose, get_project, list_projects
from common.waiting import StopSignal
from common.web import errors
from sandbox.faults import Fault
from sandbox.sc import ScSandbox

from .conftest import contents

ROOT = Path(__file__).resolve().parent.parent.parent
# How many files the target holds when the run is killed.
KILLED_AFTER_REQUESTS = (0, 1, 3, 5, 8, 11)


def down(client, folder: Path, name: str | None = None, wanted: Wanted = Wanted()) -> list[Path]:  # noqa: B008
    found = []
    for project in list_projects(client):
        if name in (None, project["name"]):
            path = folder / str(project["id"])
            report = download_project(client, str(project["id"]), path, wanted)
            assert report.outcome == "done", report.gaps
            found.append(path)
    return found


@pytest.mark.parametrize("generation", ["1.1", "2.x"])
def test_a_whole_server_arrives_whole_in_another_and_a_second_upload_sends_nothing(sc, signed_in, tmp_path, generation):
    source, target = sc(generation), sc(generation, "none")
    there = signed_in(target)
    folders = down(signed_in(source), tmp_path)
    for _ in range(2):
        for folder in folders:
            report = upload_project(there, open_source(folder))
            assert report.outcome == "done", report.gaps
    wanted, came = contents(source), contents(target)
    if not source.generation.reencodes:
        assert came == wanted
    assert came.keys() == wanted.keys()
    for name in wanted:  # re-encoded pictures differ in bytes and in nothing else
        assert [[row[:3] + row[4:] for row in rows] for _, rows in came[name]] == [
            [row[:3] + row[4:] for row in rows] for _, rows in wanted[name]
        ]
    for folder in folders:
        assert verify_files(folder, StopSignal(), 2).outcome == "done"
        assert verify_server(folder, there).gaps == []


@pytest.mark.parametrize(("old", "new"), [("1.1", "2.x"), ("2.x", "1.x")])
def test_projects_move_between_generations_with_every_scene_and_shape(sc, signed_in, tmp_path, old, new):
    source, target = sc(old), sc(new, "none")
    there = signed_in(target)
    for folder in down(signed_in(source), tmp_path):
        if "keypoint" in (folder / "project.json").read_text() and new != "2.x":
            with pytest.raises(Exception, match="no tasks of type keypoint"):
                upload_project(there, open_source(folder))
            continue
        report = upload_project(there, open_source(folder))
        manifest = ProjectFolder(folder).manifest() or {}
        assert report.gaps == []
        assert (report.scenes, report.shapes) == (manifest["counts"]["scenes"], manifest["counts"]["shapes"])
        assert verify_server(folder, there).gaps == []


def test_what_lies_on_disk_is_what_users_of_older_tools_know(sc, signed_in, tmp_path):
    [folder] = down(signed_in(sc()), tmp_path, "Cars", Wanted(predictions=True, models=True))
    assert {"project.json", "configuration.json", "images", "videos", "annotations", "predictions", "models"} <= set(
        os.listdir(folder)
    )
    described = json.loads((folder / "project.json").read_text())
    assert described["pipeline"]["connections"][0]["from"] == "Dataset" and "id" not in described
    assert any(
        each["active_model"]
        for group in json.loads((folder / "models/models.json").read_text())
        for each in group["models"]
    )
    assert list((folder / "models").glob("*.zip"))


# --- refusals ---------------------------------------------------------------------------------------------------


def test_an_existing_name_is_refused_and_a_name_of_two_names_both_ids(sc, signed_in, tmp_path):
    server = sc()
    client = signed_in(server)
    [folder] = down(client, tmp_path, "Cars")
    with pytest.raises(NameTaken, match="already has a project 'Cars'"):
        upload_project(client, open_source(folder))
    with pytest.raises(RunEnds) as caught:
        choose(list_projects(client), "Same name")
    assert caught.value.exit_code == Exit.BAD_CONFIGURATION
    assert all(str(each["id"]) in str(caught.value) for each in list_projects(client) if each["name"] == "Same name")


def test_merging_adds_to_a_project_and_leaves_alone_what_was_there(sc, signed_in, tmp_path):
    server = sc()
    client = signed_in(server)
    [folder] = down(client, tmp_path, "Cars")
    [project] = [each for each in server.world.projects.values() if each.name == "Cars"]
    before = len(project.datasets[0].media)
    for _ in range(2):
        report = upload_project(client, open_source(folder), "Cars", "merge")
        assert report.gaps == []
    assert len(project.datasets[0].media) == 2 * before


def test_resuming_without_a_journal_takes_what_is_there_for_ours(sc, signed_in, tmp_path):
    source, target = sc(), sc(samples="none")
    there = signed_in(target)
    [folder] = down(signed_in(source), tmp_path, "Cars")
    upload_project(there, open_source(folder))
    shutil.rmtree(folder / ".uploads")
    report = upload_project(there, open_source(folder), if_there="resume")
    assert report.gaps == []
    assert contents(target)["Cars"] == contents(source)["Cars"]


def test_a_folder_of_another_project_or_of_strangers_is_not_written_into(sc, signed_in, tmp_path):
    client = signed_in(sc())
    [folder] = down(client, tmp_path, "Cars")
    other = next(each for each in list_projects(client) if each["name"] == "Leaves")
    with pytest.raises(BadFolder, match="holds another project"):
        download_project(client, str(other["id"]), folder, Wanted())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(BadFolder, match="is not empty"):
        download_project(client, str(other["id"]), tmp_path / "mine", Wanted())


def test_a_changed_file_and_a_lost_scene_are_found(sc, signed_in, tmp_path):
    server = sc()
    client = signed_in(server)
    [folder] = down(client, tmp_path, "Cars")
    entry = next(each for each in ProjectFolder(folder).entries().values() if each.kind == "image" and each.scenes)
    path = folder / entry.file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert any(entry.file in gap for gap in verify_files(folder, StopSignal(), 2).gaps)
    for project in server.world.projects.values():
        for dataset in project.datasets:
            if entry.id in dataset.media:
                dataset.media[entry.id].scenes.clear()
    assert any("no annotations there" in gap for gap in verify_server(folder, client).gaps)


# --- the network ------------------------------------------------------------------------------------------------


def test_an_upload_whose_answers_are_lost_sends_nothing_twice(sc, signed_in, tmp_path, no_waiting):
    source, target = sc(), sc(samples="none")
    [folder] = down(signed_in(source), tmp_path, "Cars")
    there = signed_in(target)
    target.faults.add(Fault("POST .*/projects$", "status", status=504, after_handling=True))
    target.faults.add(Fault("POST .*/media/images", "status", status=504, after_handling=True, times=3))
    target.faults.add(Fault("POST .*/media/videos", "cut", after_bytes=0, rst=True))
    target.faults.add(Fault("POST .*/annotations", "status", status=503, times=3))
    report = upload_project(there, open_source(folder))
    assert report.gaps == []
    assert contents(target)["Cars"] == contents(source)["Cars"]


def test_a_file_that_stays_broken_is_a_gap_and_the_next_run_fetches_only_that(sc, signed_in, tmp_path, no_waiting):
    server = sc()
    client = signed_in(server)
    project = next(each for each in list_projects(client) if each["name"] == "Leaves")
    server.faults.add(Fault("GET .*/images/.*/display/full", "status", status=500, times=12))
    server.faults.add(Fault("GET .*/images/.*/annotations/latest", "cut", after_bytes=5, times=2))
    report = download_project(client, str(project["id"]), tmp_path / "x", Wanted())
    assert report.outcome == "incomplete" and len(report.gaps) >= 1
    assert (ProjectFolder(tmp_path / "x").manifest() or {})["complete"] is False
    report = download_project(client, str(project["id"]), tmp_path / "x", Wanted())
    assert report.gaps == [] and report.images == 4


def test_a_cut_and_a_truncated_video_arrive_whole(sc, signed_in, tmp_path, no_waiting):
    server = sc()
    server.faults.add(Fault("GET .*/(stream|fileservice).*", "cut", after_bytes=10_000, times=3))
    [folder] = down(signed_in(server), tmp_path, "Long video")
    [entry] = ProjectFolder(folder).entries().values()
    assert len(entry.scenes or {}) == 620
    assert verify_files(folder, StopSignal(), 2).gaps == []


def test_expired_sessions_are_renewed_and_wrong_credentials_end_with_12(sc, signed_in, tmp_path):
    for generation in ("1.1", "1.x"):
        server = sc(generation)
        client = signed_in(server)
        server.doorman.expire()
        assert list_projects(client)
        server.token = server.doorman.token = "another"
        server.doorman.password = "another"
        server.doorman.expire()
        with pytest.raises((errors.CredentialsRefused, errors.Unauthorized)):
            list_projects(client)
    server = sc()
    server.token = "wrong"
    with pytest.raises(errors.CredentialsRefused) as caught:
        signed_in(server)
    assert caught.value.exit_code == Exit.CREDENTIALS_REFUSED


def test_geti_3_is_refused_with_one_sentence_of_why(sc, signed_in):
    with pytest.raises(RunEnds, match=r"Geti 3\.x.*another API"):
        signed_in(sc("3.x"))


# --- configuration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.11.0", "2.13.0"])
def test_configuration_and_auto_training_are_carried_and_no_training_starts_meanwhile(sc, signed_in, tmp_path, version):
    source, target = sc(version=version), sc(samples="none", version=version)
    here, there = signed_in(source), signed_in(target)
    project = get_project(here, str(next(each for each in list_projects(here) if each["name"] == "Leaves")["id"]))
    configuration.set_everywhere(here, project, {"iterations": 77, "auto_train": True})
    [folder] = down(here, tmp_path, "Leaves")
    upload_project(there, open_source(folder))
    [made] = list_projects(there)
    values = {
        each.name: each.value
        for each in configuration.parameters(configuration.read(there, get_project(there, str(made["id"]))))
    }
    assert 77 in (values.get("num_iters"), values.get("max_epochs")) and values["auto_training"] is True
    assert not [job for job in target.world.jobs.values() if job.type == "train"]


# --- whole runs of the script -----------------------------------------------------------------------------------


def script(server: ScSandbox, folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "sc_migrate.py"), *arguments], env=settings(server, folder) | more,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def settings(server: ScSandbox, folder: Path, prefix: str = "SC_") -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""), "CVAT_ENV_DIR": str(folder), "LOG_FORMAT": "json",
        "SC_DIR": str(folder / "projects"), "SC_SERVER_WAIT_SECONDS": "20", f"{prefix}HOST": server.url + "/projects/1",
        f"{prefix}TOKEN": server.token, f"{prefix}CA_BUNDLE": str(server.ca_file),
    }  # fmt: skip


def test_a_migration_that_is_killed_again_and_again_ends_as_an_undisturbed_one(sc, tmp_path):
    source, target = sc(samples="losses"), sc(samples="none")
    environment = settings(source, tmp_path) | settings(target, tmp_path, "SC_TARGET_")
    command = [sys.executable, str(ROOT / "sc_migrate.py"), "migrate", "--all"]
    for moment in KILLED_AFTER_REQUESTS:
        with open(tmp_path / "log", "ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            count = sum(len(d.media) for p in list(target.world.projects.values()) for d in p.datasets)
            if count >= moment:
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
    done = script(source, tmp_path, "migrate", "--all", **settings(target, tmp_path, "SC_TARGET_"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert contents(target) == contents(source)
    again = script(source, tmp_path, "migrate", "--all", **settings(target, tmp_path, "SC_TARGET_"))
    assert again.returncode == 0 and "migrated before" in again.stdout
    assert contents(target) == contents(source)


def test_the_servers_own_archive_goes_out_and_in_again(sc, tmp_path):
    source, target = sc(), sc(samples="none")
    out = script(source, tmp_path, "export-archive", "Cars")
    assert out.returncode == 0, out.stderr
    [archive] = (tmp_path / "projects" / "archives").glob("*.zip")
    assert json.loads(archive.with_name(archive.name + ".json").read_text())["size_bytes"] == archive.stat().st_size
    back = script(target, tmp_path, "import-archive", str(archive))
    assert back.returncode == 0, back.stderr
    assert [each.name for each in target.world.projects.values()] == ["Cars"]
    assert script(target, tmp_path, "import-archive", str(archive)).returncode == 1
    assert script(sc("1.x"), tmp_path, "export-archive", "Cars").returncode == 1


def test_what_is_wrong_with_the_configuration_is_said_all_at_once(sc, tmp_path):
    done = script(sc(samples="none"), tmp_path, "migrate", SC_HOST="http://x", SC_CONNECTIONS="0")
    assert done.returncode == 2
    for name in ("SC_HOST", "SC_TARGET_HOST", "SC_TARGET_TOKEN", "SC_CONNECTIONS", "--all"):
        assert name in done.stderr


def test_an_update_that_breaks_off_leaves_a_good_folder_usable(sc, signed_in, tmp_path, no_waiting):
    source, target = sc(), sc(samples="none")
    client = signed_in(source)
    [folder] = down(client, tmp_path, "Cars")
    project_id = str((ProjectFolder(folder).manifest() or {})["source"]["project_id"])
    source.faults.add(Fault("POST .*/media:query", "status", status=500, times=None))
    with pytest.raises(errors.ServerError):
        download_project(client, project_id, folder, Wanted())
    assert any("broken off" in gap for gap in verify_files(folder, StopSignal(), 2).gaps)
    [gap] = upload_project(signed_in(target), open_source(folder)).gaps
    assert "broken off" in gap
    assert contents(target)["Cars"] == contents(source)["Cars"]
    source.faults.clear()
    assert download_project(client, project_id, folder, Wanted()).gaps == []
    assert verify_files(folder, StopSignal(), 2).gaps == []
