"""Brings one object to the disk: into a temporary file, checked, then under its name. Large ones in pieces side by side."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.exits import RunEnds
from common.images.pace import Pace
from common.images.plan import Job, is_md5
from common.s3.bucket import Head, Into, Reader
from common.s3.errors import Changed, KeyFailed, S3Error, Transient
from common.text import plural, size
from common.waiting import Stopped, StopSignal

PIECE_BYTES = 16 << 20
# From here on an object is fetched in pieces, by several connections at once, and gone on with by the next run.
LARGE_BYTES = 2 * PIECE_BYTES
# What a name can be to blame for; any other trouble of the disk is that of the whole run.
_ONE_FILE = frozenset(
    (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP,
     errno.EFBIG)
)  # fmt: skip
# A file whose checksum is wrong so often is wrong in the bucket.
MOST_CHECKSUM_ATTEMPTS = 3
# So many files in turn for which all patience was in vain, and nothing else came: the server is gone, not the files.
MOST_GIVEN_UP = 5
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_FILES = frozenset((errno.EMFILE, errno.ENFILE))


class Outcome(NamedTuple):
    """What became of a job; `reason` is empty when it was saved. `code` is S3's word for the failure."""

    job: Job
    size_bytes: int
    etag: str
    seconds: float
    reason: str = ""
    code: str = ""


@dataclass(eq=False)
class Large:
    """An object that several workers fetch together."""

    job: Job
    path: Path
    # Never closed by hand: a worker that still writes a piece would write into whatever file gets its number next.
    file: io.FileIO
    etag: str
    began: float
    waiting: set[int]
    lock: threading.Lock = field(default_factory=threading.Lock)
    # Held by whoever writes to the file.
    turn: threading.Lock = field(default_factory=threading.Lock)
    # Pieces that arrived and are not yet noted, and whether a worker is making such pieces durable.
    landed: set[int] = field(default_factory=set)
    syncing: bool = False
    over: bool = False
    settled: bool = False
    encrypted: bool = False
    # Where another process, `lender`, brings the object together: tells it whether the piece of that number has come.
    tell: Callable[[int, bool], None] | None = None
    lender: int = 0

    @property
    def done_path(self) -> Path:
        return self.path.with_name(self.path.name + ".done")


class Piece(NamedTuple):
    """One piece of a large object; `has_come`: another process has fetched it."""

    large: Large
    number: int
    has_come: bool = False


