"""Which tasks are downloaded: asked of the server with its own filters, and looked at once more here."""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from common.cvat.client import Client
from common.cvat.errors import CvatError, Forbidden, NotFound
from common.cvat.listing import count, has_data, items
from common.datasets.settings import JOB_STAGES, TASK_STATUSES, DatasetSettings
from common.exits import RunEnds
from common.sources import Fingerprint
from common.text import iso, parse_time, plural, printable

Tell = Callable[[str], None]
Item = dict[str, Any]
T = TypeVar("T")
# With more tasks than this, one listing of all jobs is gentler than one question for every task.
MOST_SINGLE_QUESTIONS = 50
_JOB_KEYS = ("id", "task_id", "type", "stage", "state", "start_frame", "stop_frame", "updated_date")


@dataclass(frozen=True)
class Task:
    """A task of the server, with its jobs in the order of their ids."""

    id: int
    name: str
    status: str
    size: int
    subset: str
    created_at: str
    updated_at: str
    is_video: bool
    jobs: tuple[Item, ...] = field(default=(), repr=False)

    @property
    def fingerprint(self) -> Fingerprint:
        """Changes with the task and with any of its jobs."""
        marks = [f"task {self.id} {self.updated_at}", *(f"job {job['id']} {job['updated_date']}" for job in self.jobs)]
        digest = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]
        newest = max([self.updated_at, *(str(job["updated_date"]) for job in self.jobs)])
        return Fingerprint(newest, 1, len(self.jobs), digest)

    @property
    def own_jobs(self) -> list[Item]:
        """The jobs in which the task is annotated, without ground truth and consensus replicas."""
        return [job for job in self.jobs if job.get("type", "annotation") == "annotation"]


@dataclass(frozen=True)
class Missing:
    """A task that was asked for by id and is not to be had."""

    id: int
    reason: str


@dataclass(frozen=True)
class Chosen:
    """What a run is about. `total` counts all tasks that the account sees."""

    total: int
    tasks: tuple[Task, ...]
    missing: tuple[Missing, ...] = ()
    nothing: str = ""  # why no task is left, with what to do about it


@dataclass
class _Sieve:
    """Tells what every filter takes, and remembers the one that left nothing."""

    tell: Tell
    left: int
    where: str
    nothing: str = ""

    def leave(self, count: int, gone: str, none: str, where: str = "left by the other filters") -> None:
        """So many tasks are left; the others are `gone`. `none` of them does what it should."""
        self.tell(f"Filtered out {plural(self.left - count, 'task')} {gone}")
        if self.left and not count:
            self.nothing = f"{plural(self.left, 'task is', 'tasks are')} {self.where}, none {none}"
        self.left, self.where = count, where


def choose(client: Client, settings: DatasetSettings, tell: Tell) -> Chosen:
    """Asks the server for the tasks that the settings mean; tells the counts of every filter. Raises CvatError, RunEnds."""
    if settings.task_ids:
        return _by_id(client, settings, tell)
    tell("Fetching all tasks from CVAT...")
    total = count(client, "/api/tasks")
    tell(f"Found {plural(total, 'total task')}")
    sieve = _Sieve(tell, total, "on the server")
    params: dict[str, Any] = {}
    for name, value, doing, gone, none in _server_filters(settings):
        tell(doing)
        left = count(client, "/api/tasks", params | {name: value})
        if name == "status" and sieve.left and not left:
            none = f"{none} ({_statuses(client, params, value)}). {_ANY_STATUS}"
        params[name] = value
        if name == "project_id":
            sieve.leave(left, gone, none, f"in project {value}")
        else:
            sieve.leave(left, gone, none)
    ids = None
    if stage := _stage_or_state(settings):
        # Few tasks are usually in a stage: the server names them, so that not every job is listed.
        query = {name: value for name, value in (("project_id", settings.project_id),) if value is not None}
        listed = items(client, "/api/jobs", {**query, stage[0]: stage[1]})
        ids = {understood("/api/jobs", job, _job)["task_id"] for job in listed}
    tasks = []
    for item in items(client, "/api/tasks", params):
        task, why_not = understood("/api/tasks", item, lambda each: (_task(each), _why_not(each, settings)))
        if not why_not and (ids is None or task.id in ids):
            tasks.append(task)
    chosen = tuple(_among(client, settings, tasks, sieve))
    return Chosen(total, chosen, nothing=sieve.nothing)


