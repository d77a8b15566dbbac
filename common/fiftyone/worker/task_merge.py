"""One task of a load: compares, plans, saves what is there, changes it, remembers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from dataclasses import field as made
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne

from common.fiftyone.changes import DELETED, Addition, Change, Outcome, Redrawn, Touch, compare
from common.fiftyone.naming import label_id
from common.fiftyone.permissions import Permissions
from common.fiftyone.schema import FAMILIES, SCALAR, SEGMENTATION, Field
from common.fiftyone.things import TRACK, Thing, read_task
from common.fiftyone.worker import dataset_fields
from common.fiftyone.worker.counting import SAME, Counts
from common.fiftyone.worker.interpolation import between
from common.fiftyone.worker.labels import (
    STORED,
    Context,
    NotRepresentable,
    labels_in,
    new_label,
    not_held,
    originals_in,
)
from common.fiftyone.worker.merging import Memory, Merge, Merged
from common.fiftyone.worker.originals import FRAMES, stored_as
from common.fiftyone.worker.records import TRACKS, Records, State, unchanged, union, value_hash
from common.fiftyone.worker.redrawing import NOTHING, Together
from common.fiftyone.worker.task_files import Frame

FRAMES_AT_ONCE = 500
MOST_TRIES = 5
KEEP, IGNORE, REFUSE = "keep", "ignore", "refuse"


class UnexpectedRefused(ValueError):
    """There are things that no field expects, and the settings refuse them."""

    kind = "bad_request"


class KeepsChanging(RuntimeError):
    """A place cannot be written because somebody else always writes there first."""

    kind = "database"


@dataclass(frozen=True, slots=True)
class Run:
    """What is the same for all tasks of a load. `targets`: {field: the path its labels go to}."""

    dataset: Any
    server: str
    fields: Sequence[Field]
    infos: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, str]
    permissions: Mapping[str, Permissions]
    unexpected: str
    occluded_attribute: str | None
    group_attribute: str | None
    records: Records
    counts: Counts

    def copied(self, name: str) -> bool:
        """Whether a field's labels go into another field, which then gets those nobody touched as well."""
        return self.targets[name] != name


@dataclass(slots=True)
class Work:
    """What is to be done at one path on one frame."""

    field: Field
    info: Mapping[str, Any]
    permissions: Permissions
    source: str | None  # the run's field whose originals stand here; None: a field for what was not expected
    changes: list[Change] = made(default_factory=list)
    additions: list[Thing] = made(default_factory=list)
    redrawn: Redrawn = NOTHING


