"""What is asked for, what the bucket has of it, and what is to be fetched: tables in an SQLite file without a name.

A million names as Python objects are a third of a gigabyte. What does not fit into SQLite's small cache lies in a file
that is gone with the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.images.apart import TABLES, Apart
from common.images.gathering import MOST_ROWS, Gathering, Groups, NameRow
from common.images.journal import VOID
from common.images.matching import How, Rule, is_stray, matches
from common.images.names import RESERVED, file_path
from common.s3.bucket import Listed
from common.waiting import StopSignal

ROWS_AT_ONCE = 5000
Row = TypeVar("Row")
ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_TABLES = """
CREATE TABLE found (id INTEGER PRIMARY KEY, name TEXT NOT NULL, how TEXT NOT NULL, note TEXT, job INTEGER);
CREATE TABLE job (id INTEGER PRIMARY KEY, path TEXT NOT NULL, key TEXT NOT NULL, size INTEGER, etag TEXT, state TEXT,
    reason TEXT);
CREATE TABLE before (path TEXT PRIMARY KEY, key TEXT, etag TEXT, size INTEGER, ours INTEGER) WITHOUT ROWID;
"""


class Job(NamedTuple):
    """One file to be fetched. `path` is relative to the output folder."""

    id: int
    path: str
    key: str
    size_bytes: int
    etag: str


@dataclass
class Counts:
    """The figures of the analysis. `to_fetch` counts files; names that mean the same object share one.

    Of these there is another file already: of the same object, which has `changed` or which somebody `spoilt`; of another
    object (`of_others`); of nobody knows what (`replaced`). `moved`: those that --keep-folders cannot keep in theirs.

    Names that are found, and not called as their object: asked for in another folder (`elsewhere`), with another extension,
    or without one (`no_extension`). `taken`: missing names that an object in another folder would fit, which is another's.
    """

    wanted: int = 0
    repeated: int = 0
    empty: int = 0
    listed: int = 0
    found: int = 0
    missing: int = 0
    ambiguous: int = 0
    elsewhere: int = 0
    other_extension: int = 0
    no_extension: int = 0
    taken: int = 0
    by_rule: int = 0
    shared: int = 0
    renamed: int = 0
    moved: int = 0
    archived: int = 0
    already: int = 0
    changed: int = 0
    spoilt: int = 0
    replaced: int = 0
    of_others: int = 0
    to_fetch: int = 0
    bytes_to_fetch: int = 0
    bytes_found: int = 0


class Plan:
    """Filled in this order: names, objects, match, what is there. For one thread.

    Its files lie in `folder`, or with everybody's temporary files; they have no name there and are gone with the process.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        folder: Path | None = None,
        *,
        keep_folders: bool = False,
        rule: Rule = "skip",
        most_rows: int = MOST_ROWS,
    ) -> None:
        self.root = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        self.keep_folders = keep_folders
        self.rule: Rule = rule
        self.counts = Counts()
        self.title = ""  # what the first name was, if it was taken for the title of its column
        self._gathering = Gathering(bucket, folder, most_rows)
        self._db = _open(folder)
        self._db.executescript(_TABLES + TABLES)
        self._db.execute("BEGIN")
        self._jobs = 0
        self._replacing = False
        # Each statement of SQLite lets go of Python's lock, for which the workers queue: what is done is told to it once.
        self._done = array("q")

    def close(self) -> None:
        self._gathering.close()
        self._db.close()

    @contextlib.contextmanager
    def breaking_off(self, stop: StopSignal) -> Iterator[None]:
        """One statement over a million names takes some seconds; a stop does not wait for its end. Raises Stopped."""
        self._db.set_progress_handler(lambda: stop.is_set, 200_000)
        try:
            yield
        except sqlite3.OperationalError:
            stop.check()
            raise
        finally:
            self._db.set_progress_handler(None, 0)

    def add_names(self, names: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
        """Takes in the names of the CSV. Those that stand there twice are counted only by match()."""
        for batch in _batches(iter(names)):
            check()
            there = [name for name in batch if name]
            self.counts.empty += len(batch) - len(there)
            self._gathering.add_names(there)
            self.counts.wanted = self._gathering.names
        self._gathering.names_end()

    def add_objects(self, objects: Sequence[Listed]) -> None:
        """Takes in a page of the listing."""
        self._gathering.add_objects(objects)
        self.counts.listed += len(objects)

    def match(self, check: Callable[[], None] = lambda: None) -> None:
        """Decides what every name means, names the files, and tells apart those that would be one."""
        apart = Apart(self._db, self.counts.wanted, with_folders=self.keep_folders)
        for names, groups in self._gathering.portions():
            self._match_portion(names, groups, apart, check)
        counts = self.counts
        counts.wanted -= counts.repeated
        count = dict(self._db.execute("SELECT how, count(*) FROM found GROUP BY how"))
        counts.missing, counts.ambiguous = count.get("missing", 0), count.get("ambiguous", 0)
        counts.found = counts.wanted - counts.missing - counts.ambiguous
        counts.by_rule = self._number("SELECT count(*) FROM found WHERE job IS NOT NULL AND note IS NOT NULL")
        counts.renamed += apart.rename(check)
        counts.shared = counts.found - self._jobs

    def _match_portion(self, names: list[NameRow], groups: Groups, apart: Apart, check: Callable[[], None]) -> None:
        """Notes what these names mean. All names of one object, and of one text, are in the same portion."""
        seen: set[str] = set()
        jobs_here: dict[tuple[str, str], int] = {}
        keep_folders, root, last, counts = self.keep_folders, self.root, self._jobs, self.counts
        rows = zip(names, matches(names, groups, root, self.rule, check), strict=True)
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            check()
            found: list[tuple[int, str, str, str | None, int | None]] = []
            jobs: list[tuple[int, str, str, int, str, str]] = []
            repeated = renamed = total = 0
            for (number, name, _, asked, stem), (how, chosen, fitting) in batch:
                if name in seen:
                    repeated += 1
                    continue
                seen.add(name)
                note = json.dumps(fitting) if fitting else None
                if chosen is None:
                    counts.taken += bool(note) and how == "missing"
                    found.append((number, name, how, note, None))
                    continue
                key, size, etag, storage, whole = chosen
                extension = whole[whole.rfind("/") + 1 + len(stem) :]
                if how != "key":
                    self._count_inexact(how, asked, len(stem), extension)
                path = file_path(stem, extension, key, root, keep_folders=keep_folders)
                job = jobs_here.get((path, key))
                if job is None:
                    last += 1
                    job = jobs_here[path, key] = last
                    jobs.append((job, path, key, size, etag, "todo"))
                    total += size
                    if storage in ARCHIVED:
                        counts.archived += 1
                    if not path.startswith(stem, path.rfind("/") + 1):
                        renamed += 1
                    if keep_folders and path.rpartition("/")[0] != key.removeprefix(root).rpartition("/")[0]:
                        counts.moved += 1
                found.append((number, name, how, note, job))
            apart.note([each[1] for each in jobs])
            counts.repeated += repeated
            counts.renamed += renamed
            counts.bytes_found += total
            self._db.executemany("INSERT INTO found (id, name, how, note, job) VALUES (?, ?, ?, ?, ?)", found)
            self._db.executemany("INSERT INTO job (id, path, key, size, etag, state) VALUES (?, ?, ?, ?, ?, ?)", jobs)
        self._jobs = last

    def _count_inexact(self, how: How, asked: str, stem: int, extension: str) -> None:
        """Counts a name that is not what the object is called. `stem`: how long the stem of both is."""
        own = asked[asked.rfind("/") + 1 + stem :]
        if is_stray(how, asked):
            self.counts.elsewhere += 1
        elif own != extension:
            if own:
                self.counts.other_extension += 1
            else:
                self.counts.no_extension += 1

    def forget_title(self, title: str) -> bool:
        """The first name was the title of its column, if no object is called so; says whether it was."""
        number, how = self._db.execute("SELECT id, how FROM found ORDER BY id LIMIT 1").fetchone()
        if how != "missing":
            return False
        self._db.execute("DELETE FROM found WHERE id = ?", (number,))
        self.counts.wanted -= 1
        self.counts.missing -= 1
        self.title = title
        return True

    # --- what is there already -----------------------------------------------------------------------------------

    def remember(
        self, lines: Iterable[tuple[str, str, str, int, bool]], check: Callable[[], None] = lambda: None
    ) -> None:
        """Takes in the journal: path, key, ETag, size or VOID, and whether it was of this bucket; later lines win."""
        for batch in _batches(iter(lines)):
            check()
            self._db.executemany("INSERT OR REPLACE INTO before VALUES (?, ?, ?, ?, ?)", batch)
        self._db.execute("DELETE FROM before WHERE size = ?", (VOID,))

    def compare(
        self,
        folder: Path,
        same: Callable[[Path, str], bool],
        check: Callable[[], None] = lambda: None,
        *,
        keep: bool = True,
    ) -> list[Job]:
        """Finds what need not be fetched again; gives the files that are here without the journal knowing of them.

        `same` says whether a file has this MD5. A file counts as there when the journal has its key and ETag and its
        size is right, or when its MD5 is the object's ETag. Without `keep` none does. Of files in whose place others
        come, `in_place_of` tells.
        """
        adopted: list[Job] = []
        if not (_holds_files(folder) or self._number("SELECT EXISTS (SELECT 1 FROM before)")):
            self.count_todo()
            return adopted
        # A cursor of its own for each batch: the table is changed between them.
        for jobs in self.jobs():
            check()
            states = []
            for job in jobs:
                state, reason = self._standing(folder, job, same, keep=keep)
                if state == "adopted":
                    adopted.append(job)
                    state = "there"
                if state == "there" or reason:
                    states.append((state, reason, job.id))
                    self._replacing = self._replacing or bool(reason)
            self._db.executemany("UPDATE job SET state = ?, reason = ? WHERE id = ?", states)
        counts = self.counts
        counts.already = self._number("SELECT count(*) FROM job WHERE state = 'there'")
        self.count_todo()
        return adopted

    def count_todo(self) -> None:
        """Counts what is to be fetched."""
        row = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM job WHERE state = 'todo'").fetchone()
        self.counts.to_fetch, self.counts.bytes_to_fetch = row

    def _standing(self, folder: Path, job: Job, same: Callable[[Path, str], bool], *, keep: bool) -> tuple[str, str]:
        """"there", "adopted", or "todo" for what must be fetched; and in whose place that comes."""  # fmt: skip
        path = f"{folder}/{job.path}"
        before = self._db.execute("SELECT key, etag, size, ours FROM before WHERE path = ?", (job.path,)).fetchone()
        as_noted = before and before[3] and before[:2] == (job.key, job.etag)
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return "todo", "" if as_noted or not before else "in place of one that is gone"
        if stat.S_ISREG(status.st_mode):
            if as_noted and status.st_size == before[2] == job.size_bytes:
                return ("there", "") if keep else ("todo", "fetched again")
            if keep and status.st_size == job.size_bytes and is_md5(job.etag) and same(Path(path), job.etag):
                return "adopted", ""
        elif stat.S_ISDIR(status.st_mode):
            return "todo", ""  # in whose place nothing can come
        else:
            before = None  # a link, which no run has made
        return "todo", self._count_again(job, before)

    def _count_again(self, job: Job, before: tuple[str, str, int, int] | None) -> str:
        """Counts a file that is there and is fetched all the same, by what it is, which it gives in words."""
        counts = self.counts
        if before is None:
            counts.replaced += 1
            return "in place of another file of this name"
        if before[0] != job.key or not before[3]:
            counts.of_others += 1
            return "in place of the file of another object"
        if before[1] != job.etag:
            counts.changed += 1
            return "in place of an older one of this object"
        counts.spoilt += 1
        return "in place of one that was not as it was fetched"

    def in_place_of(self) -> Iterator[list[tuple[str, str, bool]]]:
        """What is to be fetched and takes the place of a file: its path, of which one in words, and whether the journal
        knows that. In batches.
        """
        last = 0
        while self._replacing and (
            rows := self._db.execute(
                "SELECT id, path, reason, EXISTS (SELECT 1 FROM before WHERE before.path = job.path) FROM job "
                "WHERE id > ? AND state = 'todo' AND reason <> '' ORDER BY id LIMIT ?",
                (last, ROWS_AT_ONCE),
            ).fetchall()
        ):
            last = rows[-1][0]
            yield [(path, reason, bool(known)) for _, path, reason, known in rows]

    # --- reading it out ------------------------------------------------------------------------------------------

    def jobs(self, state: str = "todo", spread: int = 0) -> Iterator[list[Job]]:
        """The jobs in that state, in batches; each is read when it is asked for, so states may change meanwhile.

        `spread`: so many from all over the list come first, so that the first outcomes speak for all.
        """
        first = self._spread(state, spread)
        if first:
            yield first
        known = {job.id for job in first}
        last = 0
        while rows := self._db.execute(
            "SELECT id, path, key, size, etag FROM job WHERE id > ? AND state = ? ORDER BY id LIMIT ?",
            (last, state, ROWS_AT_ONCE),
        ).fetchall():
            last = rows[-1][0]
            if batch := [Job(*row) for row in rows if row[0] not in known]:
                yield batch

    def large_jobs(self, size_bytes: int) -> Iterator[Job]:
        """What is to be fetched and at least that large."""
        query = "SELECT id, path, key, size, etag FROM job WHERE state = 'todo' AND size >= ?"
        return (Job(*row) for row in self._db.execute(query, (size_bytes,)))

    def _spread(self, state: str, count: int) -> list[Job]:
        most = self._number("SELECT max(id) FROM job") if count else 0
        found = [
            self._db.execute(
                "SELECT id, path, key, size, etag FROM job WHERE id >= ? AND state = ? ORDER BY id LIMIT 1",
                (1 + most * step // count, state),
            ).fetchone()
            for step in range(count)
        ]
        return [Job(*row) for row in dict.fromkeys(found) if row is not None]

    def settle(self, done: Iterable[int], failed: Iterable[tuple[str, int]]) -> None:
        """Notes what became of jobs: the ids of those that are done; reason and id of those that failed."""
        self._done.extend(done)
        self._db.executemany("UPDATE job SET state = 'failed', reason = ? WHERE id = ?", failed)

    def correct(self, saved: Iterable[tuple[int, str, int]]) -> None:
        """Notes size and ETag of what was saved, and its job's id, where the object is a newer one than that listed."""
        self._db.executemany("UPDATE job SET size = ?, etag = ? WHERE id = ?", saved)

    def missing(self) -> Iterator[str]:
        return (name for (name,) in self._db.execute("SELECT name FROM found WHERE how = 'missing' ORDER BY id"))

    def ambiguous(self) -> Iterator[tuple[str, list[str]]]:
        """Names with the keys that fit them (the first ten of them)."""
        rows = self._db.execute("SELECT name, note FROM found WHERE how = 'ambiguous' ORDER BY id")
        return ((name, json.loads(note)) for name, note in rows)

    def everything(self) -> Iterator[tuple[str, str, str, str, int, str, str, str]]:
        """For every name: name, state, how found, key, bytes, ETag, file, reason (or the keys that a rule chose from)."""
        done = sorted(self._done)
        self._done = array("q")
        self._db.executemany(
            "UPDATE job SET state = 'done', reason = coalesce(reason, '') WHERE id = ?", ((job,) for job in done)
        )
        rows = self._db.execute(
            "SELECT f.name, coalesce(j.state, f.how), f.how, coalesce(j.key, ''), coalesce(j.size, 0), "
            "coalesce(j.etag, ''), coalesce(j.path, ''), coalesce(j.reason, ''), coalesce(f.note, '') "
            "FROM found f LEFT JOIN job j ON j.id = f.job ORDER BY f.id"
        )
        for *row, reason, note in rows:
            yield *row, reason or " | ".join(json.loads(note) if note else ())

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)


def _open(folder: Path | None) -> sqlite3.Connection:
    """A database in a file of `folder` that has no name any more, and needs no locks and no journal."""
    descriptor, name = tempfile.mkstemp(prefix=".plan-", dir=folder)
    os.close(descriptor)
    try:
        # SQLite has the file open from here on (its own nameless files lie where TMPDIR says only).
        db = sqlite3.connect(name, isolation_level=None)
    finally:
        os.unlink(name)  # noqa: PTH108
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-24000", "locking_mode=EXCLUSIVE"):
        db.execute(f"PRAGMA {pragma}")
    return db


def _holds_files(folder: Path) -> bool:
    """Whether there is anything in an output folder but what we keep there for ourselves."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.casefold() not in RESERVED for entry in entries)
    except FileNotFoundError:
        return False


def is_md5(etag: str) -> bool:
    """Whether an ETag may be the MD5 of the object: not of one that was uploaded in parts."""
    return len(etag) == 32 and all(character in "0123456789abcdef" for character in etag)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) >= ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
