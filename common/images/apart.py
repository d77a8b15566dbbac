"""Files that would be one on some file system, or have the name of a folder that another file needs, are told apart.

Which files may be such is known from bits; only these few are compared, in tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from common.images.names import folded, told_apart

ROWS_AT_ONCE = 5000
# So many folders are remembered as noted already.
MOST_FOLDERS = 20_000
TABLES = """
CREATE TABLE folder (folded TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE suspect (job INTEGER PRIMARY KEY, path TEXT NOT NULL, key TEXT NOT NULL, folded TEXT NOT NULL);
CREATE INDEX suspect_folded ON suspect (folded);
"""


class Apart:
    """Hears of every file once, then renames in the table `job`. `files` is how many there will be at most.

    `db` has the tables above.
    """

    def __init__(self, db: sqlite3.Connection, files: int, *, with_folders: bool) -> None:
        self._db = db
        self._with_folders = with_folders
        bits = max(1024, 1 << (32 * files).bit_length())
        self._mask = bits - 1
        self._once, self._twice = bytearray(bits // 8), bytearray(bits // 8)
        self._suspects = False
        self._noted: set[str] = set()

    def note(self, paths: Iterable[str]) -> None:
        """There will be these files."""
        once, mask = self._once, self._mask
        for path in paths:
            name = folded(path)
            at = hash(name) & mask
            bit = 1 << (at & 7)
            if once[at >> 3] & bit:
                self._twice[at >> 3] |= bit
                self._suspects = True
            else:
                once[at >> 3] |= bit
            if self._with_folders and "/" in name:
                self._note_folders(name)

    def _note_folders(self, name: str) -> None:
        folder = name.rpartition("/")[0]
        if folder in self._noted:
            return
        if len(self._noted) >= MOST_FOLDERS:
            self._noted.clear()
        self._noted.add(folder)
        parts = folder.split("/")
        folders = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        for each in folders:
            at = hash(each) & self._mask
            self._suspects = self._suspects or bool(self._once[at >> 3] & (1 << (at & 7)))
            self._once[at >> 3] |= 1 << (at & 7)
            self._twice[at >> 3] |= 1 << (at & 7)
        self._db.executemany("INSERT OR IGNORE INTO folder VALUES (?)", ((each,) for each in folders))

    def rename(self, check: Callable[[], None]) -> int:
        """Renames all files of each group that would collide, once or, if need be, again; gives how many there were."""
        renamed: set[int] = set()
        for digits in (8, 16, 64):
            if not self._suspects:
                break
            self._suspects = False
            self._gather(check)
            renamed |= self._rename_once(digits, check)
        return len(renamed)

    def _gather(self, check: Callable[[], None]) -> None:
        self._db.execute("DELETE FROM suspect")
        last = 0
        while rows := self._db.execute(
            "SELECT id, path, key FROM job WHERE id > ? ORDER BY id LIMIT ?", (last, ROWS_AT_ONCE)
        ).fetchall():
            check()
            last = rows[-1][0]
            found = []
            for job, path, key in rows:
                name = folded(path)
                at = hash(name) & self._mask
                if self._twice[at >> 3] & (1 << (at & 7)):
                    found.append((job, path, key, name))
            self._db.executemany("INSERT INTO suspect VALUES (?, ?, ?, ?)", found)

    def _rename_once(self, digits: int, check: Callable[[], None]) -> set[int]:
        renamed: set[int] = set()
        last = 0
        while rows := self._db.execute(
            "SELECT job, path, key FROM suspect s WHERE job > ? AND (folded IN (SELECT folded FROM folder) OR EXISTS "
            "(SELECT 1 FROM suspect o WHERE o.folded = s.folded AND o.job <> s.job)) ORDER BY job LIMIT ?",
            (last, ROWS_AT_ONCE),
        ).fetchall():
            check()
            last = rows[-1][0]
            named = [(told_apart(path, key, digits), job) for job, path, key in rows]
            self._db.executemany("UPDATE job SET path = ? WHERE id = ?", named)
            self.note(path for path, _ in named)
            renamed.update(job for _, job in named)
        return renamed
