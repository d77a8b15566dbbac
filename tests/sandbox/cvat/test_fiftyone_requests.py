"""Every request that the real FiftyOne 1.22.1 sent to a real CVAT 2.54.1, sent to the sandbox: it answers alike."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from PIL import Image

from sandbox.cvat import CvatSandbox

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings" / "cvat"
FLOWS = sorted(RECORDINGS.glob("fo_*.json"))
pytestmark = pytest.mark.skipif(not FLOWS, reason=f"the recordings of a real server are not there: {RECORDINGS}")

Json = Any
# Ids and moments are ours, and so is the colour that the real one makes of a label's name.
OURS = {
    "id", "key", "label_id", "spec_id", "task_id", "project_id", "data", "color", "created_date",
    "updated_date", "chunks_updated_date", "assignee_updated_date", "next", "previous", "rq_id", "last_login", "date_joined",
}  # fmt: skip
# The one upload that was recorded whole has these; of the others the first of them are there.
SETTINGS = {"image_quality": "75", "use_cache": "True", "use_zip_chunks": "True", "sorting_method": "predefined"}
# Between these requests somebody changed labels in CVAT; which of them is not in the recordings.
EDITED = {"fo_detections.json", "fo_instances.json", "fo_project.json", "fo_project_existing.json", "fo_video.json"}


def mp4(frames: int, width: int = 320, height: int = 240) -> bytes:
    """The boxes of a film without its pictures."""

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    head = box(b"tkhd", bytes(76), struct.pack(">II", width << 16, height << 16))
    handler = box(b"hdlr", bytes(8), b"vide", bytes(13))
    sizes = box(b"stsz", bytes(4), struct.pack(">II", 7, frames))
    media = box(b"mdia", handler, box(b"minf", box(b"stbl", sizes)))
    return box(b"ftyp", b"isom", bytes(4)) + box(b"moov", box(b"trak", head, media))


def plain(value: Json) -> Json:
    """Addresses without the server's name and without ids."""
    if not isinstance(value, str) or not value.startswith("http://127"):
        return value
    return re.sub(r"\d+", "N", re.sub(r"^https?://[^/]+", "", value))


