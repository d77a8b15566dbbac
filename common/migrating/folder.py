"""A project on disk.

    project.json          what the project is: tasks, labels, datasets, with names in place of ids
    configuration.json    the configuration of its tasks
    images/<dataset>/, videos/<dataset>/      the files as the server stores them
    annotations/<stem>.json                   an image's scene; <stem>_frame_<index>.json: that of a frame
    predictions/, models/                     where they were asked for
    media.jsonl           one line per image or video: id, file, size, SHA-256, its annotation files with theirs
    manifest.json         written last: source, counts, the hash of media.jsonl, what is missing

The first lines are what users of older tools know, and what those tools read. A folder without a manifest is not
finished (or comes from such a tool, see legacy.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.exits import Trouble
from common.files import append_lines, disk_full_named, is_file, is_folder, is_there, publish, sync_folder, write_json
from common.hashing import sha256_of
from common.migrating.plausible import is_entry, wrong_with_project, wrong_with_scene
from common.sc.media import Kind
from common.transfer import PartFile

MANIFEST_VERSION = 1
SMALL_FILES = ("annotations", "predictions", "models")  # the folders that `write_small` writes to
MEDIA_FILES = ("images", "videos")  # with a folder for each dataset
DEBRIS = (".tmp", ".part", ".part.json")  # how the names of unfinished files end


class BadFolder(Trouble):
    """The folder is not what it should be; the text says why."""


@dataclass
class Entry:
    """One image or video on disk. `scenes` maps "" (an image) or a frame's index to the SHA-256 of its annotation file.

    Paths are relative to the folder of the project; sizes in bytes, pictures in pixels.
    """

    id: str
    dataset_id: str
    dataset: str
    name: str
    kind: Kind
    stem: str
    file: str = ""
    size_bytes: int = 0
    sha256: str = ""
    width: int = 0
    height: int = 0
    frame_count: int = 0
    uploaded_at: str = ""
    scenes: dict[str, str] | None = None  # None: not fetched yet
    shapes: int = 0
    predictions: dict[str, str] = field(default_factory=dict)
    ranges: str = ""  # SHA-256 of the labels of stretches of a video; "" where there are none
    gone: bool = False  # no longer on the server

    def scene_file(self, frame: str) -> str:
        return f"annotations/{self.stem}.json" if frame == "" else f"annotations/{self.stem}_frame_{int(frame)}.json"

    @property
    def ranges_file(self) -> str:
        return f"annotations/{self.stem}_ranges.json"

    def prediction_file(self, frame: str) -> str:
        return f"predictions/{self.stem}.json" if frame == "" else f"predictions/{self.stem}_frame_{int(frame)}.json"

    @property
    def file_name(self) -> str:
        """What the file is called on a server: the media's own name with the extension of its bytes."""
        return self.name + Path(self.file).suffix


