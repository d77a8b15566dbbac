"""The real cvat-cli works against the sandbox."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cvat import CvatSandbox

CLI = Path(sys.executable).with_name("cvat-cli")

pytestmark = pytest.mark.skipif(not CLI.exists(), reason="cvat-cli is not installed beside this Python")


@pytest.fixture(scope="module")
def shared() -> Iterator[CvatSandbox]:
    with CvatSandbox(samples="demo", anonymous_per_minute=10_000) as sandbox:
        yield sandbox


def cli(server: CvatSandbox, *arguments: str) -> str:
    done = subprocess.run(
        [str(CLI), "--server-host", server.url, "--auth", f"{server.username}:{server.password}", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cli_lists_projects_and_tasks(shared: CvatSandbox) -> None:
    assert len(cli(shared, "project", "ls").split()) == len(shared.world.projects)
    assert len(cli(shared, "task", "ls").split()) == len(shared.world.tasks)


def test_the_cli_backs_up_a_project_and_restores_it(shared: CvatSandbox, tmp_path: Path) -> None:
    archive = tmp_path / "project.zip"
    cli(shared, "project", "backup", "--completion_verification_period", "0.05", "1", str(archive))
    with zipfile.ZipFile(archive) as opened:
        assert "project.json" in opened.namelist()
    before = set(shared.world.projects)
    cli(shared, "project", "create-from-backup", "--completion_verification_period", "0.05", str(archive))
    [new] = set(shared.world.projects) - before
    assert shared.world.projects[new].name == "Road signs 2026"
    shared.world.delete_project(new)


def test_the_cli_backs_up_a_task(shared: CvatSandbox, tmp_path: Path) -> None:
    archive = tmp_path / "task.zip"
    cli(shared, "task", "backup", "--completion_verification_period", "0.05", "1", str(archive))
    with zipfile.ZipFile(archive) as opened:
        assert "task.json" in opened.namelist()
