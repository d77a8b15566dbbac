"""A small world for the worker's side: the real FiftyOne sends to a server in memory, people edit, the worker loads.

Runs inside the Python that has FiftyOne; never imported by pytest.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from copy import deepcopy
from pathlib import Path
from typing import Any

import fiftyone as fo
import fiftyone.utils.cvat as fouc
import numpy as np
from packaging.version import Version

from common.fiftyone.worker.loading import load, undo
from common.fiftyone.worker.originals import write_frames, write_originals

W, H = 320, 240
SERVER = "https://cvat.example.com"


class _Answer:
    def __init__(self, content: Any) -> None:
        self.content = content

    def json(self) -> Any:
        return self.content


class Server:
    """Tasks as the server holds them: {id: {"annotations", "labels", "meta"}}, answered as CVAT 2.54 answers."""

    def __init__(self) -> None:
        self.tasks: dict[int, dict[str, Any]] = {}
        self._next = 100

    def number(self) -> int:
        self._next += 1
        return self._next

    def take(self, task: int, sent: dict[str, Any]) -> dict[str, Any]:
        """PUT annotations: ids are given, and what was not sent gets what the server puts there."""
        held: dict[str, Any] = {"version": 0, "tags": [], "shapes": [], "tracks": []}
        for tag in sent["tags"]:
            held["tags"].append({"id": self.number(), **deepcopy(tag)})
        for shape in sent["shapes"]:
            held["shapes"].append(self._shape(shape))
        for track in sent["tracks"]:
            shapes = [self._shape(shape) for shape in track["shapes"]]
            held["tracks"].append({"id": self.number(), **deepcopy(track), "shapes": shapes})
        self.tasks[task]["annotations"] = held
        return deepcopy(held)

    def _shape(self, shape: dict[str, Any]) -> dict[str, Any]:
        told = {"outside": False, "z_order": 0, "rotation": 0.0, "elements": [], **deepcopy(shape)}
        told.pop("keyframe", None)
        return {**told, "id": self.number(), "points": [float(one) for one in told["points"]]}


class _API(fouc.CVATAnnotationAPI):
    """FiftyOne's own way to send, with a server in memory behind it."""

    server: Server

    def _setup(self) -> None:
        self._server_version = Version("2.54.1")

    def create_task(self, name: str, schema: Any = None, **_: Any) -> Any:
        task = self.server.number()
        labels, classes, attributes = [], {}, {}
        for label, specs in (schema or {}).items():
            told = []
            for key, one in specs.items():
                values = [str(value) for value in one.get("values") or [""]]
                default = str(one.get("default_value", ""))
                about = {"id": self.server.number(), "name": one.get("name", key), "values": values}
                about |= {"mutable": one.get("mutable", True), "input_type": one["input_type"]}
                told.append({**about, "default_value": default})
            number = self.server.number()
            labels.append({"id": number, "name": label, "type": "any", "attributes": told})
            classes[label], attributes[number] = number, {one["name"]: one["id"] for one in told}
        empty = {"version": 0, "tags": [], "shapes": [], "tracks": []}
        self.server.tasks[task] = {"annotations": empty, "labels": labels, "meta": {"deleted_frames": []}}
        return task, classes, attributes

    def upload_data(self, task_id: int, paths: Any, **_: Any) -> Any:
        return [task_id + 1]

    def _verify_uploaded_frames(self, *_: Any) -> None:
        pass

    def put(self, url: str, **kwargs: Any) -> Any:
        return _Answer(self.server.take(int(url.split("/tasks/")[1].split("/")[0]), kwargs["json"]))


