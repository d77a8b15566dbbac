"""The real geti-sdk works against the played server, and loses there what it loses on a real one.

Only with ./run-tests.sh --all: geti-sdk and what it needs are 800 MB, installed once below .pytest_cache.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest
from losses import Contents, came_back, compare_or_write, contents

from sandbox.sc import ScSandbox

VERSION = "2.13.1"
HERE = Path(__file__).parent
HOME = Path(__file__).parents[3] / ".pytest_cache" / f"geti-sdk-{VERSION}"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 installs geti-sdk (800 MB)"),
]


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with geti-sdk; kept for the next run."""
    found = HOME / "bin" / "python"
    if (HOME / "complete").exists():
        return found
    if not sys.version_info < (3, 14):
        pytest.skip(f"geti-sdk {VERSION} needs Python 3.10 to 3.13, this is {sys.version.split()[0]}")
    shutil.rmtree(HOME, ignore_errors=True)
    venv.create(HOME, with_pip=True)
    command = [found, "-m", "pip", "install", "-q", f"geti-sdk=={VERSION}"]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    if installed.returncode:
        pytest.skip(f"geti-sdk {VERSION} cannot be installed here: {installed.stderr.strip()[-300:]}")
    (HOME / "complete").touch()
    return found


@dataclass(frozen=True)
class Visited:
    listed: list[str]
    errors: dict[str, str | None]
    before: dict[str, Contents | None]
    after: dict[str, Contents | None]


@pytest.fixture(scope="module")
def visited(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Visited:
    """Every project that is known to suffer, copied by geti-sdk."""
    with ScSandbox(generation="2.x", samples="losses") as server:
        originals = list(server.world.projects.values())
        # The one that is uploaded twice goes last.
        originals.sort(key=lambda project: project.name == "Cars")
        folder = tmp_path_factory.mktemp("geti-sdk")
        command = [python, HERE / "geti_sdk_visit.py", server.url, server.token, folder, *(one.id for one in originals)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert said.returncode == 0, said.stderr[-2000:]
        answer = json.loads(said.stdout.strip().splitlines()[-1])
        copies = {project.name: project for project in server.world.projects.values()}
        return Visited(
            answer["listed"],
            {one.name: answer["copies"][one.id] for one in originals},
            {one.name: contents(one) for one in originals},
            {one.name: contents(copies.get(f"copy of {one.id}")) for one in originals},
        )


def pair(visited: Visited, name: str) -> tuple[Contents, Contents]:
    before, after = visited.before[name], visited.after[name]
    assert before is not None and after is not None, visited.errors[name]
    return before, after


def test_it_signs_in_and_lists_every_project(visited: Visited) -> None:
    assert sorted(visited.listed) == sorted(visited.before)


def test_a_the_same_names_in_two_datasets_lose_every_annotation(visited: Visited) -> None:
    before, after = pair(visited, "Two datasets")
    assert (before.images, before.scenes) == (6, 6)
    assert (after.images, after.scenes) == (6, 0)
    assert visited.errors["Two datasets"] is None


def test_b_media_outside_of_the_training_dataset_are_not_copied(visited: Visited) -> None:
    copied = visited.after["Media in a side dataset"]
    assert copied is None or copied.images == 0


def test_c_of_620_annotated_frames_500_come_back(visited: Visited) -> None:
    before, after = pair(visited, "Long video")
    assert (before.scenes, after.scenes, visited.errors["Long video"]) == (620, 500, None)


def test_d_names_with_brackets_lose_their_annotations(visited: Visited) -> None:
    name = next(one for one in visited.before if one.startswith("Awkward"))
    before, after = pair(visited, name)
    assert after.scenes < before.scenes


def test_e_a_project_without_annotations_fails_after_its_media_are_up(visited: Visited) -> None:
    assert (visited.errors["Nothing annotated"] or "").startswith("ValueError")
    before, after = pair(visited, "Nothing annotated")
    assert after.images == before.images


def test_f_a_second_upload_doubles_the_media(visited: Visited) -> None:
    before, after = pair(visited, "Cars")
    assert (after.images, after.videos) == (2 * before.images, 2 * before.videos)


def test_g_a_keypoint_project_cannot_be_restored(visited: Visited) -> None:
    assert "keypoint structure" in (visited.errors["People (keypoints)"] or "")
    assert visited.after["People (keypoints)"] is None


def test_h_hotkeys_and_titles_are_lost(visited: Visited) -> None:
    before, after = pair(visited, "Cars")
    assert (before.hotkeys, before.titles) == (2, ("Find the vehicles",))
    assert after.hotkeys == 0
    assert after.titles != before.titles


def test_the_table_of_losses_in_the_documentation_says_what_came_back(visited: Visited) -> None:
    compare_or_write(f"geti-sdk {VERSION}", came_back(visited.before, visited.after, visited.errors))
