"""`create`: checks, sends, and leaves nothing behind when it fails."""

from __future__ import annotations

import shutil
from typing import Any

from common import log
from common.annotating import checks, report, server
from common.annotating.desk import Desk, SyncRun
from common.annotating.state import Made, Project, Round, new_round
from common.cvat.errors import CvatError
from common.exits import Exit, RunEnds, Trouble
from common.fiftyone.process import WorkerFailed
from common.run import say
from common.text import iso, now, plural, printable
from common.waiting import Stopped

# A request that was under way when the worker was killed may be carried out after we have looked (seconds).
LATE_SECONDS = 1.0


def create(run: SyncRun) -> int:
    """Sends the samples. Raises RunEnds, Stopped, CvatError."""
    desk = Desk(run)
    run.when_stopped = "The next create begins anew."
    with desk.folder.held("create", run.patience):
        _clear_former(desk)
        schema, findings, facts, seen = look(desk)
        report.print_findings(findings.problems, findings.warnings)
        if findings.problems:
            made = (
                f", but for the dataset, which was made of {desk.settings.media_dir} and stays" if seen["made"] else ""
            )
            say(
                f"{plural(len(findings.problems), 'problem')} found beforehand; nothing was created{made}. Correct the "
                "settings (FIFTYONE_SYNC_…) or the dataset."
            )
            return Exit.BAD_CONFIGURATION
        state = new_round(desk.server, desk.settings.dataset, desk.settings.anno_key)
        state.fields, state.permissions = list(schema), checks.permissions_of(schema)
        state.media_type = seen["media_type"]
        state.occluded_attr, state.group_id_attr = desk.settings.occluded_attr, desk.settings.group_id_attr
        state.organization = desk.settings.where
        if facts.project_id is not None:
            state.project = _existing(desk, facts.project_id)
        desk.folder.make()
        desk.folder.write(state)
        try:
            result = _send(desk, state, schema)
            _finish(desk, state, result)
        except BaseException as error:
            _undo(desk, state, error)
            raise
        _tell(desk, state)
    return Exit.ALL_GOOD


def _clear_former(desk: Desk) -> None:
    """What a killed `create` of this key left is removed. Raises RunEnds when the key is in use."""
    former = desk.folder.read()
    if desk.folder.is_orphaned:
        say(f"run.json is missing in {desk.folder.path}: what lies there of an earlier round is put aside.")
    if former is None or former.phase == "cleaned":
        return
    name = f"dataset {former.dataset!r}, key {former.anno_key!r}"
    if former.phase == "created":
        raise RunEnds(
            f"The samples of {name} are in CVAT already ({plural(len(former.tasks), 'task')}, since {former.created_at}).",
            "load brings the labels back, cleanup removes the tasks; or choose another FIFTYONE_SYNC_ANNO_KEY.",
            Exit.BAD_CONFIGURATION,
        )
    desk.round_to_work_on()  # on the right server?
    say(f"A create of {name} was broken off; what it left is removed first.")
    clear_away(desk, former)
    desk.turn_to(desk.settings.where)


def look(
    desk: Desk, build: bool = True
) -> tuple[dict[str, dict[str, Any]], checks.Findings, checks.ServerFacts, dict[str, Any]]:
    """Makes the dataset when it is to be made (with `build`), and finds what stands against a `create`. Raises RunEnds,
    CvatError."""
    settings = desk.settings
    client = desk.client  # the credentials first: nothing else takes so little time
    if settings.where:
        client.get("/api/tasks", {"page_size": 1})  # an organization that does not exist, or is not ours, ends it here
    if settings.access_token is not None:
        log.get().info("token_not_used", detail="FiftyOne signs in with user and password; so does this script")
    tls_remark(desk)
    built: dict[str, Any] = {}
    if settings.media_dir is not None and build:
        built = desk.worker.ask(
            {"do": "build", "dataset": settings.dataset, "media_dir": str(settings.media_dir)}, heard
        )
        log.get().info("dataset_ready", dataset=settings.dataset, **built)
    schema = checks.schema_of(settings)
    seen = desk.worker.ask(
        {
            "do": "describe", "dataset": settings.dataset, "view": settings.view.as_request(), "fields": list(schema),
            "task_size": settings.task_size, "files": True,
        },
        heard,
    )  # fmt: skip
    if not seen["exists"]:
        there = ", ".join(printable(each, 60) for each in seen["datasets"]) or "none at all"
        raise RunEnds(
            f"FiftyOne has no dataset {settings.dataset!r}; it has {there}.",
            "Correct FIFTYONE_SYNC_DATASET, or set FIFTYONE_SYNC_MEDIA_DIR to make it of a folder.",
            Exit.BAD_CONFIGURATION,
        )
    project = server.find_project(client, settings.project_name) if settings.project_name else None
    wanted = {*settings.task_assignee, *settings.job_assignees}
    known = server.users(client, wanted)
    facts = checks.ServerFacts(
        project_id=int(project["id"]) if project else None,
        project_labels=tuple(each["name"] for each in server.labels_of(client, project_id=project["id"]))
        if project
        else (),
        unknown_users=tuple(sorted(wanted - set(known))),
    )
    return schema, checks.check(settings, schema, seen, facts), facts, dict(seen) | {"made": bool(built.get("made"))}


