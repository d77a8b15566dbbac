"""The recorded traffic of a real SC 1.1 server, played to our client: each answer is read as what the recording holds.

A plain web server gives the recorded answers, file by file and in their order. What the product never asks for is named
in NEVER_ASKED; every other exchange has to be asked for by the product's own code.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml
from pydantic import SecretStr

from common.sc import configuration
from common.sc.client import Client
from common.sc.generation import Generation
from common.sc.labels import map_labels
from common.sc.media import Media, delete, fetch_image, list_media, media_of, upload
from common.sc.projects import create, creation_body, datasets_of, is_empty, list_projects, portable, trainable_tasks
from common.sc.scenes import differences, put_scene, translate
from common.sc.settings import Server
from common.sc.signing_in import connect
from common.waiting import StopSignal
from sandbox.http import form_parts

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings" / "sc"
pytestmark = pytest.mark.skipif(
    not RECORDINGS.is_dir(), reason=f"the recordings of a real SC 1.1 server are not here: {RECORDINGS}"
)
FILES = sorted(each.name for each in RECORDINGS.glob("*.yaml"))
LOGINS = ("client.yaml", "session.yaml")
# The product deletes no projects, and needs neither the list of algorithms nor the state of a training.
NEVER_ASKED = ("/supported_algorithms", "/status")
SC = Generation("SC", "1.1.0-latest-20220405093904", "/api/v1.0", True, False, False, False)


@dataclass(frozen=True)
class Exchange:
    method: str
    path: str
    query: str
    kind: str
    sent: bytes
    status: int
    headers: dict[str, list[str]]
    body: bytes

    @property
    def answer(self) -> Any:
        return json.loads(self.body)

    @property
    def key(self) -> tuple[str, str, tuple[tuple[str, str], ...]]:
        return key_of(self.method, self.path, self.query)

    @property
    def is_never_asked(self) -> bool:
        is_project = self.path.rsplit("/", 2)[-2] == "projects"
        return self.path.endswith(NEVER_ASKED) or (self.method == "DELETE" and is_project)


def key_of(method: str, path: str, query: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    """What makes two requests the same: neither the host nor how long a page is wanted matters to a recording."""
    given = parse_qsl(query, keep_blank_values=True)
    asked = sorted((name, re.sub("https?://[^/]+", "", value)) for name, value in given if name != "top")
    return method, path, tuple(asked)


@functools.cache
def recorded(name: str) -> list[Exchange]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        Exchange(
            one["request"]["method"], urlsplit(one["request"]["uri"]).path, urlsplit(one["request"]["uri"]).query,
            (one["request"]["headers"].get("Content-Type") or [""])[0], as_bytes(one["request"]["body"]),
            one["response"]["status"]["code"], one["response"]["headers"], as_bytes(one["response"]["body"]["string"]),
        )
        for one in yaml.load((RECORDINGS / name).read_text(), Loader=loader)["interactions"]
    ]  # fmt: skip


def as_bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


class Replay:
    """A server that gives recorded answers, each once and in their order; it keeps what it was sent."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.exchanges = exchanges
        self.sent: dict[int, tuple[str, bytes]] = {}  # by the number of the exchange
        self.unknown: list[str] = []

    def take(self, method: str, path: str, query: str, kind: str, body: bytes) -> Exchange | None:
        for number, each in enumerate(self.exchanges):
            if number not in self.sent and each.key == key_of(method, path, query):
                self.sent[number] = (kind, body)
                return each
        self.unknown.append(f"{method} {path}")
        return None

    def left(self) -> list[Exchange]:
        return [each for number, each in enumerate(self.exchanges) if number not in self.sent]

    def sent_for(self, exchange: Exchange) -> tuple[str, bytes]:
        return self.sent[next(number for number, each in enumerate(self.exchanges) if each is exchange)]


@pytest.fixture
def replay() -> Iterator[Callable[[list[Exchange]], tuple[Replay, str]]]:
    """A factory of running servers: (what was asked, address)."""
    running: list[ThreadingHTTPServer] = []

    def start(exchanges: list[Exchange]) -> tuple[Replay, str]:
        book = Replay(exchanges)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                parts = urlsplit(self.path)
                found = book.take(self.command, parts.path, parts.query, self.headers.get("Content-Type", ""), body)
                self.send_response(found.status if found else 404)
                for name, values in (found.headers if found else {}).items():
                    for value in values:
                        if name.lower() in ("content-type", "location", "set-cookie"):
                            here = value.replace("https://dummy_host", address).replace("http://dummy_host", address)
                            self.send_header(name, here)
                content = found.body if found else b"{}"
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 - names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        address = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return book, address

    yield start
    for each in running:
        each.shutdown()
        each.server_close()


