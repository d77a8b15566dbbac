"""Files whose length nobody said are whole only when they end as their kind does."""

from __future__ import annotations

import zipfile

import pytest
from PIL import Image

from common.sc.endings import ends_whole


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def long_box(kind: bytes, content: bytes = b"") -> bytes:
    return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content


MADE = {"mp4": box(b"ftyp", b"isom0000") + box(b"moov", b"x" * 40) + long_box(b"mdat", b"y" * 50)}


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp", "webp", "mp4", "zip"])
def test_a_whole_file_is_told_from_one_that_was_cut_off(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    if kind in MADE:
        path.write_bytes(MADE[kind])
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", b"x" * 100)
    else:
        Image.effect_noise((64, 48), 80).convert("RGB").save(path)
    assert ends_whole(path)
    data = path.read_bytes()
    for cut in (1, len(data) // 2, len(data) - 4):
        path.write_bytes(data[: len(data) - cut])
        assert not ends_whole(path), cut


@pytest.mark.parametrize(
    "data", [b"", b"II*\0" + b"x" * 50, b"\x1aE\xdf\xa3" + b"x" * 50, box(b"ftyp"), b"\0" * 4 + b"mdat"]
)
def test_of_other_kinds_nobody_can_tell(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    assert not ends_whole(tmp_path / "x")