@dataclass
class Fetcher:
    """What one run's workers share. `spread` takes further pieces to be worked on; `count` hears of arrived bytes."""

    folder: Path
    parts: Path
    stop: StopSignal
    pace: Pace
    verify: bool
    retry_seconds: float
    reserve_bytes: int
    spread: Callable[[list[Piece]], None]
    count: Callable[[int], None]
    # Hears of bytes, counted as well, that an earlier run has brought.
    found: Callable[[int], None] = lambda count: None
    # Set when the books are closed: a file that came now would stand in none of them.
    closed: bool = False

    def work(self, todo: Job | Piece, reader: Reader) -> Outcome | None:
        """Fetches a file or a piece; None when others still work on its file. Raises Stopped, RunEnds."""
        job = todo.large.job if isinstance(todo, Piece) else todo
        began = time.monotonic()
        try:
            if isinstance(todo, Piece):
                return self._piece(todo, reader)
            if job.size_bytes >= LARGE_BYTES:
                return self._begin_large(job, reader, began)
            return self._small(job, reader, began)
        except (S3Error, OSError) as error:
            return self._ended_by(error, todo, job, began)

    def _ended_by(self, error: S3Error | OSError, todo: Job | Piece, job: Job, began: float) -> Outcome | None:
        """What becomes of a file or a piece that met such trouble. Raises RunEnds when it is not its own."""
        if isinstance(error, S3Error):  # also OtherRegion: the listing came from here, so that is this object's trouble
            return self._failed(todo, job, began, str(error), error.code, of_no_use=_is_of_no_use(error))
        if error.errno in _ONE_FILE:
            return self._failed(todo, job, began, f"it cannot be kept under this name: {error.strerror}", "Name")
        raise self._disk_trouble(error) from None

    def _disk_trouble(self, error: OSError) -> RunEnds:
        if error.errno in _FULL:
            what = f"No room left in {self.folder} ({error.strerror})."
            return RunEnds(what, "Make room there, then run the same command again: it goes on from here.")
        if error.errno in _FILES:
            remedy = (
                "Allow more (ulimit -n), or use fewer --workers. Then run the same command again: it goes on from here."
            )
            return RunEnds(f"The system grants no more open files ({error.strerror}).", remedy)
        remedy = "Make the folder writable, then run the same command again: it goes on from here."
        return RunEnds(f"{self.folder} cannot be written: {error}.", remedy)

    def _check(self) -> None:
        if self.closed or self.stop.is_set:
            raise Stopped

    def _failed(
        self, todo: Job | Piece, job: Job, began: float, reason: str, code: str, *, of_no_use: bool = False
    ) -> Outcome | None:
        """`of_no_use`: what came of the object so far, which else waits for the next run."""
        if isinstance(todo, Piece):
            with todo.large.lock:
                if todo.large.settled:
                    return None
                todo.large.over = todo.large.settled = True
            if of_no_use:
                _forget(todo.large)
        return Outcome(job, 0, "", time.monotonic() - began, reason, code)

    def _patiently(self, job: Job, action: Callable[[], Any]) -> Any:
        """Repeats what meets transient trouble, with growing pauses."""
        attempt, first_trouble = 0, 0.0
        while True:
            self._check()
            try:
                result = action()
                self.pace.good()
                return result
            except Transient as error:
                attempt += 1
                if error.code == "ChecksumDiffers" and attempt >= MOST_CHECKSUM_ATTEMPTS:
                    raise KeyFailed(f"{error} ({attempt} attempts)", error.code) from None
                at = time.monotonic()
                first_trouble = first_trouble or at
                pause = self.pace.trouble(attempt, throttled=error.throttled)
                if at + pause - first_trouble > self.retry_seconds:
                    if self.pace.last_good < first_trouble and self.pace.gave_up() >= MOST_GIVEN_UP:
                        what = f"The server has not sent any file for {at - first_trouble:.0f} s; at last: {error}."
                        raise RunEnds(what, "Run the same command again later: it goes on from here.") from None
                    raise KeyFailed(f"{error} ({attempt} attempts)", error.code or "Transient") from None
                self.stop.sleep(pause)

    # --- in one go -----------------------------------------------------------------------------------------------

    def _small(self, job: Job, reader: Reader, began: float) -> Outcome:
        temporary = f"{self.parts}/{job.id}.part"
        head, got = self._patiently(job, lambda: self._once(job, reader, temporary))
        try:
            self._name_it(temporary, job)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        # Some servers send no ETag with an object: it is what was listed, as its size is the same.
        return Outcome(job, got, head.etag or job.etag, time.monotonic() - began)

    def _once(self, job: Job, reader: Reader, temporary: str) -> tuple[Head, int]:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        got = 0
        digest: Any = None

        def begin(head: Head) -> None:
            nonlocal digest
            if head.size_bytes != job.size_bytes:
                _require_change(head, job)
                if head.size_bytes > job.size_bytes + PIECE_BYTES:
                    self._require_room(head.size_bytes)
            if self.verify and is_md5(head.etag) and not head.encrypted:
                digest = hashlib.md5(usedforsecurity=False)

        def use(piece: memoryview) -> None:
            if digest is not None:
                digest.update(piece)
            written = os.pwrite(descriptor, piece, got)
            while written < len(piece):
                written += os.pwrite(descriptor, piece[written:], got + written)
            moved(len(piece))

        def moved(count: int) -> None:
            nonlocal got
            got += count
            self.count(count)
            if self.closed or self.stop.is_set:
                raise Stopped

        try:
            into = None if self.verify else Into(descriptor, 0, moved)
            head = reader.get(job.key, begin, use, into=into)
            if got != head.size_bytes:
                raise Transient(f"{got:,} of {head.size_bytes:,} bytes arrived")
            if digest is not None and digest.hexdigest() != head.etag:
                raise Transient("the MD5 of what arrived is not the object's ETag", "ChecksumDiffers")
            return head, got
        except BaseException:
            self.count(-got)
            with contextlib.suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
        finally:
            os.close(descriptor)

    def _name_it(self, temporary: str | Path, job: Job) -> None:
        if self.closed:
            raise Stopped
        final = f"{self.folder}/{job.path}"
        if "/" in job.path:
            self._make_folder(job.path.rpartition("/")[0])
        os.rename(temporary, final)  # noqa: PTH104

    def _make_folder(self, path: str) -> None:
        """Makes a folder within ours. Raises KeyFailed when a link is in its place: files do not leave the output folder."""
        folder = str(self.folder)
        for part in path.split("/"):
            folder = f"{folder}/{part}"
            try:
                mode = os.lstat(folder).st_mode
            except FileNotFoundError:
                os.makedirs(f"{self.folder}/{path}", exist_ok=True)  # noqa: PTH103
                return
            if stat.S_ISLNK(mode):
                leads = f"{folder} is a link to {Path(folder).readlink()}"
                raise KeyFailed(f"{leads}, and files do not leave the output folder: delete the link", "Link")

    def _require_room(self, needed_bytes: int) -> None:
        status = os.statvfs(self.folder)
        if status.f_bavail * status.f_frsize < needed_bytes + self.reserve_bytes:
            what = f"{size(needed_bytes)} do not fit into {self.folder} any more."
            raise RunEnds(what, "Make room there, then run the same command again: it goes on from here.")

    # --- in pieces -----------------------------------------------------------------------------------------------

    def _begin_large(self, job: Job, reader: Reader, began: float) -> Outcome | None:
        """Fetches the first piece. Its head tells of the whole: from then on whoever has time fetches the others."""
        path = self.parts / part_name(job)
        path.touch()
        large = Large(job, path, io.FileIO(path, "r+b"), job.etag, began, set())
        done = _pieces_done(large)
        large.file.truncate(job.size_bytes)
        large.waiting = set(range(-(-job.size_bytes // PIECE_BYTES))) - done
        found = min(len(done) * PIECE_BYTES, job.size_bytes)
        self.found(found)
        self.count(found)
        if not large.waiting:
            return self._finish_large(large)
        first, *others = (Piece(large, number) for number in sorted(large.waiting))
        shared = False

        def share() -> None:
            nonlocal shared
            if not shared:
                shared = True
                self.spread(others)

        try:
            self._get_piece(large, first.number, reader, share)
        except (S3Error, OSError) as error:
            if shared:  # then it is a piece like the others, and one of them tells what became of the file
                return self._ended_by(error, first, job, began)
            if not isinstance(error, Changed | KeyFailed):
                raise
            if _is_of_no_use(error):
                _forget(large)
            if isinstance(error, KeyFailed) and error.code != "NoRanges":
                raise
            # Not what was listed, or a server without ranges: in one go, with whatever the object is now.
            outcome = self._small(job, reader, began)
            _forget(large)
            return outcome
        return self._piece_done(large, first.number)

    def _piece(self, piece: Piece, reader: Reader) -> Outcome | None:
        large, number = piece.large, piece.number
        if large.over:
            return None
        if large.tell is not None:
            self._lent(large, number, reader, large.tell)
            return None
        if not piece.has_come:
            self._get_piece(large, number, reader)
        return self._piece_done(large, number)

    def borrowed(self, job: Job, etag: str, tell: Callable[[int, bool], None], lender: int) -> Large:
        """An object that another process brings together, in the file that it has begun. Raises OSError."""
        path = self.parts / part_name(job)
        return Large(job, path, io.FileIO(path, "r+b"), etag, 0.0, set(), tell=tell, lender=lender)

    def _lent(self, large: Large, number: int, reader: Reader, tell: Callable[[int, bool], None]) -> None:
        """Fetches a piece for another process, which makes it durable. Whatever fails, it meets and tells itself."""
        try:
            self._get_piece(large, number, reader)
        except (S3Error, OSError):
            tell(number, False)
        else:
            tell(number, True)

    def _get_piece(self, large: Large, number: int, reader: Reader, begun: Callable[[], None] = lambda: None) -> None:
        """`begun` is called when its head has come and is what was expected."""
        self._patiently(large.job, lambda: self._get_piece_once(large, number, reader, begun))

    def _get_piece_once(self, large: Large, number: int, reader: Reader, begun: Callable[[], None]) -> None:
        first = at = number * PIECE_BYTES
        count = min(PIECE_BYTES, large.job.size_bytes - first)

        def begin(head: Head) -> None:
            if head.size_bytes != large.job.size_bytes:
                _require_change(head, large.job)
            if head.size_bytes != large.job.size_bytes or (large.etag and head.etag and head.etag != large.etag):
                raise Changed("the object changed while it was fetched", "Changed")
            large.encrypted = large.encrypted or head.encrypted
            begun()

        def use(piece: memoryview) -> None:
            written = 0
            with large.turn:
                while written < len(piece):
                    written += os.pwrite(large.file.fileno(), piece[written:], at + written)
            moved(len(piece))

        def moved(count: int) -> None:
            nonlocal at
            at += count
            self.count(count)
            if self.closed or self.stop.is_set:
                raise Stopped
            if large.over:
                raise Changed("another piece of this object failed", "Changed")

        try:
            into = Into(large.file.fileno(), first, moved, large.turn)
            reader.get(large.job.key, begin, use, first=first, count=count, etag=large.etag, into=into)
            if at - first != count:
                raise Transient(f"{at - first:,} of {count:,} bytes arrived")
        except BaseException:
            self.count(first - at)
            raise

    def _piece_done(self, large: Large, number: int) -> Outcome | None:
        # Durable before it is noted: a note about bytes that a power cut took would be a lie for good. One worker at a
        # time does that, for all pieces that landed before its sync began; the others go on fetching meanwhile.
        with large.lock:
            large.landed.add(number)
            if large.syncing:
                return None
            large.syncing = True
        while True:
            with large.lock:
                durable, large.landed = large.landed, set()
                if large.over or not durable:
                    large.syncing = False
                    return None
            getattr(os, "fdatasync", os.fsync)(large.file.fileno())
            with large.lock:
                if large.over:
                    return None
                large.waiting -= durable
                with open(large.done_path, "ab") as done:
                    done.write(b"".join(piece.to_bytes(4, "big") for piece in sorted(durable)))
                if not large.waiting:
                    large.over = True
                    break
        return self._finish_large(large)

    def _finish_large(self, large: Large) -> Outcome:
        if self.verify and is_md5(large.etag) and not large.encrypted:
            large.file.seek(0)
            digest = hashlib.md5(usedforsecurity=False)
            while piece := large.file.read(1 << 20):
                self._check()
                digest.update(piece)
            if digest.hexdigest() != large.etag:
                _forget(large)
                raise KeyFailed("the MD5 of what arrived is not the object's ETag", "ChecksumDiffers")
        self._name_it(large.path, large.job)
        large.done_path.unlink(missing_ok=True)
        return Outcome(large.job, large.job.size_bytes, large.etag, time.monotonic() - large.began)


def _require_change(head: Head, job: Job) -> None:
    """Another size than the listing's is right when the object was changed since, which its ETag tells. Raises Transient.

    Else these are other bytes: of a portal that wants somebody to log in, of a proxy that keeps half a file, an error.
    """
    if not (head.etag and job.etag and head.etag != job.etag):
        what = f"the server sends {plural(head.size_bytes, 'byte')}, and the listing says {job.size_bytes:,}"
        raise Transient(what, "SizeDiffers")


def part_name(job: Job) -> str:
    """The file that the pieces of a large object are put into. Its first half is the object's, the second its ETag's."""
    halves = (f"{job.path}\0{job.key}", job.etag)
    return "".join(hashlib.sha256(half.encode("utf-8", "surrogatepass")).hexdigest()[:16] for half in halves) + ".big"


def _pieces_done(large: Large) -> set[int]:
    """The pieces that an earlier run fetched. A torn note at the end does not count."""
    if os.fstat(large.file.fileno()).st_size != large.job.size_bytes or not large.etag:
        large.done_path.unlink(missing_ok=True)
        return set()
    try:
        noted = large.done_path.read_bytes()
    except OSError:
        return set()
    return {int.from_bytes(noted[at : at + 4], "big") for at in range(0, len(noted) // 4 * 4, 4)}


def _is_of_no_use(error: S3Error) -> bool:
    """Whether what came of an object so far is of no use to a later run.

    A server that fails for a while says nothing about that; nor does a login page, which seems to know no ranges.
    """
    return isinstance(error, Changed) or error.code == "NoSuchKey"


def _forget(large: Large) -> None:
    for path in (large.path, large.done_path):
        with contextlib.suppress(OSError):
            path.unlink()