def client_of(address: str, workspace: str) -> Client:
    client = Client(Server(address, timeout_seconds=20, wait_seconds=5), StopSignal())
    client.generation = SC
    client.workspace = {"id": workspace}
    return client


def every_project() -> list[dict[str, Any]]:
    """All projects that any recording tells of, whole."""
    found: dict[str, dict[str, Any]] = {}
    for name in FILES:
        for each in recorded(name):
            if each.path.endswith("/projects/"):
                found |= {one["id"]: one for one in each.answer["items"]}
            elif each.path.endswith("/projects"):
                found[each.answer["id"]] = each.answer
    return list(found.values())


def project_of(exchange: Exchange) -> dict[str, Any]:
    wanted = exchange.path.split("/projects/")[1].split("/")[0]
    return next(each for each in every_project() if each["id"] == wanted)


# --- what each kind of exchange is for ------------------------------------------------------------------------------


def projects_are_listed(client: Client, exchange: Exchange, book: Replay) -> None:
    assert list_projects(client) == exchange.answer["items"]


def a_project_is_made(client: Client, exchange: Exchange, book: Replay) -> None:
    """Downloaded and uploaded again, it is asked for as the recorded project was asked for."""
    wanted = json.loads(exchange.sent)
    described = portable(exchange.answer, datasets_of(client, exchange.answer))
    assert create(client, creation_body(described, wanted["name"], SC)) == exchange.answer
    ours = json.loads(book.sent_for(exchange)[1])
    assert ours["name"] == wanted["name"]
    assert ours["pipeline"]["connections"] == wanted["pipeline"]["connections"]
    for one, other in zip(ours["pipeline"]["tasks"], wanted["pipeline"]["tasks"], strict=True):
        assert (one["title"], one["task_type"]) == (other["title"], other["task_type"])
        for label, asked in zip(one.get("labels", []), other.get("labels", []), strict=True):
            # What was not asked for (a colour) is what the server chose.
            assert label.items() >= {key: value for key, value in asked.items() if value}.items()


def a_configuration_is_read(client: Client, exchange: Exchange, book: Replay) -> None:
    project = project_of(exchange)
    read = configuration.read(client, project)
    assert read["style"] == "components"
    [task] = trainable_tasks(project)
    served = [book.exchanges[number] for number in book.sent]
    held = [each for each in served if each.path.endswith(f"task_chain/{task['id']}") and each.method == "GET"]
    values = {each.name: each.value for each in configuration.parameters(read) if each.task == 0}
    assert held[-1].answer["components"] == read["tasks"][0]["components"]
    assert values == dict(named_values(held[-1].answer["components"])) and len(values) > 10
    assert values["auto_training"] in (True, False)


def named_values(part: Any) -> Iterator[tuple[str, Any]]:
    """Every {"name", "value"} anywhere in an answer."""
    if isinstance(part, dict):
        if "name" in part and "value" in part:
            yield part["name"], part["value"]
        for each in part.values():
            yield from named_values(each)
    elif isinstance(part, list):
        for each in part:
            yield from named_values(each)


def a_configuration_is_set(client: Client, exchange: Exchange, book: Replay) -> None:
    """What is sent to one task says the same as what was recorded."""
    wanted = json.loads(exchange.sent)
    project = project_of(exchange)
    task = {"title": "", "components": next(e for e in book.exchanges if "task_chain" in e.path).answer["components"]}
    read = {"style": "components", "global": [], "tasks": [task]}
    if "task_chain" in wanted:  # the older tool sent everything at once; we send each task by itself
        everything = [configuration.Parameter(e.task, e.key, e.name, e.value) for e in configuration.parameters(read)]
        configuration.change(client, project, read, everything)
        ours = json.loads(book.sent[len(book.exchanges) - 1][1])["components"]
        theirs = wanted["task_chain"][0]["components"]
        assert [each["entity_identifier"] for each in ours] == [each["entity_identifier"] for each in theirs]
        assert [dict(named_values(each)).keys() for each in ours] == [dict(named_values(e)).keys() for e in theirs]
        return
    [component] = wanted["components"]
    [found] = [each for each in configuration.parameters(read) if each.name == "auto_training"]
    [parameter] = component["parameters"]
    asked = configuration.Parameter(0, found.key, found.name, parameter["value"])
    configuration.change(client, project, read, [asked])
    assert json.loads(book.sent_for(exchange)[1]) == wanted


