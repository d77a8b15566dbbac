"""The commands of sc_migrate.py: what each does with the projects it is given, and how a run of several ends."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from common import log
from common.exits import Exit, RunEnds, Trouble
from common.files import DiskFull, is_folder, is_there, write_json
from common.lock import Locked
from common.migrating.archives import export_archive, import_archive
from common.migrating.download import Wanted, download_project
from common.migrating.folder import project_folders
from common.migrating.making import Order, fingerprint_of, left_behind, make_folder, require_apart
from common.migrating.names import project_folder, safe_id, safe_name
from common.migrating.pictures import plan_for
from common.migrating.reading import NoDataset, read_dataset
from common.migrating.report import WIDTH, Outcome, Report, exit_code, print_reports, told
from common.migrating.source import open_source
from common.migrating.target import NameTaken
from common.migrating.upload import upload_project
from common.migrating.upload_job import IfThere
from common.migrating.verify import verify_files, verify_server
from common.ownership import path_of, what_to_do
from common.run import Run
from common.sc import configuration
from common.sc.address import server_key
from common.sc.client import Client
from common.sc.projects import (
    Project,
    choose,
    datasets_of,
    get_project,
    is_gone,
    list_projects,
    same_moment,
    statistics,
    trainable_tasks,
)
from common.sc.settings import ScSettings
from common.sc.signing_in import connect
from common.stdout import console
from common.text import printable
from common.web import errors

PROJECT_TYPES = (
    "detection", "segmentation", "classification", "anomaly", "rotated_detection", "instance_segmentation",
    "keypoint", "detection_to_segmentation", "detection_to_classification",
)  # fmt: skip
_MIGRATED_BEFORE = (
    "it was migrated before, and the source counts as much as then: nothing was sent again "
    "(annotations that were changed since are not looked for)"
)
ScRun = Run[ScSettings]
_NEEDED = {
    "download": "a project's name or id", "upload": "a folder", "upload-all": "a folder of projects",
    "verify": "a folder", "configure": "a project's name or id", "export-archive": "a project's name or id",
    "import-archive": "an archive's file", "create-from-dataset": "a dataset's folder",
    "cvat-to-sc": "a project's name or id in CVAT, or a backup file",
    "sc-to-cvat": "a project's name or id, or a downloaded folder",
}  # fmt: skip


def wrong_arguments(arguments: argparse.Namespace) -> list[str]:
    """What this call lacks or has too much of, one line each."""
    command, given = arguments.command, arguments.what
    problems = []
    if command in _NEEDED and not given:
        problems.append(f"{command} needs {_NEEDED[command]}")
    if command == "migrate" and bool(given) == arguments.all:
        problems.append("migrate needs a project's name or id, or --all")
    if command in ("list", "download-all") and given:
        problems.append(f"{command} takes no project")
    if arguments.name and (arguments.all or (len(given) > 1 and command != "configure") or command == "upload-all"):
        problems.append("--name fits one project only")
    if command == "create-from-dataset" and not arguments.project_type:
        problems.append("create-from-dataset needs --type")
    if arguments.images < 0:
        problems.append(f"--images is a number of images, not {arguments.images}")
    if command == "configure" and any("=" not in each for each in given[1:]):
        problems.append("configure takes NAME=VALUE after the project")
    return problems


# --- the frame of every command over several projects ------------------------------------------------------------


def each_of(run: ScRun, verb: str, work: Iterable[tuple[str, Callable[[], Report]]]) -> int:
    """Does one after another; one that fails never stops the rest. Prints what became of them."""
    reports: list[Report] = []
    try:
        for name, do in work:
            run.stop.check()
            try:
                report = do()
            except (Trouble, Locked, OSError) as error:
                log.get().warning("project_failed", project=name, reason=str(error))
                report = _failed(name, error)
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                # An answer that nobody foresaw: the other projects are still carried.
                log.get().warning(
                    "unexpected_error", project=name, reason=f"{type(error).__name__}: {error}", exc_info=True
                )
                report = Report(
                    name,
                    "failed",
                    gaps=[f"something unforeseen in an answer or a file ({type(error).__name__}: {error})"],
                )
            else:
                log.get().info("project_over", project=name, outcome=report.outcome, verb=verb, where=report.where)
            reports.append(report)
    finally:
        if reports:
            run.exit_code = exit_code(reports) or Exit.SOME_FAILED
            print_reports(reports, verb)
    return exit_code(reports)


def _failed(name: str, error: Exception) -> Report:
    """The report of a project that could not be worked on."""
    outcome: Outcome = "refused" if isinstance(error, NameTaken) else "failed"
    outcome = "locked" if isinstance(error, Locked) else outcome
    remedy = getattr(error, "remedy", "")
    if isinstance(error, DiskFull):
        remedy = "Make room on the disk of SC_DIR, or lower SC_MIN_FREE_GB."
    what = str(error)
    if isinstance(error, OSError) and (path := path_of(error)) is not None:
        what = f"{path}: {error.strerror}"
        folder = path if os.path.isdir(path) else path.parent  # noqa: PTH112 - Path's raises where it may not look
        remedy = (
            "Nothing can be written there: copy it to a folder that can be written, and name that one."
            if error.errno == errno.EROFS
            else what_to_do(folder, error, "sc_migrate.py")
        )
    return Report(name, outcome, gaps=[what], remedy=remedy)


def chosen_projects(client: Client, names: Iterable[str], everything: bool) -> list[Project]:
    listed = list_projects(client)
    if everything:
        if not listed:
            raise RunEnds(f"{client.url} has no projects in workspace {client.workspace.get('name', '')!r}.")
        return listed
    return [choose(listed, each) for each in names]


def wanted(run: ScRun) -> Wanted:
    return Wanted(run.arguments.predictions, run.arguments.models, int(run.settings.min_free_gb * 1e9))


def if_there(run: ScRun) -> IfThere:
    return "resume" if run.arguments.resume else "merge" if run.arguments.merge else "refuse"


# --- commands ---------------------------------------------------------------------------------------------------


def list_all(run: ScRun) -> int:
    """The projects of the workspace."""
    client = connect(run.settings.source, run.stop)
    table = Table("id", "name", "created", "tasks", "labels", box=box.SIMPLE_HEAD, pad_edge=False)
    for each in list_projects(client):
        tasks = trainable_tasks(each)
        labels = sum(len(task.get("labels") or []) for task in tasks)
        table.add_row(
            *(Text(printable(text, 60)) for text in (
                str(each["id"]), str(each["name"]), str(each.get("creation_time", ""))[:10],
                " → ".join(str(task["task_type"]) for task in tasks), str(labels),
            ))
        )  # fmt: skip
    screen = console(WIDTH)
    where = f"{client.generation.name}  workspace {client.workspace.get('name', '')}"
    screen.print(Text(f"{client.url}  {printable(where)}"))  # as text: rich takes [words] for markup
    screen.print(table)
    return Exit.ALL_GOOD


def download(run: ScRun) -> int:
    """download, download-all."""
    client = connect(run.settings.source, run.stop)
    projects = chosen_projects(client, run.arguments.what, run.arguments.command == "download-all")
    base = Path(run.arguments.into).expanduser().absolute() if run.arguments.into else run.settings.dir
    alone = run.arguments.into and run.arguments.command == "download" and len(projects) == 1

    def of(project: Project) -> Callable[[], Report]:
        folder = base if alone else base / project_folder(str(project["id"]), str(project["name"]))
        return lambda: download_project(client, str(project["id"]), known_folder(base, folder, project), wanted(run))

    return each_of(run, "downloaded", ((str(each["name"]), of(each)) for each in projects))


def known_folder(base: Path, folder: Path, project: Project) -> Path:
    """The folder that already holds this project under an earlier name, or the given one."""
    if folder == base or is_there(folder) or not is_folder(base):
        return folder
    prefix = safe_id(str(project["id"])) + "_"
    return next((each for each in sorted(base.iterdir()) if each.name.startswith(prefix) and is_folder(each)), folder)


def upload(run: ScRun) -> int:
    """upload, upload-all."""
    client = connect(run.settings.source, run.stop)
    folders = [Path(each).expanduser().absolute() for each in run.arguments.what]
    if run.arguments.command == "upload-all":
        for each in folders:
            if not is_folder(each):
                raise RunEnds(f"{each} is not a folder.", exit_code=Exit.BAD_CONFIGURATION)
        folders = [each for folder in folders for each in project_folders(folder)]
        if not folders:
            raise RunEnds("There are no projects in there (a project is a folder with a project.json).")

    def of(folder: Path) -> Callable[[], Report]:
        return lambda: upload_project(client, open_source(folder), run.arguments.name or "", if_there(run))

    return each_of(run, "uploaded", ((each.name, of(each)) for each in folders))


def migrate(run: ScRun) -> int:
    """From SC_HOST to SC_TARGET_HOST, with a folder of SC_DIR between."""
    source = connect(run.settings.source, run.stop)
    target = connect(run.settings.target, run.stop)
    if (source.url, source.home) == (target.url, target.home):
        raise RunEnds("SC_HOST and SC_TARGET_HOST are the same workspace.", exit_code=Exit.BAD_CONFIGURATION)
    projects = chosen_projects(source, run.arguments.what, run.arguments.all)
    base = run.settings.dir / "spool" / safe_name(server_key(source.url))

    def of(project: Project) -> Callable[[], Report]:
        return lambda: _migrated(run, source, target, project, base)

    return each_of(run, "migrated", ((str(each["name"]), of(each)) for each in projects))


def _counted(client: Client, project_id: str) -> dict[str, dict[str, int] | None]:
    """What the server counts in each dataset: whether a project that was migrated has changed since."""
    found = {}
    for each in datasets_of(client, get_project(client, project_id)):
        said = statistics(client, project_id, each.id)
        found[each.id] = None if said is None else dict(said)
    return found


def _migrated(run: ScRun, source: Client, target: Client, project: Project, base: Path) -> Report:
    folder = known_folder(base, base / project_folder(str(project["id"]), str(project["name"])), project)
    finished = folder / f".migrated-{safe_name(server_key(target.url))}-{safe_name(str(target.workspace['id']))}.json"
    name = run.arguments.name or str(project["name"])
    counted = _counted(source, str(project["id"]))
    before = _record(finished)
    if before.get("name") == name:
        if not _is_there(target, str(before.get("project") or ""), str(before.get("created_at") or "")):
            log.get().warning("project_is_gone", project=name, detail="it was deleted on the target: migrated again")
        elif before.get("counted") == counted:
            if not before.get("kept"):
                _clear_spool(run, folder)  # the run that finished may have been killed while it did
            return Report(name, where=str(before["where"]), notes=[_MIGRATED_BEFORE])
        else:
            log.get().info("source_has_changed", project=name, before=before.get("counted"), now=counted)
    downloaded = download_project(source, str(project["id"]), folder, wanted(run))
    report = upload_project(target, open_source(folder), name, if_there(run))
    report.notes += [each for each in downloaded.notes if each.split(":")[0] not in "".join(report.notes)]
    report.seconds += downloaded.seconds
    if report.outcome == "done":
        kept = bool(run.arguments.keep_spool)
        write_json(
            finished,
            {
                "name": name,
                "where": report.where,
                "project": report.project_id,
                "created_at": report.project_created_at,
                "counted": counted,
                "kept": kept,
            },
        )
        _clear_spool(run, folder)
    return report


def _is_there(client: Client, project_id: str, created_at: str) -> bool:
    """Whether the project is still there, and not another one of its id on a server that was set up anew. Raises WebError."""
    if not project_id:
        return False
    try:
        found = str(get_project(client, project_id).get("creation_time") or "")
    except errors.NotFound as error:
        if is_gone(client, project_id, error):
            return False
        raise
    return same_moment(created_at, found)


def _record(path: Path) -> dict[str, Any]:
    """What an earlier migration noted when it was over; nothing where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _clear_spool(run: ScRun, folder: Path) -> None:
    if not run.arguments.keep_spool:
        for part in ("images", "videos", "models", "predictions"):
            shutil.rmtree(folder / part, ignore_errors=True)


