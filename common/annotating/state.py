"""What is known of one round of annotating, on disk: its folder, and run.json in it.

<CVAT_STATE_DIR>/fiftyone/<dataset>-<hash>/<key>-<hash>/
    run.json          what was made, by whom, and how far the round is; written before and after every step
    originals.jsonl   labels as they were in FiftyOne (the worker's)
    frames.jsonl      which frame of which task is which sample (the worker's)
    baseline/<task>.json   what the server held right after the upload
    current/<task>.json    what it held at the last load
    loaded.json, saved/    what loads did, and what was there before them (the worker's)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from common import log
from common.exits import RunEnds
from common.files import is_there, slug, write_json
from common.lock import Patience, locked
from common.ownership import path_of, what_to_do
from common.text import iso, now

VERSION = 1
MARKER = "fiftyone_sync"
ORIGINALS, FRAMES = "originals.jsonl", "frames.jsonl"
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)
Phase = Literal["creating", "created", "cleaned"]


@dataclass
class Made:
    """A task or project on the server that this round made. `created_date` is the server's, to know it again by."""

    id: int
    name: str
    created_date: str = ""
    samples: int = 0


@dataclass
class Project:
    """The project of the tasks. Of one that was there before, `labels` are those whose attributes FiftyOne added to."""

    id: int
    name: str
    made_by_us: bool
    created_date: str = ""
    labels: list[int] = field(default_factory=list)