def media_are_listed(client: Client, exchange: Exchange, book: Replay) -> None:
    dataset = exchange.path.split("/datasets/")[1].split("/")[0]
    project = exchange.path.split("/projects/")[1].split("/")[0]
    found = list(list_media(client, project, dataset))
    assert [each.id for each in found] == [each["id"] for each in exchange.answer["media"]]
    assert len(found) == exchange.answer["media_count"]["images"]
    for one, other in zip(found, exchange.answer["media"], strict=True):
        is_as_recorded(one, other)


def is_as_recorded(media: Media, item: dict[str, Any]) -> None:
    information = item["media_information"]
    assert (media.name, media.kind, media.uploaded_at) == (item["name"], item["type"], item["upload_time"])
    assert (media.width, media.height) == (information["width"], information["height"])
    assert media.annotated == any(each["state"] != "NONE" for each in item["annotation_state_per_task"])


def an_image_is_sent(client: Client, exchange: Exchange, book: Replay, folder: Path) -> None:
    (part,) = form_parts(exchange.kind, exchange.sent)
    path = folder / "sent"
    path.write_bytes(part.content)
    dataset = exchange.path.split("/datasets/")[1].split("/")[0]
    project = exchange.path.split("/projects/")[1].split("/")[0]
    media = upload(client, project, dataset, "image", path, part.filename or "")
    is_as_recorded(media, exchange.answer)
    assert form_parts(*book.sent_for(exchange)) == [part]


def an_image_is_fetched(client: Client, exchange: Exchange, book: Replay, folder: Path) -> None:
    fetched = fetch_image(client, exchange.path.removesuffix("/display/full"), folder / "got")
    assert (folder / "got").read_bytes() == exchange.body and fetched.size_bytes == len(exchange.body)


def a_scene_is_stored(client: Client, exchange: Exchange, book: Replay) -> None:
    """The stored scene, translated for its own project, is what was recorded as sent; nothing is found missing."""
    wanted = json.loads(exchange.sent)
    project = project_of(exchange)
    translated = translate(
        exchange.answer, map_labels(project, project), (640, 480), from_normalised=True, to_normalised=True
    )
    assert translated.lost == ()
    item = next(
        each.answer
        for each in book.exchanges
        if each.path.endswith("/media/images") and each.method == "POST" and each.answer["id"] in exchange.path
    )
    dataset = exchange.path.split("/datasets/")[1].split("/")[0]
    stored = put_scene(client, project["id"], media_of(item, dataset, "image"), None, translated)
    assert stored == exchange.answer
    assert json.loads(book.sent_for(exchange)[1]) == wanted
    assert differences(wanted["annotations"], stored, normalised=True) == []


def an_image_is_deleted(client: Client, exchange: Exchange, book: Replay) -> None:
    dataset, identity = exchange.path.split("/datasets/")[1].split("/media/images/")
    delete(client, exchange.path.split("/projects/")[1].split("/")[0], Media(identity, dataset, "", "image"))


def ask(client: Client, exchange: Exchange, book: Replay, folder: Path) -> None:
    path = exchange.path
    if path.endswith("/media/images"):
        if exchange.method == "GET":
            media_are_listed(client, exchange, book)
        else:
            an_image_is_sent(client, exchange, book, folder)
    elif path.endswith("/display/full"):
        an_image_is_fetched(client, exchange, book, folder)
    elif path.endswith("/annotations"):
        a_scene_is_stored(client, exchange, book)
    elif "/configuration" in path:
        (a_configuration_is_read if exchange.method == "GET" else a_configuration_is_set)(client, exchange, book)
    elif path.endswith("/projects/"):
        projects_are_listed(client, exchange, book)
    elif path.endswith("/projects"):
        a_project_is_made(client, exchange, book)
    elif exchange.method == "DELETE":
        an_image_is_deleted(client, exchange, book)
    else:
        raise AssertionError(f"nobody asks {exchange.method} {path}")


