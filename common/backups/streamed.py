"""CRCs of an archive's members, computed while it arrives: large files need not be read a second time."""

from __future__ import annotations

import bisect
import struct
import zlib
from array import array

from common.backups.archive import Member, zip64_sizes
from common.backups.zipformat import LOCAL, MAX32, STORED


class StreamedCrcs:
    """Computes members' CRCs while an archive's bytes pass by in order, by following its local headers.

    Knows only stored members whose sizes stand in their local header, as CVAT writes them; at anything else it
    stops and the rest is read again from the file. Nothing it says is trusted without the central directory.
    """

    def __init__(self) -> None:
        self._begins, self._lengths, self._crcs = array("Q"), array("Q"), array("L")
        self._position = 0
        self._header = b""
        self._left = 0
        self._crc = 0
        self._begin = 0
        self._length = 0
        self._lost = False

    def __call__(self, piece: bytes) -> None:
        if self._lost:
            return
        view = memoryview(piece)
        while view:
            if self._left:
                taken = view[: self._left]
                self._crc = zlib.crc32(taken, self._crc)
                self._left -= len(taken)
                self._position += len(taken)
                view = view[len(taken) :]
                if not self._left:
                    self._close()
                continue
            needed = LOCAL.size if len(self._header) < LOCAL.size else self._header_length()
            taken = view[: needed - len(self._header)]
            self._header += taken
            self._position += len(taken)
            view = view[len(taken) :]
            if len(self._header) >= LOCAL.size and (self._header[:4] != b"PK\x03\x04" or not self._follow()):
                self._lost = True
                return

    def _header_length(self) -> int:
        name_length, extra_length = struct.unpack_from("<HH", self._header, 26)
        return LOCAL.size + int(name_length) + int(extra_length)

    def _follow(self) -> bool:
        """Begins a member once its header is complete. False when it cannot be followed."""
        length = self._header_length()
        if len(self._header) < length:
            return True
        fields = LOCAL.unpack_from(self._header)
        flags, method, packed, size_bytes, name_length = fields[2], fields[3], fields[7], fields[8], fields[9]
        if MAX32 in (packed, size_bytes):
            size_bytes, packed, _ = zip64_sizes(self._header[LOCAL.size + name_length :], size_bytes, packed, 0)
        if method != STORED or flags & 0x9 or packed != size_bytes or packed == MAX32:
            return False
        self._header, self._left, self._crc = b"", packed, 0
        self._begin, self._length = self._position, packed
        if not packed:
            self._close()
        return True

    def _close(self) -> None:
        self._begins.append(self._begin)
        self._lengths.append(self._length)
        self._crcs.append(self._crc)

    def saw(self, member: Member, data_offset: int) -> bool:
        """Whether the bytes of this member passed by and had the CRC and length that the directory says."""
        index = bisect.bisect_left(self._begins, data_offset)
        return (
            member.method == STORED
            and not member.encrypted
            and index < len(self._begins)
            and self._begins[index] == data_offset
            and self._lengths[index] == member.size_bytes
            and self._crcs[index] == member.crc
        )
