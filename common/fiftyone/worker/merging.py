"""Brings the edits of one field on one frame into the value that FiftyOne holds there now.

Only what was touched in CVAT is written: what people changed in FiftyOne meanwhile stays, and so does every byte of the
labels nobody touched. What an earlier load touched and is as it was again gets its original back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from common.fiftyone.changes import DELETED, Change, Touch
from common.fiftyone.permissions import ADDITIONS, Permissions
from common.fiftyone.things import Thing
from common.fiftyone.worker.counting import ADDED, CHANGED, PUT_BACK, REMOVED, SAME, Counts
from common.fiftyone.worker.labels import (
    ABSENT,
    STORED,
    Context,
    NotRepresentable,
    Path,
    at,
    edits,
    labels_in,
    paths_of,
    put,
    put_all,
)

# What loads did to labels of a place: {"touched": {label: [[kind, name], …]}, "added": [label, …]}
Memory = dict[str, Any]


@dataclass(slots=True)
class Merged:
    """The value to write, whether it differs from what is there, and what is to be remembered."""

    value: Any
    differs: bool
    memory: Memory
    missing: list[str] = field(default_factory=list)


class Merge:
    """One field on one frame."""

    def __init__(self, context: Context, permissions: Permissions, counts: Counts, told_as: str) -> None:
        self.context, self.field = context, context.field
        self.permissions, self.counts, self.told_as = permissions, counts, told_as
        self.key = STORED[context.field.kind][2]

    def run(
        self,
        original: Any,
        present: Any,
        changes: Sequence[Change],
        additions: Mapping[str, dict[str, Any]],
        earlier: Memory,
        index: Callable[[Thing], int | None],
    ) -> Merged:
        """`original`, `present`: stored values; `additions`: {id: label}; `earlier`: what former loads remembered."""
        self.originals = {str(label["_id"]): (place, label) for place, label in self._originals(original)}
        self.order = [str(label["_id"]) for _, label in self._originals(original)]
        self.labels = [deepcopy(label) for label in labels_in(self.field, present)]
        self.earlier = {key: [Touch(*one) for one in touches] for key, touches in earlier.get("touched", {}).items()}
        self.memory: Memory = {}
        self.missing: list[str] = []
        self.differs = False
        for label_id in earlier.get("added", []):
            if label_id not in additions or not self.permissions.additions:
                self._remove(label_id)
        for change in changes:
            self._change(change, index)
        self._put_back_others({change.original.label_id for change in changes})
        for label_id, label in additions.items():
            self._add(label_id, label)
        return Merged(self._value(original, present), self.differs, self.memory, self.missing)

    def _originals(self, original: Any) -> list[tuple[int, dict[str, Any]]]:
        return list(enumerate(labels_in(self.field, original)))

    def _find(self, label_id: str) -> dict[str, Any] | None:
        return next((label for label in self.labels if str(label["_id"]) == label_id), None)

    def _remove(self, label_id: str) -> None:
        label = self._find(label_id)
        if label is not None:
            self.labels.remove(label) if not self.field.single else self.labels.clear()
            self.differs = True
            self.counts.add(self.told_as, REMOVED)

    def _change(self, change: Change, index: Callable[[Thing], int | None]) -> None:
        label_id = change.original.label_id
        allowed = {touch for touch in change.touches if self.permissions.allow(touch.needs)}
        self.counts.ignored(self.told_as, (touch.needs for touch in change.touches - allowed))
        earlier = self.earlier.get(label_id, [])
        if Touch(DELETED) in allowed:
            self._remove(label_id)
            self.memory.setdefault("touched", {})[label_id] = [[DELETED, ""]]
            return
        if not allowed and not earlier:
            self.counts.add(self.told_as, SAME)
            return
        restored = self._restore(label_id, Touch(DELETED) in earlier)
        label = self._find(label_id)
        if label is None:
            self.missing.append(label_id)
            return
        _, original = self.originals[label_id]
        done, changed = [], False
        for touch in sorted(allowed):
            try:
                told = edits(original, change, touch, self.context, index)
            except NotRepresentable as error:
                self.counts.not_supported(self.told_as, str(error))
                continue
            changed |= put_all(label, told)
            done.append([touch.kind, touch.name])
        back = self._reset(label, original, [touch for touch in earlier if [touch.kind, touch.name] not in done])
        if done:
            self.memory.setdefault("touched", {})[label_id] = done
        self._count(changed, back or restored)

    def _count(self, changed: bool, back: bool) -> None:
        self.differs |= changed or back
        self.counts.add(self.told_as, CHANGED if changed else PUT_BACK if back else SAME)

    def _put_back_others(self, changed: set[str]) -> None:
        for label_id, touches in self.earlier.items():
            if label_id in changed or label_id not in self.originals:
                continue
            restored = self._restore(label_id, Touch(DELETED) in touches)
            label = self._find(label_id)
            if label is None:
                self.missing.append(label_id)
            else:
                self._count(False, self._reset(label, self.originals[label_id][1], touches) or restored)

    def _restore(self, label_id: str, was_deleted: bool) -> bool:
        """Puts a label back that an earlier load deleted, after the nearest of those that stood before it."""
        if not was_deleted or self._find(label_id) is not None or (self.field.single and self.labels):
            return False
        place, original = self.originals[label_id]
        there = {str(label["_id"]): at_place for at_place, label in enumerate(self.labels)}
        before = [there[one] for one in self.order[:place] if one in there]
        self.labels.insert(max(before) + 1 if before else 0, deepcopy(original))
        return True

    def _reset(self, label: dict[str, Any], original: Mapping[str, Any], touches: Sequence[Touch]) -> bool:
        changed = False
        for touch in touches:
            if touch.kind != DELETED:
                try:
                    paths = paths_of(touch, self.field, str(original.get("label")), self.context)
                except NotRepresentable:
                    continue  # it was never written
                for path in paths:
                    changed |= put(label, path, deepcopy(at(original, path)))
        return changed

    def _add(self, label_id: str, label: dict[str, Any]) -> None:
        if not self.permissions.additions:
            self.counts.ignored(self.told_as, [ADDITIONS])
            return
        present = self._find(label_id)
        if present is None and self.field.single and self.labels:
            self.counts.not_supported(self.told_as, "second label in a field that holds one")
            return
        self.memory.setdefault("added", []).append(label_id)
        if present is None:
            self.labels.append(label)
            self.differs = True
            self.counts.add(self.told_as, ADDED)
            return
        # Confidence, tags and the like were put on it in FiftyOne.
        own: dict[Path, Any] = {
            (key,): value for key, value in label.items() if key not in ("_id", "_cls", "tags", "attributes")
        }
        stale: dict[Path, Any] = {(key,): ABSENT for key in self._stale(present, label)}
        self._count(put_all(present, {**own, **stale}), False)

    def _stale(self, present: Mapping[str, Any], label: Mapping[str, Any]) -> list[str]:
        """Attributes that CVAT knows and that have no value there any more."""
        known = {name for specs in self.context.specs.values() for name in specs}
        return [key for key in present if key not in label and key in known | {"rotation", "cvat_shape"}]

    def _value(self, original: Any, present: Any) -> Any:
        if not self.differs:
            return present
        if self.field.single:
            return self.labels[0] if self.labels else None
        if not self.labels and original is None:
            return None
        holder = dict(present or original or {"_cls": STORED[self.field.kind][1]})
        return {**holder, self.key: self.labels}
