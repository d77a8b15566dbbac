"""Which label of FiftyOne a thing of the baseline is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.fiftyone.schema import SCALAR, SEGMENTATION, Field
from common.fiftyone.things import Thing


@dataclass(frozen=True, slots=True)
class Original:
    """A label as it was in FiftyOne when the run was created.

    `frame` is the task's, `place` the position in its list, `parts` how many shapes FiftyOne made of it.
    """

    field: str
    frame: int
    label_id: str
    place: int = 0
    parts: int = 1
    index: int | None = None


class Owners:
    """Finds the owner of each thing of a baseline by the `label_id` that FiftyOne wrote into it.

    Labels of one frame may share an id (bad data, cloned fields): then the class decides, and then the order.
    """

    def __init__(self, originals: Iterable[Original], fields: Sequence[Field]) -> None:
        self.fields: Mapping[str, Field] = {field.name: field for field in fields}
        self.by_id: dict[tuple[int, str], list[Original]] = defaultdict(list)
        self.by_index: dict[tuple[str, int, int], Original] = {}
        self.index_of: dict[int, int] = {}
        self._owner: dict[tuple[str, int, int, int], Original] = {}
        self._parts: dict[Original, list[Thing]] = defaultdict(list)
        for original in originals:
            self.by_id[(original.frame, original.label_id)].append(original)
            if original.index is not None:
                self.by_index.setdefault((original.field, original.frame, original.index), original)

    def of(self, thing: Thing) -> Original | None:
        return self._owner.get(thing.key)

    def parts(self, original: Original) -> list[Thing]:
        """What was sent of a label, in the order in which FiftyOne sent it."""
        return self._parts[original]

    def read_single(self, things: Iterable[Thing]) -> None:
        """Finds the owners of tags and shapes; the numbers of the server tell in which order they were sent."""
        for thing in sorted(things, key=lambda one: one.server_id):
            for candidate in self._scalars(thing) or self.by_id.get((thing.frame, thing.origin), []):
                field = self.fields[candidate.field]
                full = field.kind not in (SEGMENTATION, SCALAR) and len(self._parts[candidate]) >= candidate.parts
                if field.sends(thing) and not full:
                    self._own(thing, candidate)
                    break

    def read_track(self, things: Iterable[Thing]) -> int | None:
        """Finds the owners of one track's things, on frames between keyframes by the track's index. Returns it."""
        found = sorted(things, key=lambda one: (one.frame, one.part))
        indexes: Counter[tuple[str, int]] = Counter()
        rest = []
        for thing in found:
            known = self.by_id.get((thing.frame, thing.origin), []) if thing.keyframe and thing.origin else []
            owner = next((one for one in known if self.fields[one.field].sends(thing)), None)
            if owner is None:
                rest.append(thing)
                continue
            self._own(thing, owner)
            if owner.index is not None:
                indexes[(owner.field, owner.index)] += 1
        if not indexes:
            return None
        (field, index), _ = indexes.most_common(1)[0]
        for thing in rest:
            owner = self.by_index.get((field, thing.frame, index))
            if owner is not None and self.fields[field].sends(thing) and not self._parts[owner]:
                self._own(thing, owner)
        if found:
            self.index_of[found[0].server_id] = index
        return index

    def _scalars(self, thing: Thing) -> list[Original]:
        """Tags of scalar fields carry no id: they belong to the field that has their class."""
        return [
            Original(field.name, thing.frame, "")
            for field in self.fields.values()
            if field.kind == SCALAR and field.sends(thing) and not thing.origin
        ][:1]

    def _own(self, thing: Thing, original: Original) -> None:
        self._owner[thing.key] = original
        self._parts[original].append(thing)
