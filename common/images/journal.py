"""What is on the disk for good: `.download/journal.jsonl`, one line a file, and the thread that writes it.

A line is written only after the bytes and the names it tells of are durable (one syncfs for a batch of files: a tenth
of what an fsync for each costs). What a kill leaves without a line is recognised by its MD5 or fetched again. Before a
file takes the place of another one, a line says that what was noted of that is void: a kill in between must not leave it
with bytes that are not its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from common.files import append_lines, is_there, write_json
from common.images.listing import LARGEST_BYTES
from common.s3.address import source_of
from common.text import iso, now

OWN_FOLDER = ".download"
VERSION = 1
# How much a power cut may cost: what was fetched within this time (seconds).
COMMIT_EVERY_SECONDS = 2.0
# In the place of a size: what stands in the lines before is no longer so.
VOID = -1
# A whole encoder takes ten times as long for a line.
_quoted = json.encoder.encode_basestring


class Journal:
    """The journal of one output folder. `source` names the bucket; only lines written under it are this bucket's."""

    def __init__(self, folder: Path, source: str) -> None:
        self.path = folder / OWN_FOLDER / "journal.jsonl"
        self.source = source

    def read(self) -> Iterator[tuple[str, str, str, int, bool]]:
        """All lines, oldest first: path, key, ETag, size (or VOID), of this source. What is damaged is passed over."""
        if not is_there(self.path):
            return
        ours = False
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    value: dict[str, Any] = json.loads(line)
                    if "source" in value:
                        ours = same_source(str(value["source"])) == self.source
                        continue
                    if "void" in value:
                        known, size_bytes = (str(value["void"]), "", ""), VOID
                    else:
                        known = str(value["file"]), str(value["key"]), str(value["etag"])
                        size_bytes = max(0, int(value["bytes"]))
                    "".join(known).encode()  # half a character is no text
                except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
                    continue
                if size_bytes <= LARGEST_BYTES:
                    yield *known, size_bytes, ours

    def begin(self) -> None:
        """Says from here on the lines are of this source. Raises DiskFull, OSError."""
        append_lines(self.path, [json.dumps({"journal": VERSION, "source": self.source, "at": iso(now())})])

    def add(self, lines: list[str]) -> None:
        append_lines(self.path, lines)

    def void(self, paths: list[str]) -> None:
        """What was noted of these files holds no longer, from now on and for good. Raises DiskFull, OSError."""
        self.add([f'{{"void": {_quoted(path)}}}' for path in paths])


def same_source(noted: str) -> str:
    """The source that a journal names, as it is called now: earlier versions noted the address as it was asked."""
    where, _, bucket = noted.rpartition(" ")
    return source_of(where, bucket)


def line_of(path: str, key: str, etag: str, size_bytes: int) -> str:
    return f'{{"file": {_quoted(path)}, "key": {_quoted(key)}, "etag": {_quoted(etag)}, "bytes": {size_bytes}}}'


def sync_all(folder: Path) -> None:
    """Makes everything on the file system of `folder` durable: contents and names."""
    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):  # macOS
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


class Recorder:
    """Writes journal and state in a thread of its own. An error there is raised by the next call here."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._todo: queue.SimpleQueue[list[str] | dict[str, Any] | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._lines: list[str] = []
        self._committed_at = time.monotonic()
        self._state_path = state_path(folder)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def saved(self, lines: list[str]) -> None:
        """These files have their names now; they are recorded within a few seconds."""
        self._raise()
        self._lines.extend(lines)
        if time.monotonic() - self._committed_at >= COMMIT_EVERY_SECONDS:
            self.commit()

    def commit(self) -> None:
        if self._lines:
            self._todo.put(self._lines)
            self._lines = []
        self._committed_at = time.monotonic()

    def state(self, state: dict[str, Any]) -> None:
        self._raise()
        self._todo.put(state)

    def close(self, seconds: float) -> bool:
        """Writes what is left; False when that was not done within the time. Raises what went wrong."""
        self.commit()
        self._todo.put(None)
        self._thread.join(seconds)
        self._raise()
        return not self._thread.is_alive()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _work(self) -> None:
        while (todo := self._todo.get()) is not None:
            try:
                if isinstance(todo, dict):
                    write_json(self._state_path, todo)
                else:
                    sync_all(self._folder)
                    self._journal.add(todo)
            except BaseException as error:  # noqa: BLE001 - raised in the main thread
                self._error = error


def state_path(folder: Path) -> Path:
    """The run in figures."""
    return folder / "download_state.json"


def parts_of(folder: Path) -> Path:
    """The folder of unfinished files."""
    return folder / OWN_FOLDER / "parts"


# See `common.images.fetch`: small objects, and large ones with the list of the pieces that have come.
_SMALL = re.compile(r"\d+\.part")
_LARGE = re.compile(r"([0-9a-f]{16})[0-9a-f]{16}\.big(\.done)?")
# Pieces of an object that no run has gone on with for so long are given up (seconds).
PIECES_KEPT_SECONDS = 30 * 86400.0


def clear_parts(folder: Path) -> None:
    """Makes the folder of unfinished files, and clears away small ones, of which nothing can be used."""
    parts_of(folder).mkdir(parents=True, exist_ok=True)
    # Nothing goes but what we have named: the folder may turn out to be another than we think.
    _clear(folder, lambda entry: bool(_SMALL.fullmatch(entry.name)))


def clear_pieces(folder: Path, names: Collection[str], *, keep: bool) -> None:
    """Before large objects are fetched, whose pieces go to files of these `names`: `keep` those that are there.

    What there is of earlier versions of these objects goes. Pieces of others stay: they may be those of another list.
    """
    objects = {name[:16] for name in names}
    long_ago = time.time() - PIECES_KEPT_SECONDS

    def is_over(entry: os.DirEntry[str]) -> bool:
        if not (found := _LARGE.fullmatch(entry.name)):
            return False
        if entry.name.removesuffix(".done") in names:
            return not keep
        return found[1] in objects or entry.stat().st_mtime < long_ago

    _clear(folder, is_over)


def _clear(folder: Path, is_over: Callable[[os.DirEntry[str]], bool]) -> None:
    for entry in os.scandir(parts_of(folder)):
        with contextlib.suppress(OSError):
            if is_over(entry):
                os.unlink(entry.path)  # noqa: PTH108


def bytes_begun(folder: Path, names: Iterable[str]) -> int:
    """Room that pieces of large objects, in files of these names, take already: the run goes on with them."""
    begun = 0
    for name in names:
        with contextlib.suppress(OSError):
            begun += (parts_of(folder) / name).stat().st_blocks * 512
    return begun
