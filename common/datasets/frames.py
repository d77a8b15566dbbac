"""Which frames of a task were deleted in CVAT, by every name under which an exported dataset may mention them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, BinaryIO

import ijson

from common.exits import Trouble

# CVAT writes the frames of a video as pictures of this kind.
VIDEO_ENDING = ".PNG"


@dataclass(frozen=True)
class DeletedFrames:
    """The deleted frames of one task.

    `names` are full names ("sub/a.jpg"), `stems` the same without their ending as label and mask files use them, but
    only those that no living frame has too; `shared_stems` are the others. `name_of` has the full names by the number of a
    frame in its source, as "CVAT for video" writes it (of a video without an ending); `first`, `last` and `step` are the
    range these numbers come from.
    """

    names: frozenset[str] = frozenset()
    stems: frozenset[str] = frozenset()
    shared_stems: frozenset[str] = frozenset()
    name_of: Mapping[int, str] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    step: int = 1

    @property
    def numbers(self) -> Collection[int]:
        return self.name_of.keys()

    @cached_property
    def doubled_stems(self) -> frozenset[str]:
        """Stems that several deleted frames have."""
        counts = Counter(stem(name) for name in self.name_of.values())
        return frozenset(each for each, count in counts.items() if count > 1)

    def __bool__(self) -> bool:
        return bool(self.name_of)

    def has_image(self, name: str) -> bool:
        """Whether an image of this name, ending included, is a deleted frame."""
        return name in self.names or stem(name) in self.stems

    def has_stem(self, name: str) -> bool:
        """Whether a label or mask file, named without its ending, belongs to a deleted frame."""
        return name in self.stems

    def living_between(self, before: int, behind: int) -> bool:
        """Whether a frame that still exists lies between two frame numbers, both excluded."""
        start = self.first + max(0, (before - self.first) // self.step + 1) * self.step
        return any(number not in self.numbers for number in range(start, min(behind, self.last + 1), self.step))


def stem(name: str) -> str:
    """`sub/a.b.jpg` without its ending, as datumaro makes ids of names: `sub/a.b`."""
    return posixpath.splitext(name)[0]


class NotFrames(Trouble):
    """The answer is not a task's data/meta."""

    remedy = "--check-image-exists false downloads the task without looking for deleted images."


def deleted_frames(meta: BinaryIO, *, is_video: bool) -> DeletedFrames:
    """Reads a task's data/meta (a file that can be read again) and keeps the deleted frames only. Raises NotFrames."""
    numbers: set[int] = set()
    single = {"start_frame": 0, "size": 0}
    step, saw_deleted = 1, False
    try:
        for prefix, event, value in _events(meta):
            if prefix == "deleted_frames" and event == "start_array":
                saw_deleted = True
            elif prefix == "deleted_frames.item":
                if event != "number" or value != int(value):
                    raise NotFrames(
                        "the frames of the task cannot be read: what is deleted is not named by whole numbers"
                    )
                numbers.add(int(value))
            elif prefix in single and event == "number":
                single[prefix] = int(value)
            elif prefix == "frame_filter" and event == "string" and (match := re.search(r"step\s*=\s*(\d+)", value)):
                step = max(1, int(match[1]))
        if not saw_deleted:
            raise NotFrames("the frames of the task cannot be read: the server does not say which are deleted")
        if numbers and not 0 <= min(numbers) <= max(numbers) < single["size"]:
            raise NotFrames(
                f"the frames of the task cannot be read: it has {single['size']}, numbered from 0, "
                f"and number {min(numbers) if min(numbers) < 0 else max(numbers)} is to be deleted"
            )
        first = single["start_frame"]
        last = first + max(0, single["size"] - 1) * step
        if is_video:
            # frame_000012 is frame 12 of the video itself; exporters write it with or without its ending.
            name_of = {at: f"frame_{at:06d}" for at in (first + number * step for number in numbers)}
            stems = frozenset(name_of.values())
            return DeletedFrames(
                stems | {each + VIDEO_ENDING for each in stems}, stems, frozenset(), name_of, first, last, step
            )
        named = {number: name for number, name in _names(meta) if number in numbers}
        if nameless := numbers - named.keys():
            raise NotFrames(f"the frames of the task cannot be read: deleted frame {min(nameless)} has no name")
        stems = frozenset(stem(name) for name in named.values())
        shared = frozenset(
            each for number, name in _names(meta) if number not in numbers and (each := stem(name)) in stems
        )
        name_of = {first + number * step: name for number, name in named.items()}
        return DeletedFrames(frozenset(named.values()), stems - shared, shared, name_of, first, last, step)
    except ijson.JSONError as error:
        raise NotFrames(f"the frames of the task cannot be read ({error})") from None


def _events(meta: BinaryIO) -> Iterator[tuple[str, str, Any]]:
    meta.seek(0)
    return iter(ijson.parse(meta))


def _names(meta: BinaryIO) -> Iterator[tuple[int, str]]:
    """Number (from 0) and name of every frame, in order."""
    number = -1
    for prefix, event, value in _events(meta):
        if prefix == "frames.item" and event == "start_map":
            number += 1
        elif prefix == "frames.item.name" and event == "string":
            yield number, value