class Room:
    """A dataset, a run, its folder and its server."""

    def __init__(self, samples: list[fo.Sample]) -> None:
        self.dataset = fo.Dataset("room-" + uuid.uuid4().hex[:8])
        self.dataset.add_samples(samples, progress=False)
        self.server = Server()
        self.folder = Path(tempfile.mkdtemp())
        self.label_schema: dict[str, Any] = {}

    def send(self, view: Any = None, **arguments: Any) -> Room:
        """annotate(), with what the create side does around it."""
        samples = view if view is not None else self.dataset.view()
        _API.server = self.server
        fouc.CVATBackend._connect_to_api = lambda backend: _API("cvat", SERVER)
        names = list(arguments.get("label_schema") or [arguments.get("label_field")])
        write_originals(samples, {name: {} for name in names}, self.folder / "originals.jsonl")
        told = {"backend": "cvat", "url": SERVER, "username": "u", "password": "p", "launch_editor": False}
        results = samples.annotate("key", **told, **arguments)
        write_frames(samples, results, self.folder / "frames.jsonl")
        self.label_schema = json.loads(json.dumps(results.config.label_schema))
        self.classes = _API("cvat", SERVER)._build_cvat_schema(deepcopy(results.config.label_schema))[4]
        self.tasks = results.task_ids
        self.write("baseline")
        return self

    @property
    def task(self) -> dict[str, Any]:
        return self.server.tasks[self.tasks[0]]

    @property
    def held(self) -> dict[str, Any]:
        return self.task["annotations"]

    def write(self, which: str) -> None:
        (self.folder / which).mkdir(exist_ok=True)
        for task in self.tasks:
            (self.folder / which / f"{task}.json").write_text(json.dumps(self.server.tasks[task]))

    def load(self, **more: Any) -> dict[str, Any]:
        self.write("current")
        return load(self.request(**more), lambda event, **fields: None)

    def request(self, **more: Any) -> dict[str, Any]:
        told = {"dataset": self.dataset.name, "folder": str(self.folder), "tasks": list(self.tasks), "server": SERVER}
        told |= {"label_schema": self.label_schema, "classes": self.classes, "dest_field": None, "unexpected": "keep"}
        return json.loads(json.dumps({**told, "permissions": {}, **more}))

    def undo(self) -> dict[str, Any]:
        return undo({"dataset": self.dataset.name, "folder": str(self.folder)}, lambda event, **fields: None)

    def raw(self) -> dict[str, Any]:
        """All that the database holds, by id, but for when it was last written."""
        found: dict[str, Any] = {}
        collections = [self.dataset._sample_collection]
        if self.dataset._has_frame_fields():
            collections.append(self.dataset._frame_collection)
        for collection in collections:
            for document in collection.find({}):
                document.pop("last_modified_at", None)
                found[str(document["_id"])] = document
        return found

    def values(self, field: str, place: int = 0) -> Any:
        """The stored value of a sample's field."""
        return list(self.dataset._sample_collection.find({}))[place].get(field)

    def frame(self, number: int, field: str) -> Any:
        """The stored value of a frame's field; `number` is 1-based."""
        return self.dataset._frame_collection.find_one({"frame_number": number}).get(field)

    # What people do in CVAT

    def shape(self, label: Any, kind: str = "shapes") -> dict[str, Any]:
        """The thing that was made of a label."""
        return self.shapes(label, kind)[0]

    def shapes(self, label: Any, kind: str = "shapes") -> list[dict[str, Any]]:
        name = str(label if isinstance(label, str) else label.id)
        return [one for one in self.held[kind] if any(str(at["value"]) == name for at in one["attributes"])]

    def class_id(self, name: str) -> int:
        return next(one["id"] for one in self.task["labels"] if one["name"] == name)

    def spec(self, class_id: int, name: str) -> int:
        label = next(one for one in self.task["labels"] if one["id"] == class_id)
        return next(one["id"] for one in label["attributes"] if one["name"] == name)

    def set_attribute(self, thing: dict[str, Any], name: str, value: str, class_id: int | None = None) -> None:
        spec = self.spec(class_id or thing["label_id"], name)
        rest = [one for one in thing["attributes"] if one["spec_id"] != spec]
        thing["attributes"] = [*rest, {"spec_id": spec, "value": value}]

    def relabel(self, thing: dict[str, Any], name: str) -> None:
        """As CVAT's editor does it: attributes of the same name are kept, the id of the label is lost."""
        new = self.class_id(name)
        old = next(one for one in self.task["labels"] if one["id"] == thing["label_id"])
        names = {one["id"]: one["name"] for one in old["attributes"]}
        had = {names[one["spec_id"]]: one["value"] for one in thing["attributes"]}
        label = next(one for one in self.task["labels"] if one["id"] == new)
        thing["label_id"] = new
        thing["attributes"] = [
            {
                "spec_id": one["id"],
                "value": "" if one["name"] == "label_id" else had.get(one["name"], one["default_value"]),
            }
            for one in label["attributes"]
        ]

    def add(
        self, name: str, points: list[float], shape: str = "rectangle", frame: int = 0, **more: Any
    ) -> dict[str, Any]:
        made = {"id": self.server.number(), "label_id": self.class_id(name), "type": shape, "frame": frame, "group": 0}
        made |= {"points": points, "occluded": False, "outside": False, "z_order": 0, "rotation": 0.0, "attributes": []}
        self.held["shapes"].append({**made, **more})
        return self.held["shapes"][-1]

    def add_tag(self, name: str, frame: int = 0, **attributes: str) -> dict[str, Any]:
        made = {
            "id": self.server.number(),
            "label_id": self.class_id(name),
            "frame": frame,
            "group": 0,
            "attributes": [],
        }
        self.held["tags"].append(made)
        for key, value in attributes.items():
            self.set_attribute(made, key, value)
        return made

    def add_track(
        self, name: str, keys: list[tuple[int, list[float], bool]], shape: str = "rectangle"
    ) -> dict[str, Any]:
        """keys: (frame, points, outside)."""
        label = self.class_id(name)
        shapes = [
            {"id": self.server.number(), "type": shape, "frame": frame, "points": points, "outside": outside,
             "occluded": False, "z_order": 0, "rotation": 0.0, "attributes": []}
            for frame, points, outside in keys
        ]  # fmt: skip
        track = {"id": self.server.number(), "label_id": label, "frame": keys[0][0], "group": 0, "attributes": []}
        self.held["tracks"].append({**track, "shapes": shapes})
        return self.held["tracks"][-1]


