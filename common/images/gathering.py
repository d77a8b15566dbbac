"""Brings together names and the objects that they may mean: those with the same stem.

While they are few all of it is in memory. Beyond that they wait in a file without a name, in portions by stem, and each
portion is in memory when its turn comes: a million names as Python objects would be half a gigabyte.
"""

from __future__ import annotations

import marshal
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from common.images.names import base_and_stem, canonical_all, key_asked
from common.s3.bucket import Listed

# So many names and objects together stay in memory, and so many make a portion.
MOST_ROWS = 200_000
PORTION_ROWS = 60_000
PARTS = 64
ROWS_AT_ONCE = 512
# Plain tuples: a named one costs three times as much to make, and marshal does not know it.
# A name: its number, itself, the key it asks for, that as a canonical path, the stem of its last part.
NameRow = tuple[int, str, str, str, str]
# An object: key, size in bytes, ETag, storage class, canonical path.
ObjectRow = tuple[str, int, str, str, str]
Groups = dict[str, list[ObjectRow]]


class Gathering:
    """Filled in this order: names, objects, portions. Folders (`a/`) and objects that nobody asked for are left out."""

    def __init__(self, bucket: str, folder: Path | None = None, most_rows: int = MOST_ROWS) -> None:
        self._bucket = bucket
        self._folder = folder
        self._most_rows = most_rows
        self.names = 0
        self._names: list[NameRow] = []
        self._groups: Groups = {}
        self._objects = 0
        self._spool: _Spool | None = None
        self._hashes = array("q")  # of the stems of all names
        self._bits, self._mask = bytearray(1), 0

    def close(self) -> None:
        if self._spool is not None:
            self._spool.close()

    def add_names(self, names: Sequence[str]) -> None:
        """Takes in some names, none of them empty; one that stands there twice comes twice."""
        keys = [key_asked(name, self._bucket) for name in names]
        rows: list[NameRow] = []
        number = self.names
        for name, key, path in zip(names, keys, canonical_all(keys), strict=True):
            number += 1
            stem = base_and_stem(path)[1]
            rows.append((number, name, key, path, stem))
        self.names = number
        self._hashes.extend([hash(row[4]) for row in rows])
        if self._spool is not None:
            self._spool.add_names(rows)
            return
        self._names.extend(rows)
        if len(self._names) > self._most_rows:
            self._spill()

    def names_end(self) -> None:
        """64 bits for each name, so that nearly every object that nobody asked for is passed over at once."""
        bits = max(1024, 1 << (64 * self.names).bit_length())
        self._bits, self._mask = bytearray(bits // 8), bits - 1
        for stem in self._hashes:
            at = stem & self._mask
            self._bits[at >> 3] |= 1 << (at & 7)
        self._hashes = array("q")

    def add_objects(self, objects: Sequence[Listed]) -> None:
        """Takes in a page of the listing."""
        bits, mask = self._bits, self._mask
        found: list[tuple[str, ObjectRow]] = []
        for listed, path in zip(objects, canonical_all([each[0] for each in objects]), strict=True):
            stem = base_and_stem(path)[1]
            at = hash(stem) & mask
            if bits[at >> 3] & (1 << (at & 7)) and listed[0][-1:] != "/":
                found.append((stem, (*listed, path)))
        if self._spool is not None:
            self._spool.add_objects(found)
            return
        _group(self._groups, found)
        self._objects += len(found)
        if self._objects + len(self._names) > self._most_rows:
            self._spill()

    def portions(self) -> Iterator[tuple[list[NameRow], Groups]]:
        """All names, each with all objects of its stem beside it; within a portion in the order of their numbers."""
        if self._spool is None:
            names, groups, self._names, self._groups = self._names, self._groups, [], {}
            yield names, groups
            return
        yield from self._spool.portions(min(PORTION_ROWS, self._most_rows))

    def _spill(self) -> None:
        self._spool = _Spool(self._folder)
        self._spool.add_names(self._names)
        for stem, rows in self._groups.items():
            self._spool.add_objects([(stem, row) for row in rows])
        self._names, self._groups = [], {}


def _group(groups: Groups, found: Sequence[tuple[str, ObjectRow]]) -> None:
    for stem, row in found:
        if stem in groups:
            groups[stem].append(row)
        else:
            groups[stem] = [row]


class _Spool:
    """Rows in a file that has no name and is gone with the process, in PARTS parts by the hash of their stem."""

    def __init__(self, folder: Path | None) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix=".plan-", dir=folder)  # noqa: SIM115
        self._waiting: list[list[list[Any]]] = [[[] for _ in range(PARTS)] for _ in range(2)]
        # Where what is written begins, and its length.
        self._chunks: list[list[list[tuple[int, int]]]] = [[[] for _ in range(PARTS)] for _ in range(2)]
        self._rows = [0] * PARTS

    def close(self) -> None:
        self._file.close()

    def add_names(self, rows: Sequence[NameRow]) -> None:
        for row in rows:
            self._add(0, hash(row[4]) % PARTS, row)

    def add_objects(self, found: Sequence[tuple[str, ObjectRow]]) -> None:
        for row in found:
            self._add(1, hash(row[0]) % PARTS, row)

    def _add(self, kind: int, part: int, row: tuple[Any, ...]) -> None:
        waiting = self._waiting[kind][part]
        waiting.append(row)
        if len(waiting) >= ROWS_AT_ONCE:
            self._write(kind, part)

    def _write(self, kind: int, part: int) -> None:
        waiting = self._waiting[kind][part]
        data = marshal.dumps(waiting)
        self._chunks[kind][part].append((self._file.tell(), len(data)))
        self._file.write(data)
        self._rows[part] += len(waiting)
        self._waiting[kind][part] = []

    def _read(self, kind: int, part: int) -> Iterator[list[Any]]:
        for begin, length in self._chunks[kind][part]:
            self._file.seek(begin)
            yield marshal.loads(self._file.read(length))  # noqa: S302 - written by this very process

    def portions(self, most_rows: int) -> Iterator[tuple[list[NameRow], Groups]]:
        for kind in (0, 1):
            for part in range(PARTS):
                self._write(kind, part)
        parts = list(range(PARTS))
        while parts:
            names: list[NameRow] = []
            groups: Groups = {}
            rows = 0
            while parts and (not rows or rows + self._rows[parts[0]] <= most_rows):
                part = parts.pop(0)
                rows += self._rows[part]
                for chunk in self._read(0, part):
                    names.extend(chunk)
                for chunk in self._read(1, part):
                    _group(groups, chunk)
            names.sort()
            yield names, groups
