"""Stands where the Python with FiftyOne would: speaks the worker's protocol, and makes tasks as FiftyOne's client does.

What it does with each request stands in the JSON file FAKE_FIFTYONE: {"create": {"tasks": 2, "then": "hang"}, …}.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from PIL import Image

DESCRIBED = {
    "fiftyone": "1.22.1", "exists": True, "media_type": "image", "persistent": True, "samples": 4, "runs": {},
    "view": {"samples": 4, "missing_count": 0, "missing_ids": [], "uploads": [10]}, "mask_targets": {"gt": False},
    "fields": {"gt": {"exists": False}}, "field_names": [],
}  # fmt: skip
LOADED = {
    "fields": {"gt": {"added": 1, "changed": 0, "removed": 0, "put_back": 0, "same": 3}}, "deleted_frames": [],
    "missing": [], "saved": "saved/1.jsonl",
}  # fmt: skip


def main() -> None:
    descriptor = int(os.environ["FIFTYONE_WORKER_FD"])
    request = json.loads(sys.stdin.readline())
    script = Path(os.environ["FAKE_FIFTYONE"])
    plan = json.loads(script.read_text()).get(request["do"], {})
    with script.with_suffix(".asked").open("a") as asked:
        record = {"request": request, "argv": sys.argv, "environ": dict(os.environ), "pid": os.getpid()}
        asked.write(json.dumps(record) + "\n")

    def tell(event: str, **fields: Any) -> None:
        os.write(descriptor, (json.dumps({"event": event, **fields}) + "\n").encode())

    made = [make_task(request, number, plan, tell) for number in range(plan.get("tasks", 0))]
    for line in plan.get("prints", ()):
        sys.stdout.buffer.write(bytes.fromhex(line) + b"\n")
        sys.stdout.flush()
    for line in plan.get("says", ()):
        print(line, file=sys.stderr, flush=True)
    match plan.get("then", "result"):
        case "result":
            tell("result", result=plan.get("result") or answer(request, made))
        case "fail":
            tell("failed", kind=plan["kind"], reason=plan["reason"], status=None)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "silent":
            pass
        case "hang":
            parent, child = os.getppid(), subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            tell("hanging", child=child.pid)
            while os.getppid() == parent:  # a killed script leaves nothing behind, as with the real worker
                time.sleep(0.1)
            child.kill()
            child.wait()
        case "babble":
            while True:
                tell("still_here")
                time.sleep(0.05)


def make_task(request: dict[str, Any], number: int, plan: dict[str, Any], tell: Any) -> dict[str, Any]:
    """One task with two pictures, its name marked; the first one also makes the project that is wanted."""
    connection, wanted = request["connection"], request["annotate"]
    session = requests.Session()
    url = connection["url"]
    who = {"username": connection["username"], "password": connection["password"]}
    session.headers["Authorization"] = "Token " + session.post(f"{url}/api/auth/login", json=who).json()["key"]
    mark = f" [{request['marker']}]"
    project = wanted.get("project_id") or plan.get("project")
    labels = [{"name": "cat", "attributes": []}]
    if number == 0 and wanted.get("project_name"):
        name = wanted["project_name"]
        project = session.post(f"{url}/api/projects", json={"name": name + mark, "labels": labels}).json()["id"]
        plan["project"] = project
        tell("project_made", id=project, name=name)
    name = f"{wanted['task_name']}_{number + 1}"
    body = {"name": name + mark, "segment_size": wanted.get("segment_size") or 0}
    body |= {"project_id": project, "labels": []} if project else {"labels": labels}
    task = session.post(f"{url}/api/tasks", json=body).json()
    if not plan.get("untold"):
        tell("task_made", id=task["id"], name=name, created_date=task["created_date"])
    picture = io.BytesIO()
    Image.new("RGB", (32, 24)).save(picture, "png")
    files = {f"client_files[{n}]": (f"{n}.png", picture.getvalue()) for n in range(2)}
    form = {"image_quality": "75", "sorting_method": "predefined"}
    session.post(f"{url}/api/tasks/{task['id']}/data", data=form, files=files).raise_for_status()
    while not session.get(f"{url}/api/jobs", params={"task_id": task["id"]}).json()["results"]:
        time.sleep(0.02)
    return dict(task)


def answer(request: dict[str, Any], made: list[dict[str, Any]]) -> dict[str, Any]:
    match request["do"]:
        case "version":
            return {"fiftyone": "1.22.1", "python": "3.11.7", "supported": True}
        case "build":
            return {"made": True, "media_type": "image", "samples": 4}
        case "describe":
            return DESCRIBED
        case "create":
            for name in ("originals.jsonl", "frames.jsonl"):
                (Path(request["folder"]) / name).write_text('{"sample": "a"}\n')
            return {
                "samples": 4, "originals": 4, "recorded_at": time.time(), "projects": [],
                "tasks": [{"id": task["id"], "samples": 2} for task in made],
                "label_schema": request["annotate"]["label_schema"], "classes": {"gt": {"cat": "cat"}},
            }  # fmt: skip
        case "load":
            return LOADED
        case "undo":
            return {"undone": "20261121", "put_back": 2, "missing": 0, "saved": None, "fields_kept": []}
    return {"forgotten": True}


if __name__ == "__main__":
    main()
