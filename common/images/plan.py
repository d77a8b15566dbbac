"""What is asked for, what the bucket has of it, and what is to be fetched: tables in a temporary SQLite database.

A million names as Python objects are a third of a gigabyte. SQLite keeps what does not fit into its small cache in a
file that has no name and is gone with the process.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.images.matching import MOST_CANDIDATES, Candidate, How, Rule, decide, key_endings
from common.images.names import canonical, file_path, folded, key_asked, stem_of, told_apart
from common.s3.bucket import Listed
from common.waiting import StopSignal

ROWS_AT_ONCE = 5000
Row = TypeVar("Row")
ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_TABLES = """
CREATE TABLE wanted (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL, base TEXT, stem TEXT);
CREATE TABLE object (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, size INTEGER, etag TEXT, storage TEXT,
    whole TEXT, stem TEXT, base TEXT, base_stem TEXT);
CREATE TABLE found (wanted INTEGER PRIMARY KEY, how TEXT NOT NULL, object INTEGER, note TEXT, path TEXT, folded TEXT,
    job INTEGER);
CREATE TABLE job (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, object INTEGER NOT NULL, state TEXT, reason TEXT);
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
    """The figures of the analysis. `to_fetch` counts files; names that mean the same object share one."""

    wanted: int = 0
    repeated: int = 0
    empty: int = 0
    listed: int = 0
    found: int = 0
    missing: int = 0
    ambiguous: int = 0
    by_rule: int = 0
    shared: int = 0
    renamed: int = 0
    archived: int = 0
    already: int = 0
    changed: int = 0
    replaced: int = 0
    to_fetch: int = 0
    bytes_to_fetch: int = 0
    bytes_found: int = 0


