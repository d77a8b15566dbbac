"""Whether a file ends as its kind does: of a server that does not say how long it is, nothing else tells what is missing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def ends_whole(path: Path) -> bool:
    """True where the last byte surely is the last: JPEG, PNG, BMP, WebP, AVI, MP4 and MOV, zip. Of others nobody can tell.

    Raises OSError.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(16)
        file.seek(max(0, size - 16))
        tail = file.read(16)
        if head.startswith(b"\xff\xd8\xff"):
            return tail.endswith(b"\xff\xd9")
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return tail.endswith(_PNG_END)
        if head.startswith(b"BM"):
            return int.from_bytes(head[2:6], "little") == size
        if head.startswith(b"RIFF"):
            length = int.from_bytes(head[4:8], "little")
            return size == 8 + length + length % 2
        if head[4:8] in _BOXES:
            return _boxes_fill(file, size)
    return head.startswith(b"PK") and zipfile.is_zipfile(path)


def _boxes_fill(file: BinaryIO, size: int) -> bool:
    """Whether the boxes of an MP4 end where the file does, and its index is among them."""
    at, kinds = 0, set()
    while at < size:
        file.seek(at)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return False  # 0: "to the end of the file", wherever that is
        kinds.add(kind)
        at += length
    return at == size and b"moov" in kinds
