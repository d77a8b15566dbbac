"""Keeping the books of a run: the journal while it goes on, the report and the last-run files at its end."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from common import log
from common.backups.journal import Attempt, Journal
from common.backups.listed import Listed, write_listed
from common.backups.store import Store
from common.exits import Exit, RunEnds, Trouble
from common.files import DiskFull
from common.run import Run, give_up_stdout
from common.saving.choose import Mode
from common.saving.desk import Result
from common.saving.plan import Plan
from common.saving.report import Tally, exit_code, print_report, something_worked, write_last_run
from common.saving.settings import BackupSettings
from common.sources import Source
from common.text import iso, now
from common.waiting import Stopped


class Book:
    """Use as a context manager around the run, inside its locks: however the run ends, the files are
    written, then the report is printed.
    """

    def __init__(self, run: Run[BackupSettings], store: Store, modes: Sequence[Mode]) -> None:
        self.server = {"url": run.settings.url, "version": ""}
        self._run = run
        self._store = store
        self._modes = modes
        self._journal = Journal(store.folder)
        self._tallies: dict[Mode, Tally] = {}
        self._journal_failed = False
        self._absent: list[Source] = []
        self._began = time.monotonic()

    def __enter__(self) -> Book:
        return self

    def begin(self, plan: Plan) -> None:
        """Writes down what is to be saved, and what needs no saving: "unchanged" confirms the newest backup."""
        self._tallies = plan.tallies
        self._note_listed(plan)
        with self._writable_journal() as journal:
            journal.rotate()
        with self._writable_journal() as journal:
            journal.add([tally.attempt(line, self._run.id) for tally in plan.tallies.values() for line in tally.lines])

    def _note_listed(self, plan: Plan) -> None:
        """The server's list, for whoever asks whether all of it is backed up; that it cannot be written ends no run."""
        for mode, tally in plan.tallies.items():
            to_save = [each.state.source for each in plan.candidates if each.mode == mode]
            sources = [line.source for line in tally.lines] + to_save
            listed = Listed(self._store.server, mode, now(), self._run.id, str(plan.shard), tuple(sources))
            try:
                write_listed(self._store.folder / f"listed-{mode}{plan.shard.ending}.json", listed)
            except (OSError, DiskFull) as problem:
                log.get().error("list_not_written", mode=mode, reason=str(problem))

    def add(self, result: Result) -> None:
        """Writes down what became of one source, as soon as it is known."""
        tally = self._tallies[result.candidate.mode]
        line = tally.add(result)
        with self._writable_journal() as journal:
            journal.add([tally.attempt(line, self._run.id)])
        if result.record is not None:
            log.get().info(
                "backup_saved",
                mode=tally.mode,
                source=str(line.source),
                name=line.source.name,
                bytes=result.record.size_bytes,
                seconds=round(result.seconds, 2),
                because=result.reason,
                warnings=len(result.record.warnings),
            )

    def note_absent(self, sources: Sequence[Source]) -> None:
        """Writes down which sources with backups are no longer on the server; sweeper.py counts the days."""
        self._absent = list(sources)
        with self._writable_journal() as journal:
            journal.add([Attempt(iso(now()), self._run.id, "", source, "absent") for source in sources])

    def finish(self) -> Exit:
        """The exit code of a run that did all it had to do."""
        return exit_code(list(self._tallies.values()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code, why = self._ending(error)
        if self._tallies:
            self._run.exit_code = code
        for mode in self._modes:
            tally, shard = self._tallies.get(mode), self._run.settings.shard
            try:
                write_last_run(
                    self._store.folder / f"last-run-{mode}{shard.ending}.json",
                    tally=tally,
                    mode=mode,
                    run_id=self._run.id,
                    started_at=self._run.started_at,
                    code=code if error or tally is None else exit_code([tally]),
                    server=self.server,
                    why=why,
                    absent=len(self._absent),
                    shard=shard,
                )
            except (OSError, DiskFull) as problem:
                log.get().error("last_run_not_written", mode=mode, reason=str(problem))
        if self._tallies:
            self._print(stopped=why if error else "")
        log.get().info("run_finished", exit_code=int(code), because=why, sentence="")  # a person reads the last words

    def _print(self, stopped: str) -> None:
        """Prints the report, if anybody takes it: what was saved is saved all the same."""
        try:
            print_report(
                list(self._tallies.values()),
                self._store.folder,
                time.monotonic() - self._began,
                stopped=stopped,
                absent=self._absent,
            )
            if stopped:
                self._run.when_stopped = ""  # the report has said how it goes on
        except (OSError, Trouble) as problem:
            log.get().warning("report_not_printed", reason=str(problem))
            give_up_stdout()

    @contextlib.contextmanager
    def _writable_journal(self) -> Iterator[Journal]:
        """The journal; that it cannot be written is logged once and ends no run."""
        try:
            yield self._journal
        except (OSError, DiskFull) as problem:
            if not self._journal_failed:
                log.get().error("journal_not_written", file=str(self._journal.path), reason=str(problem))
            self._journal_failed = True

    def _ending(self, error: BaseException | None) -> tuple[int, str]:
        if error is None:
            return exit_code(list(self._tallies.values())), "finished"
        if isinstance(error, Stopped):
            number = self._run.stop.signal_number or signal.SIGTERM
            return 128 + number, f"stopped by {signal.Signals(number).name}"
        code = error.exit_code if isinstance(error, RunEnds) else Exit.NOTHING_WORKED
        if something_worked(self._tallies.values()) and code != Exit.CREDENTIALS_REFUSED:
            code = Exit.SOME_FAILED
        return code, str(error)
