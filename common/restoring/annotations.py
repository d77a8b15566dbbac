"""`--annotations-only`: saved annotations back into tasks that exist, job by job.

The way back from the most common accident: somebody deleted or overwrote labels. Everything is read and checked before
the first request; what is there now is saved first, in the same form, so that this can be undone by the same command.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from common import log
from common.backups.store import Overlooked
from common.cvat import errors
from common.cvat.address import server_key
from common.cvat.listing import items, look_at, source_of
from common.exits import Exit, RunEnds, Trouble
from common.restoring.choice import chosen_annotations, say_overlooked
from common.restoring.jobs import Scope, counted, parse_frames, problems, same, wanted_annotations
from common.restoring.labels import Labels, Translation, labels_of
from common.restoring.matching import Match, NoMatch, match_tasks
from common.restoring.order import Target
from common.restoring.saved import SavedAnnotations, SavedTask
from common.saving.annotations import write_api_archive
from common.sources import Source
from common.stdout import console
from common.text import now, plural, printable
from common.waiting import growing_pauses

# How long the server may still be at work on a request whose answer never came (100,000 shapes take it two minutes).
UNKNOWN_SECONDS = 300.0
MOST_ATTEMPTS = 3


@dataclass
class _Job:
    saved: dict[str, Any]
    id: int
    before: str = ""
    after: str = ""
    unchanged: bool = False


@dataclass
class _Plan:
    """One task: what is to be put back into it, or why it is not."""

    archive: Path
    task: SavedTask
    match: Match | None = None
    jobs: list[_Job] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def to_write(self) -> list[_Job]:
        return [] if self.problems else [job for job in self.jobs if not job.unchanged]


def put_annotations_back(target: Target, arguments: argparse.Namespace) -> int:
    """Finds, checks, shows, asks, saves what is there, puts back, compares. The exit code."""
    scope = _scope(arguments)
    overlooked: list[Overlooked] = []
    try:
        chosen = chosen_annotations(target.settings, arguments, server_key(target.client.url), overlooked)
    finally:
        incomplete = say_overlooked(overlooked, [], arguments.at)
    plans: list[_Plan] = []
    for path, unique, task_ids in chosen:
        with SavedAnnotations(path) as saved:
            _require_known(scope, saved)
            plans += _plan(target, saved, unique, task_ids, scope)
    _require_frames(scope, plans, arguments.frames)
    _show(plans)
    writing = [plan for plan in plans if plan.to_write]
    refused = [plan for plan in plans if plan.problems]
    if not writing:
        console().print("Nothing is to be written." if refused else "All of it is there already: nothing was written.")
        if refused:
            return Exit.SOME_FAILED if len(refused) < len(plans) else Exit.NOTHING_WORKED
        return Exit.SOME_FAILED if incomplete else Exit.ALL_GOOD
    _confirm(writing, arguments)
    folder = target.folder / f"annotations-{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}" / "before"
    folder.mkdir(parents=True)
    _save_present(target, writing, folder)
    failures = _write(target, writing, scope)
    for failure in failures:
        console().print(Text(f"FAILED {failure}", style="red"), soft_wrap=True)
    jobs = sum(len(plan.to_write) for plan in writing)
    console().print(
        f"{plural(jobs - len(failures), 'job')} of {jobs} put back and compared: equal value by value.", soft_wrap=True
    )
    kept = sorted(folder.glob("*.zip"))
    which = shlex.quote(str(kept[0])) if len(kept) == 1 else f"FILE, for each of the {len(kept)} files in {folder}"
    console().print(
        f"What was there before is saved; to undo this: restore.py --annotations-only --at {which}", soft_wrap=True
    )
    if len(failures) == jobs:
        return Exit.NOTHING_WORKED
    return Exit.SOME_FAILED if failures or refused or incomplete else Exit.ALL_GOOD


def _scope(arguments: argparse.Namespace) -> Scope:
    try:
        frames = parse_frames(arguments.frames) if arguments.frames else None
    except ValueError as error:
        raise RunEnds(str(error), "", Exit.BAD_CONFIGURATION) from None
    names = [name.strip() for name in (arguments.labels or "").split(",") if name.strip()]
    return Scope(frames, frozenset(names) or None)


def _require_known(scope: Scope, saved: SavedAnnotations) -> None:
    unknown = (scope.labels or frozenset()) - saved.label_names
    if unknown:
        raise RunEnds(
            f"--labels: {saved.path.name} knows no label {', '.join(sorted(unknown))!r}.",
            f"It knows: {', '.join(sorted(saved.label_names))}.",
            Exit.BAD_CONFIGURATION,
        )


def _require_frames(scope: Scope, plans: Sequence[_Plan], asked: str) -> None:
    """Frames that no job has are a slip of the finger: "all of it is there already" would be a false comfort."""
    there = [(int(job.saved["start_frame"]), int(job.saved["stop_frame"])) for plan in plans for job in plan.jobs]
    if scope.frames is None or not there:
        return
    if not any(begin <= last and first <= end for begin, end in scope.frames for first, last in there):
        raise RunEnds(
            f"--frames {asked!r}: nothing that is meant has such a frame. Nothing was written.",
            f"The frames are {min(first for first, _ in there)} to {max(last for _, last in there)}.",
            Exit.BAD_CONFIGURATION,
        )


def _plan(
    target: Target, saved: SavedAnnotations, unique: bool, task_ids: frozenset[int] | None, scope: Scope
) -> list[_Plan]:
    """Everything is read and checked here; nothing is written."""
    tasks = [task for task in saved.tasks if task.jobs and (task_ids is None or task.id in task_ids)]
    plans = []
    for task, found in match_tasks(target.client, saved, tasks, source_is_unique=unique):
        plan = _Plan(saved.path, task)
        plans.append(plan)
        if isinstance(found, NoMatch):
            plan.problems.append(found.reason)
            continue
        plan.match = found
        translation = Translation(saved.labels, _target_labels(target, found.raw))
        for job, job_id in found.jobs:
            target.stop.check()
            annotations = saved.annotations(task, job)
            said = problems(annotations, int(job["start_frame"]), int(job["stop_frame"]), found.frames)
            if said:
                plan.problems += [f"job {job['id']}: {text}" for text in said]
                continue
            present = target.client.get(f"/api/jobs/{job_id}/annotations")
            wanted = wanted_annotations(annotations, present, scope, translation, int(job["stop_frame"]))
            entry = _Job(job, job_id, counted(present), counted(wanted), same(present, wanted))
            plan.jobs.append(entry)
        if translation.missing:
            listed = ", ".join(sorted(translation.missing)[:5])
            plan.problems.append(f"the task has no {listed}: make it in CVAT first, or narrow with --labels")
    return plans


def _target_labels(target: Target, task: dict[str, Any]) -> Labels:
    project_id = task.get("project_id")
    key, number = ("project_id", project_id) if project_id is not None else ("task_id", task["id"])
    # An unknown query parameter is ignored with 200 (measured): what was answered is looked at.
    found = list(items(target.client, "/api/labels", {key: number}))
    return labels_of(label for label in found if label.get(key, number) == number)


def _show(plans: Sequence[_Plan]) -> None:
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("task", "name", "job", "there now", "would be"):
        table.add_column(heading)
    for plan in plans:
        for job in plan.to_write:
            assert plan.match is not None
            name = Text(printable(plan.task.name, 40))
            table.add_row(str(plan.match.task_id), name, str(job.id), job.before, job.after)
    if table.row_count:
        out.print(table)
        out.print()
    for plan in plans:
        for text in plan.problems:
            out.print(
                Text(f"REFUSED task {plan.task.id} ({printable(plan.task.name, 60)}): {text}", style="red"),
                soft_wrap=True,
            )
    unchanged = sum(job.unchanged for plan in plans for job in plan.jobs)
    if unchanged:
        out.print(f"{plural(unchanged, 'job')} already as saved.", soft_wrap=True)


def _confirm(plans: Sequence[_Plan], arguments: argparse.Namespace) -> None:
    if arguments.yes:
        return
    count = sum(len(plan.to_write) for plan in plans)
    if not sys.stdin.isatty():
        raise RunEnds(
            f"The annotations of {plural(count, 'job')} would be replaced. Nothing was written.",
            "Look at the table above, then run it again with --yes (or on a terminal, where it asks).",
            Exit.BAD_CONFIGURATION,
        )
    print(
        f"Replace the annotations of {plural(count, 'job')}? What is there now is saved first. [y/N] ",
        end="",
        flush=True,
    )
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise RunEnds("Nothing was written.")


def _save_present(target: Target, plans: Sequence[_Plan], folder: Path) -> None:
    """What is there now, in the form in which it was saved, so that the same command puts it back. Raises CvatError."""
    server = server_key(target.client.url)
    wanted: dict[Source, set[int]] = {}
    for plan in plans:
        assert plan.match is not None
        wanted.setdefault(_source_of_task(target, server, plan.match.raw), set()).add(plan.match.task_id)
    for source, task_ids in wanted.items():
        look = look_at(target.client, source)
        tasks = [task for task in look.tasks if task.id in task_ids]
        narrowed = dataclasses.replace(look, tasks=tasks, jobs={task.id: look.jobs[task.id] for task in tasks})
        path = folder / f"{source.kind}-{source.id}_api.zip"
        write_api_archive(target.client, narrowed, path)
        log.get().info("present_annotations_saved", source=str(source), file=str(path))


def _source_of_task(target: Target, server: str, task: dict[str, Any]) -> Source:
    if task.get("project_id") is None:
        return source_of(server, "task", task)
    return source_of(server, "project", target.client.get(f"/api/projects/{task['project_id']}"))


def _write(target: Target, plans: Sequence[_Plan], scope: Scope) -> list[str]:
    failures = []
    for plan in plans:
        assert plan.match is not None
        with SavedAnnotations(plan.archive) as saved:
            translation = Translation(saved.labels, _target_labels(target, plan.match.raw))
            for job in plan.to_write:
                target.stop.check()
                try:
                    present = target.client.get(f"/api/jobs/{job.id}/annotations")
                    annotations = saved.annotations(plan.task, job.saved)
                    wanted = wanted_annotations(annotations, present, scope, translation, int(job.saved["stop_frame"]))
                    put_job(target, job.id, wanted)
                    log.get().info("annotations_put_back", task=plan.match.task_id, job=job.id, holds=job.after)
                except Trouble as error:
                    failures.append(
                        f"job {job.id} of task {plan.match.task_id} ({printable(plan.task.name, 60)}): {error}"
                    )
    return failures


def put_job(target: Target, job_id: int, wanted: dict[str, Any]) -> None:
    """Makes a job hold exactly these annotations. Raises CvatError, also when something else is there afterwards."""
    path, client = f"/api/jobs/{job_id}/annotations", target.client
    content = json.dumps(wanted).encode()
    for _attempt in range(MOST_ATTEMPTS):
        try:
            client.change("PUT", path, content, headers={"Content-Type": "application/json"})
        except errors.OutcomeUnknown as error:
            # Often carried out all the same (measured): wait and look. A job's PUT may then be repeated.
            log.get().warning("annotations_unknown", job=job_id, reason=str(error))
            if not _appears(target, path, wanted):
                continue
        if same(client.get(path), wanted):
            return
        raise errors.ServerError(f"PUT {path}: the server holds something else than it was sent")
    raise errors.ServerError(f"PUT {path}: no answer in {MOST_ATTEMPTS} attempts, and the annotations did not appear")


def _appears(target: Target, path: str, wanted: dict[str, Any]) -> bool:
    waited = 0.0
    for pause in growing_pauses(1, longest=15):
        if same(target.client.get(path), wanted):
            return True
        if waited >= UNKNOWN_SECONDS:
            return False
        target.stop.sleep(pause)
        waited += pause
    return False
