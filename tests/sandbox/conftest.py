"""The sandbox that most of these tests talk to, and how they talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sandbox_client import Client

from sandbox.cvat import CvatSandbox


@pytest.fixture
def server() -> Iterator[CvatSandbox]:
    """An empty world of its own for each test."""
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def demo() -> Iterator[CvatSandbox]:
    """The demo, shared by the tests of a module that only read."""
    with CvatSandbox(samples="demo", anonymous_per_minute=10_000) as sandbox:
        yield sandbox


@pytest.fixture
def client(server: CvatSandbox) -> Client:
    return Client(server)
