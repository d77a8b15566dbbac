"""MP4 files: written (one JPEG per frame), and read as far as the server must know them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
TICKS = 1000  # of a second


@dataclass(frozen=True)
class FilmFacts:
    width: int
    height: int
    frame_count: int
    duration: float  # seconds


def film(frames: Sequence[bytes], size: tuple[int, int], rate: int = 10) -> bytes:
    """A Motion-JPEG MP4 of these pictures, all of one size (pixels), `rate` of them a second."""
    width, height = size
    length = len(frames) * TICKS // rate
    head = _box(b"ftyp", b"isom", b"\0\0\2\0", b"isomiso2mp41")
    first = len(head) + 8
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    offsets, at = [], first
    for frame in frames:
        offsets.append(at)
        at += len(frame)
    entry = struct.pack(">6xH16xHHIIIH32sHh", 1, width, height, 0x480000, 0x480000, 0, 1, b"\0" * 32, 24, -1)
    table = _box(
        b"stbl",
        _box(b"stsd", struct.pack(">II", 0, 1), _box(b"jpeg", entry)),
        _box(b"stts", struct.pack(">IIII", 0, 1, len(frames), TICKS // rate)),
        _box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
        _box(b"stsz", struct.pack(">III", 0, 0, len(frames)), *(struct.pack(">I", len(one)) for one in frames)),
        _box(b"stco", struct.pack(">II", 0, len(frames)), *(struct.pack(">I", one) for one in offsets)),
    )
    media = _box(
        b"mdia",
        _box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, TICKS, length, 0x55C4, 0)),
        _box(b"hdlr", struct.pack(">II4s12x", 0, 0, b"vide"), b"frames\0"),
        _box(
            b"minf",
            _box(b"vmhd", struct.pack(">IHHHH", 1, 0, 0, 0, 0)),
            _box(b"dinf", _box(b"dref", struct.pack(">II", 0, 1), _box(b"url ", struct.pack(">I", 1)))),
            table,
        ),
    )
    track = _box(
        b"trak",
        _box(
            b"tkhd",
            struct.pack(">IIIIII8xHHHH", 3, 0, 0, 1, 0, length, 0, 0, 0, 0),
            matrix,
            struct.pack(">II", width << 16, height << 16),
        ),
        media,
    )
    header = struct.pack(">IIIIIIH10x", 0, 0, 0, TICKS, length, 0x10000, 0x100)
    movie = _box(b"moov", _box(b"mvhd", header, matrix, b"\0" * 24, struct.pack(">I", 2)), track)
    return b"".join([head, _box(b"mdat", *frames), movie])


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def film_facts(path: Path) -> FilmFacts | None:
    """Size and length of the first video track, or None for what is no MP4 or MOV. Reads only the small boxes."""
    with path.open("rb") as stream:
        boxes = _boxes(stream, path.stat().st_size)
    mvhd, tracks = boxes.get(b"mvhd", []), boxes.get(b"tkhd", [])
    sizes = [struct.unpack(">II", one[-8:]) for one in tracks if len(one) >= 84]
    size = next((one for one in sizes if one[0]), None)
    counts = [struct.unpack_from(">I", one, 8)[0] for one in boxes.get(b"stsz", []) if len(one) >= 12]
    if size is None or not counts or not mvhd:
        return None
    if mvhd[0][0] == 0:
        ticks, length = struct.unpack_from(">II", mvhd[0], 12)
    else:
        ticks, length = struct.unpack_from(">IQ", mvhd[0], 20)
    return FilmFacts(size[0] >> 16, size[1] >> 16, max(counts), length / ticks if ticks else 0.0)


def film_frame(path: Path, number: int) -> bytes | None:
    """The bytes of one frame of a film that `film` wrote; None when it is another kind of film."""
    with path.open("rb") as stream:
        boxes = _boxes(stream, path.stat().st_size)
        described = boxes.get(b"stsd", [b""])[0]
        if described[12:16] != b"jpeg":
            return None
        length = struct.unpack_from(">I", boxes[b"stsz"][0], 12 + 4 * number)[0]
        stream.seek(struct.unpack_from(">I", boxes[b"stco"][0], 8 + 4 * number)[0])
        return stream.read(length)


def _boxes(stream: BinaryIO, size: int) -> dict[bytes, list[bytes]]:
    """The contents of the boxes that tell something, by kind; media data is skipped."""
    found: dict[bytes, list[bytes]] = {}
    spans = [(0, size)]
    while spans:
        at, end = spans.pop(0)
        while at + 8 <= end:
            stream.seek(at)
            length, kind = struct.unpack(">I4s", stream.read(8))
            head = 8
            if length == 1:
                length, head = struct.unpack(">Q", stream.read(8))[0], 16
            elif length == 0:
                length = end - at
            if length < head or at + length > end:
                break
            if kind in CONTAINERS:
                spans.append((at + head, at + length))
            elif kind in (b"mvhd", b"tkhd", b"stsz", b"stco", b"stsd") and length < 1 << 24:
                found.setdefault(kind, []).append(stream.read(length - head))
            at += length
    return found
