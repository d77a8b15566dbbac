"""Whole rounds of fiftyone_sync.py: a dataset with every type of label, the script as a process, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ended import Ended
from environment import ROOT, RealFiftyOne, fiftyone_environment
from making import PRELUDE, Annotator, pictures

from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import FaultsMet
from sandbox.cvat.http import Request, Response

Json = Any
PATIENCE_SECONDS = 240

SCHEMA: dict[str, Json] = {
    "boxes": {
        "type": "detections",
        "classes": ["car", "bus"],
        "attributes": {
            "colour": {"type": "select", "values": ["red", "blue"]},
            "note": {"type": "text", "values": []},
            "crowd": {"type": "checkbox", "values": [True, False]},
            "hidden": {"type": "occluded"},
        },
    },
    "blobs": {"type": "instances", "classes": ["blob", "drop"]},
    "areas": {"type": "polygons", "classes": ["field", "lake"]},
    "lines": {"type": "polylines", "classes": ["road", "river"]},
    "dots": {"type": "keypoints", "classes": ["nose", "ear"]},
    "kind": {"type": "classification", "classes": ["day", "night"]},
    "signs": {"type": "classifications", "classes": ["stop", "yield"]},
    "ground": {"type": "segmentation", "mask_targets": {"1": "grass", "2": "sand"}},
    "count": {"type": "scalar"},
    "ratio": {"type": "scalar"},
    "flag": {"type": "scalar"},
    "word": {"type": "scalar", "classes": ["alpha", "beta"]},
}

# Values that a careless way there and back would change: thirds, many digits, several parts, odd types, other fields.
EVERYTHING = """
d = dataset_of(paths, name)
d.compute_metadata()
for n, s in enumerate(d):
    s.tags = ["kept", str(n)]
    s["boxes"] = fo.Detections(detections=[
        fo.Detection(label="car", bounding_box=[1/3, 1/7, .123456789012345, .2], confidence=.1 + n / 3, colour="red",
                     note="007", crowd=True, hidden=True, tags=["a"], extra={"deep": [1, 2.5, None]}),
        fo.Detection(label="bus", bounding_box=[.5, .5, .25, .25], note="", colour=None, crowd=False),
        fo.Detection(label="neither", bounding_box=[0, 0, .1, .1]),
    ])
    blob = np.zeros((37, 53), dtype=bool)
    blob[3:30, 5:50] = True
    blob[10:15, 20:25] = False
    s["blobs"] = fo.Detections(detections=[
        fo.Detection(label="blob", bounding_box=[.2, .2, 1/3, 1/3], mask=blob),
        fo.Detection(label="drop", bounding_box=[.7, .1, .2, .5], mask=np.full((120, 64), 255, dtype=np.uint8)),
    ])
    s["areas"] = fo.Polylines(polylines=[
        fo.Polyline(label="field", closed=True, filled=True, weight=1/3,
                    points=[[(.1, .1), (1/3, .1), (.3, .3)], [(.5, .5), (.6, .5), (.6, .6), (2/3, .7)]]),
        fo.Polyline(label="lake", closed=True, filled=True, points=[[(.7, .7), (.9, .7), (.9, .9)]]),
    ])
    s["lines"] = fo.Polylines(polylines=[
        fo.Polyline(label="road", points=[[(0, 0), (1/3, 1/3), (1, 0)]]),
        fo.Polyline(label="river", closed=True, points=[[(.2, .8), (.4, .8), (.4, 1)]]),
    ])
    s["dots"] = fo.Keypoints(keypoints=[fo.Keypoint(label="nose", points=[(1/3, 1/3), (.5, .75)]),
                                        fo.Keypoint(label="ear", points=[(.1, .9)])])
    s["kind"] = fo.Classification(label="day", confidence=1/3, logits=np.array([.1, .9]))
    s["signs"] = fo.Classifications(classifications=[fo.Classification(label="stop"), fo.Classification(label="yield")])
    ground = np.zeros((240, 320), dtype=np.uint8)
    ground[20:60, 10:70] = 1
    ground[100:150, 100:200] = 2
    ground[0, 0] = ground[239, 319] = 1
    s["ground"] = fo.Segmentation(mask=ground)
    s["count"] = n - 1
    s["ratio"] = n / 3
    s["flag"] = n % 2 == 0
    s["word"] = "alpha"
    s["untouched"] = fo.Detections(detections=[fo.Detection(label="x", bounding_box=[.1, .1, .1, .1])])
    s.save()
