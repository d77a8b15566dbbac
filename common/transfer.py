"""Fetching one large file: flat memory, hashing while it arrives, resumed after every break.

The bytes go into a part file that is valid at any moment: its length says how far we are, and a small mark
beside it says of what, so that a later run can go on where a killed one stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from common.files import DiskFull, disk_full_named, free_bytes, is_there
from common.text import size
from common.waiting import StopSignal, growing_pauses

PIECE_BYTES = 1 << 20
# Waiting for the hash: bounds the memory of one transfer.
MOST_WAITING_BYTES = 8 << 20
FLUSH_BYTES = 64 << 20
MOST_FRUITLESS_ATTEMPTS = 5
SLOWEST_BYTES_PER_SECOND = 1024


class Interrupted(Exception):
    """The connection broke or stalled; what has arrived is kept. `remedy` says what to do about it."""

    def __init__(self, text: str, remedy: str = "The next run goes on where the download broke off.") -> None:
        super().__init__(text)
        self.remedy = remedy


class Changed(Exception):
    """What the server offers is not the file that was begun: begin again."""


@dataclass(frozen=True)
class Mark:
    """Of what a part file is the beginning. `validator` is the ETag under which the server may continue it."""

    label: str
    validator: str = ""
    total_bytes: int | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that has arrived whole, as far as its length tells."""

    size_bytes: int
    sha256: str
    resumed_at: int


class Body(Protocol):
    """One answer of the server: bytes from `offset` on."""

    offset: int
    total_bytes: int | None
    validator: str

    def read(self) -> bytes:
        """Some bytes, b"" at the end. Raises Interrupted."""


# Opens the file from an offset on, if its validator still matches; a body at offset 0 means "from the beginning".
Opener = Callable[[int, str], AbstractContextManager[Body]]
Observer = Callable[[bytes], None]


