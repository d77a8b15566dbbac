"""What a run says at its end: the table, the last words, the machine-readable file, the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common import log
from common.backups.journal import Attempt, Outcome
from common.backups.record import Record
from common.exits import Exit
from common.files import write_json
from common.saving.choose import Mode
from common.saving.desk import Result
from common.shards import WHOLE, Shard
from common.sources import Source, SourceState
from common.stdout import console
from common.text import duration, iso, now, plural, printable, size

OUTCOMES: tuple[Outcome, ...] = ("saved", "unchanged", "postponed", "without data", "failed", "gone")
MOST_ROWS = 60
LONGEST_REASON = 4000
MODE_WORDS = {"p": "backups", "a": "annotations", "t": "tasks"}


def _told(text: str) -> str:
    """What is said, kept in the journal and read by monitoring: a server's words may be in it, and its escapes."""
    return printable(log.without_secrets(text), LONGEST_REASON)


@dataclass(frozen=True)
class Line:
    """One source of the server's list and what became of it in one mode.

    `record` is what this run saved, `standing` the backup of an earlier one that is still right: what it lacks is lacking.
    """

    source: Source
    outcome: Outcome
    reason: str
    remedy: str = ""
    record: Record | None = None
    exported_bytes: int = 0
    seconds: float = 0.0
    standing: Record | None = None


@dataclass
class Tally:
    """Everything that happened to the server's list in one mode. `listed` = excluded + all lines, or something is wrong."""

    mode: Mode
    listed: int
    excluded: int = 0
    shard: Shard = WHOLE
    lines: list[Line] = field(default_factory=list)
    # What went wrong beside the backups: of one source, or of the run.
    warnings: list[tuple[Source | None, str]] = field(default_factory=list)

    def add(self, result: Result) -> Line:
        line = Line(
            result.candidate.state.source,
            result.outcome,
            _told(result.reason),
            _told(result.remedy),
            result.record,
            result.exported_bytes,
            result.seconds,
        )
        self.lines.append(line)
        return line

    def refuse(self, state: SourceState, reason: str, remedy: str) -> Line:
        """A source that this run cannot deal with at all."""
        line = Line(state.source, "failed", _told(reason), remedy)
        self.lines.append(line)
        return line

    def note(self, state: SourceState, outcome: Outcome, reason: str, standing: Record | None = None) -> Line:
        # The others are too many to be held for nothing.
        lacks = standing if standing and (standing.left_out or standing.alterations) else None
        line = Line(state.source, outcome, _told(reason), standing=lacks)
        self.lines.append(line)
        return line

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(line.outcome for line in self.lines)
        return {outcome: found[outcome] for outcome in OUTCOMES} | {"excluded": self.excluded}

    @property
    def missing(self) -> int:
        """Sources that were listed and of which nothing is said: more than 0 only when a run was cut short."""
        return self.listed - self.excluded - len(self.lines)

    def attempt(self, line: Line, run_id: str) -> Attempt:
        """The journal's line."""
        return Attempt(
            at=iso(now()),
            run_id=run_id,
            mode=self.mode,
            source=line.source,
            outcome=line.outcome,
            reason=line.reason,
            file=line.record.main_file.name if line.record else "",
            bytes=line.exported_bytes,
            seconds=round(line.seconds, 3),
        )


def exit_code(tallies: Sequence[Tally]) -> Exit:
    """0 all good, 3 some items failed, 1 nothing worked."""
    found = Counter(line.outcome for tally in tallies for line in tally.lines)
    if not found["failed"] and not any(tally.missing for tally in tallies):
        return Exit.ALL_GOOD
    return Exit.SOME_FAILED if something_worked(tallies) else Exit.NOTHING_WORKED


def something_worked(tallies: Iterable[Tally]) -> bool:
    """True when anything is backed up. An item that failed in part has left a record of the rest."""
    lines = [line for tally in tallies for line in tally.lines]
    return any(line.outcome in ("saved", "unchanged") or line.record for line in lines)


