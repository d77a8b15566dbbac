"""Everything the account can see, page by page, with flat memory per page.

Pages follow the id (`id > last seen`, sorted), not page numbers: something deleted while we are paging would
make numbered pages skip a project, something created would repeat one (contracts of CVAT's default order).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from common import log
from common.cvat.address import server_key
from common.cvat.client import Client
from common.cvat.errors import CvatError, Forbidden, NotFound, Refused, as_cvat_gives
from common.sources import Fingerprint, Kind, Source, SourceState, TaskState
from common.text import iso, parse_time
from common.waiting import Deadline

PAGE_SIZE = 1000
NUMBERED_ATTEMPTS = 3


# Told of every item that passes by: kind and id of its source, "project", "task" or "job", the item.
Observer = Callable[[Kind, int, str, dict[str, Any]], None]


def nobody(kind: Kind, source_id: int, what: str, item: dict[str, Any]) -> None:
    """The observer that looks away."""


class ListingIncomplete(CvatError):
    """The server's list changed faster than it could be read, or contradicts its own count."""


@dataclass
class Inventory:
    """All sources that the server says there are. `projects` and `tasks` are the counts of its own listings."""

    states: list[SourceState]
    projects: int
    tasks: int


@dataclass
class _Gathered:
    """Sums over what belongs to one source while listings pass by."""

    newest: str = ""
    tasks: int = 0
    jobs: int = 0
    digest: int = 0
    has_video: bool = False
    has_images: bool = False
    without_data: int = 0
    dimensions: set[str] = field(default_factory=set)

    def see(self, what: str, item: dict[str, Any]) -> None:
        updated = str(item.get("updated_date") or "")
        self.newest = max(self.newest, updated)
        mark = f"{what} {item['id']} {updated}".encode()
        self.digest = (self.digest + int.from_bytes(hashlib.sha256(mark).digest()[:8])) % 2**64

    def see_task(self, item: dict[str, Any]) -> None:
        self.see("task", item)
        self.tasks += 1
        if not has_data(item):
            self.without_data += 1
        elif item.get("mode") == "interpolation":
            self.has_video = True
        else:
            self.has_images = True
        self.dimensions.add(str(item.get("dimension") or "2d"))

    def see_job(self, item: dict[str, Any]) -> None:
        self.see("job", item)
        self.jobs += 1

    def state(self, source: Source) -> SourceState:
        fingerprint = Fingerprint(self.newest, self.tasks, self.jobs, f"{self.digest:016x}")
        is_3d = self.dimensions == {"3d"}
        return SourceState(source, fingerprint, self.has_video, self.has_images, is_3d, self.without_data)


def has_data(task: dict[str, Any]) -> bool:
    """False for a task that never got images: without data it has no `size`, after a failed upload size 0 (measured)."""
    return bool(task.get("size"))


def pages(
    client: Client, path: str, params: dict[str, Any] | None = None, page_size: int = PAGE_SIZE
) -> Iterator[list[dict[str, Any]]]:
    """The pages of a listing in the order of ids: nothing skipped, nothing twice, whatever changes meanwhile.

    A `filter` among `params` is JSON logic as text; it is joined with the one that the paging needs.
    """
    given = (params or {}).get("filter")
    last: int | None = None
    promised, read = 0, 0
    while True:
        query: dict[str, Any] = {**(params or {}), "page_size": page_size, "sort": "id"}
        if last is not None:
            terms = [*([json.loads(given)] if given else []), {">": [{"var": "id"}, last]}]
            query["filter"] = json.dumps({"and": terms}, separators=(",", ":"))
        try:
            answer = _page(client, path, query)
        except Refused as error:
            if last is None or error.status != 400:
                raise
            answer = None
        results = answer["results"] if answer else []
        ids = [int(item["id"]) for item in results]
        if answer is None or ids != sorted(ids) or (last is not None and ids and ids[0] <= last):
            # This server does not sort or filter by id: read by number, and make sure that the sum is right.
            yield from _numbered_pages(client, path, params or {}, page_size, after=-1 if last is None else last)
            return
        if last is None and answer:
            promised = int(answer["count"])
        if results:
            read += len(results)
            last = int(results[-1]["id"])
            yield results
        if not results or not answer or not answer.get("next"):
            break
    if read < promised and read < int(_page(client, path, {**(params or {}), "page_size": 1})["count"]):
        raise ListingIncomplete(f"GET {path}: the server says that there are {promised:,}, but lists {read:,}")