def _by_id(client: Client, settings: DatasetSettings, tell: Tell) -> Chosen:
    tell(f"Fetching tasks by id from CVAT: {list(settings.task_ids)}")
    missing, found = [], []
    for task_id in settings.task_ids:
        path = f"/api/tasks/{task_id}"
        try:
            found.append(understood(path, client.get(path), lambda item: (_task(item), _why_not(item, settings))))
        except NotFound:
            missing.append(Missing(task_id, "the server has no such task"))
        except Forbidden:
            missing.append(Missing(task_id, "the account may not see this task"))
    tell(f"Found {len(found)} of {plural(len(settings.task_ids), 'task')}")
    for each in missing:
        tell(f"Task {each.id} was not found: {each.reason}")
    kept = [task for task, why_not in found if not why_not]
    for task, why_not in found:
        if why_not:
            tell(f"Filtered out task {task.id} ({printable(task.name)}): {why_not}")
    total = count(client, "/api/tasks")
    sieve = _Sieve(tell, len(kept), "left by the other filters")
    chosen = tuple(_among(client, settings, kept, sieve))
    nothing = sieve.nothing
    if found and not kept:
        nothing = "; ".join(f"task {task.id}: {why_not}" for task, why_not in found[:3])
        nothing += "; …" if len(found) > 3 else ""
        nothing += f". {_ANY_STATUS}" if "its status is" in nothing else ""
    return Chosen(total, chosen, tuple(missing), nothing)


class NotAsCvatGivesIt(CvatError):
    """JSON of another shape than CVAT's."""

    remedy = "Does a proxy answer in CVAT's place? If not, please report it with the version of CVAT."


def understood(path: str, item: Any, read: Callable[[Any], T]) -> T:
    """What `read` makes of an item that the server gave. Raises NotAsCvatGivesIt."""
    try:
        return read(item)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NotAsCvatGivesIt(
            f"GET {path}: the answer is not as CVAT gives it ({type(error).__name__}: {printable(str(error), 200)})"
        ) from error


_ANY_STATUS = "--required-status null takes them as they are"


def _statuses(client: Client, params: Item, wanted: str) -> str:
    """What status the tasks have instead: "annotation: 3"."""
    counts = {each: count(client, "/api/tasks", params | {"status": each}) for each in TASK_STATUSES if each != wanted}
    return ", ".join(f"{status}: {number}" for status, number in counts.items() if number)


def _server_filters(settings: DatasetSettings) -> Iterator[tuple[str, Any, str, str, str]]:
    """Query parameter, value, what is being done, what the others are not, and what none is where none is left."""
    if settings.project_id is not None:
        project = settings.project_id
        doing = f"Filtering tasks by project_id: {project}"
        yield "project_id", project, doing, f"not in project {project}", f"is in project {project}"
    if settings.required_status in TASK_STATUSES:
        status = settings.required_status
        yield (
            "status",
            status,
            f"Filtering tasks with status: '{status}'",
            "not matching status",
            f"has status {status}",
        )
    if settings.subset:
        subset = settings.subset
        doing = f"Filtering tasks of subset: '{subset}'"
        yield "subset", subset, doing, f"not in subset '{subset}'", f"is in subset '{subset}'"
    if settings.updated_since is not None:
        since = iso(settings.updated_since)
        logic = json.dumps({"and": [{">=": [{"var": "updated_date"}, since]}]}, separators=(",", ":"))
        doing = f"Filtering tasks updated since: {since}"
        yield "filter", logic, doing, f"not updated since {since}", f"was updated since {since}"


def _why_not(item: Item, settings: DatasetSettings) -> str:
    """Why a task item does not pass the filters that the server has too: it ignores what it does not know, with 200."""
    if settings.project_id is not None and item.get("project_id") != settings.project_id:
        return f"it is not in project {settings.project_id}"
    if settings.required_status in TASK_STATUSES and item.get("status") != settings.required_status:
        return f"its status is {item.get('status')}, not {settings.required_status}"
    if settings.subset and str(item.get("subset") or "") != settings.subset:
        return f"its subset is {item.get('subset') or 'none'}, not {settings.subset}"
    if settings.updated_since is not None and parse_time(str(item["updated_date"])) < settings.updated_since:
        return f"it was last changed at {item['updated_date']}"
    return ""


def _stage_or_state(settings: DatasetSettings) -> tuple[str, str] | None:
    """The job stage or state that is required where CVAT has no such task status: ("stage", "acceptance")."""
    wanted = settings.required_status
    if wanted is None or wanted in TASK_STATUSES:
        return None
    return ("stage", wanted) if wanted in JOB_STAGES else ("state", wanted)


