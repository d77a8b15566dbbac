"""Counting what is in annotation JSON of any size, as the API and the archives write it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ijson

from common.sources import Counts
from common.text import printable

# Up to this size the whole text is parsed at once; beyond it is streamed, since parsed text takes ten times its size
# in each of several threads.
SMALL_BYTES = 1 << 20
# Fed to the parser at once: a number of two bytes becomes an event of a hundred.
SLICE_BYTES = 1 << 16
_KINDS = ("tags", "shapes", "tracks")
_SCALARS = frozenset({"number", "string", "boolean", "null"})


class NotAnnotations(Exception):
    """The text is not complete annotation JSON."""


def _plain(error: Exception) -> str:
    """Parsers quote what they choked on, byte for byte."""
    return printable(f"{type(error).__name__}: {error}", 200)


class AnnotationCounter:
    """Fed with the bytes of annotation JSON: one object `{"tags": [], "shapes": [], "tracks": []}`, or a list of them.

    Memory stays flat: nothing larger than SMALL_BYTES is ever held.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._stream: _Streamed | None = None

    def feed(self, piece: bytes) -> None:
        """Raises NotAnnotations as soon as the text is seen not to be JSON."""
        if self._stream is None:
            self._held += piece
            if len(self._held) <= SMALL_BYTES:
                return
            self._stream, piece = _Streamed(), bytes(self._held)
            self._held = bytearray()
        self._stream.feed(piece)

    def result(self) -> Counts:
        """The counts of all that was fed. Raises NotAnnotations when it was not complete annotation JSON."""
        if self._stream is not None:
            return self._stream.result()
        try:
            parsed = json.loads(bytes(self._held))
        except ValueError as error:
            raise NotAnnotations(f"the annotations are not complete JSON ({_plain(error)})") from None
        counts = Counts()
        for entry in parsed if isinstance(parsed, list) else [parsed]:
            if not isinstance(entry, dict) or not all(isinstance(entry.get(kind), list) for kind in _KINDS):
                raise NotAnnotations("the annotations are not tags, shapes and tracks")
            counts += Counts(*(len(entry[kind]) for kind in _KINDS))
        return counts


class _Streamed:
    """The same for large texts, on ijson's events: counts the values directly inside the three lists."""

    def __init__(self) -> None:
        self._found: dict[str, int] = dict.fromkeys(_KINDS, 0)
        self._seen: set[str] = set()
        self._objects = 0
        self._lacking = False
        self._depth = 0
        # Depth of the annotation object's own keys: 1, or 2 when the objects stand in a list.
        self._key_depth = 0
        self._key = ""
        self._events = ijson.sendable_list()
        # Floats as such, not as Decimals: twice as fast, and no value is looked at.
        self._parser = ijson.basic_parse_coro(self._events, use_float=True)

    def feed(self, piece: bytes) -> None:
        for at in range(0, len(piece), SLICE_BYTES):
            try:
                self._parser.send(piece[at : at + SLICE_BYTES])
            except ijson.JSONError as error:
                raise NotAnnotations(f"the annotations are not complete JSON ({_plain(error)})") from None
            for event, value in self._events:
                # Nearly all events are coordinates, deep inside a shape or track.
                if event not in _SCALARS or self._depth <= self._key_depth + 1:
                    self._see(event, value)
            del self._events[:]

    def _see(self, event: str, value: Any) -> None:
        if event in ("end_map", "end_array"):
            self._depth -= 1
            if event == "end_map" and self._depth == self._key_depth - 1:
                # One object is over: each has all three lists.
                self._objects += 1
                self._lacking = self._lacking or not self._seen.issuperset(_KINDS)
                self._seen.clear()
            return
        if event == "map_key":
            if self._depth == self._key_depth:
                self._key = value
            return
        # A value begins: directly inside one of the lists it is one tag, shape or track.
        if self._depth == self._key_depth + 1 and self._key in self._found and self._key_depth:
            self._found[self._key] += 1
        if event in ("start_map", "start_array"):
            if not self._key_depth and event == "start_map":
                self._key_depth = self._depth + 1
            if event == "start_array" and self._depth == self._key_depth:
                self._seen.add(self._key)
            self._depth += 1

    def result(self) -> Counts:
        try:
            self._parser.close()
        except ijson.JSONError as error:
            raise NotAnnotations(f"the annotations are not complete JSON ({_plain(error)})") from None
        if self._depth or self._lacking or not self._objects:
            raise NotAnnotations("the annotations are not tags, shapes and tracks")
        return Counts(*(self._found[kind] for kind in _KINDS))


def count(pieces: Iterable[bytes]) -> Counts:
    """The counts of one annotation text. Raises NotAnnotations."""
    counter = AnnotationCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.result()


class PiecesFile:
    """Pieces of bytes as a file that ijson reads from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._held) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._held += piece
        if size < 0:
            size = len(self._held)
        taken, self._held = self._held[:size], self._held[size:]
        return taken


@dataclass(frozen=True)
class FramesMeta:
    """What a task's `data/meta` says of its frames; `size` is their number."""

    start_frame: int
    stop_frame: int
    size: int
    deleted_frames: frozenset[int]


def frames_meta(pieces: Iterable[bytes]) -> FramesMeta:
    """Reads data/meta, whose list of frames may be long, without keeping it. Raises NotAnnotations."""
    single: dict[str, int] = {}
    deleted: set[int] = set()
    try:
        for prefix, event, value in ijson.parse(PiecesFile(pieces)):
            if event != "number":
                continue
            if prefix == "deleted_frames.item":
                deleted.add(int(value))
            elif prefix in ("start_frame", "stop_frame", "size"):
                single[prefix] = int(value)
        return FramesMeta(single["start_frame"], single["stop_frame"], single["size"], frozenset(deleted))
    except (ijson.JSONError, KeyError) as error:
        raise NotAnnotations(f"the frames of the task cannot be read ({_plain(error)})") from None
