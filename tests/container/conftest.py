"""The image, really built; compose projects, really started. An engine is started by .ci/run; without one, all is skipped.

By hand: W=/var/tmp/engine; .ci/engine start $W; DOCKER_HOST=unix://$W/docker.sock .ci/base-image
         TEST_ENGINE_FOLDER=$W ./run-tests.sh --all tests/container; .ci/engine stop $W
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.container.engine import DEMO, PRODUCT, Engine, Project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(1800))
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def any_engine() -> Engine:
    folder = os.environ.get("TEST_ENGINE_FOLDER")
    if not folder:
        pytest.skip("no container engine: .ci/run starts one and names its folder in TEST_ENGINE_FOLDER")
    return Engine(Path(folder), os.environ.get("TEST_BASE_PYTHON") or "3.12")


@pytest.fixture(scope="session")
def image(any_engine: Engine) -> str:
    """Both images, built once for all processes that run tests."""
    with open(any_engine.folder / "build.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
        mark = any_engine.folder / f"built-{run}"
        if not mark.exists():
            any_engine.build(PRODUCT, "--target", "product", "--build-arg", "VERSION=under-test")
            any_engine.build(DEMO, "--target", "demo", "--build-arg", "VERSION=under-test")
            mark.touch()
    return PRODUCT


@pytest.fixture
def engine(any_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine; a test marked with restarts_engine has it alone."""
    alone = request.node.get_closest_marker("restarts_engine") is not None
    with open(any_engine.folder / "tests.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield any_engine


@pytest.fixture
def project(engine: Engine, image: str, tmp_path: Path) -> Iterator[Project]:
    """A folder like a user's, with the compose file, .env and crontab as shipped."""
    made = Project(engine, tmp_path / "cvat-backups", f"t{uuid.uuid4().hex[:8]}")
    try:
        yield made
    finally:
        made.destroy()
