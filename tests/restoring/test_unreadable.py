"""What cannot be read is not called bad, not called absent, and does not keep the rest from being read."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from rights import like_anybody, rights
from running import Finished, add_project, path_of, record_of, run_backup, run_restore

from sandbox.cvat import CvatSandbox


def restore(server: CvatSandbox, tmp_path: Path, *arguments: str, **more: Any) -> Finished:
    return run_restore(server, tmp_path, *arguments, preexec=like_anybody, **more)


def backup_of(tmp_path: Path, number: int) -> Path:
    return path_of(tmp_path / "backups", record_of(tmp_path / "backups", "project", number))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:300])


# --- records and metadata that are damaged ----------------------------------------------------------------------


@pytest.mark.parametrize("which", ["all", "2", "project:2", "NAME", "FILE"])
def test_a_damaged_record_is_bad_and_named(server: CvatSandbox, tmp_path: Path, which: str) -> None:
    run_backup(server, tmp_path)
    path = backup_of(tmp_path, 2)
    record = path.with_name(f"{path.name}.json")
    cut(record)
    done = run_restore(server, tmp_path, "--verify", {"NAME": path.name, "FILE": str(path)}.get(which, which))
    assert done.code == 3, done.said
    assert "BAD " in done.out and str(record) in done.out
    assert (
        ("3 backups read" in done.out and "2 good, 1 bad" in done.out)
        if which == "all"
        else "0 good, 1 bad" in done.out
    )


def test_a_record_that_may_not_be_read_is_not_called_bad(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    path = backup_of(tmp_path, 2)
    record = path.with_name(f"{path.name}.json")
    with rights(record, 0):
        done = restore(server, tmp_path, "--verify")
    assert done.code == 3, done.said
    assert "NOT READ" in done.out and str(record) in done.out
    assert "2 good, 0 bad, 1 could not be read" in done.out
    assert run_restore(server, tmp_path, "--verify").code == 0


def test_a_folder_of_damaged_records_only_is_no_empty_folder(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    for record in (tmp_path / "backups").glob("*/*/*.zip.json"):
        record.write_text("{")
    done = run_restore(server, tmp_path, "--verify")
    assert done.code == 3 and "0 good, 3 bad" in done.out, done.said


@pytest.mark.parametrize(("text", "mode", "word"), [("{", 0o600, "BAD "), (None, 0, "NOT READ")])
def test_metadata_that_cannot_be_read_is_named_and_missed(
    server: CvatSandbox, tmp_path: Path, text: str | None, mode: int, word: str
) -> None:
    project, _task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    [metadata] = backup_of(tmp_path, project.id).parent.glob("metadata_*.json")
    if text is not None:
        metadata.write_text(text)
    server.world.delete_project(project.id)
    with rights(metadata, mode):
        verified = restore(server, tmp_path, "--verify")
        back = restore(server, tmp_path, "--project", "Signs")
    assert verified.code == 3, verified.said
    assert f"{word} metadata" in verified.out and str(metadata) in verified.out
    assert "4 good, 0 bad" in verified.out and "1 file of metadata cannot be read" in verified.out
    assert not list((tmp_path / "backups").glob("*/*/*.bad.json"))
    assert back.code == 3, back.said
    assert "MISSING Signs: its metadata cannot be read" in back.out and metadata.name in back.out
    assert "no metadata was saved" not in back.out


def test_a_drill_says_that_the_metadata_cannot_be_read(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    for metadata in (tmp_path / "backups").glob("*/*/metadata_*.json"):
        metadata.write_text("{")
    done = run_restore(
        server, tmp_path, "--drill", CVAT_DRILL_URL=server.url, CVAT_DRILL_ACCESS_TOKEN=server.write_token
    )
    assert done.code == 3 and "its metadata cannot be read" in done.out, done.said


# --- files that could not be read are not marked ----------------------------------------------------------------


def marks(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "backups").glob("*/*/*.bad.json"))


def test_a_backup_that_may_not_be_read_is_not_marked_and_counts_again(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    path = backup_of(tmp_path, 2)
    with rights(path, 0):
        done = restore(server, tmp_path, "--verify")
    assert done.code == 3, done.said
    assert "NOT READ  project 2" in done.out and "Permission denied" in done.out
    assert "2 good, 0 bad, 1 could not be read" in done.out
    assert marks(tmp_path) == []
    listed = run_restore(server, tmp_path, "--list").out
    assert listed.count("read again") == 2  # it was tried, but nobody has read it
    assert "3 good, 0 bad" in run_restore(server, tmp_path, "--verify").out


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("step", ["sha256_of", "_seen_in"])
def test_a_disk_that_fails_marks_nothing(server: CvatSandbox, tmp_path: Path, number: int, step: str) -> None:
    run_backup(server, tmp_path)
    patched = f"""
import common.restoring.verify as verifying
plain = verifying.{step}
def failing(what, *more):
    path = getattr(what, "path", what)
    if "project-2" in str(path):
        raise OSError({number}, "it fails", str(path))
    return plain(what, *more)
verifying.{step} = failing
"""
    done = run_restore(server, tmp_path, "--verify", patched=patched)
    assert done.code == 3 and "NOT READ  project 2" in done.out, done.said
    assert marks(tmp_path) == []


def test_what_could_not_be_read_does_not_fill_every_share(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with rights(backup_of(tmp_path, 1), 0), rights(backup_of(tmp_path, 2), 0):
        said = [restore(server, tmp_path, "--verify", "--share", "1/3").out for _ in range(3)]
    assert sum("1 good" in text for text in said) == 1, said
