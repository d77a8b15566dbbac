"""Putting back what CVAT's archive loses, from the sidecar, into a source that has just been restored.

The order is measured: setting an organization clears owners and assignees, and a webhook fires at every change. So the
restore chooses the organization, here follow owners, assignees, jobs, settings and issues, and webhooks come last.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from common.backups import sidecar as kept
from common.backups.sidecar import Person, Sidecar
from common.cvat.client import Client
from common.cvat.errors import CvatError, Forbidden, NotFound, OutcomeUnknown, Unreachable
from common.cvat.listing import items
from common.restoring.place import Item, Place, RestoredSource, look_around
from common.restoring.review import JobReview, texts
from common.text import plural, printable

Outcome = Literal["came back", "could not", "kept as text"]


@dataclass(frozen=True)
class Applied:
    """One line of the table: what it is, what became of it, and why where that is not plain."""

    what: str
    outcome: Outcome
    why: str = ""


def reapply(
    client: Client, sidecar: Sidecar, restored: RestoredSource, *, activate_webhooks: bool = True
) -> list[Applied]:
    """Sets everything that the account may set. Failures are lines of the table, never errors; call it again after
    a kill: what is there already is not made twice. Raises Stopped and RunEnds only.

    With `activate_webhooks=False` (a drill, a copy beside the original) webhooks stay inactive.
    """
    table = _Table()
    for part, why in sidecar.not_readable.items():
        table.add(_PARTS.get(part, part), "could not", f"could not be read when the backup was made: {why}")
    place: list[Place] = []
    if not table.guarded("metadata", lambda: place.append(look_around(client, sidecar, restored))):
        return table.lines
    work = _Work(client, sidecar, place[0], table)
    for what, step in (
        ("tasks", work.tasks),
        ("organization", work.organization),
        ("owners", work.owners),
        ("assignees", work.assignees),
        ("stages, states and assignees of jobs", work.jobs),
        ("disabled validation frames", work.disabled_frames),
        ("quality settings", work.quality),
        ("consensus settings", work.consensus),
        ("review issues", work.issues),
        ("storage settings", work.storages),
        ("webhooks", lambda: work.webhooks(activate=activate_webhooks)),
    ):
        table.guarded(what, step)
    work.unknown_users()
    table.add("ids and dates", "could not", "CVAT gives new ones; the old ones stand in the metadata file")
    return table.lines


_PARTS = {
    "issues": "review issues",
    "webhooks": "webhooks",
    "quality": "quality settings",
    "consensus": "consensus settings",
    "organization": "organization and its members",
    "validation": "disabled validation frames",
}


class _Table:
    """The lines so far. Once the server is gone, nothing more is tried."""

    def __init__(self) -> None:
        self.lines: list[Applied] = []
        self._gone = ""

    def add(self, what: str, outcome: Outcome, why: str = "") -> None:
        self.lines.append(Applied(what, outcome, why))

    @contextlib.contextmanager
    def group(self, what: str, noun: str) -> Iterator[_Group]:
        """A group whose lines are there also when its step breaks off in the middle."""
        group = _Group(what, noun)
        try:
            yield group
        finally:
            self.lines += group.lines()

    def guarded(self, what: str, step: Callable[[], None]) -> bool:
        """Whether a step came to its end; if not, a line says why."""
        if self._gone:
            self.add(what, "could not", f"not tried: {self._gone}")
            return False
        try:
            step()
        except CvatError as error:
            self._gone = str(error) if isinstance(error, Unreachable) else ""
            self.add(what, "could not", str(error))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.add(what, "could not", f"an answer is not as CVAT gives it ({type(error).__name__}: {error})")
        else:
            return True
        return False


@dataclass
class _Group:
    """Many things of one kind: one line for all that came back, one for each reason why some did not."""

    what: str
    noun: str
    more: str = ""
    good: int = 0
    bad: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def attempt(self, which: str, action: Callable[[], object]) -> None:
        """Raises Unreachable: with the server gone there is no sense in the next one."""
        try:
            action()
        except Unreachable:
            raise
        except CvatError as error:
            self.bad[str(error)].append(which)
        else:
            self.good += 1

    def lines(self) -> Iterator[Applied]:
        if self.good:
            yield Applied(self.what, "came back", plural(self.good, self.noun) + self.more)
        for reason, which in self.bad.items():
            named = ", ".join(which[:5]) + (f" and {len(which) - 5:,} more" if len(which) > 5 else "")
            yield Applied(self.what, "could not", f"{named}: {reason}")


class _Work:
    """The steps. Each adds its lines to the table; what is as it should be already is not sent again."""

    def __init__(self, client: Client, sidecar: Sidecar, place: Place, table: _Table) -> None:
        self._client = client
        self._sidecar = sidecar
        self._place = place
        self._table = table
        self._strangers: dict[str, int] = defaultdict(int)

    def tasks(self) -> None:
        for old in self._sidecar.tasks:
            if old.id not in self._place.tasks:
                why = "the restored one has no such task" if old.has_data else "it had no images: CVAT leaves it out"
                self._table.add(f"task {old.id} ({printable(old.name, 60)})", "could not", why)

    # --- people ---------------------------------------------------------------------------------------------------

    def organization(self) -> None:
        wanted, slug = self._sidecar.organization, self._place.organization
        if wanted is None:
            return
        if wanted.slug != slug:
            where = f"organization {slug}" if slug else "the personal space"
            self._table.add(f"organization {wanted.slug}", "could not", f"it was restored into {where}")
            return
        self._table.add(f"organization {wanted.slug}", "came back")
        there = {
            item["user"]["username"]
            for item in items(self._client, "/api/memberships", {"org": slug})
            if item.get("user") and item.get("organization") == self._organization_id
        }
        missing = [f"{member.user.username} ({member.role})" for member in wanted.members
                   if member.user.username not in there]  # fmt: skip
        if missing:
            why = f"no members of it now, invite them in CVAT: {', '.join(missing)}"
            self._table.add(f"members of organization {slug}", "could not", why)

    @property
    def _organization_id(self) -> int | None:
        found: int | None = self._place.raw.get("organization_id") or self._place.raw.get("organization")
        return found

    def owners(self) -> None:
        self._people("owners", "owner")

    def assignees(self) -> None:
        self._people("assignees", "assignee")

    def _people(self, what: str, role: Literal["owner", "assignee"]) -> None:
        with self._table.group(
            f"{what} of the {'project and its tasks' if self._place.is_project else 'task'}", role
        ) as group:
            for address, which, before, item in self._things():
                wanted = self._user(getattr(before, role))
                if wanted is None:
                    continue
                if (item.get(role) or {}).get("id") == wanted:
                    group.good += 1
                elif role == "owner" and not self._place.is_superuser:
                    group.bad["only a superuser may set an owner"].append(which)
                else:
                    group.attempt(which, partial(self._patch, address, {f"{role}_id": wanted}))

    def _things(self) -> Iterator[tuple[str, str, Sidecar | kept.Task, Item]]:
        """The project and its tasks: address, name for people, as it was, as it is now."""
        if self._place.is_project:
            yield f"/api/projects/{self._place.raw['id']}", "the project", self._sidecar, self._place.raw
        for task in self._sidecar.tasks:
            item = self._place.tasks.get(task.id)
            if item is not None:
                yield f"/api/tasks/{item['id']}", f"task {item['id']}", task, item

    def _user(self, person: Person | None) -> int | None:
        """The id that this user has here. An unknown id makes CVAT answer 500, so none is ever guessed."""
        if person is None:
            return None
        found = self._place.users.get(person.username)
        if found is None:
            self._strangers[person.username] += 1
        return found

    def unknown_users(self) -> None:
        for name, count in sorted(self._strangers.items()):
            why = f"there is no such user here, or it is not shown to this account ({plural(count, 'place')})"
            self._table.add(f"user {printable(name, 60)}", "could not", why)

    # --- jobs, settings -------------------------------------------------------------------------------------------

    def jobs(self) -> None:
        with self._table.group("stages, states and assignees of jobs", "job") as group:
            for old in (job for task in self._sidecar.tasks if task.id in self._place.tasks for job in task.jobs):
                job = self._place.jobs.get(old.id)
                if job is None:
                    group.bad["no job of the restored task has its type and frames"].append(f"job {old.id}")
                    continue
                wanted: Item = {"stage": old.stage, "state": old.state}
                assignee = self._user(old.assignee)
                present = {**job, "assignee": (job.get("assignee") or {}).get("id")}
                if assignee is not None:
                    wanted["assignee"] = assignee
                # The status comes back with the archive and the stage does not: they agree again after a PATCH (measured).
                same = all(present.get(key) == value for key, value in wanted.items())
                if same and job.get("status") == old.status:
                    group.good += 1
                else:
                    group.attempt(f"job {job['id']}", partial(self._patch, f"/api/jobs/{job['id']}", wanted))

    def disabled_frames(self) -> None:
        with self._table.group("disabled validation frames", "task") as group:
            for task in self._sidecar.tasks:
                item = self._place.tasks.get(task.id)
                if task.disabled_frames and item is not None:
                    address = f"/api/tasks/{item['id']}/validation_layout"
                    frames = {"disabled_frames": list(task.disabled_frames)}
                    group.attempt(f"task {item['id']}", partial(self._patch, address, frames))

    def quality(self) -> None:
        wanted: dict[int | None, Item] = {}
        if self._place.is_project and self._sidecar.quality:
            wanted[None] = self._sidecar.quality
        for task in self._sidecar.tasks:
            if task.quality and task.id in self._place.tasks:
                wanted[self._place.tasks[task.id]["id"]] = task.quality
        if not wanted:
            return
        asked = {"project_id" if self._place.is_project else "task_id": self._place.raw["id"]}
        rows: dict[int | None, Item] = {}
        for row in items(self._client, "/api/quality/settings", asked):
            if row.get("task_id") in wanted and row.get("task_id") is not None:
                rows[row["task_id"]] = row
            elif self._place.is_project and row.get("project_id") == self._place.raw["id"]:
                rows[None] = row
        self._set_rows("quality settings", "/api/quality/settings", wanted, rows)

    def consensus(self) -> None:
        wanted: dict[int | None, Item] = {}
        rows: dict[int | None, Item] = {}
        for task in self._sidecar.tasks:
            if task.consensus and task.id in self._place.tasks:
                new_id = self._place.tasks[task.id]["id"]
                wanted[new_id] = task.consensus
                for row in items(self._client, "/api/consensus/settings", {"task_id": new_id}):
                    if row.get("task_id") == new_id:
                        rows[new_id] = row
        self._set_rows("consensus settings", "/api/consensus/settings", wanted, rows)

    def _set_rows(
        self, what: str, address: str, wanted: Mapping[int | None, Item], rows: Mapping[int | None, Item]
    ) -> None:
        with self._table.group(what, "row") as group:
            for key, values in wanted.items():
                which, row = f"task {key}" if key else "the project", rows.get(key)
                if row is None:
                    group.bad["the restored one has no such settings"].append(which)
                    continue
                # Only what this server's version knows, and only if it differs.
                new = {name: value for name, value in values.items() if name in row and row[name] != value}
                if new:
                    group.attempt(which, partial(self._patch, f"{address}/{row['id']}", new))
                else:
                    group.good += 1

    def _patch(self, address: str, values: Item) -> None:
        self._client.change("PATCH", address, values, repeat=True)

    # --- issues ---------------------------------------------------------------------------------------------------

    def issues(self) -> None:
        with self._table.group("review issues with their comments", "issue") as group:
            by_job: dict[int, list[kept.Issue]] = defaultdict(list)
            for issue in self._sidecar.issues:
                by_job[issue.job_id].append(issue)
            comments = 0
            for job_id, issues in by_job.items():
                job = self._place.jobs.get(job_id)
                if job is None:
                    group.bad["its job is not there"] += [f"issue {issue.id}" for issue in issues]
                    continue
                try:
                    review = JobReview(self._client, job["id"])
                except (Forbidden, NotFound) as error:
                    group.bad[str(error)] += [f"issue {issue.id}" for issue in issues]
                    continue
                for issue in issues:
                    assignee, before = self._user(issue.assignee), group.good
                    group.attempt(f"issue {issue.id}", partial(review.put_back, issue, assignee))
                    comments += len(texts(issue)) * (group.good - before)
                    group.more = f", {plural(comments, 'comment')}"
        if group.good:
            why = "in the first line of each comment: CVAT makes the restoring account the author and today the date"
            self._table.add("authors and dates of comments", "kept as text", why)

    # --- storages, webhooks ---------------------------------------------------------------------------------------

    def storages(self) -> None:
        with self._table.group("storage settings", "setting") as group:
            there: list[Item] | None = None
            for address, which, before, item in self._things():
                wanted: Item = {}
                for name in ("source_storage", "target_storage"):
                    setting = getattr(before, name)
                    if not setting or not setting.get("cloud_storage_id"):
                        continue
                    if there is None:
                        there = list(items(self._client, "/api/cloudstorages"))
                    storage = self._storage(setting, there)
                    if storage is None:
                        shown = setting.get("display_name") or setting.get("resource") or setting["cloud_storage_id"]
                        group.bad[f"cloud storage {shown} is not on this server"].append(f"{name} of {which}")
                    elif (item.get(name) or {}).get("cloud_storage_id") == storage:
                        group.good += 1
                    else:
                        wanted[name] = {"location": "cloud_storage", "cloud_storage_id": storage}
                if wanted:
                    group.attempt(which, partial(self._patch, address, wanted))

    def _storage(self, setting: Item, there: Sequence[Item]) -> int | None:
        """The cloud storage that a setting means: the same bucket, by its name; by its id only on the same server."""
        named = [
            item["id"]
            for item in there
            if setting.get("resource")
            and all(item.get(key) == setting.get(key) for key in ("resource", "provider_type"))
        ]
        if named:
            return setting["cloud_storage_id"] if setting["cloud_storage_id"] in named else int(named[0])
        if not setting.get("resource") and self._client.url == self._sidecar.server.url:
            return next((int(item["id"]) for item in there if item["id"] == setting["cloud_storage_id"]), None)
        return None

    def webhooks(self, *, activate: bool) -> None:
        for hook in self._sidecar.organization_webhooks:
            why = "it belongs to the organization, not to this project; the metadata file describes it"
            self._table.add(f"webhook {printable(hook.target_url)}", "could not", why)
        if not (self._place.is_project and self._sidecar.webhooks):
            return
        project_id = self._place.raw["id"]
        there = self._webhooks_of(project_id)
        known = {item["id"] for item in there}
        made: list[tuple[kept.Webhook, Item]] = []
        for hook in self._sidecar.webhooks:
            found = next((item for item in there if _is(item, hook)), None)
            try:
                if found is None:
                    # Inactive: an active one fires at every further change.
                    found = self._make_webhook(hook, project_id, known)
                    known.add(found["id"])
                else:
                    there.remove(found)
                made.append((hook, found))
            except Unreachable:
                raise
            except CvatError as error:
                self._table.add(f"webhook {printable(hook.target_url)}", "could not", str(error))
        for hook, item in made:
            why = "without its secret, which CVAT shows nobody: set it anew if it had one"
            if hook.is_active and not activate:
                why += "; left inactive"
            elif hook.is_active and not item.get("is_active"):
                try:
                    self._patch(f"/api/webhooks/{item['id']}", {"is_active": True})
                except CvatError as error:
                    why += f"; it is inactive ({error})"
            self._table.add(f"webhook {printable(hook.target_url)}", "came back", why)

    def _make_webhook(self, hook: kept.Webhook, project_id: int, known: set[int]) -> Item:
        params = {"org": self._place.organization} if self._place.organization else None
        content = {
            "target_url": hook.target_url,
            "description": hook.description,
            "type": "project",
            "project_id": project_id,
            "content_type": hook.content_type,
            "is_active": False,
            "enable_ssl": hook.enable_ssl,
            "events": list(hook.events),
        }
        try:
            made: Item = self._client.change("POST", "/api/webhooks", content, params=params).json()
        except OutcomeUnknown:
            self._client.stop.sleep(1)
            found = next(
                (item for item in self._webhooks_of(project_id) if item["id"] not in known and _is(item, hook)), None
            )
            if found is None:
                raise
            return found
        return made

    def _webhooks_of(self, project_id: int) -> list[Item]:
        listed = items(self._client, "/api/webhooks", {"project_id": project_id})
        return [item for item in listed if item.get("project_id") == project_id]


def _is(item: Item, hook: kept.Webhook) -> bool:
    return (item["target_url"], item.get("description") or "", sorted(item["events"])) == (
        hook.target_url,
        hook.description,
        sorted(hook.events),
    )
