"""The played SC and Geti servers that these tests talk to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from sc_visitor import Visit, Visitor

from sandbox.sc import ScSandbox


@pytest.fixture
def visit() -> Iterator[Visit]:
    """A factory of signed-in visitors of servers of their own: `visit("2.x", samples="demo")`."""
    with contextlib.ExitStack() as running:

        def start(generation: str = "2.x", **options: Any) -> Visitor:
            options = {"samples": "none", "tls": False, **options}
            server = running.enter_context(ScSandbox(generation=generation, **options))
            return running.enter_context(contextlib.closing(Visitor(server)))

        yield start