def contents_text(record: Record) -> str:
    """What is in a backup, in a few words."""
    seen = record.verified
    parts = [plural(seen.tasks, "task"), plural(seen.frames, "frame")]
    parts += [plural(number, word) for number, word in _numbers(record) if number]
    return ", ".join(parts) if seen.tasks else "no images yet"


def _numbers(record: Record) -> list[tuple[int, str]]:
    counts = record.verified.counts
    return [(counts.shapes, "shape"), (counts.tracks, "track"), (counts.tags, "tag")]


def print_report(
    tallies: Sequence[Tally], folder: Path, seconds: float, *, stopped: str = "", absent: Sequence[Source] = ()
) -> None:
    """The tables and the last words of a run; `stopped` says why it ended early."""
    out = console()
    out.print()
    _print_saved(out, tallies)
    for tally in tallies:
        for line in tally.lines:
            _print_remarks(out, tally, line)
        _print_warnings(out, tally)
    for tally in tallies:
        out.print(sum_text(tally), soft_wrap=True)
    if absent:
        named = ", ".join(f"{source} ({printable(source.name, 60)})" for source in absent[:5])
        more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
        out.print(
            f"{plural(len(absent), 'source')} no longer on the server; the backups stay: {named}{more}", soft_wrap=True
        )
    for text in last_words(tallies, folder, seconds, stopped=stopped):
        out.print(text, soft_wrap=True)


def _print_saved(out: Console, tallies: Sequence[Tally]) -> None:
    saved = [(tally, line) for tally in tallies for line in tally.lines if line.record is not None]
    if not saved:
        return
    saved.sort(key=lambda pair: (pair[0].mode, pair[1].source.kind, pair[1].source.id))
    # Long names and contents are cut where the room ends: one line each reads better than wrapped ones. Their columns may
    # be made narrower, and the texts themselves say that they do not wrap.
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("saved", no_wrap=True)
    table.add_column("name", max_width=36)
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column(_on_one_line("what is in it"))
    for tally, line in saved[:MOST_ROWS]:
        assert line.record is not None
        contents = contents_text(line.record)
        if line.record.verified.result == "incomplete":
            contents += " (INCOMPLETE)"
        elif line.record.warnings:
            contents += " (with warnings)"
        elif line.record.changed_while_exporting:
            contents += " (edited meanwhile)"
        name = _on_one_line(printable(line.source.name, 60))
        table.add_row(_label(tally, line), name, size(line.record.size_bytes), _on_one_line(contents))
    out.print(table)
    if len(saved) > MOST_ROWS:
        out.print(f"… and {len(saved) - MOST_ROWS:,} more")
    out.print()


def _on_one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _label(tally: Tally, line: Line) -> str:
    return f"{line.source} annotations" if tally.mode == "a" else str(line.source)


def sum_text(tally: Tally) -> str:
    """That everything the server listed is accounted for: "33 on the server = 32 saved + 0 unchanged + 1 failed"."""
    always = ("saved", "unchanged", "failed")
    parts = [f"{count:,} {name}" for name, count in tally.counts.items() if count or name in always]
    if tally.missing:
        parts.append(f"{tally.missing:,} not looked at")
    return f"{MODE_WORDS[tally.mode]}: {tally.listed:,} {where_listed(tally)} = {' + '.join(parts)}"


def where_listed(tally: Tally) -> str:
    """Of what a tally counts everything."""
    return "on the server" if tally.shard.is_whole else f"in shard {tally.shard}"


