"""cvat-to-sc and sc-to-cvat: where the two kinds of server meet. CVAT's side is a backup file both ways."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
from common.files import is_file, is_there, publish, write_json
from common.hashing import sha256_of
from common.lock import Patience, locked
from common.migrating.archives import require_replaceable
from common.migrating.commands import PROJECT_TYPES, ScRun, chosen_projects, each_of, if_there, known_folder, wanted
from common.migrating.cvat_reading import plan_of, read_backup
from common.migrating.cvat_writing import Written, write_backup
from common.migrating.download import download_project
from common.migrating.folder import ProjectFolder
from common.migrating.making import Order as Amount
from common.migrating.making import left_behind, make_folder
from common.migrating.names import project_folder, safe_name
from common.migrating.report import Report, told
from common.migrating.source import Source, open_source
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
from common.transfer import Interrupted, PartFile, fetch, require_room
from common.version import VERSION
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
    return command == "cvat-to-sc" and any(not is_file(Path(each).expanduser()) for each in what)


def needs_sc(command: str, what: list[str]) -> bool:
    """Whether a call talks to SC_HOST: a folder that was downloaded is read without it."""
    return command != "sc-to-cvat" or any(not is_file(Path(each).expanduser() / "project.json") for each in what)


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
    backup: Callable[[], AbstractContextManager[Path]]
    if is_file(path) or cvat is None:
        digest, stem, backup = sha256_of(path, run.stop.check), path.stem, lambda: nullcontext(path)
    else:
        project = _project_of(cvat, text)
        state = look_at(cvat, project).state.fingerprint
        digest, stem = state.digest, project_folder(str(project.id), project.name)
        final = base / "backups" / safe_name(cvat.url.split("://", 1)[1]) / f"{stem}_{digest[:12]}.zip"
        backup = lambda: _exported(run, cvat, project, state.newest, final)  # noqa: E731
    project_type, labels = run.arguments.project_type or "", run.arguments.labels or ""
    folder = base / f"{safe_name(stem)}_{digest[:12]}{'_' + project_type if project_type else ''}"
    origin = {"dataset": digest, "type": project_type, "labels": labels}
    laid = _laid_down(run, backup, folder, origin)
    report = upload_project(client, open_source(folder), run.arguments.name or laid["name"], if_there(run))
    report.gaps += laid["gaps"]
    report.notes += laid["lost"]
    report.seconds = time.monotonic() - began
    return report.settle()


def _laid_down(
    run: ScRun, backup: Callable[[], AbstractContextManager[Path]], folder: Path, origin: dict[str, Any]
) -> dict[str, Any]:
    """The backup as the folder of a project; what it is called, what is missing and what has no counterpart.

    The media are unpacked to where they stay, one after the other: nothing lies there twice but the backup itself.
    """
    record = folder / "from-cvat.json"
    if is_there(record) and ProjectFolder(folder).manifest() is not None:
        known: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if known.get("origin") == origin:
            return known
    folder.mkdir(parents=True, exist_ok=True)
    with backup() as file:
        contents = read_backup(file, run.stop.check)
        try:
            plan = plan_of(contents, origin["type"], origin["labels"])
        except ValueError as error:
            raise Trouble(f"{printable(contents.name, 60)}: {error}") from None
        if ProjectFolder(folder).manifest() is None:
            require_room(folder, contents.media_bytes, int(run.settings.min_free_gb * 1e9))
        pictures = contents.pictures(plan, folder / ".unpacked", run.stop.check)
        lost = make_folder(pictures, plan, contents.name, folder, _EVERYTHING, origin, run.stop, run.patience)
        missing = left_behind(lost)
        laid = {
            "origin": origin,
            "name": contents.name,
            "gaps": [*contents.gaps, *told(missing)],
            "lost": told(contents.lost + (lost - missing)),
        }
        write_json(record, laid)
    return laid


_EVERYTHING = Amount(only_labelled=False)


def _project_of(cvat: CvatClient, text: str) -> CvatSource:
    listed = [each for each in items(cvat, "/api/projects") if text in (str(each["id"]), str(each["name"]))]
    listed = [each for each in listed if str(each["id"]) == text] or listed
    if len(listed) != 1:
        ids = ", ".join(str(each["id"]) for each in listed)
        raise RunEnds(
            f"{cvat.url} has several projects {text!r}: say which ({ids})." if listed else
            f"{cvat.url} has no project {text!r}, and there is no such file.",
            exit_code=Exit.BAD_CONFIGURATION,
        )  # fmt: skip
    return source_of(cvat.url.split("://", 1)[1], "project", listed[0])


@contextmanager
def _exported(run: ScRun, cvat: CvatClient, project: CvatSource, newest: str, final: Path) -> Iterator[Path]:
    """The backup of a project of CVAT; fetched, unless it is there of a run that was broken off. Deleted afterwards."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_name(f".{final.name}.lock"), "sc_migrate.py", run.patience):
        if not is_there(final):
            _fetch_export(run, cvat, project, newest, final)
        yield final
        final.unlink(missing_ok=True)


