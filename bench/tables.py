"""What was measured, for a terminal and for the documentation."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from rich.console import Console
from rich.table import Table

PACKAGES = ("cvat-sdk", "cvat-cli", "requests", "urllib3")


@dataclass(frozen=True)
class Goal:
    """One goal of the issue and what came out."""

    text: str
    said: str
    met: bool

    def __str__(self) -> str:
        return f"{'met' if self.met else 'MISSED'}: {self.text}: {self.said}"


@dataclass
class Result:
    """One scenario."""

    title: str
    how: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def goal(self, text: str, said: str, met: bool) -> None:
        self.goals.append(Goal(text, said, met))


def show(result: Result) -> None:
    """Prints one scenario on standard output."""
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    out.print(f"\n{result.title}", style="bold", markup=False)
    out.print(result.how, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(result.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in result.rows:
        table.add_row(*row)
    out.print(table)
    for goal in result.goals:
        out.print(str(goal), style="green" if goal.met else "red", markup=False)


def markdown(command: str, results: Sequence[Result], *, quick: bool) -> str:
    """The same as a page of the documentation."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{command}{' --quick' if quick else ''}` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, "
        f"{gigabytes:.0f} GB of memory, {platform.system()}, Python {platform.python_version()}, {versions}. "
        "The server is the sandbox, on the same machine and the same cores.",
    ]
    for result in results:
        lines += ["", f"## {result.title}", "", result.how, ""]
        lines.append(f"| {' | '.join(result.columns)} |")
        lines.append(f"|---|{'---:|' * (len(result.columns) - 1)}")
        lines += [f"| {' | '.join(row)} |" for row in result.rows]
        lines += ["", *(f"- {goal}" for goal in result.goals)]
    return "\n".join(lines) + "\n"
