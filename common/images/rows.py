"""The rows of a CSV, and quotes that somebody forgot to close: these swallow the rows behind them."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from common.images.names import split_extension

LONGEST_CELL = 1 << 20
MOST_LINES = 500
ROWS_AT_ONCE = 64
LINE_BREAK = re.compile(r"\r\n|\r|\n")
# Two lines behind the last one, which make a row of two lines whatever came before: [_END] when all quotes were closed;
# else the first of them ends the open cell, with what no text holds (`open_text` refuses it).
_AFTER = ('"\0', '\0"')
_END = "\0\0"


class Misquoted(csv.Error):
    """Rows that look as if a quote were not closed, or not where it was to be: well-formed ones may look so, too."""


class NeverClosed(Misquoted):
    """A quote that is open where the file ends: it certainly is not closed where it was to be."""


class Shape(NamedTuple):
    """What rows have in common. `width`: how many cells the first one has; `title`: that of the column of the names."""

    delimiter: str
    column: int
    width: int
    title: str | None


def whole_rows(lines: Iterable[str], shape: Shape, skipped: int = 0) -> Iterator[list[list[str]]]:
    """All rows, some at a time. Raises Misquoted. `skipped`: so many lines came before.

    Whether a quote is open is asked only where rows and lines are not equally many: that costs nothing where they are.
    """
    reader, number = _reader(lines, shape.delimiter), 0
    while True:
        rows: list[list[str]] = []
        try:
            rows.extend(islice(reader, ROWS_AT_ONCE))
        except csv.Error as error:  # what came before it is in `rows`
            raise _in_plain_words(error, skipped + number + sum(map(lines_of, rows)) + 1) from None
        if not rows:
            return
        if reader.line_num - number != len(rows):
            rows = _watched(rows, skipped + number + 1, shape)
        number = reader.line_num
        yield rows


def sample(lines: Sequence[str], delimiter: str) -> tuple[list[list[str]], Misquoted | None]:
    """The rows that tell what the table is like: the first one, and those of one line if there are any.

    With them what was not closed where the lines end: perhaps it is so behind them.
    """
    rows: list[list[str]] = []
    number, trouble = 1, None
    try:
        for row in _reader(lines, delimiter):
            if not _closed(row, number):
                break
            number += lines_of(row)
            if any(cell.strip() for cell in row):
                rows.append(row)
    except csv.Error as error:
        trouble = _in_plain_words(error, number)
    of_one_line = [row for row in rows[1:] if lines_of(row) == 1]
    return rows[:1] + (of_one_line or rows[1:]), trouble


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    """Not strict: strictly, text behind a closing quote would be an error, but people write `"19 inch" monitor`, and it
    loses nothing. What would lose rows is found by `_closed` and `_require_whole`.
    """
    csv.field_size_limit(LONGEST_CELL)
    return csv.reader(chain(lines, _AFTER), delimiter=delimiter, skipinitialspace=True)


def lines_of(row: Sequence[str]) -> int:
    """How many lines a row took."""
    return 1 + sum(len(LINE_BREAK.findall(cell)) for cell in row)


def _in_plain_words(error: csv.Error, first_line: int) -> Misquoted:
    if isinstance(error, Misquoted):
        return error
    what = "is a cell of more than 1 MB" if "field larger than" in str(error) else f"something cannot be read: {error}"
    return Misquoted(f"in line {first_line:,} or later {what}")


def _watched(rows: Sequence[list[str]], first_line: int, shape: Shape) -> list[list[str]]:
    """The rows but for what we put behind the last one. Raises Misquoted."""
    found = []
    for row in rows:
        if not _closed(row, first_line):
            break
        lines = lines_of(row)
        if lines > 1:
            _require_whole(row, first_line, shape)
        first_line += lines
        found.append(row)
    return found


def _closed(row: Sequence[str], first_line: int) -> bool:
    """False for the row behind the last one. Raises Misquoted when a quote was open there."""
    if row == [_END]:
        return False
    if row and "\0" in row[-1]:
        raise NeverClosed(f"a quote that opens in line {first_line + lines_of(row[:-1]) - 1:,} is never closed")
    return True


def _require_whole(row: Sequence[str], first_line: int, shape: Shape) -> None:
    """Raises Misquoted when a row of several lines looks as if it had swallowed others.

    Descriptions may have line breaks. Names have none, and in a line of a description there is nothing like a name in
    the column of the names.
    """
    lines = LINE_BREAK.split(shape.delimiter.join(row))
    name = row[shape.column].strip() if shape.column < len(row) else ""
    is_title = shape.title is not None and name.lower() == shape.title.lower()
    if not is_title and LINE_BREAK.search(name):
        raise Misquoted(f"the name in line {first_line:,} goes over several lines")
    if len(lines) > MOST_LINES:
        raise Misquoted(f"the row that begins in line {first_line:,} goes over {len(lines):,} lines")
    more_cells = any(cell.strip() for cell in row[shape.width :])
    if more_cells or _names_inside(lines, name, shape, is_title=is_title):
        raise Misquoted(
            f"the row that begins in line {first_line:,} goes over {len(lines):,} lines that look like rows"
        )


def _names_inside(lines: Sequence[str], name: str, shape: Shape, *, is_title: bool) -> bool:
    """Whether more than one of these lines, which are one row, has a name: that of the row, and another one."""
    own = bool(split_extension(name)[1])
    cells = [line.split(shape.delimiter) for line in lines]
    there = [(row[shape.column].strip().strip('"'), len(row)) for row in cells if shape.column < len(row)]
    if sum(bool(split_extension(cell)[1]) for cell, _ in there) > own:
        return True
    # Names without extension: whole rows with as many words where the name is, and with digits if it has some.
    words, has_digits = max(1, len(name.split())), _has_digits(name)
    alike = sum(
        0 < len(cell.split()) <= words and (_has_digits(cell) or not (has_digits or is_title))
        for cell, width in there
        if width == shape.width
    )
    return not own and alike > (has_digits or not is_title)


def _has_digits(text: str) -> bool:
    return any(letter.isdigit() for letter in text)