def _fetch_export(run: ScRun, cvat: CvatClient, project: CvatSource, newest: str, final: Path) -> None:
    part = PartFile(final.with_name(f".{final.name}.part"))
    for left in final.parent.glob(f".{project_folder(str(project.id), project.name)}_*.zip.part*"):
        if left not in (part.path, part.mark_path):  # of an earlier state of the project
            left.unlink(missing_ok=True)
    with Display(f"exporting {project.name}", 1) as display:
        item = display.item(project.name)
        item.phase("exporting")
        order = exports.ExportOrder("project", project.id)
        ready = exports.ask(cvat, order, Deadline(run.settings.job_timeout_hours * 3600), newest)
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
    if client is not None and not is_file(folder / "project.json"):
        [project] = chosen_projects(client, [text], everything=False)
        name = project_folder(str(project["id"]), str(project["name"]))
        folder = known_folder(run.settings.dir, run.settings.dir / name, project)
        gaps += download_project(client, str(project["id"]), folder, wanted(run)).gaps
    source = open_source(folder)
    name = run.arguments.name or source.name
    final = base / f"{safe_name(folder.name)}.cvat.zip"  # export-archive has its own name in the same folder
    base.mkdir(parents=True, exist_ok=True)
    with locked(base / f".{safe_name(folder.name)}.lock", "sc_migrate.py", run.patience):
        written = _written(run, source, name, final)
        report = Report(
            name, "done", str(final), written.images, written.videos, written.scenes, written.shapes, written.bytes,
            gaps=list(dict.fromkeys(gaps + written.gaps)), notes=[*told(written.lost), _NO_COUNTERPART],
        )  # fmt: skip
        if target is not None:
            _restore(target, final, name, report, run.patience)
            final.unlink()
            _record_of(final).unlink(missing_ok=True)
    report.seconds = time.monotonic() - began
    return report.settle()


def _record_of(final: Path) -> Path:
    return final.with_name(f".{final.name}.made.json")


def _written(run: ScRun, source: Source, name: str, final: Path) -> Written:
    """The backup file of a folder: written, unless a run that was broken off has written it of the same."""
    made_of = {
        "name": name,
        "version": VERSION,
        **{each: _hash(source.folder.path / each) for each in ("project.json", "manifest.json", "media.jsonl")},
    }
    record = _record_of(final)
    require_replaceable(final, _is_ours(record, final), "move it away, or choose another --into")
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        written = Written(**{**known["written"], "lost": Counter(known["written"]["lost"])})
        if known["made_of"] == made_of and made_of["manifest.json"] and final.stat().st_size == written.bytes:
            return written
    except (OSError, ValueError, KeyError, TypeError):
        pass
    require_room(final.parent, sum(each.size_bytes for each in source.entries), int(run.settings.min_free_gb * 1e9))
    write_json(record, {"begun": VERSION})  # first: it must never tell of another file
    written = write_backup(source, name, final, run.stop.check)
    write_json(record, {"made_of": made_of, "written": vars(written)})
    return written


def _is_ours(record: Path, final: Path) -> bool:
    """Whether the file is one that this program wrote, or was writing when it was killed."""
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        return "begun" in known or bool(final.stat().st_size == known["written"]["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hash(path: Path) -> str:
    return sha256_of(path) if is_there(path) else ""


def _restore(target: Target, file: Path, name: str, report: Report, patience: Patience) -> None:
    """Has CVAT make a project of the file, once, and compares what it made with it."""
    with locked(target.folder / ".lock-restore", "sc_migrate.py", patience), Display("sending to CVAT", 1) as display:
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
