"""What a download says: the analysis before it, the log file and the state while it runs, lists and last words after it."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from common import log
from common.exits import Exit
from common.files import disk_full_named, publish
from common.images.fetch import Outcome
from common.images.journal import state_path
from common.images.plan import Counts, Plan
from common.text import duration, iso, now, plural, printable, size

FEW = 5
STATE_EVERY_SECONDS = 10.0
STATE_VERSION = 2
# For the estimate, when no earlier run has measured better: what lines have, in bytes per second.
LINES = (("100 Mbit/s", 12.5e6), ("1 Gbit/s", 125e6))
OBJECTS_PER_SECOND = 500.0


class Report:
    """The books of one run over one output folder."""

    def __init__(self, folder: Path, started_at: datetime, run_id: str, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self._facts = facts
        self._run_id = run_id
        self._started_at = started_at
        self._began = time.monotonic()
        self._state_at = -math.inf
        self._log: TextIO | None = None
        self.log_name = ""  # as the lists' names are: within the output folder
        self.lists: dict[str, str] = {}  # those that this run has written; others may lie there of an earlier one
        self.counts = Counts()
        self.downloaded = self.failed = self.bytes = 0
        self.denied = 0
        self.seconds = 0.0
        self.last_rate = last_rate_in(state_path(folder))
        self.few_failed: list[str] = []
        self.few_missing: list[str] = []
        self.first_row: tuple[str, ...] = ()  # of the CSV, if that is a table
        self.retries = self.throttled = 0

    # --- the log file --------------------------------------------------------------------------------------------

    def open_log(self) -> Path:
        """`logs/download_YYYYMMDD_HHMMSS.log`, in UTC; a second run of the same second gets a name of its own."""
        self.logs.mkdir(parents=True, exist_ok=True)
        stamp = f"{self._started_at:%Y%m%d_%H%M%S}"
        for number in range(1, 1000):
            path = self.logs / (f"download_{stamp}.log" if number == 1 else f"download_{stamp}_{number}.log")
            try:
                self._log = open(path, "x", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
            except FileExistsError:
                continue
            self.log_name = f"{self.logs.name}/{path.name}"
            self.note("run", self._run_id, **self._facts)
            return path
        raise FileExistsError(f"a thousand log files of the same second in {self.logs}")

    def note(self, event: str, what: str = "", **fields: Any) -> None:
        """One line of the log file."""
        if self._log is not None:
            details = " ".join(f"{name}={printable(str(value), 300)}" for name, value in fields.items())
            line = " ".join(part for part in (iso(now()), event, printable(what, 600), details) if part)
            with disk_full_named(self.logs):
                self._log.write(log.without_secrets(line) + "\n")

    def flush(self) -> None:
        if self._log is not None:
            with disk_full_named(self.logs):
                self._log.flush()

    def add(self, outcomes: list[Outcome]) -> None:
        """Files that came or did not."""
        stamp = iso(now())
        saved = []
        for each in outcomes:
            if each.reason:
                self.failed += 1
                self.denied += each.code in ("AccessDenied", "AllAccessDisabled")
                if len(self.few_failed) < FEW:
                    self.few_failed.append(f"{each.job.key}: {each.reason}")
                self.note("failed", each.job.path, key=each.job.key, code=each.code, reason=each.reason)
            else:
                self.downloaded += 1
                self.bytes += each.size_bytes
                saved.append(
                    f"{stamp} saved {_one_line(each.job.path)} key={_one_line(each.job.key)} "
                    f"bytes={each.size_bytes} seconds={each.seconds:.3f}\n"
                )
        if self._log is not None:
            with disk_full_named(self.logs):
                self._log.writelines(saved)

    # --- the analysis --------------------------------------------------------------------------------------------

    def analysis(self, plan: Plan, *, free_bytes: int, lists: bool = True) -> list[str]:
        """What is shown before anything is fetched; the same lines go into the log. `lists`: they are written, too."""
        counts = self.counts = plan.counts
        self.few_missing = list(islice(plan.missing(), 3))
        if plan.title:
            self._facts["csv_column"] = plan.title
        extra = [f"column {printable(self._facts['csv_column'])}"]
        extra += [f"the first line {printable(plan.title)!r} was taken for a title"] if plan.title else []
        extra += [plural(counts.repeated, "repetition")] if counts.repeated else []
        extra += [plural(counts.empty, "empty line")] if counts.empty else []
        rows = [
            (
                "bucket",
                f"{self._facts['bucket']} at {self._facts['where']}, prefix {self._facts['prefix'] or '(none)'}",
            ),
            ("wanted", f"{plural(counts.wanted, 'name')} in {self._facts['csv_file']}" + _bracketed(extra)),
            ("listed", f"{plural(counts.listed, 'object')} {self._where}"),
            ("found", f"{counts.found:,}" + _bracketed([*_ways(counts, lists), *_notes(counts, lists)])),
            (
                "missing",
                f"{counts.missing:,}"
                + _bracketed(_taken(counts, lists))
                + _few(plan.missing(), counts.missing, "logs/missing.txt", lists),
            ),
            (
                "ambiguous",
                f"{counts.ambiguous:,}"
                + _few(
                    (
                        f"{name} ({' and '.join(keys[:2])}{', …' if len(keys) > 2 else ''})"
                        for name, keys in plan.ambiguous()
                    ),
                    counts.ambiguous,
                    "logs/ambiguous.csv",
                    lists,
                ),
            ),
            ("already here", f"{counts.already:,}"),
            (
                "to fetch",
                f"{plural(counts.to_fetch, 'file')}, {size(counts.bytes_to_fetch)}" + _bracketed(_again(counts)),
            ),
            ("free disk", f"{size(free_bytes)}, {size(max(0, free_bytes - counts.bytes_to_fetch))} afterwards"),
            ("time", _estimate(counts, self.last_rate)),
        ]
        lines = [f"{name:<14} {text}" for name, text in rows if text]
        for line in lines:
            self.note("analysis", line)
        return lines

    def write_lists(self, plan: Plan, *, everything: bool) -> None:
        """`logs/missing.txt`, `logs/ambiguous.csv`, and `logs/files.csv` with every name and what became of it."""
        self._write_list("missing", "missing.txt", lambda file: file.writelines(_line(name) for name in plan.missing()))

        def ambiguous(file: TextIO) -> None:
            writer = csv.writer(file)
            writer.writerow(("name", "keys"))
            writer.writerows((name, *keys) for name, keys in plan.ambiguous())

        self._write_list("ambiguous", "ambiguous.csv", ambiguous)
        if everything:

            def files(file: TextIO) -> None:
                writer = csv.writer(file)
                writer.writerow(("name", "state", "found_by", "key", "bytes", "etag", "file", "reason"))
                writer.writerows(plan.everything())

            self._write_list("all", "files.csv", files)

    def _write_list(self, which: str, name: str, fill: Callable[[TextIO], Any]) -> None:
        _write(self.logs / name, fill)
        self.lists[which] = f"{self.logs.name}/{name}"

    # --- state and end -------------------------------------------------------------------------------------------

    def state_if_due(self) -> dict[str, Any] | None:
        if time.monotonic() - self._state_at < STATE_EVERY_SECONDS:
            return None
        self._state_at = time.monotonic()
        return self.state("running")

    def state(self, status: str) -> dict[str, Any]:
        """The content of download_state.json."""
        passed = time.monotonic() - self._began
        rate = self.bytes / self.seconds if self.bytes and self.seconds > 1 else self.last_rate
        return {
            "version": STATE_VERSION,
            "status": status,
            "run_id": self._run_id,
            "start_time": iso(self._started_at),
            "last_update": iso(now()),
            **self._facts,
            "downloaded": self.downloaded,
            "already_here": self.counts.already,
            "failed": self.failed,
            "left": max(0, self.counts.to_fetch - self.downloaded - self.failed),
            "bytes": self.bytes,
            "seconds": round(passed, 1),
            "fetch_seconds": round(self.seconds, 2),
            "last_rate": round(rate),  # bytes per second; of an earlier run, when this one fetched next to nothing
            "retries": self.retries,
            "throttled": self.throttled,
            "first_failures": self.few_failed,
            "counts": asdict(self.counts),
            "log": self.log_name,
            "lists": dict(self.lists),
        }

    @property
    def exit_code(self) -> Exit:
        """0 only when every name that was asked for is here."""
        bad = self.failed + self.counts.missing + self.counts.ambiguous
        left = self.counts.to_fetch - self.downloaded - self.failed
        if not bad and not left:
            return Exit.ALL_GOOD
        return Exit.SOME_FAILED if self.downloaded or self.counts.already else Exit.NOTHING_WORKED

    @property
    def _where(self) -> str:
        return f"under {self._facts['prefix']}" if self._facts["prefix"] else "in the bucket"

    def dry_words(self) -> list[str]:
        """The closing lines of a dry run."""
        counts = self.counts
        found = (
            plural(counts.found, "name")
            if counts.found == counts.wanted
            else f"{counts.found:,} of {counts.wanted:,} names"
        )
        come = "would come" if not counts.already else f"would come or are here ({plural(counts.already, 'file')})"
        rest = _some((counts.missing, "is missing", "are missing"), (counts.ambiguous, "is ambiguous", "are ambiguous"))
        return [*self._nothing_fits(), f"Dry run: nothing was fetched. {', '.join([f'{found} {come}', *rest])}."]

    def _nothing_fits(self) -> list[str]:
        """When all names are missing, perhaps they are those of another column."""
        counts = self.counts
        if counts.missing < counts.wanted or not counts.wanted:
            return []
        names = ", ".join(printable(name, 60) for name in self.few_missing)
        more = ", …" if counts.missing > len(self.few_missing) else ""
        line = f"None of the {plural(counts.wanted, 'name')} ({names}{more}) fits any of {plural(counts.listed, 'object')} "
        line += f"{self._where}."
        if len(self.first_row) > 1:
            row = ", ".join(printable(cell, 30) for cell in self.first_row)
            column = printable(self._facts["csv_column"], 30)
            line += f" Is column {column} the right one (--csv-column)? The first line has: {row}."
        return [line]

    def last_words(self, *, stopped: bool) -> list[str]:
        """The closing lines of the screen and the log. How a run goes on that was stopped, its frame says."""
        counts = self.counts
        rate = self.bytes / self.seconds if self.seconds > 0 else 0.0
        files = f", {self.downloaded / self.seconds:,.0f} files/s" if self.downloaded > self.seconds > 0 else ""
        speed = f" in {duration(self.seconds)} ({size(rate)}/s{files})" if rate else ""
        there = f" All are in {self.folder}" if self.downloaded or counts.already else ""
        lines = [
            f"names: {counts.wanted:,} wanted = {counts.found:,} found + {counts.missing:,} missing + "
            f"{counts.ambiguous:,} ambiguous",
            f"{plural(self.downloaded, 'file')} downloaded ({size(self.bytes)}){speed}, {counts.already:,} were here, "
            f"{self.failed:,} failed.{there}",
        ]
        if self.throttled or self.retries:
            lines.append(
                f"The server was asked again {self.retries:,} times, {self.throttled:,} of them because it was busy."
            )
        lines += [f"FAILED    {line}" for line in self.few_failed]
        if self.failed > len(self.few_failed):
            where = self.lists.get("all", self.log_name)  # a run that is stopped takes no time for lists
            lines.append(f"          … {self.failed - len(self.few_failed):,} more in {where}")
        if counts.missing:
            lines.append(f"MISSING   {plural(counts.missing, 'name')} not {self._where}: logs/missing.txt")
        lines += self._nothing_fits()
        if counts.ambiguous:
            lines.append(
                f"AMBIGUOUS {plural(counts.ambiguous, 'name')} that several objects fit: logs/ambiguous.csv "
                "(name them with their folder, or choose by CVAT_IMAGES_AMBIGUOUS)"
            )
        left = counts.to_fetch - self.downloaded - self.failed
        if left:
            again = "" if stopped else " Run the same command again: it goes on from here."
            lines.append(f"{plural(left, 'file')} left.{again}")
        elif self.failed:
            lines.append("Run the same command again to try the failed ones once more.")
        elif not (counts.missing or counts.ambiguous):
            lines.append("All good: every name that was asked for is here.")
        return lines

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None


def _notes(counts: Counts, lists: bool) -> list[str]:
    where = ", see logs/files.csv" if lists else ""
    by_rule = "chosen among several by CVAT_IMAGES_AMBIGUOUS"
    return _some(
        (counts.shared, "means the file of another name", "mean the file of another name"),
        (counts.renamed, f"cannot keep its name{where}", f"cannot keep their names{where}"),
        (counts.moved, f"cannot keep its folders{where}", f"cannot keep their folders{where}"),
        (counts.by_rule, by_rule, by_rule),
        (counts.archived, "archived: it fails unless it was restored", "archived: they fail unless they were restored"),
    )


def _ways(counts: Counts, lists: bool) -> list[str]:
    """How names were found, if not all are called as their objects."""
    exactly = counts.found - counts.elsewhere - counts.other_extension - counts.no_extension
    if exactly == counts.found:
        return []
    ways = _some(
        (exactly, "exactly", "exactly"),
        (counts.elsewhere, "by its file name in another folder", "by their file names in another folder"),
        (counts.other_extension, "with another extension", "with another extension"),
        (counts.no_extension, "by its name without extension", "by their names without extension"),
    )
    return [", ".join(ways) + (": found_by in logs/files.csv" if lists else "")]


def _taken(counts: Counts, lists: bool) -> list[str]:
    where = ": reason in logs/files.csv" if lists else ""
    one = f"is in another folder only, and another name means that file{where}"
    return _some((counts.taken, one, f"are in other folders only, and other names mean those files{where}"))


def _again(counts: Counts) -> list[str]:
    return _some(
        (counts.changed, "changed since it was fetched", "changed since they were fetched"),
        (counts.spoilt, "is not as it was fetched", "are not as they were fetched"),
        (counts.of_others, "replaces the file of another object", "replace the files of other objects"),
        (counts.replaced, "replaces another file of the same name", "replace other files of the same name"),
    )


def _some(*notes: tuple[int, str, str]) -> list[str]:
    """What there is any of, in the words for one and for many."""
    return [f"{count:,} {one if count == 1 else many}" for count, one, many in notes if count]


def _bracketed(notes: list[str]) -> str:
    between = "; " if any(", " in note for note in notes) else ", "
    return f" ({between.join(notes)})" if notes else ""


def _few(names: Iterator[str], count: int, where: str, lists: bool) -> str:
    if not count:
        return ""
    first = [printable(name, 100) for _, name in zip(range(FEW), names, strict=False)]
    return f": {', '.join(first)}{', …' if count > len(first) else ''}; {'all in' if lists else 'a run writes all to'} {where}"


def _estimate(counts: Counts, last_rate: float) -> str:
    if not counts.to_fetch:
        return ""
    least = counts.to_fetch / OBJECTS_PER_SECOND
    speeds = (
        [(f"the speed of the last run ({size(last_rate)}/s)", counts.bytes_to_fetch / last_rate)]
        if last_rate
        else [(line, max(least, counts.bytes_to_fetch / rate)) for line, rate in LINES]
    )
    return ", ".join(f"about {duration(seconds)} at {speed}" for speed, seconds in speeds if seconds >= 1)


def _one_line(name: str) -> str:
    """The same as printable(), for the many names that need no change."""
    return name if name.isprintable() else printable(name, 1024)


def _line(name: str) -> str:
    return name.replace("\n", " ").replace("\r", " ") + "\n"


def _write(path: Path, fill: Callable[[TextIO], Any]) -> None:
    """A list is there whole or as it was before."""
    temporary = path.with_name(f".{path.name}.tmp")
    with disk_full_named(path.parent):
        try:
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                fill(file)
            publish(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def last_rate_in(state: Path) -> float:
    """Bytes per second that an earlier run measured, from download_state.json; 0.0 when it does not say."""
    try:
        value = json.loads(state.read_text(encoding="utf-8"))
        if "last_rate" in value:
            rate = float(value["last_rate"])
        else:  # of an earlier version
            rate = float(value["bytes"]) / seconds if (seconds := float(value["fetch_seconds"])) > 1 else 0.0
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0.0
    return rate if 0 < rate < math.inf else 0.0
