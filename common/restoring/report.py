"""What a restore says at its end: a table, what came back and what did not, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.exits import Exit
from common.restoring.order import Restored
from common.stdout import console
from common.text import plural, printable


def print_restored(results: Sequence[Restored]) -> None:
    """The table of a run, its remarks and its last words."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("name", no_wrap=True, max_width=40)
    table.add_column("address", no_wrap=True)
    for result in results:
        what = f"{result.kind} {result.id}" if result.id is not None else ""
        table.add_row(result.outcome, Text(printable(result.name or str(result.chosen), 60)), result.address or what)
    out.print()
    out.print(table)
    for result in results:
        _print_remarks(out, result)
    _print_metadata(out, results)
    for text in last_words(results):
        out.print(text, soft_wrap=True)


def _print_remarks(out: Console, result: Restored) -> None:
    name = printable(result.name or str(result.chosen), 60)
    if result.reason:
        out.print(Text(f"{result.outcome.upper()} {name}: {result.reason}", style="red"), soft_wrap=True)
        if result.remedy:
            out.print(f"  {result.remedy}", soft_wrap=True)
    for text in result.differences:
        out.print(Text(f"DIFFERS {name}: {printable(text, 400)}", style="red"), soft_wrap=True)
    for text in result.missing:
        out.print(Text(f"MISSING {name}: {printable(text, 600)}", style="red"), soft_wrap=True)
    for text in result.remarks:
        out.print(f"NOTE {name}: {printable(text, 400)}", soft_wrap=True)


def _print_metadata(out: Console, results: Sequence[Restored]) -> None:
    """One restore: all lines. Several: what each could not get back; that ids are new ones is said once."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("metadata", "outcome", "why"):
        table.add_column(heading, no_wrap=heading != "why")
    came_back = 0
    for result in results:
        for line in result.metadata:
            came_back += line.outcome == "came back"
            if len(results) > 1 and (line.outcome == "came back" or line.what == "ids and dates"):
                continue
            what = f"{result.kind} {result.id}: {line.what}" if len(results) > 1 else line.what
            table.add_row(Text(printable(what, 70)), line.outcome, Text(printable(line.why, 300)))
    if table.row_count:
        out.print()
        out.print(table)
    if len(results) > 1 and came_back:
        out.print()
        out.print(
            f"Metadata: {plural(came_back, 'group')} of settings came back (owners, assignees, job states and so on)."
        )


def last_words(results: Sequence[Restored]) -> list[str]:
    found = Counter(result.outcome for result in results)
    said = [f"{plural(found['restored'], 'backup')} restored"]
    said += [f"{count} {word}" for word in ("there already", "refused", "failed") if (count := found[word])]
    lines = [", ".join(said) + "."]
    if any(result.differences for result in results):
        lines.append("Something differs from its backup, see above: compare before you rely on it.")
    if any(result.missing for result in results):
        lines.append("Something that was saved could not be put back, see MISSING above.")
    if found["failed"]:
        lines.append("Run the same command again: what was begun is finished, nothing is made twice.")
    return lines


def exit_code(results: Sequence[Restored]) -> Exit:
    """0: all of it is there; 3: some; 1: nothing worked."""
    good = sum(result.outcome in ("restored", "there already") for result in results)
    if good == len(results) and not any(result.differences or result.missing for result in results):
        return Exit.ALL_GOOD
    return Exit.SOME_FAILED if good else Exit.NOTHING_WORKED
