"""Putting back what CVAT's archive loses, from the sidecar, into a source that has just been restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.backups.sidecar import Sidecar
from common.cvat.client import Client
from common.sources import Kind

Outcome = Literal["came back", "could not", "kept as text"]


@dataclass(frozen=True)
class RestoredSource:
    """What the restore made: the new project with its new tasks in the order of the archive's, or one new task.

    Without `task_ids` the server is asked for the project's tasks, in the order of their ids.
    """

    kind: Kind
    id: int
    task_ids: tuple[int, ...] = ()


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
    raise NotImplementedError
