"""What the boxes of an MP4 tell about its pictures: pure, and enough for a server that shows no frames of it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})


@dataclass(frozen=True)
class FilmFacts:
    """Size in pixels and number of frames of the first track that has pictures."""

    width: int
    height: int
    frame_count: int


def is_mp4(head: bytes) -> bool:
    """Whether a file that begins with these (at least eight) bytes is an MP4 or MOV."""
    return head[4:8] == b"ftyp"


def film_facts(content: bytes) -> FilmFacts | None:
    """The facts of an MP4; None when it has no track with pictures or is cut off.

    ISO/IEC 14496-12: `tkhd` ends with width and height as 16.16 fixed point numbers; `stsz` counts the samples, and in
    a track of pictures a sample is a frame; `hdlr` says "vide".
    """
    for moov in _boxes(content, b"moov"):
        for track in _boxes(moov, b"trak"):
            handler = next(_boxes_below(track, b"hdlr"), b"")
            head = next(_boxes_below(track, b"tkhd"), b"")
            sizes = next(_boxes_below(track, b"stsz"), b"")
            if handler[8:12] != b"vide" or len(head) < 8 or len(sizes) < 12:
                continue
            width, height = (value >> 16 for value in struct.unpack(">II", head[-8:]))
            count = struct.unpack(">I", sizes[8:12])[0]
            if width and height and count:
                return FilmFacts(width, height, count)
    return None


def _boxes_below(content: bytes, wanted: bytes) -> Iterator[bytes]:
    for kind, body in _all_boxes(content):
        if kind == wanted:
            yield body
        elif kind in CONTAINERS:
            yield from _boxes_below(body, wanted)


def _boxes(content: bytes, wanted: bytes) -> Iterator[bytes]:
    return (body for kind, body in _all_boxes(content) if kind == wanted)


def _all_boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        head = 8
        if size == 1 and at + 16 <= len(content):
            size, head = struct.unpack(">Q", content[at + 8 : at + 16])[0], 16
        elif size == 0:  # to the end of the file
            size = len(content) - at
        if size < head or at + size > len(content):
            return
        yield kind, content[at + head : at + size]
        at += size
