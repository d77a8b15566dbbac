"""`cleanup`: ends a round. What it did not make stays; what was changed and not loaded is not thrown away unasked."""

from __future__ import annotations

from common import log
from common.annotating import server
from common.annotating.creating import clear_away
from common.annotating.desk import Desk, SyncRun
from common.annotating.state import Made, Project, Round, fingerprint, is_as_before
from common.cvat.errors import CvatError
from common.exits import Exit
from common.run import say
from common.text import iso, now, plural, printable


def cleanup(run: SyncRun) -> int:
    """Removes the tasks, the project if it was made by this round and is empty, and FiftyOne's record. Raises RunEnds,
    Stopped, CvatError."""
    desk = Desk(run)
    with desk.folder.held("cleanup", run.patience):
        state = desk.round_to_work_on()
        if state.phase == "cleaned":
            say(f"There is nothing to do: this round was cleaned up at {state.cleaned_at}.")
            return Exit.ALL_GOOD
        if state.phase == "creating":
            clear_away(desk, state)
            say("What a broken-off create had left was removed.")
            return Exit.ALL_GOOD
        there = [made for made in state.tasks if server.task_of(desk.client, made) is not None]
        gone = [made for made in state.tasks if made not in there and made.id not in state.removing]
        if _are_missed(desk, state, gone) and not run.arguments.discard:
            say(f"{plural(len(gone), 'task')} of this round not found on {state.server}; nothing was removed.")
            say("Is this the server that they are on? If they were deleted there: cleanup --discard ends the round.")
            return Exit.NOTHING_WORKED
        changed = [] if run.arguments.discard else [made for made in there if _is_changed(desk, state, made)]
        if changed:
            say(f"{plural(len(changed), 'task')} with something that is in CVAT only (above); nothing was removed.")
            say("load brings in what FiftyOne can hold; cleanup --discard throws away what is left.")
            return Exit.NOTHING_WORKED
        desk.forget_record(state, look=True)  # a database that cannot be reached is met before anything is deleted
        state.removing = sorted({*state.removing, *(made.id for made in there)})
        desk.folder.write(state)
        if failed := _remove(desk, there):
            say(f"{plural(failed, 'task')} could not be removed; cleanup may be repeated.")
            return Exit.SOME_FAILED if failed < len(there) else Exit.NOTHING_WORKED
        code = _end_project(desk, state.project) if state.project is not None else Exit.ALL_GOOD
        forgotten = desk.forget_record(state)
        state.phase, state.cleaned_at = "cleaned", iso(now())
        desk.folder.write(state)
        record = "FiftyOne's record of it removed" if forgotten else "FiftyOne had no record of it any more"
        not_there = f", {len(gone):,} not there any more" if gone else ""
        say(f"Cleaned up: {plural(len(there), 'task')} removed{not_there}, {record}. The labels in FiftyOne stay.")
    return code


def _are_missed(desk: Desk, state: Round, gone: list[Made]) -> bool:
    """Whether tasks that are not there may hold work that nobody has loaded; names them."""
    missed = False
    for made in gone:
        loaded = str(made.id) in state.loaded and str(made.id) not in state.left_behind
        taken = server.is_taken(desk.client, made)
        why = "its number is another task's here" if taken else "not found"
        print(f"GONE        task {made.id} ({printable(made.name, 60)}): {why}{'' if loaded else ', never loaded'}")
        missed |= taken or not loaded
    return missed


def _remove(desk: Desk, tasks: list[Made]) -> int:
    """Deletes the tasks; how many could not be. Raises Stopped."""
    failed = 0
    for made in tasks:
        try:
            server.delete(desk.client, f"/api/tasks/{made.id}")
        except CvatError as error:
            failed += 1
            print(f"FAILED  task {made.id} ({printable(made.name, 60)}): {error}")
            continue
        log.get().info("task_removed", task=made.id, name=made.name)
    return failed


def _is_changed(desk: Desk, state: Round, made: Made) -> bool:
    """Whether a task or job changed since the last load (or since create); says how.

    The content is compared, and the dates: a date also tells that somebody is still at work (a job's state or person).
    """
    name = f"task {made.id} ({printable(made.name, 60)})"
    if _has_unloaded(desk, state, made):
        print(f"NOT LOADED  {name}: annotations or deleted frames are others than at the last load")
        return True
    if left := state.left_behind.get(str(made.id)):
        print(f"NOT LOADED  {name}: {plural(left, 'thing')} that the last load could not bring into FiftyOne")
        return True
    changed_at = server.changed_at(desk.client, made.id)
    if changed_at > state.seen_at.get(str(made.id), changed_at):
        print(f"CHANGED     {name} or a job of it at {changed_at}, after the last load")
        return True
    return False


def _has_unloaded(desk: Desk, state: Round, made: Made) -> bool:
    """Whether the server holds something else than the last load took, or than the upload left when nothing was loaded."""
    known = state.loaded.get(str(made.id))
    if known is None:
        baseline = desk.folder.held_by_server("baseline", made.id)
        known = fingerprint(baseline) if baseline is not None else ""
    return not is_as_before(server.held(desk.client, made.id), known)


def _end_project(desk: Desk, project: Project) -> Exit:
    found = server.project_of(desk.client, project)
    if found is None:
        return Exit.ALL_GOOD
    name = printable(project.name, 60)
    if project.made_by_us:
        left = int((found.get("tasks") or {}).get("count") or 0)
        if left:
            say(f"Project {name!r} has {plural(left, 'task')} of others: it stays.")
        else:
            server.delete(desk.client, f"/api/projects/{project.id}")
            log.get().info("project_removed", project=project.id, name=name)
        return Exit.ALL_GOOD
    if not project.labels:
        return Exit.ALL_GOOD
    if not desk.settings.remove_label_id:
        say(
            f"{plural(len(project.labels), 'label')} of project {name!r} keep the attribute label_id that FiftyOne added "
            "(FIFTYONE_SYNC_REMOVE_LABEL_ID=true tries to take it off)."
        )
        return Exit.ALL_GOOD
    still = server.without_label_id(desk.client, project)
    if still:
        say(
            f"This server does not take attributes off labels: {plural(len(still), 'label')} of project {name!r} keep label_id "
            f"({printable(', '.join(still), 100)}). It is an empty text there and does no harm."
        )
        return Exit.SOME_FAILED
    say(f"The attribute label_id was taken off the labels of project {name!r} again.")
    return Exit.ALL_GOOD
