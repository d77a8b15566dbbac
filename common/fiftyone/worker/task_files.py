"""Reads the files of a run task by task: which frame is which sample, what was in FiftyOne, what the server held."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bson import json_util

from common.fiftyone.worker.records import read_json


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a task: `number` as in its annotations, `frame` that of the video (1-based), `size` in pixels."""

    number: int
    sample: str
    frame: int | None
    frame_id: str | None
    size: tuple[int, int]

    @property
    def place(self) -> tuple[str, int | None]:
        return (self.sample, self.frame)


def tasks_of(folder: Path, wanted: Collection[int]) -> Iterator[tuple[int, list[Frame]]]:
    """The wanted tasks with their frames, in the order in which they were made; one task in memory at a time."""
    with open(folder / "frames.jsonl", encoding="utf-8") as file:
        for task, lines in groupby(map(json.loads, file), key=lambda entry: int(entry["task"])):
            if task in wanted:
                yield task, [_frame(entry) for entry in lines]


def held_by(folder: Path, which: str, task: int) -> dict[str, Any] | None:
    """baseline/<task>.json or current/<task>.json; None: there is none."""
    found = read_json(folder / which / f"{task}.json", None)
    return dict(found) if found is not None else None


class OriginalValues:
    """originals.jsonl, read on and on: its order is that of the tasks, so that it is read once for all of them."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / "originals.jsonl", "rb")  # noqa: SIM115 - closed by close()

    def close(self) -> None:
        self._file.close()

    def of(self, places: Collection[tuple[str, int | None]]) -> dict[tuple[str, int | None], dict[str, Any]]:
        """{(sample, frame): {field: its value}} for those of `places` that were written down."""
        wanted: set[tuple[str, int | None]] = set(places)
        found: dict[tuple[str, int | None], dict[str, Any]] = {}
        samples: set[str | None] = {sample for sample, _ in wanted}
        met: set[str | None] = set()
        began_at, turned = self._file.tell(), False
        while not (turned and self._file.tell() >= began_at):
            at = self._file.tell()
            line = self._file.readline()
            if not line.endswith(b"\n"):
                if turned:
                    break
                turned = True
                self._file.seek(0)
                continue
            sample = _sample_of(line)
            if sample not in samples:
                if met == samples:  # the lines of a sample stand together, and each has at least one
                    self._file.seek(at)
                    break
                continue
            met.add(sample)
            entry = json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS)
            place = (str(entry["sample"]), None if entry["frame"] is None else int(entry["frame"]))
            if place in wanted:
                found[place] = dict(entry["fields"])
        return found


def _sample_of(line: bytes) -> str | None:
    """Whose line it is, without parsing the masks in it."""
    parts = line[:80].split(b'"', 4)
    return parts[3].decode() if len(parts) > 3 and parts[1] == b"sample" else None


def _frame(entry: dict[str, Any]) -> Frame:
    width, height = entry["size"]
    frame = None if entry.get("frame") is None else int(entry["frame"])
    return Frame(int(entry["number"]), str(entry["sample"]), frame, entry.get("frame_id"), (int(width), int(height)))
