"""What the files of a project on disk are called: readable, safe everywhere, unique in the whole project."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from common.files import is_device
from common.sc.media import Media

LONGEST_BYTES = 120
# What follows the name of a video in the files of its annotations.
_FRAME = re.compile(r".*_(frame_\d+|ranges)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A stranger's name as a file name without its extension: what is unsafe on any file system becomes "_"."""
    clean = "".join(
        "_" if character in '/\\:*?"<>|[]' or unicodedata.category(character)[0] == "C" else character
        for character in unicodedata.normalize("NFC", name)
    )
    clean = clean.encode("utf-8", "replace")[:LONGEST_BYTES].decode("utf-8", "ignore").strip(" .")
    if is_device(clean):
        clean = f"_{clean}"
    return clean


def safe_id(identity: str) -> str:
    """A server's id as a part of a file name: ids are short and plain; of any other its hash stands there."""
    if re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", identity):
        return identity
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def stems_of(media: Iterable[Media], taken: Iterable[str] = ()) -> dict[str, str]:
    """The name of each file without its extension, by media id. `taken` are those of media that are not among these.

    It is the media's own name where that is safe and no other of the project has it, in any dataset, whatever the case;
    otherwise the id is added, to all that share it. Names that look like those of frames get their id too.
    """
    found, taken = list(media), list(taken)
    names = {each.id: safe_name(each.name) for each in found}
    count = Counter([*(name.casefold() for name in names.values()), *(stem.casefold() for stem in taken)])
    stems = {}
    for each in found:
        name = names[each.id]
        alone = name and name == each.name and count[name.casefold()] == 1 and not _FRAME.fullmatch(name)
        stems[each.id] = name if alone else f"{name or 'media'}_{safe_id(each.id)}"
    # An id in a name could still meet a name that looks like it.
    twice = Counter([*(stem.casefold() for stem in stems.values()), *(stem.casefold() for stem in taken)])
    for identity, stem in stems.items():
        if twice[stem.casefold()] > 1:
            tag = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:24]
            stems[identity] = f"{tag}_{stem}"
    return stems


class StemsInTurn:
    """The same for media that come one by one: the first of a name has it, all later ones get their id too."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, name: str, identity: str) -> str:
        clean = safe_name(name)
        plain = clean if clean and clean == name and not _FRAME.fullmatch(clean) else ""
        tag = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        with_id = f"{clean or 'media'}_{safe_id(identity)}"
        stem = next(
            each for each in (plain, with_id, f"{tag}_{with_id}") if each and each.casefold() not in self._taken
        )
        self._taken.add(stem.casefold())
        return stem


def dataset_folders(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The folder of each dataset, by its id, from (id, name)."""
    found = list(names)
    safe = {identity: safe_name(name) for identity, name in found}
    count = Counter(name.casefold() for name in safe.values())
    return {
        identity: name if name and count[name.casefold()] == 1 else f"{name or 'dataset'}_{safe_id(identity)}"
        for identity, name in safe.items()
    }


def project_folder(project_id: str, name: str) -> str:
    """The folder of a project below SC_DIR: its id keeps two of the same name apart, its name is for people."""
    prefix = f"{safe_id(project_id)}_" if project_id else ""
    return f"{prefix}{safe_name(name)}".rstrip("_") or "project"
