"""The size of a picture is what Pillow says, whatever kind it is, and files that are none are told."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from common.migrating.picture_size import NoPicture, size_of_picture, told_by


def picture(kind: str, size: tuple[int, int] = (311, 97), mode: str = "RGB", **more) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 90).save(content, kind, **more)
    return content.getvalue()


KINDS = {
    "jpeg": picture("JPEG"),
    "progressive jpeg": picture("JPEG", progressive=True),
    "grey jpeg": picture("JPEG", mode="L"),
    "jpeg with 40 kB of EXIF": picture("JPEG", exif=b"Exif\x00\x00" + b"x" * 40_000),
    "png": picture("PNG"),
    "png with a palette": picture("PNG", mode="P"),
    "bmp": picture("BMP"),
}
OTHERS = {"tiff": picture("TIFF"), "webp": picture("WEBP"), "gif": picture("GIF", mode="P")}


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_it_is_what_pillow_says(tmp_path: Path, kind: str) -> None:
    content = (KINDS | OTHERS)[kind]
    (tmp_path / "p").write_bytes(content)
    assert size_of_picture(tmp_path / "p") == Image.open(io.BytesIO(content)).size == (311, 97)
    assert (told_by(content) is not None) == (kind in KINDS)


def test_a_header_that_begins_late_is_left_to_pillow(tmp_path: Path) -> None:
    jpeg = KINDS["jpeg"]
    comment = b"\xff\xfe" + (60_000).to_bytes(2, "big") + b"c" * 59_998
    (tmp_path / "p").write_bytes(jpeg[:2] + comment * 3 + jpeg[2:])
    assert size_of_picture(tmp_path / "p") == (311, 97)


@pytest.mark.parametrize("cut", [0, 1, 3, 12, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_or_no_picture_is_told(tmp_path: Path, kind: str, cut: int) -> None:
    (tmp_path / "p").write_bytes(KINDS[kind][:cut])
    with pytest.raises(NoPicture):
        size_of_picture(tmp_path / "p")


def test_a_page_in_place_of_a_picture_is_none(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b"<html>sign in</html>" * 10)
    with pytest.raises(NoPicture):
        size_of_picture(tmp_path / "p")
