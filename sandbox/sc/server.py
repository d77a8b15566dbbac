"""The server: which generation it plays, what it is filled with, who answers which request."""

from __future__ import annotations

import secrets
import shutil
import ssl
import tempfile
import threading
import time
from pathlib import Path

import trustme

from sandbox.downloads import file_response
from sandbox.faults import FaultsMet
from sandbox.http import Answered, Request, Response, text_response
from sandbox.sc import control, routes_archives, routes_media, routes_models, routes_projects
from sandbox.sc.answering import index_page
from sandbox.sc.auth import Doorman
from sandbox.sc.generations import generation_named
from sandbox.sc.jobs import Jobs
from sandbox.sc.media import MAX_BYTES
from sandbox.sc.newest import newest
from sandbox.sc.routes import Call, Router, dispatch
from sandbox.sc.samples import fill
from sandbox.sc.world import World
from sandbox.serving import SocketServer

MAX_ARCHIVE = routes_archives.MAX_ARCHIVE
PRESIGNED_SECONDS = 15 * 60.0


class ScSandbox(SocketServer):
    """An SC or Geti server to be emptied, filled and tormented. A context manager: it serves inside `with`.

    generation              "1.1" (SC MVP, SC 1.1), "1.x" (Geti 1.8), "2.x" (2.13) or "3.x" (to be recognised only)
    version                 another release of the generation, such as "2.11.0" (no project_configuration before 2.12)
    samples                 "demo", "none", "many:N" or "losses" (see samples.py)
    tls                     False speaks plain http
    job_seconds             how long exports and imports take
    training_seconds        how long a training takes; None: until jobs.finish_all()
    preprocessing_seconds   how long uploaded media are IN_PROGRESS; None: they are ready at once, and say nothing of it
    redirects_videos        2.x: videos come from the file service, after a 307
    max_file_bytes          larger uploads are refused with 413; max_archive_bytes: of project archives
    max_projects            imports beyond are refused with 409
    workspaces              how many there are (2.x)
    tus_options             False: OPTIONS on the upload address answers 403
    """

    def __init__(
        self,
        *,
        generation: str = "2.x",
        version: str | None = None,
        samples: str = "demo",
        tls: bool = True,
        host: str = "127.0.0.1",
        port: int = 0,
        data: str | Path | None = None,
        username: str = "admin@sc.example",
        password: str = "sandbox-Pass-123",
        job_seconds: float = 0.0,
        training_seconds: float | None = None,
        preprocessing_seconds: float | None = None,
        redirects_videos: bool = True,
        max_file_bytes: int = MAX_BYTES,
        max_archive_bytes: int = MAX_ARCHIVE,
        max_projects: int = 500,
        workspaces: int = 1,
        tus_options: bool = True,
        control: bool = False,
        seed: int = 1,
    ) -> None:
        self._temporary = Path(tempfile.mkdtemp(prefix="sandbox-sc-")) if data is None else None
        self.directory = self._temporary or Path(data or ".")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca_file = self.directory / "ca.pem"
        super().__init__(host=host, port=port, control=control, tls=self._certificate(host) if tls else None)
        self.generation = generation_named(generation, version)
        self.username, self.password = username, password
        self.token = f"geti_pat_{secrets.token_urlsafe(40)}"
        self.redirects_videos = redirects_videos
        self.preprocessing_seconds = preprocessing_seconds
        self.max_file_bytes = max_file_bytes
        self.max_archive_bytes, self.max_projects = max_archive_bytes, max_projects
        self.tus_options = tus_options
        self.presigned_seconds = PRESIGNED_SECONDS
        self.world = World(self.directory, uuids=self.generation.organizations, seed=seed)
        self.world.add_workspaces(workspaces - 1, uuids=self.generation.organizations)
        self.jobs = Jobs(self.world, job_seconds=job_seconds, training_seconds=training_seconds)
        self.doorman = Doorman(self, username, password, self.token)
        self.uploads: dict[str, routes_archives.Upload] = {}
        self.router = _router()
        self._presigned: dict[str, tuple[Path, str, float]] = {}
        self._presigned_lock = threading.Lock()
        fill(self.world, self.generation, samples)

    def _certificate(self, host: str) -> ssl.SSLContext:
        """A context with a certificate for this host, made now; `ca_file` is what clients are to trust."""
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host, "localhost", "127.0.0.1").configure_cert(context)
        authority.cert_pem.write_to_path(str(self.ca_file))
        return context

    def on_stop(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def switch(self, request: Request) -> Response:
        return control.answer(self, request)

    def always(self) -> list[str]:
        lines = [
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Content-Security-Policy: frame-ancestors 'none'",
        ]
        return [*lines, "Strict-Transport-Security: max-age=15724800; includeSubDomains"] if self.tls else lines

    def base_of(self, request: Request) -> str:
        """Scheme and host, as the client calls them."""
        return f"{'https' if self.tls else 'http'}://{request.headers.get('host') or f'{self.host}:{self.port}'}"

    def handle(self, request: Request, faults: FaultsMet) -> tuple[Response, str | None]:
        if self.generation.name == "3.x":
            return newest(self, request), None
        try:
            early = self.doorman.login(request)
            if early is not None:
                return early, None
            if request.path.startswith("/api/v1/fileservice/"):
                return self._from_file_service(request, faults), None
            if not request.path.startswith(self.generation.api):
                return index_page(), None
            if self.generation.name == "1.1" and request.path.startswith("/api/v1.0//product_info"):
                return self._doubled_slash(request), None
            user = self.doorman.admit(request)
        except Answered as answered:
            return answered.response, None
        return dispatch(self.router, Call(self, request, faults, {})), user

    def _doubled_slash(self, request: Request) -> Response:
        """Recorded: 308 to the same address over http, which a client must not follow with its cookies."""
        where = f"http://{request.headers.get('host', self.host)}/api/v1.0/product_info"
        page = text_response("<!DOCTYPE HTML>\n<title>Redirecting...</title>\n", 308)
        page.headers.append(("location", where))
        return page

    # --- the file service ------------------------------------------------------------------------------------------

    def presigned(self, request: Request, faults: FaultsMet, path: Path, content_type: str) -> Response:
        """307 to an address from which the file can be had without a key until it expires.

        Faults: "result_host" sends to another host, "expire" to an address that is no longer good.
        """
        name = secrets.token_hex(16)
        good_for = 0.0 if faults.get("expire") is not None else self.presigned_seconds
        with self._presigned_lock:
            self._presigned[name] = (path, content_type, time.monotonic() + good_for)
        elsewhere = faults.get("result_host")
        base = self.base_of(request) if elsewhere is None else elsewhere.host
        return Response(
            307, [("Location", f"{base}/api/v1/fileservice/{name}?X-Amz-Signature={secrets.token_hex(16)}")]
        )

    def _from_file_service(self, request: Request, faults: FaultsMet) -> Response:
        with self._presigned_lock:
            found = self._presigned.get(request.path.rpartition("/")[2])
        if found is None or time.monotonic() >= found[2]:
            return text_response(
                "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", 403, "application/xml"
            )
        return file_response(request, found[0], found[1], ranges=faults.get("drop_range") is None)


def _router() -> Router:
    router = Router()
    for table in (routes_projects.routes, routes_media.routes, routes_models.routes, routes_archives.routes):
        router.include(table)
    return router
