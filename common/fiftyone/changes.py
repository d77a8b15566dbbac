"""The law of the round trip: what differs between what was sent to CVAT and what it holds now, and nothing else.

Three things are compared: the labels that were in FiftyOne (`originals`), the task right after the upload (`baseline`)
and the task now (`current`). A thing that is equal in baseline and current is touched by nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from common.fiftyone.geometry import same_shape
from common.fiftyone.owners import Original, Owners
from common.fiftyone.permissions import DELETIONS, INDEX_EDITS, LABEL_EDITS, SPATIAL_EDITS
from common.fiftyone.schema import SCALAR, SEGMENTATION, Field, field_for
from common.fiftyone.things import TAG, TRACK, Between, Held, Spec, Thing, expand

LABEL, GEOMETRY, ROTATION, ATTRIBUTE, OCCLUDED, GROUP, INDEX, DELETED = (
    "label geometry rotation attribute occluded group index deleted".split()
)
# Which permission an edit needs; attributes, occluded and group need none, as in FiftyOne.
NEEDS = {LABEL: LABEL_EDITS, GEOMETRY: SPATIAL_EDITS, ROTATION: SPATIAL_EDITS, INDEX: INDEX_EDITS, DELETED: DELETIONS}

Key = tuple[str, int, int, int]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True, order=True)
class Touch:
    """One aspect of a label that somebody changed in CVAT; `name` is that of an attribute."""

    kind: str
    name: str = ""

    @property
    def needs(self) -> str | None:
        return NEEDS.get(self.kind)


@dataclass(frozen=True, slots=True)
class Change:
    """A label that CVAT holds otherwise than it was sent: its parts then and now (None: gone), and what was touched."""

    original: Original
    before: tuple[Thing, ...]
    after: tuple[Thing | None, ...]
    touches: frozenset[Touch]

    def now(self, touch: Touch) -> Thing:
        """The thing that shows how an aspect is now: the first part on which it changed."""
        there = [(one, part) for one, part in zip(self.before, self.after, strict=True) if part is not None]
        changed = [part for one, part in there if touch in touches_between(one, part, {})]
        return (changed or [part for _, part in there])[0]


@dataclass(frozen=True, slots=True)
class Addition:
    """A thing made in CVAT, and the field it belongs to; not `expected`: that field has no labels of this kind."""

    thing: Thing
    field: str | None
    expected: bool
    instead_of: Original | None = None  # the label that this thing was


@dataclass(frozen=True, slots=True)
class Redrawn:
    """All things of one field on one frame then and now, where they make one value together: segmentation, scalar."""

    before: tuple[Thing, ...]
    after: tuple[Thing, ...]


@dataclass(slots=True)
class Outcome:
    """What a comparison found. `indexes`: the FiftyOne index of current tracks; those not in it are new tracks.
    `unknown`: things of segmentations and scalars that got a class of no field, by the field's name."""

    changes: list[Change] = field(default_factory=list)
    additions: list[Addition] = field(default_factory=list)
    redrawn: dict[Place, Redrawn] = field(default_factory=dict)
    indexes: dict[int, int] = field(default_factory=dict)
    unknown: list[tuple[str, Thing]] = field(default_factory=list)


def touches_between(
    before: Thing, now: Thing, specs: Mapping[str, Mapping[str, Spec]], new_track: bool = False
) -> frozenset[Touch]:
    """What is different about a thing. An attribute that only its new class has counts when it is not the default."""
    found = set()
    if before.label != now.label:
        found.add(Touch(LABEL))
    computed = not (before.keyframe and now.keyframe)
    if not same_shape(before.shape, before.points, now.shape, now.points, computed):
        found.add(Touch(GEOMETRY))
    if abs(before.rotation - now.rotation) > (0.01 if computed else 0):
        found.add(Touch(ROTATION))
    if before.occluded != now.occluded:
        found.add(Touch(OCCLUDED))
    if before.group != now.group:
        found.add(Touch(GROUP))
    if new_track or (before.kind == TRACK) != (now.kind == TRACK):
        found.add(Touch(INDEX))
    had = dict(before.attributes)
    for name, value in now.attributes:
        if value != (had[name] if name in had else _default(specs, now.label, name)):
            found.add(Touch(ATTRIBUTE, name))
    return frozenset(found)


def compare(
    baseline: Held,
    current: Held,
    originals: Iterable[Original],
    fields: Sequence[Field],
    last_frame: int,
    between: Between,
) -> Outcome:
    """What people did in CVAT. `last_frame`: of the task, 0-based; `between`: how shapes move between keyframes."""
    return _Comparison(baseline, current, Owners(originals, fields), fields, last_frame, between).run()


