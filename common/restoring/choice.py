"""What the arguments of restore.py mean."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common import log
from common.backups.names import stamp_of, stamp_time
from common.backups.record import Content
from common.backups.store import Backup, Overlooked
from common.restoring.find import (
    Chosen,
    NotThere,
    at_moment,
    by_file,
    inside_projects,
    matching,
    moment_of,
    of_backup,
    sources_on_disk,
    the_one,
)
from common.restoring.saved import SavedAnnotations
from common.restoring.settings import RestoreSettings
from common.restoring.verify import parse_share
from common.run import say
from common.sources import Kind


def wrong_arguments(arguments: argparse.Namespace) -> list[str]:
    """What contradicts itself or is missing, one line each."""
    problems = []
    doing = [name for name in ("list", "verify", "annotations_only", "extract", "drill") if getattr(arguments, name)]
    if len(doing) > 1:
        problems.append(f"--{doing[0].replace('_', '-')} and --{doing[1].replace('_', '-')} exclude each other")
    which = [name for name in ("project", "task", "all") if getattr(arguments, name)]
    if len(which) > 1:
        problems.append(f"--{which[0]} and --{which[1]} exclude each other")
    if (
        not which
        and arguments.at == "latest"
        and not (doing and doing != ["extract"] and doing != ["annotations_only"])
    ):
        problems.append("say what: --project ID|NAME, --task ID|NAME, --all, or --at FILE (--list shows what there is)")
    if arguments.all and arguments.name:
        problems.append("--name is for one backup, not for --all")
    if arguments.drill and arguments.all:
        problems.append("--drill restores one backup: it does not go with --all")
    if arguments.drill == "given" and not which and arguments.at == "latest":
        problems.append("--drill given needs --project, --task or --at FILE")
    if arguments.share and not arguments.verify:
        problems.append("--share belongs to --verify")
    if arguments.share:
        try:
            parse_share(arguments.share)
        except ValueError as error:
            problems.append(str(error))
    if not arguments.annotations_only:
        problems += [
            f"--{name} belongs to --annotations-only" for name in ("frames", "labels") if getattr(arguments, name)
        ]
    return problems


def chosen_archives(
    settings: RestoreSettings,
    arguments: argparse.Namespace,
    preferred: str,
    content: Content = "backup",
    overlooked: list[Overlooked] | None = None,
) -> list[Chosen]:
    """The archives that are meant; `overlooked` is told of what could not be read meanwhile. Raises NotThere."""
    kind: Kind | None = "project" if arguments.project else "task" if arguments.task else None
    text = arguments.project or arguments.task
    if arguments.at != "latest" and (chosen := by_file(arguments.at, settings.dir)) is not None:
        if arguments.all:
            raise NotThere("--all and --at FILE exclude each other: a file is one backup.")
        return [Chosen(chosen.path, chosen.backup, kind or chosen.kind)]
    groups = sources_on_disk(settings.dir, content, arguments.server, preferred, overlooked)
    if not arguments.all and not text:
        every = [backup for group in groups for backup in group]
        if (chosen := by_file(arguments.at, settings.dir, every)) is not None:
            return [chosen]
        raise NotThere(f"--at {arguments.at!r} is no file, and no --project or --task is given.")
    if arguments.all:
        everything = [each for group in groups if (each := _for_all(group, arguments.at)) is not None]
        if not everything:
            raise NotThere(f"--at {arguments.at}: nothing has a backup that old.")
        return everything
    if (
        arguments.task
        and not matching(groups, "task", text)
        and (inside := inside_projects(groups, text, arguments.at))
    ):
        return inside
    group = the_one(groups, kind, text)
    return [by_file(arguments.at, settings.dir, group) or of_backup(at_moment(group, arguments.at))]


def say_overlooked(overlooked: Sequence[Overlooked], chosen: Sequence[Chosen], at: str) -> bool:
    """Names folders that could not be read, and newer records of what was chosen; whether there was any."""
    newest = {each.backup.folder: each.backup.record for each in chosen if each.backup is not None}
    said = False
    for each in overlooked:
        if each.is_record:
            record = newest.get(each.path.parent)
            stamp = stamp_of(each.path.name, record.content) if record else None
            if at != "latest" or record is None or stamp is None or stamp < record.stamp:
                continue
        say(f"{each} ({each.path})")
        said = True
    return said


def _for_all(group: list[Backup], at: str) -> Chosen | None:
    """One source of --all. Without a good backup it is tried all the same, so that the report says why it failed."""
    try:
        return of_backup(at_moment(group, at))
    except NotThere as error:
        limit = moment_of(at)
        if at != "latest" and limit is None:
            raise
        old_enough = [each for each in group if limit is None or (stamp_time(each.record.stamp) or limit) <= limit]
        if old_enough:
            return of_backup(old_enough[0])
        log.get().info("no_backup_that_old", source=str(group[0].record.source), detail=error.why)
        return None


def chosen_annotations(
    settings: RestoreSettings,
    arguments: argparse.Namespace,
    preferred: str,
    overlooked: list[Overlooked] | None = None,
) -> list[tuple[Path, bool, frozenset[int] | None]]:
    """Saved annotations that are meant: the archive, whether its source's name is the only one of its kind on the disk,
    and which of its tasks (None: all). `--task` may also name a task inside a project. Raises NotThere."""
    text = arguments.project or arguments.task
    if arguments.at != "latest" and (chosen := by_file(arguments.at, settings.dir)) is not None:
        path = chosen.path
        if chosen.backup is not None and chosen.backup.record.content == "annotations":
            path = chosen.backup.path
        return [(path, True, _tasks_named(path, arguments.task) if arguments.task else None)]
    groups = sources_on_disk(settings.dir, "annotations", arguments.server, preferred, overlooked)
    names = Counter((group[0].record.source.kind, group[0].record.source.name) for group in groups)

    def meant(group: list[Backup], task_ids: frozenset[int] | None = None) -> tuple[Path, bool, frozenset[int] | None]:
        source = group[0].record.source
        chosen = by_file(arguments.at, settings.dir, group) if arguments.at != "latest" else None
        path = chosen.path if chosen else at_moment(group, arguments.at).path
        return path, names[source.kind, source.name] == 1, task_ids

    if arguments.all:
        return [meant(group) for group in groups]
    if not text:
        every = [backup for group in groups for backup in group]
        if (found := by_file(arguments.at, settings.dir, every)) is not None and found.backup is not None:
            return [meant([found.backup])]
        raise NotThere(f"--at {arguments.at!r} is no file, and no --project or --task is given.")
    if arguments.task and not matching(groups, "task", text):
        inside = [meant(group) for group in groups if group[0].record.source.kind == "project"]
        found_in = [(path, unique, ids) for path, unique, _all in inside if (ids := _tasks_named(path, text))]
        if len(found_in) > 1 or (found_in and len(found_in[0][2]) > 1):
            raise NotThere(f"{text!r} means several tasks.", "Choose one by its id, or add --at FILE.")
        if found_in:
            return list(found_in)
    return [meant(the_one(groups, "project" if arguments.project else "task", text))]


def _tasks_named(path: Path, text: str) -> frozenset[int]:
    with SavedAnnotations(path) as saved:
        by_id = frozenset(task.id for task in saved.tasks if text.isdecimal() and task.id == int(text))
        return by_id or frozenset(task.id for task in saved.tasks if task.name == text)