class PartFile:
    """The temporary file of a transfer and the mark beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.mark_path = path.with_name(path.name + ".json")

    def read_mark(self) -> Mark | None:
        """What the part file is the beginning of; None when there is none, or when its mark is torn."""
        try:
            return Mark(**json.loads(self.mark_path.read_text(encoding="utf-8"))) if is_there(self.path) else None
        except (OSError, ValueError, TypeError):
            return None

    def write_mark(self, mark: Mark) -> None:
        temporary = self.mark_path.with_name(self.mark_path.name + ".tmp")
        with disk_full_named(self.path.parent):
            temporary.write_text(json.dumps(asdict(mark)), encoding="utf-8")
            os.replace(temporary, self.mark_path)

    def discard(self) -> None:
        for path in (self.path, self.mark_path, self.mark_path.with_name(self.mark_path.name + ".tmp")):
            path.unlink(missing_ok=True)


def require_room(folder: Path, needed_bytes: int, reserve_bytes: int) -> None:
    """Raises DiskFull unless `needed_bytes` fit into `folder` with `reserve_bytes` left."""
    free = free_bytes(folder)
    if free < needed_bytes + reserve_bytes:
        reserve = f" and {size(reserve_bytes)} are kept free" if reserve_bytes else ""
        raise DiskFull(f"{size(needed_bytes)} are needed in {folder}, {size(free)} are free{reserve}")


def fetch(
    opener: Opener,
    part: PartFile,
    label: str,
    stop: StopSignal,
    *,
    reserve_bytes: int = 0,
    stall_seconds: float = 60,
    observers: Callable[[], list[Observer]] = list,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    wait_first_seconds: float = 0.5,
) -> Fetched:
    """Fetches into `part.path`, going on after breaks while the server keeps the file unchanged.

    `label` names what is fetched; a part file with another label is thrown away. `observers()` makes fresh
    observers of the bytes in order each time the file is begun. Raises Interrupted when there was no progress in
    several attempts, DiskFull (leaving nothing), Stopped (leaving the part file for the next run).
    """
    mark = part.read_mark()
    if mark is None or mark.label != label or not mark.validator:
        part.discard()
        mark = Mark(label)
    resumed_at = farthest = part.path.stat().st_size if is_there(part.path) else 0
    pauses, fruitless = growing_pauses(wait_first_seconds, longest=15), 0
    # Less than this is no progress: a byte per attempt would go on for ever.
    least_gain = max(1, SLOWEST_BYTES_PER_SECOND * stall_seconds)
    while True:
        have = part.path.stat().st_size if is_there(part.path) else 0
        if have and not mark.validator:
            have = 0  # without a validator nobody can say that the rest belongs to the beginning
        try:
            with opener(have, mark.validator if have else "") as body:
                if body.offset and body.validator not in ("", mark.validator):
                    raise Changed  # a proxy that drops If-Range sends the rest of another file
                if not body.offset:
                    # Before its mark changes: a kill in between must not make the old bytes look like the new file's.
                    part.discard()
                    have = resumed_at = 0
                mark = Mark(label, body.validator, body.total_bytes)
                part.write_mark(mark)
                if body.total_bytes is not None:
                    require_room(part.path.parent, body.total_bytes - have, reserve_bytes)
                digest = _receive(body, part.path, have, stop, stall_seconds, observers(), on_progress)
            arrived = part.path.stat().st_size
            if mark.total_bytes is None or arrived == mark.total_bytes:
                return Fetched(arrived, digest, resumed_at)
            raise Interrupted(f"the connection ended after {arrived:,} of {mark.total_bytes:,} bytes")
        except Changed:
            part.discard()
            fruitless += 1
            if fruitless >= MOST_FRUITLESS_ATTEMPTS:
                raise Interrupted("the server's file kept changing while it was fetched") from None
        except DiskFull:
            part.discard()
            raise
        except Interrupted:
            now_have = part.path.stat().st_size if is_there(part.path) else 0
            # Farther than ever, not merely than this attempt's beginning: without a validator each begins at 0.
            fruitless += 1
            if now_have - farthest >= least_gain:
                farthest, fruitless = now_have, 0
                pauses = growing_pauses(wait_first_seconds, longest=15)
            if fruitless >= MOST_FRUITLESS_ATTEMPTS:
                raise
            stop.sleep(next(pauses))


def _receive(
    body: Body,
    path: Path,
    have: int,
    stop: StopSignal,
    stall_seconds: float,
    observers: list[Observer],
    on_progress: Callable[[int, int | None], None],
) -> str:
    """Writes one answer behind the first `have` bytes of the file; returns the SHA-256 of the whole file."""
    with disk_full_named(path.parent), open(path, "r+b" if have else "wb", buffering=0) as file, _hashing() as feed:
        for piece in _pieces_of(file.fileno(), have):
            stop.check()
            for observer in (feed.put, *observers):
                observer(piece)
        file.seek(have)
        file.truncate()
        done, since_flush = have, 0
        window_began, window_bytes = time.monotonic(), 0
        while piece := body.read():
            stop.check()
            view = memoryview(piece)
            while view:
                view = view[file.write(view) or 0 :]
            for observer in (feed.put, *observers):
                observer(piece)
            done += len(piece)
            since_flush += len(piece)
            window_bytes += len(piece)
            on_progress(done, body.total_bytes)
            if since_flush >= FLUSH_BYTES:
                # Writing back begins while bytes still arrive, so that the fsync at the end is short.
                feed.flush(file.fileno())
                since_flush = 0
            passed = time.monotonic() - window_began
            if passed >= stall_seconds:
                if window_bytes < SLOWEST_BYTES_PER_SECOND * passed:
                    raise Interrupted(f"only {window_bytes} bytes arrived in {passed:.0f} seconds")
                window_began, window_bytes = time.monotonic(), 0
        return feed.hexdigest()


def _pieces_of(descriptor: int, length: int) -> Iterator[bytes]:
    offset = 0
    while offset < length:
        piece = os.pread(descriptor, min(PIECE_BYTES, length - offset), offset)
        if not piece:
            raise Interrupted("the part file is shorter than it was a moment ago")
        offset += len(piece)
        yield piece


class _Feed:
    """SHA-256 in a thread of its own: hashlib lets go of the interpreter, so it overlaps with the network."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING_BYTES // PIECE_BYTES)
        self._hash = hashlib.sha256()
        self._flushing: threading.Thread | None = None
        self._thread = threading.Thread(target=self._work, name="hash", daemon=True)
        self._thread.start()

    def put(self, piece: bytes) -> None:
        self._pieces.put(piece)

    def flush(self, descriptor: int) -> None:
        """Begins to write the file back to the disk, unless the last flush is still under way."""
        if self._flushing is not None and self._flushing.is_alive():
            return
        self._flushing = threading.Thread(target=self._sync, args=(os.dup(descriptor),), name="flush", daemon=True)
        self._flushing.start()

    @staticmethod
    def _sync(descriptor: int) -> None:
        # An error here shows again, and is handled, at the fsync before the rename.
        try:
            with contextlib.suppress(OSError):
                getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has only the latter
        finally:
            os.close(descriptor)

    def _work(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._hash.update(piece)

    def hexdigest(self) -> str:
        self.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()


@contextlib.contextmanager
def _hashing() -> Iterator[_Feed]:
    feed = _Feed()
    try:
        yield feed
    finally:
        feed.close()
