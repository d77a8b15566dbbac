"""Files that grow: only what was appended since the last look is read, also across a rotation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

# Nothing that we write has longer lines; a longer one is damage and is passed over.
LONGEST_LINE_BYTES = 1 << 20


class Tail:
    """The lines of a file from the last one that was read. `older_path` is where a rotation puts the file.

    A line without its end is still being written (or torn by a crash) and waits for the next look.
    """

    def __init__(self, path: Path, older_path: Path | None = None) -> None:
        self._path = path
        self._older_path = older_path
        self._identity: tuple[int, int] | None = None
        self._offset = 0
        self._passing_over = False

    def lines(self) -> Iterator[bytes]:
        """What is new, oldest first. Raises OSError when the file is there and cannot be read."""
        try:
            file = open(self._path, "rb")  # noqa: SIM115 - the rest stands in the with below
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            if identity != self._identity:
                yield from self._rotated_away(identity)
                self._identity, self._offset, self._passing_over = identity, 0, False
            elif status.st_size < self._offset:  # somebody cut it
                self._offset, self._passing_over = 0, False
            yield from self._rest_of(file)

    def _rotated_away(self, present: tuple[int, int]) -> Iterator[bytes]:
        """What had not been read when the file was rotated; at the first look, all that the older file holds."""
        if self._older_path is None:
            return
        try:
            file = open(self._older_path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            identity = (status.st_dev, status.st_ino)
            if identity == present:  # it was rotated at this very moment, and is read under its new name
                return
            if self._identity is None:
                self._offset = 0
            elif identity != self._identity:
                return
            yield from self._rest_of(file)

    def _rest_of(self, file: BinaryIO) -> Iterator[bytes]:
        file.seek(self._offset)
        while line := file.readline(LONGEST_LINE_BYTES):
            whole = line.endswith(b"\n")
            if not whole and len(line) < LONGEST_LINE_BYTES:
                return
            self._offset += len(line)
            wanted, self._passing_over = whole and not self._passing_over, not whole
            if wanted:
                yield line