class _Comparison:
    def __init__(
        self, baseline: Held, current: Held, owners: Owners, fields: Sequence[Field], last_frame: int, between: Between
    ) -> None:
        self.baseline, self.current, self.owners = baseline, current, owners
        self.fields, self.by_name = fields, {one.name: one for one in fields}
        self.last_frame, self.between = last_frame, between
        self.gone: dict[Key, Thing] = {}
        self.new: dict[Key, Thing] = {}
        self.pairs: dict[Key, tuple[Thing, Thing]] = {}  # by the baseline's key
        self.was: dict[Key, Original] = {}  # what a new thing was, by its key
        self.own: dict[Key, Field] = {}  # the field of a new thing whose class belongs to none
        self.out = Outcome()

    def run(self) -> Outcome:
        self.owners.read_single(self.baseline.single.values())
        _split(self.baseline.single, self.current.single, self.gone, self.new, self.pairs)
        self._compare_tracks()
        dirty = self._together()
        takes_over = self._match_by_origin()
        self._label_changes(takes_over)
        for thing in sorted(self.new.values(), key=lambda one: (one.frame, one.kind, one.server_id)):
            belongs, expected = field_for(thing, self.fields)
            if thing.key in self.own:
                belongs, expected = self.own[thing.key], True
            if not (belongs and expected and belongs.kind in (SCALAR, SEGMENTATION)):
                name = belongs.name if belongs else None
                self.out.additions.append(Addition(thing, name, expected, self.was.get(thing.key)))
        for place in sorted(dirty):
            self.out.redrawn[place] = self._redrawn(place)
        return self.out

    def _compare_tracks(self) -> None:
        """Tracks that are equal as a whole are left alone; the others are compared frame by frame."""
        for track_id in sorted({*self.baseline.tracks, *self.current.tracks}):
            was, now = self.baseline.tracks.get(track_id), self.current.tracks.get(track_id)
            if was is not None and now is not None and was.keys == now.keys:
                continue
            before = _by_key(expand(was, self.last_frame, self.between)) if was else {}
            after = _by_key(expand(now, self.last_frame, self.between)) if now else {}
            index = self.owners.read_track(before.values())
            if index is not None and now is not None:
                self.out.indexes[track_id] = index
            _split(before, after, self.gone, self.new, self.pairs)

    def _together(self) -> set[Place]:
        """The fields and frames whose things make one value together and changed; takes them out of the lists."""
        dirty: set[Place] = set()
        for key, thing in list(self.gone.items()):
            if place := self._one_value(thing):
                dirty.add(place)
                del self.gone[key]
        for key, (before, now) in list(self.pairs.items()):
            if place := self._one_value(before):
                dirty.add(place)
                del self.pairs[key]
                if now.label not in self.by_name[place[0]].classes and not self._is_unknown(now):
                    self.new[now.key] = now
        for thing in self.new.values():
            belongs, expected = field_for(thing, self.fields)
            if belongs and expected and belongs.kind in (SCALAR, SEGMENTATION):
                dirty.add((belongs.name, thing.frame))
        return dirty

    def _one_value(self, thing: Thing) -> Place | None:
        """The place of a thing of the baseline that makes one value with others; None: it is a label of its own."""
        owner = self.owners.of(thing)
        if owner is not None and self.by_name[owner.field].kind in (SCALAR, SEGMENTATION):
            return (owner.field, thing.frame)
        return None

    def _redrawn(self, place: Place) -> Redrawn:
        own = self.by_name[place[0]]
        before, after = [], []
        for thing in self.baseline.single.values():
            owner = self.owners.of(thing) if thing.frame == place[1] else None
            if owner is not None and owner.field == place[0]:
                before.append(thing)
                now = self.current.single.get(thing.key)
                if now is not None and self._is_unknown(now):  # no value stands for such a class: it keeps its own
                    self.out.unknown.append((own.name, now))
                    values = thing.attributes if own.kind == SCALAR else now.attributes
                    now = replace(now, label=thing.label, attributes=values)
                if now is not None and now.label in own.classes:
                    after.append(now)
        for thing in self.new.values():
            if thing.frame == place[1] and field_for(thing, self.fields) == (own, True):
                after.append(thing)
        return Redrawn(_by_id(before), _by_id(after))

    def _match_by_origin(self) -> dict[int, int]:
        """Finds things again that got another number on the server: uploaded anew, split, merged, made a track.

        A copy of a thing that is still there names the same label and stays a new thing. Returns which new track takes
        over which old one.
        """
        waiting: dict[tuple[int, str], list[Key]] = defaultdict(list)
        for key, thing in sorted(self.gone.items()):
            if owner := self.owners.of(thing):
                waiting[(thing.frame, owner.label_id)].append(key)
        follows: dict[int, list[int]] = defaultdict(list)
        for key, thing in sorted(self.new.items()):
            for old in waiting.get((thing.frame, thing.origin), []) if thing.origin else []:
                owner = self.owners.of(self.gone[old])
                if owner is not None and self._fits(owner, old, thing):
                    waiting[(thing.frame, thing.origin)].remove(old)
                    self._pair(old, key)
                    if old[0] == key[0] == TRACK and old[1] not in follows[key[1]]:
                        follows[key[1]].append(old[1])
                    break
        for key in [key for key in sorted(self.new) if key[0] == TRACK]:
            for track_id in follows.get(key[1], []):
                if (old := (TRACK, track_id, key[2], key[3])) in self.gone:
                    self._pair(old, key)
                    break
        return self._heirs(follows)

    def _heirs(self, follows: Mapping[int, Sequence[int]]) -> dict[int, int]:
        takes_over: dict[int, int] = {}
        for new_id in sorted(follows):
            for old_id in sorted(follows[new_id]):
                if old_id not in self.current.tracks and old_id not in takes_over.values():
                    takes_over[new_id] = old_id
                    index = self.owners.index_of.get(old_id)
                    if index is not None:
                        self.out.indexes[new_id] = index
                    break
        return takes_over

    def _fits(self, owner: Original, old: Key, thing: Thing) -> bool:
        return (old[0] == TAG) == (thing.kind == TAG) and self._still_takes(owner, thing)

    def _is_unknown(self, thing: Thing) -> bool:
        """Whether a thing's class belongs to no field: somebody added it in CVAT."""
        return all(thing.label not in each.classes for each in self.fields)

    def _still_takes(self, owner: Original, now: Thing) -> bool:
        """Whether a thing that was a label of a field still is one: a class that was added in CVAT does not change that."""
        own = self.by_name[owner.field]
        known = replace(now, label=next(iter(own.classes), "")) if self._is_unknown(now) else now
        return own.takes(known)

    def _pair(self, old: Key, new: Key) -> None:
        self.pairs[old] = (self.gone.pop(old), self.new.pop(new))

    def _label_changes(self, takes_over: Mapping[int, int]) -> None:
        """One change for each label of which some part differs. What belongs to no label we know is a new one."""
        concerned: dict[Original, None] = {}
        for key, (before, now) in list(self.pairs.items()):
            owner = self.owners.of(before)
            if owner is None:
                self.new[now.key] = now
                del self.pairs[key]
            elif not self._still_takes(owner, now):
                self.new[now.key] = now  # it became something of another field
                self.was[now.key] = owner
                self.gone[key] = before
                del self.pairs[key]
                concerned[owner] = None
            else:
                concerned[owner] = None
        for thing in self.gone.values():
            if owner := self.owners.of(thing):
                concerned[owner] = None
        for original in concerned:
            self._label_change(original, takes_over)

    def _label_change(self, original: Original, takes_over: Mapping[int, int]) -> None:
        before = self.owners.parts(original)
        after: list[Thing | None] = []
        found: list[frozenset[Touch]] = []
        for part in before:
            _, now = self.pairs.get(part.key, (part, None if part.key in self.gone else part))
            after.append(now)
            other = now is not None and part.kind == now.kind == TRACK and part.server_id != now.server_id
            new_track = other and now is not None and takes_over.get(now.server_id) != part.server_id
            found.append(touches_between(part, now, self.current.specs, new_track) if now else frozenset())
        there = [place for place, now in enumerate(after) if now is not None]
        relabelled = [place for place in there if Touch(LABEL) in found[place]]
        if len(relabelled) < len(there):  # a part that alone got another class is a label of its own
            for place in relabelled:
                moved = after[place]
                assert moved is not None
                self.new[moved.key] = moved
                if self._is_unknown(moved):
                    self.own[moved.key] = self.by_name[original.field]
                after[place], found[place] = None, frozenset()
        touches = frozenset().union(*found)
        if not any(now is not None for now in after):
            touches = frozenset({Touch(DELETED)})
        elif None in after:
            touches |= {Touch(GEOMETRY)}
        if touches:
            self.out.changes.append(Change(original, tuple(before), tuple(after), touches))


def _split(
    before: Mapping[Key, Thing],
    now: Mapping[Key, Thing],
    gone: dict[Key, Thing],
    new: dict[Key, Thing],
    pairs: dict[Key, tuple[Thing, Thing]],
) -> None:
    """Sorts things into those that are gone, new, and other than they were; equal ones go nowhere."""
    for key, thing in before.items():
        if key not in now:
            gone[key] = thing
        elif now[key] != thing:
            pairs[key] = (thing, now[key])
    new.update({key: thing for key, thing in now.items() if key not in before})


def _by_key(frames: Mapping[int, Sequence[Thing]]) -> dict[Key, Thing]:
    return {thing.key: thing for parts in frames.values() for thing in parts}


def _by_id(things: Iterable[Thing]) -> tuple[Thing, ...]:
    return tuple(sorted(things, key=lambda one: one.server_id))


def _default(specs: Mapping[str, Mapping[str, Spec]], label: str, name: str) -> str:
    spec = specs.get(label, {}).get(name)
    if spec is None:
        return ""
    return (
        "true"
        if spec.input_type == "checkbox" and spec.default.lower() == "true"
        else ("false" if spec.input_type == "checkbox" else spec.default)
    )