def verify(run: ScRun) -> int:
    """Folders against their records, with --server also against SC_HOST."""
    folders = [Path(each).expanduser().absolute() for each in run.arguments.what]
    client = connect(run.settings.source, run.stop) if run.arguments.server else None

    def of(folder: Path) -> Callable[[], Report]:
        def do() -> Report:
            report = verify_files(folder, run.stop, run.settings.connections)
            if client is None:
                return report
            compared = verify_server(folder, client, run.arguments.name or "")
            compared.gaps = report.gaps + compared.gaps
            compared.notes = report.notes + compared.notes
            compared.remedy = report.remedy
            return compared.settle()

        return do

    return each_of(run, "verified", ((each.name, of(each)) for each in folders))


def configure(run: ScRun) -> int:
    """Sets values for all tasks of a project; without values shows what can be set."""
    client = connect(run.settings.source, run.stop)
    name, *given = run.arguments.what
    project = get_project(client, str(choose(list_projects(client), name)["id"]))
    if given:
        values = {key: _value(text) for key, text in (each.split("=", 1) for each in given)}
        configuration.set_everywhere(client, project, values)
    titles = [str(task["title"]) for task in trainable_tasks(project)]
    shown = {name for each in given for name in configuration.ALIASES.get(each.split("=")[0], (each.split("=")[0],))}
    table = Table("task", "name", "value", box=box.SIMPLE_HEAD, pad_edge=False)
    for each in configuration.parameters(configuration.read(client, project)):
        if not shown or each.name in shown or ".".join(each.key) in shown:
            where = "" if each.task is None else printable(titles[each.task], 40)
            table.add_row(Text(where), Text(printable(".".join(each.key))), Text(printable(json.dumps(each.value))))
    console(WIDTH).print(table)
    return Exit.ALL_GOOD


