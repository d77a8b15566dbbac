"""Which object a name means: the exact key, then the file name, then the name without extension."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from common.images.gathering import Groups, NameRow, ObjectRow
from common.images.names import kind_of, stem_of

# How an object was found. "path": the end of its key is the whole path asked for.
How = Literal["key", "path", "name", "stem", "missing", "ambiguous"]
Rule = Literal["skip", "first", "largest"]
# So many of the objects that fit one name are told of; more are "and others".
MOST_CANDIDATES = 10
# From here on the objects of one stem are looked up in an index.
MANY = 8
NAMES_AT_ONCE = 5000


# What was decided for one name: how, the object, and, when several fitted equally well, their keys; or why it is missing.
Match = tuple[How, ObjectRow | None, tuple[str, ...]]
MISSING: Match = ("missing", None, ())


def matches(
    names: Sequence[NameRow], groups: Groups, root: str, rule: Rule = "skip", check: Callable[[], None] = lambda: None
) -> Iterator[Match]:
    """What each of these names means. `groups` holds all objects of their stems; `root` is the prefix, ended by `/`.

    All names of these stems must be among `names`: two that differ in their folders must not become one file. `check` is
    called now and then while that takes long.
    """
    means = Meanings(groups, root, rule).means
    found: list[Match] = []
    for _, _, key, path, stem in names:
        if not len(found) % NAMES_AT_ONCE:
            check()
        found.append(means(key, path, stem))
    strays = Strays(names, found)
    if not strays:
        yield from found
        return
    for (_, _, _, path, _), match in zip(names, found, strict=True):
        if is_stray(match[0], path) and (why := strays.why_not(match, path)):
            yield "missing", None, (why,)
        else:
            yield match


def is_stray(how: How, path: str) -> bool:
    """Whether a name that was asked for in a folder was found without regard to it."""
    return how in ("name", "stem") and "/" in path


class Meanings:
    """What names mean, each by itself."""

    def __init__(self, groups: Groups, root: str, rule: Rule) -> None:
        self._groups = groups
        self._root = root
        self._rule: Rule = rule
        self._indexed: dict[str, Namesakes] = {}

    def means(self, key: str, path: str, stem: str) -> Match:
        """Decides for one name, given as in a NameRow."""
        group = self._groups.get(stem)
        if group is None:
            return MISSING
        if len(group) == 1 and "/" not in path:
            # What nearly every name is: no folders, one object of its stem.
            only = group[0]
            if only[0] == key or only[0] == self._root + key:
                return "key", only, ()
            if not path:
                return MISSING
            if only[4] == path or only[4].endswith("/" + path):
                return "name", only, ()
            return ("stem", only, ()) if of_kind(kind_of(path), group) else MISSING
        namesakes = self._indexed.get(stem)
        if namesakes is None:
            namesakes = self._indexed[stem] = Namesakes(group)
        return decide(namesakes, key, path, self._root, self._rule)


class Strays:
    """Objects that were found for names without regard to their folders, and who else means them. False: there are none.

    Names like `C:\\imgs\\a.jpg` are found so. But `val/a.jpg` is not `train/a.jpg`: where somebody else means the same
    object as well or better, a stray is missing.
    """

    def __init__(self, names: Sequence[NameRow], found: Sequence[Match]) -> None:
        # By key, each how: the first path, and another one if there is.
        self._strays: dict[How, dict[str, str]] = {"name": {}, "stem": {}}
        self._others: dict[How, dict[str, str]] = {"name": {}, "stem": {}}
        self._owners: dict[str, str] = {}
        for (_, _, _, path, _), (how, chosen, _) in zip(names, found, strict=True):
            if chosen is not None and is_stray(how, path) and self._strays[how].setdefault(chosen[0], path) != path:
                self._others[how][chosen[0]] = path
        for (_, _, _, path, _), (how, chosen, _) in zip(names, found, strict=True) if self else ():
            if (
                chosen is not None
                and not is_stray(how, path)
                and any(chosen[0] in keys for keys in self._strays.values())
            ):
                self._owners[chosen[0]] = path

    def __bool__(self) -> bool:
        return bool(self._strays["name"] or self._strays["stem"])

    def why_not(self, match: Match, path: str) -> str:
        """Why a stray is not to be taken; "" when it is."""
        how, chosen, _ = match
        assert chosen is not None
        key = chosen[0]
        other = self._owners.get(key) or (self._strays["name"].get(key) if how == "stem" else None)
        if other is None and key in self._others[how]:
            first = self._strays[how][key]
            other = self._others[how][key] if first == path else first
        return f"only {key} in another folder fits, and {other} was asked for, too" if other else ""


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
        self._decided: dict[tuple[str, str | None], Match | None] = {}
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

    def decided(self, how: How, ending: str, kind: str | None, rule: Rule) -> Match | None:
        """What this level says; None when nothing ends so. Thousands of names may end in the same way."""
        asked = (ending, kind)
        if asked not in self._decided:
            fitting = self.ending(ending, kind is not None)
            self._decided[asked] = _chosen(how, fitting if kind is None else of_kind(kind, fitting), rule)
        found = self._decided[asked]
        return found if found is None or found[0] == "ambiguous" else (how, *found[1:])


def decide(objects: Namesakes, key: str, path: str, root: str, rule: Rule) -> Match:
    """Decides by the first level that has an object. Several are ambiguous, unless a rule chooses among them."""
    exact = objects.by_key.get(key) or objects.by_key.get(root + key)
    if exact is not None:
        return "key", exact, ()
    for how, ending, without_extension in key_endings(key, path):
        if (found := objects.decided(how, ending, kind_of(path) if without_extension else None, rule)) is not None:
            return found
    return MISSING


def of_kind(kind: str, objects: list[ObjectRow]) -> list[ObjectRow]:
    """Those that a name of this kind may mean without its extension: the label of an image is not the image.

    Of no kind, as `0001`: images if there are any, else videos, else all.
    """
    if kind:
        return [each for each in objects if kind_of(each[4]) in (kind, "")]
    for first in ("image", "video"):
        if found := [each for each in objects if kind_of(each[4]) == first]:
            return found
    return objects


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
