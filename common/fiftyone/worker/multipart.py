"""A form with files as a body that is read while it is sent: no file is ever in memory as a whole."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

PIECE_BYTES = 1 << 20


class FormBody:
    """What requests takes as `data`: it has a length, so that the server is told one, and is read piece by piece.

    `fields` are names and texts; `files` field names, file names and paths. A file that grows or shrinks while it is
    sent raises OSError: the length has been promised.
    """

    def __init__(
        self,
        fields: Iterable[tuple[str, str]],
        files: Iterable[tuple[str, str, Path]],
        sent: Callable[[int], None] = lambda count: None,
    ) -> None:
        """Raises OSError when a file is not there."""
        self.boundary = secrets.token_hex(16)
        self._sent = sent
        self._pieces: list[tuple[bytes, Path | None, int]] = []
        for name, value in fields:
            self._add(self._head(f'name="{_quoted(name)}"') + value.encode() + b"\r\n")
        for name, file_name, path in files:
            self._add(self._head(f'name="{_quoted(name)}"; filename="{_quoted(file_name)}"'))
            self._pieces.append((b"", path, path.stat().st_size))
            self._add(b"\r\n")
        self._add(f"--{self.boundary}--\r\n".encode())
        self._length = sum(size for _, _, size in self._pieces)
        self._at = 0
        self._open: IO[bytes] | None = None
        self._left = 0
        self._bytes = b""

    @property
    def content_type(self) -> str:
        return f"multipart/form-data; boundary={self.boundary}"

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> FormBody:
        return self

    def __next__(self) -> bytes:
        piece = self.read(PIECE_BYTES)
        if not piece:
            raise StopIteration
        return piece

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size` of them; none at the end."""
        wanted = PIECE_BYTES if size is None or size < 0 else size
        while True:
            if self._bytes:
                piece, self._bytes = self._bytes[:wanted], self._bytes[wanted:]
                break
            if self._open is not None:
                piece = self._open.read(min(wanted, self._left)) if self._left else b""
                if not piece:
                    self._end_of_file()
                    continue
                self._left -= len(piece)
                break
            if self._at == len(self._pieces):
                return b""
            text, path, length = self._pieces[self._at]
            self._at += 1
            if path is None:
                self._bytes = text
            else:
                self._open, self._left = open(path, "rb"), length  # noqa: SIM115
        self._sent(len(piece))
        return piece

    def _end_of_file(self) -> None:
        assert self._open is not None
        grown = not self._left and self._open.read(1)
        name = self._open.name
        self._open.close()
        self._open = None
        if self._left or grown:
            raise OSError(f"{name} changed while it was sent")

    def _add(self, text: bytes) -> None:
        self._pieces.append((text, None, len(text)))

    def _head(self, disposition: str) -> bytes:
        return f"--{self.boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()


def _quoted(text: str) -> str:
    """A name inside quotes, as browsers write it (the HTML standard: %22, %0D, %0A)."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
