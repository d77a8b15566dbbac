"""What loads remember in the run's folder, so that each can be repeated after a kill, and taken back.

    loaded.json           {"loads": [{"stamp", "saved", "fields_made"}], "open": the same or null}
    loaded/<task>.json    {field: {number of the frame: what loads did to it}}
    saved/<stamp>.jsonl   values as they were before that load: {"collection", "id", "key", "there", "value", "wrote": hash
                          of what the load then wrote}, and {"task", "state"}: what loaded/<task>.json held before.
                          {…, "wrote"} alone: the load was killed and wrote something else; with "instead" the place was
                          changed by somebody else before the load could write to it
    saved/<stamp>.present.jsonl   what an undo of that load has found and replaced

A load is `open` from before its first change until after its last. One that was killed is found open, goes on with the
same saved file, and never saves a place twice: the first value is the one from before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import encode, json_util

from common.fiftyone.protocol import STATE, Failed
from common.files import is_there, publish, sync_folder

# A question to MongoDB holds 16 MB, the new values among them: very large ones are not compared.
LONGEST_QUERY_BYTES = 4 << 20
TRACKS = ""  # where a task's state remembers the indexes of new tracks: no field has this name
# {field: {number of the frame: {"touched": …, "added": …, …}}}
State = dict[str, dict[str, dict[str, Any]]]


def read_json(path: Path, default: Any) -> Any:
    """What a file holds; `default` when there is none. Raises Failed for one that is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise Failed(STATE, f"{path} is damaged ({error})") from None


