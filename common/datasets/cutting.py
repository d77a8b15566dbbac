"""Taking pieces out of JSON and XML files of any size: what stays is copied byte for byte, memory stays flat."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from xml.parsers import expat

PIECE_BYTES = 1 << 20
Cut = tuple[int, int]
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_INSIDE = rb'(?:[^"{}\[\]]++|' + _STRING + rb")*+"
for _level in range(6):
    _INSIDE = rb'(?:[^"{}\[\]]++|' + _STRING + rb"|[{\[]" + _INSIDE + rb"[}\]])*+"
# A whole object in one go; deeper ones than annotations ever are go token by token.
_OBJECT = re.compile(rb"\{" + _INSIDE + rb"\}", re.DOTALL)
_COLON = re.compile(rb"\s*:")
_START_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")


class NotSound(Exception):
    """The file is not what its format says; the text says why."""


@dataclass(frozen=True)
class Item:
    """One object directly inside one list of a JSON file's root: `{"images": [ITEM, …]}`. Offsets in bytes."""

    list_name: str
    start: int
    end: int


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A file as bytes without reading it into memory. Raises NotSound for an empty one."""
    with open(path, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise NotSound(f"{path.name} is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            yield content


def json_items(content: mmap.mmap, lists: Iterable[str], name: str) -> Iterator[Item]:
    """The objects in these lists of the root object, in the order of the file; reads no further. Raises NotSound."""
    wanted = {f'"{each}"'.encode(): each for each in lists}
    left = len(wanted)
    depth, key, inside, start, at = 0, b"", "", 0, 0
    while match := _TOKEN.search(content, at):
        token, at = match[0], match.end()
        if token == b"{":
            if depth == 2 and inside:
                start = match.start()
                if whole := _OBJECT.match(content, start):
                    at = whole.end()
                    yield Item(inside, start, at)
                    continue
            depth += 1
        elif token == b"[":
            depth += 1
            if depth == 2:
                inside = wanted.get(key, "")
        elif token in (b"}", b"]"):
            if depth == 3 and inside and token == b"}":
                yield Item(inside, start, at)
            elif depth == 2 and inside:
                inside, left = "", left - 1
                if not left:
                    return
            depth -= 1
        elif depth == 1 and _COLON.match(content, at):
            key = token
    if depth:
        raise NotSound(f"{name} is not complete JSON")


class ListCuts:
    """Which bytes to take out so that a JSON list without some of its items is a list again, commas and all."""

    def __init__(self) -> None:
        self.cuts: list[Cut] = []
        self._list = ""
        self._kept_one = False
        self._last_end = 0
        self._open_from: int | None = None

    def see(self, item: Item, *, keep: bool) -> None:
        """Told of every item, in order."""
        if item.list_name != self._list:
            self.finish()
            self._list, self._kept_one = item.list_name, False
        if keep:
            if self._open_from is not None:
                self.cuts.append((self._open_from, item.start))
                self._open_from = None
            self._kept_one = True
        elif self._kept_one:
            self.cuts.append((self._last_end, item.end))
        elif self._open_from is None:
            self._open_from = item.start
        self._last_end = item.end

    def finish(self) -> None:
        """The list is over."""
        if self._open_from is not None:
            self.cuts.append((self._open_from, self._last_end))
            self._open_from = None


@dataclass(frozen=True)
class Element:
    """One XML element. `depth` 0 is the root; `children` counts the elements directly inside."""

    name: str
    attributes: dict[str, str]
    depth: int
    start: int
    end: int
    children: int


def xml_elements(content: mmap.mmap, deepest: int, name: str) -> Iterator[Element]:
    """The elements down to depth `deepest`, each when it ends, inner ones first. Raises NotSound."""
    parser = expat.ParserCreate()
    open_elements: list[tuple[str, dict[str, str], int, list[int]]] = []
    ended: list[Element] = []

    def begin(tag: str, attributes: dict[str, str]) -> None:
        if open_elements:
            open_elements[-1][3][0] += 1
        kept = attributes if len(open_elements) <= deepest else {}
        open_elements.append((tag, kept, parser.CurrentByteIndex, [0]))

    def finish(tag: str) -> None:
        _, attributes, start, children = open_elements.pop()
        if len(open_elements) > deepest:
            return
        match = _START_TAG.match(content, start)
        if match and match[0].endswith(b"/>"):
            end = match.end()
        else:
            end = content.find(b">", parser.CurrentByteIndex) + 1 if match else 0
        if end <= 0:
            raise NotSound(f"{name} is not sound XML")
        ended.append(Element(tag, attributes, len(open_elements), start, end, children[0]))

    parser.StartElementHandler, parser.EndElementHandler = begin, finish
    try:
        for offset in range(0, len(content), PIECE_BYTES):
            parser.Parse(content[offset : offset + PIECE_BYTES], False)
            yield from ended
            ended.clear()
        parser.Parse(b"", True)
        yield from ended
    except expat.ExpatError as error:
        raise NotSound(f"{name} is not sound XML ({error})") from None


def with_indent(content: mmap.mmap, start: int) -> int:
    """Where the blank space before an offset begins, so that a cut leaves no empty line."""
    while start > 0 and content[start - 1 : start] in (b" ", b"\t", b"\n", b"\r"):
        start -= 1
    return start


def write_without(content: mmap.mmap, cuts: Iterable[Cut], file: BinaryIO) -> None:
    """Copies everything but the cuts, which come in order and lie apart."""
    at = 0
    for start, end in [*cuts, (len(content), len(content))]:
        while at < start:
            at += file.write(content[at : min(start, at + PIECE_BYTES)])
        at = end
