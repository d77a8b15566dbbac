"""The bridge under faults of the network and kills: what arrives is whole, and there once."""

from __future__ import annotations

import os
import random
import sys

import pytest

from common.exits import Exit
from sandbox.cvat import CvatSandbox
from sandbox.faults import Fault
from sandbox.sc import ScSandbox

from .bridged import BOXES, box, drawn_in, project_of, shapes_in
from .test_faults import ALL, DOWNLOADING, FAULTS, LONG, STALL_TIMEOUT_SECONDS, TIMEOUT_SECONDS, UPLOADING
from .test_kills import ROOT, Guillotine, debris, until_killed

# What is asked of CVAT, each once as method and address.
FROM_CVAT = {
    "list of projects": r"GET .*/api/projects\?",
    "list of tasks": r"GET .*/api/tasks\?",
    "list of jobs": r"GET .*/api/jobs\?",
    "order of the export": r"POST .*/backup/export",
    "state of the export": r"GET .*/api/requests/",
    "backup": r"GET .*/backup/download",
}
TO_CVAT = {
    "list of projects": r"GET .*/api/projects\?",
    "beginning of the upload": r"POST .*/api/projects/backup",
    "bytes": r"PATCH .*/api/projects/backup",
    "state of the import": r"GET .*/api/requests/",
    "project": r"GET .*/api/projects/\d+$",
    "tasks": r"GET .*/api/tasks\?",
}
# By default the faults that differ most; a run that meets one may end with it told, and the next one goes on.
QUICK = ("cut before the answer, done all the same", "cut inside of the answer", "502", "500")
MOST_RUNS = 3


def chosen(fault: str) -> object:
    return pytest.param(fault, marks=[] if fault in QUICK else [pytest.mark.slow, LONG])


@pytest.fixture
def servers(sc, cvat, monkeypatch, tmp_path):
    """A CVAT with a project of two tasks, images and a video, and an empty Geti; both over plain http."""
    project = project_of(cvat, "Street", BOXES, {"shapes": [box(0), box(0, "dog"), box(2)]}, frames=3)
    task = cvat.world.add_task(project, "Film", kind="video", frames=6)
    job = cvat.world.jobs[task.job_ids[0]]
    row = {**box(4), "label_id": cvat.world.label_index(job).named("car")}
    del row["label"]
    cvat.world.put_annotations(job, {"shapes": [row]})
    monkeypatch.setenv("CVAT_SERVER_WAIT_SECONDS", "30")
    monkeypatch.setenv("SC_SERVER_WAIT_SECONDS", "30")
    monkeypatch.setenv("CVAT_RESTORE_CHUNK_MB", "0.02")
    return cvat, sc("2.x", "none", tls=False)


def set_faults(server, fault: str, matches: dict[str, str], monkeypatch) -> None:
    seconds = STALL_TIMEOUT_SECONDS if fault == "stall" else TIMEOUT_SECONDS
    for name in ("SC_HTTP_TIMEOUT_SECONDS", "CVAT_HTTP_TIMEOUT_SECONDS"):
        monkeypatch.setenv(name, str(seconds))
    for match in matches.values():
        server.faults.add(FAULTS[fault](match))


def until_good(command, *arguments: object) -> None:
    codes = []
    while not codes or codes[-1] != Exit.ALL_GOOD:
        assert len(codes) < MOST_RUNS, codes
        codes.append(command(*arguments))


def media_in(server: ScSandbox) -> list[tuple[str, str, bytes]]:
    [project] = server.world.projects.values()
    return sorted((m.name, m.kind, m.path.read_bytes()) for d in project.datasets for m in d.media.values())


def drawn(cvat: CvatSandbox, name: str) -> list[str]:
    return sorted(str((row["frame"], row["label"], row["type"], row["points"])) for row in drawn_in(cvat, name))


def tasks_in(cvat: CvatSandbox, name: str) -> list[tuple[str, str, int]]:
    [project] = [each for each in cvat.world.projects.values() if each.name == name]
    return sorted((task.name, task.data.kind, len(task.data.files)) for task in cvat.world.tasks_of(project))