def tls_remark(desk: Desk) -> None:
    settings = desk.settings
    if not settings.verify_tls and settings.ca_bundle is None:
        log.get().warning(
            "fiftyone_tls_not_verified", detail="CVAT_VERIFY_TLS=false: what FiftyOne sends can be read, too"
        )


def _existing(desk: Desk, project_id: int) -> Project:
    """An existing project, with the labels that FiftyOne will add an attribute to: those that do not have it."""
    found = desk.client.get(f"/api/projects/{project_id}")
    labels = server.labels_of(desk.client, project_id=project_id)
    without = [
        each["id"] for each in labels if all(attribute["name"] != "label_id" for attribute in each["attributes"])
    ]
    return Project(project_id, found["name"], False, found.get("created_date", ""), without)


def _send(desk: Desk, state: Round, schema: dict[str, dict[str, Any]]) -> dict[str, Any]:
    settings = desk.settings
    new_project = bool(settings.project_name) and state.project is None

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "task_made":
            state.tasks.append(Made(int(event["id"]), str(event["name"]), str(event.get("created_date") or "")))
            desk.folder.write(state)
        elif event["event"] == "project_made":
            state.project = Project(int(event["id"]), str(event["name"]), True)
            desk.folder.write(state)
        heard(event)

    request = {
        "do": "create", "dataset": settings.dataset, "anno_key": settings.anno_key,
        "view": settings.view.as_request(), "folder": str(desk.folder.path), "fields": list(schema),
        "marker": state.marker, "new_project": new_project, "connection": desk.connection,
        "annotate": annotate_arguments(desk, state, schema),
    }  # fmt: skip
    result: dict[str, Any] = desk.worker.ask(request, note)
    return result


