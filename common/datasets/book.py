"""What a run of downloader.py --mode datasets has come to so far, and how it says so: metrics.json, figures, last words."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import log
from common.datasets.choose import Tell
from common.datasets.metrics import FILE_NAME, Metrics, TaskDetail
from common.datasets.settings import DatasetSettings
from common.exits import Exit
from common.files import DiskFull
from common.lock import AT_ONCE, Patience, locked
from common.ownership import refused
from common.text import duration, plural, size
from common.waiting import Stopped


def rule() -> str:
    return "=" * min(80, shutil.get_terminal_size().columns)


class Book:
    """The figures of a run while it goes on, and metrics.json at its end, however it ends."""

    def __init__(self, settings: DatasetSettings, tell: Tell) -> None:
        self.settings = settings
        self.tell = tell
        self.remedies: dict[int, str] = {}
        self.passing: set[int] = set()  # failed tasks that may well succeed when they are only tried again
        self.kept: list[Path] = []  # folders that somebody had made their own, which stay under another name
        self.saw_nothing = False
        self.nothing_chosen = ""  # why no task was chosen
        self.unsaved = ""  # why metrics.json could not be written
        self.metrics = Metrics(
            settings.dataset_format, settings.project_id, list(settings.task_ids) or None, settings.required_status
        )
        self._began = time.monotonic()

    @contextlib.contextmanager
    def held(self, patience: Patience = AT_ONCE) -> Iterator[None]:
        """Locks the folder and writes the metrics at the end. Raises Locked, RunEnds and what the block raises."""
        folder = self.settings.folder
        with contextlib.ExitStack() as lock:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock.enter_context(locked(folder / ".lock-downloads", "downloader.py --mode datasets", patience))
            except OSError as error:  # also of a file system without locks
                raise refused("CVAT_DOWNLOAD_OUTPUT_DIR", folder, "written", error, "downloader.py") from None
            try:
                yield
            except BaseException as error:
                self.metrics.reason = "stopped by a signal" if isinstance(error, Stopped) else str(error) or repr(error)
                self._write()
                if self.metrics.total_tasks_found:
                    self.tell(self._so_far())
                raise
            self._write()
            self._close()

    def note(self, detail: TaskDetail, lines: Sequence[str], remedy: str, *, passing: bool) -> None:
        """Enters what became of a task; a second try counts instead of the first."""
        self.metrics.details[:] = [each for each in self.metrics.details if each.task_id != detail.task_id]
        self.metrics.details.append(detail)
        self.remedies.pop(detail.task_id, None)
        self.passing.discard(detail.task_id)
        if remedy:
            self.remedies[detail.task_id] = remedy
        if passing:
            self.passing.add(detail.task_id)
        for line in lines:
            self.tell(line)

    def _write(self) -> None:
        """Writes the metrics. That this fails must neither hide what was done nor pass for a good end."""
        self.metrics.seconds = time.monotonic() - self._began
        try:
            self.metrics.write(self.settings.folder)
        except (OSError, DiskFull) as error:
            why = error.strerror if isinstance(error, OSError) else None
            self.unsaved = f"metrics.json could not be written into {self.settings.folder}: {why or error}".rstrip(".")
            log.get().error("metrics_not_written", reason=self.unsaved)

    @property
    def _saved(self) -> str:
        return self.unsaved or f"Metrics saved to: {self.settings.folder / FILE_NAME}"

    def _counts(self) -> str:
        """What became of the tasks: "30 tasks downloaded, 3 unchanged, 4 without images, 1 FAILED"."""
        skipped = self.metrics.of("skipped")
        parts = {
            "unchanged": sum(detail.size > 0 for detail in skipped),
            "without images": sum(not detail.size for detail in skipped),
            "FAILED": len(self.metrics.of("failed")),
        }
        others = [f"{count} {what}" for what, count in parts.items() if count or what == "unchanged"]
        return ", ".join([f"{plural(len(self.metrics.of('downloaded')), 'task')} downloaded", *others])

    def _so_far(self) -> str:
        """The figures of a run that ends early."""
        return f"Of {plural(self.metrics.total_tasks_found, 'task')} so far: {self._counts()}. {self._saved}"

    def _close(self) -> None:
        metrics = self.metrics.as_json()
        for line in (
            "",
            rule(),
            "CVAT Download Complete",
            rule(),
            f"Total tasks found: {metrics['total_tasks_found']}",
            f"Tasks downloaded: {metrics['tasks_downloaded']}",
            f"Tasks skipped: {metrics['tasks_skipped']}",
            f"Tasks failed: {metrics['tasks_failed']}",
            f"Images filtered: {metrics['images_filtered']}",
            f"Annotations filtered: {metrics['annotations_filtered']}",
            f"Output directory: {self.metrics.output_dir}",
            *([f"Merged dataset: {self.metrics.merged_dir}"] if self.metrics.merged_dir else []),
            self._saved,
            rule(),
        ):
            self.tell(line)

    @property
    def exit_code(self) -> int:
        failed, others = len(self.metrics.of("failed")), len(self.metrics.details) - len(self.metrics.of("failed"))
        if failed or (others and (self.metrics.reason or self.unsaved)):
            return Exit.SOME_FAILED if others else Exit.NOTHING_WORKED
        return Exit.NOTHING_WORKED if self.saw_nothing or self.metrics.reason or self.unsaved else Exit.ALL_GOOD

    def last_words(self) -> str:
        """What is said at the very end."""
        words = [self._words()]
        if self.kept:
            names = ", ".join(map(str, self.kept[:3])) + (" and others" if len(self.kept) > 3 else "")
            what = plural(
                len(self.kept), "folder that somebody had changed is", "folders that somebody had changed are"
            )
            words.append(f"{what} kept: {names}.")
        if self.unsaved:
            words.append(f"{self.unsaved[:1].upper()}{self.unsaved[1:]}.")
            words.append("Make room there, or correct the rights, and run the same command again.")
        return " ".join(words)

    def _words(self) -> str:
        if self.saw_nothing:
            return (
                "The account sees no task at all on this server. Give it the right to see them, or correct "
                "CVAT_DOWNLOAD_ORGANIZATION_SLUG."
            )
        if not self.metrics.details:
            return f"Nothing was downloaded: {self.nothing_chosen or 'no task passes all filters'}."
        failed = {detail.task_id for detail in self.metrics.of("failed")}
        downloaded = self.metrics.of("downloaded")
        fetched = f" ({size(sum(detail.bytes for detail in downloaded))})" if downloaded else ""
        got = f"{self._counts()}{fetched} in {duration(self.metrics.seconds)}."
        if not failed and not self.metrics.reason:
            return got if self.unsaved else f"All good: {got}"
        reason = self.metrics.reason.rstrip(".")
        why = f" {reason[:1].upper()}{reason[1:]}." if reason else ""
        # What a merge lacks stands in its reason: the same command again would end the same way.
        if not failed:
            return got + why
        if self.passing:
            return f"{got}{why} Run the same command again: what is complete is skipped."
        if not self.remedies:
            return got + why
        return f"{got}{why} First do what stands below the FAILED tasks: the same command alone would fail again."
