"""Labels and attributes by name: what ties saved annotations to a task whose ids are others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Path = tuple[str, ...]  # ("person", "head") for a sublabel, ("car",) for a label


@dataclass
class Labels:
    """The labels of one project or task, both ways."""

    path_of: dict[int, Path] = field(default_factory=dict)
    id_of: dict[Path, int] = field(default_factory=dict)
    spec_name: dict[int, tuple[Path, str]] = field(default_factory=dict)
    spec_id: dict[tuple[Path, str], int] = field(default_factory=dict)
    # What CVAT fills in where an attribute is missing: by label, (spec id, default, may change along a track).
    defaults: dict[int, list[tuple[int, str, bool]]] = field(default_factory=dict)


def labels_of(raw: Iterable[Mapping[str, Any]]) -> Labels:
    """Reads labels as /api/labels gives them: sublabels nested, a sublabel may be called like a label."""
    found = Labels()
    for label in raw:
        _take(found, label, ())
    return found


def _take(found: Labels, label: Mapping[str, Any], parent: Path) -> None:
    path = (*parent, str(label["name"]))
    number = int(label["id"])
    found.path_of[number] = path
    found.id_of[path] = number
    found.defaults[number] = []
    for spec in label.get("attributes") or ():
        spec_id, name = int(spec["id"]), str(spec["name"])
        found.spec_name[spec_id] = (path, name)
        found.spec_id[path, name] = spec_id
        found.defaults[number].append((spec_id, str(spec.get("default_value", "")), bool(spec.get("mutable"))))
    for sublabel in label.get("sublabels") or ():
        _take(found, sublabel, path)


@dataclass
class Translation:
    """From the ids of saved annotations to those of a target. `missing` gathers what the target does not have."""

    saved: Labels
    target: Labels
    missing: set[str] = field(default_factory=set)

    def item(self, item: Mapping[str, Any], *, in_track: bool = False) -> dict[str, Any]:
        """One tag, shape, track or element for a PUT: all ids of its own left out, labels and attributes translated."""
        made = {key: value for key, value in item.items() if key not in ("id", "keyframe")}
        label_id = None
        if "label_id" in item:
            path = self.saved.path_of.get(int(item["label_id"]))
            label_id = self.target.id_of.get(path) if path else None
            if label_id is None:
                self.missing.add(f"label {' / '.join(path)!r}" if path else f"the label with id {item['label_id']}")
            made["label_id"] = label_id
        is_track = "label_id" in item and isinstance(item.get("shapes"), list)
        made["attributes"] = self._attributes(item.get("attributes") or (), label_id, is_track=is_track)
        for inner in ("shapes", "elements"):
            if isinstance(item.get(inner), list):
                made[inner] = [self.item(each, in_track=is_track) for each in item[inner]]
        return made

    def _attributes(
        self, given: Iterable[Mapping[str, Any]], label_id: int | None, *, is_track: bool
    ) -> list[dict[str, Any]]:
        made, present = [], set()
        for attribute in given:
            named = self.saved.spec_name.get(int(attribute["spec_id"]))
            spec_id = self.target.spec_id.get(named) if named else None
            if spec_id is None:
                what = f"attribute {named[1]!r} of label {' / '.join(named[0])!r}" if named else "an unknown attribute"
                self.missing.add(what)
                continue
            present.add(spec_id)
            made.append({"spec_id": spec_id, "value": attribute["value"]})
        # What CVAT would fill in by itself, so that what is there afterwards can be compared with what was sent.
        for spec_id, default, mutable in self.target.defaults.get(label_id or 0, ()):
            if spec_id not in present and not (is_track and mutable):
                made.append({"spec_id": spec_id, "value": default})
        return made
