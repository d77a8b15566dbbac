"""Zip archives read with flat memory, however many members they have.

The standard library's zipfile keeps an object of about a kilobyte for every member: a project of a million
images would cost a gigabyte. Here the central directory is walked, not kept.
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from common.backups.zipformat import CENTRAL, DEFLATED, END, END64, END64_LOCATOR, LOCAL, MAX32, STORED, UTF8

PIECE_BYTES = 1 << 20
_ENCRYPTED = 0x1
# What Python's zipfile, and with it CVAT, refuses: patched data, strong encryption, a later version of the format.
_UNREADABLE = 0x60
_NEWEST_VERSION = 63
# A member of JSON that describes a task is small; one that says otherwise is not read into memory.
LARGEST_JSON_BYTES = 256 << 20


class BadArchive(Exception):
    """The file is not a sound zip archive; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of the central directory. Sizes and offsets in bytes."""

    name: str
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_offset: int
    dos_time: int
    dos_date: int
    attributes: int
    encrypted: bool


class Seen(Protocol):
    """What has already been read of an archive."""

    def saw(self, member: Member, data_offset: int) -> bool:
        """Whether the bytes of this member were read and had the CRC and length that the directory says."""


class Archive:
    """A zip file open for reading. Raises BadArchive wherever the file contradicts itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self.size_bytes = os.fstat(self._file.fileno()).st_size
            self.count, self._directory_offset, self._directory_bytes = self._find_directory()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def _read_at(self, offset: int, length: int) -> bytes:
        data = os.pread(self._file.fileno(), length, offset) if offset + length <= self.size_bytes else b""
        if len(data) != length:
            raise BadArchive(f"its structures point behind the end of the file (at byte {self.size_bytes:,})")
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Number of members, offset and length of the central directory."""
        if self.size_bytes < END.size:
            raise BadArchive(f"{self.size_bytes} bytes are too few for a zip archive")
        tail_offset = max(0, self.size_bytes - END.size - 65535)
        tail = self._read_at(tail_offset, self.size_bytes - tail_offset)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < END.size:
            raise BadArchive("it has no end record: it is cut off, or no zip archive")
        _, disk, start_disk, _, count, length, offset, comment = END.unpack_from(tail, at)
        end_offset = tail_offset + at
        if end_offset + END.size + comment != self.size_bytes:
            raise BadArchive("bytes follow its end record")
        if disk or start_disk:
            raise BadArchive("it is one part of a multi-part archive")
        if (count == 0xFFFF or length == MAX32 or offset == MAX32) and end_offset >= END64_LOCATOR.size:
            locator = self._read_at(end_offset - END64_LOCATOR.size, END64_LOCATOR.size)
            if locator[:4] == b"PK\x06\x07":
                end64_offset = END64_LOCATOR.unpack(locator)[2]
                fields = END64.unpack(self._read_at(end64_offset, END64.size))
                if fields[0] != b"PK\x06\x06":
                    raise BadArchive("its zip64 end record is missing")
                count, length, offset = fields[7], fields[8], fields[9]
                end_offset = end64_offset
        if offset + length != end_offset:
            raise BadArchive("its central directory is not where it should be")
        return count, offset, length

    def members(self) -> Iterator[Member]:
        """The members in the order of the central directory, read piece by piece."""
        offset, end, seen = self._directory_offset, self._directory_offset + self._directory_bytes, 0
        window, window_offset = b"", offset
        while offset < end:
            start = offset - window_offset
            if len(window) - start < CENTRAL.size + 3 * 65535 and window_offset + len(window) < end:
                window_offset, start = offset, 0
                window = self._read_at(offset, min(PIECE_BYTES, end - offset))
            try:
                member, used = _central_entry(window, start)
            except struct.error:
                raise BadArchive("its central directory is cut off") from None
            yield member
            seen += 1
            offset += used
        if offset != end or seen != self.count:
            raise BadArchive(f"its central directory lists {seen:,} members, its end record {self.count:,}")

    def data_offset(self, member: Member) -> int:
        """Where a member's bytes begin. Checks that its local header agrees with the directory."""
        fields = LOCAL.unpack(self._read_at(member.header_offset, LOCAL.size))
        if fields[0] != b"PK\x03\x04":
            raise BadArchive(f"member {member.name!r} is not where the directory says")
        name = self._read_at(member.header_offset + LOCAL.size, fields[9])
        if _name(name, fields[2]) != member.name:
            raise BadArchive(f"member {member.name!r} has another name in its local header")
        extra_offset = member.header_offset + LOCAL.size + int(fields[9])
        flags, method, crc, packed, size_bytes = fields[2], fields[3], fields[6], fields[7], fields[8]
        if MAX32 in (packed, size_bytes):
            size_bytes, packed, _ = zip64_sizes(self._read_at(extra_offset, fields[10]), size_bytes, packed, 0)
        # With a data descriptor (0x8) the local header does not know them yet.
        agrees = flags & 0x8 or (crc, packed, size_bytes) == (member.crc, member.packed_bytes, member.size_bytes)
        if method != member.method or not agrees:
            raise BadArchive(f"member {member.name!r} is described otherwise in its local header")
        offset = extra_offset + int(fields[10])
        if offset + member.packed_bytes > self._directory_offset:
            raise BadArchive(f"member {member.name!r} reaches into the central directory")
        return offset

    def read(self, member: Member) -> Iterator[bytes]:
        """A member's contents in pieces, checked against its size and CRC at the end."""
        if member.encrypted:
            raise BadArchive(f"member {member.name!r} is encrypted")
        crc, length = 0, 0
        for piece in self._unpacked(member):
            crc = zlib.crc32(piece, crc)
            length += len(piece)
            if length > member.size_bytes:
                break
            yield piece
        if length != member.size_bytes:
            raise BadArchive(f"member {member.name!r} is not as long as the directory says")
        if crc != member.crc:
            raise BadArchive(f"member {member.name!r} is damaged (its CRC does not match)")

    def _unpacked(self, member: Member) -> Iterator[bytes]:
        if member.method == STORED:
            yield from self.raw(member)
        elif member.method == DEFLATED:
            inflater = zlib.decompressobj(-15)
            try:
                for piece in self.raw(member):
                    data = piece
                    while data and not inflater.eof:
                        yield inflater.decompress(data, PIECE_BYTES)
                        data = inflater.unconsumed_tail
                yield inflater.flush()
            except zlib.error as error:
                raise BadArchive(f"member {member.name!r} cannot be unpacked ({error})") from None
        else:
            raise BadArchive(f"member {member.name!r} uses an unusual compression ({member.method})")

    def raw(self, member: Member) -> Iterator[bytes]:
        """A member's bytes as they are packed, unchecked."""
        offset, left = self.data_offset(member), member.packed_bytes
        while left:
            piece = self._read_at(offset, min(PIECE_BYTES, left))
            offset += len(piece)
            left -= len(piece)
            yield piece

    def read_small(self, member: Member, largest_bytes: int = LARGEST_JSON_BYTES) -> bytes:
        """The whole of a small member. Raises BadArchive when it is larger than `largest_bytes`."""
        if member.size_bytes > largest_bytes:
            raise BadArchive(f"member {member.name!r} claims {member.size_bytes:,} bytes")
        return b"".join(self.read(member))

    def check_places(self) -> None:
        """Checks that the members lie apart, reading nothing of what they hold."""
        begins, ends = array("Q"), array("Q")
        for member in self.members():
            begins.append(member.header_offset)
            ends.append(self.data_offset(member) + member.packed_bytes)
        _require_apart(begins, ends)

    def check_all(self, known: Seen | None = None, between: Callable[[], None] = lambda: None) -> int:
        """Checks every member: place, name, size and CRC; returns how many bytes they hold.

        Members whose CRC is `known` from the time the file arrived are not read again. `between` is called now and
        then, so that a stop can break off.
        """
        begins, ends, total = array("Q"), array("Q"), 0
        for member in self.members():
            between()
            if problem := unsafe_name(member.name):
                raise BadArchive(f"member {member.name[:100]!r} {problem}")
            offset = self.data_offset(member)
            if known is None or not known.saw(member, offset):
                for _piece in self.read(member):
                    between()
            begins.append(member.header_offset)
            ends.append(offset + member.packed_bytes)
            total += member.size_bytes
        _require_apart(begins, ends)
        return total