def image(**fields: Any) -> fo.Sample:
    name = uuid.uuid4().hex[:8]
    return fo.Sample(filepath=f"/media/{name}.png", metadata=fo.ImageMetadata(width=W, height=H), **fields)


def video(frames: int, **fields: list[Any]) -> fo.Sample:
    """`fields`: the values of a frame field, frame by frame."""
    metadata = fo.VideoMetadata(frame_width=W, frame_height=H, total_frame_count=frames, frame_rate=10)
    sample = fo.Sample(filepath=f"/media/{uuid.uuid4().hex[:8]}.mp4", metadata=metadata)
    for number in range(1, frames + 1):
        sample.frames[number] = fo.Frame()
        for name, values in fields.items():
            sample.frames[number][name] = values[number - 1]
    return sample


def rle(array: Any, left: int, top: int) -> list[float]:
    """CVAT's mask of a boolean array whose upper left pixel is (left, top) of the frame."""
    runs = fouc.HasCVATBinaryMask._mask_to_cvat_rle(np.asarray(array).astype(bool))
    height, width = np.asarray(array).shape
    return [float(one) for one in [*runs, left, top, left + width - 1, top + height - 1]]


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    """What differs between two readings of the database: [(document, key)]."""
    keys = {(one, key) for world in (before, after) for one, document in world.items() for key in document}
    return sorted(
        (one, key) for one, key in keys if repr(before.get(one, {}).get(key)) != repr(after.get(one, {}).get(key))
    )