class ProjectFolder:
    """The folder of one project, as this program writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._ledger: int | None = None
        self._touched: set[Path] = set()

    # --- the record -----------------------------------------------------------------------------------------

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def ledger_path(self) -> Path:
        return self.path / "media.jsonl"

    def manifest(self) -> dict[str, Any] | None:
        """The manifest; None when there is none. Raises BadFolder when it cannot be read."""
        return _read_object(self.manifest_path)

    def begun(self) -> dict[str, Any] | None:
        """Whose project an unfinished download is of."""
        return _read_object(self.path / ".download.json")

    def begin(self, source: Mapping[str, Any]) -> None:
        """Notes whose project is being downloaded. The manifest of an earlier download stays until the new one is whole:
        an update that breaks off must not make a good folder unusable.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / ".download.json", dict(source))

    def clear_debris(self, resumable: Collection[Path]) -> None:
        """Removes half-written files of runs that were killed, but for those that this run goes on with: no file that
        anybody has a name for begins with a dot. Under the lock of the folder only.
        """
        keep = {*resumable, *(PartFile(each).mark_path for each in resumable)}
        for folder in (self.path, *(self.path / each for each in SMALL_FILES), *self._media_folders()):
            for left in folder.glob(".*"):
                if left.name.endswith(DEBRIS) and left not in keep:
                    left.unlink(missing_ok=True)

    def _media_folders(self) -> Iterator[Path]:
        for kind in MEDIA_FILES:
            if is_folder(self.path / kind):
                yield from (each for each in (self.path / kind).iterdir() if is_folder(each))

    def entries(self) -> dict[str, Entry]:
        """The media by their id; of several lines of one, the last. Torn lines are those of a crash."""
        found: dict[str, Entry] = {}
        try:
            with open(self.ledger_path, encoding="utf-8") as file:
                for line in file:
                    try:
                        row = json.loads(line)
                        entry = Entry(**row)
                    except (ValueError, TypeError, RecursionError):
                        continue
                    if not is_entry(row):
                        raise BadFolder(f"{self.ledger_path}: a line is not as this program writes it")
                    found[entry.id] = entry
        except FileNotFoundError:
            pass
        return found

    def is_as_recorded(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the record of the media is the one that the manifest was written for."""
        try:
            return sha256_of(self.ledger_path) == manifest.get("media_sha256")
        except OSError:
            return False

    def note(self, entry: Entry) -> None:
        """Appends a line: what it tells of is not fetched again, even if this process is killed at once."""
        line = json.dumps(_short(entry), ensure_ascii=False)
        data = (line + "\n").encode("utf-8", "backslashreplace")
        with self._lock, disk_full_named(self.path):
            if self._ledger is None:
                append_lines(self.ledger_path, [])  # closes a line that a crash tore
                self._ledger = os.open(self.ledger_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(self._ledger, data)

    def close(self) -> None:
        with self._lock:
            if self._ledger is not None:
                os.close(self._ledger)
                self._ledger = None

    def finish(self, entries: Iterable[Entry], manifest: dict[str, Any]) -> None:
        """Writes the ledger whole and the manifest last, with the hashes of what the ledger does not tell of: those in
        `files` of the given manifest, by path, and of the project and its configuration. Raises DiskFull.
        """
        self.close()
        self._settle()
        temporary = self.path / ".media.jsonl.tmp"
        with disk_full_named(self.path):
            with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
                for entry in sorted(entries, key=lambda each: each.id):
                    file.write(json.dumps(_short(entry), ensure_ascii=False) + "\n")
            publish(temporary, self.ledger_path)
        described = [each for each in ("project.json", "configuration.json") if is_there(self.path / each)]
        files = {**(manifest.get("files") or {}), **{each: sha256_of(self.path / each) for each in described}}
        write_json(
            self.manifest_path,
            {"version": MANIFEST_VERSION, **manifest, "files": files, "media_sha256": sha256_of(self.ledger_path)},
        )
        (self.path / ".download.json").unlink(missing_ok=True)

    # --- files ----------------------------------------------------------------------------------------------

    def inside(self, relative: str) -> Path:
        """The path of a file named in the ledger. Raises BadFolder when it would lead out of the folder."""
        path = self.path / relative
        if Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise BadFolder(f"{relative!r} lies outside of the folder")
        return path

    def folder_for(self, relative: str) -> Path:
        folder = self.inside(relative)
        if folder not in self._touched:
            folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._touched.add(folder)
        return folder

    def place(self, temporary: Path, final: Path) -> None:
        """Gives a finished file its name. Its bytes reach the disk for certain before the manifest does (`finish`):
        an fsync for each of thousands of small files would take as long as fetching them. Until then a later run
        believes no file whose hash it has not read again.
        """
        os.replace(temporary, final)

    def _settle(self) -> None:
        """Everything that was placed is on the disk after this."""
        if sys.platform == "linux":
            os.sync()  # waits there; elsewhere it only asks
        else:
            for folder in self._touched:
                for path in folder.iterdir():
                    if is_file(path):
                        descriptor = os.open(path, os.O_RDONLY)
                        try:
                            os.fsync(descriptor)
                        finally:
                            os.close(descriptor)
        for folder in self._touched:
            sync_folder(folder)

    def write_small(self, relative: str, content: Any) -> str:
        """Writes JSON whole or not at all; its SHA-256. Raises DiskFull."""
        final = self.folder_for(str(Path(relative).parent)) / Path(relative).name
        # On one line: indented, json is written by Python, ten times as slowly.
        data = (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        temporary = final.with_name(f".{final.name}.{threading.get_ident()}.tmp")
        with disk_full_named(final.parent):
            try:
                temporary.write_bytes(data)
                self.place(temporary, final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        return hashlib.sha256(data).hexdigest()

    def read_json(self, relative: str) -> Any:
        """Raises BadFolder."""
        return self.read_json_and_hash(relative)[0]

    def read_json_and_hash(self, relative: str) -> tuple[Any, str]:
        """The content of a file, and the SHA-256 of its bytes. Raises BadFolder."""
        try:
            data = self.inside(relative).read_bytes()
            return json.loads(data), hashlib.sha256(data).hexdigest()
        except (OSError, ValueError, RecursionError) as error:  # the last: nested without end
            raise BadFolder(f"{relative} cannot be read: {error}") from None

    def project(self) -> dict[str, Any]:
        """project.json. Raises BadFolder."""
        found = self.read_json("project.json")
        if wrong := wrong_with_project(found):
            raise BadFolder(f"{self.path / 'project.json'} describes no project: {wrong}")
        project: dict[str, Any] = found
        return project

    def scene(self, relative: str) -> tuple[dict[str, Any], str]:
        """The annotations of an image or frame, and the SHA-256 of their file. Raises BadFolder."""
        found, sha256 = self.read_json_and_hash(relative)
        if wrong := wrong_with_scene(found):
            raise BadFolder(f"{relative} is not as this program writes it: {wrong}")
        return found, sha256

    def configuration(self) -> dict[str, Any] | None:
        found = _read_object(self.path / "configuration.json")
        return found or None


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BadFolder(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BadFolder(f"{path} cannot be read: it holds no record")
    return found


def _short(entry: Entry) -> dict[str, Any]:
    """An entry without what is at its default."""
    found = {}
    for each in dataclasses.fields(entry):
        value = getattr(entry, each.name)
        default = each.default_factory() if each.default_factory is not dataclasses.MISSING else each.default
        if value != default:
            found[each.name] = value
    return found


def project_folders(folder: Path) -> Iterator[Path]:
    """The direct subfolders that hold a project, by name; and those that may not be looked into, as they may hold one."""
    for each in sorted(folder.iterdir()):
        if is_folder(each) and not each.name.startswith(".") and _may_hold_a_project(each):
            yield each


def _may_hold_a_project(folder: Path) -> bool:
    try:
        return is_file(folder / "project.json")
    except PermissionError:
        return True  # whoever opens it says what is wrong, and goes on with the others
