"""What a person is told whose folder cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from common import ownership
from common.ownership import how_to_make_writable, source_of_mount

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
