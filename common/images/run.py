"""downloader.py --mode images: analyse, ask, fetch, report."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from common import log
from common.exits import Exit, RunEnds, Trouble
from common.files import DiskFull, free_bytes, write_json
from common.images.crew import Fleet, allow_files
from common.images.csvfile import Layout, layout_of, names_in, readable_again
from common.images.fetch import LARGE_BYTES, Fetcher, Outcome, part_name
from common.images.folder import free_bytes_for, held, look_into_folder, room_for_plans, trouble_named
from common.images.journal import (
    Journal,
    Recorder,
    bytes_begun,
    clear_parts,
    clear_pieces,
    line_of,
    parts_of,
    state_path,
)
from common.images.listing import listed, nothing_listed
from common.images.pace import Pace
from common.images.plan import Plan
from common.images.processes import Processes, count_for, processors
from common.images.report import Report
from common.images.screen import AnalysisLine, DownloadBar
from common.images.settings import ImageSettings, with_address
from common.run import Run, put, say
from common.s3.address import source_of
from common.s3.bucket import Bucket
from common.s3.errors import CredentialsRefused
from common.s3.fast import FastBucket
from common.s3.reach import Reach
from common.text import printable, size
from common.waiting import Stopped, StopSignal

# When nothing has come yet and so many keys were denied, the rest will be, too.
MOST_DENIED = 20
# How long an end waits for the journal. What it does not hold is recognised by its MD5, or fetched again.
STOP_SECONDS = 0.6
END_SECONDS = 600.0
NO_NAMES = "Name another file, or another column with --csv-column."


def run_images(run: Run[ImageSettings], open_bucket: Callable[[Reach], Bucket]) -> int:
    """One run. Gives the exit code; raises RunEnds, Stopped, Locked."""
    settings = with_address(run.settings)
    dry_run = bool(run.arguments.dry_run)
    assert settings.csv_file is not None and settings.output_dir is not None
    if not dry_run and not settings.auto_confirm and not _can_ask():
        what = "Nobody can be asked whether to go on: this is no terminal."
        raise RunEnds(what, "Add --auto-confirm (or --dry-run, to look only).", Exit.BAD_CONFIGURATION)
    with run.stop.breaking_off(), trouble_named(settings.output_dir):
        copy = readable_again(settings.csv_file, room_for_plans(settings.output_dir))
        if copy is not None:
            settings = settings.model_copy(update={"csv_file": Path(f"/dev/fd/{copy.fileno()}")})
        assert settings.csv_file is not None and settings.output_dir is not None
        layout = layout_of(settings.csv_file, settings.csv_column, run.settings.csv_file)
        bucket = open_bucket(settings.reach)
    if dry_run:
        look_into_folder(settings.output_dir)
        with trouble_named(settings.output_dir, "read"), contextlib.closing(plan_of(settings, bucket)) as plan:
            report = report_of(run, settings, bucket, layout)
            with plan.breaking_off(run.stop):
                analyse(run, settings, bucket, layout, plan)
                look_at_disk(settings, bucket, plan, run.stop.check)
            free = free_bytes_for(settings.output_dir)
            put("\n".join(report.analysis(plan, free_bytes=free, lists=False)))
            for words in report.dry_words():
                say(words)
            return Exit.ALL_GOOD if plan.counts.found else Exit.NOTHING_WORKED
    with (
        held(settings.output_dir, run.patience),
        trouble_named(settings.output_dir),
        contextlib.closing(plan_of(settings, bucket)) as plan,
        contextlib.closing(report_of(run, settings, bucket, layout)) as report,
    ):
        return Download(run, settings, bucket, plan, report).whole(layout)


def plan_of(settings: ImageSettings, bucket: Bucket) -> Plan:
    """An empty plan."""
    assert settings.output_dir is not None
    return Plan(
        bucket.name, settings.s3_prefix, room_for_plans(settings.output_dir),
        keep_folders=settings.keep_folders, rule=settings.ambiguous,
    )  # fmt: skip


def report_of(run: Run[ImageSettings], settings: ImageSettings, bucket: Bucket, layout: Layout) -> Report:
    assert settings.output_dir is not None
    facts = {
        "bucket": bucket.name,
        "where": bucket.where,
        "prefix": settings.s3_prefix,
        "csv_file": str(run.settings.csv_file),
        "csv_column": layout.title if layout.has_header else str(layout.column + 1),
        "transport": bucket.transport,
    }
    report = Report(settings.output_dir, run.started_at, run.id, facts)
    report.first_row = layout.first_row
    return report


def analyse(
    run: Run[ImageSettings],
    settings: ImageSettings,
    bucket: Bucket,
    layout: Layout,
    plan: Plan,
    every: Callable[[], None] = lambda: None,
) -> None:
    """Reads the names, lists the prefix once, decides which object each name means. Calls `every` several times a second."""
    assert settings.csv_file is not None
    with AnalysisLine() as line:

        def show() -> None:
            line.show()
            every()

        def check() -> None:
            run.stop.check()
            show()

        line.begin("reading the names", lambda: plan.counts.wanted)
        plan.add_names(names_in(settings.csv_file, layout, run.settings.csv_file), check)
        if not plan.counts.wanted:
            what = f"CVAT_IMAGES_CSV_FILE={run.settings.csv_file} holds no names."
            raise RunEnds(what, NO_NAMES, Exit.BAD_CONFIGURATION)
        began = time.monotonic()
        line.begin("listing the bucket", lambda: plan.counts.listed)
        for objects in listed(bucket, settings.s3_prefix, run.stop, settings.retry_seconds, show):
            plan.add_objects(objects)
            show()
        seconds = round(time.monotonic() - began, 2)
        log.get().debug(
            "bucket_listed", bucket=bucket.name, prefix=settings.s3_prefix, objects=plan.counts.listed, seconds=seconds
        )
        if not plan.counts.listed:
            raise nothing_listed(bucket, settings.s3_prefix, run.stop)
        line.begin("matching", lambda: plan.counts.wanted)
        plan.match(check)
    if layout.perhaps_title and plan.forget_title(layout.title) and not plan.counts.wanted:
        what = (
            f"CVAT_IMAGES_CSV_FILE={run.settings.csv_file} holds no names: its only one, {printable(layout.title)!r}, "
        )
        what += "is not in the bucket, and was taken for the title of its column."
        raise RunEnds(what, NO_NAMES, Exit.BAD_CONFIGURATION)


def look_at_disk(settings: ImageSettings, bucket: Bucket, plan: Plan, check: Callable[[], None]) -> list[str]:
    """Finds what is there already; gives journal lines for files that were recognised by their MD5.

    Calls `check` several times a second, which may end it.
    """
    assert settings.output_dir is not None
    plan.remember(Journal(settings.output_dir, source_of(bucket.where, bucket.name)).read(), check)
    counts = plan.counts
    with contextlib.ExitStack() as screen:
        bar: DownloadBar | None = None
        files = bytes_read = 0

        def same(path: Path, md5: str) -> bool:
            """Whether the file has this MD5. Shows how far it is: that takes an hour where a terabyte lies."""
            nonlocal bar, files, bytes_read
            shown = bar = bar or screen.enter_context(
                DownloadBar(counts.found - counts.shared, counts.bytes_found, "comparing", "read")
            )
            files += 1

            def each(count: int) -> None:
                nonlocal bytes_read
                check()
                bytes_read += count
                shown.show(files, bytes_read, 0, path.name)

            return has_md5(path, md5, each)

        adopted = plan.compare(settings.output_dir, same, check, keep=settings.resume)
    return [line_of(job.path, job.key, job.etag, job.size_bytes) for job in adopted]


def has_md5(path: Path, md5: str, each: Callable[[int], None]) -> bool:
    """`each` hears of the bytes read, piece by piece."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(1 << 20):
                each(len(piece))
                digest.update(piece)
    except OSError:
        return False
    return digest.hexdigest() == md5


