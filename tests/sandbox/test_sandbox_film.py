"""The boxes of films, read without a decoder."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from sandbox.cvat.film import FilmFacts, film_facts, is_mp4
from sandbox.cvat.media import ASSETS, measured


def box(kind: bytes, *content: bytes, large: bool = False) -> bytes:
    body = b"".join(content)
    if large:
        return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body
    return struct.pack(">I4s", 8 + len(body), kind) + body


def track(handler: bytes, width: int, height: int, count: int, *, large: bool = False) -> bytes:
    head = box(b"tkhd", bytes(76), struct.pack(">II", width << 16, height << 16))
    sizes = box(b"stsz", bytes(4), struct.pack(">II", 0, count), bytes(4 * count))
    tables = box(b"minf", box(b"stbl", sizes, large=large))
    return box(b"trak", head, box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13)), tables))


START = box(b"ftyp", b"isom", bytes(4))


def test_the_frames_of_the_first_track_with_pictures_count() -> None:
    film = (
        START + box(b"mdat", b"tkhd stsz " * 9) + box(b"moov", track(b"soun", 0, 0, 99), track(b"vide", 320, 240, 24))
    )
    assert film_facts(film) == FilmFacts(320, 240, 24)


def test_long_boxes_are_read_too() -> None:
    assert film_facts(START + box(b"moov", track(b"vide", 64, 48, 3, large=True), large=True)) == FilmFacts(64, 48, 3)


@pytest.mark.parametrize("content", [b"", START, START + box(b"moov"), START + box(b"moov", track(b"soun", 0, 0, 9))])
def test_a_film_without_pictures_has_no_facts(content: bytes) -> None:
    assert film_facts(content) is None


def test_no_cut_off_film_is_taken_for_a_whole_one() -> None:
    film = START + box(b"moov", track(b"vide", 320, 240, 24))
    assert {film_facts(film[:length]) for length in range(len(film))} == {None}


def test_the_sample_film_is_measured() -> None:
    assert is_mp4((ASSETS / "street.mp4").read_bytes()[:12])
    film = measured("street.mp4", ASSETS / "street.mp4")
    assert film.frame_count > 1
    assert film.width > film.height > 0


def test_a_film_cut_off_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes((ASSETS / "street.mp4").read_bytes()[:600])
    assert measured("cut.mp4", path).width == 0
