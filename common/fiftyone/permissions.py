"""Which edits made in CVAT a load may bring back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ADDITIONS, DELETIONS = "additions", "deletions"
LABEL_EDITS, INDEX_EDITS, SPATIAL_EDITS = "label_edits", "index_edits", "spatial_edits"
KINDS = (ADDITIONS, DELETIONS, LABEL_EDITS, SPATIAL_EDITS, INDEX_EDITS)


@dataclass(frozen=True, slots=True)
class Permissions:
    """What may come back; attributes may always."""

    additions: bool = True
    deletions: bool = True
    label_edits: bool = True
    index_edits: bool = True
    spatial_edits: bool = True

    def allow(self, kind: str | None) -> bool:
        return kind is None or bool(getattr(self, kind))


def permissions_of(field: str, told: Mapping[str, Any] | None, info: Mapping[str, Any]) -> Permissions:
    """A field's permissions: those told for it, else those told for all, else those of the label schema, else all.

    `told` is {"allow_additions": …} or {field: {"allow_additions": …}}; the names may come without "allow_".
    """
    told = told or {}
    own = told.get(field)
    sources: list[Mapping[str, Any]] = [own if isinstance(own, Mapping) else {}, told, info]

    def find(kind: str) -> bool:
        for source in sources:
            for name in (f"allow_{kind}", kind):
                if isinstance(source.get(name), bool):
                    return bool(source[name])
        return True

    return Permissions(**{kind: find(kind) for kind in KINDS})
