"""What a person is told whose folder cannot be written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common import ownership
from common.ownership import how_to_make_writable, source_of_mount, what_to_do, why_refused

MOUNTINFO = r"""
621 541 0:47 / / ro,relatime master:200 - overlay overlay ro,lowerdir=/x
640 621 254:0 /srv/old /backups rw,relatime - ext4 /dev/vda rw
641 621 254:0 /srv/cvat\040backups /backups rw,relatime - ext4 /dev/vda rw
642 621 0:50 / /state rw - tmpfs tmpfs rw
""".strip().splitlines()


def test_the_folder_outside_is_found_where_it_is_mounted():
    assert source_of_mount(MOUNTINFO, "/backups") == "/srv/cvat backups"


@pytest.mark.parametrize("folder", ["/state", "/", "/elsewhere", "/backups/cvat.example.com"])
def test_where_no_folder_of_the_host_is_mounted_none_is_named(folder: str):
    assert source_of_mount(MOUNTINFO, folder) is None


def test_in_a_container_the_command_for_the_host_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text("\n".join(MOUNTINFO))
    monkeypatch.setattr(ownership, "MOUNTS", mounts)
    monkeypatch.setattr(ownership, "in_container", lambda: True)
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setattr("os.getegid", lambda: 55)
    assert "sudo chown -R 1234:55 '/srv/cvat backups'" in how_to_make_writable(Path("/backups"), "backup.py")
    assert "chown" not in how_to_make_writable(Path("/state"), "backup.py")


def test_outside_of_containers_the_folder_is_named():
    assert str(Path("/backups")) in how_to_make_writable(Path("/backups"), "backup.py")


@pytest.mark.parametrize(
    ("number", "about", "why"),
    [
        (errno.EACCES, "out/.download", "Permission denied"),
        (errno.EACCES, "out/there", "Permission denied (DIR/out/there)"),
        (errno.ENOTDIR, "out/file/.download/parts", "DIR/out/file is a file, no folder"),
        (errno.EEXIST, "out/file", "DIR/out/file is a file, no folder"),
        (errno.EISDIR, "out/there", "Is a directory (DIR/out/there)"),
        (errno.EROFS, "", "Read-only file system"),
    ],
)
def test_why_a_folder_refused_names_what_is_there_and_not_what_was_to_be_made(tmp_path: Path, number, about, why):
    folder = tmp_path / "out"
    (folder / "there").mkdir(parents=True)
    (folder / "file").touch()
    error = (
        OSError(number, os.strerror(number), str(tmp_path / about)) if about else OSError(number, os.strerror(number))
    )
    assert why_refused(folder, error) == why.replace("DIR", str(tmp_path))


def test_of_a_folder_that_could_not_even_be_made_what_is_above_it_refused(tmp_path: Path):
    error = OSError(errno.EACCES, "Permission denied", str(tmp_path / "x"))
    assert why_refused(tmp_path / "x" / "y", error) == f"Permission denied ({tmp_path})"
    assert str(tmp_path / "x") not in what_to_do(tmp_path / "x" / "y", error, "backup.py")