def _page(client: Client, path: str, query: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(path, query)
    results = answer.get("results") if isinstance(answer, dict) else None
    if not (
        isinstance(results, list)
        and type(answer.get("count")) is int
        and all(isinstance(item, dict) and type(item.get("id")) is int for item in results)
    ):
        raise ListingIncomplete(f"GET {path}: the answer is not a list of CVAT's")
    return dict(answer)


def _numbered_pages(
    client: Client, path: str, params: dict[str, Any], page_size: int, after: int
) -> Iterator[list[dict[str, Any]]]:
    for _attempt in range(NUMBERED_ATTEMPTS):
        seen: dict[int, dict[str, Any]] = {}
        number, count = 1, -1
        while True:
            answer = _page(client, path, {**params, "page_size": page_size, "sort": "id", "page": number})
            seen.update({int(item["id"]): item for item in answer["results"]})
            if count not in (-1, answer["count"]):
                break  # something came or went between two pages: begin again
            count = answer["count"]
            if not answer.get("next"):
                if len(seen) == count:
                    yield [item for key, item in sorted(seen.items()) if key > after]
                    return
                break
            number += 1
        log.get().warning("listing_changed_while_read", path=path)
    raise ListingIncomplete(f"GET {path}: the list kept changing while it was read; nothing of it can be trusted")


def items(client: Client, path: str, params: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """The items of a listing, one by one, in the order of ids."""
    for page in pages(client, path, params):
        yield from page


def count(client: Client, path: str, params: dict[str, Any] | None = None) -> int:
    """How many items a listing has, without reading them. Raises CvatError."""
    return int(_page(client, path, {**(params or {}), "page_size": 1})["count"])


def inventory(client: Client, observer: Observer = nobody) -> Inventory:
    """Every project and every task in no project, with fingerprints, from three server-wide listings.

    A project that the list leaves out, although one of its tasks is listed and it can be read, is entered all the same.
    """
    with as_cvat_gives("the server's list"):
        return _inventory(client, observer)


def _inventory(client: Client, observer: Observer) -> Inventory:
    server = server_key(client.url)
    projects: dict[int, dict[str, Any]] = {}
    gathered: dict[tuple[Kind, int], _Gathered] = {}

    def enter(item: dict[str, Any]) -> None:
        projects[item["id"]] = _kept(item)
        mine = gathered.setdefault(("project", item["id"]), _Gathered())
        mine.see("project", item)
        observer("project", item["id"], "project", item)

    for item in items(client, "/api/projects"):
        enter(item)

    visible = dict.fromkeys(projects, True)
    alone: set[int] = set()
    loose: dict[int, dict[str, Any]] = {}
    task_count = 0
    for item in items(client, "/api/tasks"):
        task_count += 1
        project_id = item.get("project_id")
        if project_id is not None and project_id not in visible:
            unlisted = _unlisted(client, project_id)
            visible[project_id] = unlisted is not None
            if unlisted is not None:
                log.get().warning("project_not_listed", project=project_id, detail="it can be read, and is saved")
                enter(unlisted)
        if project_id is not None and not visible[project_id]:
            # A task that we may see in a project that we may not: it is saved by itself, or nobody would save it.
            project_id = None
            alone.add(item["id"])
        key: tuple[Kind, int] = ("project", project_id) if project_id is not None else ("task", item["id"])
        if project_id is None:
            loose[item["id"]] = _kept(item)
        gathered.setdefault(key, _Gathered()).see_task(item)
        observer(key[0], key[1], "task", item)

    for item in items(client, "/api/jobs"):
        project_id = item.get("project_id")
        key = ("project", project_id or 0)
        if project_id is None or item["task_id"] in alone:
            key = ("task", item["task_id"])
        gathered.setdefault(key, _Gathered()).see_job(item)
        observer(key[0], key[1], "job", item)

    states = [gathered["project", key].state(source_of(server, "project", item)) for key, item in projects.items()]
    states += [gathered["task", key].state(source_of(server, "task", item)) for key, item in loose.items()]
    return Inventory(states, len(projects), task_count)


def _unlisted(client: Client, project_id: int) -> dict[str, Any] | None:
    """A project of which only a task was listed: it is new, or the list left it out. None when it is closed to us."""
    try:
        item = client.get(f"/api/projects/{project_id}")
    except (Forbidden, NotFound):
        return None
    if item["id"] != project_id:
        raise ValueError(f"project {project_id!r} says that it is {item['id']!r}")
    return dict(item)


def _kept(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item.get(name) for name in ("id", "name", "created_date", "organization_id", "organization")}


def source_of(server: str, kind: Kind, item: dict[str, Any]) -> Source:
    """The source that a project or task item of the API describes."""
    organization = item.get("organization_id")
    if organization is None and isinstance(item.get("organization"), int):
        organization = item["organization"]
    created_at = str(item["created_date"])
    with contextlib.suppress(ValueError):
        created_at = iso(parse_time(created_at))  # one moment, one text, whatever the server's version writes
    return Source(server, kind, int(item["id"]), created_at, str(item["name"]), organization)


@dataclass(frozen=True)
class Look:
    """One source looked at closely: its own item, its tasks by id and its jobs by task, as the API gives them."""

    state: SourceState
    raw: dict[str, Any]
    tasks: list[TaskState]
    jobs: dict[int, list[dict[str, Any]]]


def look_at(client: Client, source: Source, deadline: Deadline | None = None) -> Look:
    """The present state of one source. Raises NotFound when it is gone, also when its id now belongs to another."""
    with as_cvat_gives(f"GET /api/{source.kind}s/{source.id}"):
        return _look_at(client, source, deadline)


def _look_at(client: Client, source: Source, deadline: Deadline | None) -> Look:
    plural = f"/api/{source.kind}s"
    raw = client.get(f"{plural}/{source.id}", deadline=deadline)
    server = source.server
    present = source_of(server, source.kind, raw)
    if present.created_at != source.created_at:
        raise NotFound(f"{source} is another one now: it was created at {present.created_at}")
    mine = _Gathered()
    tasks: list[TaskState] = []
    if source.kind == "project":
        mine.see("project", raw)
        task_items: Iterator[dict[str, Any]] = items(client, "/api/tasks", {"project_id": source.id})
    else:
        task_items = iter([raw])
    for item in task_items:
        # An unknown query parameter is ignored with 200 (measured): check what was answered.
        if source.kind == "task" or item.get("project_id") == source.id:
            mine.see_task(item)
            tasks.append(
                TaskState(item["id"], str(item["name"]), has_data(item), item.get("mode") == "interpolation", item)
            )
    jobs: dict[int, list[dict[str, Any]]] = {task.id: [] for task in tasks}
    query = {"project_id": source.id} if source.kind == "project" else {"task_id": source.id}
    for item in items(client, "/api/jobs", query):
        if item["task_id"] in jobs:
            mine.see_job(item)
            jobs[item["task_id"]].append(item)
    return Look(mine.state(present), raw, tasks, jobs)
