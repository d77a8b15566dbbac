"""What a person sees while images come: a bar with the file, the speed and the time left; log lines without a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from common import log
from common.terminal import draws
from common.text import duration, printable, size

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_EVERY_SECONDS = 30.0
# What is over so soon needs no line on the screen.
QUICK_SECONDS = 1.0
DRAWN_EVERY_SECONDS = 0.2


class _Drawn:
    """What has something on a terminal, perhaps, and takes it away at the end of its block."""

    _rich: Progress | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich:
            with contextlib.suppress(OSError):
                self._rich.stop()


class DownloadBar(_Drawn):
    """Use as a context manager. Bytes make the bar, because files differ in size.

    `event` and `did` are what log lines say: how much was `did` ("fetched") so far.
    """

    def __init__(self, files: int, total_bytes: int, event: str = "progress", did: str = "fetched") -> None:
        self._event, self._did = event, did
        self._files, self._total = files, total_bytes
        self._began = self._logged = time.monotonic()
        if draws() and files:
            # Only where there is somebody to see it: it takes a tenth of a second to load.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                ProgressColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            from common.bars import NameColumn, as_it_is, bar_width, is_narrow

            console = Console(stderr=True)
            counts: list[ProgressColumn] = [NameColumn(lambda task: str(task.fields["of"]))]
            name: list[ProgressColumn] = []
            if not is_narrow(console):
                of = TextColumn("{task.fields[of]}", markup=False, table_column=as_it_is())
                counts = [of, BarColumn(bar_width=bar_width(console))]
                # All names may begin with the same folders.
                name = [NameColumn(lambda task: str(task.fields["name"]), keep_end=True)]
            self._rich = Progress(
                *counts,
                TextColumn("{task.percentage:>3.0f}%", table_column=as_it_is()),
                TransferSpeedColumn(table_column=as_it_is()),
                TimeRemainingColumn(compact=True, table_column=as_it_is()),
                *name,
                console=console,
                transient=True,
                refresh_per_second=5,
            )
            self._task = self._rich.add_task("images", total=max(1, total_bytes), of=f"0 of {files:,}", name="")

    def __enter__(self) -> DownloadBar:
        if self._rich:
            self._rich.start()
        return self

    def show(self, files: int, bytes_done: int, failed: int, name: str) -> None:
        """Called several times a second."""
        if self._rich:
            of = f"{files:,} of {self._files:,}" + (f", {failed:,} failed" if failed else "")
            self._rich.update(self._task, completed=bytes_done, of=of, name=printable(name, 1024))
            return
        if time.monotonic() - self._logged < LOG_EVERY_SECONDS:
            return
        self._logged = time.monotonic()
        passed = self._logged - self._began
        rate = bytes_done / passed
        left = duration((self._total - bytes_done) / rate) if rate > 0 and self._total > bytes_done else "unknown"
        log.get().info(
            self._event,
            files=files,
            of=self._files,
            failed=failed,
            **{self._did: size(bytes_done)},
            speed=f"{size(rate)}/s",
            left=left,
            file=printable(name, 60),
        )


class AnalysisLine(_Drawn):
    """What is done before anything can be fetched: a line on a terminal, log lines without one. A context manager."""

    def __init__(self) -> None:
        self._terminal = draws()
        self._shown = self._logged = self._began = time.monotonic()
        self._doing = ""
        self._count: Callable[[], int] = lambda: 0

    def __enter__(self) -> AnalysisLine:
        return self

    def begin(self, doing: str, count: Callable[[], int]) -> None:
        """From now on this is done; `count` tells how many it has come to."""
        self._doing, self._count = doing, count

    def show(self) -> None:
        """To be called often."""
        at = time.monotonic()
        if not self._terminal:
            if at - self._logged >= LOG_EVERY_SECONDS:
                self._logged = at
                log.get().info("analysing", doing=self._doing, count=self._count())
            return
        if at - self._began < QUICK_SECONDS or at - self._shown < DRAWN_EVERY_SECONDS:
            return
        self._shown = at
        with contextlib.suppress(OSError):  # a terminal that went away is no reason to end
            self._draw(f"{self._doing}: {self._count():,}")

    def _draw(self, text: str) -> None:
        if self._rich is None:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            # Drawn by us, not by a thread of its own: there must be none when processes are forked.
            self._rich = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
            self._rich.add_task(text, total=None)
            self._rich.start()
        self._rich.update(self._rich.task_ids[0], description=text, refresh=True)