"""

# The documents as MongoDB has them, nothing read or written by FiftyOne's own classes.
SNAPSHOT = """
import fiftyone as fo
from bson import json_util
import json
d = fo.load_dataset(name)
d.reload()
def rows(collection):
    found = {}
    for row in collection.find().sort("_id") if collection is not None else []:
        row.pop("last_modified_at", None)
        found[str(row["_id"])] = json.loads(json_util.dumps(row))
    return found
result = {"samples": rows(d._sample_collection),
          "frames": rows(d._frame_collection) if d.media_type == "video" else {},
          "runs": sorted(fo.core.odm.get_db_conn()["datasets"].find_one({"name": name}).get("annotation_runs", {}))}
"""


@contextlib.contextmanager
def held_at(server: CvatSandbox, step: str) -> Iterator[threading.Event]:
    """The first request that matches is held until the block ends, and is then carried out; the event says it came."""
    came, go_on, plain_answer = threading.Event(), threading.Event(), server.answer

    def answer(request: Request, faults: FaultsMet) -> Response:
        if not came.is_set() and re.search(step, f"{request.method} {request.target}"):
            came.set()
            go_on.wait(PATIENCE_SECONDS)
        return plain_answer(request, faults)

    server.answer = answer  # type: ignore[method-assign]
    try:
        yield came
    finally:
        go_on.set()
        server.answer = plain_answer  # type: ignore[method-assign]


class Rounds:
    """fiftyone_sync.py with the settings of one test."""

    def __init__(self, server: CvatSandbox, fiftyone: RealFiftyOne, database: str, folder: Path, name: str) -> None:
        self.server = server
        self.fiftyone = fiftyone
        self.name = name
        self.folder = folder
        self.paths = pictures(folder / "media")
        self.environment = fiftyone_environment(database, folder / "home") | {
            "CVAT_URL": server.url,
            "CVAT_USERNAME": server.username,
            "CVAT_PASSWORD": server.password,
            "CVAT_STATE_DIR": str(folder / "state"),
            "CVAT_SERVER_WAIT_SECONDS": "5",
            "LOG_FORMAT": "json",
            "FIFTYONE_SYNC_PYTHON": fiftyone.python,
            "FIFTYONE_SYNC_DATASET": name,
            "FIFTYONE_SYNC_ANNO_KEY": "round_1",
            "PYTHONPATH": "",
        }

    # --- in FiftyOne ------------------------------------------------------------------------------------------------

    def run(self, code: str, **values: Any) -> Any:
        """A snippet in FiftyOne; `name` and `paths` are there for it."""
        return self.fiftyone.run(PRELUDE + code, **{"name": self.name, "paths": self.paths, **values})

    def snapshot(self) -> dict[str, Any]:
        """Every document of the dataset, as the database has it, but for the time of the last change."""
        found: dict[str, Any] = self.fiftyone.run(SNAPSHOT, name=self.name)
        return found

    def field(self, name: str) -> list[Any]:
        """One field of all samples, as the database has it."""
        return [row.get(name) for row in self.snapshot()["samples"].values()]

    def labels(self, name: str) -> list[list[dict[str, Any]]]:
        """The labels in a list field of every sample."""
        lists = ("detections", "polylines", "keypoints", "classifications")
        return [next((value[key] for key in lists if key in value), []) if value else [] for value in self.field(name)]

    # --- the script -------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """The script as a process; settings of this call are given without FIFTYONE_SYNC_, or whole."""
        environment = dict(self.environment)
        for name, value in changes.items():
            environment[name if name.startswith(("CVAT_", "FIFTYONE_", "LOG_")) else f"FIFTYONE_SYNC_{name}"] = value
        return subprocess.Popen(
            [sys.executable, str(ROOT / "fiftyone_sync.py"), *arguments], env=environment, cwd=self.folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def sync(self, *arguments: str, code: int | None = 0, **changes: str) -> Ended:
        """A whole run; its exit code must be `code`."""
        process = self.start(*arguments, **changes)
        try:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            raise AssertionError(
                f"{arguments} did not end in {PATIENCE_SECONDS} s; it said\n{out}\n{err[-4000:]}"
            ) from None
        done = Ended(process.returncode, out, err)
        assert "Traceback" not in done.said, done.said
        assert code is None or done.code == code, f"{arguments} ended with {done.code}, not {code}\n{done.said}"
        return done

    def send_everything(self, **changes: str) -> None:
        """A dataset with every type of label, sent to CVAT."""
        self.run(EVERYTHING)
        self.sync("create", LABEL_SCHEMA=json.dumps(SCHEMA), **changes)

    @property
    def state_files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.folder)) for path in (self.folder / "state").rglob("*") if path.is_file()
        )


# --- what several of these tests use --------------------------------------------------------------------------------

BOXES = {"LABEL_FIELD": "gt", "LABEL_TYPE": "detections", "CLASSES": "car,person"}
SMALL = """
d = dataset_of(paths, name)
d.compute_metadata()
for s in d:
    s["gt"] = boxes(("car", [.1, .1, 1/3, .2]))
    s.save()
