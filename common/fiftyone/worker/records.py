"""What loads remember in the run's folder, so that each can be repeated after a kill, and taken back.

    loaded.json           {"loads": [{"stamp", "saved", "fields_made"}], "open": the same or null}
    loaded/<task>.json    {field: {number of the frame: what loads did to it}}
    saved/<stamp>.jsonl   values as they were before that load: {"collection", "id", "key", "there", "value"}, and
                          {"task", "state"}: what loaded/<task>.json held before

A load is `open` from before its first change until after its last. One that was killed is found open, goes on with the
same saved file, and never saves a place twice: the first value is the one from before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import json_util

from common.files import publish, sync_folder

# {field: {number of the frame: {"touched": …, "added": …, …}}}
State = dict[str, dict[str, dict[str, Any]]]


def read_json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default


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
        elif self._state_path(task).exists():
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

    def save(self, entries: list[dict[str, Any]]) -> None:
        """Saves values as they are now, durably, before anything of them is changed."""
        fresh = [entry for entry in entries if _place(entry) not in self._saved_places]
        if not fresh:
            return
        if self.loaded["open"]["saved"] is None:
            self.loaded["open"]["saved"] = f"saved/{self.loaded['open']['stamp']}.jsonl"
            (self.folder / "saved").mkdir(mode=0o700, exist_ok=True)
            self._publish()
        path = self.saved_path
        assert path is not None
        with open(path, "a", encoding="utf-8") as file:
            for entry in fresh:
                file.write(json_util.dumps(entry, json_options=json_util.CANONICAL_JSON_OPTIONS) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
        self._saved_places.update(map(_place, fresh))

    def newest(self) -> dict[str, Any] | None:
        """The load to undo: one that was killed half way, else the last one."""
        loads = self.loaded["loads"]
        return self.loaded["open"] or (loads[-1] if loads else None)

    def entries_of(self, load: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What a load saved, the first value of each place."""
        seen = set()
        if load["saved"]:
            for entry in self._entries(self.folder / load["saved"]):
                if _place(entry) not in seen:
                    seen.add(_place(entry))
                    yield entry

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


def _place(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    if "task" in entry:
        return ("task", str(entry["task"]), "")
    return (str(entry["collection"]), str(entry["id"]), str(entry["key"]))