def _require_apart(begins: array[int], ends: array[int]) -> None:
    """Members that share bytes are the trick of zip bombs; writers put them one behind the other."""
    order: Iterator[int] = iter(range(len(begins)))
    if any(begins[i] > begins[i + 1] for i in range(len(begins) - 1)):
        order = iter(sorted(range(len(begins)), key=begins.__getitem__))
    last_end = 0
    for index in order:
        if begins[index] < last_end:
            raise BadArchive("two members share the same bytes")
        last_end = ends[index]


def _central_entry(window: bytes, start: int) -> tuple[Member, int]:
    fields = CENTRAL.unpack_from(window, start)
    if fields[0] != b"PK\x01\x02":
        raise BadArchive("its central directory is damaged")
    flags, method, dos_time, dos_date, crc, packed, size_bytes = fields[3:10]
    if fields[2] & 0xFF > _NEWEST_VERSION or flags & _UNREADABLE:
        raise BadArchive("a member needs what no ordinary reader of zips understands")
    name_length, extra_length, comment_length = fields[10:13]
    attributes, header_offset = fields[15], fields[16]
    used = CENTRAL.size + name_length + extra_length + comment_length
    if start + used > len(window):
        raise struct.error
    name_end = start + CENTRAL.size + name_length
    name = _name(window[start + CENTRAL.size : name_end], flags)
    if MAX32 in (packed, size_bytes, header_offset):
        size_bytes, packed, header_offset = zip64_sizes(
            window[name_end : name_end + extra_length], size_bytes, packed, header_offset
        )
    return (
        Member(
            name,
            method,
            crc,
            packed,
            size_bytes,
            header_offset,
            dos_time,
            dos_date,
            attributes,
            bool(flags & _ENCRYPTED),
        ),
        used,
    )


def _name(raw: bytes, flags: int) -> str:
    if flags & UTF8:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise BadArchive("a member's name is not UTF-8 although it says so") from None
    return raw.decode("cp437")


def zip64_sizes(extra: bytes, size_bytes: int, packed: int, header_offset: int) -> tuple[int, int, int]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field, values = extra[at + 4 : at + 4 + length], []
            for value in (size_bytes, packed, header_offset):
                if value == MAX32:
                    if len(field) < 8:
                        raise BadArchive("a zip64 field is too short")
                    value, field = struct.unpack_from("<Q", field)[0], field[8:]
                values.append(value)
            return values[0], values[1], values[2]
        at += 4 + length
    return size_bytes, packed, header_offset


def unsafe_name(name: str) -> str:
    """Why a member's name is hostile ("leaves its folder"); empty for an honest one."""
    if "\0" in name:
        return "has a NUL in its name"
    if name.startswith(("/", "\\")) or (
        len(name) > 1 and name[1] == ":" and name[0].isalpha() and name[2:3] in ("/", "\\")
    ):
        return "has an absolute path"
    if ".." in name.replace("\\", "/").split("/"):
        return "leaves its folder"
    return ""
