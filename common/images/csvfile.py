"""The names in a file: which encoding it has, and what it holds in the column of the names."""

from __future__ import annotations

import codecs
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TextIO

from common.exits import Exit, RunEnds
from common.files import is_file, is_there
from common.images.layout import Layout, find_layout
from common.images.rows import Misquoted, NeverClosed, Shape, whole_rows

__all__ = ("Layout", "layout_of", "names_in", "open_text", "readable_again")

SAMPLE_ROWS = 200
SAMPLE_CHARACTERS = 4 << 20
# UTF-32's begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def open_text(path: Path, called: Path | None = None) -> TextIO:
    """Opens a file in the encoding that it has: UTF-8, UTF-16 or UTF-32 with its mark, else Windows-1252.

    `called` is what the user calls it, where `path` is a copy. Raises RunEnds, also when that is not its encoding.
    """
    called = called or path
    try:
        with open(path, "rb") as file:
            file.seek(0)  # of /dev/fd/N on macOS, which goes on where the last reader ended
            head = file.read(4096)
        encoding = next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")
        try:
            _try_to_read(path, encoding, called, head)
        except UnicodeDecodeError:
            if encoding != "utf-8-sig":
                what = f"CVAT_IMAGES_CSV_FILE={called} begins as {encoding.upper()}, and is damaged."
                raise RunEnds(what, "Save it as UTF-8.", Exit.BAD_CONFIGURATION) from None
            encoding = "cp1252"
            _try_to_read(path, encoding, called, head)
    except OSError as error:
        what = f"CVAT_IMAGES_CSV_FILE={called} cannot be read: {error.strerror}"
        raise RunEnds(what, "Name the file with --csv-file.", Exit.BAD_CONFIGURATION) from None
    names = open(path, encoding=encoding, errors="replace", newline="")  # noqa: SIM115
    names.seek(0)
    return names


def _try_to_read(path: Path, encoding: str, called: Path, head: bytes) -> None:
    """Raises UnicodeDecodeError; RunEnds when the text is riddled with NUL, which no text is."""
    with open(path, encoding=encoding, errors="replace" if encoding == "cp1252" else "strict", newline="") as text:
        text.seek(0)
        while piece := text.read(1 << 20):
            if "\0" in piece:
                what = f"CVAT_IMAGES_CSV_FILE={called} has characters that are no text (NUL): {_suspicion(head)}."
                raise RunEnds(what, "Save it as UTF-8.", Exit.BAD_CONFIGURATION)


def _suspicion(head: bytes) -> str:
    """What a file that begins so may be. Where UTF-16 and UTF-32 have the zeros of Latin letters tells them apart."""
    zeros = [head[at::4].count(0) for at in range(4)]
    if sum(zeros) > len(head) // 2:
        return f"it seems to be UTF-32{'BE' if zeros[0] > zeros[3] else 'LE'} without its mark"
    if sum(zeros) > len(head) // 20 and abs(zeros[0] + zeros[2] - zeros[1] - zeros[3]) > sum(zeros) // 2:
        return f"it seems to be UTF-16{'BE' if zeros[0] + zeros[2] > zeros[1] + zeros[3] else 'LE'} without its mark"
    return "it is damaged, or no list of names"


def readable_again(path: Path, folder: Path | None) -> IO[bytes] | None:
    """What a pipe gives (`--csv-file <(…)`), in a nameless file of `folder`; None for a file. Raises RunEnds."""
    if is_file(path) or not is_there(path):
        return None
    copy = tempfile.TemporaryFile(prefix=".names-", dir=folder)  # noqa: SIM115
    try:
        with open(path, "rb", buffering=0) as pipe:  # a terminal says but once that there is no more
            shutil.copyfileobj(pipe, copy)
        copy.flush()
    except OSError as error:
        copy.close()
        what = f"CVAT_IMAGES_CSV_FILE={path} cannot be read: {error.strerror}"
        raise RunEnds(what, "Name the file with --csv-file.", Exit.BAD_CONFIGURATION) from None
    return copy


def layout_of(path: Path, column: str = "", called: Path | None = None) -> Layout:
    """Raises RunEnds when the file cannot be read, or which column is meant is not clear. `called` as in `open_text`."""
    with open_text(path, called) as file:
        lines: list[str] = []
        left = SAMPLE_CHARACTERS
        while len(lines) < SAMPLE_ROWS and left > 0 and (line := file.readline()):
            lines.append(line)
            left -= len(line)
    try:
        return find_layout(lines, column)
    except Misquoted as error:
        raise _misquoted(error, called or path) from None
    except ValueError as error:
        remedy = "Name the column with --csv-column: its title, or its number (1 = first)."
        raise RunEnds(f"CVAT_IMAGES_CSV_FILE={called or path}: {error}.", remedy, Exit.BAD_CONFIGURATION) from None


def names_in(path: Path, layout: Layout, called: Path | None = None) -> Iterator[str]:
    """All names in the order of the file, empty ones as "". Raises RunEnds when a line cannot be read.

    `called` as in `open_text`.
    """
    with open_text(path, called) as file:
        for _ in range(layout.skip):
            file.readline()
        try:
            yield from _of_list(file, layout) if layout.delimiter is None else _of_table(file, layout, layout.delimiter)
        except Misquoted as error:
            raise _misquoted(error, called or path) from None


def _of_list(file: TextIO, layout: Layout) -> Iterator[str]:
    """Names that are lines. Raises Misquoted."""
    begun = not layout.has_header
    for number, line in enumerate(file, layout.skip + 1):
        name = line.strip()
        if name[:1] == '"':
            if name.count('"') % 2:
                raise NeverClosed(f"a quote that opens in line {number:,} is not closed there")
            if name[-1] == '"':
                name = name[1:-1].replace('""', '"')
        if begun or not name:
            yield name
        begun = begun or bool(name)


def _of_table(file: TextIO, layout: Layout, delimiter: str) -> Iterator[str]:
    """Names that are cells of a column. Raises Misquoted."""
    begun, column = not layout.has_header, layout.column
    title = layout.title if layout.has_header or layout.perhaps_title else None
    for rows in whole_rows(file, Shape(delimiter, column, layout.width, title), layout.skip):
        titles = 0
        while not begun and titles < len(rows):
            begun = any(cell.strip() for cell in rows[titles])
            titles += 1
            if not begun:
                yield ""
        for row in islice(rows, titles, None):
            yield row[column].strip() if column < len(row) else ""


def _misquoted(error: Misquoted, called: Path) -> RunEnds:
    what = f"CVAT_IMAGES_CSV_FILE={called}: {error}."
    remedy = "Look for a quote that is not closed."
    if not isinstance(error, NeverClosed):
        remedy += " If all are, write each row in one line, or leave the column with long texts out."
    return RunEnds(what, remedy, Exit.BAD_CONFIGURATION)
