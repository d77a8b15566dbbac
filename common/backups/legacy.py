"""Files that the predecessor of this program left directly in CVAT_BACKUP_DIR: recognised by name, never mixed up.

    project_<name>_backup_YYYY_MM_DD_HH_MM_SS.zip                    (also _backup-lightweight_)
    project_<id>_annotations_YYYY_MM_DD_HH_MM_SS_<format>.zip

They have no record: a file counts as good when its central directory can be read. They are grouped by everything that
stands around the date, exactly as it is written, so that car_front and car_rear are two, and so are Cars and cars.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from common.backups.archive import Archive, BadArchive
from common.backups.retention import Copy

_DATE = r"(\d{4}_\d{2}_\d{2}_\d{2}_\d{2}_\d{2})"
_NAME = re.compile(
    rf"(project_.*_backup(?:-lightweight)?)_{_DATE}()\.zip|(project_\d+_annotations)_{_DATE}(_.+)\.zip",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)


@dataclass(frozen=True)
class LegacyName:
    """What a name tells: the group it belongs to, and when; None for a date that is in no calendar."""

    group: str
    stamp: str
    at: datetime | None


def legacy_name(file_name: str) -> LegacyName | None:
    """None for a file of anybody else."""
    match = _NAME.fullmatch(file_name)
    if match is None:
        return None
    front, date, back = (match[1], match[2], match[3]) if match[1] else (match[4], match[5], match[6])
    try:
        at = datetime.strptime(date, "%Y_%m_%d_%H_%M_%S").replace(tzinfo=UTC)  # the server's clock: UTC
    except ValueError:
        at = None
    return LegacyName(f"{front}_*{back}.zip", date, at)


@dataclass
class LegacyGroup:
    """All files of one name. `undated` are those whose date is impossible: never swept."""

    name: str
    copies: list[Copy] = field(default_factory=list)
    undated: list[str] = field(default_factory=list)


def legacy_groups(backup_dir: Path, *, look_inside: bool) -> list[LegacyGroup]:
    """The predecessor's files in the backup folder itself. Without `look_inside` nothing is opened."""
    groups: dict[str, LegacyGroup] = {}
    for name, size_bytes, known in sorted(_files(backup_dir), key=lambda found: found[0]):
        group = groups.setdefault(known.group, LegacyGroup(known.group))
        if known.at is None:
            group.undated.append(name)
            continue
        doubt = _doubt(backup_dir / name) if look_inside else ""
        # Nobody will ever mark such a file: a bad one counts for nothing, but holds up nobody.
        group.copies.append(
            Copy(known.stamp, known.at, size_bytes, doubt=doubt, is_marked=bool(doubt), record=name, files=(name,))
        )
    return [groups[name] for name in sorted(groups)]


def _files(backup_dir: Path) -> Iterator[tuple[str, int, LegacyName]]:
    with os.scandir(backup_dir) as entries:
        for entry in entries:
            known = legacy_name(entry.name)
            if known is not None and entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat().st_size, known


def _doubt(path: Path) -> str:
    try:
        with Archive(path) as archive:
            return "" if sum(1 for _ in archive.members()) else "it is an empty archive"
    except (BadArchive, OSError) as error:
        return str(error)
