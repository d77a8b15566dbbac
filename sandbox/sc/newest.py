"""Geti 3: only what it takes to be recognised (and refused): an application without sign-in and organizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.http import Request, Response
from sandbox.sc.answering import answer, index_page

if TYPE_CHECKING:
    from sandbox.sc.server import ScSandbox


def newest(server: ScSandbox, request: Request) -> Response:
    """GET /api/projects is a plain list; unknown API addresses answer as FastAPI does."""
    path = request.path.rstrip("/")
    if path == "/api/projects" and request.method == "GET":
        rows = [
            {"id": project.id, "name": project.name, "active_pipeline": False}
            for project in server.world.projects.values()
        ]
        return answer(rows)
    if path.startswith("/api"):
        return answer({"detail": "Not Found"}, 404)
    return index_page()
