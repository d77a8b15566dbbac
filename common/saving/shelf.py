"""`--list` and `--dry-run`: what is on the disk, and what would be saved."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from common.backups.store import Backup, Overlooked, all_backups
from common.exits import Exit, RunEnds
from common.files import is_folder
from common.saving.choose import Candidate
from common.saving.report import Tally, contents_text, where_listed
from common.stdout import console
from common.text import duration, now, parse_time, plural, printable, size


def require_folder(backup_dir: Path) -> None:
    """Raises RunEnds when CVAT_BACKUP_DIR, or what it is to be made in, is no folder."""
    found = next(path for path in (backup_dir, *backup_dir.parents) if os.path.exists(path))  # noqa: PTH110
    if not os.path.isdir(found):  # noqa: PTH112 - unlike Path's, these two do not raise where they may not look
        what = f"CVAT_BACKUP_DIR={backup_dir} cannot be used: {found} is not a folder."
        raise RunEnds(what, "Name a folder; it is made if it does not exist.", Exit.BAD_CONFIGURATION)


def list_backups(backup_dir: Path, note: Callable[[Backup], str] = lambda _backup: "") -> Exit:
    """`--list`: 0 when all was shown, 3 when something there could not be read, 1 when there is nothing."""
    overlooked: list[Overlooked] = []
    if not print_shelf(backup_dir, note, overlooked):
        return Exit.NOTHING_WORKED
    return Exit.SOME_FAILED if overlooked else Exit.ALL_GOOD


def print_shelf(
    backup_dir: Path,
    note: Callable[[Backup], str] = lambda _backup: "",
    overlooked: list[Overlooked] | None = None,
) -> bool:
    """Lists all backups, source by source, newest first, each with a note. False when there are none.

    What could not be read is named below the list, and added to `overlooked`.
    """
    out, total, count = console(), 0, 0
    passed_over: list[Overlooked] = [] if overlooked is None else overlooked
    if is_folder(backup_dir):
        for backups in all_backups(backup_dir, passed_over):
            newest = backups[0].record.source
            out.print(Text(f"{newest.server}  {newest}  {printable(newest.name, 60)}", style="bold"))
            for backup in backups:
                out.print(Text(_line(backup, note(backup))), soft_wrap=True)
                total += backup.record.size_bytes
                count += 1
    for each in passed_over:
        out.print(Text(f"{each}\n    {each.path}", style="red"), soft_wrap=True)
    if not count and not passed_over:
        out.print(f"There are no backups in {backup_dir} yet.", soft_wrap=True)
        return False
    out.print()
    more = ", and what could not be read" if passed_over else ""
    out.print(f"{plural(count, 'backup')}, {size(total)}, in {backup_dir}{more}", soft_wrap=True)
    return True


def _line(backup: Backup, note: str) -> str:
    """One backup in two lines: the second is its path alone, so that it can be copied."""
    record = backup.record
    age = (now() - parse_time(record.finished_at)).total_seconds()
    when = f"{record.finished_at[:16].replace('T', ' ')}Z  {duration(max(0, age)) + ' ago':<14}"
    state = (backup.missing_or_short() or record.verified.result) + note
    return (
        f"  {when} {size(record.size_bytes):>8}  {record.content}, {state}: {contents_text(record)}\n    {backup.path}"
    )


def print_plan(candidates: Sequence[Candidate], tallies: Sequence[Tally]) -> None:
    """What a run would do now, and why."""
    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("would save", "name", "because", "last size"):
        table.add_column(
            heading, no_wrap=heading == "would save", justify="right" if heading == "last size" else "left"
        )
    for each in candidates:
        suffix = " annotations" if each.mode == "a" else ""
        last = size(each.expected_bytes) if each.newest else ""
        table.add_row(f"{each.state.source}{suffix}", Text(printable(each.state.source.name, 60)), each.reason, last)
    if candidates:
        out.print(table)
        out.print()
    for tally in tallies:
        counts = tally.counts
        would = sum(each.mode == tally.mode for each in candidates)
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        out.print(
            f"--mode {tally.mode}: {tally.listed:,} {where_listed(tally)}, {would:,} would be saved"
            + (f", {said}" if said else "")
        )
    out.print("Nothing was saved: this was a dry run.")
