"""The table of addresses, and what every handler is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.faults import FaultsMet
from sandbox.http import Answered, Request, Response
from sandbox.sc.answering import index_page, not_found, refusal
from sandbox.sc.generations import Generation
from sandbox.sc.world import Dataset, Media, Project, World
from sandbox.sc.writing import Writer

if TYPE_CHECKING:
    from sandbox.sc.server import ScSandbox


@dataclass
class Call:
    """One request with all its handler needs."""

    server: ScSandbox
    request: Request
    faults: FaultsMet
    parts: dict[str, str]

    @property
    def world(self) -> World:
        return self.server.world

    @property
    def generation(self) -> Generation:
        return self.server.generation

    @property
    def query(self) -> dict[str, str]:
        return self.request.query

    @property
    def write(self) -> Writer:
        return Writer(self.world, self.generation)

    def project(self) -> Project:
        project = self.world.projects.get(self.parts["pid"])
        if project is None or project.workspace_id != self.parts["wid"]:
            raise not_found("project", self.parts["pid"])
        if project.id in self.world.forbidden:
            raise refusal(403, "forbidden", "You are not authorized to access this project.")
        return project

    def projects(self) -> list[Project]:
        """Of this workspace, newest first."""
        return [one for one in reversed(self.world.projects.values()) if one.workspace_id == self.parts["wid"]]

    def dataset(self) -> Dataset:
        wanted = self.parts["did"]
        found = next((dataset for dataset in self.project().datasets if dataset.id == wanted), None)
        if found is None:
            raise refusal(
                404,
                "dataset_not_found_in_project",
                f"The dataset `{wanted}` is not in the project `{self.parts['pid']}`.",
            )
        return found

    def media(self, kind: str) -> Media:
        media = self.dataset().media.get(self.parts["mid"])
        if media is None or media.kind != kind:
            raise not_found(kind, self.parts["mid"])
        return media

    def frame(self, media: Media) -> int:
        """The frame of the address, which must be one of the video."""
        number = int(self.parts["frame"])
        if number >= media.frame_count:
            raise refusal(404, "frame_not_found", f"Video `{media.id}` has no frame {number}.")
        return number


Handler = Callable[[Call], Response]
WHOLE = ("1.1", "1.x", "2.x")
NAMES = {"pid": r"[^/:]+", "frame": r"\d+"}


@dataclass(frozen=True)
class Route:
    pattern: re.Pattern[str]
    method: str
    handler: Handler
    generations: tuple[str, ...]
    locked: bool


class Router:
    """Addresses as the contract writes them: `projects/{pid}/datasets/{did}`, relative to the workspace.

    With `at_root` they are relative to the API's root.
    """

    def __init__(self) -> None:
        self.of_workspace: list[Route] = []
        self.of_root: list[Route] = []

    def add(
        self,
        method: str,
        address: str,
        generations: tuple[str, ...] = WHOLE,
        *,
        at_root: bool = False,
        locked: bool = True,
    ) -> Callable[[Handler], Handler]:
        pattern = re.escape(address).replace(r"\{", "{").replace(r"\}", "}")
        pattern = re.sub(r"\{(\w+)\}", lambda one: f"(?P<{one[1]}>{NAMES.get(one[1], '[^/:]+')})", pattern)

        def register(handler: Handler) -> Handler:
            table = self.of_root if at_root else self.of_workspace
            table.append(Route(re.compile(pattern), method, handler, generations, locked))
            return handler

        return register

    def include(self, other: Router) -> None:
        self.of_workspace += other.of_workspace
        self.of_root += other.of_root


def dispatch(router: Router, call: Call) -> Response:
    """Finds the handler. An unknown address gets the user interface's page, as the ingress sends it there."""
    generation, request = call.generation, call.request
    path = re.sub("/{2,}", "/", request.path)
    rest = path.removeprefix(generation.api).rstrip("/")
    table, given = router.of_root, dict[str, str]()
    prefix = f"organizations/{call.world.organization_id}/" if generation.organizations else ""
    inside = re.fullmatch(rf"{re.escape(prefix)}workspaces/(?P<wid>[^/:]+)/(?P<rest>.+)", rest)
    if inside is not None:
        if inside["wid"] not in {one.id for one in call.world.workspaces}:
            return answered(not_found("workspace", inside["wid"]))
        table, rest, given = router.of_workspace, inside["rest"], {"wid": inside["wid"]}
    fitting = [
        (route, match)
        for route in table
        if generation.name in route.generations and (match := route.pattern.fullmatch(rest)) is not None
    ]
    if not fitting:
        return index_page()
    method = "GET" if request.method == "HEAD" and not any(r.method == "HEAD" for r, _ in fitting) else request.method
    for route, match in fitting:
        if route.method == method:
            call.parts = given | match.groupdict()
            try:
                if not route.locked:
                    return route.handler(call)
                request.body  # noqa: B018 read before the lock is taken: a slow client must not hold all others up
                with call.world.lock:
                    call.server.jobs.settle()
                    return route.handler(call)
            except Answered as answered_early:
                return answered_early.response
    return answered(refusal(405, "method_not_allowed", "The method is not allowed for the requested URL."))


def answered(refused: Answered) -> Response:
    return refused.response
