"""A folder that the real geti-sdk 2.13.1 wrote is uploaded by ours: what is in it arrives, configuration aside.

Only with ./run-tests.sh --all, after tests/sandbox/sc/test_sc_geti_sdk.py has installed geti-sdk.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.migrating.verify import verify_server
from sandbox.sc.samples import Maker

from .conftest import contents

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".pytest_cache" / "geti-sdk-2.13.1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 runs the real geti-sdk"),
    pytest.mark.skipif(
        not (HOME / "complete").exists(), reason="tests/sandbox/sc/test_sc_geti_sdk.py installs geti-sdk"
    ),
]


def arrived(rows: list) -> list:
    """Names, files and scenes of the only project of a name; hotkeys and titles are what geti-sdk loses itself."""
    [(_, media)] = rows
    return [(row[1], row[2], row[3], scenes_without_titles(row[4])) for row in media]


def scenes_without_titles(text: str) -> str:
    return text.replace("Find the vehicles", "T").replace("Detection task", "T").replace("Outline", "T").replace(
        "Segmentation task", "T"
    )  # fmt: skip


def test_what_geti_sdk_downloaded_is_uploaded_whole(sc, signed_in, tmp_path):
    source, target = sc(samples="none"), sc(samples="none")
    maker = Maker(source.world, source.generation)
    maker.cars()
    maker.leaves()
    before = contents(source)
    ids = {project.id: project.name for project in source.world.projects.values()}
    visit = ROOT / "tests" / "sandbox" / "sc" / "geti_sdk_visit.py"
    command = [HOME / "bin" / "python", visit, source.url, source.token, tmp_path, *ids]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = signed_in(target)
    for identity, name in ids.items():
        folder = tmp_path / identity
        assert not (folder / "manifest.json").exists()
        report = upload_project(there, open_source(folder), name)
        assert report.gaps == []
        assert upload_project(there, open_source(folder), name).gaps == []
        after = contents(target)
        assert sorted(arrived(after[name])) == sorted(arrived(before[name]))
        assert verify_server(folder, there, name).gaps == []
