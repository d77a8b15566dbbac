"""How these tests talk to a played SC or Geti server: signed in, with the addresses of its generation."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from PIL import Image

from sandbox.sc import ScSandbox
from sandbox.sc.film import film
from sandbox.sc.world import Media, Project

TIMEOUT = 60


class Visitor:
    """A session that has signed in the way of the server's generation; `home` is its workspace."""

    def __init__(self, server: ScSandbox) -> None:
        self.server = server
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = str(server.ca_file)
        self.api = server.generation.api
        if server.generation.name == "1.1":
            sign_in_by_password(self.http, server)
        elif server.generation.name == "1.x":
            answer = self.http.post(
                f"{server.url}/api/v1/service_accounts/access_token", json={"service_id": server.token}, timeout=TIMEOUT
            )
            self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        elif server.generation.name == "2.x":
            self.http.headers["x-api-key"] = server.token
            self.api += f"organizations/{server.world.organization_id}/"
        self.home = f"{self.api}workspaces/{server.world.workspaces[0].id}/"

    def close(self) -> None:
        self.http.close()

    def ask(self, method: str, address: str, **options: Any) -> requests.Response:
        """`address` is relative to the workspace unless it begins with a slash. Redirects are not followed."""
        where = urljoin(self.server.url, address if address.startswith("/") else self.home + address)
        return self.http.request(method, where, timeout=TIMEOUT, allow_redirects=False, **options)

    def get(self, address: str, **query: Any) -> Any:
        response = self.ask("GET", address, params=query)
        assert response.status_code == 200, (response.status_code, response.text)
        return response.json()

    def post(self, address: str, body: Any, status: int = 200) -> Any:
        response = self.ask("POST", address, json=body)
        assert response.status_code == status, (response.status_code, response.text)
        return response.json()

    def refused(self, method: str, address: str, **options: Any) -> tuple[int, str]:
        """Status and error code of a request that is not granted."""
        response = self.ask(method, address, **options)
        assert response.status_code >= 400, (response.status_code, response.text)
        return response.status_code, response.json()["error_code"]

    # --- shorthands ----------------------------------------------------------------------------------------------

    def create(self, name: str = "Made", task_type: str = "detection", labels: Any = None, **task: Any) -> Any:
        return self.post("projects", body_of(name, task_type, labels, **task), 201)

    def dataset(self, project: Any) -> str:
        """The address of the training data set."""
        detail = self.get(f"projects/{project['id']}") if self.server.generation.name != "1.1" else project
        return f"projects/{project['id']}/datasets/{detail['datasets'][0]['id']}"

    def upload(self, dataset: str, name: str = "picture.jpg", content: bytes | None = None, **options: Any) -> Any:
        kind = "videos" if name.lower().endswith((".mp4", ".mov", ".avi")) else "images"
        content = content if content is not None else moving(30) if kind == "videos" else picture()
        files = {"file": (name, content)}
        response = self.ask("POST", f"{dataset}/media/{kind}", files=files, **options)
        assert response.status_code in (200, 202), (response.status_code, response.text)
        return response.json()

    def annotate(self, media: str, label: str, shape: Any) -> Any:
        return self.post(f"{media}/annotations", {"annotations": [{"labels": [{"id": label}], "shape": shape}]})


Visit = Callable[..., Visitor]


def body_of(name: str, task_type: str = "detection", labels: Any = None, **task: Any) -> dict[str, Any]:
    """The body of POST projects for one trainable task."""
    labels = [{"name": "cube"}, {"name": "ball"}] if labels is None else labels
    return {
        "name": name,
        "pipeline": {
            "connections": [{"from": "Dataset", "to": "The task"}],
            "tasks": [
                {"title": "Dataset", "task_type": "dataset"},
                {"title": "The task", "task_type": task_type, "labels": labels, **task},
            ],
        },
    }


def sign_in_by_password(
    http: requests.Session, server: ScSandbox, password: str | None = None
) -> list[requests.Response]:
    """The login of SC, redirect by redirect; the answers in order."""
    answers = []
    where, form = f"{server.url}/user/login", None
    while True:
        method = "GET" if form is None else "POST"
        answer = http.request(method, where, data=form, allow_redirects=False, timeout=TIMEOUT)
        answers.append(answer)
        if "location" in answer.headers:
            where, form = urljoin(where, answer.headers["location"]), None
        elif method == "GET" and "/login" in where:
            form = {"login": server.username, "password": password or server.password}
        else:
            return answers


def code_of_geti_login(http: requests.Session, server: ScSandbox, password: str) -> str | None:
    """The code that Geti 2 hands out for a password; None when the login page came again."""
    asked = {"client_id": "web_ui", "redirect_uri": "/callback", "response_type": "code", "scope": "openid"}
    page = http.get(f"{server.url}/dex/auth/regular_users", params=asked, timeout=TIMEOUT)
    done = http.post(page.url, data={"login": server.username, "password": password}, timeout=TIMEOUT)
    return parse_qs(urlsplit(done.url).query).get("code", [None])[0]


def picture(size: tuple[int, int] = (64, 48), kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (90, 120, 30)).save(stream, kind)
    return stream.getvalue()


def moving(frames: int, size: tuple[int, int] = (64, 48)) -> bytes:
    return film([picture(size)] * frames, size)


def box(x: float = 1, y: float = 2, width: float = 10, height: float = 12) -> dict[str, Any]:
    return {"type": "RECTANGLE", "x": x, "y": y, "width": width, "height": height}


def media_address(project: Project, media: Media) -> str:
    dataset = next(one for one in project.datasets if media.id in one.media)
    return f"projects/{project.id}/datasets/{dataset.id}/media/{media.kind}s/{media.id}"
