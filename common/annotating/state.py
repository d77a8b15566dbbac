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
import hashlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from common import log
from common.exits import RunEnds
from common.files import slug, write_json
from common.lock import Patience, locked
from common.text import iso, now

VERSION = 1
MARKER = "fiftyone_sync"
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
        return cls(**values)


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
        except PermissionError as error:
            raise RunEnds(f"{error.filename or self.path} cannot be written ({error.strerror}).") from None

    def make(self) -> None:
        """A new empty folder; one of an earlier round of the same key is put aside, for what it saved can be undone."""
        if self.path.exists():
            known = self.read()
            stamp = (known.began_at if known else iso(now())).replace(":", "").replace("-", "")[:15]
            aside = self.path.with_name(f"{self.path.name}.{stamp}-{secrets.token_hex(2)}")
            self.path.rename(aside)
        self.path.mkdir(parents=True, mode=0o700)
        for name in ("baseline", "current", "saved"):
            (self.path / name).mkdir(mode=0o700)

    def read(self) -> Round | None:
        """run.json; None when there is none. Raises RunEnds when it cannot be read."""
        path = self.path / "run.json"
        try:
            return Round.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunEnds(
                f"{path} cannot be read ({type(error).__name__}: {error}).",
                "It says what was made on the server. Put a good copy in its place, or remove the tasks by hand and then "
                "its folder.",
            ) from None

    def write(self, state: Round) -> None:
        write_json(self.path / "run.json", asdict(state))

    def held_by_server(self, which: str, task_id: int) -> dict[str, Any] | None:
        """What baseline/ or current/ has of a task; None when there is nothing."""
        try:
            found = json.loads((self.path / which / f"{task_id}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return dict(found)

    def write_held(self, which: str, task_id: int, content: dict[str, Any]) -> None:
        write_json(self.path / which / f"{task_id}.json", content, indent=None)


def rounds(state_dir: Path) -> list[tuple[Path, Round]]:
    """Every round that run.json is there of, the newest first; what cannot be read is said in the log."""
    found = []
    for path in sorted((state_dir / "fiftyone").glob("*/*/run.json")):
        try:
            found.append((path.parent, Round.from_json(json.loads(path.read_text(encoding="utf-8")))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.get().warning("round_not_readable", path=str(path), reason=f"{type(error).__name__}: {error}")
    return sorted(found, key=lambda each: each[1].began_at, reverse=True)


def fingerprint(held: dict[str, Any]) -> str:
    """What tells whether annotations or deleted frames are others than before; the order of the server's lists is not."""
    annotations = held["annotations"]
    parts = {
        kind: sorted(json.dumps(each, sort_keys=True) for each in annotations.get(kind) or [])
        for kind in ("tags", "shapes", "tracks")
    }
    deleted = sorted((held.get("meta") or {}).get("deleted_frames") or [])
    return hashlib.sha256(json.dumps([parts, deleted], sort_keys=True).encode()).hexdigest()


def _name(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug(text, 40) or 'x'}-{digest}"
