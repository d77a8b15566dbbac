"""The table of addresses, and what every handler is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sandbox.cvat.answers import Answers
from sandbox.cvat.auth import CHALLENGE, Identity
from sandbox.cvat.faults import FaultsMet
from sandbox.cvat.filters import BadFilter, InvalidPage, json_logic, ordered, page_of
from sandbox.cvat.http import (
    FORBIDDEN,
    HTML,
    NOT_FOUND_PAGE,
    Answered,
    FileBody,
    Request,
    Response,
    detail,
    json_response,
    refuse,
    server_error,
    text_response,
)
from sandbox.cvat.world import Job, NoSuchObject, Organization, Project, Refused, Task, User, World

if TYPE_CHECKING:
    from sandbox.cvat.server import CvatSandbox

Thing = TypeVar("Thing", Project, Task, Job)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass
class Call:
    """One request with all its handler needs."""

    server: CvatSandbox
    request: Request
    faults: FaultsMet
    identity: Identity | None

    @property
    def world(self) -> World:
        return self.server.world

    @property
    def user(self) -> User:
        assert self.identity is not None
        return self.identity.user

    @property
    def answers(self) -> Answers:
        return Answers(self.world, self.request.base)

    @property
    def query(self) -> dict[str, str]:
        return self.request.query

    # --- organizations and rights -----------------------------------------------------------------------------

    def org(self) -> tuple[bool, Organization | None]:
        """(asked for one?, which): an empty value means the personal space."""
        query, headers = self.query, self.request.headers
        slug = query.get("org", headers.get("x-organization"))
        org_id = query.get("org_id")
        if slug is None and org_id is None:
            return False, None
        if slug == "" and not org_id:
            return True, None
        try:
            org = self.world.org_named(slug) if slug else self.world.organizations[int(org_id or 0)]
        except (NoSuchObject, KeyError, ValueError):
            raise detail(404, f"{slug or org_id} organization does not exist.") from None
        if not self.user.is_superuser and self.world.role_in(self.user, org.id) is None:
            raise detail(403, FORBIDDEN)
        return True, org

    def in_context(self, organization_id: int | None) -> bool:
        asked, org = self.org()
        return not asked or organization_id == (org.id if org else None)

    def _leads(self, organization_id: int | None) -> bool:
        if organization_id is None:
            return False
        return self.world.role_in(self.user, organization_id) in ("owner", "maintainer")

    def may_see(self, thing: Project | Task | Job) -> bool:
        user = self.user
        if user.is_superuser:
            return True
        world = self.world
        if isinstance(thing, Job):
            return thing.assignee_id == user.id or self.may_see(world.tasks[thing.task_id])
        if user.id in (thing.owner_id, thing.assignee_id) or self._leads(thing.organization_id):
            return True
        if isinstance(thing, Task):
            project = world.project_of(thing)
            if project is not None and user.id in (project.owner_id, project.assignee_id):
                return True
            return any(job.assignee_id == user.id for job in world.jobs_of(thing))
        return any(
            user.id in (task.owner_id, task.assignee_id)
            or any(job.assignee_id == user.id for job in world.jobs_of(task))
            for task in world.tasks_of(thing)
        )

    def may_change(self, thing: Project | Task | Job) -> bool:
        if self.user.is_superuser:
            return True
        if isinstance(thing, Job):
            return thing.assignee_id == self.user.id or self.may_change(self.world.tasks[thing.task_id])
        project = self.world.project_of(thing) if isinstance(thing, Task) else None
        owners = (thing.owner_id, project.owner_id if project else None)
        return self.user.id in owners or self._leads(thing.organization_id)

    def project(self, project_id: str, *, change: bool = False) -> Project:
        return self._allowed(self.world.project(int(project_id)), change)

    def task(self, task_id: str, *, change: bool = False) -> Task:
        return self._allowed(self.world.task(int(task_id)), change)

    def job(self, job_id: str, *, change: bool = False) -> Job:
        return self._allowed(self.world.job(int(job_id)), change)

    def _allowed(self, thing: Thing, change: bool) -> Thing:
        if not (self.may_change(thing) if change else self.may_see(thing)):
            raise detail(403, FORBIDDEN)
        return thing

    # --- lists ------------------------------------------------------------------------------------------------

    def page(
        self,
        items: list[Any],
        write: Callable[[Any], Any],
        terms: Mapping[str, Callable[[Any], Any]],
        search: tuple[Callable[[Any], str | None], ...] = (),
        exact: tuple[str, ...] = (),
    ) -> Response:
        """Filters, orders and cuts a list. Query parameters nobody knows are ignored, as the server does."""
        query = self.query
        for name in exact:
            if name in query:
                wanted = query[name]
                items = [item for item in items if _as_text(terms[name](item)) == wanted]
        if query.get("search"):
            needle = query["search"].lower()
            items = [item for item in items if any(needle in (term(item) or "").lower() for term in search)]
        if query.get("filter"):
            holds = json_logic(query["filter"], terms)
            items = [item for item in items if holds(item)]
        page, links = page_of(ordered(items, query.get("sort"), terms), query, self.request.url)
        return json_response({**links, "results": [write(item) for item in page]})


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


Handler = Callable[..., Any]


@dataclass(frozen=True)
class Route:
    pattern: re.Pattern[str]
    methods: dict[str, Handler]
    anonymous: bool
    by_read_only: bool


class Router:
    """Addresses are given as in the documentation: `/api/projects/{id}`."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}

    def add(
        self, method: str, address: str, *, anonymous: bool = False, by_read_only: bool = False
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            route = self.routes.get(address)
            if route is None:
                pattern = re.escape(address).replace(r"\{rq_id\}", "(.+?)").replace(r"\{id\}", r"(\d+)")
                pattern = pattern.replace(r"\{uuid\}", "([^/]+)")
                # Annotations are the one API address with or without a slash; the SDK asks with it.
                pattern = re.sub(r"annotations$", "annotations/?", pattern)
                route = Route(re.compile(pattern), {}, anonymous, by_read_only)
                self.routes[address] = route
            route.methods[method] = handler
            return handler

        return register

    def include(self, other: Router) -> None:
        for address, route in other.routes.items():
            known = self.routes.setdefault(address, route)
            known.methods.update(route.methods)

    def find(self, path: str) -> tuple[Route, tuple[str, ...]] | None:
        for route in self.routes.values():
            match = route.pattern.fullmatch(path)
            if match:
                return route, match.groups()
        return None


def negotiate(request: Request) -> None:
    """DRF's content negotiation, which comes before everything else."""
    accept = request.headers.get("accept", "*/*")
    for part in accept.split(","):
        kind = part.partition(";")[0].strip()
        if kind in ("*/*", "application/*", "application/vnd.cvat+json", "text/html", "text/*"):
            return
    raise detail(406, "Could not satisfy the request Accept header.")


def dispatch(router: Router, call: Call) -> Response:
    """Finds the handler and turns whatever it raises into the answer."""
    request = call.request
    found = router.find(request.path)
    try:
        response = _nowhere(router, request) if found is None else _handle(call, *found)
    except Answered as answered:
        response = answered.response
    except NoSuchObject as error:
        response = json_response({"detail": f"No {error} matches the given query."}, 404)
    except (BadFilter, Refused) as error:
        response = json_response(error.answer, 400)
    except InvalidPage:
        response = json_response({"detail": "Invalid page."}, 404)
    if found is not None and response.status != 500 and not isinstance(response.body, FileBody):
        response.headers.append(("Allow", _allow(found[0])))
    return response


def _handle(call: Call, route: Route, groups: tuple[str, ...]) -> Response:
    request = call.request
    negotiate(request)
    call.identity = call.server.doorman.identify(request)
    if call.identity is None and not route.anonymous:
        raise detail(401, "Authentication credentials were not provided.", CHALLENGE)
    handler = route.methods.get(request.method)
    if handler is None and request.method == "HEAD":
        handler = route.methods.get("GET")
    if handler is None:
        raise detail(405, f'Method "{request.method}" not allowed.')
    if call.identity is None:
        call.server.doorman.throttle(request)
    elif call.identity.read_only and request.method not in SAFE_METHODS and not route.by_read_only:
        raise detail(403, FORBIDDEN)
    if not route.anonymous and request.path != "/api/users/self":
        call.org()  # an organization that does not exist is refused whatever is asked for (of users/self: not recorded)
    value = handler(call, *groups)
    response = value if isinstance(value, Response) else json_response(value)
    accept = request.headers.get("accept", "")
    if "text/html" in accept and "vnd.cvat" not in accept and "*/*" not in accept and response.status == 200:
        # DRF's browsable page; nobody reads it.
        return text_response("<!DOCTYPE html>\n<html><body>browsable API</body></html>\n", 200, HTML)
    return response


def _allow(route: Route) -> str:
    known = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if method in route.methods]
    return ", ".join([*known, *(["HEAD"] if "GET" in known else []), "OPTIONS"])


def _nowhere(router: Router, request: Request) -> Response:
    path = request.path
    if path == "/":
        return text_response("", 410)
    if path == "/api/":
        raise server_error()
    match = re.fullmatch(r"(/api/[a-z_]+)/([^/]+)(/.*)?", path)
    if match and not path.endswith("/") and router.find(f"{match.group(1)}/1{match.group(3) or ''}"):
        negotiate(request)
        raise detail(404, "Not found.")  # the address is right but for the id, which is no number
    return text_response(NOT_FOUND_PAGE, 404)


def required(raw: Mapping[str, Any], *names: str) -> None:
    missing = {name: ["This field is required."] for name in names if raw.get(name) is None}
    if missing:
        raise refuse(400, missing)
