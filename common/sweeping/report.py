"""What a sweep says: a line for each source, every file with its reason, the last words, last-run-sweep.json."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from common import log
from common.backups.legacy import LegacyGroup
from common.backups.retention import Copy, Verdict
from common.backups.survey import Debris, looks_like_a_servers
from common.exits import Exit, RunEnds
from common.files import DiskFull, write_json
from common.run import Run
from common.sweeping.judge import Case, Judged, SizeLimit
from common.sweeping.settings import SweepSettings
from common.text import duration, iso, now, plural, printable, size
from common.waiting import Stopped

LAST_RUN = "last-run-sweep.json"
MOST_NAMED = 1000


class Ledger:
    """Counts and tells. Use as a context manager around a sweep: however it ends, last-run-sweep.json is written."""

    def __init__(self, run: Run[SweepSettings], *, dry_run: bool) -> None:
        self._run = run
        self._dry_run = dry_run
        self._verb = "would go" if dry_run else "deleted"
        self._planned = "would go" if dry_run else "to delete"
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._look: list[dict[str, str]] = []
        self._failures: list[dict[str, str]] = []
        # On a terminal the lines of what stays would bury the report; --dry-run and LOG_LEVEL=DEBUG show them.
        self._log_kept = log.get().debug if sys.stderr.isatty() else log.get().info

    def __enter__(self) -> Ledger:
        return self

    # --- while it goes on -------------------------------------------------------------------------------------

    def show(self, case: Case) -> None:
        """Tells what becomes of one source, before it does."""
        self._counts["sources"] += 1
        if case.trouble:
            self.failed(str(case.folder), case.trouble)
        for name, why in case.survey.unreadable.items():
            self.look(str(case.folder / name), f"record: {why}", "record_unreadable")
        for judged in case.judged:
            self._show_history(case.folder, judged)
        for debris in case.survey.debris:
            self._tell(case.folder.name, debris.name, debris.size_bytes, "delete", debris.reason)
        if self._dry_run:
            self.cleared(case.survey.debris)

    def _show_history(self, folder: Path, judged: Judged) -> None:
        source = judged.history.source
        name = f"{source} ({printable(source.name, 60)})"
        kept = [verdict for verdict in judged.verdicts if not verdict.delete]
        gone = [verdict for verdict in judged.verdicts if verdict.delete]
        line = f"{source.server}  {name}  {judged.history.content}: {len(kept)} kept"
        if gone:
            line += f", {len(gone)} {self._planned} ({size(sum(verdict.copy.size_bytes for verdict in gone))})"
        held_by = Counter(verdict.reason for verdict in kept if verdict.held_back)
        for reason, count in held_by.items():
            line += f"; {count} held back: {reason}"
        print(line)
        self.verdicts(folder.name, judged.verdicts)
        if held_by:
            self._counts["held_back"] += 1
            for reason in held_by:
                log.get().info("source_held_back", source=str(source), content=judged.history.content, reason=reason)
        for verdict in judged.verdicts:
            if verdict.copy.doubt and verdict.copy.is_marked:
                self._counts["marked_bad"] += 1
                print(f"  BAD      {verdict.copy.files[0]}: {verdict.copy.doubt}; it counts for nothing")
            elif verdict.copy.doubt:
                self.look(f"{source} {verdict.copy.files[0]}", verdict.copy.doubt, "backup_doubtful")
        if judged.history.broken and not judged.history.broken.startswith("one of its records"):
            self.look(str(folder), judged.history.broken, "folder_doubtful")
        if judged.drop:
            remedy = f"If that is meant: sweeper.py --acknowledge {source.kind}:{source.id}"
            self.look(name, f"sudden drop: {judged.drop}. Nothing of it is deleted. {remedy}", "sudden_drop")

    def stranger(self, folder: Path) -> None:
        """A folder with folders of sources that no record and no journal in it shows to be a server's."""
        if looks_like_a_servers(folder):
            why = "no record and no line of the journal in it is of a server that this folder is called after"
            self.look(str(folder), f"{why}. Nothing of it is deleted", "folder_doubtful")
            return
        self._counts["strangers"] += 1
        log.get().info("folder_left_alone", folder=str(folder), reason="no record in it is of a server of its name")

    def legacy(self, group: LegacyGroup, verdicts: list[Verdict]) -> None:
        """Files of the predecessor with the same name."""
        gone = sum(verdict.delete for verdict in verdicts)
        print(f"predecessor's files  {printable(group.name, 100)}: {len(verdicts) - gone} kept, {gone} {self._planned}")
        self.verdicts("", verdicts)
        for name in group.undated:
            self._counts["undated"] += 1
            self._tell("", name, 0, "keep", "its date is in no calendar: it is never swept")

    def verdicts(self, folder: str, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            what = "delete" if verdict.delete else "keep"
            if self._dry_run or not verdict.delete:  # what is to be deleted counts once it is: `deleted`
                self._count(what, verdict.copy.size_bytes)
            for name in verdict.copy.files:
                self._tell(folder, name, verdict.copy.size_bytes, what, verdict.reason)

    def deleted(self, copies: Iterable[Copy]) -> None:
        """These backups are gone from the disk, all their files."""
        for copy in copies:
            self._count("delete", copy.size_bytes)

    def not_deleted(self, copies: Iterable[Copy]) -> None:
        """These were to go, and are still whole."""
        for copy in copies:
            self._count("keep", copy.size_bytes)

    def cleared(self, debris: Iterable[Debris]) -> None:
        """This debris is gone from the disk."""
        for each in debris:
            self._count("debris", each.size_bytes)

    def _count(self, what: str, size_bytes: int) -> None:
        self._counts[what] += 1
        self._bytes[what] += size_bytes

    def _tell(self, folder: str, name: str, size_bytes: int, what: str, reason: str) -> None:
        if self._dry_run:
            print(f"  {what:<6}  {printable(name, 300)}  ({reason})")
        elif what == "keep":
            self._log_kept("file_kept", folder=folder, file=name, reason=reason)
        else:
            log.get().info("file_goes", folder=folder, file=name, bytes=size_bytes, reason=reason)

    def look(self, what: str, why: str, event: str) -> None:
        """Something that a person has to look at: loud, and the run ends with 3."""
        log.get().warning(event, what=what, reason=why)
        print(f"  LOOK     {what}: {why}")
        self._counts["look"] += 1
        if len(self._look) < MOST_NAMED:
            self._look.append({"what": what, "reason": why})

    def failed(self, what: str, why: str) -> None:
        log.get().error("sweep_failed", what=what, reason=why)
        print(f"  FAILED   {what}: {why}")
        self._counts["failed"] += 1
        if len(self._failures) < MOST_NAMED:
            self._failures.append({"what": what, "reason": why})

    # --- at the end -------------------------------------------------------------------------------------------

    @property
    def code(self) -> Exit:
        counts = self._counts
        if counts["failed"] and not (counts["keep"] or counts["delete"]):
            return Exit.NOTHING_WORKED
        return Exit.SOME_FAILED if counts["failed"] or counts["look"] else Exit.ALL_GOOD

    def finish(self, limit: SizeLimit | None, legacy_left: int) -> Exit:
        """The last words."""
        counts, seconds = self._counts, (now() - self._run.started_at).total_seconds()
        settings = self._run.settings
        print()
        if not (any(counts[what] for what in ("sources", "keep", "delete", "undated", "look")) or legacy_left):
            log.get().warning("no_backups", folder=str(settings.dir))
            print(f"There are no backups in {settings.dir}: nothing was deleted.")
            print("If there should be some, CVAT_BACKUP_DIR is not the folder that backup.py writes to.")
            return self.code
        print(
            f"{plural(counts['delete'], 'backup')} {self._verb} ({size(self._bytes['delete'])}), "
            f"{counts['keep']:,} kept ({size(self._bytes['keep'])}), {plural(counts['sources'], 'source')}, "
            f"in {duration(max(0, seconds))}. Backups are in {settings.dir}"
        )
        if counts["debris"]:
            print(f"{plural(counts['debris'], 'remainder')} of crashes {self._verb} ({size(self._bytes['debris'])}).")
        if not settings.rules.let_anything_go:
            also = "; CVAT_BACKUP_MAX_SIZE alone deletes nothing" if settings.max_size_gb else ""
            print(f"No backup is deleted: neither CVAT_BACKUP_TTL nor a keep rule (CVAT_KEEP_…) is set{also}.")
        if counts["held_back"]:
            print(f"{plural(counts['held_back'], 'history', 'histories')} held back by a law, see above.")
        if limit and limit.still_over_bytes:
            over = size(limit.still_over_bytes)
            print(f"CVAT_BACKUP_MAX_SIZE is still exceeded by {over}: the laws and the minimum hold the rest.")
            log.get().warning("max_size_exceeded", bytes=limit.still_over_bytes)
        if legacy_left:
            files = plural(legacy_left, "file")
            print(f"{files} of this program's predecessor left alone (CVAT_SWEEP_LEGACY=true sweeps them).")
        if counts["strangers"]:
            folders = plural(counts["strangers"], "folder")
            print(f"{folders} that no record shows to be a server's left alone.")
        if counts["undated"]:
            print(f"{plural(counts['undated'], 'file')} with an impossible date never swept, see above.")
        if counts["failed"]:
            print(f"{plural(counts['failed'], 'deletion')} FAILED, see above.")
        if counts["look"]:
            print(f"{plural(counts['look'], 'thing')} to LOOK at, see above.")
        if self._dry_run:
            print("Nothing was deleted: this was a dry run.")
        return self.code

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code, why = int(self.code), "finished"
        if isinstance(error, Stopped):
            number = self._run.stop.signal_number or signal.SIGTERM
            code, why = 128 + number, f"stopped by {signal.Signals(number).name}"
        elif error is not None:
            code, why = int(error.exit_code if isinstance(error, RunEnds) else Exit.NOTHING_WORKED), str(error)
        if not self._dry_run:
            try:
                write_json(self._run.settings.dir / LAST_RUN, self._last_run(code, why))
            except (OSError, DiskFull) as problem:
                log.get().error("last_run_not_written", reason=str(problem))
        log.get().info("run_finished", exit_code=code, because=why, sentence="")  # a person reads the last words

    def _last_run(self, code: int, why: str) -> dict[str, Any]:
        finished, counts = now(), self._counts
        return {
            "version": 1,
            "mode": "sweep",
            "run_id": self._run.id,
            "started_at": iso(self._run.started_at),
            "finished_at": iso(finished),
            "seconds": round((finished - self._run.started_at).total_seconds(), 3),
            "exit_code": code,
            "ended_because": why,
            "counts": {
                "sources": counts["sources"],
                "kept": counts["keep"],
                "deleted": counts["delete"],
                "debris": counts["debris"],
                "held_back": counts["held_back"],
                "marked_bad": counts["marked_bad"],
                "look": counts["look"],
                "failed": counts["failed"],
            },
            "kept_bytes": self._bytes["keep"],
            "freed_bytes": self._bytes["delete"] + self._bytes["debris"],
            "look": self._look,
            "failures": self._failures,
        }
