"""What the files of a project on disk are called: readable, safe everywhere, unique in the whole project."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from common.files import slug
from common.sc.media import Media

LONGEST_BYTES = 120
# Names that Windows keeps for devices, whatever their extension.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# What follows the name of a video in the files of its annotations.
_FRAME = re.compile(r".*_(frame_\d+|ranges)", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A stranger's name as a file name without its extension: what is unsafe on any file system becomes "_"."""
    clean = "".join(
        "_" if character in '/\\:*?"<>|[]' or unicodedata.category(character)[0] == "C" else character
        for character in unicodedata.normalize("NFC", name)
    )
    clean = clean.encode("utf-8", "replace")[:LONGEST_BYTES].decode("utf-8", "ignore").strip(" .")
    if _DEVICES.fullmatch(clean):
        clean = f"_{clean}"
    return clean


def stems_of(media: Iterable[Media]) -> dict[str, str]:
    """The name of each file without its extension, by media id.

    It is the media's own name where that is safe and no other of the project has it, in any dataset, whatever the case;
    otherwise the id is added, to all that share it. Names that look like those of frames get their id too.
    """
    found = list(media)
    names = {each.id: safe_name(each.name) for each in found}
    count = Counter(name.casefold() for name in names.values())
    stems = {}
    for each in found:
        name = names[each.id]
        alone = name and name == each.name and count[name.casefold()] == 1 and not _FRAME.fullmatch(name)
        stems[each.id] = name if alone else f"{name or 'media'}_{safe_name(each.id)}"
    # An id in a name could still meet a name that looks like it.
    taken = Counter(stem.casefold() for stem in stems.values())
    for identity, stem in stems.items():
        if taken[stem.casefold()] > 1:
            stems[identity] = f"{slug(identity) or 'media'}_{stem}"[:LONGEST_BYTES] + f"_{safe_name(identity)}"
    return stems


def dataset_folders(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The folder of each dataset, by its id, from (id, name)."""
    found = list(names)
    safe = {identity: safe_name(name) for identity, name in found}
    count = Counter(name.casefold() for name in safe.values())
    return {
        identity: name if name and count[name.casefold()] == 1 else f"{name or 'dataset'}_{identity}"
        for identity, name in safe.items()
    }


def project_folder(project_id: str, name: str) -> str:
    """The folder of a project below SC_DIR: its id keeps two of the same name apart, its name is for people."""
    return f"{safe_name(project_id)}_{safe_name(name)}".rstrip("_")
