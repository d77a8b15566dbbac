"""Folders that belong to somebody else: the command that is named is the one that helps."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.container.engine import Project


def test_a_folder_of_roots_is_named_with_the_command_that_helps(project: Project):
    folder = project.folder / "my backups"
    folder.mkdir(mode=0o755)
    project.add_server("--samples", "many:1")
    project.set(BACKUPS_VOLUME=str(folder))
    said = project.once("backup.py", "--mode", "p", check=False)
    assert "Traceback" not in said
    assert "CVAT_BACKUP_DIR=/backups cannot be written" in said
    [command] = re.findall(r"sudo (chown -R 1000:1000 '.*?')", said)
    subprocess.run(command, shell=True, check=True)
    assert "1 saved" in project.once("backup.py", "--mode", "p")
    assert [path.stat().st_uid for path in Path(folder).iterdir()] == [1000]


def test_a_volume_of_another_user_is_named_the_same_way(project: Project):
    project.add_server("--samples", "many:1")
    project.once("backup.py", "--mode", "p")
    project.set(PUID="1001", PGID="1001")
    said = project.once("backup.py", "--mode", "p", check=False)
    [command] = re.findall(r"sudo (chown -R 1001:1001 \S+)", said)
    subprocess.run(command, shell=True, check=True)
    assert "1 unchanged" in project.once("backup.py", "--mode", "p")
