"""The server: what it is filled with, and who answers which request."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

from sandbox.cvat import control, routes_exports, routes_projects, routes_review, routes_server
from sandbox.cvat.auth import Doorman
from sandbox.cvat.exports import Exports
from sandbox.cvat.faults import FaultsMet
from sandbox.cvat.http import Request, Response
from sandbox.cvat.media import MediaFile, MediaStore
from sandbox.cvat.routes import Call, Router, dispatch
from sandbox.cvat.samples import fill
from sandbox.cvat.uploads import Uploads
from sandbox.cvat.world import ExportSeconds, World
from sandbox.serving import Exchange, SocketServer

__all__ = ["CvatSandbox", "Exchange"]


class CvatSandbox(SocketServer):
    """A CVAT to be backed up, restored into and tormented. A context manager: it serves inside `with`."""

    def __init__(
        self,
        *,
        samples: str = "demo",
        export_seconds: ExportSeconds = 0.0,
        workers: int = 2,
        host: str = "127.0.0.1",
        port: int = 0,
        data: str | Path | None = None,
        username: str = "admin",
        password: str = "sandbox-Pass-123",
        version: str = "2.54.1",
        anonymous_per_minute: int = 100,
        control: bool = False,
        seed: int = 1,
    ) -> None:
        super().__init__(host=host, port=port, control=control)
        self._temporary = Path(tempfile.mkdtemp(prefix="sandbox-cvat-")) if data is None else None
        self.directory = self._temporary or Path(data or ".")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.username = username
        self.password = password
        self.world = World(MediaStore(self.directory), export_seconds=export_seconds, seed=seed)
        self.world.version = version
        admin = self.world.add_user(username, password, superuser=True)
        self.access_token = self.world.add_access_token(admin, "backup", read_only=True).value
        self.write_token = self.world.add_access_token(admin, "everything").value
        fill(self.world, samples, password)
        self.doorman = Doorman(self.world, anonymous_per_minute)
        self.exports = Exports(self.world, workers)
        self.uploads = Uploads(self.directory / "uploads")
        self.waiting_files: dict[int, dict[str, MediaFile]] = {}
        self.router = _router()

    def on_stop(self) -> None:
        self.exports.stop()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def switch(self, request: Request) -> Response:
        return control.answer(self, request)

    def always(self) -> list[str]:
        return [
            "Vary: Accept, Origin, Cookie",
            "X-Frame-Options: DENY",
            f"X-Request-ID: {uuid.uuid4()}",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: strict-origin-when-cross-origin",
            "Cross-Origin-Opener-Policy: same-origin",
        ]

    def handle(self, request: Request, faults: FaultsMet) -> tuple[Response, str | None]:
        call = Call(self, request, faults, None)
        if request.path == "/api/server/health":
            response = Response(301, [("Location", f"{request.path}/")])
        elif request.path == "/api/server/health/":
            response = routes_server.health(call)
        else:
            response = dispatch(self.router, call)
        return response, call.identity.user.username if call.identity else None


def _router() -> Router:
    router = Router()
    for table in (routes_projects.routes, routes_exports.routes, routes_server.routes, routes_review.routes):
        router.include(table)
    return router
