"""Rewriting a project archive so that it is fresh and CVAT can restore it: tasks replaced, tasks left out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from common.backups.archive import Archive
from common.backups.writer import ArchiveWriter
from common.files import disk_full_named


def mended(
    original: Path,
    target: Path,
    *,
    drop: Collection[int],
    replace: Mapping[int, Path],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Writes `original` to `target` without `task_N/` for N in `drop`, and with those in `replace` taken from task backups.

    A task backup holds the same members as `task_N/` does, without the prefix (measured). Members are copied as they
    are; nothing is unpacked or packed. Raises BadArchive, DiskFull; leaves no half-written file.
    """
    prefixes = tuple(f"task_{index}/" for index in (*drop, *replace))
    with disk_full_named(target.parent):
        writer = ArchiveWriter(target)
        try:
            with Archive(original) as archive:
                for member in archive.members():
                    between()
                    if not member.name.startswith(prefixes):
                        writer.copy(archive, member)
            for index, path in sorted(replace.items()):
                with Archive(path) as task_archive:
                    for member in task_archive.members():
                        between()
                        writer.copy(task_archive, member, f"task_{index}/{member.name}")
            writer.finish()
        except BaseException:
            writer.abandon()
            target.unlink(missing_ok=True)
            raise
