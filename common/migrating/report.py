"""What became of each project, for the closing table and the exit code."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from rich import box
from rich.table import Table
from rich.text import Text

from common.exits import Exit
from common.run import say
from common.stdout import console
from common.text import duration, plural, printable, size

Outcome = Literal["done", "incomplete", "failed", "refused", "locked"]
MOST_LINES = 40
WIDTH = 240  # where it goes to a file, so that no id is cut off


@dataclass
class Report:
    """One project in one run. `gaps` are what is missing though it should be there; `notes` what cannot be restored;
    `done` what was done beside carrying.
    """

    name: str
    outcome: Outcome = "done"
    where: str = ""
    images: int = 0
    videos: int = 0
    scenes: int = 0
    shapes: int = 0
    bytes: int = 0
    seconds: float = 0.0
    gaps: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    remedy: str = ""
    project_id: str = ""  # on the server that was uploaded to
    project_created_at: str = ""

    def settle(self) -> Report:
        if self.gaps and self.outcome == "done":
            self.outcome = "incomplete"
        return self


def grouped(lines: list[str]) -> list[str]:
    """The same sentence once, with how often; the most frequent first."""
    return told(Counter(lines))


def told(counted: Counter[str]) -> list[str]:
    """One sentence for each, with how often; the most frequent first."""
    return [f"{text} ({count:,} times)" if count > 1 else text for text, count in counted.most_common()]


def exit_code(reports: list[Report]) -> int:
    """0 all good, 1 nothing worked, 3 some failed or have gaps, 11 another run is at work on all of them."""
    if all(each.outcome == "done" for each in reports):
        return Exit.ALL_GOOD
    if all(each.outcome == "locked" for each in reports):
        return Exit.LOCKED
    if all(each.outcome in ("failed", "refused", "locked") for each in reports):
        return Exit.NOTHING_WORKED
    return Exit.SOME_FAILED


# What stands before the kind and id of a medium in every address: so long that what happened would be cut off.
_ADDRESS = re.compile(
    r"(https?://[^/\s]+)?/api/v1(\.0)?(/organizations/[^/\s]+)?/workspaces/[^/\s]+(/projects/[^/\s:]+(/datasets/[^/\s:]+)?)?"
)


def _line(text: str) -> str:
    return printable(_ADDRESS.sub("…", text), 300)


def print_reports(reports: list[Report], verb: str) -> None:
    """The closing table on standard output, then what is missing and what cannot be restored."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, justify in (
        ("project", "left"), ("", "left"), ("images", "right"), ("videos", "right"), ("scenes", "right"),
        ("shapes", "right"), ("size", "right"), ("time", "right"), ("where", "left"),
    ):  # fmt: skip
        table.add_column(head, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for each in reports:
        table.add_row(
            Text(printable(each.name, 40)), each.outcome, f"{each.images:,}", f"{each.videos:,}", f"{each.scenes:,}",
            f"{each.shapes:,}", size(each.bytes), duration(each.seconds), Text(printable(each.where, 200)),
        )  # fmt: skip
    console(WIDTH).print(table)
    for each in reports:
        name = printable(each.name, 40)
        for line in _first(grouped(each.gaps)):
            print(f"MISSING      {name}: {_line(line)}")
        for line in _first(grouped(each.notes)):
            print(f"NOT CARRIED  {name}: {_line(line)}")
        for line in _first(grouped(each.done)):
            print(f"DONE         {name}: {_line(line)}")
        if each.remedy and each.outcome != "done":
            print(f"             {each.remedy}")
    done = sum(each.outcome == "done" for each in reports)
    if done == len(reports):
        say(f"All good: {plural(done, 'project')} {verb}, nothing is missing.")
        return
    summary = f"{done} of {plural(len(reports), 'project')} {verb} whole."
    # What was refused is refused again, and nothing is mended by being looked at once more.
    outcomes = {each.outcome for each in reports} - {"done", "refused"}
    if verb == "verified" or not outcomes:
        say(f"{summary} See above.")
    elif "failed" in outcomes:
        say(f"{summary} When that is mended, run the same command again: it goes on from here.")
    else:
        say(f"{summary} Run the same command again: it goes on from here.")


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines[:MOST_LINES] + ([f"… and {more:,} more"] if more > 0 else [])
