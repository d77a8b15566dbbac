"""`sc_floor.py down|up URL TOKEN CA FOLDER`: the same requests with nothing around them, ten at a time.

What it fetches or sends is all that the work needs: no listing afterwards, no comparing, no hashing, no syncing.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

THREADS = 10


class Floor:
    """One server, one session per thread."""

    def __init__(self, url: str, token: str, ca_file: str) -> None:
        self._own = threading.local()
        self._token, self._ca_file = token, ca_file
        organization = self.ask("GET", f"{url}/api/v1/personal_access_tokens/organization")
        listed = organization.get("organizations") or [organization]
        base = f"{url}/api/v1/organizations/{listed[0].get('organizationId') or listed[0].get('id')}"
        workspace = self.ask("GET", f"{base}/workspaces")["workspaces"][0]["id"]
        self.home = f"{base}/workspaces/{workspace}/projects"

    def send(self, method: str, url: str, **more: Any) -> requests.Response:
        if not hasattr(self._own, "session"):
            session = self._own.session = requests.Session()
            session.verify, session.trust_env = self._ca_file, False
            session.headers.update({"x-api-key": self._token, "x-geti-csrf-protection": "1"})
        answer: requests.Response = self._own.session.request(method, url, timeout=60, **more)
        answer.raise_for_status()
        return answer

    def ask(self, method: str, url: str, **more: Any) -> Any:
        return self.send(method, url, **more).json()

    def down(self, folder: Path) -> None:
        project = self.ask("GET", f"{self.home}?limit=100")["projects"][0]["id"]
        described = self.ask("GET", f"{self.home}/{project}")
        dataset = f"{self.home}/{project}/datasets/{described['datasets'][0]['id']}"
        (folder / "images").mkdir(parents=True)
        (folder / "project.json").write_text(json.dumps(described))
        media: list[dict[str, Any]] = []
        while True:
            page = self.ask(
                "POST", f"{dataset}/media:query?limit=1000&skip={len(media)}&sort_by=media_upload_date", json={}
            )
            media += page["media"]
            if len(page["media"]) < 1000:
                break

        def one(each: dict[str, Any]) -> None:
            path = f"{dataset}/media/images/{each['id']}"
            (folder / "images" / f"{each['id']}.jpg").write_bytes(self.send("GET", f"{path}/display/full").content)
            (folder / "images" / f"{each['id']}.json").write_bytes(
                self.send("GET", f"{path}/annotations/latest").content
            )

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(one, media))

    def up(self, folder: Path) -> None:
        described = json.loads((folder / "project.json").read_text())
        task = next(each for each in described["pipeline"]["tasks"] if each.get("labels"))
        names = [each["name"] for each in task["labels"] if not each.get("is_empty")]
        tasks = [
            {"title": "Dataset", "task_type": "dataset"},
            {"title": "Objects", "task_type": "detection", "labels": [{"name": each} for each in names]},
        ]
        pipeline = {"connections": [{"from": "Dataset", "to": "Objects"}], "tasks": tasks}
        made = self.ask("POST", self.home, json={"name": "Floor", "pipeline": pipeline})
        labels = {each["name"]: each["id"] for one in made["pipeline"]["tasks"] for each in one.get("labels") or []}
        dataset = f"{self.home}/{made['id']}/datasets/{made['datasets'][0]['id']}"

        def one(image: Path) -> None:
            scene = json.loads(image.with_suffix(".json").read_text())
            annotations = [
                {"shape": each["shape"], "labels": [{"id": labels[label["name"]]} for label in each["labels"]]}
                for each in scene["annotations"]
            ]
            media = self.ask("POST", f"{dataset}/media/images", files={"file": (image.name, image.read_bytes())})
            self.send("POST", f"{dataset}/media/images/{media['id']}/annotations", json={"annotations": annotations})

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(one, sorted((folder / "images").glob("*.jpg"))))


def main() -> None:
    what, url, token, ca_file, folder = sys.argv[1:]
    floor = Floor(url, token, ca_file)
    (floor.down if what == "down" else floor.up)(Path(folder))


if __name__ == "__main__":
    main()
