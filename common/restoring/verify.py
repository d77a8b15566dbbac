"""Reading backups again, every byte, against what their records promise; and which are due next."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import log
from common.annotations import NotAnnotations, count
from common.backups.archive import Archive, BadArchive
from common.backups.contents import inspect
from common.backups.store import Backup
from common.exits import Trouble
from common.files import append_lines, is_there, publish
from common.sources import Counts
from common.text import duration, iso, now, parse_time, plural

LARGEST_LOG_BYTES = 8 << 20
NOT_READ = "not read"


class NotRead(Trouble):
    """A backup could not be read: no right to, a disk or network that fails. Whether it is good is not known."""


def what_is_wrong(backup: Backup, between: Callable[[], None] = lambda: None) -> str:
    """Reads every file of a backup; what is wrong with it, empty when all is as its record says. Raises NotRead."""
    record = backup.record
    for file in record.files:
        try:
            if changed := backup.changed(file, between):
                return changed
            if file.name.endswith(".zip") and file.role != "backup":
                with Archive(backup.folder / file.name) as archive:
                    archive.check_all(between=between)
        except FileNotFoundError:
            return f"{file.name} is missing"
        except OSError as error:
            raise NotRead(f"{file.name} could not be read ({error.strerror or error})") from error
        except BadArchive as error:
            return f"{file.name}: {error}"
    try:
        seen = _seen_in(backup, between)
    except FileNotFoundError:
        return f"{record.main_file.name} is missing"
    except OSError as error:
        raise NotRead(f"{record.main_file.name} could not be read ({error.strerror or error})") from error
    except (BadArchive, NotAnnotations) as error:
        return f"{record.main_file.name}: {error}"
    promised = {"tasks": record.verified.tasks, "jobs": record.verified.jobs}
    promised |= {kind: getattr(record.verified.counts, kind) for kind in ("tags", "shapes", "tracks")}
    for what, number in promised.items():
        if seen[what] != number:
            return f"{record.main_file.name} holds {plural(seen[what], what[:-1])}, its record says {number:,}"
    return ""


def _seen_in(backup: Backup, between: Callable[[], None]) -> dict[str, int]:
    if backup.record.content == "backup":
        contents = inspect(backup.path, backup.record.source.kind, between=between)
        tasks = [task for task in contents.tasks.values() if not task.upload_failed]
        counts, jobs, number = contents.counts, sum(len(task.contents().jobs) for task in tasks), len(tasks)
    else:
        counts, jobs, found = Counts(), 0, set()
        with Archive(backup.path) as archive:
            for member in archive.members():
                between()
                if member.name.endswith("/frames.json"):
                    found.add(member.name)
                elif re.fullmatch(r"tasks/\d+/jobs/\d+\.json", member.name):
                    counts += count(archive.read(member))
                    jobs += 1
        number = len(found)
    return {"tasks": number, "jobs": jobs, "tags": counts.tags, "shapes": counts.shapes, "tracks": counts.tracks}


@dataclass(frozen=True)
class Share:
    """`1/7`: so much of all bytes is read in this run, what was read longest ago first."""

    part: int
    of: int


def parse_share(text: str) -> Share:
    """Raises ValueError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match or not 0 < int(match[1]) <= int(match[2]):
        raise ValueError(f"--share {text!r}: it takes a share such as 1/7")
    return Share(int(match[1]), int(match[2]))


def due(sizes: Sequence[int], last_verified: Sequence[str], share: Share) -> list[int]:
    """Which backups are read in this run, by their position: never read ones first, then the longest ago.

    `last_verified` holds ISO times, empty for never. A run reads at least the share of all bytes, and at least one
    backup; so after `of` runs (at 1/of) every byte has been read.
    """
    order = sorted(range(len(sizes)), key=lambda index: (last_verified[index], index))
    wanted, read = math.ceil(sum(sizes) * share.part / share.of), 0
    chosen: list[int] = []
    for index in order:
        if chosen and read >= wanted:
            break
        chosen.append(index)
        read += sizes[index]
    return chosen


class VerifiedLog:
    """`verified.jsonl` of one server's folder: when each backup was last read through, and whether it was good.

    `not read` stands there too: what cannot be read must not come first in every share and keep the others out of it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "verified.jsonl"

    def last(self, *, tried: bool = False) -> dict[str, str]:
        """The time of the last reading by file name; with `tried`, also where it could not be read."""
        return {line["file"]: line["at"] for line in self._lines() if tried or line.get("result") != NOT_READ}

    def add(self, backup: Backup, reason: str, result: str = "") -> None:
        """Raises DiskFull, OSError."""
        result = result or ("bad" if reason else "good")
        line = {"at": iso(now()), "file": backup.path.name, "result": result, "reason": reason}
        append_lines(self.path, [json.dumps(line, ensure_ascii=False)])
        if self.path.stat().st_size > LARGEST_LOG_BYTES:
            newest = {line["file"]: line for line in self._lines()}
            temporary = self.path.with_name(".verified.jsonl.tmp")
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in newest.values())
            temporary.write_text(text, encoding="utf-8")
            publish(temporary, self.path)

    def _lines(self) -> Iterable[dict[str, Any]]:
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                for text in file:
                    try:
                        line = json.loads(text)
                        yield {**line, "at": str(line["at"]), "file": str(line["file"])}
                    except (ValueError, KeyError, TypeError):
                        continue
        except FileNotFoundError:
            return
        except OSError as error:  # then all of it counts as never read, which is true as far as anybody knows
            log.get().warning("verified_log_unreadable", file=str(self.path), reason=str(error))


def when_read_again() -> Callable[[Backup], str]:
    """For a list of backups: ", read again 3 d ago" where a verification has read one since it was saved."""
    known: dict[Path, dict[str, str]] = {}

    def note(backup: Backup) -> str:
        folder = backup.folder.parent
        if folder not in known:
            known[folder] = VerifiedLog(folder).last()
        at = known[folder].get(backup.path.name)
        return f", read again {duration(max(0, (now() - parse_time(at)).total_seconds()))} ago" if at else ""

    return note


@dataclass(frozen=True)
class Reading:
    """What reading one backup came to: `bad` says why it is bad, `unread` why that is not known; both empty: good.

    `unkept` is what could not be written down of it, and why; `unmarked`: the mark of a bad one is among that.
    """

    bad: str = ""
    unread: str = ""
    unkept: tuple[OSError, ...] = ()
    unmarked: bool = False


def verify(backup: Backup, between: Callable[[], None] = lambda: None) -> Reading:
    """Reads one backup, notes the time, and marks it when it is bad; never one that merely could not be read.

    A mark is taken away again when the whole backup is found good. Raises DiskFull.
    """
    bad = unread = ""
    try:
        bad = what_is_wrong(backup, between)
        record = backup.folder / f"{backup.record.main_file.name}.json"
        if bad and not is_there(record):
            return Reading()  # deleted by the sweeper while we were reading
    except NotRead as error:
        unread = str(error)
    unkept: list[OSError] = []
    unmarked = False
    try:
        if bad:
            backup.mark_bad(bad)
        elif not unread and is_there(backup.mark_path):
            backup.unmark()
    except OSError as error:  # somebody else's folder: what was found out is no less true
        unkept.append(error)
        unmarked = bool(bad)
    try:
        VerifiedLog(backup.folder.parent).add(backup, bad or unread, NOT_READ if unread else "")
    except OSError as error:
        unkept.append(error)
    return Reading(bad, unread, tuple(unkept), unmarked)
