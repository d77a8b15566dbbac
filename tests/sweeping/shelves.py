"""Folders of backups as backup.py leaves them, made without a server."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from common.backups.journal import Attempt, Journal
from common.backups.names import server_folder, source_folder, stamp, stem
from common.backups.record import StoredFile, to_json
from common.files import write_json
from common.sources import Counts, Source
from common.text import iso
from tests.common.making import a_record, a_source, zip_bytes

NOW = datetime(2026, 11, 21, 1, tzinfo=UTC)
CONTENT = zip_bytes({"project.json": b"{}"})


class Shelf:
    """The backups and the journal of one source."""

    def __init__(self, backup_dir: Path, now: datetime = NOW, **source: Any) -> None:
        self.now = now
        self.source: Source = a_source(**source)
        self.server = backup_dir / server_folder(self.source.server)
        self.folder = self.server / source_folder(self.source)
        self.folder.mkdir(parents=True)

    def add(self, hours_ago: float, content: str = "backup", shapes: int = 10, journal: bool = True) -> Path:
        """One backup; gives the path of its main file."""
        at = self.now - timedelta(hours=hours_ago)
        name = stem(self.source, content, stamp(at)) + (".zip" if content == "backup" else "_api.zip")
        files = [StoredFile("backup", name, len(CONTENT), "ab" * 32)]
        if content == "annotations":
            files.append(StoredFile("dataset", name.replace("_api", "_coco-1.0"), len(CONTENT), "ab" * 32))
        verified = a_record().verified
        record = a_record(
            self.source, content=content, stamp=stamp(at), files=tuple(files), finished_at=iso(at),
            verified=type(verified)(**{**verified.__dict__, "counts": Counts(0, shapes, 0)}),
        )  # fmt: skip
        for file in files:
            (self.folder / file.name).write_bytes(CONTENT)
        write_json(self.folder / f"{name}.json", to_json(record))
        if journal:
            self.attempt(hours_ago, "saved", "p" if content == "backup" else "a")
        return self.folder / name

    def attempt(self, hours_ago: float, outcome: str = "unchanged", mode: str = "p", run_id: str = "") -> None:
        at = iso(self.now - timedelta(hours=hours_ago))
        Journal(self.server).add([Attempt(at, run_id or at, mode, self.source, outcome)])  # type: ignore[arg-type]

    @property
    def ages(self) -> list[float]:
        """Hours of what has a record, youngest first."""
        stamps = [path.name.split("_backup_")[1][:16] for path in self.folder.glob("*_backup_*.zip.json")]
        moments = [datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for text in stamps]
        return sorted((self.now - moment) / timedelta(hours=1) for moment in moments)

    def put(self, name: str, days_ago: float = 2, content: bytes = b"debris") -> Path:
        """Any file, as old as that."""
        path = self.folder / name
        path.write_bytes(content)
        moment = (self.now - timedelta(days=days_ago)).timestamp()
        os.utime(path, (moment, moment))
        return path
