"""Pictures, clips and datasets for the tests with the real FiftyOne, and an annotator who works over CVAT's REST API."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import requests

from sandbox.cvat import CvatSandbox
from sandbox.cvat.media import draw_street

Json = dict[str, Any]
WIDTH, HEIGHT = 320, 240

# Prelude of every snippet: a dataset from files, its credentials as the arguments that annotate() and load want.
PRELUDE = """
import fiftyone as fo
import numpy as np


def dataset_of(paths, name):
    made = fo.Dataset(name, persistent=True)
    made.add_samples([fo.Sample(filepath=path) for path in paths])
    return made


def boxes(*rows, **more):
    return fo.Detections(detections=[fo.Detection(label=label, bounding_box=box, **more) for label, box in rows])


"""


def pictures(folder: Path, count: int = 3) -> list[str]:
    """Small street scenes; two share their name in different folders, as people's pictures do."""
    found = []
    for number in range(count):
        name = "same name.jpg" if number in (0, 2) else f"{number}ü.jpg"
        path = folder / ("sub a" if number == 2 else ".") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_street(number, (WIDTH, HEIGHT)))
        found.append(str(path.resolve()))
    return found


def clip(folder: Path, frames: int = 24) -> str:
    """An h264 clip of 320x240 pixels, made by ffmpeg."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"clip of {frames}.mp4"
    source = f"testsrc=size={WIDTH}x{HEIGHT}:rate=12"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-frames:v", str(frames)]
    subprocess.run([*command, "-pix_fmt", "yuv420p", str(path)], check=True, timeout=60, stdin=subprocess.DEVNULL)
    return str(path)


def access(server: CvatSandbox) -> dict[str, str]:
    """The arguments with which FiftyOne signs in."""
    return {"url": server.url, "username": server.username, "password": server.password}


class Annotator:
    """Somebody at the labels, through the same addresses that CVAT's editor uses."""

    def __init__(self, server: CvatSandbox) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {server.write_token}"

    def ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.session.request(method, self.server.url + path, timeout=30, **more)
        assert answer.status_code < 300, (method, path, answer.status_code, answer.text[:500])
        return answer.json() if answer.content else None

    @property
    def tasks(self) -> list[int]:
        """The ids of the server's tasks, oldest first."""
        return sorted(row["id"] for row in self.ask("GET", "/api/tasks?page_size=all")["results"])

    def jobs(self, task: int | None = None) -> list[int]:
        """The ids of a task's jobs (of the only task's), by their frames."""
        rows = self.ask("GET", f"/api/jobs?page_size=all&task_id={task or self._only_task()}")["results"]
        return [row["id"] for row in sorted(rows, key=lambda row: row["start_frame"])]

    def _only_task(self) -> int:
        [task] = self.tasks
        return task

    def labels(self, task: int | None = None) -> dict[str, Json]:
        """The labels by name."""
        rows = self.ask("GET", f"/api/labels?page_size=all&task_id={task or self._only_task()}")["results"]
        return {row["name"]: row for row in rows}

    def held(self, job: int | None = None) -> Json:
        """What a job (the only task's first) holds: tags, shapes, tracks."""
        found: Json = self.ask("GET", f"/api/jobs/{job or self.jobs()[0]}/annotations")
        return found

    def change(self, kind: str, which: Callable[[Json], bool] | int, change: Any, job: int | None = None) -> Json:
        """PATCH action=update of the first tag, shape or track for which `which` holds (or the one at that place)."""
        job = job or self.jobs()[0]
        rows = self.held(job)[kind]
        row = rows[which] if isinstance(which, int) else next(row for row in rows if which(row))
        if callable(change):
            change(row)
        else:
            row.update(change)
        self._patch(job, "update", kind, [row])
        return dict(row)

    def relabel(self, kind: str, which: Callable[[Json], bool] | int, label: str, job: int | None = None) -> Json:
        """Another label, as the editor does it: attributes of the same name go along."""
        labels = self.labels(self.tasks[0])
        names = {spec["id"]: spec["name"] for row in labels.values() for spec in row["attributes"]}
        specs = {spec["name"]: spec["id"] for spec in labels[label]["attributes"]}

        def change(row: Json) -> None:
            row["label_id"] = labels[label]["id"]
            for item in (row, *row.get("shapes", [])):
                item["attributes"] = [
                    {"spec_id": specs[names[one["spec_id"]]], "value": one["value"]}
                    for one in item["attributes"]
                    if names[one["spec_id"]] in specs
                ]

        return self.change(kind, which, change, job)

    def add(self, kind: str, *rows: Json, job: int | None = None) -> None:
        """PATCH action=create; `label` and `attributes` may be given by name."""
        self._patch(job or self.jobs()[0], "create", kind, [self._by_id(row) for row in rows])

    def remove(self, kind: str, which: Callable[[Json], bool] | int, job: int | None = None) -> Json:
        """PATCH action=delete of the first for which `which` holds."""
        job = job or self.jobs()[0]
        rows = self.held(job)[kind]
        row = rows[which] if isinstance(which, int) else next(row for row in rows if which(row))
        self._patch(job, "delete", kind, [row])
        return dict(row)

    def _patch(self, job: int, action: str, kind: str, rows: list[Json]) -> None:
        body = {"version": 0, "tags": [], "shapes": [], "tracks": []} | {kind: rows}
        self.ask("PATCH", f"/api/jobs/{job}/annotations?action={action}", json=body)

    def _by_id(self, row: Json) -> Json:
        row = json.loads(json.dumps(row))
        label = self.labels(self.tasks[0])[row.pop("label")] if "label" in row else None
        if label is None:
            return dict(row)
        specs = {spec["name"]: spec["id"] for spec in label["attributes"]}

        def with_ids(item: Json) -> Json:
            named = item.get("attributes") or {}
            if isinstance(named, dict):
                item["attributes"] = [{"spec_id": specs[name], "value": value} for name, value in named.items()]
            for shape in item.get("shapes") or []:
                with_ids(shape)
            return item

        return with_ids({"group": 0, "source": "manual", **row, "label_id": label["id"]})

    def delete_frames(self, frames: Iterable[int], task: int | None = None) -> None:
        self.ask("PATCH", f"/api/tasks/{task or self._only_task()}/data/meta", json={"deleted_frames": list(frames)})

    def finish(self, *jobs: int) -> None:
        """Moves jobs (all, if none is named) to acceptance, completed."""
        for job in jobs or [job for task in self.tasks for job in self.jobs(task)]:
            self.ask("PATCH", f"/api/jobs/{job}", json={"stage": "acceptance", "state": "completed"})