def write_json(path: Path, content: Any) -> None:
    """Atomic and durable."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, ensure_ascii=True) + "\n", encoding="utf-8")
    publish(temporary, path)


class Records:
    """The memory of loads in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loaded: dict[str, Any] = read_json(folder / "loaded.json", {"loads": [], "open": None})
        self._saved_places: set[tuple[str, str, str]] = set()

    def state(self, task: int) -> State:
        return dict(read_json(self._state_path(task), {}))

    def keep_state(self, task: int, state: State) -> None:
        if state:
            write_json(self._state_path(task), state)
        elif is_there(self._state_path(task)):
            self._state_path(task).unlink()
            sync_folder(self._state_path(task).parent)

    def begin(self) -> None:
        """Opens a load, or goes on with one that was killed."""
        if self.loaded["open"] is None:
            moment = datetime.now(UTC)
            stamp = moment.strftime("%Y%m%dT%H%M%S.%fZ")
            self.loaded["open"] = {"stamp": stamp, "saved": None, "fields_made": []}
            self._publish()
        elif self.saved_path is not None:
            for entry in self._entries(self.saved_path, mend=True):
                self._saved_places.add(_place(entry))

    def finish(self) -> None:
        """Closes the load. One that changed nothing leaves no trace."""
        done, self.loaded["open"] = self.loaded["open"], None
        if done and (done["saved"] or done["fields_made"]):
            self.loaded["loads"].append(done)
        self._publish()

    @property
    def saved_path(self) -> Path | None:
        """Where the values from before the open load are; None while there are none."""
        told = (self.loaded["open"] or {}).get("saved")
        return self.folder / told if told else None

    def field_made(self, path: str) -> None:
        """Remembers a field before it is made, so that undoing can take it away again."""
        if path not in self.loaded["open"]["fields_made"]:
            self.loaded["open"]["fields_made"].append(path)
            self._publish()

    def save(self, entries: list[dict[str, Any]], instead: bool = False) -> None:
        """Saves values as they are now, durably, before anything of them is changed. Of a place that is saved already only
        what is now written there is noted, but with `instead`: what was saved never was replaced."""
        fresh = []
        for entry in entries:
            if instead and "task" not in entry:
                fresh.append({**entry, "instead": True})
            elif _place(entry) not in self._saved_places:
                fresh.append(entry)
            elif "wrote" in entry:
                fresh.append({name: entry[name] for name in ("collection", "id", "key", "wrote")})
        if not fresh:
            return
        if self.loaded["open"]["saved"] is None:
            self.loaded["open"]["saved"] = f"saved/{self.loaded['open']['stamp']}.jsonl"
            (self.folder / "saved").mkdir(mode=0o700, exist_ok=True)
            self._publish()
        path = self.saved_path
        assert path is not None
        _append(path, fresh)
        self._saved_places.update(map(_place, fresh))

    def newest(self) -> dict[str, Any] | None:
        """The load to undo: one that was killed half way, else the last one."""
        loads = self.loaded["loads"]
        return self.loaded["open"] or (loads[-1] if loads else None)

    def entries_of(self, load: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What a load saved: of each place the value from before, with all that was `wrote` there."""
        if not load["saved"]:
            return
        path = self.folder / load["saved"]
        counted: dict[tuple[str, str, str], int] = {}  # place: which line of the file holds its value
        wrote: dict[tuple[str, str, str], list[str]] = {}
        for number, entry in enumerate(self._entries(path)):
            place = _place(entry)
            if place not in counted or entry.get("instead"):
                counted[place], wrote[place] = number, []
            wrote[place] += [entry["wrote"]] if "wrote" in entry else []
        for number, entry in enumerate(self._entries(path)):
            if counted[_place(entry)] == number:
                yield {**entry, "wrote": wrote[_place(entry)]}

    def keep_present(self, load: Mapping[str, Any], entries: list[dict[str, Any]]) -> None:
        """Keeps what an undo is about to replace."""
        if entries and load["saved"]:
            _append((self.folder / load["saved"]).with_suffix(".present.jsonl"), entries)

    def forget(self, load: Mapping[str, Any]) -> None:
        """Takes an undone load out. Its file stays under another name."""
        if self.loaded["open"] and self.loaded["open"]["stamp"] == load["stamp"]:
            self.loaded["open"] = None
        self.loaded["loads"] = [one for one in self.loaded["loads"] if one["stamp"] != load["stamp"]]
        self._publish()
        if load["saved"]:
            path = self.folder / load["saved"]
            os.replace(path, path.with_suffix(".undone.jsonl"))

    def _entries(self, path: Path, mend: bool = False) -> Iterator[dict[str, Any]]:
        """Whole lines; a last one torn by a kill was never acted upon. `mend` cuts it off."""
        whole = 0
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below, whether it was there or not
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.endswith(b"\n"):
                    whole += len(line)
                    yield dict(json_util.loads(line, json_options=json_util.CANONICAL_JSON_OPTIONS))
        if mend:
            os.truncate(path, whole)

    def _state_path(self, task: int) -> Path:
        return self.folder / "loaded" / f"{int(task)}.json"

    def _publish(self) -> None:
        write_json(self.folder / "loaded.json", self.loaded)


def value_hash(value: Any) -> str:
    """The same for a value before it is written to the database and when it is read again."""
    return hashlib.sha256(encode({"value": value})).hexdigest()


def unchanged(document: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """A query for a document whose values at `keys` are still those that were read."""
    values = {key: {"$eq": document.get(key)} for key in keys}
    if len(encode(values)) > LONGEST_QUERY_BYTES:
        values = {}
    return {"_id": document["_id"], **values}


def union(before: State, after: State) -> State:
    """All that either of two states remembers."""
    told = deepcopy(after)
    for path, frames in before.items():
        for number, memory in frames.items():
            if path == TRACKS:
                told.setdefault(path, {}).setdefault(number, {}).update({**memory, **told[path].get(number, {})})
                continue
            now = told.setdefault(path, {}).setdefault(number, {})
            for label, touches in memory.get("touched", {}).items():
                known = now.setdefault("touched", {}).setdefault(label, [])
                known += [touch for touch in touches if touch not in known]
            for name in ("added", "painted"):
                if memory.get(name):
                    now[name] = [*now.get(name, []), *(one for one in memory[name] if one not in now.get(name, []))]
            for name in ("value", "removed", "family"):
                if name in memory:
                    now.setdefault(name, memory[name])
    return told


def _append(path: Path, entries: list[dict[str, Any]]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        for entry in entries:
            file.write(json_util.dumps(entry, json_options=json_util.CANONICAL_JSON_OPTIONS) + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _place(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    if "task" in entry:
        return ("task", str(entry["task"]), "")
    return (str(entry["collection"]), str(entry["id"]), str(entry["key"]))
