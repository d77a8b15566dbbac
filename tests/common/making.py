"""Plain data for tests, with only what a test is about spelled out."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from common.backups.record import Export, Record, Server, StoredFile, Verified
from common.saving.choose import Candidate
from common.sources import Counts, Fingerprint, Source, SourceState

CREATED = "2026-01-02T03:04:05.678901Z"


def a_source(**more: Any) -> Source:
    values = {
        "server": "cvat.example.com",
        "kind": "project",
        "id": 12,
        "created_at": CREATED,
        "name": "Road signs",
        "organization_id": None,
    }
    return Source(**{**values, **more})


def a_fingerprint(**more: Any) -> Fingerprint:
    return Fingerprint(
        **{"newest": "2026-11-20T10:00:00Z", "tasks": 2, "jobs": 3, "digest": "00000000000000aa", **more}
    )


def a_state(source: Source | None = None, **more: Any) -> SourceState:
    values = {
        "fingerprint": a_fingerprint(),
        "has_video": False,
        "has_images": True,
        "is_3d": False,
        "tasks_without_data": 0,
    }
    return SourceState(source or a_source(), **{**values, **more})


def a_record(source: Source | None = None, **more: Any) -> Record:
    values = {
        "server": Server("https://cvat.example.com", "2.54.1"),
        "content": "backup",
        "stamp": "20261120T100000Z",
        "files": (StoredFile("backup", "project-12-road-signs_backup_20261120T100000Z.zip", 5, "ab" * 32),),
        "started_at": "2026-11-20T09:59:00Z",
        "finished_at": "2026-11-20T10:00:00Z",
        "fingerprint": a_fingerprint(),
        "export": Export(),
        "verified": Verified("good", 2, 3, 10, Counts(1, 2, 3), 9, 4, compared_with_server=True),
        "tool_version": "0.1.0",
        "run_id": "abcd",
    }
    return Record(source=source or a_source(), **{**values, **more})


def a_candidate(source: Source | None = None, **more: Any) -> Candidate:
    return Candidate(
        **{"state": a_state(source), "mode": "p", "reason": "it has no backup yet", "newest": None, **more}
    )


def zip_bytes(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file as the standard library writes it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, method)
    return target.getvalue()


def task_json(name: str = "first", **data: Any) -> dict[str, Any]:
    """A task.json as CVAT writes it."""
    return {
        "name": name,
        "subset": "",
        "status": "annotation",
        "labels": [],
        "version": "1.0",
        "data": {
            "chunk_size": 72,
            "image_quality": 70,
            "start_frame": 0,
            "stop_frame": 2,
            "deleted_frames": [],
            **data,
        },
        "jobs": [{"status": "annotation", "type": "annotation", "start_frame": 0, "stop_frame": 2}],
    }
