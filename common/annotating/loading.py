"""`load` and `undo`: brings back what changed in CVAT, and takes a load back."""

from __future__ import annotations

from typing import Any

from common import log
from common.annotating import checks, report, server
from common.annotating.creating import heard, tls_remark
from common.annotating.desk import Desk, SyncRun
from common.annotating.state import Made, Round, fingerprint
from common.cvat.client import Client
from common.cvat.errors import CvatError
from common.exits import Exit, RunEnds
from common.run import say
from common.text import iso, now, plural


def load(run: SyncRun) -> int:
    """Loads every task of the round that is there, with `--when completed` those whose jobs are done. Raises RunEnds,
    Stopped, CvatError."""
    desk = Desk(run)
    with desk.folder.held("load", run.patience):
        state = made_round(desk)
        desk.folder.require_whole(state)
        tls_remark(desk)
        there, gone = _there(desk.client, state)
        ready = [each for each in there if run.arguments.when is None or is_completed(desk.client, each.id)]
        _tell_others(gone, [each for each in there if each not in ready])
        if not there:
            say("Nothing to load: none of the tasks is in CVAT any more. The labels in FiftyOne are as they were.")
            say("fiftyone_sync.py cleanup ends this round.")
            return Exit.NOTHING_WORKED
        if not ready:
            say(f"Nothing to load yet: {plural(len(there), 'task')} not completed. The next run looks again.")
            return Exit.ALL_GOOD
        prints, seen_at = _fetch(desk, state, ready)
        failed = len(ready) - len(prints)
        if not prints:
            say("Nothing was loaded: no task could be read. The labels in FiftyOne are as they were.")
            return Exit.NOTHING_WORKED
        result = desk.worker.ask(_request(desk, state, [int(each) for each in prints]), heard)
        kept_out = _remember(state, result, prints, seen_at)
        desk.folder.write(state)
        report.print_load(result)
        _last_words(result, len(prints) - len(kept_out), len(there) - len(ready), len(gone))
        if failed:
            say(f"{plural(failed, 'task')} could not be read; load may be repeated.")
        if kept_out and len(kept_out) == len(prints) and not report.written(result):
            return Exit.NOTHING_WORKED
    return Exit.SOME_FAILED if failed or kept_out else Exit.ALL_GOOD


def _remember(state: Round, result: dict[str, Any], prints: dict[str, str], seen_at: dict[str, str]) -> dict[str, int]:
    """Notes what was loaded. A task of which something found no place in FiftyOne is not: it is in CVAT only. Returns
    those, with how many things."""
    kept_out = {task: int(count) for task, count in (result.get("not_placed") or {}).items()}
    not_held = result.get("not_held") or {}
    for task, told in prints.items():
        left = kept_out.get(task, 0) + int(not_held.get(task, 0))
        state.left_behind.pop(task, None)
        if left:
            state.left_behind[task] = left
        if task in kept_out:
            state.loaded.pop(task, None)
        else:
            state.loaded[task], state.seen_at[task] = told, seen_at[task]
    state.loaded_at = iso(now())
    return kept_out


def _fetch(desk: Desk, state: Round, tasks: list[Made]) -> tuple[dict[str, str], dict[str, str]]:
    """Writes what CVAT holds of each task to current/; the fingerprints and dates of those that could be read, by id.

    The date is asked for first: what somebody does meanwhile is newer. Raises Stopped, DiskFull.
    """
    prints, seen_at = {}, {}
    for made in tasks:
        try:
            desk.folder.require_baseline(state, made.id)
            changed_at = server.changed_at(desk.client, made.id)
            held = server.held(desk.client, made.id)
        except RunEnds as error:
            print(f"FAILED         task {made.id}: {error.why} {error.remedy}")
            continue
        except CvatError as error:
            print(f"FAILED         task {made.id}: {error}")
            continue
        desk.folder.write_held("current", made.id, held)
        prints[str(made.id)], seen_at[str(made.id)] = fingerprint(held), changed_at
    return prints, seen_at


def made_round(desk: Desk) -> Round:
    """The round, when `create` has made it whole. Raises RunEnds."""
    state = desk.round_to_work_on()
    if state.phase == "creating":
        raise RunEnds(
            "The create of this dataset and key was broken off.",
            "Run create again: it removes what is left and begins anew.",
            Exit.BAD_CONFIGURATION,
        )
    if state.phase == "cleaned":
        raise RunEnds(
            f"This round was cleaned up at {state.cleaned_at}: its tasks are gone.",
            "create begins a new one.",
            Exit.BAD_CONFIGURATION,
        )
    return state