def _print_remarks(out: Console, tally: Tally, line: Line) -> None:
    what = f"{MODE_WORDS[tally.mode] + ' of ' if tally.mode == 'a' else ''}{line.source} ({printable(line.source.name, 60)})"
    if line.outcome == "failed":
        out.print(Text(f"FAILED   {what}: {line.reason}", style="red"), soft_wrap=True)
        if line.remedy:
            out.print(f"         {line.remedy}", soft_wrap=True)
    elif line.outcome in ("gone", "postponed", "without data"):
        out.print(f"{line.outcome.upper():<8} {what}: {line.reason}", soft_wrap=True)
    record = line.record or line.standing
    if record is None:
        return
    for warning in (text for text in record.warnings if line.record and text not in line.reason):
        out.print(
            Text(f"WARNING  {what}: {printable(log.without_secrets(warning), 400)}", style="yellow"), soft_wrap=True
        )
    for text in record.alterations:
        out.print(f"MENDED   {what}: {printable(text, 400)}", soft_wrap=True)
    for left in record.left_out:
        if not any(left.reason in text for text in record.alterations):
            out.print(
                f"LEFT OUT {what}: task {left.task_id} ({printable(left.name, 60)}): {left.reason}", soft_wrap=True
            )


def _print_warnings(out: Console, tally: Tally) -> None:
    for source, text in tally.warnings[:MOST_ROWS]:
        what = f"{source} ({printable(source.name, 60)}): " if source else ""
        out.print(Text(f"WARNING  {what}{printable(text, 400)}", style="yellow"), soft_wrap=True)
    if len(tally.warnings) > MOST_ROWS:
        out.print(f"… and {len(tally.warnings) - MOST_ROWS:,} more warnings")


def last_words(tallies: Sequence[Tally], folder: Path, seconds: float, *, stopped: str = "") -> list[str]:
    """What happened and what to do, in at most three lines."""
    found = Counter(line.outcome for tally in tallies for line in tally.lines)
    saved_bytes = sum(line.record.size_bytes for tally in tallies for line in tally.lines if line.record)
    missing = sum(tally.missing for tally in tallies)
    lines = [
        f"{plural(found['saved'], 'backup')} saved ({size(saved_bytes)}) in {duration(seconds)}. All backups are in {folder}"
    ]
    if stopped:
        why = printable(log.without_secrets(stopped), 400).rstrip(".")
        lines.append(f"Stopped early: {missing:,} not looked at ({why}). The next run goes on from here.")
    elif missing:
        lines.append(
            f"{missing:,} of the server's list are unaccounted for: please report this as a fault of the program."
        )
    if found["failed"]:
        lines.append(f"{plural(found['failed'], 'item')} FAILED, see above; the next run tries again.")
    elif found["postponed"]:
        lines.append(
            f"{plural(found['postponed'], 'item')} postponed by CVAT_BACKUP_MAX_GB_PER_DAY: they come first next time."
        )
    elif not stopped and not missing:
        lines.append("All good: everything that was asked for and holds data is backed up.")
    return lines


def write_last_run(
    path: Path,
    *,
    tally: Tally | None,
    mode: Mode,
    run_id: str,
    started_at: datetime,
    code: int,
    server: dict[str, str],
    why: str,
    absent: int = 0,
    shard: Shard = WHOLE,
) -> None:
    """`last-run-<mode>.json`: what monitoring reads. `tally` is None when the run ended before the server's list was known."""
    lines = tally.lines if tally else []
    finished = now()
    content: dict[str, Any] = {
        "version": 1,
        "mode": mode,
        "run_id": run_id,
        "shard": str(shard),
        "started_at": iso(started_at),
        "finished_at": iso(finished),
        "seconds": round((finished - started_at).total_seconds(), 3),
        "exit_code": int(code),
        "ended_because": _told(why),
        "server": server,
        "listed": tally.listed if tally else None,
        "counts": tally.counts if tally else None,
        "absent": absent,
        "saved_bytes": sum(line.record.size_bytes for line in lines if line.record),
        "failures": [
            {"source": asdict(line.source), "reason": line.reason, "what_to_do": line.remedy}
            for line in lines
            if line.outcome == "failed"
        ],
        "warnings": [
            {"source": asdict(line.source), "warnings": [_told(text) for text in line.record.warnings]}
            for line in lines
            if line.record and line.record.warnings
        ]
        + [
            {"source": asdict(source) if source else None, "warnings": [_told(text)]}
            for source, text in (tally.warnings if tally else ())
        ],
    }
    write_json(path, content)
