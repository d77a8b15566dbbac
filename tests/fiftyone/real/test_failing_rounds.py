"""Rounds of fiftyone_sync.py that go wrong at every step: nothing is left behind, and the next try works."""

from __future__ import annotations

import pytest
from rounds import BOXES, SMALL, Rounds, held_at, nothing_is_left, without
from running import wait_until

from sandbox.cvat import CvatSandbox, Fault

STEPS = (
    "POST /api/tasks$", "GET /api/labels", "POST /api/tasks/.*/data", "GET /api/jobs", "GET /api/tasks/.*/data/meta",
    "PUT /api/tasks/.*/annotations",
)  # fmt: skip


def test_a_wrong_password_ends_with_12_and_leaves_nothing(rounds: Rounds) -> None:
    rounds.run(SMALL)
    done = rounds.sync("create", code=12, **BOXES, CVAT_PASSWORD="wrong one")
    assert "wrong one" not in done.said
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES)


def test_jobs_that_never_appear_end_at_the_deadline_and_leave_nothing(rounds: Rounds, server: CvatSandbox) -> None:
    server.faults.add(Fault("POST .*/data$", "worker_died"))
    rounds.run(SMALL)
    done = rounds.sync("create", code=None, **BOXES, JOBS_DEADLINE="0.05")
    assert done.code not in (0, 2)
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES)
    assert len(server.world.tasks) == 1


def test_a_picture_that_cvat_cannot_read_is_told_with_its_reason(rounds: Rounds, server: CvatSandbox) -> None:
    server.faults.add(
        Fault("POST .*/data$", "fail", message="PIL.UnidentifiedImageError: cannot identify image file '1'\n")
    )
    rounds.run(SMALL)
    done = rounds.sync("create", code=None, **BOXES)
    assert done.code not in (0, 2)
    assert "cannot identify image file" in done.said
    nothing_is_left(rounds)


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_fails_at_any_step_leaves_nothing_behind(rounds: Rounds, server: CvatSandbox, step: str) -> None:
    rounds.run(SMALL)
    server.faults.add(Fault(step, "status", status=500, times=40))
    done = rounds.sync("create", code=None, **BOXES, PROJECT_NAME="ours")
    assert done.code not in (0, 2), done.said
    server.faults.clear()
    nothing_is_left(rounds)
    rounds.sync("create", **BOXES, PROJECT_NAME="ours")
    assert len(server.world.tasks) == len(server.world.projects) == 1


@pytest.mark.parametrize("step", [*STEPS, "POST /api/projects$"])
def test_create_killed_at_any_step_can_be_done_again(rounds: Rounds, server: CvatSandbox, step: str) -> None:
    rounds.run(SMALL)
    before = rounds.snapshot()
    with held_at(server, step) as reached:
        process = rounds.start("create", **BOXES, PROJECT_NAME="ours", FIFTYONE_SYNC_PYTHON=rounds.fiftyone.python)
        try:
            wait_until(lambda: reached.is_set() or process.poll() is not None, f"create does {step}", 120)
            assert process.poll() is None, process.communicate()
        finally:
            process.kill()  # the script alone: what it started has to notice
            process.communicate()
    rounds.sync("create", **BOXES, PROJECT_NAME="ours")
    assert len(server.world.tasks) == len(server.world.projects) == 1
    rounds.sync("load")
    assert without(rounds.snapshot(), "metadata") == without(before, "metadata")
    rounds.sync("cleanup")
    nothing_is_left(rounds)


@pytest.mark.parametrize("after_handling", [False, True])
@pytest.mark.parametrize("step", [*STEPS, "POST /api/projects$"])
def test_a_connection_cut_once_at_any_step_costs_nothing_or_leaves_nothing(
    rounds: Rounds, server: CvatSandbox, step: str, after_handling: bool
) -> None:
    rounds.run(SMALL)
    before = rounds.snapshot()
    server.faults.add(Fault(step, "cut", after_handling=after_handling, rst=after_handling))
    done = rounds.sync("create", code=None, **BOXES, PROJECT_NAME="ours")
    if done.code != 0:
        nothing_is_left(rounds)
        return
    assert len(server.world.tasks) == len(server.world.projects) == 1
    rounds.sync("load")
    assert without(rounds.snapshot()) == without(before)


def test_a_stop_during_create_leaves_nothing_behind(whole_rounds: Rounds, server: CvatSandbox) -> None:
    rounds = whole_rounds
    rounds.run(SMALL)
    with held_at(server, "GET /api/jobs") as reached:
        process = rounds.start("create", **BOXES, PROJECT_NAME="ours")
        try:
            wait_until(lambda: reached.is_set() or process.poll() is not None, "create waits for jobs", 120)
            process.terminate()
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 143, said
    nothing_is_left(rounds)