def asked_beside(exchanges: list[Exchange]) -> list[Exchange]:
    """What our client asks between two recorded requests of a configuration: the whole, and one task's being set."""
    task = next((each.path for each in exchanges if "/task_chain/" in each.path), None)
    if task is None:
        return []
    whole = task.split("/task_chain/")[0]
    recorded_whole = [each for each in exchanges if each.path == whole and each.method == "GET"]
    answer = recorded_whole[0].body if recorded_whole else b'{"global": []}'
    read = Exchange("GET", whole, "", "", b"", 200, {}, answer)
    return [read, read, read, Exchange("POST", task, "", "", b"", 200, {}, b'{"result": "success"}')]


@pytest.mark.parametrize("name", [each for each in FILES if each not in LOGINS])
def test_every_recorded_answer_is_read_as_what_it_holds(name: str, replay: Any, tmp_path: Path) -> None:
    exchanges = recorded(name)
    book, address = replay([*exchanges, *asked_beside(exchanges)])
    workspace = next((e.path.split("/workspaces/")[1].split("/")[0] for e in exchanges if "/workspaces/" in e.path), "")
    client = client_of(address, workspace)
    done = 0
    for exchange in exchanges:
        if any(each is exchange for each in book.left()) and not exchange.is_never_asked:
            ask(client, exchange, book, tmp_path)
            done += 1
    left = [each for each in exchanges if any(each is one for one in book.left()) and not each.is_never_asked]
    # The older tool set a configuration in one request to the whole: sent by us to the task instead.
    assert [(each.method, each.path.rsplit("/", 1)[1]) for each in left] in ([], [("POST", "configuration")])
    assert done or all(each.is_never_asked for each in exchanges)
    # Of what was asked beyond, the real server would have said the same: an SC without videos.
    assert {each.split("/media/")[-1] for each in book.unknown} <= {"videos"}


def test_the_labels_of_every_recorded_project_are_mapped_and_the_empty_one_is_known_by_its_mark() -> None:
    found = every_project()
    assert len(found) >= 4
    for project in found:
        labels = [label for task in trainable_tasks(project) for label in task["labels"]]
        mapped = map_labels(project, project)
        assert mapped.missing == [] and mapped.by_id == {each["id"]: each["id"] for each in labels}
        assert [each["id"] for each in labels if is_empty(each)] == [e["id"] for e in labels if e["is_empty"]]
        # The name tells too, where another tool dropped the mark.
        unmarked = [{key: value for key, value in each.items() if key != "is_empty"} for each in labels]
        assert [is_empty(each) for each in unmarked] == [each["is_empty"] for each in labels]


@pytest.mark.parametrize("name", LOGINS)
def test_the_recorded_login_ends_signed_in_and_the_server_is_known_for_what_it_is(name: str, replay: Any) -> None:
    # 308 is said to a doubled slash and to plain http; we ask neither.
    exchanges = [each for each in recorded(name) if each.status != 308]
    workspaces = next(each for each in recorded("client.yaml") if each.path.endswith("/workspaces"))
    listed = recorded("TestProjectManager.test_get_all_projects.yaml")[0]
    # The login of the file, then what connecting asks beyond what the older tool asked; each file tells it once.
    more = [*([] if workspaces.path in [e.path for e in exchanges] else [workspaces]), workspaces, listed, listed]
    book, address = replay([*exchanges, *more])
    server = Server(address, username="sc", password=SecretStr("REDACTED"), timeout_seconds=20, wait_seconds=5)
    client = connect(server, StopSignal())
    assert (client.generation.era, client.generation.version) == ("SC", SC.version)
    assert client.generation.normalised and not client.generation.keeps_bytes
    assert [client.workspace["id"]] == [each["id"] for each in workspaces.answer]
    assert "_oauth2_proxy=" in client.access.headers["Cookie"]
    assert list_projects(client) == listed.answer["items"]
    login = [each for each in exchanges if each.path.startswith(("/user", "/oauth2", "/dex"))]
    assert [each.path for each in login if each in book.left()] == []
    posted = next(each for each in exchanges if each.method == "POST")
    assert dict(parse_qsl(book.sent_for(posted)[1].decode())) == {"login": "sc", "password": "REDACTED"}
