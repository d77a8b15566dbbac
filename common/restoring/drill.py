"""`--drill`: one backup restored for real, compared value by value, and deleted again. A backup is worth what comes back.

Only what its own journal names, by number and moment, is ever deleted, and only while it still bears a drill's name or
lies in the project that does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from common import log
from common.backups.names import DRILL_PREFIX, is_drill, server_folder
from common.backups.store import Backup
from common.cvat import errors
from common.cvat.address import server_key
from common.cvat.client import connect
from common.exits import Exit, RunEnds, Trouble
from common.files import append_lines
from common.progress import Display
from common.restoring import journal as journals
from common.restoring.choice import chosen_archives
from common.restoring.find import Chosen, NotThere, at_moment, of_backup, sources_on_disk
from common.restoring.folder import held, remedy_for
from common.restoring.identity import is_marked, is_ours
from common.restoring.imports import Bringing, ImportFailed, made_by, with_marker
from common.restoring.journal import Journal, Piece
from common.restoring.order import Order, Restored, Target, open_target
from common.restoring.putting import put_back
from common.restoring.settings import RestoreSettings
from common.restoring.sidecars import drill_sidecar
from common.restoring.soundness import check
from common.restoring.values import value_differences
from common.run import Run, say
from common.text import duration, iso, now, parse_time, printable
from common.waiting import StopSignal

# How long a drill that was stopped waits for an import that it began, to delete what it makes.
CLEANING_SECONDS = 600.0


def missing_drill_settings(raw: Mapping[str, str]) -> list[str]:
    """What a drill needs and does not have, one line each."""
    problems = []
    if not raw.get("CVAT_DRILL_URL"):
        problems.append("CVAT_DRILL_URL is not set: the address of the CVAT server that drills restore into")
    if not raw.get("CVAT_DRILL_ACCESS_TOKEN") and not (
        raw.get("CVAT_DRILL_USERNAME") and raw.get("CVAT_DRILL_PASSWORD")
    ):
        problems.append(
            "CVAT_DRILL_ACCESS_TOKEN is not set: set it, or CVAT_DRILL_USERNAME and CVAT_DRILL_PASSWORD in its place. It "
            "must be allowed to write; the token of backup.py is best read-only"
        )
    return problems


def run_drill(run: Run[RestoreSettings]) -> int:
    """One drill. The exit code: 0 when all was equal, 3 when something differs, 1 when it could not be restored."""
    chosen = _choose(run)
    settings = run.settings.for_drills()
    client, version, account = connect(settings, run.stop)
    target = open_target(settings, client, version, account, run.stop)
    with held(target.folder, "restore.py --drill", run.patience):
        began, done, said = (
            now(),
            None,
            [] if not _leftovers(target) else ["what an earlier drill had left was deleted"],
        )
        for text in said:
            say(text)
        name = f"{DRILL_PREFIX} {began:%Y-%m-%d %H:%M}: {chosen.name}"[:256]
        differences: list[str] = []
        reason = "stopped"
        try:
            with Display("drill", 1) as display:
                item = display.item(str(chosen))
                done = put_back(target, chosen, Order(name, purpose="drill"), item.phase, item.bytes)
                item.phase("comparing values")
                differences = done.differences + done.missing + _differences(target, chosen, done)
            reason = ""
        except Trouble as error:
            reason = str(error)
        finally:
            deleted = []
            try:
                deleted = _clean_up(settings)
            except (Trouble, RunEnds) as problem:
                left = f"what was restored could not be deleted again ({problem}); the next drill tries it"
                reason = f"{reason}; {left}" if reason else left
            result = "failed" if reason else "bad" if differences else "good"
            kept = _record(settings, chosen, target, result, [reason] if reason else differences, done, deleted, began)
    seconds = duration((now() - began).total_seconds())
    if result == "good":
        print(f"Drill: {chosen} was restored into {client.url}, equal value by value, and deleted again ({seconds}).")
        return Exit.ALL_GOOD if kept else Exit.SOME_FAILED
    for text in [reason] if reason else differences:
        print(f"DRILL {result.upper()} {chosen}: {printable(text, 400)}")
    return Exit.NOTHING_WORKED if reason else Exit.SOME_FAILED


def _differences(target: Target, chosen: Chosen, done: Restored) -> list[str]:
    assert done.id is not None
    return value_differences(target.client, check(chosen, target.stop.check), done.id, drill_sidecar(chosen))


def _choose(run: Run[RestoreSettings]) -> Chosen:
    """Which backup is restored. Raises NotThere."""
    arguments, settings = run.arguments, run.settings
    preferred = server_key(settings.url) if settings.url else ""
    if arguments.project or arguments.task or arguments.at != "latest":
        chosen = chosen_archives(settings, arguments, preferred)[0]
        if chosen.task is not None:
            raise NotThere(f"{chosen} is part of a project: drill the project.")
        return chosen
    newest = []
    for group in sources_on_disk(settings.dir, "backup", arguments.server, preferred):
        with contextlib.suppress(NotThere):
            newest.append(at_moment(group, "latest"))
    if not newest:
        raise NotThere("There is no good backup to restore.")
    return of_backup(next_for_drill(newest, _last_drills(newest[0]), rotate=arguments.drill == "rotate"))


def next_for_drill(newest: list[Backup], last_drills: Mapping[str, str], *, rotate: bool) -> Backup:
    """The smallest that holds a task; or the one whose source was drilled longest ago, the smaller first."""
    full = [backup for backup in newest if backup.record.verified.tasks] or newest

    def key(backup: Backup) -> tuple[str, int]:
        last = last_drills.get(journals.source_text(backup.record.source), "") if rotate else ""
        return last, backup.record.size_bytes

    return min(full, key=key)


def _last_drills(backup: Backup) -> dict[str, str]:
    found = {}
    with contextlib.suppress(OSError):
        for text in (backup.folder.parent / "drills.jsonl").read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = json.loads(text)
                found[str(line["source"])] = str(line["at"])
    return found


def _record(
    settings: RestoreSettings, chosen: Chosen, target: Target, result: str, differences: list[str],
    done: Restored | None, deleted: list[str], began: Any,
) -> bool:  # fmt: skip
    """Whether it stands in drills.jsonl now; what could not be written there is said. Raises DiskFull."""
    source = chosen.backup.record.source if chosen.backup else None
    folder = chosen.backup.folder.parent if chosen.backup else settings.dir / server_folder(server_key(settings.url))
    line = {
        "at": iso(now()), "source": journals.source_text(source) if source else "", "file": chosen.path.name,
        "target": target.client.url, "result": result, "differences": differences[:20], "deleted": deleted,
        "seconds": round((now() - began).total_seconds(), 1),
        "metadata": [f"{each.what}: {each.why}" for each in done.metadata if each.outcome == "could not"] if done else [],
    }  # fmt: skip
    log.get().info("drill", result=result, file=chosen.path.name, differences=differences[:5])
    try:
        folder.mkdir(exist_ok=True)
        append_lines(folder / "drills.jsonl", [json.dumps(line, ensure_ascii=False)])
    except OSError as error:
        say(f"What came of this drill cannot be kept in {folder}/drills.jsonl ({error.strerror or error}).")
        say(remedy_for(folder, error))
        return False
    return True


def _clean_up(settings: RestoreSettings) -> list[str]:
    """Deletes what drills made, also after a stop: with a connection of its own that no earlier signal ends."""
    client, version, account = connect(settings, StopSignal())
    return _leftovers(open_target(settings, client, version, account, StopSignal()))


def _leftovers(target: Target) -> list[str]:
    """Deletes what the journals of unfinished and finished drills name; what was deleted. Raises CvatError."""
    deleted = []
    for journal in journals.all_journals(target.folder):
        if journal.purpose == "drill" and journal.state != "deleted":
            deleted += _delete(target, journal)
            journal.state = "deleted"
            journal.save()
    return deleted


def _delete(target: Target, journal: Journal) -> list[str]:
    deleted = []
    for piece in reversed(journal.pieces):
        found = [piece.result_id] if piece.result_id is not None else []
        if not found and piece.state in ("finishing", "importing"):
            work = Bringing(
                target.client, journal, piece, contextlib.nullcontext, {}, 0, CLEANING_SECONDS,  # type: ignore[arg-type]
                lambda _text: None, lambda _done, _total: None,
            )  # fmt: skip
            # Only an import that surely ended has made all that it will make; any other is left to the next drill.
            with contextlib.suppress(ImportFailed):
                made_by(work)
            found = list(with_marker(target.client, piece.kind, piece.marker))
        for item_id in found:
            address = f"/api/{piece.kind}s/{item_id}"
            try:
                item = target.client.get(address)
                if not _may_be_deleted(target, journal, piece, item):
                    log.get().warning(
                        "drill_not_deleted", what=address, name=item["name"], detail="it is no drill's now"
                    )
                    continue
                target.client.change("DELETE", address, repeat=True)
                deleted.append(f"{piece.kind} {item_id}")
            except errors.NotFound:
                continue
    return deleted


def _may_be_deleted(target: Target, journal: Journal, piece: Piece, item: Mapping[str, Any]) -> bool:
    """Whether it is what this drill made, and still a drill's: nobody has taken it for something else since."""
    first = journal.pieces[0]
    if piece.result_id is None:  # found by its marker
        return is_marked(item, piece) and parse_time(str(item["created_date"])).date() >= parse_time(journal.at).date()
    if not is_ours(item, journal, piece):
        return False
    if piece is first or is_marked(item, piece):
        return is_marked(item, piece) or is_drill(str(item["name"]))
    # A part that bears its own name already: it must lie in the project that this drill made.
    if first.result_id is None or item.get("project_id") != first.result_id:
        return False
    return _may_be_deleted(target, journal, first, target.client.get(f"/api/projects/{first.result_id}"))
