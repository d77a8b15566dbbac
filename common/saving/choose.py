"""What is saved in this run, and why: pure decisions on plain data."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from common.backups.record import Content, Export, Record
from common.sources import Source, SourceState
from common.text import duration, parse_time

Mode = Literal["p", "a", "t"]


MODES: tuple[Mode, ...] = ("p", "a", "t")


def parse_modes(given: Sequence[Sequence[str]] | None) -> tuple[list[Mode], list[str]]:
    """The modes of `--mode p a`, `--mode p --mode a` or `--mode p,a`, and what is wrong with them; p when none is given."""
    words = [word for group in given or [["p"]] for part in group for word in part.split(",") if word]
    known: dict[str, Mode] = {mode: mode for mode in MODES}
    unknown = [word for word in words if word not in known]
    problems = [
        f"--mode {word!r} is unknown: p (projects), a (annotations) and t (tasks in no project) are known"
        for word in unknown
    ]
    # t before p: a loose task that both would save is t's.
    modes = [mode for mode in ("t", "p", "a") if mode in words]
    return [known[mode] for mode in modes], problems


@dataclass(frozen=True)
class Pattern:
    """One entry of CVAT_BACKUP_INCLUDE or _EXCLUDE: a kind and id, an id, or a name with * and ?."""

    text: str
    kind: str | None = None
    id: int | None = None
    name: str | None = None

    def matches(self, source: Source) -> bool:
        if self.kind is not None and self.kind != source.kind:
            return False
        if self.id is not None:
            return self.id == source.id
        # Only * and ? are special: a bracket in a name means itself.
        wanted = (self.name or "").casefold().replace("[", "[[]")
        return fnmatch.fnmatchcase(source.name.casefold(), wanted)

    def __str__(self) -> str:
        return self.text


def parse_patterns(text: str) -> tuple[Pattern, ...]:
    """`road*, project:12, 7` as patterns. Raises ValueError for `project:` without an id."""
    patterns = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            continue
        match = re.fullmatch(r"(?:(project|task):)?(\d+)", part)
        if match:
            patterns.append(Pattern(part, kind=match[1], id=int(match[2])))
        elif re.match(r"(project|task):", part):
            raise ValueError(f"holds {part!r}: expected an id behind the colon, such as project:12")
        else:
            patterns.append(Pattern(part, name=part.removeprefix("name:")))
    return tuple(patterns)


def is_chosen(source: Source, include: Sequence[Pattern], exclude: Sequence[Pattern]) -> bool:
    """Whether the filters let a source pass."""
    if include and not any(pattern.matches(source) for pattern in include):
        return False
    return not any(pattern.matches(source) for pattern in exclude)


def belongs_to(source: Source, mode: Mode, standalone_tasks: bool) -> bool:
    """Whether a mode deals with a source."""
    if mode == "a":
        return True
    if mode == "p":
        return source.kind == "project" or standalone_tasks
    return source.kind == "task"


def content_of(mode: Mode) -> Content:
    return "annotations" if mode == "a" else "backup"


@dataclass(frozen=True)
class Decision:
    """Whether a source is saved now, and the reason in plain words. `anew`: even if the newest backup holds the same."""

    save: bool
    reason: str
    anew: bool = False


def decide(
    state: SourceState,
    newest: Record | None,
    wanted: Export,
    now: datetime,
    *,
    full_every: timedelta,
    force: bool = False,
) -> Decision:
    """Compares a source with its newest good backup."""
    if state.source.kind == "task" and not state.has_data:
        # CVAT refuses to back up such a task; it holds nothing but a name and labels.
        return Decision(False, "it has no images or video yet")
    if newest is None:
        return Decision(True, "it has no backup yet")
    if force:
        return Decision(True, "asked for with --force", anew=True)
    age = now - parse_time(newest.finished_at)
    if newest.verified.result == "incomplete":
        return Decision(True, "its newest backup lacks something that the server has", anew=age >= full_every)
    if newest.fingerprint.digest != state.fingerprint.digest:
        return Decision(True, _what_changed(state, newest))
    if (newest.export.formats, newest.export.save_images) != (
        wanted.formats,
        wanted.save_images,
    ) and newest.content == "annotations":
        return Decision(True, "its newest backup lacks a dataset, or other formats are asked for")
    if age >= full_every:
        return Decision(True, f"unchanged, but saved anew every {duration(full_every.total_seconds())}", anew=True)
    if age < -timedelta(hours=1):
        # Our clock went back: how old the backup is cannot be told, so it does not count as recent.
        return Decision(True, "its newest backup is dated in the future")
    return Decision(False, f"unchanged since {newest.finished_at[:16].replace('T', ' ')} UTC")


def _what_changed(state: SourceState, newest: Record) -> str:
    before, present = newest.fingerprint, state.fingerprint
    said = []
    if before.tasks != present.tasks and state.source.kind == "project":
        said.append(f"{present.tasks} tasks instead of {before.tasks}")
    if before.jobs != present.jobs:
        said.append(f"{present.jobs} jobs instead of {before.jobs}")
    if newest.changed_while_exporting:
        said.append("it was edited while it was last saved")
    elif not said:
        said.append(f"edited {present.newest[:16].replace('T', ' ')} UTC")
    return "changed: " + ", ".join(said)


@dataclass(frozen=True)
class Candidate:
    """A source that is to be saved, with what decides when its turn is."""

    state: SourceState
    mode: Mode
    reason: str
    newest: Record | None
    postponed_last_time: bool = False
    # See `Decision`.
    anew: bool = False

    @property
    def expected_bytes(self) -> int:
        return self.newest.size_bytes if self.newest else 0


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Whose turn is first: what was postponed, then what has no backup, then the oldest backups."""
    return sorted(
        candidates,
        key=lambda each: (
            not each.postponed_last_time,
            each.newest is not None,
            each.newest.stamp if each.newest else "",
            each.state.source.kind,
            each.state.source.id,
        ),
    )


def fits_today(expected_bytes: int, spent_bytes: int, limit_bytes: int) -> bool:
    """Whether one more export keeps within the day's limit (0 = none).

    The first one always may: an item larger than the limit would otherwise never be saved.
    """
    return (
        not limit_bytes
        or not spent_bytes
        or (spent_bytes < limit_bytes and spent_bytes + expected_bytes <= limit_bytes)
    )
