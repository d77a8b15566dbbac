"""A desk before a sandbox, as backup.py opens it, and the crew that works at it."""

from __future__ import annotations

import pytest

from common.backups.store import Store
from common.cvat.address import server_key
from common.cvat.client import connect
from common.cvat.health import HealthGate
from common.cvat.listing import inventory
from common.saving.choose import Candidate
from common.saving.crew import save_one
from common.saving.desk import Budget, Desk, Slots
from common.saving.plan import offered_formats
from common.waiting import StopSignal


class Silent:
    """A watch that remembers the phases it was told."""

    def __init__(self):
        self.phases = []

    def phase(self, text):
        self.phases.append(text)

    def bytes(self, done, total):
        pass

    def close(self):
        self.phases.append("closed")


@pytest.fixture
def watch():
    return Silent()


@pytest.fixture
def server(sandbox):
    """One project of two tasks, with annotations."""
    server = sandbox(export_seconds=0.0)
    world = server.world
    project = world.add_project("Road signs", labels=[{"name": "car"}])
    for name in ("one", "two"):
        task = world.add_task(project, name, frames=4, segment_size=2)
        world.add_shape(task.job_ids[0], "car")
    return server


@pytest.fixture
def open_desk(server, settings_for):
    """`open_desk(CVAT_BACKUP_CONCURRENCY="1")`: a desk like that of a new run."""

    def make(limit_bytes=0, **changes):
        settings = settings_for(server, **changes)
        stop = StopSignal()
        client, version, _ = connect(settings, stop)
        store = Store(settings.dir, server_key(settings.url))
        store.prepare()
        gate = HealthGate(client, enabled=False, longest_seconds=1)
        slots = [Slots(settings.concurrency, stop) for _ in range(2)]
        formats = offered_formats(client)
        return Desk(client, settings, store, gate, Budget(limit_bytes, 0), stop, version, "run1", formats, *slots)

    return make


@pytest.fixture
def candidate_for():
    """`candidate_for(desk, "project 1", "p")` as the server lists it now."""

    def make(desk, name="project 1", mode="p"):
        [state] = [state for state in inventory(desk.client).states if str(state.source) == name]
        return Candidate(state, mode, "it has no backup yet", None)

    return make


@pytest.fixture
def saved(open_desk, candidate_for, watch):
    """Saves one source in a new run and gives the result: `saved("project 1", "a")`."""

    def save(name="project 1", mode="p", **changes):
        desk = open_desk(**changes)
        return save_one(desk, candidate_for(desk, name, mode), watch)

    return save