def status_of(ending: BaseException | None) -> str:
    """How a run ended, in one word of download_state.json."""
    if ending is None:
        return "finished"
    return "stopped" if isinstance(ending, Stopped) else "failed"


def reason_of(ending: BaseException) -> str:
    """What ended a run, for its log file."""
    if isinstance(ending, Stopped):
        return "stopped by a signal"
    return str(ending) if isinstance(ending, RunEnds | Trouble) else f"{type(ending).__name__}: {ending}"


def _can_ask() -> bool:
    return bool(sys.stdin and sys.stdin.isatty())


class Download:
    """One run that writes."""

    def __init__(
        self, run: Run[ImageSettings], settings: ImageSettings, bucket: Bucket, plan: Plan, report: Report
    ) -> None:
        assert settings.output_dir is not None
        self.run = run
        self.settings = settings
        self.bucket = bucket
        self.plan = plan
        self.report = report
        report.counts = plan.counts
        self.folder = settings.output_dir

    def whole(self, layout: Layout) -> int:
        """Analysis, question, download, end."""
        log.get().debug("log_file", path=str(self.report.open_log()))
        with self._early_end_kept():
            self._tell_state()
            journal, adopted = self._analysed(layout)
            if self.plan.counts.to_fetch and not self._wanted():
                self._keep("declined", "the question was not answered with yes")
                say("Nothing was fetched: the question was not answered with yes.")
                return Exit.NOTHING_WORKED
            self._make_way(journal)
            fleet = self._fleet()
        with contextlib.closing(fleet):
            recorder = Recorder(self.folder, journal)
            ending: BaseException | None = None
            try:
                recorder.saved(adopted)
                self._fetch(fleet, recorder)
            except BaseException as error:  # noqa: BLE001 - raised again, once the books are closed
                ending = error
            if ending is None:
                return self._end(recorder, None)  # while the processes, which know that this is all, go
        return self._end(recorder, ending)

    @contextlib.contextmanager
    def _early_end_kept(self) -> Iterator[None]:
        """What ends a run before it fetches stands in its books, too: else they would tell of the run before."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError, DiskFull):
                self._keep(status_of(error), reason_of(error))
            raise

    def _tell_state(self) -> None:
        """To be called often. Before there is a recorder, as that has a thread."""
        if state := self.report.state_if_due():
            write_json(state_path(self.folder), state)

    def _keep(self, status: str, reason: str) -> None:
        self.report.note("declined" if status == "declined" else "ended", reason)
        self.report.flush()
        write_json(state_path(self.folder), self.report.state(status))

    def _analysed(self, layout: Layout) -> tuple[Journal, list[str]]:
        """What is to be fetched, told and with room for it; and journal lines of files that were recognised."""
        report, plan = self.report, self.plan

        def check() -> None:
            self.run.stop.check()
            self._tell_state()

        with plan.breaking_off(self.run.stop):
            analyse(self.run, self.settings, self.bucket, layout, plan, self._tell_state)
            # Only now: the listing may have moved us to the bucket's own region, and with it to another address.
            journal = Journal(self.folder, source_of(self.bucket.where, self.bucket.name))
            journal.begin()
            adopted = look_at_disk(self.settings, self.bucket, plan, check)
            clear_parts(self.folder)
            free = free_bytes(self.folder)
            put("\n".join(report.analysis(plan, free_bytes=free)))
            report.write_lists(plan, everything=False)
        if plan.counts.to_fetch:
            self._require_room(free)
        return journal, adopted

    def _make_way(self, journal: Journal) -> None:
        """Before files are replaced: which ones, for the log, and that what the journal says of these is void.

        And pieces go that nothing can be made of any more.
        """
        for files in self.plan.in_place_of():
            self.run.stop.check()
            for path, what, _ in files:
                self.report.note("replaces", path, it_comes=what)
            if known := [path for path, _, is_known in files if is_known]:
                journal.void(known)
        pieces = set(map(part_name, self.plan.large_jobs(LARGE_BYTES)))
        clear_pieces(self.folder, pieces, keep=self.settings.resume)

    def _fleet(self) -> Fleet | Processes:
        """Who fetches: workers in this process, or processes with workers of their own. To be made before any thread."""
        settings, counts = self.settings, self.plan.counts
        count = 1
        if isinstance(self.bucket, FastBucket):
            count = count_for(counts.to_fetch, counts.bytes_to_fetch, settings.workers, settings.processes)
        parts = parts_of(self.folder)
        allow_files(settings.workers)

        large = counts.bytes_to_fetch > counts.to_fetch * LARGE_BYTES

        def make(bucket: Bucket, stop: StopSignal) -> Fleet:
            pace = Pace(settings.workers // count, min(1.0, processors() / count), count, large=large)

            def fetcher(fleet: Fleet) -> Fetcher:
                return Fetcher(
                    self.folder, parts, stop, pace, settings.verify, settings.retry_seconds,
                    int(settings.min_free_gb * 1e9), fleet.spread, fleet.count, fleet.found,
                )  # fmt: skip

            return Fleet(bucket, pace, stop, fetcher)

        if isinstance(self.bucket, FastBucket) and count > 1:
            try:
                return Processes(count, self.bucket, self.run.stop, make)
            except (OSError, RuntimeError) as error:  # no memory, or a limit (ulimit -u, a container's pids)
                log.get().warning("processes_not_begun", wanted=count, reason=str(error))
                count = 1
        return make(self.bucket, self.run.stop)

    def _require_room(self, free: int) -> None:
        begun = bytes_begun(self.folder, map(part_name, self.plan.large_jobs(LARGE_BYTES)))
        needed = max(0, self.plan.counts.bytes_to_fetch - begun)
        reserve = int(self.settings.min_free_gb * 1e9)
        if free < needed + reserve:
            what = f"{size(needed)} are to be fetched, {size(free)} are free in {self.folder}"
            kept = f", and {size(reserve)} of it stay free (CVAT_IMAGES_MIN_FREE_GB)" if reserve else ""
            raise RunEnds(f"{what}{kept}.", "Make room there, or choose another folder with --output-dir.")

    def _wanted(self) -> bool:
        """Asks the person at the terminal; an end of input is a no."""
        if self.settings.auto_confirm:
            return True
        with self.run.stop.breaking_off():
            print("Fetch them? [y/N] ", end="", file=log.stderr, flush=True)
            answer = sys.stdin.readline()
        return answer.strip().lower() in ("y", "yes")

    def _fetch(self, fleet: Fleet | Processes, recorder: Recorder) -> None:
        plan, report = self.plan, self.report
        began = time.monotonic()
        with DownloadBar(plan.counts.to_fetch, plan.counts.bytes_to_fetch) as bar:

            def every() -> None:
                report.seconds = time.monotonic() - began
                report.retries, report.throttled = fleet.retries, fleet.throttled
                bar.show(report.downloaded + report.failed, fleet.bytes_done, report.failed, fleet.name_now)
                report.flush()
                recorder.saved([])
                if state := report.state_if_due():
                    recorder.state(state)

            for outcomes in fleet.outcomes(plan.jobs(spread=MOST_DENIED), every):
                self._take(outcomes, recorder)
                if report.denied >= MOST_DENIED and not (fleet.bytes_done or report.downloaded or plan.counts.already):
                    what = f"{report.denied} files from all over the list were all denied."
                    raise CredentialsRefused(what, "The credentials need s3:GetObject on these keys.")

    def _take(self, outcomes: list[Outcome], recorder: Recorder) -> None:
        report = self.report
        report.add(outcomes)
        saved = [each for each in outcomes if not each.reason]
        failed = [(each.reason, each.job.id) for each in outcomes if each.reason]
        self.plan.settle([each.job.id for each in saved], failed)
        self.plan.correct((each.size_bytes, each.etag, each.job.id) for each in saved if each.etag != each.job.etag)
        recorder.saved([line_of(each.job.path, each.job.key, each.etag, each.size_bytes) for each in saved])

    def _end(self, recorder: Recorder, ending: BaseException | None) -> int:
        """Closes the books, says how it went, and raises what ended the run."""
        report = self.report
        try:
            if not isinstance(ending, Stopped):
                recorder.commit()  # becomes durable while the lists are written
                with self.plan.breaking_off(self.run.stop):
                    report.write_lists(self.plan, everything=True)
        except (OSError, DiskFull, Stopped) as error:
            ending = ending or error
        stopped = isinstance(ending, Stopped)
        try:
            recorder.state(report.state(status_of(ending)))
            if not recorder.close(STOP_SECONDS if stopped else END_SECONDS):
                log.get().info("journal_not_awaited", detail="the disk is slow; what it lacks is recognised by its MD5")
        except (OSError, DiskFull) as error:
            ending = ending or error
        with contextlib.suppress(OSError, DiskFull):
            if ending is not None:
                report.note("ended", reason_of(ending))
            for line in report.last_words(stopped=stopped):
                report.note("end", line)
            report.flush()
        log.get().debug("download_finished", status=status_of(ending), files=report.downloaded, failed=report.failed)
        for line in report.last_words(stopped=stopped):
            say(line)
        code = report.exit_code
        if code == Exit.ALL_GOOD and ending is not None:
            code = Exit.SOME_FAILED  # the files are here, the books are not
        if isinstance(ending, RunEnds) and (
            code == Exit.NOTHING_WORKED or ending.exit_code == Exit.CREDENTIALS_REFUSED
        ):
            code = ending.exit_code
        self.run.exit_code = code
        if ending is not None:
            raise ending
        return code
