"""An archive that lacks what the server has is never called good, and is asked for again at the next run."""

from __future__ import annotations

from pathlib import Path

from running import assert_sound, run_backup, run_restore

from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat.samples import TRAFFIC


def test_an_archive_that_stays_behind_the_server_fails_its_item_and_is_saved_again(
    server: CvatSandbox, tmp_path: Path
) -> None:
    world = server.world
    task = world.add_task(None, "loose", frames=2, labels=TRAFFIC).id
    run_backup(server, tmp_path)
    # From now on its export is yesterday's; nothing fresher than a task backup can be had.
    server.faults.add(Fault(r"POST /api/(projects|tasks)/\d+/backup/export", kind="lie_stale", times=None))
    world.add_shape(task, "car")
    behind = run_backup(server, tmp_path)
    assert behind.code == 3, behind.said
    assert "incomplete" in behind.out and "on the server" in behind.out
    server.faults.clear()
    again = run_backup(server, tmp_path)
    assert again.code == 0, again.said
    assert list(again.outcomes().values()).count("saved") == 1
    newest = max(assert_sound(again.folder), key=lambda record: record.finished_at)
    assert newest.verified.result == "good"
    verified = run_restore(server, tmp_path, "--verify")
    assert verified.code == 0 and "INCOMPLETE  task" in verified.out, verified.said
    assert "0 bad, 1 incomplete" in verified.out, verified.said


def test_a_part_that_cannot_be_read_although_nothing_changed_is_a_failure(server: CvatSandbox, tmp_path: Path) -> None:
    server.faults.add(Fault(r"GET /api/jobs/1/annotations", kind="status", status=404, times=None))
    done = run_backup(server, tmp_path)
    assert done.code == 3, done.said
    assert "cannot be read, although nothing changed" in done.out
