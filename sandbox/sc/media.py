"""The files behind the media: taken in, measured, re-encoded where the generation does so, drawn for the samples."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw

from sandbox.sc.answering import refusal
from sandbox.sc.film import FilmFacts, film_facts, film_frame
from sandbox.sc.world import Media, World

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".bmp", ".png", ".tif", ".tiff", ".jfif", ".webp")
VIDEO_EXTENSIONS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
TURNED_INTO_JPEG = (".tif", ".tiff", ".jfif")
MIN_SIDE, MAX_SIDE = 32, 20_000
MAX_BYTES = 5_046_586_572  # 4.7 GiB
TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}


def new_path(world: World) -> Path:
    return world.directory / "media" / f"{os.urandom(8).hex()}"


def take_image(world: World, path: Path, filename: str, *, reencodes: bool) -> Media:
    """The uploaded file as an image of the server; refused with 415 when it is none.

    SC 1.1 stores every image as a JPEG of its own making (a 20.7 kB file was seen to come back as 59 kB), Geti only
    those formats a browser cannot show.
    """
    with _gone_if_refused(path):
        stem, extension = _split(filename, IMAGE_EXTENSIONS)
        try:
            with Image.open(path) as picture:
                width, height = picture.size
                picture.load()
                converted = picture.convert("RGB") if reencodes or extension in TURNED_INTO_JPEG else None
        except (OSError, SyntaxError, ValueError):
            raise _invalid(f"The file '{filename}' is not a valid image.") from None
        if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
            raise _invalid(f"Images of {width}x{height} pixels are not supported.")
    if converted is not None:
        converted.save(path, "JPEG", quality=100, subsampling=0)
        extension = ".jpg"
    return Media(world.new_id(), stem, "image", extension, path, width, height, world.now())


def take_video(world: World, path: Path, filename: str) -> Media:
    """The uploaded file as a video. Only MP4 and MOV are really read; others count as 100 frames of 640x480."""
    with _gone_if_refused(path):
        stem, extension = _split(filename, VIDEO_EXTENSIONS)
        facts = film_facts(path)
        if facts is None and extension in (".mp4", ".mov", ".m4v"):
            raise _invalid(f"The file '{filename}' is not a valid video.")
    facts = facts or FilmFacts(640, 480, 100, 10.0)
    return Media(
        world.new_id(),
        stem,
        "video",
        extension,
        path,
        facts.width,
        facts.height,
        world.now(),
        duration=round(facts.duration),
        frame_count=facts.frame_count,
        frame_rate=round(facts.frame_count / facts.duration, 3) if facts.duration else 0.0,
    )


@contextmanager
def _gone_if_refused(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _split(filename: str, accepted: tuple[str, ...]) -> tuple[str, str]:
    stem, extension = os.path.splitext(filename)  # noqa: PTH122 a name, not a path
    if extension.lower() not in accepted:
        raise _invalid(f"The file extension '{extension}' is not supported. Supported: {', '.join(accepted)}.")
    return stem, extension.lower()


def _invalid(message: str) -> Exception:
    return refusal(415, "invalid_media", message)


def content_type(media: Media) -> str:
    return TYPES.get(media.extension, "image/jpeg") if media.kind == "image" else "video/mp4"


def thumbnail(media: Media, side: int = 256) -> bytes:
    if media.kind == "image":
        with Image.open(media.path) as picture:
            small = picture.convert("RGB")
    else:
        with Image.open(io.BytesIO(frame(media, 0))) as picture:
            small = picture.convert("RGB")
    small.thumbnail((side, side))
    return _jpeg(small, 80)


def frame(media: Media, number: int) -> bytes:
    """One frame as JPEG. Of films this sandbox cannot decode a drawing stands in."""
    content = film_frame(media.path, number)
    return content if content is not None else draw(number, (media.width, media.height))


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


# --- drawing ---------------------------------------------------------------------------------------------------------

Pen = Callable[[ImageDraw.ImageDraw], None]


def draw(seed: int, size: tuple[int, int], pen: Pen | None = None, kind: str = "JPEG") -> bytes:
    """A striped ground, always the same for a seed, on which `pen` draws the objects."""
    dice = random.Random(seed)
    ground = tuple(dice.randrange(150, 230) for _ in range(3))
    picture = Image.new("RGB", size, ground)
    tool = ImageDraw.Draw(picture)
    for x in range(-size[1], size[0], dice.randrange(14, 30)):
        darker = tuple(value - 18 for value in ground)
        tool.line([(x, 0), (x + size[1], size[1])], fill=darker, width=3)
    tool.text((4, 4), f"{seed}", fill=(60, 60, 60))
    if pen is not None:
        pen(tool)
    stream = io.BytesIO()
    picture.save(stream, kind, quality=85)
    return stream.getvalue()
