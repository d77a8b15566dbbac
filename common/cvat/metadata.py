"""What CVAT's archives lose, read from a few server-wide listings and sorted by source.

An unknown query parameter is ignored with 200 and everything is returned (measured): nothing is asked for by
project. An issue knows only its job and a comment only its issue, so they are joined here.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from common.cvat.client import Client
from common.cvat.errors import CvatError, Unreachable
from common.cvat.listing import items
from common.sources import Kind

Item = dict[str, Any]
Owner = tuple[str, int]

# Only these are kept: a membership's invitation key, for one, is a secret and is dropped at the door.
_KEPT: dict[str, tuple[str, ...]] = {
    "project": ("id", "owner", "assignee", "updated_date", "source_storage", "target_storage"),
    "task": (
        "id", "name", "owner", "assignee", "created_date", "updated_date", "source_storage", "target_storage", "size",
        "validation_mode",
    ),
    "job": (
        "id", "task_id", "type", "start_frame", "stop_frame", "stage", "state", "status", "assignee", "created_date",
        "updated_date",
    ),
    "issue": (
        "id", "frame", "position", "job", "owner", "assignee", "resolved", "created_date", "updated_date",
    ),
    "comment": ("id", "issue", "owner", "message", "created_date", "updated_date"),
    "webhook": (
        "id", "target_url", "description", "content_type", "is_active", "enable_ssl", "events", "owner",
        "created_date", "updated_date",
    ),
    "organization": ("id", "slug", "name", "description", "contact", "owner", "created_date", "updated_date"),
    "membership": ("id", "user", "role", "is_active", "joined_date"),
}  # fmt: skip
_WHATS = {
    "issues": ("issue", "comment"), "webhooks": ("webhook",), "quality": ("quality",), "consensus": ("consensus",),
    "organization": ("organization", "membership"),
}  # fmt: skip
_PERSON = ("id", "username", "first_name", "last_name")
# The values of settings are everything but what says which row it is.
_ROW = ("id", "project_id", "created_date", "updated_date")
_STORAGES = ("source_storage", "target_storage")
_STORAGE = ("display_name", "provider_type", "resource")


class Ledger:
    """The listings' items, sorted by the source that they belong to.

    They lie in a temporary database that SQLite keeps in memory while it is small and moves to a file of its own
    when it is not: memory stays flat on a server with a million jobs. Raises sqlite3.Error.
    """

    def __init__(self) -> None:
        self.not_readable: dict[str, str] = {}
        self.unreachable = ""
        self._storages: dict[int, Item] = {}
        self._uses_storages = False
        self._in_organizations = False
        self._table = sqlite3.connect("", isolation_level=None)
        for command in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE item (what TEXT, id INTEGER, kind TEXT, owner INTEGER, json TEXT, PRIMARY KEY (what, id))"
            " WITHOUT ROWID",
            "BEGIN",
        ):
            self._table.execute(command)

    def close(self) -> None:
        self._table.close()

    def see(self, kind: Kind, source_id: int, what: str, item: Item) -> None:
        """Takes down a project, task or job item that passes by, of the source with this kind and id."""
        self._in_organizations |= bool(item.get("organization_id") or item.get("organization"))
        self._uses_storages |= any(_object(item.get(name)).get("cloud_storage_id") for name in _STORAGES)
        self._add(what, item, (kind, source_id))

    def gather(self, client: Client) -> None:
        """Reads the other listings. What the server does not show is named in `not_readable`, and goes without."""
        readings: tuple[tuple[str, Callable[[Client], None]], ...] = (
            ("issues", self._read_issues),
            ("webhooks", self._read_webhooks),
            ("quality", self._read_quality),
            ("consensus", self._read_consensus),
            ("organization", self._read_organizations),
        )
        for part, read in readings:
            try:
                if self.unreachable:
                    self.not_readable[part] = self.unreachable
                else:
                    read(client)
            except CvatError as error:
                self._without(part, str(error))
                self.unreachable = str(error) if isinstance(error, Unreachable) else ""
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._without(part, f"the listing is not as CVAT gives it ({type(error).__name__}: {error})")
        if self._uses_storages and not self.unreachable:
            self._read_storages(client)
        self._table.execute("CREATE INDEX of_owner ON item (kind, owner)")

    def of(self, kind: str, owner_id: int) -> dict[str, list[Item]]:
        """Everything that belongs to a source (or an "organization"), by what it is, in the order of ids."""
        found: dict[str, list[Item]] = {}
        query = "SELECT what, json FROM item WHERE kind = ? AND owner = ? ORDER BY what, id"
        for what, text in self._table.execute(query, (kind, owner_id)):
            found.setdefault(what, []).append(json.loads(text))
        return found

    def storage(self, value: Item | None) -> Item | None:
        """A storage setting with what tells the cloud storage apart, whose id is another one on another server."""
        told = _object(value)
        storage = self._storages.get(told.get("cloud_storage_id") or 0, {})
        return {key: item for key, item in told.items() if key != "id"} | storage if isinstance(value, dict) else None

    # --- the listings ---------------------------------------------------------------------------------------------

    def _read_issues(self, client: Client) -> None:
        for item in items(client, "/api/issues"):
            self._add("issue", item, self._owner("job", item["job"]))
        for item in items(client, "/api/comments"):
            self._add("comment", item, self._owner("issue", item["issue"]))

    def _read_webhooks(self, client: Client) -> None:
        for item in items(client, "/api/webhooks"):
            if item.get("project_id") is not None:
                self._add("webhook", item, self._owner("project", item["project_id"]))
            elif item.get("organization") is not None:
                self._add("webhook", item, ("organization", item["organization"]))

    def _read_quality(self, client: Client) -> None:
        for item in items(client, "/api/quality/settings"):
            what, key = ("task", "task_id") if item.get("task_id") is not None else ("project", "project_id")
            self._add("quality", item, self._owner(what, item[key]))

    def _read_consensus(self, client: Client) -> None:
        for item in items(client, "/api/consensus/settings"):
            self._add("consensus", item, self._owner("task", item["task_id"]))

    def _read_organizations(self, client: Client) -> None:
        if not self._in_organizations:
            return
        for item in items(client, "/api/organizations"):
            self._add("organization", item, ("organization", item["id"]))
        for item in items(client, "/api/memberships"):
            self._add("membership", item, ("organization", item["organization"]))

    def _read_storages(self, client: Client) -> None:
        try:
            for item in items(client, "/api/cloudstorages"):
                self._storages[item["id"]] = {name: item.get(name) for name in _STORAGE}
        except (CvatError, KeyError, TypeError):
            self._storages = {}  # the settings then keep their ids alone

    def _without(self, part: str, why: str) -> None:
        """Half a listing is none: what was read of it is forgotten."""
        self.not_readable[part] = why
        for what in _WHATS[part]:
            self._table.execute("DELETE FROM item WHERE what = ?", (what,))

    # --- the table ------------------------------------------------------------------------------------------------

    def _owner(self, what: str, item_id: int) -> Owner | None:
        """Whose an item is; None when it was made after the listing, or is not shown to us: its turn comes next time."""
        query = "SELECT kind, owner FROM item WHERE what = ? AND id = ?"
        found: Owner | None = self._table.execute(query, (what, item_id)).fetchone()
        return found

    def _add(self, what: str, item: Item, owner: Owner | None) -> None:
        if owner is None:
            return
        kept = {name: item.get(name) for name in _KEPT[what]} if what in _KEPT else _values(item)
        for name in ("owner", "assignee", "user"):
            person = kept.get(name)
            if isinstance(person, dict):
                kept[name] = {key: person.get(key) for key in _PERSON}
        text = json.dumps(kept, ensure_ascii=True, separators=(",", ":"))
        self._table.execute("INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?)", (what, item["id"], *owner, text))


def _object(value: Any) -> Item:
    """A part of an item that should be an object or null; anything else tells nothing."""
    return value if isinstance(value, dict) else {}


def _values(item: Item) -> Item:
    """A row of quality or consensus settings without what names the row; `task_id` stays, to tell whose it is."""
    return {key: value for key, value in item.items() if key not in _ROW}


def disabled_frames(client: Client, task_id: int) -> tuple[int, ...] | None:
    """The validation frames of a task that were taken out; None when it has no validation. Raises CvatError."""
    layout = client.get(f"/api/tasks/{task_id}/validation_layout")
    if not isinstance(layout, dict) or not layout.get("mode"):
        return None
    return tuple(sorted(int(frame) for frame in layout.get("disabled_frames") or ()))