def _there(client: Client, state: Round) -> tuple[list[Made], list[Made]]:
    """The tasks of the round that are in CVAT, and those that are not."""
    there: list[Made] = []
    gone: list[Made] = []
    for made in state.tasks:
        (gone if server.task_of(client, made) is None else there).append(made)
    return there, gone


def is_completed(client: Client, task_id: int) -> bool:
    """Whether all jobs that people annotate in have the state completed."""
    jobs = server.jobs_of(client, task_id)
    return bool(jobs) and all(each.get("state") == "completed" for each in jobs)


def _tell_others(gone: list[Made], unfinished: list[Made]) -> None:
    for made in gone:
        log.get().warning("task_gone", task=made.id, name=made.name)
        print(
            f"GONE           task {made.id} was deleted in CVAT: the labels of its {plural(made.samples, 'sample')} stay"
        )
    for made in unfinished:
        print(f"NOT COMPLETED  task {made.id}: left for a later load")


def _request(desk: Desk, state: Round, tasks: list[int]) -> dict[str, Any]:
    settings = desk.settings
    return {
        "do": "load", "dataset": state.dataset, "anno_key": state.anno_key, "folder": str(desk.folder.path),
        "tasks": tasks, "label_schema": state.label_schema, "classes": state.classes,
        "dest_field": settings.dest_field or None, "unexpected": settings.unexpected,
        "occluded_attr": state.occluded_attr or None, "group_id_attr": state.group_id_attr or None,
        "permissions": checks.permissions_now(settings, state.permissions), "server": state.server,
    }  # fmt: skip


def _last_words(result: dict[str, Any], loaded: int, waiting: int, gone: int) -> None:
    sums = report.totals(result)
    parts = [f"{sums['added']:,} added", f"{sums['changed']:,} changed", f"{sums['removed']:,} removed"]
    if sums["put_back"]:
        parts.append(f"{sums['put_back']:,} put back")
    if sums["ignored"]:
        parts.append(f"{sums['ignored']:,} ignored")
    say(f"Loaded {plural(loaded, 'task')}: {', '.join(parts)}; everything else is as it was.")
    if lost := int(result.get("missing_count") or 0):
        say(
            f"{plural(lost, 'edit')} made in CVAT found no place in FiftyOne (MISSING, above): the dataset, field, sample or "
            "label is not there any more. Put it back and load again; cleanup --discard gives them up."
        )
    if left := sum(int(each) for each in (result.get("not_held") or {}).values()):
        say(
            f"{plural(left, 'thing')} in CVAT cannot be a label here (NOT SUPPORTED, above): cleanup asks before they go."
        )
    if waiting:
        say(f"{plural(waiting, 'task')} not completed yet.")
    if gone:
        say(f"{plural(gone, 'task')} deleted in CVAT.")
    if result.get("saved"):
        say("What was there before is saved: fiftyone_sync.py undo puts it back.")
    say("load may be repeated; cleanup removes the tasks when all is done.")


def undo(run: SyncRun) -> int:
    """Puts back what the last load changed. Needs nothing of CVAT. Raises RunEnds, Stopped."""
    desk = Desk(run)
    with desk.folder.held("undo", run.patience):
        state = desk.round_to_work_on()
        request = _request(desk, state, [each.id for each in state.tasks]) | {"do": "undo"}
        before = state.loaded, state.loaded_at
        # What is in CVAT is not in FiftyOne any more: said first, for a kill half way must not let cleanup delete it.
        state.loaded, state.loaded_at = {}, ""
        desk.folder.write(state)
        result = desk.worker.ask(request, heard)
        if not result.get("undone"):
            state.loaded, state.loaded_at = before
            desk.folder.write(state)
            say("There is no load to take back.")
            return Exit.ALL_GOOD
        for name in result.get("fields_kept") or ():
            print(f"FIELD KEPT  {name}: other labels are in it by now")
        missing, changed = int(result.get("missing") or 0), int(result.get("changed_count") or 0)
        report.print_changed_since(result)
        if not result["put_back"] and not missing and not changed:
            say(f"The load of {result['undone']} had changed nothing; there is nothing to put back.")
            return Exit.ALL_GOOD
        say(
            f"The load of {result['undone']} was taken back: {plural(int(result['put_back']), 'value')} put back."
            + (f" {plural(missing, 'sample')} of it not there any more." if missing else "")
        )
        if changed:
            say(
                f"{plural(changed, 'value')} changed after that load (above) left as they are. What they were before it "
                f"stands in {desk.folder.path / str(result.get('saved')).replace('.jsonl', '.undone.jsonl')}."
            )
            return Exit.SOME_FAILED if result["put_back"] else Exit.NOTHING_WORKED
    return Exit.ALL_GOOD