class Plan:
    """Filled in this order: names, objects, match, jobs, what is there. For one thread."""

    def __init__(self, bucket: str, prefix: str, *, keep_folders: bool = False, rule: Rule = "skip") -> None:
        self.bucket = bucket
        self.root = prefix if not prefix or prefix.endswith("/") else prefix + "/"
        self.keep_folders = keep_folders
        self.rule: Rule = rule
        self.counts = Counts()
        self._db = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-24000", "locking_mode=EXCLUSIVE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_TABLES)
        self._db.execute("BEGIN")
        self._stems = bytearray(1)
        self._mask = 7

    def close(self) -> None:
        self._db.close()

    @contextlib.contextmanager
    def breaking_off(self, stop: StopSignal) -> Iterator[None]:
        """One statement over a million names takes many seconds; a stop does not wait for its end. Raises Stopped."""
        self._db.set_progress_handler(lambda: stop.is_set, 200_000)
        try:
            yield
        except sqlite3.OperationalError:
            stop.check()
            raise
        finally:
            self._db.set_progress_handler(None, 0)

    # --- what is asked for ---------------------------------------------------------------------------------------

    def add_names(self, names: Iterable[str], check: Callable[[], None] = lambda: None) -> None:
        """Takes in the names of the CSV; a name that stands there twice is wanted once."""
        batch: list[tuple[str, str, str | None, str | None]] = []
        seen = 0

        def put() -> None:
            check()
            self._db.executemany("INSERT OR IGNORE INTO wanted (name, key, base, stem) VALUES (?, ?, ?, ?)", batch)
            batch.clear()

        for name in names:
            if not name:
                self.counts.empty += 1
                continue
            seen += 1
            key = key_asked(name, self.bucket)
            path = canonical(key)
            # Of names with folders, whose matching is not that simple, these stay empty.
            plain = bool(path) and "/" not in path
            batch.append((name, key, path if plain else None, stem_of(path) if plain else None))
            if len(batch) >= ROWS_AT_ONCE:
                put()
        put()
        self.counts.wanted = self._number("SELECT count(*) FROM wanted")
        self.counts.repeated = seen - self.counts.wanted
        self._remember_stems()

    def _remember_stems(self) -> None:
        """64 bits for each name, so that nearly every object that nobody asked for is passed over at once."""
        bits = max(1024, 1 << (64 * self.counts.wanted).bit_length())
        self._stems, self._mask = bytearray(bits // 8), bits - 1
        for key, stem in self._db.execute("SELECT key, stem FROM wanted"):
            at = hash(stem_of(canonical(key).rpartition("/")[2]) if stem is None else stem) & self._mask
            self._stems[at >> 3] |= 1 << (at & 7)

    # --- what the bucket has -------------------------------------------------------------------------------------

    def add_objects(self, objects: Sequence[Listed]) -> None:
        """Takes in a page of the listing; keeps what a name may mean. Folders (`a/`) are no files."""
        stems, mask = self._stems, self._mask
        rows = []
        for key, size, etag, storage in objects:
            path = canonical(key)
            base = path.rpartition("/")[2]
            stem = stem_of(base)
            at = hash(stem) & mask
            if stems[at >> 3] & (1 << (at & 7)) and not key.endswith("/"):
                folder = path[: len(path) - len(base)]
                # Backwards, so that keys with the same ending stand side by side in an index.
                rows.append((key, size, etag, storage, f"/{path}"[::-1], f"/{folder}{stem}"[::-1], base, stem))
        self._db.executemany(
            "INSERT OR IGNORE INTO object (key, size, etag, storage, whole, stem, base, base_stem) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        self.counts.listed += len(objects)

    # --- which is which ------------------------------------------------------------------------------------------

    def match(self, check: Callable[[], None] = lambda: None) -> None:
        """Decides what every name means."""
        self._db.execute(
            "INSERT INTO found (wanted, how, object) SELECT w.id, 'key', coalesce(a.id, b.id) FROM wanted w "
            "LEFT JOIN object a ON a.key = w.key LEFT JOIN object b ON b.key = ? || w.key "
            "WHERE coalesce(a.id, b.id) IS NOT NULL",
            (self.root,),
        )
        self._match_plain_names()
        if self._number("SELECT count(*) FROM found") < self.counts.wanted:
            self._db.execute("CREATE INDEX object_whole ON object (whole)")
            self._db.execute("CREATE INDEX object_stem ON object (stem)")
        last = 0
        while rows := self._db.execute(
            "SELECT id, key FROM wanted WHERE id > ? AND NOT EXISTS (SELECT 1 FROM found WHERE found.wanted = wanted.id) "
            "ORDER BY id LIMIT ?",
            (last, ROWS_AT_ONCE),
        ).fetchall():
            check()
            last = rows[-1][0]
            decided = []
            for wanted, key in rows:
                match = decide(self._levels(key), self.rule)
                note = "\n".join(each.key for each in match.candidates) if len(match.candidates) > 1 else None
                decided.append((wanted, match.how, match.chosen.id if match.chosen else None, note))
            self._db.executemany("INSERT INTO found (wanted, how, object, note) VALUES (?, ?, ?, ?)", decided)
        count = dict(self._db.execute("SELECT how, count(*) FROM found GROUP BY how"))
        self.counts.missing, self.counts.ambiguous = count.get("missing", 0), count.get("ambiguous", 0)
        self.counts.found = self.counts.wanted - self.counts.missing - self.counts.ambiguous
        self.counts.by_rule = self._number("SELECT count(*) FROM found WHERE object IS NOT NULL AND note IS NOT NULL")

    def _match_plain_names(self) -> None:
        """Names without folders that mean one object: in two statements, because most lists hold nothing else.

        A name joins only the objects of its own name, so neither grows beyond the names and the objects.
        """
        self._db.execute("CREATE INDEX object_base ON object (base)")
        self._db.execute(
            "INSERT INTO found (wanted, how, object) SELECT w.id, 'name', min(o.id) FROM wanted w "
            "JOIN object o ON o.base = w.base WHERE w.id NOT IN (SELECT wanted FROM found) GROUP BY w.id HAVING count(*) = 1"
        )
        self._db.execute("CREATE INDEX object_base_stem ON object (base_stem)")
        self._db.execute(
            "INSERT INTO found (wanted, how, object) SELECT w.id, 'stem', min(o.id) FROM wanted w "
            "JOIN object o ON o.base_stem = w.stem WHERE w.id NOT IN (SELECT wanted FROM found) "
            "AND NOT EXISTS (SELECT 1 FROM object n WHERE n.base = w.base) GROUP BY w.id HAVING count(*) = 1"
        )

    def _levels(self, key: str) -> Iterator[tuple[How, Sequence[Candidate]]]:
        for how, ending, without_extension in key_endings(key):
            column = "stem" if without_extension else "whole"
            begin = ending[::-1]
            end = begin[:-1] + "0"  # the character behind "/"
            rows = self._db.execute(
                f"SELECT id, key, size FROM object WHERE {column} >= ? AND {column} < ? LIMIT {MOST_CANDIDATES}",  # noqa: S608
                (begin, end),
            )
            yield how, [Candidate(*row) for row in rows]

    # --- where it goes -------------------------------------------------------------------------------------------

    def make_jobs(self, check: Callable[[], None] = lambda: None) -> None:
        """Names the files, tells apart those that would be one on some file system, and lists what is to be had."""
        rows = self._db.execute(
            "SELECT f.wanted, w.key, w.stem, o.key FROM found f JOIN wanted w ON w.id = f.wanted "
            "JOIN object o ON o.id = f.object"
        )
        for batch in _batches(rows):
            check()
            named = []
            for wanted, name, stem, key in batch:
                path = file_path(name, key, self.root, keep_folders=self.keep_folders)
                named.append((path, folded(path), wanted))
                plain = stem_of(canonical(name).rpartition("/")[2]) if stem is None else stem
                self.counts.renamed += not path.rpartition("/")[2].startswith(plain)
            self._db.executemany("UPDATE found SET path = ?, folded = ? WHERE wanted = ?", named)
        self._db.execute("CREATE INDEX found_folded ON found (folded, object)")
        for digits in (8, 16, 64):
            if not self._tell_apart(digits, check):
                break
        self._db.execute(
            "INSERT INTO job (path, object, state) SELECT path, min(object), 'todo' FROM found "
            "WHERE object IS NOT NULL GROUP BY path ORDER BY min(object)"
        )
        self._db.execute(
            "UPDATE found SET job = (SELECT id FROM job WHERE job.path = found.path) WHERE path IS NOT NULL"
        )
        jobs = self._number("SELECT count(*) FROM job")
        self.counts.shared = self.counts.found - jobs
        self.counts.bytes_found = self._number("SELECT sum(o.size) FROM job j JOIN object o ON o.id = j.object")
        self.counts.archived = self._number(
            f"SELECT count(*) FROM job j JOIN object o ON o.id = j.object WHERE o.storage IN {ARCHIVED}"  # noqa: S608
        )

    def _tell_apart(self, digits: int, check: Callable[[], None]) -> int:
        """Renames all files of a group that would collide; gives how many."""
        self._db.execute("CREATE TEMP TABLE clash (folded TEXT PRIMARY KEY)")
        self._db.execute(
            "INSERT INTO clash SELECT folded FROM found WHERE folded IS NOT NULL "
            "GROUP BY folded HAVING min(object) <> max(object) OR min(path) <> max(path)"
        )
        if self.keep_folders:
            self._add_folder_clashes()
        last, changed = -1, 0
        while rows := self._db.execute(
            "SELECT f.wanted, f.path, o.key FROM found f JOIN object o ON o.id = f.object "
            "WHERE f.wanted > ? AND +f.folded IN (SELECT folded FROM clash) ORDER BY f.wanted LIMIT ?",  # +: no index
            (last, ROWS_AT_ONCE),
        ).fetchall():
            check()
            last = rows[-1][0]
            named = [(apart, folded(apart), wanted) for wanted, path, key in rows
                     for apart in (told_apart(path, key, digits),)]  # fmt: skip
            self._db.executemany("UPDATE found SET path = ?, folded = ? WHERE wanted = ?", named)
            changed += len(rows)
        self._db.execute("DROP TABLE clash")
        self.counts.renamed += changed
        return changed

    def _add_folder_clashes(self) -> None:
        """Files that have the name of a folder that another file needs: keys `a` and `a/b`."""
        self._db.execute("CREATE TEMP TABLE folder (folded TEXT PRIMARY KEY) WITHOUT ROWID")
        rows = self._db.execute("SELECT folded FROM found WHERE folded LIKE '%/%'")
        for batch in _batches(rows):
            parents = {
                ("/".join(parts[:depth]),)
                for (path,) in batch
                for parts in [path.split("/")]
                for depth in range(1, len(parts))
            }
            self._db.executemany("INSERT OR IGNORE INTO folder VALUES (?)", parents)
        self._db.execute(
            "INSERT OR IGNORE INTO clash SELECT f.folded FROM found f JOIN folder d ON d.folded = f.folded"
        )
        self._db.execute("DROP TABLE folder")

    # --- what is there already -----------------------------------------------------------------------------------

    def remember(self, lines: Iterable[tuple[str, str, str, int, bool]]) -> None:
        """Takes in the journal: path, key, ETag, size, and whether it was of this bucket; later lines win."""
        for batch in _batches(iter(lines)):
            self._db.executemany("INSERT OR REPLACE INTO before VALUES (?, ?, ?, ?, ?)", batch)

    def compare(
        self, folder: Path, same: Callable[[Path, str], bool], check: Callable[[], None] = lambda: None
    ) -> list[Job]:
        """Finds what need not be fetched again; gives the files that are here without the journal knowing of them.

        `same` says whether a file has this MD5. A file counts as there when the journal has its key and ETag and its
        size is right, or when its MD5 is the object's ETag.
        """
        adopted: list[Job] = []
        # A cursor of its own for each batch: the table is changed between them.
        for jobs in self.jobs():
            check()
            states = []
            for job in jobs:
                state = self._standing(folder, job, same)
                if state == "adopted":
                    adopted.append(job)
                if state:
                    states.append(("there", "", job.id))
            self._db.executemany("UPDATE job SET state = ?, reason = ? WHERE id = ?", states)
        counts = self.counts
        counts.already = self._number("SELECT count(*) FROM job WHERE state = 'there'")
        self.count_todo()
        return adopted

    def count_todo(self) -> None:
        """Counts what is to be fetched."""
        row = self._db.execute(
            "SELECT count(*), coalesce(sum(o.size), 0) FROM job j JOIN object o ON o.id = j.object WHERE state = 'todo'"
        ).fetchone()
        self.counts.to_fetch, self.counts.bytes_to_fetch = row

    def _standing(self, folder: Path, job: Job, same: Callable[[Path, str], bool]) -> str:
        """"there", "adopted", or "" for what must be fetched."""  # fmt: skip
        path = folder / job.path
        try:
            status = os.lstat(path)
        except (OSError, ValueError):
            return ""
        before = self._db.execute("SELECT key, etag, size, ours FROM before WHERE path = ?", (job.path,)).fetchone()
        if not stat.S_ISREG(status.st_mode):
            return ""
        if before and before[3] and before[:2] == (job.key, job.etag) and status.st_size == before[2]:
            return "there"
        if status.st_size == job.size_bytes and is_md5(job.etag) and same(path, job.etag):
            return "adopted"
        if before:
            self.counts.changed += 1
        else:
            self.counts.replaced += 1
        return ""

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
            "SELECT j.id, j.path, o.key, o.size, o.etag FROM job j JOIN object o ON o.id = j.object "
            "WHERE j.id > ? AND j.state = ? ORDER BY j.id LIMIT ?",
            (last, state, ROWS_AT_ONCE),
        ).fetchall():
            last = rows[-1][0]
            if batch := [Job(*row) for row in rows if row[0] not in known]:
                yield batch

    def _spread(self, state: str, count: int) -> list[Job]:
        most = self._number("SELECT max(id) FROM job") if count else 0
        found = [
            self._db.execute(
                "SELECT j.id, j.path, o.key, o.size, o.etag FROM job j JOIN object o ON o.id = j.object "
                "WHERE j.id >= ? AND j.state = ? ORDER BY j.id LIMIT 1",
                (1 + most * step // count, state),
            ).fetchone()
            for step in range(count)
        ]
        return [Job(*row) for row in dict.fromkeys(found) if row is not None]

    def settle(self, results: Iterable[tuple[str, str, int]]) -> None:
        """Notes states of jobs: state, reason, id."""
        self._db.executemany("UPDATE job SET state = ?, reason = ? WHERE id = ?", results)

    def missing(self) -> Iterator[str]:
        rows = self._db.execute(
            "SELECT w.name FROM found f JOIN wanted w ON w.id = f.wanted WHERE how = 'missing' ORDER BY w.id"
        )
        return (name for (name,) in rows)

    def ambiguous(self) -> Iterator[tuple[str, list[str]]]:
        """Names with the keys that fit them (the first ten of them)."""
        rows = self._db.execute(
            "SELECT w.name, f.note FROM found f JOIN wanted w ON w.id = f.wanted WHERE how = 'ambiguous' ORDER BY w.id"
        )
        return ((name, note.split("\n")) for name, note in rows)

    def everything(self) -> Iterator[tuple[str, str, str, str, int, str, str, str]]:
        """For every name: name, state, how found, key, bytes, ETag, file, reason."""
        rows = self._db.execute(
            "SELECT w.name, coalesce(j.state, f.how), f.how, coalesce(o.key, ''), coalesce(o.size, 0), "
            "coalesce(o.etag, ''), coalesce(f.path, ''), coalesce(j.reason, replace(f.note, char(10), ' | '), '') "
            "FROM wanted w JOIN found f ON f.wanted = w.id LEFT JOIN object o ON o.id = f.object "
            "LEFT JOIN job j ON j.id = f.job ORDER BY w.id"
        )
        return iter(rows)

    def _number(self, query: str) -> int:
        return int(self._db.execute(query).fetchone()[0] or 0)


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