"""

FILM = """
d = dataset_of([path], name)
for s in d:
    s.compute_metadata()
    d.ensure_frames()
    s.reload()
    for number in range(1, 25):
        s.frames[number]["gt"] = fo.Detections(detections=[
            fo.Detection(label="car", bounding_box=[number / 97, 1/3, .2, 1/7], index=1, kind="suv", ok=number > 12),
        ])
        if 4 < number < 20:
            walker = fo.Detection(label="person", bounding_box=[.5, number / 99, .1, .1], index=2, confidence=1/3)
            s.frames[number]["gt"].detections.append(walker)
        if number == 8:
            s.frames[number]["gt"].detections.append(fo.Detection(label="person", bounding_box=[.1, .1, 1/3, .1]))
    s.save()
"""
FILM_SETTINGS = {
    "LABEL_FIELD": "frames.gt",
    "LABEL_TYPE": "detections",
    "CLASSES": "car,person",
    "ATTRIBUTES": json.dumps(
        {"kind": {"type": "select", "values": ["suv", "van"], "mutable": False}, "ok": {"type": "checkbox"}}
    ),
}


def in_frames(snapshot: Json) -> dict[int, list[Json]]:
    """The detections of every frame."""
    return {row["frame_number"]: (row.get("gt") or {}).get("detections", []) for row in snapshot["frames"].values()}


def of(annotator: Annotator, label: str, frame: int = 0, place: int = 0) -> Callable[[Json], bool]:
    """Picks the shape, tag or track of this label on this frame; the `place`-th by its id."""
    label_id = annotator.labels(annotator.tasks[0])[label]["id"]
    held = annotator.held(annotator.jobs(annotator.tasks[0])[0])
    ids = sorted(
        row["id"]
        for kind in ("tags", "shapes", "tracks")
        for row in held[kind]
        if (row["label_id"], row["frame"]) == (label_id, frame)
    )
    return lambda row: (row["label_id"], row["frame"], row["id"]) == (label_id, frame, ids[place])


def value(row: Json, annotator: Annotator, name: str, text: str) -> None:
    """Sets an attribute by name."""
    names = {
        spec["id"]: spec["name"]
        for label in annotator.labels(annotator.tasks[0]).values()
        for spec in label["attributes"]
    }
    [one] = [attribute for attribute in row["attributes"] if names[attribute["spec_id"]] == name]
    one["value"] = text


def without(snapshot: Json, *fields: str) -> Json:
    """The samples but for these fields."""
    rows = snapshot["samples"].items()
    return {key: {name: item for name, item in row.items() if name not in fields} for key, row in rows}


def nothing_is_left(rounds: Rounds) -> None:
    assert rounds.server.world.tasks == {}
    assert rounds.server.world.projects == {}
    assert rounds.snapshot()["runs"] == []
