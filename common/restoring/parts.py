"""Which archives are sent for one backup: all of it, or a project with its first tasks and the rest task by task."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from common.backups.archive import Archive, Member
from common.sources import Kind

_TASK = re.compile(r"task_(\d+)/", re.DOTALL)
# A member's two headers, without its name, and the new description at the archive's end.
_HEADERS_BYTES = 30 + 46 + 2 * 28
_SPARE_BYTES = 4096


@dataclass(frozen=True)
class Parts:
    """`first`: tasks that travel inside the project archive; `single`: each by itself; `too_large`: no way at all."""

    first: tuple[int, ...]
    single: tuple[int, ...] = ()
    too_large: tuple[int, ...] = ()


def plan_parts(own_bytes: int, task_bytes: dict[int, int], limit_bytes: int) -> Parts:
    """The project takes as many of its first tasks as fit, the rest follows in order: so tasks keep their order."""
    first: list[int] = []
    room = limit_bytes - own_bytes
    indexes = sorted(task_bytes)
    for index in indexes:
        if task_bytes[index] > room:
            break
        room -= task_bytes[index]
        first.append(index)
    single = indexes[len(first) :]
    too_large = [index for index in single if task_bytes[index] > limit_bytes]
    return Parts(tuple(first), tuple(single), tuple(too_large))


def sizes_in(path: Path, kept: Collection[int]) -> tuple[int, dict[int, int]]:
    """How large a project's own members are, and each kept task's, as they travel."""
    own, tasks = _SPARE_BYTES, dict.fromkeys(kept, _SPARE_BYTES)
    with Archive(path) as archive:
        for member in archive.members():
            match = _TASK.match(member.name)
            if match is None:
                own += _travelling_bytes(member)
            elif int(match[1]) in tasks:
                tasks[int(match[1])] += _travelling_bytes(member)
    return own, tasks


def _travelling_bytes(member: Member) -> int:
    return member.packed_bytes + _HEADERS_BYTES + 2 * len(member.name.encode("utf-8", "replace"))


def project_with(kept: Collection[int]) -> Callable[[str], str | None]:
    """Names of a project archive that holds only these tasks."""
    wanted = frozenset(kept)

    def rename(name: str) -> str | None:
        match = _TASK.match(name)
        return name if match is None or int(match[1]) in wanted else None

    return rename


def task_alone(index: int) -> Callable[[str], str | None]:
    """Names of the task archive that one task of a project archive is (measured: CVAT restores it)."""
    prefix = f"task_{index}/"

    def rename(name: str) -> str | None:
        return name.removeprefix(prefix) if name.startswith(prefix) and name != prefix else None

    return rename


def renamed(path: Path, member_name: str, name: str) -> bytes:
    """The description in a project.json or task.json under another name."""
    with Archive(path) as archive:
        member = next(member for member in archive.members() if member.name == member_name)
        described = json.loads(archive.read_small(member))
    described["name"] = name
    return json.dumps(described).encode()


def description_name(kind: Kind, index: int | None) -> str:
    """Where the original archive describes a piece."""
    if kind == "project":
        return "project.json"
    return "task.json" if index is None else f"task_{index}/task.json"
