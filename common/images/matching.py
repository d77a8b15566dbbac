"""Which object a name means: the exact key, then the file name, then the name without extension; never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from common.images.names import canonical, stem_of

# How an object was found. "path": the end of its key is the whole path asked for.
How = Literal["key", "path", "name", "stem", "missing", "ambiguous"]
Rule = Literal["skip", "first", "largest"]
# So many of the objects that fit one name are looked at; more are "and others".
MOST_CANDIDATES = 10


class Candidate(NamedTuple):
    """An object that may be meant."""

    id: int
    key: str
    size_bytes: int


class Match(NamedTuple):
    """What was decided for one name. `candidates` are all that fitted equally well."""

    how: How
    chosen: Candidate | None
    candidates: Sequence[Candidate] = ()


def key_endings(name: str) -> list[tuple[How, str, bool]]:
    """How the keys that a name may mean end, the most exact first; True: compare without the extension.

    >>> key_endings("b/a.jpg")
    [('path', '/b/a.jpg', False), ('name', '/a.jpg', False), ('path', '/b/a', True), ('stem', '/a', True)]
    """
    if name.startswith("s3://"):
        return []  # an address in another bucket: what is called the same in this one is something else
    path = canonical(name)
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


def decide(levels: Iterable[tuple[How, Sequence[Candidate]]], rule: Rule = "skip") -> Match:
    """Decides by the first level that has a candidate. Several are ambiguous, unless a rule chooses among them."""
    for how, candidates in levels:
        if len(candidates) == 1:
            return Match(how, candidates[0], candidates)
        if candidates:
            if rule == "skip":
                return Match("ambiguous", None, candidates)
            if rule == "first":
                return Match(how, min(candidates, key=lambda each: each.key), candidates)
            return Match(how, min(candidates, key=lambda each: (-each.size_bytes, each.key)), candidates)
    return Match("missing", None)