class TaskMerge:
    """Merges one task."""

    def __init__(
        self,
        run: Run,
        task: int,
        frames: Sequence[Frame],
        content: tuple[Mapping[str, Any], Mapping[str, Any]],
        values: Mapping[tuple[str, int | None], Mapping[str, Any]],
        step: int,
    ) -> None:
        """`frames` and `content` (baseline, current) count frames `step` times as finely as the task does."""
        self.run, self.task, self.values, self.step = run, task, values, step
        self.frames = {frame.number: frame for frame in frames}
        baseline, current = content
        self.deleted = {int(number) for number in (current.get("meta") or {}).get("deleted_frames") or []}
        held = read_task(current, baseline)
        self.specs, self.renamed = held.specs, held.renamed
        self.outcome: Outcome = compare(
            read_task(baseline), held, self._originals(), run.fields, max(self.frames, default=-1), between
        )
        self.before = run.records.state(task)
        self.state: State = deepcopy(self.before)
        self.video = any(frame.frame_id for frame in frames)
        self._highest: int | None = None

    def unexpected(self) -> list[Addition]:
        return [one for one in self.outcome.additions if not one.expected and one.thing.frame not in self.deleted]

    def apply(self) -> None:
        """Saves, changes and remembers; can be killed at any moment and run again."""
        self._tell_deleted()
        for name, _ in self.outcome.unknown:
            self.run.counts.not_supported(name, "class that the field does not have")
        work = self._work()
        for number, path in sorted(key for key in work if key[0] not in self.frames and key[0] % self.step == 0):
            self.run.counts.miss(
                task=self.task, frame=number // self.step, field=path, why="of no sample that was sent"
            )
        places = sorted({number for number, _ in work} & self.frames.keys())
        waiting = iter(places)
        while some := list(islice(waiting, FRAMES_AT_ONCE)):
            self._apply_frames(some, work)
        self._keep({path: frames for path, frames in self.state.items() if frames})
        self._count_untouched(work)

    def _originals(self) -> Iterator[Any]:
        for number, frame in self.frames.items():
            fields = self.values.get(frame.place, {})
            for one in self.run.fields:
                yield from originals_in(one, number, fields.get(one.name))

    def _work(self) -> dict[tuple[int, str], Work]:
        """What is to be done, by frame and path."""
        run = self.run
        found: dict[tuple[int, str], Work] = {}
        by_name = {one.name: one for one in run.fields}

        def at(number: int, name: str) -> Work:
            empty = Work(by_name[name], run.infos[name], run.permissions[name], name)
            return found.setdefault((number, run.targets[name]), empty)

        for change in self._wanted():
            at(change.original.frame, change.original.field).changes.append(change)
        for (name, number), redrawn in self.outcome.redrawn.items():
            at(number, name).redrawn = redrawn
        for addition in self.outcome.additions:
            number = addition.thing.frame
            if addition.expected and addition.field:
                at(number, addition.field).additions.append(addition.thing)
            elif number not in self.deleted and (number in self.frames or number % self.step == 0):
                self._unexpected(addition, found)
        for name in by_name:
            for number in self.frames if run.copied(name) else ():
                at(number, name)
        for path, remembered in self.state.items():
            source = next((name for name in by_name if run.targets[name] == path), None)
            for told, memory in remembered.items() if path != TRACKS else ():
                if source:
                    at(int(told), source)
                elif "family" in memory:
                    found.setdefault((int(told), path), self._extra(path, str(memory["family"])))
        return {key: one for key, one in found.items() if key[0] not in self.deleted}

    def _wanted(self) -> list[Change]:
        """The changes, but for deletions of labels that became things which are ignored: those are still there."""
        if self.run.unexpected == KEEP:
            return self.outcome.changes
        spared = {one.instead_of for one in self.outcome.additions if not one.expected}
        return [one for one in self.outcome.changes if one.touches != {Touch(DELETED)} or one.original not in spared]

    def _unexpected(self, addition: Addition, found: dict[tuple[int, str], Work]) -> None:
        run, thing = self.run, addition.thing
        name = addition.field or run.fields[-1].name
        family = FAMILIES.get(thing.shape)
        if family is None:
            run.counts.not_supported(name, thing.shape)
            return
        run.counts.unexpected(name, family)
        path = f"{FRAMES}{family}" if self.video else family
        if run.unexpected != KEEP:
            return
        work = self._extra(path, family, name)
        if path in run.targets.values() or dataset_fields.holds(run.dataset, path, work.field) is False:
            run.counts.not_supported(name, f"{family}: there is another field of this name")
            return
        found.setdefault((thing.frame, path), work).additions.append(thing)

    def _extra(self, path: str, family: str, name: str | None = None) -> Work:
        name = name or self.run.fields[-1].name
        classes = {told: one for each in self.run.fields for told, one in each.classes.items()}
        return Work(Field(path, family, False, classes), self.run.infos[name], self.run.permissions[name], None)

    def _apply_frames(self, numbers: Sequence[int], work: Mapping[tuple[int, str], Work], again: int = 0) -> None:
        here = [(key, one) for key, one in work.items() if key[0] in set(numbers)]
        keys = {path: stored_as(self.run.dataset, path) for path in {key[1] for key, _ in here}}
        documents = self._documents(numbers, set(keys.values()))
        entries: list[dict[str, Any]] = []
        updates: dict[int, dict[str, Any]] = defaultdict(dict)
        for (number, path), one in sorted(here, key=lambda pair: pair[0]):
            document = documents.get(number)
            if document is None:
                self.run.counts.miss(task=self.task, sample=self.frames[number].sample, frame=number // self.step)
                continue
            key, frame = keys[path], self.frames[number]
            earlier = self.state.get(path, {}).get(str(number), {})
            merged = self._merged(number, path, one, document.get(key), earlier)
            for missing in merged.missing:
                at = number // self.step
                self.run.counts.miss(task=self.task, sample=frame.sample, frame=at, field=path, label=missing)
            memory = (
                {**merged.memory, "family": one.field.kind} if merged.memory and one.source is None else merged.memory
            )
            self._remember(path, number, memory)
            if merged.differs:
                entries.append(self._entry(document, path, key, merged.value))
                updates[number][key] = merged.value
        if not entries and self.state == self.before:
            return
        self.run.records.save([{"task": self.task, "state": self.before}, *entries], bool(again))
        # Also what this load no longer remembers: after a kill between here and the end it must be known.
        self._keep(union(self.before, self.state))
        refused = self._write(updates, documents)
        if refused and again == MOST_TRIES:
            raise KeepsChanging(f"somebody else keeps changing the labels of task {self.task} in FiftyOne")
        if refused:  # somebody wrote there in this very moment: what they did is merged with, not lost
            counts = self.run.counts
            for number, path in itertools.product(refused, keys):
                self._remember(path, number, self.before.get(path, {}).get(str(number), {}))
            self.run = replace(self.run, counts=Counts([]))  # what these frames came to is counted already
            try:
                self._apply_frames(refused, work, again + 1)
            finally:
                counts.take_missing(self.run.counts)
                self.run = replace(self.run, counts=counts)

    def _merged(self, number: int, path: str, one: Work, present: Any, earlier: Memory) -> Merged:
        run, frame = self.run, self.frames[number]
        original = self.values.get(frame.place, {}).get(one.source) if one.source else None
        copied = bool(one.source) and run.copied(str(one.source)) and present is None and original is not None
        if copied:
            present = deepcopy(original)
        context = Context(one.field, one.info, self.specs, frame.size, run.occluded_attribute, run.group_attribute)
        told_as = one.source or path
        kind: type | None = None
        if one.field.kind in (SCALAR, SEGMENTATION):
            together = Together(context, one.permissions, run.counts, told_as)
            if one.field.kind == SCALAR:
                kind = self._scalar_type(path, one, together)
                merged = together.scalar(one.redrawn, original, present, earlier, kind)
            else:
                new_id = label_id(run.server, self.task, SEGMENTATION, 0, number // self.step, path)
                merged = together.segmentation(one.redrawn, original, present, earlier, new_id)
        else:
            additions = {}
            for thing in one.additions:
                more = _more(one, path, run) + (f"+{number % self.step}" if number % self.step else "")
                name = label_id(run.server, self.task, thing.kind, thing.server_id, number // self.step, more)
                for what in not_held(thing, context):
                    run.counts.not_supported(told_as, what)
                try:
                    additions[name] = new_label(name, thing, one.field.kind, context, self._index(thing))
                except NotRepresentable as error:
                    run.counts.not_supported(told_as, str(error))
            merge = Merge(context, one.permissions, run.counts, told_as)
            merged = merge.run(original, present, one.changes, additions, earlier, self._index)
        if copied:
            merged = replace(merged, differs=True)  # written even where nobody touched it
        if merged.differs and run.dataset.get_field(path) is None:
            run.records.field_made(path)
            dataset_fields.make(run.dataset, path, one.field, kind)
        return merged

    def _scalar_type(self, path: str, one: Work, together: Together) -> type:
        for name in (path, one.source):
            if name and (kind := dataset_fields.scalar_type(self.run.dataset, name)):
                return kind
        return dataset_fields.guessed_type(together.text(one.redrawn.after[-1])) if one.redrawn.after else str

    def _index(self, thing: Thing) -> int | None:
        """The FiftyOne index of a thing's track: a new track gets the next free one, once and for all."""
        if thing.kind != TRACK:
            return None
        if thing.server_id in self.outcome.indexes:
            return self.outcome.indexes[thing.server_id]
        known = self.state.setdefault(TRACKS, {}).setdefault("indexes", {})
        if str(thing.server_id) not in known:
            known[str(thing.server_id)] = max([self._highest_index(), *known.values()]) + 1
        return int(known[str(thing.server_id)])

    def _highest_index(self) -> int:
        """The highest index of any label of these samples, in the originals and in the database."""
        if self._highest is None:
            found = [0]
            for frame in self.frames.values():
                for one in self.run.fields:
                    value = self.values.get(frame.place, {}).get(one.name)
                    found += [int(label["index"]) for label in labels_in(one, value) if label.get("index") is not None]
            for one in self.run.fields:
                if one.kind in STORED:
                    found += self._stored_indexes(one)
            self._highest = max(found)
        return self._highest

    def _stored_indexes(self, one: Field) -> Iterator[int]:
        path = self.run.targets[one.name]
        inside = "index" if one.single else f"{STORED[one.kind][2]}.index"
        key = f"{stored_as(self.run.dataset, path)}.{inside}"
        samples = sorted({frame.sample for frame in self.frames.values()})
        collection, by = self._collection()
        wanted = {by: {"$in": [ObjectId(sample) for sample in samples]}, key: {"$ne": None}}
        for value in collection.distinct(key, wanted):
            if isinstance(value, int):
                yield int(value)

    def _collection(self) -> tuple[Any, str]:
        dataset = self.run.dataset
        return (dataset._frame_collection, "_sample_id") if self.video else (dataset._sample_collection, "_id")

    def _document_id(self, number: int) -> Any:
        frame = self.frames[number]
        return ObjectId(frame.frame_id if self.video else frame.sample)

    def _documents(self, numbers: Sequence[int], keys: set[str]) -> dict[int, dict[str, Any]]:
        ids = {self._document_id(number): number for number in numbers}
        found = self._collection()[0].find({"_id": {"$in": list(ids)}}, dict.fromkeys(["_id", *sorted(keys)], 1))
        return {ids[document["_id"]]: document for document in found}

    def _entry(self, document: Mapping[str, Any], path: str, key: str, value: Any) -> dict[str, Any]:
        of, there = "frames" if self.video else "samples", key in document
        told = {"collection": of, "id": document["_id"], "key": key, "there": there, "value": document.get(key)}
        return {**told, "wrote": value_hash(value)}

    def _write(
        self, updates: Mapping[int, Mapping[str, Any]], documents: Mapping[int, Mapping[str, Any]]
    ) -> Sequence[int]:
        """Writes where the values that were read still stand. Returns the frames where they do not."""
        now = datetime.now(UTC)
        changes = [
            UpdateOne(unchanged(documents[number], told), {"$set": {**told, "last_modified_at": now}})
            for number, told in updates.items()
        ]
        if not changes or self._collection()[0].bulk_write(changes, ordered=False).matched_count == len(changes):
            return []
        there = self._documents(list(updates), {key for told in updates.values() for key in told})
        return [
            number
            for number, told in updates.items()
            if any(value_hash(there.get(number, {}).get(key)) != value_hash(value) for key, value in told.items())
        ]

    def _remember(self, path: str, number: int, memory: Memory) -> None:
        if memory:
            self.state.setdefault(path, {})[str(number)] = memory
        else:
            self.state.get(path, {}).pop(str(number), None)

    def _keep(self, state: State) -> None:
        self.run.records.keep_state(self.task, state)

    def _tell_deleted(self) -> None:
        for number in sorted(self.deleted & self.frames.keys()):
            frame = self.frames[number]
            fields = self.values.get(frame.place, {})
            kept = sum(_number_of_labels(one, fields.get(one.name)) for one in self.run.fields)
            sample = self.run.dataset._sample_collection.find_one({"_id": ObjectId(frame.sample)}, {"filepath": 1})
            told = {
                "task": self.task,
                "frame": number // self.step,
                "sample": sample["filepath"] if sample else frame.sample,
            }
            self.run.counts.deleted_frames.append({**told, "video_frame": frame.frame, "labels_kept": kept})

    def _count_untouched(self, work: Mapping[tuple[int, str], Work]) -> None:
        """Labels that nobody touched and that were never touched."""
        for one in self.run.fields:
            for number, frame in self.frames.items():
                if number in self.deleted:
                    continue
                total = _number_of_labels(one, self.values.get(frame.place, {}).get(one.name))
                done = work.get((number, self.run.targets[one.name]))
                if done is not None:
                    if one.kind in (SCALAR, SEGMENTATION):
                        continue  # told where it was redrawn
                    memory = self.before.get(self.run.targets[one.name], {}).get(str(number), {})
                    touched = {change.original.label_id for change in done.changes} | set(memory.get("touched", {}))
                    total -= len(touched)
                self.run.counts.add(one.name, SAME, max(0, total))


def _more(one: Work, path: str, run: Run) -> str:
    """Labels that stand twice, in the run's field and in another, must not have one id."""
    return path if one.source is None or run.copied(one.source) else ""


def _number_of_labels(field: Field, value: Any) -> int:
    return int(value is not None) if field.kind == SCALAR else len(labels_in(field, value))
