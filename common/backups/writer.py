"""Zip archives written with flat memory: members of other archives copied byte for byte."""

from __future__ import annotations

import struct
from pathlib import Path

from common.backups.archive import PIECE_BYTES, Archive, Member
from common.backups.zipformat import CENTRAL, END, END64, END64_LOCATOR, LOCAL, MAX32, STORED, UTF8


class ArchiveWriter:
    """Writes a stored zip archive from members of other archives, byte for byte, with flat memory.

    The central directory is collected in a file beside the archive (its path plus ".directory").
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b")  # noqa: SIM115 - closed by finish() or abandon()
        self._directory_path = path.with_name(path.name + ".directory")
        self._directory = open(self._directory_path, "w+b")  # noqa: SIM115
        self._count = 0

    def copy(self, source: Archive, member: Member, new_name: str | None = None) -> None:
        """Copies one member as it is packed, under another name if given. Its CRC is checked on the way if stored."""
        name = member.name if new_name is None else new_name
        offset = self._file.tell()
        self._file.write(local_header(member, name))
        # Raw bytes for packed members, so that nothing is packed again; stored ones are read through their CRC check.
        pieces = source.read(member) if member.method == STORED else source.raw(member)
        for piece in pieces:
            self._file.write(piece)
        self._directory.write(directory_entry(member, name, offset))
        self._count += 1

    def finish(self) -> None:
        """Writes the central directory and closes the file."""
        begin, length = self._file.tell(), self._directory.tell()
        self._directory.seek(0)
        while piece := self._directory.read(PIECE_BYTES):
            self._file.write(piece)
        self._file.write(end_records(self._count, length, begin))
        self._file.close()
        self.abandon()

    def abandon(self) -> None:
        """Closes what is open; the half-written archive is the caller's to remove."""
        self._file.close()
        self._directory.close()
        self._directory_path.unlink(missing_ok=True)


def local_header(member: Member, name: str) -> bytes:
    """What stands before a member's packed bytes, with its sizes and CRC, under this name."""
    raw_name, extra = name.encode("utf-8"), _long_sizes(member)
    return LOCAL.pack(b"PK\x03\x04", *_described(member, name, extra), len(raw_name), len(extra)) + raw_name + extra


def directory_entry(member: Member, name: str, offset: int) -> bytes:
    """The entry of the central directory for a member whose local header begins at `offset`."""
    raw_name, extra = name.encode("utf-8"), _long_sizes(member)
    header, stored_offset = _described(member, name, extra), offset
    if offset >= MAX32:
        field = extra[4:] + struct.pack("<Q", offset)
        extra, stored_offset = struct.pack("<HH", 1, len(field)) + field, MAX32
    entry = (0x031E if not extra else 0x032D, *(45 if extra else 20, *header[1:]))
    return (
        CENTRAL.pack(b"PK\x01\x02", *entry, len(raw_name), len(extra), 0, 0, 0, member.attributes, stored_offset)
        + raw_name
        + extra
    )


def end_records(count: int, length: int, begin: int) -> bytes:
    """What ends an archive whose central directory of `count` entries and `length` bytes begins at `begin`."""
    end64, short_length, short_begin = b"", length, begin
    if count >= 0xFFFF or length >= MAX32 or begin >= MAX32:
        end64 = END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, begin)
        end64 += END64_LOCATOR.pack(b"PK\x06\x07", 0, begin + length, 1)
        count, short_length, short_begin = min(count, 0xFFFF), min(length, MAX32), min(begin, MAX32)
    return end64 + END.pack(b"PK\x05\x06", 0, 0, count, count, short_length, short_begin, 0)


def _described(member: Member, name: str, extra: bytes) -> tuple[int, ...]:
    sizes = (MAX32, MAX32) if extra else (member.packed_bytes, member.size_bytes)
    flags = 0 if name.isascii() else UTF8
    return (45 if extra else 20, flags, member.method, member.dos_time, member.dos_date, member.crc, *sizes)


def _long_sizes(member: Member) -> bytes:
    if max(member.packed_bytes, member.size_bytes) < MAX32:
        return b""
    return struct.pack("<HHQQ", 1, 16, member.size_bytes, member.packed_bytes)
