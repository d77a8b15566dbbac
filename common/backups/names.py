"""What folders and files of backups are called: readable, unique, and safe on ext4, SMB and exFAT."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta

from common.files import slug
from common.sources import Kind, Source
from common.text import parse_time

_STAMP = "%Y%m%dT%H%M%SZ"
# How the names of scratch projects begin that restore.py --drill makes and deletes again.
DRILL_PREFIX = "cvat-backups drill"
_FOLDER = re.compile(r"(project|task)-(\d+)-(?:.*-)?([0-9a-f]{8})")


def server_folder(server: str) -> str:
    """The folder of one server: its address without the scheme, made harmless ("localhost:8080" -> "localhost_8080")."""
    text = re.sub(r"[^a-z0-9.-]+", "_", server.lower()).strip("_.")
    # Unless it is a plain host with its port, something may have been lost; then a few digits keep two servers apart.
    return text if text == server.replace(":", "_") and len(text) <= 100 else f"{text[:100]}-{_digits(server)}"


def source_folder(source: Source) -> str:
    """The folder of one source: "project-12-road-signs-2024-1f0c9a3b".

    The digits at the end stand for the created date. The readable part is the name at the time of the first
    backup; `folder_key` does not look at it, so renaming a project in CVAT does not split its history.
    """
    readable = slug(source.name)
    return "-".join(
        part for part in (source.kind, str(source.id), readable, _created_digits(source.created_at)) if part
    )


def folder_key(folder_name: str) -> tuple[Kind, int, str] | None:
    """(kind, id, digits of the created date) that a folder's name tells; None for a folder of something else."""
    match = _FOLDER.fullmatch(folder_name)
    if match is None:
        return None
    return ("project" if match[1] == "project" else "task", int(match[2]), match[3])


def source_key(source: Source) -> tuple[Kind, int, str]:
    """What `folder_key` of this source's folder gives."""
    return (source.kind, source.id, _created_digits(source.created_at))


def _created_digits(created_at: str) -> str:
    """Eight digits for a created date; the same however the server writes that moment."""
    try:
        text = parse_time(created_at).isoformat()
    except ValueError:
        text = created_at
    return _digits(text)


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def stamp(moment: datetime) -> str:
    """The moment in file names: "20261121T013300Z"."""
    return moment.astimezone(UTC).strftime(_STAMP)


def stamp_time(text: str) -> datetime | None:
    """The moment that a stamp stands for; None when it is no stamp."""
    try:
        return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def next_stamp(moment: datetime, newest: str | None) -> str:
    """The stamp of a new backup: now, but always later than the newest there is, also when the clock went back."""
    last = stamp_time(newest) if newest else None
    if last is not None and moment <= last + timedelta(seconds=1):
        moment = last + timedelta(seconds=1)
    return stamp(moment)


def stem(source: Source, content: str, stamp_text: str) -> str:
    """A backup's file name without its ending: "project-12-road-signs-2024_backup_20261121T013300Z"."""
    readable = slug(source.name, 48)
    front = "-".join(part for part in (source.kind, str(source.id), readable) if part)
    return f"{front}_{content}_{stamp_text}"


def stamp_of(file_name: str, content: str) -> str | None:
    """The stamp in the name of a record or backup file of this content; None for any other file.

    A name begins as `stem` begins it: "Copy of project-12_backup_….zip" is a person's.
    """
    match = re.fullmatch(
        rf"(?:project|task)-[0-9]+(?:-.*)?_{content}_(\d{{8}}T\d{{6}}Z)(?:_[a-z0-9.-]+)?\.(?:zip|json|zip\.json)",
        file_name,
        re.DOTALL,
    )
    return match[1] if match else None


def is_of_folder(file_name: str, folder_name: str) -> bool:
    """Whether a file in a source's folder is called after that source, whatever its readable name was at the time."""
    key = folder_key(folder_name)
    return key is not None and file_name.startswith((f"{key[0]}-{key[1]}-", f"{key[0]}-{key[1]}_"))


def format_slug(dataset_format: str) -> str:
    """A dataset format in a file name: "CVAT for images 1.1" -> "cvat-for-images-1.1"."""
    return re.sub(r"[^a-z0-9.]+", "-", dataset_format.lower()).strip("-.") or "dataset"


def is_drill(name: str) -> bool:
    """Whether a project or task is the scratch copy of a drill, finished or still being restored: never backed up."""
    return name.removeprefix("restoring «").startswith(DRILL_PREFIX)
