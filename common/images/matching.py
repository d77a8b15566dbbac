"""Which object a name means: the exact key, then the file name, then the name without extension; never a guess."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Literal

from common.images.gathering import Groups, NameRow, ObjectRow
from common.images.names import stem_of

# How an object was found. "path": the end of its key is the whole path asked for.
How = Literal["key", "path", "name", "stem", "missing", "ambiguous"]
Rule = Literal["skip", "first", "largest"]
# So many of the objects that fit one name are told of; more are "and others".
MOST_CANDIDATES = 10
# From here on the objects of one stem are looked up in an index.
MANY = 8


# What was decided for one name: how, the object, and, when several fitted equally well, their keys.
Match = tuple[How, ObjectRow | None, tuple[str, ...]]
MISSING: Match = ("missing", None, ())


def matches(names: Sequence[NameRow], groups: Groups, root: str, rule: Rule = "skip") -> Iterator[Match]:
    """What each of these names means. `groups` holds all objects of their stems; `root` is the prefix, ended by `/`."""
    indexed: dict[str, Namesakes] = {}
    for _, _, key, path, stem in names:
        group = groups.get(stem)
        if group is None:
            yield MISSING
            continue
        if len(group) == 1 and "/" not in path:
            # What nearly every name is: no folders, one object of its stem.
            only = group[0]
            if only[0] == key or only[0] == root + key:
                yield "key", only, ()
            elif not path:
                yield MISSING
            else:
                yield "name" if only[4] == path or only[4].endswith("/" + path) else "stem", only, ()
            continue
        namesakes = indexed.get(stem)
        if namesakes is None:
            namesakes = indexed[stem] = Namesakes(group)
        yield decide(namesakes, key, path, root, rule)


def key_endings(key: str, path: str) -> list[tuple[How, str, bool]]:
    """How the keys that a name may mean end, the most exact first; True: compare without the extension.

    >>> key_endings("b/a.jpg", "b/a.jpg")
    [('path', '/b/a.jpg', False), ('name', '/a.jpg', False), ('path', '/b/a', True), ('stem', '/a', True)]
    """
    if key.startswith("s3://"):
        return []  # an address in another bucket: what is called the same in this one is something else
    base = path.rpartition("/")[2]
    if not base:
        return []
    stem = stem_of(base)
    if base == path:
        return [("name", f"/{base}", False), ("stem", f"/{stem}", True)]
    return [
        ("path", f"/{path}", False),
        ("name", f"/{base}", False),
        ("path", f"/{stem_of(path)}", True),
        ("stem", f"/{stem}", True),
    ]


class Namesakes:
    """The objects of one stem. A listing that tells of a key twice has it once here."""

    def __init__(self, objects: Sequence[ObjectRow]) -> None:
        self.by_key: dict[str, ObjectRow] = {}
        for each in objects:
            self.by_key.setdefault(each[0], each)
        self._decided: dict[tuple[str, bool], Match | None] = {}
        self._sorted: dict[bool, tuple[list[str], list[ObjectRow]]] = {}

    def ending(self, ending: str, without_extension: bool) -> list[ObjectRow]:
        """Those whose path ends so."""
        if len(self.by_key) < MANY:
            return [each for each in self.by_key.values() if _whole(each, without_extension).endswith(ending)]
        if without_extension not in self._sorted:
            # Backwards, so that what ends alike stands side by side.
            backwards = sorted((_whole(each, without_extension)[::-1], each) for each in self.by_key.values())
            self._sorted[without_extension] = ([text for text, _ in backwards], [each for _, each in backwards])
        texts, objects = self._sorted[without_extension]
        begin = ending[::-1]
        return objects[bisect_left(texts, begin) : bisect_left(texts, begin[:-1] + "0")]  # "0" stands behind "/"

    def decided(self, how: How, ending: str, without_extension: bool, rule: Rule) -> Match | None:
        """What this level says; None when nothing ends so. Thousands of names may end in the same way."""
        asked = (ending, without_extension)
        if asked not in self._decided:
            self._decided[asked] = _chosen(how, self.ending(ending, without_extension), rule)
        found = self._decided[asked]
        return found if found is None or found[0] == "ambiguous" else (how, *found[1:])


def decide(objects: Namesakes, key: str, path: str, root: str, rule: Rule) -> Match:
    """Decides by the first level that has an object. Several are ambiguous, unless a rule chooses among them."""
    exact = objects.by_key.get(key) or objects.by_key.get(root + key)
    if exact is not None:
        return "key", exact, ()
    for how, ending, without_extension in key_endings(key, path):
        if (found := objects.decided(how, ending, without_extension, rule)) is not None:
            return found
    return MISSING


def _chosen(how: How, fitting: list[ObjectRow], rule: Rule) -> Match | None:
    if len(fitting) <= 1:
        return (how, fitting[0], ()) if fitting else None
    keys = tuple(sorted(each[0] for each in fitting)[:MOST_CANDIDATES])
    if rule == "skip":
        return "ambiguous", None, keys
    if rule == "first":
        return how, min(fitting, key=lambda each: each[0]), keys
    return how, min(fitting, key=lambda each: (-each[1], each[0])), keys


def _whole(each: ObjectRow, without_extension: bool) -> str:
    return "/" + (stem_of(each[4]) if without_extension else each[4])
