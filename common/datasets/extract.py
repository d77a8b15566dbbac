"""Extracting a dataset export: nothing leaves the folder, nothing overwrites anything, the disk is never filled up."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from common.backups.archive import Archive, BadArchive, Member, unsafe_name
from common.backups.streamed import StreamedCrcs
from common.datasets.manifest import RESERVED
from common.files import DiskFull, disk_full_named, free_bytes
from common.text import size
from common.transfer import require_room

LONGEST_NAME_BYTES = 255
LONGEST_PATH_BYTES = 4000
# Deleting a tree takes a call within a call for each folder within a folder.
DEEPEST = 100
# A file takes whole blocks, and its name some room too.
BYTES_PER_FILE = 4096 + 512
LOOK_EVERY_BYTES = 64 << 20


def check_archive(
    path: Path, reserve_bytes: int, known: StreamedCrcs | None = None, between: Callable[[], None] = lambda: None
) -> int:
    """Checks an archive before anything of it is written: how many files. Raises BadArchive, DiskFull.

    What it claims to hold must fit on the disk with `reserve_bytes` left, before a single byte is unpacked: a zip bomb
    claims too much, or lies about it and is cut off at its claim.
    """
    with Archive(path) as archive:
        if archive.count == 0:
            raise BadArchive("it is an empty zip: CVAT found nothing to export")
        archive.check_places()
        total, files = 0, 0
        for member in archive.members():
            between()
            _require_harmless(member)
            total += member.size_bytes
            files += 1
        require_room(path.parent, total + files * BYTES_PER_FILE, reserve_bytes)
        filesystem = os.statvfs(path.parent)
        if filesystem.f_files and files > filesystem.f_favail:
            raise DiskFull(
                f"{files:,} files are needed in {path.parent}, its file system has room for {filesystem.f_favail:,}"
            )
        archive.check_all(known, between)
        return files


def _require_harmless(member: Member) -> None:
    """Raises BadArchive for a name or kind of member that no dataset of CVAT has."""
    shown = repr(member.name[:100])
    if problem := unsafe_name(member.name):
        raise BadArchive(f"member {shown} {problem}")
    kind = stat.S_IFMT(member.attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"member {shown} is a link or a device")
    parts = member.name.rstrip("/").split("/")
    if any(part in ("", ".") for part in parts):
        raise BadArchive(f"member {shown} has an empty part in its path")
    if len(parts) > DEEPEST:
        raise BadArchive(f"member {shown}… lies in {len(parts) - 1:,} folders within one another")
    try:
        lengths = [len(part.encode("utf-8")) for part in parts]
    except UnicodeEncodeError:
        raise BadArchive(f"member {shown} has a name that cannot be written") from None
    if max(lengths) > LONGEST_NAME_BYTES or sum(lengths) + len(lengths) > LONGEST_PATH_BYTES:
        raise BadArchive(f"member {shown}… has a longer name than file systems allow")
    if parts[-1] == ".rewritten" or parts[0] in RESERVED:
        raise BadArchive(f"member {shown} has a name that this program uses itself")


def extract(path: Path, folder: Path, index: Path, reserve_bytes: int, between: Callable[[], None]) -> int:
    """Writes all members into a new folder, one JSON line a file (path, bytes, sha256) into `index`; returns the bytes.

    Raises BadArchive, DiskFull.
    """
    folder.mkdir()
    written = looked_at = 0
    with Archive(path) as archive, disk_full_named(folder), open(index, "w", encoding="utf-8") as lines:
        for member in archive.members():
            between()
            _require_harmless(member)
            target = folder / member.name
            try:
                if member.name.endswith("/"):
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                # x: a second member of the same name, also one that differs in case where that makes no difference.
                with open(target, "xb") as file:
                    for piece in archive.read(member):
                        between()
                        file.write(piece)
                        digest.update(piece)
                        written += len(piece)
                        if written - looked_at >= LOOK_EVERY_BYTES:
                            _require_left(folder, reserve_bytes)
                            looked_at = written
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise BadArchive(f"two members are called {member.name[:100]!r} here") from None
            line = {"path": member.name, "bytes": member.size_bytes, "sha256": digest.hexdigest()}
            lines.write(json.dumps(line) + "\n")
    return written


def _require_left(folder: Path, reserve_bytes: int) -> None:
    free = free_bytes(folder)
    if free < reserve_bytes:
        raise DiskFull(f"only {size(free)} are free in {folder}, and {size(reserve_bytes)} are kept free")
