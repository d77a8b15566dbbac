"""`status`: where the rounds stand, as CVAT says it; without a dataset and key every round that is known here."""

from __future__ import annotations

from common.annotating import report, server
from common.annotating.desk import Desk, SyncRun
from common.annotating.state import Made, Round, fingerprint, is_as_before, rounds
from common.exits import Exit, RunEnds
from common.run import say
from common.text import plural


def status(run: SyncRun) -> int:
    """Raises RunEnds, CvatError."""
    desk = Desk(run)
    if not (desk.settings.dataset and desk.settings.anno_key):
        return _all(desk)
    state = desk.round_to_work_on()
    if state.phase != "created":
        words = {"creating": "its create was broken off or is still at work", "cleaned": "it was cleaned up"}
        say(f"Dataset {state.dataset!r}, key {state.anno_key!r}: {words[state.phase]}.")
        return Exit.ALL_GOOD
    rows = [_row(desk, state, made) for made in state.tasks]
    report.print_table(
        [("task", "right"), ("name", "left"), ("samples", "right"), ("jobs", "left"), ("assigned to", "left"),
         ("changed in CVAT", "left"), ("since the last load", "left")],
        rows,
    )  # fmt: skip
    loaded = f"last loaded {state.loaded_at}" if state.loaded_at else "never loaded"
    say(f"Dataset {state.dataset!r}, key {state.anno_key!r}: {plural(len(rows), 'task')}, {loaded}.")
    return Exit.ALL_GOOD


def _row(desk: Desk, state: Round, made: Made) -> tuple[str, ...]:
    found = server.task_of(desk.client, made)
    if found is None:
        return (str(made.id), made.name, f"{made.samples:,}", "not there any more", "", "", "")
    jobs = server.jobs_of(desk.client, made.id)
    done = sum(each.get("state") == "completed" for each in jobs)
    people = {str(each["assignee"]["username"]) for each in [found, *jobs] if each.get("assignee")}
    try:
        known = state.loaded.get(str(made.id))
        baseline = None if known else desk.folder.held_by_server("baseline", made.id)
        before = known or (fingerprint(baseline) if baseline else "")
        changed = "unchanged" if is_as_before(server.held(desk.client, made.id), before) else "changed"
    except RunEnds as error:
        print(f"NOTE  {error.why}")
        changed = "cannot be told"
    return (
        str(made.id), str(found.get("name")), f"{made.samples:,}", f"{done} of {len(jobs)} completed",
        ", ".join(sorted(people)), str(found.get("updated_date") or "")[:19], changed,
    )  # fmt: skip


def _all(desk: Desk) -> int:
    found = rounds(desk.settings.state_dir)
    if not found:
        say(f"No round is known here ({desk.settings.state_dir / 'fiftyone'}).")
        return Exit.ALL_GOOD
    report.print_table(
        [("dataset", "left"), ("key", "left"), ("phase", "left"), ("tasks", "right"), ("begun", "left"), ("loaded", "left"),
         ("server", "left")],
        [
            (each.dataset, each.anno_key, each.phase, str(len(each.tasks)), each.began_at[:19], each.loaded_at[:19], each.server)
            for _, each in found
        ],
    )  # fmt: skip
    say(f"{plural(len(found), 'round')}. FIFTYONE_SYNC_DATASET and FIFTYONE_SYNC_ANNO_KEY show one of them closely.")
    return Exit.ALL_GOOD
