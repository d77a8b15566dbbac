"""Values that all things of a frame make together: a segmentation, a scalar."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from bson import ObjectId

from common.fiftyone.changes import Redrawn
from common.fiftyone.permissions import ADDITIONS, DELETIONS, LABEL_EDITS, SPATIAL_EDITS, Permissions
from common.fiftyone.things import Thing
from common.fiftyone.values import NotThisType, scalar
from common.fiftyone.worker import masks
from common.fiftyone.worker.counting import ADDED, CHANGED, PUT_BACK, REMOVED, SAME, Counts
from common.fiftyone.worker.labels import Context
from common.fiftyone.worker.merging import Memory, Merged

NOTHING = Redrawn((), ())


class Together:
    """One segmentation or scalar field on one frame."""

    def __init__(self, context: Context, permissions: Permissions, counts: Counts, told_as: str) -> None:
        self.context, self.permissions, self.counts, self.told_as = context, permissions, counts, told_as

    def segmentation(self, redrawn: Redrawn, original: Any, present: Any, earlier: Memory, new_id: str) -> Merged:
        """Changes only those elements of the array whose pixels differ between then and now in CVAT.

        Remembers which those were ({"painted": rows of the array}), to give them their original value later.
        """
        removed_before = bool(earlier.get("removed"))
        if present is None and original is not None and not removed_before:
            return Merged(None, False, {}, [str(original["_id"])])
        label = deepcopy(present if present is not None else original)
        values = masks.targets(self.context.info.get("mask_targets") or {})
        array = None if label is None else masks.array_of(label)
        if array is None:
            array = masks.empty_segmentation(self.context.size, values)
        was = None if label is None else array.copy()
        first = masks.array_of(original) if original is not None else None
        rows = masks.repainted(
            array.shape, self._valued(redrawn.before, values), self._valued(redrawn.after, values), self.context.size
        )
        needed = ADDITIONS if original is None else SPATIAL_EDITS
        if rows and not self.permissions.allow(needed):
            self.counts.ignored(self.told_as, [needed])
            rows = []
        back = [row for row in earlier.get("painted", []) if row[0] < array.shape[0]]
        if first is None:
            masks.paint(array, back, 0)
        elif first.shape == array.shape:
            masks.put_back(array, first, back)
        for row, value in rows:
            masks.paint(array, [row], value)
        memory: Memory = {"painted": [list(row) for row, _ in rows]} if rows else {}
        if not array.any() and not redrawn.after:
            return self._without_regions(redrawn, original, present, memory)
        if was is not None and (array == was).all():
            self.counts.add(self.told_as, PUT_BACK if present is None else SAME)
            return Merged(label, present is None, memory)
        if first is not None and first.shape == array.shape and (array == first).all():
            assert original is not None and label is not None
            for key in ("mask", "mask_path"):  # to the byte, or to the file again
                label.pop(key, None)
                if original.get(key) is not None:
                    label[key] = original[key]
        else:
            label = label or {"_id": ObjectId(new_id), "_cls": "Segmentation", "tags": []}
            label["mask"] = masks.bytes_of(array)
            label.pop("mask_path", None)
        self.counts.add(self.told_as, ADDED if present is None and original is None else CHANGED if rows else PUT_BACK)
        return Merged(label, True, memory)

    def _without_regions(self, redrawn: Redrawn, original: Any, present: Any, memory: Memory) -> Merged:
        """Nothing but background is left: as in FiftyOne, the segmentation is gone."""
        if present is None:
            return Merged(None, False, {**memory, "removed": True} if original is not None else {})
        if original is not None and redrawn.before and not self.permissions.allow(DELETIONS):
            self.counts.ignored(self.told_as, [DELETIONS])
            return Merged(present, False, {})
        self.counts.add(self.told_as, REMOVED)
        return Merged(None, True, {**memory, "removed": True} if original is not None else {})

    def _valued(self, things: Sequence[Thing], values: dict[str, Any]) -> list[tuple[Thing, Any]]:
        found = []
        for thing in things:
            value = values.get(self.context.field.classes.get(thing.label, ""))
            if value is None:
                self.counts.not_supported(self.told_as, "class without a mask target")
            else:
                found.append((thing, value))
        return found

    def scalar(self, redrawn: Redrawn, original: Any, present: Any, earlier: Memory, kind: type) -> Merged:
        """The value of the tag that was changed or made; of several the newest, which is told."""
        if len(redrawn.after) > 1:
            self.counts.not_supported(self.told_as, "several values on a frame")
        was = {thing.server_id: self.text(thing) for thing in redrawn.before}
        touched = [thing for thing in redrawn.after if was.get(thing.server_id) != self.text(thing)]
        if touched:
            text = self.text(max(touched, key=lambda thing: thing.server_id))
            if text in was.values() and len(redrawn.after) == 1:
                return self._back(original, present, earlier)  # uploaded anew with the value it had
            try:
                value = scalar(text, kind)
            except NotThisType as error:
                self.counts.not_supported(self.told_as, str(error))
                return self._back(original, present, earlier)
            return self._set(value, ADDITIONS if original is None else LABEL_EDITS, original, present, earlier)
        if redrawn.before and not redrawn.after:
            return self._set(None, DELETIONS, original, present, earlier)
        return self._back(original, present, earlier)

    def text(self, thing: Thing) -> str:
        """The text of a scalar's tag: its class, or else its attribute."""
        if self.context.info.get("classes"):
            return self.context.field.classes[thing.label]
        attributes = dict(thing.attributes)
        return attributes.get("value", next(iter(attributes.values()), ""))

    def _set(self, value: Any, needed: str, original: Any, present: Any, earlier: Memory) -> Merged:
        if not self.permissions.allow(needed):
            self.counts.ignored(self.told_as, [needed])
            return self._back(original, present, earlier)
        if type(present) is type(value) and present == value:
            self.counts.add(self.told_as, SAME)
            return Merged(present, False, {"value": True})
        what = REMOVED if value is None else ADDED if present is None else CHANGED
        self.counts.add(self.told_as, what)
        return Merged(value, True, {"value": True})

    def _back(self, original: Any, present: Any, earlier: Memory) -> Merged:
        if not earlier.get("value") or (type(present) is type(original) and present == original):
            self.counts.add(self.told_as, SAME, 0 if original is None else 1)
            return Merged(present, False, {})
        self.counts.add(self.told_as, PUT_BACK if original is not None else REMOVED)
        return Merged(original, True, {})