class Replay:
    """One flow: its requests with our ids in the place of the recorded ones."""

    def __init__(self, server: CvatSandbox, name: str) -> None:
        self.server = server
        self.name = name
        self.flow = json.loads((RECORDINGS / name).read_text())
        self.session = requests.Session()
        self.session.trust_env = False
        self.ids: dict[tuple[str, int], int] = {}  # (what it is an id of, recorded) -> ours

    def run(self) -> None:
        for number, exchange in enumerate(self.flow):
            asked, recorded = exchange["request"], exchange["response"]
            if asked["method"] == "GET" and "/data/meta" in asked["target"]:
                self._delete_frames(asked["target"], recorded["body"]["json"]["deleted_frames"])
            answer = self._ask(number, asked)
            where = f"{self.name} {number}: {asked['method']} {asked['target']}"
            assert answer.status_code == recorded["status"], f"{where}: {answer.text[:500]}"
            body = recorded["body"] or {}
            if "json" in body:
                self._compare(body["json"], answer.json(), where)
            else:
                assert answer.content == b"", where

    def _ask(self, number: int, asked: Json) -> requests.Response:
        target, method = self._target(asked["target"]), asked["method"]
        more: Json = {}
        if target.endswith("/data"):
            more = self._media(number, asked["body"])
        elif asked["body"] is not None:
            more = {"json": self._ours(asked["body"]["json"])}
            if target == "/api/auth/login" and self.flow[number]["response"]["status"] == 200:
                more = {"json": {"username": self.server.username, "password": self.server.password}}
        send = lambda: self.session.request(method, self.server.url + target, timeout=30, **more)  # noqa: E731
        answer = send()
        wanted = (self.flow[number]["response"]["body"] or {}).get("json") or {}
        if target.startswith("/api/jobs?") and wanted.get("count"):
            answer = self._again(send, answer)
        if "csrftoken" in answer.cookies:
            self.session.headers["X-CSRFToken"] = answer.cookies["csrftoken"]
        return answer

    def _again(self, send: Callable[[], requests.Response], answer: requests.Response) -> requests.Response:
        """FiftyOne asks once a second until there are jobs."""
        deadline = time.monotonic() + 20
        while not answer.json()["count"] and time.monotonic() < deadline:
            time.sleep(0.02)
            answer = send()
        return answer

    # --- our ids for the recorded ones ------------------------------------------------------------------------------

    def _target(self, target: str) -> str:
        parts = urlsplit(target)
        path = re.sub(r"/(tasks|jobs|projects)/(\d+)", lambda m: f"/{m[1]}/{self.ids[m[1], int(m[2])]}", parts.path)
        query = [
            (key, str(self.ids[f"{key.removesuffix('_id')}s", int(value)]) if key.endswith("_id") else value)
            for key, value in parse_qsl(parts.query)
        ]
        return f"{path}?{urlencode(query)}" if query else path

    def _ours(self, value: Json, within: str = "") -> Json:
        if isinstance(value, list):
            return [self._ours(item, within) for item in value]
        if not isinstance(value, dict):
            return value
        kinds = {"label_id": "labels", "spec_id": "attributes", "project_id": "projects", "assignee_id": "users",
                 "assignee": "users", "id": within}  # fmt: skip
        return {
            key: self.ids[kinds[key], item] if key in kinds and isinstance(item, int) else self._ours(item, key)
            for key, item in value.items()
        }

    def _media(self, number: int, body: Json) -> Json:
        """The upload, whose recorded body is cut: its settings, and files of the names and sizes that data/meta tells."""
        head = body["text"] if "text" in body else base64.b64decode(body["base64_head"]).decode("utf-8", "replace")
        settings = dict(re.findall(r'name="(\w+)"\r\n\r\n([^\r]*)\r\n', head))
        assert settings.items() <= SETTINGS.items()
        settings = SETTINGS
        later = [e for e in self.flow[number:] if "/data/meta" in e["request"]["target"]]
        if not later:
            return {"data": settings, "files": {"client_files[0]": ("broken.png", b"not an image")}}
        meta = later[0]["response"]["body"]["json"]
        files = {}
        for place, frame in enumerate(meta["frames"]):
            content = io.BytesIO()
            if frame["name"].endswith(".mp4"):
                content.write(mp4(meta["size"], frame["width"], frame["height"]))
            else:
                picture = Image.new("RGB", (frame["width"], frame["height"]), (place, 0, 0))
                picture.save(content, "PNG" if frame["name"].endswith(".png") else "JPEG")
            files[f"client_files[{place}]"] = (frame["name"], content.getvalue())
        return {"data": settings, "files": files}

    def _delete_frames(self, target: str, frames: list[int]) -> None:
        """What somebody did in CVAT's editor before this request."""
        task = self.ids["tasks", int(target.split("/")[3])]
        self.server.world.set_deleted_frames(self.server.world.task(task), frames)

    # --- comparing --------------------------------------------------------------------------------------------------

    def _compare(self, recorded: Json, ours: Json, where: str, kind: str = "") -> None:
        if isinstance(recorded, dict) and isinstance(ours, dict):
            assert list(recorded) == list(ours) or set(recorded) == set(ours), f"{where}: other fields"
            kind = self._kind(recorded, where, kind)
            for key, value in recorded.items():
                if key == "id" and kind:
                    known = self.ids.setdefault((kind, value), ours["id"])
                    assert known == ours["id"] or self._changed(where), f"{where}: another id than before"
                elif key in OURS:
                    assert key == "last_login" or type(value) is type(ours[key]), (
                        f"{where} {key}: {value!r}, ours {ours[key]!r}"
                    )
                else:
                    self._compare(value, ours[key], f"{where} {key}", key)
        elif isinstance(recorded, list) and isinstance(ours, list):
            waiting = "GET /api/jobs?" in where and not recorded  # ours is faster
            assert len(recorded) == len(ours) or waiting or self._changed(where), f"{where}: {len(ours)} items"
            for place, (one, other) in enumerate(zip(recorded, ours, strict=False)):
                self._compare(one, other, f"{where}[{place}]", kind)
        elif not self._changed(where) and not where.endswith("count"):
            assert plain(recorded) == plain(ours), f"{where}: {recorded!r}, ours {ours!r}"

    def _kind(self, row: Json, where: str, key: str) -> str:
        if "id" not in row:
            return ""
        if key in ("owner", "assignee") or "/api/users" in where:
            return "users"
        if key in ("tags", "shapes", "tracks", "attributes"):
            return "tracked shapes" if " tracks[" in where and key == "shapes" else key
        return next(
            (kind for kind in ("labels", "jobs", "tasks", "projects") if re.search(rf"/api/{kind}\b", where)), ""
        )

    def _changed(self, where: str) -> bool:
        return self.name in EDITED and bool(re.search(r"GET /api/jobs/\d+/annotations", where))


@pytest.mark.parametrize("name", [path.name for path in FLOWS])
def test_a_recorded_flow_of_fiftyone_is_answered_as_the_real_server_did(name: str) -> None:
    with CvatSandbox(samples="none", anonymous_per_minute=10_000) as server:
        for person in ("alice", "bobby"):
            server.world.add_user(person, first_name=person.capitalize(), last_name="Test")
        if name == "fo_project_existing.json":
            age = {"name": "age", "mutable": False, "input_type": "text", "values": []}
            server.world.add_project(
                "fo_proj existing2", labels=[{"name": "car"}, {"name": "tree", "attributes": [age]}]
            )
        Replay(server, name).run()
        if name == "fo_broken_image.json":
            [request] = server.exports.requests.values()
            assert request.status == "failed"
            assert request.message.startswith("PIL.UnidentifiedImageError: cannot identify image file ")