def _value(text: str) -> Any:
    """true, 500, 0.1 and null as such; anything else is text. on and off are what people say of switches."""
    switch = {"on": True, "yes": True, "off": False, "no": False}.get(text.lower())
    if switch is not None:
        return switch
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:
        return text


def export(run: ScRun) -> int:
    """The server's own archives."""
    client = connect(run.settings.source, run.stop)
    folder = Path(run.arguments.into).expanduser().absolute() if run.arguments.into else run.settings.dir / "archives"
    projects = chosen_projects(client, run.arguments.what, run.arguments.all)
    reserve = int(run.settings.min_free_gb * 1e9)

    def of(project: Project) -> Callable[[], Report]:
        return lambda: export_archive(
            client, project, folder, run.arguments.include_models, run.settings.job_timeout_hours, reserve
        )

    return each_of(run, "exported", ((str(each["name"]), of(each)) for each in projects))


def import_(run: ScRun) -> int:
    """Projects of the server's own archives."""
    client = connect(run.settings.source, run.stop)
    files = [Path(each).expanduser().absolute() for each in run.arguments.what]

    def of(file: Path) -> Callable[[], Report]:
        return lambda: import_archive(client, file, run.arguments.name or "", run.settings.job_timeout_hours)

    return each_of(run, "imported", ((each.name, of(each)) for each in files))