@dataclass
class Round:
    """run.json. Times are ISO 8601 in UTC, `recorded_at` seconds since 1970 as FiftyOne's own record has it."""

    server: str
    dataset: str
    anno_key: str
    marker: str
    began_at: str
    phase: Phase = "creating"
    project: Project | None = None
    tasks: list[Made] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    label_schema: dict[str, Any] = field(default_factory=dict)
    classes: dict[str, dict[str, str]] = field(default_factory=dict)
    permissions: dict[str, dict[str, bool]] = field(default_factory=dict)  # by field, as they were at create
    media_type: str = ""
    occluded_attr: str = ""  # what FIFTYONE_SYNC_OCCLUDED_ATTR and _GROUP_ID_ATTR were at create
    group_id_attr: str = ""
    samples: int = 0
    recorded_at: float = 0.0
    organization: str = ""
    created_at: str = ""
    loaded_at: str = ""
    loaded: dict[str, str] = field(default_factory=dict)  # task id: hash of the annotations that were loaded
    # Task id: newest date of the task and its jobs at the last load, or when create was through.
    seen_at: dict[str, str] = field(default_factory=dict)
    # Task id: how many things of it the last load could not bring into FiftyOne; they are in CVAT only.
    left_behind: dict[str, int] = field(default_factory=dict)
    # Name in the round's folder: SHA-256 of what never changes after create. Rounds of older versions have none.
    files: dict[str, str] = field(default_factory=dict)
    removing: list[int] = field(default_factory=list)  # tasks that a cleanup has set about to remove
    cleaned_at: str = ""
    version: int = VERSION

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Round:
        """Raises KeyError, TypeError, ValueError."""
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}")
        known = {each.name for each in fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        values["tasks"] = [Made(**each) for each in values.get("tasks", [])]
        values["project"] = Project(**values["project"]) if values.get("project") else None
        found = cls(**values)
        if found.phase not in get_args(Phase):
            raise ValueError(f"phase {found.phase!r}")
        if found.phase == "created" and not found.tasks:
            raise ValueError("it names no task")
        return found


def new_round(server: str, dataset: str, anno_key: str) -> Round:
    """A round that begins now. Its mark is in the names of all that it makes until everything is there."""
    return Round(server, dataset, anno_key, f"{MARKER} {secrets.token_hex(8)}", iso(now()))


class Folder:
    """The folder of one round."""

    def __init__(self, state_dir: Path, dataset: str, anno_key: str) -> None:
        self.path = state_dir / "fiftyone" / _name(dataset) / _name(anno_key)

    @contextlib.contextmanager
    def held(self, command: str, patience: Patience) -> Iterator[None]:
        """One command on a round at a time. Raises Locked, RunEnds."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = self.path.parent / f".lock-{self.path.name}"
            with locked(lock, f"fiftyone_sync.py {command} of this dataset and key", patience):
                yield
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            path = path_of(error) or self.path
            remedy = (
                what_to_do(path.parent, error, "fiftyone_sync.py")
                or "Mount it for writing, or choose another CVAT_STATE_DIR."
            )
            raise RunEnds(f"{path} cannot be used ({error.strerror}).", remedy) from None

    def make(self) -> None:
        """A new empty folder; one of an earlier round of the same key is put aside, for what it saved can be undone."""
        if is_there(self.path):
            known = self.read()
            stamp = (known.began_at if known else iso(now())).replace(":", "").replace("-", "")[:15]
            aside = self.path.with_name(f"{self.path.name}.{stamp}-{secrets.token_hex(2)}")
            self.path.rename(aside)
        self.path.mkdir(parents=True, mode=0o700)
        for name in ("baseline", "current", "saved"):
            (self.path / name).mkdir(mode=0o700)

    def read(self) -> Round | None:
        """run.json; None when there is none. Raises RunEnds when it cannot be read."""
        try:
            return read_round(self.path / "run.json")
        except FileNotFoundError:
            return None

    @property
    def is_orphaned(self) -> bool:
        """Whether files of a round lie here whose run.json is lost."""
        return any(is_there(self.path / name) for name in (ORIGINALS, FRAMES, "loaded.json")) and self.read() is None

    def write(self, state: Round) -> None:
        write_json(self.path / "run.json", asdict(state))

    def held_by_server(self, which: str, task_id: int) -> dict[str, Any] | None:
        """What baseline/ or current/ has of a task; None when there is nothing. Raises RunEnds when it cannot be read."""
        path = self.path / which / f"{task_id}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not {"annotations", "labels", "meta"} <= found.keys():
                raise ValueError("it does not describe a task")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _not_readable(path, error, "It is what CVAT held of this task.") from None
        return found

    def write_held(self, which: str, task_id: int, content: dict[str, Any]) -> None:
        path = self.path / which / f"{task_id}.json"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_json(path, content, indent=None)

    def seal(self, state: Round) -> None:
        """Notes what the files hold that a load works from: nothing changes them any more."""
        names = [ORIGINALS, FRAMES, *(_baseline(made.id) for made in state.tasks)]
        state.files = {name: _digest(self.path / name) for name in names if is_there(self.path / name)}

    def require_whole(self, state: Round) -> None:
        """Raises RunEnds when a file that all tasks need is lost or is another one than after create."""
        for name in (ORIGINALS, FRAMES):
            self._require(state, name)

    def require_baseline(self, state: Round, task_id: int) -> None:
        """The same of one task's baseline. Raises RunEnds."""
        self._require(state, _baseline(task_id))
        if not state.files:
            self.held_by_server("baseline", task_id)

    def _require(self, state: Round, name: str) -> None:
        path, known = self.path / name, state.files.get(name)
        try:
            if known is not None and _digest(path) != known:
                raise ValueError("it is not as create has written it")
        except (OSError, ValueError) as error:
            raise _not_readable(path, error, "Without it, what was done in CVAT cannot be told.") from None


def rounds(state_dir: Path) -> list[tuple[Path, Round]]:
    """Every round that run.json is there of, the newest first; what cannot be read is said in the log."""
    found = []
    for path in sorted((state_dir / "fiftyone").glob("*/*/run.json")):
        try:
            found.append((path.parent, read_round(path)))
        except (RunEnds, FileNotFoundError) as error:
            log.get().warning("round_not_readable", path=str(path), reason=str(error))
    return sorted(found, key=lambda each: each[1].began_at, reverse=True)


def fingerprint(held: dict[str, Any]) -> str:
    """What tells whether annotations, their classes or deleted frames are others than before.

    The order of the server's lists says nothing, nor do classes and attributes that no annotation has: others may add them.
    """
    annotations = held["annotations"]
    labels, specs = _used(annotations)
    names = [[each["id"], str(each.get("name"))] for each in held["labels"] if each.get("id") in labels]
    attributes = [each for label in held["labels"] for each in label.get("attributes") or []]
    names += [[each["id"], str(each.get("name"))] for each in attributes if each.get("id") in specs]
    return _hash_of([*_drawn(held), sorted(names)])


def is_as_before(held: dict[str, Any], known: str) -> bool:
    """Whether a task is as it was when this fingerprint was made; those of earlier versions tell of no names of classes."""
    return known in (fingerprint(held), _hash_of(_drawn(held)))


def _drawn(held: dict[str, Any]) -> list[Any]:
    annotations = held["annotations"]
    parts = {
        kind: sorted(json.dumps(each, sort_keys=True) for each in annotations.get(kind) or [])
        for kind in ("tags", "shapes", "tracks")
    }
    return [parts, sorted((held.get("meta") or {}).get("deleted_frames") or [])]


def _hash_of(value: list[Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _used(annotations: dict[str, Any]) -> tuple[set[Any], set[Any]]:
    """The ids of the classes and of the attributes that annotations have."""
    things = [each for kind in ("tags", "shapes", "tracks") for each in annotations.get(kind) or []]
    parts = [part for each in things for part in (each, *(each.get("shapes") or []))]
    specs = {one.get("spec_id") for part in parts for one in part.get("attributes") or []}
    return {each.get("label_id") for each in things}, specs


def read_round(path: Path) -> Round:
    """A run.json. Raises FileNotFoundError, and RunEnds when it cannot be read."""
    try:
        return Round.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_readable(path, error, "It says what was made on the server.") from None


def _not_readable(path: Path, error: Exception, what_it_is: str) -> RunEnds:
    """What to say of a file of a round: a good file that we may not read must not be replaced or removed."""
    if isinstance(error, OSError):
        remedy = what_to_do(path.parent, error, "fiftyone_sync.py") if error.errno in _REFUSED else ""
        if isinstance(error, FileNotFoundError):
            remedy = f"{what_it_is} Put a copy of it there; cleanup --discard ends the round without it."
        return RunEnds(f"{path} cannot be read ({error.strerror}).", remedy or "Look at this disk, then try again.")
    said = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
    end = (
        "or remove the tasks by hand and then its folder" if path.name == "run.json" else "or end it: cleanup --discard"
    )
    return RunEnds(f"{path} is damaged ({said}).", f"{what_it_is} Put a good copy in its place, {end}.")


def _baseline(task_id: int) -> str:
    return f"baseline/{task_id}.json"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug(text, 40) or 'x'}-{digest}"
