"""What cannot be read is not called bad, not called absent, and does not keep the rest from being read."""

from __future__ import annotations

import errno
import zipfile
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
@pytest.mark.parametrize(("module", "step"), [("backups.store", "sha256_of"), ("restoring.verify", "_seen_in")])
def test_a_disk_that_fails_marks_nothing(
    server: CvatSandbox, tmp_path: Path, number: int, module: str, step: str
) -> None:
    run_backup(server, tmp_path)
    patched = f"""
import common.{module} as reading
plain = reading.{step}
def failing(what, *more):
    path = getattr(what, "path", what)
    if "project-2" in str(path):
        raise OSError({number}, "it fails", str(path))
    return plain(what, *more)
reading.{step} = failing
"""
    done = run_restore(server, tmp_path, "--verify", patched=patched)
    assert done.code == 3 and "NOT READ  project 2" in done.out, done.said
    assert marks(tmp_path) == []


def test_what_could_not_be_read_does_not_fill_every_share(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with rights(backup_of(tmp_path, 1), 0), rights(backup_of(tmp_path, 2), 0):
        said = [restore(server, tmp_path, "--verify", "--share", "1/3").out for _ in range(3)]
    assert sum("1 good" in text for text in said) == 1, said


# --- folders and files that belong to somebody else -------------------------------------------------------------


def test_a_verified_log_of_somebody_else_ends_no_verification(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    assert run_restore(server, tmp_path, "--verify").code == 0
    [noted] = (tmp_path / "backups").glob("*/verified.jsonl")
    with rights(noted, 0):
        done = restore(server, tmp_path, "--verify", "all", "--share", "3/3")
        listed = restore(server, tmp_path, "--list")
    assert done.code == 3 and "3 good, 0 bad" in done.out, done.said
    assert "verified.jsonl cannot be written: Permission denied" in done.out
    assert "writable for the user that runs restore.py" in done.out
    assert listed.code == 0 and "3 backups" in listed.out


def test_a_bad_backup_in_a_folder_of_somebody_else_is_said(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    path = backup_of(tmp_path, 2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with rights(path.parent, 0o500):
        done = restore(server, tmp_path, "--verify")
        refused = restore(server, tmp_path, "--at", str(path), "--again")
    assert done.code == 3 and "BAD  project 2" in done.out and "2 good, 1 bad" in done.out, done.said
    assert "cannot be written: Permission denied" in done.out and marks(tmp_path) == []
    assert "Not so 1 of them" in done.out
    assert refused.code == 1 and "its SHA-256 differs" in refused.out, refused.said
    assert "backup_not_marked" in refused.err


@pytest.mark.parametrize(
    "arguments", [["--verify"], ["--list"], ["--all"], ["--project", "1"], ["--all", "--extract", "OUT"]], ids=str
)
def test_a_folder_that_may_not_be_read_is_named_and_the_others_go_on(
    server: CvatSandbox, tmp_path: Path, arguments: list[str]
) -> None:
    run_backup(server, tmp_path)
    folder = backup_of(tmp_path, 2).parent
    for number in (1, 2, 3):
        server.world.delete_project(number)
    given = [str(tmp_path / "out") if each == "OUT" else each for each in arguments]
    with rights(folder, 0):
        done = restore(server, tmp_path, *given)
    assert done.code == 3, done.said
    assert "NOT READ the folder: Permission denied" in done.said and str(folder) in done.said
    if arguments == ["--verify"]:
        assert "2 good, 0 bad" in done.out and "1 folder could not be read" in done.out
    elif arguments == ["--list"]:
        assert "2 backups" in done.out
    elif "--extract" in arguments:
        assert len(list((tmp_path / "out").iterdir())) == 2
    else:
        assert len(server.world.projects) == (2 if arguments == ["--all"] else 1)


def test_backup_list_names_a_folder_that_may_not_be_read(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with rights(backup_of(tmp_path, 2).parent, 0):
        done = run_backup(server, tmp_path, "--list", preexec=like_anybody)
    assert done.code == 3 and "NOT READ the folder" in done.out and "2 backups" in done.out, done.said


def test_a_backup_dir_that_may_not_be_read_is_said(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with rights(tmp_path / "backups", 0):
        done = restore(server, tmp_path, "--verify")
    assert done.code == 2 and "CVAT_BACKUP_DIR cannot be read" in done.err, done.said


def test_a_newer_record_that_is_damaged_is_named_when_an_older_backup_comes_back(
    server: CvatSandbox, tmp_path: Path
) -> None:
    project, task = add_project(server, "Signs")
    run_backup(server, tmp_path)
    server.world.patch_task(task, {"name": "more scans"})
    run_backup(server, tmp_path)
    path = backup_of(tmp_path, project.id)
    assert len(list(path.parent.glob("*.zip.json"))) == 2
    cut(path.with_name(f"{path.name}.json"))
    server.world.delete_project(project.id)
    done = run_restore(server, tmp_path, "--project", "Signs")
    assert done.code == 3 and "1 backup restored" in done.out, done.said
    assert "BAD  its record" in done.err and path.name in done.err


@pytest.mark.parametrize("drill", [False, True], ids=["restore", "drill"])
@pytest.mark.parametrize("what", ["restores", "server", "lock", "lock is a folder"])
def test_what_cannot_be_written_of_restores_is_named_and_what_to_do(
    server: CvatSandbox, tmp_path: Path, what: str, drill: bool
) -> None:
    run_backup(server, tmp_path)
    assert run_restore(server, tmp_path, "--project", "1", "--again").code == 0
    [theirs] = (tmp_path / "backups" / "restores").iterdir()
    lock = theirs / ".lock-restore"
    if what == "restores":
        theirs.rename(tmp_path / "elsewhere")
        theirs, mode = theirs.parent, 0o500
    elif what == "lock is a folder":
        lock.unlink()
        lock.mkdir()
        mode = 0o700
    else:
        theirs, mode = (lock, 0o400) if what == "lock" else (theirs, 0o500)
    more = {"CVAT_DRILL_URL": server.url, "CVAT_DRILL_ACCESS_TOKEN": server.write_token} if drill else {}
    with rights(theirs, mode):
        done = restore(server, tmp_path, *(["--drill"] if drill else ["--project", "1", "--again"]), **more)
    assert done.code == 2 and "CVAT_BACKUP_DIR cannot be written" in done.err, done.said
    wanted = "Move away what is in the way" if "folder" in what else "writable for the user that runs restore.py"
    assert wanted in done.err and str(theirs) in done.err


def test_a_journal_of_somebody_else_is_named(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    patched = """
import common.restoring.putting as putting
plain = putting.bring_in
def bring_in(work):
    work.journal.folder.chmod(0o500)
    return plain(work)
putting.bring_in = bring_in
"""
    done = restore(server, tmp_path, "--project", "1", "--again", patched=patched)
    assert done.code == 1 and "CVAT_BACKUP_DIR cannot be written: Permission denied" in done.out, done.said
    assert "writable for the user that runs restore.py" in done.out


def test_a_drill_whose_result_cannot_be_kept_says_so(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    more = {"CVAT_DRILL_URL": server.url, "CVAT_DRILL_ACCESS_TOKEN": server.write_token}
    assert run_restore(server, tmp_path, "--drill", **more).code == 0
    [results] = (tmp_path / "backups").glob("*/drills.jsonl")
    with rights(results, 0o400):
        done = restore(server, tmp_path, "--drill", **more)
    assert done.code == 3 and "equal value by value" in done.out, done.said
    assert "cannot be kept" in done.err and "writable for the user that runs restore.py" in done.err


# --- plain files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_cannot_be_written_ends_an_extraction(server: CvatSandbox, tmp_path: Path, there: bool) -> None:
    run_backup(server, tmp_path)
    out = tmp_path / "theirs"
    out.mkdir()
    with rights(out, 0o500):
        done = restore(server, tmp_path, "--all", "--extract", str(out if there else out / "deeper" / "out"))
    assert done.code == 2 and "The folder of --extract cannot be written: Permission denied" in done.err, done.said
    assert "writable for the user" in done.err and "--extract DIR" in done.err


def test_an_archive_that_may_not_be_read_keeps_no_other_from_coming_out(server: CvatSandbox, tmp_path: Path) -> None:
    run_backup(server, tmp_path)
    with rights(backup_of(tmp_path, 2), 0):
        done = restore(server, tmp_path, "--all", "--extract", str(tmp_path / "out"))
    assert done.code == 3 and "FAILED project 2" in done.err and "cannot be read (Permission denied)" in done.err
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.parametrize("name", ["data/" + "n" * 256 + ".jpg", "m" * 256 + "/a.jpg", "k" * 300 + "/"], ids=len)
def test_a_name_that_no_file_can_have_costs_that_member_alone(server: CvatSandbox, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as made:
        made.writestr("task.json", "{}")
        made.writestr(name, "" if name.endswith("/") else "x")
        made.writestr("data/short.jpg", "y")
    done = run_restore(server, tmp_path, "--at", str(tmp_path / "long.zip"), "--extract", str(tmp_path / "out"))
    assert done.code == 3 and "MISSING member" in done.err and "File name too long" in done.err, done.said
    assert (tmp_path / "out" / "long" / "data" / "short.jpg").read_text() == "y"