def _among(client: Client, settings: DatasetSettings, tasks: list[Task], sieve: _Sieve) -> list[Task]:
    """The filters that only we have: names, and what must be true of all jobs."""
    stage, tell = _stage_or_state(settings), sieve.tell
    if stage is None:
        sieve.left = len(tasks)
    if settings.include or settings.exclude:
        tasks = [task for task in tasks if is_named(task.name, settings.include, settings.exclude)]
        tell(
            f"Filtering tasks by name: {', '.join([*settings.include, *(f'not {each}' for each in settings.exclude)])}"
        )
        if stage is None:
            sieve.leave(len(tasks), "with other names", "has such a name")
    tasks = with_jobs(client, tasks, settings.project_id)
    if stage is not None:
        name, value = stage
        tasks = [task for task in tasks if all_jobs(task, name, (value,))]
        tell(f"Filtering tasks whose jobs are all in {name}: '{value}'")
        sieve.leave(len(tasks), f"not matching {name}", f"has all its jobs in {name} '{value}'")
    if settings.jobs_completed:
        tasks = [task for task in tasks if all_jobs(task, "state", ("completed",))]
        tell("Filtering tasks whose jobs are all completed")
        sieve.leave(len(tasks), "with jobs that are not completed", "has all its jobs in state completed")
    return tasks


def is_named(name: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether the name filters let a task pass; case does not matter, only * and ? are special."""

    def matches(patterns: Sequence[str]) -> bool:
        escaped = (pattern.casefold().replace("[", "[[]") for pattern in patterns)
        return any(fnmatch.fnmatchcase(name.casefold(), pattern) for pattern in escaped)

    return (not include or matches(include)) and not matches(exclude)


def pattern_without(name: str, exclude: Sequence[str]) -> str:
    """What CVAT_DOWNLOAD_EXCLUDE must be so that a task of this name is left out, too."""
    stripped = name.strip()
    odd = "".join(c if c.isprintable() and c != "," else "?" for c in stripped)
    return ",".join([*exclude, odd if stripped == name else f"*{odd}*"])


def all_jobs(task: Task, name: str, values: Sequence[str]) -> bool:
    """Whether a task has jobs and all of them are in one of these stages or states."""
    return bool(task.own_jobs) and all(job.get(name) in values for job in task.own_jobs)


def with_jobs(client: Client, tasks: Sequence[Task], project_id: int | None) -> list[Task]:
    """The tasks with their jobs, which need one listing or a question each."""
    found: dict[int, list[Item]] = {task.id: [] for task in tasks}
    for each in _jobs(client, tasks, project_id):
        job = understood("/api/jobs", each, _job)
        if job["task_id"] in found:
            found[job["task_id"]].append(job)
    return [_replace_jobs(task, found[task.id]) for task in tasks]


def _jobs(client: Client, tasks: Sequence[Task], project_id: int | None) -> Iterable[Item]:
    if len(tasks) > MOST_SINGLE_QUESTIONS:
        return items(client, "/api/jobs", {} if project_id is None else {"project_id": project_id})
    return (job for task in tasks for job in items(client, "/api/jobs", {"task_id": task.id}))


def _replace_jobs(task: Task, jobs: list[Item]) -> Task:
    values = {name: getattr(task, name) for name in Task.__dataclass_fields__}
    return Task(**{**values, "jobs": tuple(sorted(jobs, key=lambda job: int(job["id"])))})


def _job(item: Item) -> Item:
    parse_time(item["updated_date"])
    kept = {key: item.get(key) for key in _JOB_KEYS} | {"id": int(item["id"]), "task_id": int(item["task_id"])}
    assignee = item.get("assignee")
    return kept | {"assignee": assignee.get("username") if assignee else None}


def _task(item: Item) -> Task:
    parse_time(item["updated_date"])
    return Task(
        int(item["id"]), str(item["name"]), str(item.get("status") or ""), int(item.get("size") or 0) * has_data(item),
        str(item.get("subset") or ""), str(item["created_date"]), str(item["updated_date"]),
        item.get("mode") == "interpolation",
    )  # fmt: skip


def tell_of_project(client: Client, settings: DatasetSettings, tell: Tell) -> None:
    """Says which project is meant and what labels it has. Raises RunEnds when the account sees no such project."""
    if settings.project_id is None:
        return
    try:
        path = f"/api/projects/{settings.project_id}"
        name = understood(path, client.get(path), lambda project: str(project["name"]))
    except (NotFound, Forbidden) as error:
        raise RunEnds(
            f"CVAT_DOWNLOAD_PROJECT_ID={settings.project_id}: {error}",
            "The id stands at the end of the project's address in CVAT; the account must be allowed to see it.",
        ) from None
    tell(f"Project: {printable(name)} (ID: {settings.project_id})")
    try:
        listed = items(client, "/api/labels", {"project_id": settings.project_id})
        labels = [printable(understood("/api/labels", label, lambda each: str(each["name"]))) for label in listed]
        tell(f"Project labels: {labels}")
        total = count(client, "/api/tasks", {"project_id": settings.project_id})
        tell(f"Project has {plural(total, 'total task')}")
    except CvatError as error:
        tell(f"Project labels cannot be read: {error}")
