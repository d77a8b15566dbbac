"""What bars are made of that stay on one line each, whatever the width of the terminal: the name gives way, not the figures."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.progress import ProgressColumn, Task
from rich.segment import Segment
from rich.table import Column

# Below so many columns there is room for names and figures, and for no bar.
NARROW = 70


def is_narrow(console: Console) -> bool:
    return console.width < NARROW


def bar_width(console: Console) -> int:
    return min(24, console.width // 5)


def as_it_is() -> Column:
    """A column of figures: it is never cut while a name can be."""
    return Column(no_wrap=True)


class NameColumn(ProgressColumn):
    """The text that `name_of` gives, as much of it as there is room for: its beginning, or its end."""

    def __init__(
        self, name_of: Callable[[Task], str], *, keep_end: bool = False, most_columns: int | None = None
    ) -> None:
        super().__init__(table_column=Column(max_width=most_columns))
        self._name_of = name_of
        self._keep_end = keep_end

    def render(self, task: Task) -> _Cut:
        return _Cut(self._name_of(task), self._keep_end)


class _Cut:
    """Text on one line that is cut where the room ends."""

    def __init__(self, text: str, keep_end: bool) -> None:
        self.text = text
        self.keep_end = keep_end

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, max(1, cell_len(self.text)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(cut(self.text, options.max_width, keep_end=self.keep_end))


def cut(text: str, columns: int, *, keep_end: bool = False) -> str:
    """`text` in at most so many columns of a terminal; "…" stands for what is cut away."""
    if cell_len(text) <= columns:
        return text
    if not keep_end:
        return set_cell_size(text, columns - 1) + "…" if columns > 0 else ""
    while cell_len(text) >= max(1, columns):
        text = text[1:]
    return f"…{text}"[:columns]
