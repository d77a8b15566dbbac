"""cvat-to-sc and sc-to-cvat: where the two kinds of server meet. CVAT's side is a backup file both ways."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.backups.archive import BadArchive
from common.cvat import exports
from common.cvat.client import Client as CvatClient
from common.cvat.client import connect as connect_cvat
from common.cvat.download import opener
from common.cvat.listing import items, look_at, source_of
from common.cvat.settings import missing_server_settings
from common.exits import Exit, RunEnds, Trouble
from common.files import publish, write_json
from common.hashing import sha256_of
from common.lock import locked
from common.migrating.commands import PROJECT_TYPES, ScRun, chosen_projects, each_of, if_there, known_folder, wanted
from common.migrating.cvat_reading import plan_of, read_backup
from common.migrating.cvat_writing import write_backup
from common.migrating.download import download_project
from common.migrating.folder import ProjectFolder
from common.migrating.making import Order as Amount
from common.migrating.making import make_folder
from common.migrating.names import project_folder, safe_name
from common.migrating.report import Report
from common.migrating.source import open_source
from common.migrating.upload import upload_project
from common.progress import Display
from common.restoring.find import Chosen
from common.restoring.order import Order, Target, open_target
from common.restoring.presence import ExistsAlready
from common.restoring.putting import put_back
from common.restoring.settings import RestoreSettings
from common.restoring.soundness import kind_of
from common.sc.client import Client
from common.sc.signing_in import connect
from common.settings import SettingsError, load
from common.sources import Source as CvatSource
from common.text import plural, printable
from common.transfer import Interrupted, PartFile, fetch
from common.waiting import Deadline

TYPES = tuple(each for each in PROJECT_TYPES if "_to_" not in each)
_NO_COUNTERPART = "configuration, models and predictions have no counterpart in CVAT"


class OnCvat(Trouble):
    """CVAT cannot be asked for this project, or has one of this name."""

    remedy = "Choose another --name."


def needs_cvat(command: str, what: list[str], into: str | None) -> bool:
    """Whether a call talks to CVAT at all: backup files are read and written without it."""
    if command == "sc-to-cvat":
        return not into
    return command == "cvat-to-sc" and any(not Path(each).expanduser().is_file() for each in what)


def needs_sc(command: str, what: list[str]) -> bool:
    """Whether a call talks to SC_HOST: a folder that was downloaded is read without it."""
    return command != "sc-to-cvat" or any(not (Path(each).expanduser() / "project.json").is_file() for each in what)


def cvat_problems() -> list[str]:
    """What is wrong with or missing in the settings of CVAT, one line each."""
    try:
        load(RestoreSettings, also_check=[missing_server_settings])
    except SettingsError as error:
        return error.problems
    return []


# --- CVAT -> SC -------------------------------------------------------------------------------------------------


def cvat_to_sc(run: ScRun) -> int:
    """Projects of CVAT_URL, or backup files, as projects on SC_HOST."""
    client = connect(run.settings.source, run.stop)
    given = run.arguments.what
    cvat: CvatClient | None = None
    if needs_cvat("cvat-to-sc", given, None):
        cvat, _version, _account = connect_cvat(load(RestoreSettings).settings, run.stop)

    def of(text: str) -> Callable[[], Report]:
        return lambda: _to_sc(run, client, cvat, text)

    return each_of(run, "carried over", ((text, of(text)) for text in given))


def _to_sc(run: ScRun, client: Client, cvat: CvatClient | None, text: str) -> Report:
    began = time.monotonic()
    base = run.settings.dir / "cvat"
    path = Path(text).expanduser().absolute()
    backup = path if path.is_file() or cvat is None else _exported(run, cvat, text, base)
    project_type, labels = run.arguments.project_type or "", run.arguments.labels or ""
    digest = sha256_of(backup, run.stop.check)
    stem = backup.stem if path.is_file() else backup.stem.rpartition("_")[0]
    folder = base / f"{safe_name(stem)}_{digest[:12]}{'_' + project_type if project_type else ''}"
    origin = {"dataset": digest, "type": project_type, "labels": labels}
    told = _laid_down(run, backup, folder, origin)
    report = upload_project(client, open_source(folder), run.arguments.name or told["name"], if_there(run))
    report.gaps += told["gaps"]
    report.notes += told["lost"]
    report.seconds = time.monotonic() - began
    return report.settle()


def _laid_down(run: ScRun, backup: Path, folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """The backup as the folder of a project; what it is called, what is missing and what has no counterpart."""
    record = folder / "from-cvat.json"
    if record.exists() and ProjectFolder(folder).manifest() is not None:
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if known.get("origin") == origin:
            return known
    unpacked = folder.with_name(f".{folder.name}.unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        contents = read_backup(backup, unpacked, run.stop.check)
        try:
            plan = plan_of(contents, origin["type"], origin["labels"])
        except ValueError as error:
            raise Trouble(f"{printable(contents.name, 60)}: {error}") from None
        lost = Counter(make_folder(contents.pictures, plan, contents.name, folder, _EVERYTHING, origin, run.stop))
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    # An image that stays behind is missing; a shape that no task has a place for has no counterpart.
    gaps = [
        *contents.gaps,
        *_told(Counter({text: n for text, n in lost.items() if text.startswith("an image that cannot")})),
    ]
    gaps += _told(Counter({text: n for text, n in lost.items() if text.startswith("an image of a kind")}))
    contents.lost.update(
        {text: n for text, n in lost.items() if not text.startswith(("an image that cannot", "an image of"))}
    )
    told = {"origin": origin, "name": contents.name, "gaps": gaps, "lost": _told(contents.lost)}
    write_json(record, told)
    return told


_EVERYTHING = Amount(only_labelled=False)


def _told(counted: Counter[str]) -> list[str]:
    return [f"{text} ({count:,} times)" if count > 1 else text for text, count in counted.most_common()]


def _exported(run: ScRun, cvat: CvatClient, text: str, base: Path) -> Path:
    """The backup of a project of CVAT, fetched unless the same state of it is there. Raises Trouble."""
    listed = [each for each in items(cvat, "/api/projects") if text in (str(each["id"]), str(each["name"]))]
    listed = [each for each in listed if str(each["id"]) == text] or listed
    if len(listed) != 1:
        ids = ", ".join(str(each["id"]) for each in listed)
        raise RunEnds(
            f"{cvat.url} has several projects {text!r}: say which ({ids})." if listed else
            f"{cvat.url} has no project {text!r}, and there is no such file.",
            exit_code=Exit.BAD_CONFIGURATION,
        )  # fmt: skip
    server = cvat.url.split("://", 1)[1]
    project: CvatSource = source_of(server, "project", listed[0])
    state = look_at(cvat, project).state.fingerprint
    final = (
        base
        / "backups"
        / safe_name(server)
        / f"{project_folder(str(project.id), project.name)}_{state.digest[:12]}.zip"
    )
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    part = PartFile(final.with_name(f".{final.name}.part"))
    with (
        locked(final.with_name(f".{final.name}.lock"), "sc_migrate.py"),
        Display(f"exporting {project.name}", 1) as display,
    ):
        item = display.item(project.name)
        item.phase("exporting")
        order = exports.ExportOrder("project", project.id)
        ready = exports.ask(cvat, order, Deadline(run.settings.job_timeout_hours * 3600), state.newest)
        item.phase("downloading")
        try:
            reserve = int(run.settings.min_free_gb * 1e9)
            fetch(opener(cvat, ready), part, f"{ready.request_id} {ready.created_at}", run.stop, reserve_bytes=reserve,
                  on_progress=item.bytes)  # fmt: skip
            kind_of(part.path)
        except (BadArchive, Interrupted) as error:
            if isinstance(error, BadArchive):
                part.discard()
            raise OnCvat(f"what CVAT sent is no sound backup: {error}") from None
        publish(part.path, final)
        part.discard()
        item.close()
        display.advance()
    return final


# --- SC -> CVAT -------------------------------------------------------------------------------------------------


def sc_to_cvat(run: ScRun) -> int:
    """Projects of SC_HOST, or downloaded folders, as backup files; unless --into is given, as projects of CVAT_URL."""
    given, into = run.arguments.what, run.arguments.into
    client = connect(run.settings.source, run.stop) if needs_sc("sc-to-cvat", given) else None
    target = None if into else _cvat_target(run)
    base = Path(into).expanduser().absolute() if into else run.settings.dir / "cvat" / "made"

    def of(text: str) -> Callable[[], Report]:
        return lambda: _to_cvat(run, client, target, text, base)

    return each_of(run, "carried over", ((text, of(text)) for text in given))


def _cvat_target(run: ScRun) -> Target:
    settings = load(RestoreSettings).settings
    client, version, account = connect_cvat(settings, run.stop)
    return open_target(settings, client, version, account, run.stop)


def _to_cvat(run: ScRun, client: Client | None, target: Target | None, text: str, base: Path) -> Report:
    began = time.monotonic()
    folder = Path(text).expanduser().absolute()
    gaps: list[str] = []
    if client is not None and not (folder / "project.json").is_file():
        [project] = chosen_projects(client, [text], everything=False)
        name = project_folder(str(project["id"]), str(project["name"]))
        folder = known_folder(run.settings.dir, run.settings.dir / name, project)
        gaps += download_project(client, str(project["id"]), folder, wanted(run)).gaps
    source = open_source(folder)
    name = run.arguments.name or source.name
    final = base / f"{safe_name(folder.name)}.zip"
    base.mkdir(parents=True, exist_ok=True)
    with locked(base / f".{safe_name(folder.name)}.lock", "sc_migrate.py"):
        written = write_backup(source, name, final, run.stop.check)
        report = Report(
            name, "done", str(final), written.images, written.videos, written.scenes, written.shapes, written.bytes,
            gaps=list(dict.fromkeys(gaps + written.gaps)), notes=[*_told(written.lost), _NO_COUNTERPART],
        )  # fmt: skip
        if target is not None:
            _restore(target, final, name, report)
            final.unlink()
    report.seconds = time.monotonic() - began
    return report.settle()


def _restore(target: Target, file: Path, name: str, report: Report) -> None:
    """Has CVAT make a project of the file, once, and compares what it made with it."""
    with locked(target.folder / ".lock-restore", "sc_migrate.py"), Display("sending to CVAT", 1) as display:
        item = display.item(name)
        try:
            order = Order(name, with_metadata=False)
            done = put_back(target, Chosen(file, None, "project"), order, item.phase, item.bytes)
        except ExistsAlready as error:
            raise OnCvat(str(error)) from None
        finally:
            item.close()
        display.advance()
    report.where = done.address
    report.gaps += done.differences
    report.notes += done.remarks
    if done.outcome == "there already":
        report.notes.append(f"{plural(report.images, 'image')} of it are on CVAT already: nothing was sent again")
