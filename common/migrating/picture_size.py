"""The size of a picture in pixels, from the first bytes of its file where they tell: JPEG, PNG and BMP do.

Pillow knows many more kinds; it is asked, and loaded, for those only.
"""

from __future__ import annotations

from pathlib import Path

BEGINNING_BYTES = 1 << 16
# Markers of JPEG that begin a frame: SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})


class NoPicture(Exception):
    """It is no picture that can be opened; the text says why."""


def size_of_picture(path: Path) -> tuple[int, int]:
    """Width and height in pixels as they are stored, before any turning. Raises NoPicture, OSError."""
    with open(path, "rb", buffering=0) as file:
        beginning = file.read(BEGINNING_BYTES)
    return told_by(beginning) or _opened(path)


def told_by(beginning: bytes) -> tuple[int, int] | None:
    """The size that the first bytes of a file tell; None where they do not reach that far, or it is another kind."""
    if beginning.startswith(b"\xff\xd8"):
        return _of_jpeg(beginning)
    if beginning.startswith(b"\x89PNG\r\n\x1a\n") and beginning[12:16] == b"IHDR" and len(beginning) >= 24:
        return _sound(int.from_bytes(beginning[16:20], "big"), int.from_bytes(beginning[20:24], "big"))
    if beginning.startswith(b"BM") and len(beginning) >= 26 and int.from_bytes(beginning[14:18], "little") >= 40:
        across = int.from_bytes(beginning[18:22], "little", signed=True)
        down = int.from_bytes(beginning[22:26], "little", signed=True)
        return _sound(across, abs(down))  # a negative height: the rows run downwards
    return None


def _sound(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if width > 0 and height > 0 else None


def _of_jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            return _sound(int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if length < 2 or marker in (0xD8, 0xD9, 0xDA):
                return None
            at += 2 + length
    return None


def _opened(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None  # only the header is read
    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise NoPicture(f"{path.name} cannot be opened: {error}") from None