@pytest.mark.parametrize("fault", [chosen(each) for each in FAULTS])
def test_a_disturbed_way_from_cvat_ends_as_an_undisturbed_one(
    servers, sc, command, monkeypatch, tmp_path, no_waiting, fault
):
    cvat, geti = servers
    set_faults(cvat, fault, FROM_CVAT, monkeypatch)
    set_faults(geti, fault, UPLOADING, monkeypatch)
    until_good(command, geti, cvat, "cvat-to-sc", "Street", "--name", "Arrived")
    assert cvat.faults.unmet() == []
    cvat.faults.clear()
    undisturbed = sc("2.x", "none", tls=False)
    monkeypatch.setenv("SC_DIR", str(tmp_path / "other"))
    assert command(undisturbed, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
    assert shapes_in(geti, "Arrived") == shapes_in(undisturbed, "Street")
    assert media_in(geti) == media_in(undisturbed) and len(media_in(geti)) == 4
    assert debris(tmp_path / "sc-projects") == []


@pytest.mark.parametrize("fault", [chosen(each) for each in FAULTS])
def test_a_disturbed_way_to_cvat_ends_as_an_undisturbed_one(servers, command, monkeypatch, tmp_path, no_waiting, fault):
    cvat, geti = servers
    assert command(geti, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
    assert command(geti, cvat, "sc-to-cvat", "Street", "--name", "Undisturbed") == Exit.ALL_GOOD
    monkeypatch.setenv("SC_DIR", str(tmp_path / "other"))
    set_faults(geti, fault, DOWNLOADING, monkeypatch)
    set_faults(cvat, fault, TO_CVAT, monkeypatch)
    before = len(cvat.world.projects)
    until_good(command, geti, cvat, "sc-to-cvat", "Street", "--name", "Arrived")
    assert cvat.faults.unmet() == []
    assert drawn(cvat, "Arrived") == drawn(cvat, "Undisturbed") == drawn(cvat, "Street")
    assert tasks_in(cvat, "Arrived") == tasks_in(cvat, "Undisturbed")
    assert len(cvat.world.projects) == before + 1
    assert not list((tmp_path / "sc-projects" / "cvat" / "made").glob("*.zip"))


@pytest.mark.parametrize("way", ["cvat-to-sc", "sc-to-cvat"])
def test_ways_that_are_killed_at_random_moments_end_as_an_undisturbed_one(servers, command, signed_in, tmp_path, way):
    cvat, geti = servers
    kills = 20 if ALL else 5
    environment = {
        "PATH": os.environ.get("PATH", ""), "CVAT_ENV_DIR": str(tmp_path), "SC_DIR": str(tmp_path / "projects"),
        "SC_ALLOW_HTTP": "true", "SC_MIN_FREE_GB": "0", "SC_CONNECTIONS": "4", "SC_HOST": geti.url,
        "SC_TOKEN": geti.token, "CVAT_URL": cvat.url, "CVAT_ACCESS_TOKEN": cvat.write_token,
        "CVAT_BACKUP_DIR": str(tmp_path / "backups"), "CVAT_RESTORE_CHUNK_MB": "0.02",
    }  # fmt: skip
    if way == "sc-to-cvat":
        assert command(geti, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
    before = len(cvat.world.projects)

    def command_of(number: int) -> list[str]:
        return [sys.executable, str(ROOT / "sc_migrate.py"), way, "Street", "--name", f"Arrived {number}"]

    def check(number: int) -> None:
        assert debris(tmp_path / "projects") == []
        if way == "cvat-to-sc":
            names = sorted(each.name for each in geti.world.projects.values())
            assert names == sorted(f"Arrived {each}" for each in range(number + 1))
            assert sum(shapes_in(geti, f"Arrived {number}").values()) == 4
            project = next(each for each in geti.world.projects.values() if each.name == f"Arrived {number}")
            assert sorted(each.kind for d in project.datasets for each in d.media.values()) == [*["image"] * 3, "video"]
            assert not list((tmp_path / "projects" / "cvat" / "backups").rglob("*.zip"))
        else:
            assert len(cvat.world.projects) == before + number + 1
            assert drawn(cvat, f"Arrived {number}") == drawn(cvat, "Street")
            assert not list((tmp_path / "projects" / "cvat" / "made").glob("*.zip"))

    until_killed(Guillotine(cvat, geti), command_of, environment, kills, random.Random(way), check)


def test_media_of_a_backup_lie_on_the_disk_once(servers, command, tmp_path):
    cvat, geti = servers
    assert command(geti, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
    below = tmp_path / "sc-projects" / "cvat"
    files = sorted(each.name for each in below.rglob("*") if each.is_file() and each.suffix in (".jpg", ".mp4", ".zip"))
    assert len(files) == 4 and not list(below.rglob(".unpacked"))


def test_a_second_run_asks_for_no_second_export(servers, command):
    cvat, geti = servers
    for _ in range(2):
        assert command(geti, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
    assert sum("/backup/export" in each.path for each in cvat.log) == 1


@pytest.mark.parametrize("way", ["cvat-to-sc", "sc-to-cvat"])
def test_without_room_nothing_is_begun(servers, command, monkeypatch, capsys, way):
    cvat, geti = servers
    if way == "sc-to-cvat":
        assert command(geti, cvat, "cvat-to-sc", "Street") == Exit.ALL_GOOD
        assert command(geti, cvat, "download", "Street") == Exit.ALL_GOOD
    projects = len(geti.world.projects) + len(cvat.world.projects)
    monkeypatch.setattr("common.transfer.free_bytes", lambda _folder: 1000)
    capsys.readouterr()
    assert command(geti, cvat, way, "Street", "--name", "New") == Exit.NOTHING_WORKED
    assert "are free" in capsys.readouterr().out
    assert len(geti.world.projects) + len(cvat.world.projects) == projects


def test_the_state_of_one_fault_is_told_when_it_never_ends(servers, command, capsys, monkeypatch):
    cvat, geti = servers
    monkeypatch.setenv("CVAT_SERVER_WAIT_SECONDS", "0")
    cvat.faults.add(Fault(FROM_CVAT["backup"], "status", status=404, times=None))
    assert command(geti, cvat, "cvat-to-sc", "Street") != Exit.ALL_GOOD
    assert not geti.world.projects
