"""Progress of a run over many items: bars on a terminal, a log line at intervals elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TimeElapsedColumn,
)

from common import log
from common.bars import NameColumn, as_it_is, bar_width, is_narrow
from common.terminal import draws
from common.text import printable, size

LOG_EVERY_SECONDS = 30.0
# What stands beside a name where it is narrow: spinner, "123 of 345, 8.2 MB", time.
NARROW_REST = 29


class ItemProgress:
    """One item that is being worked on."""

    def __init__(self, display: Display, name: str) -> None:
        self.display = display
        self.name = name
        self.text = "waiting"
        self.done_bytes = 0
        self.total_bytes: int | None = None
        self.task_id: TaskID | None = None

    def phase(self, text: str) -> None:
        self.text, self.done_bytes, self.total_bytes = text, 0, None
        self.display.update(self)

    def bytes(self, done: int, total: int | None) -> None:
        self.display.count_bytes(max(0, done - self.done_bytes))
        self.done_bytes, self.total_bytes = done, total
        self.display.update(self)

    def close(self) -> None:
        self.display.remove(self)

    @property
    def detail(self) -> str:
        if not self.done_bytes:
            return self.text
        of = f" of {size(self.total_bytes)}" if self.total_bytes else ""
        return f"{self.text} {size(self.done_bytes)}{of}"

    @property
    def brief(self) -> str:
        """The same for a narrow terminal."""
        return f"{self.text} {self.done_bytes / self.total_bytes:.0%}" if self.total_bytes else self.detail


class Display:
    """The whole run. Use as a context manager; safe to use from several threads."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._bytes = 0
        self._began = time.monotonic()
        self._logged = self._began
        self._items: list[ItemProgress] = []
        self._lock = threading.Lock()
        self._rich: Progress | None = None
        self._narrow = False
        if draws() and total:
            console = Console(stderr=True)
            self._narrow = is_narrow(console)
            wide: list[ProgressColumn] = [] if self._narrow else [BarColumn(bar_width=bar_width(console))]
            longest = max(1, console.width - NARROW_REST) if self._narrow else None
            self._rich = Progress(
                SpinnerColumn(table_column=as_it_is()),
                NameColumn(lambda task: task.description, most_columns=longest),
                *wide,
                NameColumn(lambda task: str(task.fields["detail"])),
                TimeElapsedColumn(table_column=as_it_is()),
                console=console,
                transient=True,
            )
            self._overall = self._rich.add_task(what, total=total, detail=f"0 of {total}")

    def __enter__(self) -> Display:
        if self._rich:
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich:
            with contextlib.suppress(OSError):  # a terminal that was closed
                self._rich.stop()

    def item(self, name: str) -> ItemProgress:
        """Begins an item; call its `close` when it is over."""
        item = ItemProgress(self, printable(name, 40))
        with self._lock:
            self._items.append(item)
        if self._rich:
            item.task_id = self._rich.add_task("  " + item.name, total=None, detail="")
        return item

    def update(self, item: ItemProgress) -> None:
        if self._rich and item.task_id is not None:
            detail = item.brief if self._narrow else item.detail
            fields: dict[str, Any] = {"completed": item.done_bytes, "total": item.total_bytes, "detail": detail}
            self._rich.update(item.task_id, **fields)

    def count_bytes(self, count: int) -> None:
        with self._lock:
            self._bytes += count

    def remove(self, item: ItemProgress) -> None:
        with self._lock:
            self._items.remove(item)
        if self._rich and item.task_id is not None:
            self._rich.remove_task(item.task_id)

    def advance(self) -> None:
        """One item of the total is finished."""
        self._done += 1
        if self._rich:
            detail = f"{self._done} of {self._total}, {size(self._bytes)}"
            self._rich.update(self._overall, completed=self._done, detail=detail)

    def tick(self) -> None:
        """Called now and then: writes the log line where there is no terminal."""
        if self._rich or time.monotonic() - self._logged < LOG_EVERY_SECONDS:
            return
        self._logged = time.monotonic()
        with self._lock:
            working = {item.name: item.detail for item in self._items}
        log.get().info(
            "progress",
            done=self._done,
            total=self._total,
            fetched=size(self._bytes),
            seconds=round(time.monotonic() - self._began),
            working=working,
        )
