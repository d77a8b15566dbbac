"""A plain HTTP client for the tests of the sandbox."""

from __future__ import annotations

import io
import time
import zipfile
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from sandbox.cvat import CvatSandbox

WAIT_SECONDS = 20.0


class Client:
    def __init__(self, server: CvatSandbox, token: str | None = None) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Accept"] = "application/vnd.cvat+json"
        self.session.headers["Authorization"] = f"Bearer {token or server.write_token}"

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        return self.session.request(method, self.server.url + path, timeout=30, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.ask("GET", path, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return self.ask("POST", path, **more)

    def patch(self, path: str, **more: Any) -> requests.Response:
        return self.ask("PATCH", path, **more)

    def wait(self, request_id: str) -> dict[str, Any]:
        """The background request, once it is over."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            answer: dict[str, Any] = self.get(f"/api/requests/{quote(request_id, safe='')}").json()
            if answer["status"] in ("finished", "failed"):
                return answer
            time.sleep(0.01)
        raise AssertionError(f"{request_id} did not end")

    def export(self, path: str) -> dict[str, Any]:
        answer = self.post(path)
        assert answer.status_code in (202, 409), answer.text
        return self.wait(answer.json()["rq_id"])

    def download(self, request: dict[str, Any], **more: Any) -> requests.Response:
        parts = urlsplit(request["result_url"])
        return self.get(f"{parts.path}?{parts.query}", **more)

    def backup(self, target: str, target_id: int) -> zipfile.ZipFile:
        request = self.export(f"/api/{target}s/{target_id}/backup/export")
        assert request["status"] == "finished", request["message"]
        return zipfile.ZipFile(io.BytesIO(self.download(request).content))

    def restore(self, target: str, content: bytes, query: str = "") -> dict[str, Any]:
        """TUS, in two pieces."""
        place = f"/api/{target}s/backup/{query}"
        assert self.post(place, headers={"Upload-Start": ""}).status_code == 202
        begun = self.post(
            place,
            headers={
                "Upload-Length": str(len(content)),
                "Upload-Metadata": "filename eC56aXA=",
                "Tus-Resumable": "1.0.0",
                "Origin": self.server.url,
            },
        )
        assert begun.status_code == 201, begun.text
        location = urlsplit(begun.headers["Location"]).path
        middle = len(content) // 2
        for first, last in ((0, middle), (middle, len(content))):
            sent = self.patch(
                location,
                data=content[first:last],
                headers={"Upload-Offset": str(first), "Content-Type": "application/offset+octet-stream"},
            )
            assert sent.status_code == 204
        name = begun.headers["Upload-Filename"]
        joint = "&" if query else "?"
        finished = self.post(f"{place}{joint}filename={name}", json={"filename": name}, headers={"Upload-Finish": ""})
        assert finished.status_code == 202, finished.text
        return self.wait(finished.json()["rq_id"])
