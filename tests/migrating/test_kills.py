"""kill -9 at random moments: whatever was going on, the next runs end as an undisturbed one, and nothing is there twice.

A run is killed when a server meets its n-th request, n drawn anew each time; so many times, whatever the machine's pace.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from common.exits import Exit
from common.migrating.folder import DEBRIS, ProjectFolder
from common.migrating.verify import verify_files
from common.waiting import StopSignal
from sandbox.serving import SocketServer

from .conftest import contents, files_of, get

ROOT = Path(__file__).resolve().parents[2]
ALL = bool(os.environ.get("CVAT_TESTS_ALL"))
LONGEST_RUN_SECONDS = 120


class Guillotine:
    """Kills the run under way when the servers have met so many of its requests, before or after one is handled."""

    def __init__(self, *servers: SocketServer) -> None:
        self._lock = threading.Lock()
        self._due: tuple[int, bool] | None = None
        self._process: subprocess.Popen[str] | None = None
        self.seen = 0
        for server in servers:
            self._watch(server)

    def _watch(self, server: SocketServer) -> None:
        original = server.handle

        def handle(request, faults):
            with self._lock:
                self.seen += 1
                number = self.seen
            self._strike((number, False))
            try:
                return original(request, faults)
            finally:
                self._strike((number, True))

        server.handle = handle  # type: ignore[method-assign]

    def _strike(self, moment: tuple[int, bool]) -> None:
        with self._lock:
            if moment == self._due and self._process is not None:
                self._process.kill()

    def run(self, command: list[str], environment: dict[str, str], due: tuple[int, bool] | None) -> tuple[int, str]:
        """Its exit code (-9 when it was killed) and what it said."""
        with self._lock:
            self.seen, self._due = 0, due
            self._process = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        said, _ = self._process.communicate(timeout=LONGEST_RUN_SECONDS)
        with self._lock:
            self._due = None
        return self._process.returncode, said


def until_killed(
    guillotine: Guillotine,
    command_of: Callable[[int], list[str]],
    environment: dict[str, str],
    kills: int,
    dice: random.Random,
    check: Callable[[int], None],
) -> None:
    """Kills runs of the `round`th command until so many were; each round that ends is checked, and the next begins."""
    killed = rounds = 0
    requests = 40
    while True:
        due = (dice.randint(1, requests), dice.random() < 0.5) if killed < kills else None
        code, said = guillotine.run(command_of(rounds), environment, due)
        if code == -9:
            killed += 1
            continue
        assert code == Exit.ALL_GOOD, f"after {killed} kills: {said}"
        check(rounds)
        if killed >= kills:
            return
        # As many as a whole run has, so that moments near its end are met too.
        requests, rounds = max(guillotine.seen, 5), rounds + 1


def debris(folder: Path) -> list[Path]:
    return [each for each in folder.rglob(".*") if each.name.endswith(DEBRIS)]


@pytest.mark.parametrize("way", ["download", "upload", "migrate"])
def test_runs_that_are_killed_at_random_moments_end_as_an_undisturbed_one(pair, signed_in, tmp_path, way):
    kills = 50 if ALL else 10
    source, target = pair("2.x")
    environment = {
        "PATH": os.environ.get("PATH", ""), "CVAT_ENV_DIR": str(tmp_path), "SC_DIR": str(tmp_path / "projects"),
        "SC_ALLOW_HTTP": "true", "SC_MIN_FREE_GB": "0", "SC_CONNECTIONS": "4",
    }  # fmt: skip
    server = target if way == "upload" else source
    environment |= {"SC_HOST": server.url, "SC_TOKEN": server.token}
    environment |= {"SC_TARGET_HOST": target.url, "SC_TARGET_TOKEN": target.token}
    folder = tmp_path / "projects" / "x"
    if way == "upload":
        assert get(signed_in(source), folder).gaps == []
    assert get(signed_in(source), tmp_path / "undisturbed").gaps == []
    [original] = contents(source).values()

    def command_of(number: int) -> list[str]:
        arguments = {
            "download": ["download", "Small", "--into", f"{folder}{number}"],
            "upload": ["upload", str(folder), "--name", f"Small {number}"],
            "migrate": ["migrate", "Small", "--name", f"Small {number}"],
        }[way]
        return [sys.executable, str(ROOT / "sc_migrate.py"), *arguments]

    def check(number: int) -> None:
        if way == "download":
            fetched = Path(f"{folder}{number}")
            assert files_of(fetched) == files_of(tmp_path / "undisturbed")
            assert ProjectFolder(fetched).entries() == ProjectFolder(tmp_path / "undisturbed").entries()
            assert verify_files(fetched, StopSignal(), 2).gaps == []
        else:
            there = contents(target)
            assert there[f"Small {number}"] == original
            assert sorted(there) == sorted(f"Small {each}" for each in range(number + 1))
        assert debris(tmp_path) == []
        if way == "migrate":
            assert not list((tmp_path / "projects").rglob("*.jpg")), "the spool holds media that have arrived"

    guillotine = Guillotine(source, target)
    until_killed(guillotine, command_of, environment, kills, random.Random(f"{way} {kills}"), check)


def test_a_run_goes_on_without_what_was_deleted_while_it_was_killed(pair, signed_in, tmp_path):
    source, _ = pair("2.x")
    [project] = source.world.projects.values()
    media = list(project.datasets[0].media.values())
    client = signed_in(source)
    parts = {"x": tmp_path / "x" / "images" / "Dataset", "film": tmp_path / "x" / "videos" / "Dataset"}
    for each in parts.values():
        each.mkdir(parents=True)
    ProjectFolder(tmp_path / "x").begin({"server": client.url.split("://")[1], "project_id": project.id})
    left = [
        parts["x"] / f".{media[0].id}.part", parts["film"] / ".gone.part", parts["film"] / ".gone.part.json",
        parts["film"] / ".gone.part.json.tmp",
    ]  # fmt: skip
    for each in left:
        each.write_bytes(b"half")
    del project.datasets[0].media[media[0].id]
    assert get(client, tmp_path / "x").gaps == []
    assert debris(tmp_path) == []
    assert not any(each.exists() for each in left)


def test_the_half_of_a_video_is_kept_for_the_run_that_goes_on_with_it(tmp_path):
    part = tmp_path / "videos" / "Dataset" / ".v1.part"
    mark = part.with_name(".v1.part.json")
    half = tmp_path / "annotations" / ".a_frame_5.json.140084787541696.tmp"
    kept = tmp_path / "annotations" / "a.json"
    for each in (part, mark, half, kept):
        each.parent.mkdir(parents=True, exist_ok=True)
        each.touch()
    folder = ProjectFolder(tmp_path)
    folder.clear_debris([part])
    assert part.exists() and mark.exists() and kept.exists() and not half.exists()
    folder.clear_debris([])
    assert kept.exists() and not part.exists() and not mark.exists()
