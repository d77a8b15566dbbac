"""An archive made of parts of another one, without a copy on the disk: what is sent to a server at a restore.

Its members' bytes stay in the original; only headers and the few members that are new lie in a small file beside it.
Any range of it can be read at any time, and the same instructions always give the same bytes, so that an upload that
broke off goes on where it stopped, also in another run.
"""

from __future__ import annotations

import bisect
import os
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from common.backups.archive import Archive, Member
from common.backups.writer import directory_entry, end_records, local_header
from common.backups.zipformat import STORED
from common.files import disk_full_named

# The moment that CVAT itself writes for members without a date: 1980-01-01 00:00.
_DOS_DATE = (1 << 5) | 1


class Composed:
    """The archive that `rename` makes of the original: it gives each member its new name, or None to leave it out.

    `replaced` maps new names to contents that take the place of the original's. Raises BadArchive, DiskFull.
    """

    def __init__(
        self,
        original: Path,
        skeleton: Path,
        rename: Callable[[str], str | None],
        replaced: dict[str, bytes],
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = skeleton
        self._source = open(original, "rb")  # noqa: SIM115 - closed by close()
        self._skeleton = None
        try:
            # Where each stretch begins in the composed archive, and where its bytes are: in the skeleton or the original.
            self._begins, self._offsets, self._in_skeleton = array("Q"), array("Q"), array("B")
            with disk_full_named(skeleton.parent):
                self.count, self.size_bytes = self._lay_out(original, rename, dict(replaced), between)
            self._skeleton = open(skeleton, "rb")  # noqa: SIM115
        except BaseException:
            self.close()
            raise

    def _lay_out(
        self,
        original: Path,
        rename: Callable[[str], str | None],
        replaced: dict[str, bytes],
        between: Callable[[], None],
    ) -> tuple[int, int]:
        at = count = 0
        entries = self.path.with_name(self.path.name + ".directory")
        with Archive(original) as archive, open(self.path, "wb") as skeleton, open(entries, "w+b") as directory:

            def put(data: bytes) -> None:
                nonlocal at
                self._stretch(at, skeleton.tell(), in_skeleton=True)
                skeleton.write(data)
                at += len(data)

            def enter(member: Member, name: str) -> None:
                nonlocal count
                directory.write(directory_entry(member, name, at))
                put(local_header(member, name))
                count += 1

            for member in archive.members():
                between()
                name = rename(member.name)
                if name is None or name in replaced:
                    continue
                data_offset = archive.data_offset(member)
                enter(member, name)
                self._stretch(at, data_offset, in_skeleton=False)
                at += member.packed_bytes
            for name, content in sorted(replaced.items()):
                enter(_fresh(name, content), name)
                put(content)
            begin, length = at, directory.tell()
            directory.seek(0)
            self._stretch(at, skeleton.tell(), in_skeleton=True)
            while piece := directory.read(1 << 20):
                skeleton.write(piece)
            skeleton.write(end := end_records(count, length, begin))
        entries.unlink()
        return count, begin + length + len(end)

    def _stretch(self, begin: int, offset: int, *, in_skeleton: bool) -> None:
        self._begins.append(begin)
        self._offsets.append(offset)
        self._in_skeleton.append(in_skeleton)

    def __enter__(self) -> Composed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files and removes the skeleton: it is made anew when it is needed again."""
        self._source.close()
        if self._skeleton is not None:
            self._skeleton.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(self.path.name + ".directory").unlink(missing_ok=True)

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on; fewer only at the end."""
        assert self._skeleton is not None
        pieces, end = [], min(offset + length, self.size_bytes)
        index = bisect.bisect_right(self._begins, offset) - 1
        while offset < end:
            stretch_end = self._begins[index + 1] if index + 1 < len(self._begins) else self.size_bytes
            wanted = min(end, stretch_end) - offset
            if wanted:
                file = self._skeleton if self._in_skeleton[index] else self._source
                piece = os.pread(file.fileno(), wanted, self._offsets[index] + offset - self._begins[index])
                if not piece:
                    raise OSError(f"{self._source.name} is shorter than it was a moment ago")
                pieces.append(piece)
                offset += len(piece)
            if offset >= stretch_end:
                index += 1
        return b"".join(pieces)


def _fresh(name: str, content: bytes) -> Member:
    size = len(content)
    return Member(name, STORED, zlib.crc32(content), size, size, 0, 0, _DOS_DATE, 0o600 << 16, False)
