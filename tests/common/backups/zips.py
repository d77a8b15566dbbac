"""Zip archives for tests: drawn by hypothesis, made by zipfile, read by both."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from hypothesis import strategies as st

from common.backups.archive import Archive, BadArchive, unsafe_name

NAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20).filter(
    lambda name: not unsafe_name(name)
)
MEMBERS = st.dictionaries(NAMES, st.binary(max_size=300), max_size=6)
METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


def written(tmp_path, data: bytes) -> Path:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    return path


def contents(path: Path) -> dict[str, bytes]:
    with Archive(path) as archive:
        return {member.name: b"".join(archive.read(member)) for member in archive.members()}


def by_zipfile(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


def streamed_zip(members: dict[str, bytes], *, zip64: bool) -> bytes:
    """As a writer makes it that cannot seek (sizes behind the data), or that prepares for 4 GB."""

    class NoSeeking(io.BytesIO):
        def seek(self, *_):
            raise OSError("no seeking")

        def tell(self):
            raise OSError("no seeking")

    target = io.BytesIO() if zip64 else NoSeeking()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content)
    return target.getvalue()


def is_seen(path: Path) -> bool:
    try:
        with Archive(path) as archive:
            archive.check_all()
    except BadArchive:
        return True
    return False
