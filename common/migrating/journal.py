"""What an upload has done so far, line by line, so that the next run goes on and nothing is sent twice.

A line is written before what cannot be repeated blindly is asked for ("sending"), and after it is answered ("media").
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from common.files import append_lines, disk_full_named, slug
from common.sc.address import server_key
from common.sc.client import Client


def journal_path(folder: Path, client: Client, name: str) -> Path:
    """The journal of this folder's upload to this workspace under this name."""
    server = slug(server_key(client.url)) or "server"
    workspace = slug(str(client.workspace["id"])) or "workspace"
    return folder / ".uploads" / f"{server}_{workspace}_{slug(name) or 'project'}_{_tag(name)}.jsonl"


def _tag(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]


class Journal:
    """One upload of one folder to one project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self.project_id = ""
        self.created = False
        self.created_at = ""  # the project's creation time, as the server says it
        self.creating: dict[str, Any] | None = None
        self.datasets: dict[str, str] = {}
        self.already: dict[str, list[str]] = {}  # target dataset -> media that others had put there
        self.media: dict[str, str] = {}  # source id -> target id
        self.scenes: dict[tuple[str, str], str] = {}  # (source id, frame) -> hash of what was sent
        self.sending: set[str] = set()
        self.sent_at: dict[str, list[str]] = {}  # source id -> when it was sent, each time
        self.doubted: set[str] = set()
        self.auto_training: dict[str, bool] | None = None
        self.done = False
        self._read()

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                for line in file:
                    try:
                        self._take(json.loads(line))
                    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                        continue  # torn by a crash
        except FileNotFoundError:
            return
        self.doubted |= {each for each in self.sending if each not in self.media}

    def _take(self, line: dict[str, Any]) -> None:
        for key, value in line.items():
            match key:
                case "creating":
                    self.creating = value
                case "project":
                    self.project_id, self.created = str(value["id"]), bool(value["created"])
                    self.created_at = str(value.get("created_at") or "")
                case "dataset":
                    self.datasets[value[0]] = value[1]
                case "already":
                    self.already[value[0]] = value[1]
                case "sending":
                    self._note_sending(value, str(line.get("at") or ""))
                case "doubt":
                    self.doubted.add(value)
                case "settled":
                    self.doubted.discard(value)
                case "media":
                    self.media[value[0]] = value[1]
                case "scene":
                    self.scenes[(value[0], value[1])] = str(value[2])
                case "again":
                    self.forget_scenes(value)
                case "auto_training":
                    self.auto_training = value
                case "done":
                    self.done = bool(value)

    def _note_sending(self, source_id: str, at: str) -> None:
        self.sending.add(source_id)
        self.sent_at.setdefault(source_id, []).append(at)

    def forget_scenes(self, source_id: str) -> None:
        """All of this image or video are sent once more."""
        self.scenes = {key: value for key, value in self.scenes.items() if key[0] != source_id}

    def write(self, **line: Any) -> None:
        """Takes and appends one line; it survives a kill of this process at once."""
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            self._take(line)
            with disk_full_named(self.path.parent):
                if self._descriptor is None:
                    append_lines(self.path, [])  # closes a line that a crash tore
                    self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
                os.write(self._descriptor, data)

    def write_durably(self, **line: Any) -> None:
        """The same for what must survive a power failure too."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._take(line)
            append_lines(self.path, [json.dumps(line, ensure_ascii=False)])

    def set_aside(self) -> None:
        """The project it tells of is gone: it is kept under another name, and a new one begins."""
        self.close()
        os.replace(self.path, self.path.with_suffix(".old"))
        self.__init__(self.path)  # type: ignore[misc]

    def close(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def made_by_siblings(folder: Path) -> set[str]:
    """The projects that uploads of the folders beside this one made: two projects of one name stay two."""
    found = set()
    for path in folder.parent.glob("*/.uploads/*.jsonl"):
        if path.parent.parent != folder:
            journal = Journal(path)
            if journal.created:
                found.add(journal.project_id)
    return found