def create_from_dataset(run: ScRun) -> int:
    """Projects of datasets that other tools wrote."""
    client = connect(run.settings.source, run.stop)
    arguments = run.arguments

    def of(path: Path) -> Callable[[], Report]:
        name = arguments.name or path.name
        return lambda: project_from_dataset(
            client, run.settings.dir / "datasets", path, name, arguments.project_type, data_format=arguments.format or "",
            labels=arguments.labels or "", order=Order(arguments.images), if_there=if_there(run),
        )  # fmt: skip

    paths = [Path(each).expanduser().absolute() for each in arguments.what]
    return each_of(run, "created", ((each.name, of(each)) for each in paths))


def project_from_dataset(
    client: Client, base: Path, dataset: Path, name: str, project_type: str, *, data_format: str = "", labels: str = "",
    order: Order, if_there: IfThere = "refuse", auto_training: bool | None = None,
) -> Report:  # fmt: skip
    """Makes a project of a dataset: read, laid down as a folder below `base`, uploaded. Raises Trouble."""
    folder = base / (safe_name(name) or "project")
    require_apart(dataset, folder)
    read = read_dataset(dataset, data_format)
    try:
        plan = plan_for(project_type, read.labels, labels, read.keypoints)
    except ValueError as error:
        raise NoDataset(str(error)) from None
    origin = {
        "dataset": str(dataset), "fingerprint": fingerprint_of(dataset, client.stop), "type": project_type,
        "labels": labels, "order": dataclasses.asdict(order),
    }  # fmt: skip
    lost = make_folder(read.pictures(), plan, name, folder, order, origin, client.stop, client.patience_with_runs)
    report = upload_project(client, open_source(folder), name, if_there, auto_training=auto_training)
    missing = left_behind(lost)
    report.gaps += told(missing)
    report.notes += told(lost - missing)
    if not report.images:
        report.gaps.append("the dataset has no image with these labels")
    return report.settle()
