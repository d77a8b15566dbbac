"""Fixtures for tests with the real FiftyOne. See environment.py; one database and one process per test session."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from environment import RealFiftyOne, fiftyone_environment, python_with_fiftyone, quick_python, running_database
from making import Annotator
from rounds import Rounds

from sandbox.cvat import CvatSandbox

# The first test of a session may have to wait until FiftyOne is installed.
TIMEOUT_SECONDS = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "fiftyone_python" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session")
def fiftyone_python() -> str:
    return python_with_fiftyone()


@pytest.fixture(scope="session")
def fiftyone_database(fiftyone_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database server that only this test session has."""
    with running_database(fiftyone_python, tmp_path_factory.mktemp("mongod")) as address:
        yield address


@pytest.fixture(scope="session")
def fiftyone(
    fiftyone_python: str, fiftyone_database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealFiftyOne]:
    """A process that imported FiftyOne; each test has datasets of its own name in it."""
    home = tmp_path_factory.mktemp("fiftyone-home")
    environment = fiftyone_environment(fiftyone_database, home)
    with RealFiftyOne(fiftyone_python, environment, home / "said.log") as running:
        yield running


@pytest.fixture(scope="session")
def quick(fiftyone_python: str, fiftyone_database: str) -> Iterator[str]:
    """Instead of the Python with FiftyOne: workers that are forked off one that has imported it."""
    with tempfile.TemporaryDirectory(prefix="fo-") as short:  # pytest's own folders are too deep for a socket
        folder = Path(short)
        with quick_python(fiftyone_python, fiftyone_environment(fiftyone_database, folder / "home"), folder) as shim:
            yield shim


@pytest.fixture
def server() -> Iterator[CvatSandbox]:
    """An empty CVAT for each test."""
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as sandbox:
        yield sandbox


@pytest.fixture
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A name for the test's dataset that no other test has."""
    return f"{request.node.name}-{tmp_path.name}"[-90:]


@pytest.fixture
def annotator(server: CvatSandbox) -> Annotator:
    return Annotator(server)


@pytest.fixture
def rounds(
    fiftyone: RealFiftyOne, fiftyone_database: str, quick: str, server: CvatSandbox, tmp_path: Path, name: str
) -> Rounds:
    """fiftyone_sync.py with the settings of this test, and workers that start quickly."""
    found = Rounds(server, fiftyone, fiftyone_database, tmp_path, name)
    found.environment["FIFTYONE_SYNC_PYTHON"] = quick
    return found


@pytest.fixture
def whole_rounds(rounds: Rounds, fiftyone_python: str) -> Rounds:
    """Like `rounds`, but the workers are started as they are in real life, and import FiftyOne each time."""
    rounds.environment["FIFTYONE_SYNC_PYTHON"] = fiftyone_python
    return rounds
