"""Archives of others, bad ones and hostile ones; reading backups again; plain files out of them."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portraits import portrait
from running import add_project, path_of, record_of, run_backup, run_restore

from sandbox.cvat import CvatSandbox
from sandbox.cvat.archive import write_project


@pytest.fixture
def foreign(server: CvatSandbox, tmp_path: Path) -> Path:
    """A file as CVAT's page or the predecessor leaves it: no record beside it."""
    project, _task = add_project(server, "Signs")
    path = tmp_path / "project_Signs_backup_2026_01_02_03_04_05.zip"
    write_project(server.world, project.id, path)
    server.world.delete_project(project.id)
    return path


def rewritten(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    target = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        for info in source.infolist():
            kept = change(info.filename, source.read(info))
            if kept:
                made.writestr(*kept)
    return target


def uploads(server: CvatSandbox) -> int:
    return server.log_count("POST /api/(projects|tasks)/backup/")


def test_a_file_without_a_record_comes_back_too(server: CvatSandbox, tmp_path: Path, foreign: Path) -> None:
    done = run_restore(server, tmp_path, "--at", str(foreign))
    assert done.code == 0, done.said
    assert "no metadata was saved with it" in done.out
    assert [project.name for project in server.world.projects.values()].count("Signs") == 1


def test_a_packed_file_comes_back_too(server: CvatSandbox, tmp_path: Path, foreign: Path) -> None:
    packed = foreign.with_name("packed.zip")
    with zipfile.ZipFile(foreign) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for info in source.infolist():
            made.writestr(info.filename, source.read(info))
    done = run_restore(server, tmp_path, "--at", str(packed))
    assert done.code == 0, done.said
    assert "DIFFERS" not in done.out


def test_a_task_whose_upload_failed_is_left_out_with_a_warning(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    server.world.fail_upload(server.world.add_empty_task("broken", project))
    path = tmp_path / "ui.zip"
    write_project(server.world, project.id, path)
    server.world.delete_project(project.id)
    done = run_restore(server, tmp_path, "--at", str(path))
    assert done.code == 0, done.said
    assert "task 'broken' was left out" in done.out
    [copy] = [one for one in server.world.projects.values() if one.name == "Signs"]
    assert [task.name for task in server.world.tasks_of(copy)] == ["scans"]


def _without_project(name: str, content: bytes) -> tuple[str, bytes] | None:
    return None if name == "project.json" else (name, content)


def _hostile(name: str, content: bytes) -> tuple[str, bytes]:
    return (name.replace("data/", "data/../../../"), content)


def _annotations(name: str, content: bytes) -> tuple[str, bytes]:
    return (name, b"{") if name.endswith("annotations.json") else (name, content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]) and path, "no sound archive"),
        (lambda path: (path.write_bytes(b""), path)[1], "too few"),
        (lambda path: path.write_text("not a zip" * 50) and path, "no sound archive"),
        (lambda path: rewritten(path, _without_project), "neither project.json nor task.json"),
        (lambda path: rewritten(path, _hostile), "leaves its folder"),
        (lambda path: rewritten(path, _annotations), "no sound archive"),
    ],
    ids=["cut", "empty", "text", "no project.json", "hostile", "annotations"],
)
def test_bad_archives_are_refused_and_nothing_is_sent(
    server: CvatSandbox, tmp_path: Path, foreign: Path, spoil: Callable[[Path], Path], said: str
) -> None:
    done = run_restore(server, tmp_path, "--at", str(spoil(foreign)))
    assert done.code == 1
    assert said in done.out
    assert "Nothing was sent" in done.out
    assert uploads(server) == 0


def test_a_zip_bomb_is_refused_unread(server: CvatSandbox, tmp_path: Path, foreign: Path) -> None:
    content = bytearray(foreign.read_bytes())
    at = content.index(b"PK\x01\x02")
    while at >= 0:  # every member claims 3 GB
        struct.pack_into("<L", content, at + 24, 3_000_000_000)
        at = content.find(b"PK\x01\x02", at + 4)
    foreign.write_bytes(content)
    done = run_restore(server, tmp_path, "--at", str(foreign))
    assert done.code == 1
    assert "claim to unpack to" in done.out
    assert uploads(server) == 0


def test_a_backup_that_went_bad_is_marked_and_never_counted_again(server: CvatSandbox, tmp_path: Path) -> None:
    assert run_backup(server, tmp_path).code == 0
    folder = tmp_path / "backups"
    good = run_restore(server, tmp_path, "--verify")
    assert good.code == 0
    assert "3 good, 0 bad" in good.out
    assert run_restore(server, tmp_path, "--list").out.count("good, read again") == 3
    path = path_of(folder, record_of(folder, "project", 2))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    bad = run_restore(server, tmp_path, "--verify")
    assert bad.code == 3
    assert "BAD  project 2" in bad.out
    assert "a bad one may be deleted by hand" in bad.out
    mark = json.loads(path.with_name(path.name + ".bad.json").read_text())
    assert "SHA-256" in mark["reason"]
    assert "it went bad" in run_restore(server, tmp_path, "--list").out
    refused = run_restore(server, tmp_path, "--project", "2", "--again")
    assert refused.code == 2
    assert "no good backup" in refused.err
    again = run_backup(server, tmp_path)  # nothing has changed, but it no longer has a good copy
    assert again.outcomes()["project 2"] == "saved"
    assert again.outcomes()["project 1"] == "unchanged"
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert run_restore(server, tmp_path, "--verify").code == 0
    assert not path.with_name(path.name + ".bad.json").exists()


