"""The recorded traffic of a real SC 1.1 server, asked again of the played one: the answers are the same.

Ids, times and colours that the server chooses differ; what the recording called A is what the played server calls B,
from the first answer on that told of it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import yaml
from PIL import Image
from sc_visitor import TIMEOUT, Visitor, sign_in_by_password

from sandbox.http import form_parts
from sandbox.sc import ScSandbox

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings" / "sc"
pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"the recordings of a real SC server are not there: {RECORDINGS}"
)
ID = re.compile(r"[0-9a-f]{24}(-\d+)?")
# Texts for people, which the played server need not have word for word.
PROSE = frozenset({"description", "warning"})
# What other projects of the recorded server were doing at that moment.
ELSEWHERE = frozenset({"n_running_jobs"})


@dataclass(frozen=True)
class Exchange:
    method: str
    address: str
    query: dict[str, str]
    kind: str
    sent: Any
    status: int
    headers: dict[str, str]
    answer: Any

    @property
    def is_json(self) -> bool:
        return self.headers.get("content-type", "").startswith("application/json")


def recorded(name: str) -> list[Exchange]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = []
    for one in yaml.load((RECORDINGS / name).read_text(), Loader=loader)["interactions"]:
        request, response = one["request"], one["response"]
        parts = urlsplit(request["uri"])
        headers = {key.lower(): ", ".join(values) for key, values in response["headers"].items()}
        body = response["body"].get("string") or ""
        is_json = headers.get("content-type", "").startswith("application/json")
        found.append(
            Exchange(
                request["method"],
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                (request["headers"].get("Content-Type") or [""])[0],
                request["body"],
                response["status"]["code"],
                headers,
                json.loads(body) if is_json else body,
            )
        )
    return found


def in_order() -> list[Exchange]:
    """Everything but the logins, in the order in which it happened (the files are kept by test)."""
    rows = []
    for path in sorted(RECORDINGS.glob("*.yaml")):
        for number, exchange in enumerate(recorded(path.name)):
            if exchange.address.startswith("/api/v1.0/workspaces/") or exchange.address.endswith("algorithms"):
                moment = parsedate_to_datetime(exchange.headers["date"])
                rows.append(((moment, not path.name.startswith("sdk_"), path.name, number), exchange))
    return [exchange for _, exchange in sorted(rows, key=lambda row: row[0])]


@dataclass
class Names:
    """What the recording's ids (and the colours its server chose) are called here."""

    known: dict[str, str] = field(default_factory=dict)

    def learn(self, theirs: Any, ours: Any, key: str = "") -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for name in theirs.keys() & ours.keys():
                self.learn(theirs[name], ours[name], name)
        elif isinstance(theirs, list) and isinstance(ours, list):
            for one, other in zip(theirs, ours, strict=False):
                self.learn(one, other, key)
        elif isinstance(theirs, str) and isinstance(ours, str) and (ID.fullmatch(theirs) or key == "color"):
            self.known.setdefault(theirs, ours)

    def ours(self, text: str) -> str:
        return re.sub(r"[0-9a-f]{24}(-\d+)?|#[0-9a-f]{8}", lambda one: self.known.get(one[0], one[0]), text)

    def translated(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.translated(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self.translated(one) for one in value]
        return self.ours(value) if isinstance(value, str) else value


def comparable(value: Any) -> Any:
    """Without the times, the prose and the ids that every answer makes anew."""
    if isinstance(value, dict):
        return {name: "…" if name in PROSE | ELSEWHERE else comparable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [comparable(one) for one in value]
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", value):
        return "a time"
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{24}-\d", value):
        return f"an id{value[-2:]}"
    return value


def prepare(visitor: Visitor, names: Names, theirs: Any) -> None:
    """Creates the projects that the recorded server had already, from how it told of them; the oldest first."""
    ours = {one["name"] for one in visitor.get("projects/")["items"]}
    for project in reversed(theirs["items"]):
        if project["name"] not in ours:
            created = visitor.post("projects", as_request(project), 201)
            names.learn(project, created)


def as_request(project: Any) -> dict[str, Any]:
    titles = {task["id"]: task["title"] for task in project["pipeline"]["tasks"]}
    tasks = []
    for task in project["pipeline"]["tasks"]:
        labels = [
            {"name": label["name"], "color": label["color"], "group": label["group"]}
            for label in task.get("labels", [])
            if not label["is_empty"]
        ]
        tasks.append({"title": task["title"], "task_type": task["task_type"]} | ({"labels": labels} if labels else {}))
    links = [{end: titles[one[end]] for end in ("from", "to")} for one in project["pipeline"]["connections"]]
    return {"name": project["name"], "pipeline": {"connections": links, "tasks": tasks}}


def asked(visitor: Visitor, names: Names, exchange: Exchange) -> requests.Response:
    address = names.ours(exchange.address)
    query = {name: names.ours(value) for name, value in exchange.query.items()}
    options: dict[str, Any] = {"params": query}
    if exchange.kind.startswith("multipart/form-data"):
        body = exchange.sent if isinstance(exchange.sent, bytes) else exchange.sent.encode("latin-1")
        (part,) = form_parts(exchange.kind, body)
        options["files"] = {part.name: (part.filename, part.content)}
    elif exchange.sent:
        text = exchange.sent.decode() if isinstance(exchange.sent, bytes) else exchange.sent
        options["data"] = names.ours(text)
        options["headers"] = {"Content-Type": "application/json"}
    return visitor.ask(exchange.method, address, **options)


def test_every_recorded_request_gets_the_recorded_answer() -> None:
    names = Names()
    with ScSandbox(generation="1.1", samples="none", tls=False) as server:
        visitor = Visitor(server)
        (workspace,) = next(
            exchange.answer for exchange in recorded("client.yaml") if exchange.address.endswith("/workspaces")
        )
        names.known[workspace["id"]] = server.world.workspaces[0].id
        compared = 0
        for exchange in in_order():
            if exchange.address.endswith("/projects/"):
                prepare(visitor, names, exchange.answer)
            response = asked(visitor, names, exchange)
            where = f"{exchange.method} {exchange.address}"
            assert response.status_code == exchange.status, (where, response.text)
            if not exchange.is_json:
                assert response.headers["content-type"] == exchange.headers["content-type"], where
                assert response.headers["cache-control"] == exchange.headers["cache-control"], where
                continue
            assert response.headers["content-type"] == "application/json"
            ours, theirs = response.json(), exchange.answer
            if exchange.address.endswith("algorithms"):
                assert set(ours) == set(theirs)
                assert {frozenset(one) for one in ours["items"]} == {frozenset(one) for one in theirs["items"]}
                continue
            names.learn(theirs, ours)
            assert comparable(ours) == comparable(names.translated(theirs)), where
            compared += 1
    assert compared > 60


def test_an_image_comes_back_re_encoded_and_larger_than_it_was_sent() -> None:
    upload, download = recorded("TestImageManager.test_upload_and_delete_image.yaml")[:2]
    (part,) = form_parts(upload.kind, upload.sent if isinstance(upload.sent, bytes) else upload.sent.encode("latin-1"))
    theirs = download.answer
    with ScSandbox(generation="1.1", samples="none", tls=False) as server:
        visitor = Visitor(server)
        dataset = visitor.dataset(visitor.create())
        media = visitor.upload(dataset, part.filename or "", part.content)
        ours = visitor.ask("GET", media["media_information"]["display_url"].strip()).content
    for content in (theirs, ours):
        assert len(content) > 2 * len(part.content)
        with Image.open(io.BytesIO(content)) as one, Image.open(io.BytesIO(part.content)) as sent:
            assert (one.format, one.size) == ("JPEG", sent.size)


def cookie_names(headers: Mapping[str, str]) -> list[str]:
    return re.findall(r"(_oauth2_proxy\w*)=", headers.get("set-cookie", ""))


@pytest.mark.parametrize("name", ["client.yaml", "session.yaml"])
def test_the_login_takes_the_recorded_steps(name: str) -> None:
    theirs = [one for one in recorded(name) if not one.address.startswith("/api")]
    with ScSandbox(generation="1.1", samples="none") as server, requests.Session() as http:
        http.trust_env, http.verify = False, str(server.ca_file)
        ours = sign_in_by_password(http, server)
        assert [one.status_code for one in ours] == [one.status for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert urlsplit(one.url).path == other.address
            assert {name for name, _ in parse_qsl(urlsplit(one.url).query, keep_blank_values=True)} == set(other.query)
            assert cookie_names(one.headers) == cookie_names(other.headers)
        assert "_oauth2_proxy" in http.cookies


def test_a_doubled_slash_leads_to_plain_http_as_recorded() -> None:
    theirs = next(one for one in recorded("client.yaml") if "//product_info" in one.address)
    with ScSandbox(generation="1.1", samples="none") as server, requests.Session() as http:
        http.trust_env, http.verify = False, str(server.ca_file)
        ours = http.get(f"{server.url}/api/v1.0//product_info", allow_redirects=False, timeout=TIMEOUT)
    assert (ours.status_code, theirs.status) == (308, 308)
    assert ours.headers["location"].startswith("http://") and theirs.headers["location"].startswith("http://")
