"""The files behind the frames: drawn pictures, the one sample video, what was uploaded or restored.

Files are shared between tasks wherever they are equal, so a world of a thousand projects needs three pictures
and one of five gigabytes needs a few random ones.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageDraw

from sandbox.cvat.film import film_facts, is_mp4

ASSETS = Path(__file__).parent / "assets"
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class MediaFile:
    """One file as a backup carries it in data/."""

    name: str
    path: Path
    width: int
    height: int
    frame_count: int = 1

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size


@dataclass
class MediaStore:
    """Where the media lie, and their checksums once they were needed."""

    directory: Path
    _crcs: dict[Path, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.directory / "media").mkdir(parents=True, exist_ok=True)

    def crc(self, path: Path) -> int:
        if path not in self._crcs:
            crc = 0
            with path.open("rb") as stream:
                while chunk := stream.read(CHUNK):
                    crc = zlib.crc32(chunk, crc)
            self._crcs[path] = crc
        return self._crcs[path]

    def new_path(self, name: str) -> Path:
        folder = self.directory / "media"
        return folder / hashlib.sha1(name.encode()).hexdigest()

    def add(self, name: str, content: bytes) -> MediaFile:
        """A file with this content, measured if it is a picture or an MP4."""
        path = self.directory / "media" / hashlib.sha1(content).hexdigest()
        if not path.exists():
            partial = path.with_suffix(f".{os.getpid()}-{random.getrandbits(32):08x}")
            partial.write_bytes(content)
            partial.rename(path)
        return measured(name, path)

    def add_from(self, name: str, path: Path) -> MediaFile:
        return measured(name, path)

    def pictures(self, count: int, size: tuple[int, int] = (320, 240), first: int = 0) -> list[MediaFile]:
        return [self.picture(first + number, size) for number in range(count)]

    def picture(self, number: int, size: tuple[int, int] = (320, 240), name: str | None = None) -> MediaFile:
        name = name or f"frame_{number:04d}.jpg"
        path = self.directory / "media" / f"drawn_{number}_{size[0]}x{size[1]}.jpg"
        if not path.exists():
            path.write_bytes(draw_street(number, size))
        return MediaFile(name, path, *size)

    def video(self, name: str = "street.mp4") -> list[MediaFile]:
        path = self.directory / "media" / "street.mp4"
        if not path.exists():
            shutil.copyfile(ASSETS / "street.mp4", path)
        return [measured(name, path)]

    def broken(self, name: str) -> MediaFile:
        path = self.directory / "media" / "broken"
        if not path.exists():
            path.write_bytes(b"this is not a picture " * 9)
        return MediaFile(name, path, 0, 0)

    def random_files(self, count: int, size_bytes: int, seed: int = 1) -> list[MediaFile]:
        """Incompressible files that begin as JPEGs; few on disk, however many are asked for."""
        base = 8
        files = []
        for number in range(count):
            path = self.directory / "media" / f"random_{number % base}_{size_bytes}.jpg"
            if not path.exists():
                start = draw_street(number % base, (640, 480))
                rest = random.Random(seed * 1000 + number % base).randbytes(max(0, size_bytes - len(start)))
                path.write_bytes((start + rest)[:size_bytes])
            files.append(MediaFile(f"scan_{number:05d}.jpg", path, 640, 480))
        return files

    def manifest(self, files: Sequence[MediaFile], kind: str) -> bytes:
        if kind == "video":
            video = files[0]
            properties = {
                "name": video.name,
                "resolution": [video.width, video.height],
                "length": video.frame_count,
                "chapters": [],
            }
            digest = hashlib.md5(str(video.path.name).encode()).hexdigest()
            lines: list[object] = [
                {"version": "1.1"},
                {"type": "video"},
                {"properties": properties},
                {"number": 0, "pts": 0, "checksum": digest},
            ]
        else:
            lines = [{"version": "1.1"}, {"type": "images"}]
            for file in files:
                stem, dot, extension = file.name.rpartition(".")
                lines.append(
                    {
                        "name": stem if dot else file.name,
                        "extension": dot + extension if dot else "",
                        "width": file.width,
                        "height": file.height,
                    }
                )
        text = "\n".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines)
        return f"{text}\n".encode()


def measured(name: str, path: Path) -> MediaFile:
    """The file with its dimensions; a file that is neither picture nor MP4 has none (width 0)."""
    with path.open("rb") as stream:
        head = stream.read(12)
        if is_mp4(head):
            stream.seek(0)
            facts = film_facts(stream.read())
            return (
                MediaFile(name, path, facts.width, facts.height, facts.frame_count)
                if facts
                else MediaFile(name, path, 0, 0)
            )
    try:
        with Image.open(path) as picture:
            return MediaFile(name, path, picture.width, picture.height)
    except OSError:
        return MediaFile(name, path, 0, 0)


def renamed(file: MediaFile, name: str) -> MediaFile:
    return replace(file, name=name)


def draw_street(number: int, size: tuple[int, int], kind: str = "JPEG") -> bytes:
    """A street with cars under a sky: always the same picture for the same number."""
    # Small ones are drawn large and made smaller: the street needs room.
    width, height = max(size[0], 320), max(size[1], 240)
    dice = random.Random(number)
    picture = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(picture)
    horizon = int(height * 0.55)
    dusk = dice.random()
    for y in range(horizon):
        share = y / horizon
        colour = (int(90 + 120 * share + 30 * dusk), int(150 + 70 * share - 30 * dusk), int(215 - 20 * dusk))
        pen.line([(0, y), (width, y)], fill=colour)
    for _ in range(7):
        x = dice.randrange(-20, width)
        tall = dice.randrange(height // 8, height // 3)
        wide = dice.randrange(width // 12, width // 6)
        grey = dice.randrange(95, 175)
        pen.rectangle([x, horizon - tall, x + wide, horizon], fill=(grey, grey - 8, grey - 18))
        for wx in range(x + 4, x + wide - 4, 9):
            for wy in range(horizon - tall + 5, horizon - 6, 11):
                lit = dice.random() < 0.4
                pen.rectangle([wx, wy, wx + 4, wy + 5], fill=(250, 225, 140) if lit else (70, 80, 95))
    pen.rectangle([0, horizon, width, height], fill=(92, 97, 104))
    pen.rectangle([0, horizon, width, horizon + height // 24], fill=(118, 156, 96))
    lane = int(height * 0.8)
    for x in range(-10 + (number * 7) % 40, width, 40):
        pen.rectangle([x, lane, x + 18, lane + 3], fill=(236, 232, 205))
    for _ in range(3):
        x = dice.randrange(0, max(1, width - 70))
        y = dice.randrange(horizon + height // 16, height - 40)
        colour = dice.choice([(192, 64, 47), (36, 92, 168), (235, 235, 230), (40, 44, 50), (222, 168, 44)])
        pen.rounded_rectangle([x, y + 10, x + 64, y + 28], radius=5, fill=colour)
        pen.rounded_rectangle([x + 13, y, x + 49, y + 14], radius=5, fill=colour)
        pen.rectangle([x + 17, y + 3, x + 45, y + 10], fill=(190, 215, 230))
        for wheel in (x + 10, x + 44):
            pen.ellipse([wheel, y + 22, wheel + 11, y + 33], fill=(22, 22, 24))
    stream = io.BytesIO()
    picture.resize(size).save(stream, kind, quality=80)
    return stream.getvalue()