def test_a_share_reads_what_was_read_longest_ago(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    for _ in range(3):
        assert run_restore(server, tmp_path, "--verify", "all", "--share", "1/3").code == 0
    [path] = (tmp_path / "backups").glob("*/verified.jsonl")
    read = [json.loads(line)["file"] for line in path.read_text().splitlines()]
    assert len(set(read)) == 3
    assert run_restore(server, tmp_path, "--verify", "--share", "7/3").code == 2


def test_plain_files_come_out_without_a_server(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    frames = [file.path.read_bytes() for file in server.world.tasks_of(project)[0].data.files]
    nowhere = {"CVAT_URL": None, "CVAT_USERNAME": None, "CVAT_PASSWORD": None}
    done = run_restore(server, tmp_path, "--project", "Signs", "--extract", str(tmp_path / "out"), **nowhere)
    assert done.code == 0, done.said
    [task] = (tmp_path / "out").glob("*/task_0-scans")
    found = [path.read_bytes() for path in (task / "data").iterdir()]
    assert all(frame in found for frame in frames)
    assert isinstance(json.loads((task / "annotations.json").read_text()), list)
    again = run_restore(server, tmp_path, "--project", "Signs", "--extract", str(tmp_path / "out"), **nowhere)
    assert again.code == 1
    assert "exists already: nothing is overwritten" in again.err


def test_of_a_damaged_archive_everything_else_comes_out_and_no_other_backup_is_held_up(
    server: CvatSandbox, tmp_path: Path
) -> None:
    run_backup(server, tmp_path)
    folder, out = tmp_path / "backups", tmp_path / "out"
    damaged, hopeless = (path_of(folder, record_of(folder, "project", number)) for number in (1, 2))
    with zipfile.ZipFile(damaged) as opened:
        lost = next(info for info in opened.infolist() if info.filename.endswith(".jpg"))
        whole = len([name for name in opened.namelist() if not name.endswith("/")])
    content = bytearray(damaged.read_bytes())
    content[lost.header_offset + 30 + len(lost.filename.encode()) + lost.compress_size // 2] ^= 1
    damaged.write_bytes(content)
    hopeless.write_bytes(b"x" * hopeless.stat().st_size)
    done = run_restore(server, tmp_path, "--all", "--extract", str(out))
    assert done.code == 3, done.said
    assert f"MISSING member {lost.filename!r} is damaged" in done.err
    assert "FAILED project 2" in done.err
    there = {name: [p for p in out.glob(f"{name}-*/**/*") if p.is_file()] for name in ("project-1", "project-3")}
    assert len(there["project-1"]) == whole - 1
    assert there["project-3"]
    assert not [
        path for path in out.rglob("*") if path.name in (Path(lost.filename).name,) and "project-1" in str(path)
    ]
    assert not list(out.glob("project-2*")) and not list(out.glob("*.unfinished"))
    alone = run_restore(server, tmp_path, "--project", "2", "--extract", str(out))
    assert alone.code == 1
    with zipfile.ZipFile(tmp_path / "hollow.zip", "w") as made:
        made.writestr("project.json", "{}")
    content = bytearray((tmp_path / "hollow.zip").read_bytes())
    content[30 + len("project.json")] ^= 1
    (tmp_path / "hollow.zip").write_bytes(content)
    hollow = run_restore(server, tmp_path, "--at", str(tmp_path / "hollow.zip"), "--extract", str(out))
    assert hollow.code == 1
    assert not list(out.glob("hollow*"))


@pytest.mark.parametrize("name", ["../escape", "/tmp/escape", "a/../../escape", "C:\\escape", "..\\escape"])
def test_nothing_is_written_outside(server: CvatSandbox, tmp_path: Path, name: str) -> None:
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as made:
        made.writestr("project.json", "{}")
        made.writestr(name, "x")
    done = run_restore(server, tmp_path, "--at", str(hostile), "--extract", str(tmp_path / "deep" / "out"))
    assert done.code == 1
    assert not list(tmp_path.rglob("*escape*"))
    assert not (tmp_path / "deep").exists()


def test_saved_annotations_are_no_backup_and_the_other_way_round(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path, "--mode", "p", "a")
    folder = tmp_path / "backups"
    api = path_of(folder, record_of(folder, "project", 1, "annotations"))
    backup = path_of(folder, record_of(folder, "project", 1))
    assert "--annotations-only" in run_restore(server, tmp_path, "--at", str(api), "--again").out
    wrong = run_restore(server, tmp_path, "--at", str(backup), "--annotations-only", "--yes")
    assert wrong.code == 1
    assert "…_api.zip" in wrong.err


def test_a_mended_backup_restores(server: CvatSandbox, tmp_path: Path) -> None:
    project, _task = add_project(server, "Signs")
    wanted: Any = portrait(server.world, project)
    server.world.fail_upload(server.world.add_empty_task("broken", project))
    run_backup(server, tmp_path)
    server.world.delete_project(project.id)
    assert run_restore(server, tmp_path, "--project", "Signs").code == 0
    [copy] = [one for one in server.world.projects.values() if one.name == "Signs"]
    assert portrait(server.world, copy) == wanted
