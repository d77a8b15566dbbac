"""The names in a CSV: which column holds them, whether the first line is a header, which encoding it has."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from common.exits import Exit, RunEnds
from common.images.names import split_extension
from common.text import printable

# Titles that columns with file names have, the most telling first.
TITLES = (
    "filename file_name image_filename image_file image_name imagename image_path imagepath filepath file_path s3_key key "
    "object_key s3_path s3_uri path file image img name uri url"
).split()
SAMPLE_ROWS = 200
LONGEST_CELL = 1 << 20


@dataclass(frozen=True)
class Layout:
    """How a file is read. `column` counts from 0; `delimiter` is None for a plain list, one name a line.

    `perhaps_title`: the first name may be a title that we do not know; it is one if no object is called so.
    """

    delimiter: str | None
    column: int
    has_header: bool
    title: str = ""
    perhaps_title: bool = False


def open_text(path: Path) -> tuple[TextIO, str]:
    """Opens a file in the encoding that it has (UTF-8, UTF-16 with its mark, else Windows-1252). Raises RunEnds."""
    encoding = "utf-8-sig"
    try:
        with open(path, "rb") as file:
            file.seek(0)  # of /dev/fd/N on macOS, which goes on where the last reader ended
            if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
                encoding = "utf-16"
        with open(path, encoding=encoding, newline="") as text:
            text.seek(0)
            while text.read(1 << 20):
                pass
    except UnicodeDecodeError:
        encoding = "cp1252"
    except OSError as error:
        what = f"CVAT_IMAGES_CSV_FILE={path} cannot be read: {error.strerror}"
        raise RunEnds(what, "Name the file with --csv-file.", Exit.BAD_CONFIGURATION) from None
    names = open(path, encoding=encoding, errors="replace", newline="")  # noqa: SIM115
    names.seek(0)
    return names, encoding


def readable_again(path: Path, folder: Path | None) -> IO[bytes] | None:
    """What a pipe gives (`--csv-file <(…)`), in a nameless file of `folder`; None for a file. Raises RunEnds."""
    if path.is_file() or not path.exists():
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


def find_layout(sample: Sequence[str], column: str = "") -> Layout:
    """The layout of a file that begins with these lines. Raises ValueError with what to set when it is not clear."""
    lines = [line for line in sample if line.strip()]
    if not lines:
        return Layout(None, 0, has_header=False)
    delimiter = _delimiter(lines)
    if delimiter is None:
        first = lines[0].strip().strip('"')
        if column and column != "1" and column.strip().lower() != first.lower():
            raise ValueError(f"the file has one column; there is no column {column!r}")
        return _headed(None, 0, first, lines[1:], is_title=bool(column and column != "1"))
    rows = list(csv.reader(io.StringIO("".join(lines)), delimiter=delimiter, skipinitialspace=True))
    cells = [cell.strip() for cell in rows[0]]
    lowered = [cell.lower() for cell in cells]
    if column:
        return _asked_for(column, cells, lowered, rows, delimiter)
    for title in TITLES:
        if title in lowered:
            return Layout(delimiter, lowered.index(title), has_header=True, title=title)
    named = Counter(at for row in rows for at, cell in enumerate(row) if split_extension(cell.strip())[1])
    best = named.most_common(2)
    if not best or (len(best) == 2 and best[0][1] == best[1][1]):
        raise ValueError(f"which column holds the names is not clear; the first line is {printable(lines[0], 120)!r}")
    at = best[0][0]
    if at >= len(cells):
        return Layout(delimiter, at, has_header=True)
    return _headed(delimiter, at, cells[at], _column(rows, at))


def _column(rows: list[list[str]], at: int) -> list[str]:
    """The cells of a column below the first."""
    return [row[at] for row in rows[1:] if at < len(row)]


def _headed(delimiter: str | None, at: int, first: str, rest: Sequence[str], *, is_title: bool = False) -> Layout:
    """The layout of a column that begins with these cells."""
    if is_title or _is_title(first):
        return Layout(delimiter, at, has_header=True, title=first)
    perhaps = not split_extension(first)[1] and (delimiter is not None or _looks_like_header(first, rest))
    return Layout(delimiter, at, has_header=False, title=first if perhaps else "", perhaps_title=perhaps)


def _asked_for(column: str, cells: list[str], lowered: list[str], rows: list[list[str]], delimiter: str) -> Layout:
    if column.strip().lower() in lowered:
        at = lowered.index(column.strip().lower())
        return Layout(delimiter, at, has_header=True, title=cells[at])
    if column.isdecimal() and 1 <= int(column) <= len(cells):
        at = int(column) - 1
        return _headed(delimiter, at, cells[at], _column(rows, at))
    there = ", ".join(repr(printable(cell, 30)) for cell in cells)
    raise ValueError(f"there is no column {column!r}; the file has {there}")


def _delimiter(lines: Sequence[str]) -> str | None:
    """What parts every line into the same number of cells, at least two; None when the file is a plain list."""
    best: tuple[int, str] | None = None
    for delimiter in ",;\t|":
        try:
            counts = {len(row) for row in csv.reader(io.StringIO("".join(lines)), delimiter=delimiter)}
        except csv.Error:
            continue
        if len(counts) == 1 and (count := counts.pop()) > 1 and (best is None or count > best[0]):
            best = (count, delimiter)
    if best is None and len(lines) > 1:
        # Rows of unequal length under a header that names a column are a table with slips, not a list.
        for delimiter in ",;\t|":
            titles = {cell.strip().strip('"').lower() for cell in lines[0].split(delimiter)}
            if len(titles) > 1 and titles & set(TITLES):
                return delimiter
    return best[1] if best else None


def _is_title(cell: str) -> bool:
    return cell.strip().lower() in TITLES


def _looks_like_header(first: str, rest: Sequence[str]) -> bool:
    """Names with extensions below a cell that has none."""
    with_extension = sum(bool(split_extension(cell.strip().strip('"'))[1]) for cell in rest)
    title = first.strip().replace(" ", "").replace("_", "").replace("-", "").isalnum()
    return title and bool(rest) and not split_extension(first)[1] and with_extension > 0.8 * len(rest)


def layout_of(path: Path, column: str = "", called: Path | None = None) -> Layout:
    """Raises RunEnds when the file cannot be read, or which column is meant is not clear.

    `called` is what the user calls it, where `path` is a copy.
    """
    csv.field_size_limit(LONGEST_CELL)
    file, _ = open_text(path)
    with file:
        sample = [
            line for _, line in zip(range(SAMPLE_ROWS), iter(lambda: file.readline(LONGEST_CELL), ""), strict=False)
        ]
    if sample and not sample[-1].endswith("\n"):
        sample[-1] += "\n"
    try:
        return find_layout(sample, column)
    except (ValueError, csv.Error) as error:
        remedy = "Name the column with --csv-column: its title, or its number (1 = first)."
        raise RunEnds(f"CVAT_IMAGES_CSV_FILE={called or path}: {error}.", remedy, Exit.BAD_CONFIGURATION) from None


def names_in(path: Path, layout: Layout, called: Path | None = None) -> Iterator[str]:
    """All names in the order of the file, empty ones as "". Raises RunEnds when a line cannot be read.

    `called` as in `layout_of`.
    """
    csv.field_size_limit(LONGEST_CELL)
    file, _ = open_text(path)
    number = 0
    with file:
        try:
            if layout.delimiter is None:
                begun = not layout.has_header
                for line in file:
                    number += 1
                    name = line.strip()
                    if len(name) > 1 and name[0] == name[-1] == '"':
                        name = name[1:-1].replace('""', '"')
                    if begun or not name:
                        yield name
                    begun = begun or bool(name)
                return
            begun = not layout.has_header
            for row in csv.reader(file, delimiter=layout.delimiter, skipinitialspace=True):
                number += 1
                if begun:
                    yield row[layout.column].strip() if layout.column < len(row) else ""
                begun = begun or any(cell.strip() for cell in row)
        except csv.Error as error:
            what = f"CVAT_IMAGES_CSV_FILE={called or path}: line {number + 1} or later cannot be read: {error}."
            raise RunEnds(what, "Look for a quote that is not closed.", Exit.BAD_CONFIGURATION) from None