def annotate_arguments(desk: Desk, state: Round, schema: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The arguments of FiftyOne's annotate() but for the credentials. Jobs are assigned by us: it reverses their order."""
    settings = desk.settings
    project: dict[str, Any] = {}
    if state.project is not None:
        project = {"project_id": state.project.id}
    elif settings.project_name:
        project = {"project_name": settings.project_name}
    given = {
        "label_schema": schema,
        "task_size": settings.task_size,
        "segment_size": settings.segment_size,
        "image_quality": settings.image_quality,
        "task_assignee": list(settings.task_assignee) or None,
        "task_name": task_name(settings.dataset),
        "occluded_attr": settings.occluded_attr or None,
        "group_id_attr": settings.group_id_attr or None,
        "frame_start": settings.frame_start,
        "frame_stop": settings.frame_stop,
        "frame_step": settings.frame_step,
        **project,
    }
    return {name: value for name, value in given.items() if value is not None}


def task_name(dataset: str) -> str:
    """FiftyOne's own name of a task, cut so that CVAT takes it with our mark and a number."""
    return f"FiftyOne_{dataset.replace(' ', '_')}"[:200]


def _finish(desk: Desk, state: Round, result: dict[str, Any]) -> None:
    """Writes down what the server holds now, assigns jobs, gives everything its right name."""
    client = desk.client
    samples = {each["id"]: each["samples"] for each in result["tasks"]}
    state.label_schema, state.classes = result["label_schema"], result["classes"]
    state.samples, state.recorded_at = result["samples"], result["recorded_at"]
    for number, made in enumerate(state.tasks):
        made.samples = samples.get(made.id, 0)
        made.created_date = made.created_date or str(client.get(f"/api/tasks/{made.id}").get("created_date") or "")
        held = server.held(client, made.id)
        _require_all_frames(state, made, int(held["meta"].get("size") or 0))
        desk.folder.write_held("baseline", made.id, held)
        _assign(desk, state, number, made)
    project = state.project
    if project is not None and project.made_by_us:
        project.created_date = str(client.get(f"/api/projects/{project.id}").get("created_date") or "")
    desk.folder.write(state)  # with the dates by which they are known again when they have lost the mark
    for made in state.tasks:
        server.change(client, f"/api/tasks/{made.id}", {"name": made.name})
    if project is not None and project.made_by_us:
        server.change(client, f"/api/projects/{project.id}", {"name": project.name})
    state.seen_at = {str(made.id): server.changed_at(client, made.id) for made in state.tasks}
    desk.folder.seal(state)
    state.phase, state.created_at = "created", iso(now())
    desk.folder.write(state)


def _require_all_frames(state: Round, made: Made, frames: int) -> None:
    """FiftyOne only warns when the server took fewer images than it was sent. Raises RunEnds."""
    if state.media_type == "image" and frames < made.samples:
        raise RunEnds(
            f"CVAT took {plural(frames, 'image')} of {made.samples:,} into task {made.id}.",
            "Look at the images of the dataset (the server's log names those that it refused), then create again.",
        )


def _assign(desk: Desk, state: Round, number: int, made: Made) -> None:
    """Gives a task's jobs to the people named, in turn, in the order of their frames; a video's only job by its number."""
    names = desk.settings.job_assignees
    if not names:
        return
    known = server.users(desk.client, set(names))
    first = number if state.media_type == "video" else 0
    for at, job in enumerate(server.jobs_of(desk.client, made.id), first):
        name = names[at % len(names)]
        if name in known:
            server.change(desk.client, f"/api/jobs/{job['id']}", {"assignee": known[name]})


def _undo(desk: Desk, state: Round, error: BaseException) -> None:
    """After a failure: what was made is removed. What cannot be is found by the next `create` of the same key."""
    if isinstance(error, Stopped | KeyboardInterrupt):
        desk.after_a_stop()
    try:
        clear_away(desk, state)
    except (RunEnds, Trouble, CvatError, OSError, Stopped) as other:
        log.get().warning("not_cleared_away", reason=printable(str(other), 300))
        say("What was made could not be removed now; the next create with the same key does it.")
        return
    say("The create failed; what it had made was removed again, in CVAT and in FiftyOne.")
    project = state.project
    if project is not None and not project.made_by_us and project.labels and isinstance(error, WorkerFailed):
        say(f"Labels of project {project.name!r} may have kept the attribute label_id: FiftyOne adds it first.")


def clear_away(desk: Desk, state: Round) -> None:
    """Removes tasks and a project that this round made, and FiftyOne's record of it. Raises CvatError, RunEnds."""
    for again in (False, True):
        if again:
            desk.stop.sleep(LATE_SECONDS)
        tasks, projects = server.leftovers(desk.client, state)
        for number in tasks:
            if server.delete(desk.client, f"/api/tasks/{number}"):
                log.get().info("task_removed", task=number)
        for number in projects:
            if server.delete(desk.client, f"/api/projects/{number}"):
                log.get().info("project_removed", project=number)
    desk.forget_record(state)
    shutil.rmtree(desk.folder.path)


def heard(event: dict[str, Any]) -> None:
    """The worker's events as log lines."""
    level = "debug" if event["event"] in ("waiting_for_jobs", "preparing", "uploaded") else "info"
    getattr(log.get(), level)(str(event["event"]), **{name: value for name, value in event.items() if name != "event"})


def _tell(desk: Desk, state: Round) -> None:
    report.print_tasks(desk.settings.url, [(each.id, each.name, each.samples) for each in state.tasks])
    say(
        f"Sent {plural(state.samples, 'sample')} in {plural(len(state.tasks), 'task')}. Annotate in CVAT, then: "
        "fiftyone_sync.py load"
    )
    if desk.settings.launch_editor and state.tasks:
        import webbrowser

        webbrowser.open(f"{desk.settings.url}/tasks/{state.tasks[0].id}", new=2)
