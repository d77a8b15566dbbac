"""What a file and a key are called: their stems and extensions, and under which name an object is safely kept."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from common.files import is_device

# What counts as an extension: with "anything behind the last dot" the stem of "img.v1" would be "img".
_IMAGES = """
    jpg jpeg jpe jfif png apng gif bmp dib tif tiff webp heic heif avif jp2 j2k jpx jxl svg ico psd exr hdr pbm pgm ppm
    pnm tga dcm dicom nii fits raw dng cr2 cr3 nef arw orf rw2 raf pef srw eps
"""
_VIDEOS = "mp4 m4v mov avi mkv webm mpg mpeg wmv flv ts m2ts 3gp"
_OTHERS = "json xml txt csv npy npz pcd ply las laz bin zip gz pdf"
_KINDS = (
    dict.fromkeys(_IMAGES.split(), "image") | dict.fromkeys(_VIDEOS.split(), "video") | {e: e for e in _OTHERS.split()}
)
EXTENSIONS = frozenset(_KINDS)
LONGEST_NAME_BYTES = 255
# In paths, one a line: what canonical() may have to change.
_PERHAPS_NOT_CANONICAL = re.compile(r"//|\./|\\|\A[/.]|\n[/.]|[/.]\n|[/.]\Z")
# What file systems of other systems refuse, and what lies in the output folder for our own use.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')
# What nearly all names are, and what every file system takes as it is: too long for a device, too short to be cut.
_ORDINARY = re.compile(r"[A-Za-z0-9_-]{5,200}(\.[A-Za-z0-9]{1,8})?")
RESERVED = frozenset(("logs", ".download", "download_state.json", ".download_state.json.tmp"))


def canonical(path: str) -> str:
    """A path as names are compared by: `/` between its parts, none empty or a dot, Unicode composed."""
    if not path.isascii():
        path = unicodedata.normalize("NFC", path)
    path = path.replace("\\", "/")
    if "//" in path or "./" in path or path[:1] in "/." or path[-1:] in "/.":
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
    return path


def canonical_all(paths: Sequence[str]) -> Sequence[str]:
    """The same for many paths; those that need no change, as nearly all do, are looked at together."""
    together = "\n".join(paths)
    if together.isascii() and not _PERHAPS_NOT_CANONICAL.search(together):
        return paths
    return [canonical(path) for path in paths]


def split_extension(name: str) -> tuple[str, str]:
    """`("img.v1", ".jpg")` of img.v1.jpg; the extension is "" when it is none that images (or their like) have."""
    stem, dot, extension = name.rpartition(".")
    if dot and stem and extension.lower() in EXTENSIONS:
        return stem, dot + extension
    return name, ""


def kind_of(path: str) -> str:
    """What a path is by its extension: an image, a video, or (labels, archives) what only this extension is; "" of none."""
    return _KINDS.get(split_extension(path[path.rfind("/") + 1 :])[1][1:].lower(), "")


def stem_of(path: str) -> str:
    """The path without the extension of its last part."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + split_extension(name)[0]


def base_and_stem(path: str) -> tuple[str, str]:
    """The last part of a path, with and without its extension."""
    base = path[path.rfind("/") + 1 :]
    stem, _, extension = base.rpartition(".")
    if stem and (extension in EXTENSIONS or extension.lower() in EXTENSIONS):
        return base, stem
    return base, base


def key_asked(name: str, bucket: str) -> str:
    """A name of the CSV as a key: an address s3://bucket/key of this bucket loses what is before the key."""
    return name.removeprefix(f"s3://{bucket}/")


def file_path(stem: str, extension: str, key: str, root: str, *, keep_folders: bool) -> str:
    """Where an object is kept, relative to the output folder: the stem asked for, with the extension of the object.

    `root` is the prefix that the folders of the key begin behind. Never leaves the output folder; no part is longer
    than a file system takes; nothing in it that Linux, Windows or a file server refuses.
    """
    parts = [safe_part(stem, extension)]
    if keep_folders:
        folders = key.removeprefix(root).split("/")[:-1]
        parts = [safe_part(part) for part in folders if part not in ("", ".", "..")] + parts
    if parts[0].casefold() in RESERVED:
        # A folder by its own name: all that lies in it stays together.
        parts[0] = _marked(*split_extension(parts[0]), key if len(parts) == 1 else parts[0])
    return "/".join(parts)


def safe_part(stem: str, extension: str = "") -> str:
    """One part of a path: `stem + extension` with what is unsafe replaced by `_`, cut to 255 bytes with a hash."""
    if _ORDINARY.fullmatch(stem + extension):
        return stem + extension
    text = _UNSAFE.sub("_", stem).encode("utf-8", "replace").decode()
    extension = _UNSAFE.sub("_", extension)
    if not extension:
        text = text.rstrip(". ") or "_" * max(1, len(text))
    if is_device(text) or text.strip(". ") == "":
        text = f"_{text}"
    if len((text + extension).encode()) > LONGEST_NAME_BYTES:
        return _marked(text, extension, stem)
    return text + extension


def told_apart(path: str, key: str, digits: int = 8) -> str:
    """The path of an object whose own would be that of another: with a hash of its key, the same in every run."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + _marked(*split_extension(name), key, digits)


def _marked(stem: str, extension: str, of: str, digits: int = 8) -> str:
    mark = "__" + hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:digits] + extension
    room = LONGEST_NAME_BYTES - len(mark.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + mark


def folded(path: str) -> str:
    """Equal for two paths that a file system without upper and lower case, or one that composes Unicode, calls equal."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
