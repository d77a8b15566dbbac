"""How a file with names is laid out: what parts its cells, which column holds the names, whether it has a header."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.images.names import split_extension
from common.images.rows import Misquoted, lines_of, sample
from common.text import printable

# Titles that columns with file names have, the most telling first.
TITLES = (
    "filename file_name image_filename image_file image_name imagename image_path imagepath filepath file_path s3_key key "
    "object_key s3_path s3_uri path file image img name uri url"
).split()

# What differs from name to name: a number, or some of a hash or an UUID.
_NUMBER = re.compile("[0-9a-f]*[0-9][0-9a-f]*")
# What Excel writes first, or is told by, when lists are not parted as the country has it.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?\s*\Z', re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """How a file is read. `column` counts from 0; `delimiter` is None for a plain list, one name a line.

    `perhaps_title`: the first name may be a title that we do not know; it is one if no object is called so.
    `width`: how many cells the first row has, `first_row` what they hold. `skip`: so many lines come before it.
    """

    delimiter: str | None
    column: int
    has_header: bool
    title: str = ""
    perhaps_title: bool = False
    width: int = 1
    first_row: tuple[str, ...] = ()
    skip: int = 0


def find_layout(lines: Sequence[str], column: str = "") -> Layout:
    """The layout of a file that begins with these lines.

    Raises ValueError with what to set when it is not clear, Misquoted when that is the fault of a quote.
    """
    separator = _SEPARATOR_LINE.match(lines[0]) if lines else None
    if separator:
        return replace(_find(["\n", *lines[1:]], column, separator.group(1)), skip=1)
    return _find(lines, column)


def _find(lines: Sequence[str], column: str, separator: str = "") -> Layout:
    texts = [line for line in lines if line.strip()]
    if not texts:
        return Layout(None, 0, has_header=False)
    delimiter = _delimiter(lines, separator or ",;\t|") or _delimiter_of_slips(texts)
    if delimiter is None:
        first = texts[0].strip().strip('"')
        if column and column != "1" and column.strip().lower() != first.lower():
            raise ValueError(f"the file has one column; there is no column {column!r}")
        return _headed(None, 0, first, texts[1:], is_title=bool(column and column != "1"))
    rows, unclosed = sample(lines, delimiter)
    try:
        first_row = tuple(cell.strip() for cell in rows[0])
        return replace(_of_table(rows, column, delimiter, texts[0]), width=len(rows[0]), first_row=first_row)
    except ValueError:
        if lines_of(rows[0]) > 1:
            unclosed = unclosed or Misquoted("the first row goes over several lines")
        if unclosed:
            raise unclosed from None
        raise


def _of_table(rows: list[list[str]], column: str, delimiter: str, first_line: str) -> Layout:
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
        raise ValueError(f"which column holds the names is not clear; the first line is {printable(first_line, 120)!r}")
    at = best[0][0]
    if at >= len(cells):
        return Layout(delimiter, at, has_header=True)
    return _headed(delimiter, at, cells[at], _column(rows, at))


def _column(rows: list[list[str]], at: int) -> list[str]:
    """The cells of a column below the first."""
    return [row[at] for row in rows[1:] if at < len(row)]


def _headed(delimiter: str | None, at: int, first: str, rest: Sequence[str], *, is_title: bool = False) -> Layout:
    """The layout of a column that begins with these cells. A cell like those below is a name, and so is one with an extension."""
    if is_title or _is_title(first):
        return Layout(delimiter, at, has_header=True, title=first)
    perhaps = not split_extension(first)[1] and (delimiter is not None or _looks_like_header(first, rest))
    perhaps = perhaps and not _is_like(first, rest)
    return Layout(delimiter, at, has_header=False, title=first if perhaps else "", perhaps_title=perhaps)


def _asked_for(column: str, cells: list[str], lowered: list[str], rows: list[list[str]], delimiter: str) -> Layout:
    if column.isdecimal() and 1 <= int(column) <= len(cells):  # before titles: a cell may well hold a 3
        at = int(column) - 1
        return _headed(delimiter, at, cells[at], _column(rows, at))
    if column.strip().lower() in lowered:
        at = lowered.index(column.strip().lower())
        return Layout(delimiter, at, has_header=True, title=cells[at])
    there = ", ".join(repr(printable(cell, 30)) for cell in cells)
    raise ValueError(f"there is no column {column!r}; the file has {there}")


def _delimiter(lines: Sequence[str], among: str) -> str | None:
    """What parts every row into the same number of cells, at least two; None when the file is a plain list."""
    best: tuple[int, str] | None = None
    for delimiter in among:
        rows, unclosed = sample(lines, delimiter)
        if unclosed and not rows:
            raise unclosed
        counts = {len(row) for row in rows}
        if len(counts) == 1 and (count := counts.pop()) > 1 and (best is None or count > best[0]):
            best = (count, delimiter)
    return best[1] if best else None


def _delimiter_of_slips(lines: Sequence[str]) -> str | None:
    """Rows of unequal length under a header that names a column are a table with slips, not a list."""
    for delimiter in ",;\t|" if len(lines) > 1 else "":
        titles = {cell.strip().strip('"').lower() for cell in lines[0].split(delimiter)}
        if len(titles) > 1 and titles & set(TITLES):
            return delimiter
    return None


def _is_title(cell: str) -> bool:
    return cell.strip().lower() in TITLES


def _is_like(first: str, rest: Sequence[str]) -> bool:
    """Whether a cell has the shape of one of these, as id001 has of id002.jpg: they differ in numbers and hashes only."""
    shape = _shape(first)
    return "#" in shape and any(_shape(cell) == shape for cell in rest)


def _shape(cell: str) -> str:
    return _NUMBER.sub("#", split_extension(cell.strip().strip('"'))[0].lower())


def _looks_like_header(first: str, rest: Sequence[str]) -> bool:
    """Names with extensions below a cell that has none."""
    with_extension = sum(bool(split_extension(cell.strip().strip('"'))[1]) for cell in rest)
    title = first.strip().replace(" ", "").replace("_", "").replace("-", "").isalnum()
    return title and bool(rest) and not split_extension(first)[1] and with_extension > 0.8 * len(rest)
