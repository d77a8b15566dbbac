"""Getting a file over several runs."""

from __future__ import annotations

import pytest

from common.saving.crew import save_one
from common.waiting import Stopped

ASKED = "POST /api/projects/1/backup/export"


class StopsAt:
    """A watch that asks for a stop once some bytes have arrived."""

    def __init__(self, desk):
        self.desk = desk

    def phase(self, text):
        pass

    def bytes(self, done, total):
        if done:
            self.desk.stop.set(15)

    def close(self):
        pass


@pytest.fixture
def stopped(server, open_desk, candidate_for):
    """A run that was stopped in the middle of its download."""
    for _ in range(4):
        server.world.add_task(1, "more", frames=30)
    desk = open_desk()
    with pytest.raises(Stopped):
        save_one(desk, candidate_for(desk), StopsAt(desk))
    assert list(desk.store.folder.rglob(".backup.part"))


def test_the_next_run_goes_on_with_the_same_export(server, stopped, saved):
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 1
    assert [one.status for one in server.log if "backup/download" in one.path][-1] in (206, 416)


def test_a_source_that_changed_since_is_exported_anew(server, stopped, saved):
    server.world.add_shape(1, "car")
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 2


def test_an_export_that_the_server_has_lost_since_is_asked_for_anew(server, stopped, saved):
    server.exports.lose_cache()
    assert saved().outcome == "saved"
    assert server.log_count(ASKED) == 2
