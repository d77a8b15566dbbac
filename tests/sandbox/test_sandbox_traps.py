"""What surprises a client of CVAT surprises a client of the sandbox."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
import requests
from sandbox_client import Client

from sandbox.cvat import CvatSandbox

NOT_ALLOWED = {"detail": "You do not have permission to perform this action."}


def ids(answer: requests.Response) -> list[int]:
    return [row["id"] for row in answer.json()["results"]]


# --- signing in -----------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_a_400_at_login_and_a_401_elsewhere(server: CvatSandbox) -> None:
    wrong = requests.post(f"{server.url}/api/auth/login", json={"username": "admin", "password": "no"}, timeout=60)
    assert wrong.status_code == 400
    assert wrong.json() == {"non_field_errors": ["Unable to log in with provided credentials."]}
    basic = requests.get(f"{server.url}/api/users/self", auth=("admin", "no"), timeout=60)
    assert (basic.status_code, basic.json()) == (401, {"detail": "Invalid username/password."})
    assert basic.headers["WWW-Authenticate"] == "Token"
    for scheme in ("Token 0000", "Bearer abc.def", f"Token {server.access_token}"):
        answer = requests.get(f"{server.url}/api/users/self", headers={"Authorization": scheme}, timeout=60)
        assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})
    none = requests.get(f"{server.url}/api/projects", timeout=60)
    assert (none.status_code, none.json()) == (401, {"detail": "Authentication credentials were not provided."})


def test_a_user_has_one_key_which_a_logout_ends_for_everybody(server: CvatSandbox) -> None:
    credentials = {"username": server.username, "password": server.password}
    first, second = (requests.post(f"{server.url}/api/auth/login", json=credentials, timeout=60) for _ in range(2))
    assert first.json() == second.json()
    header = {"Authorization": f"Token {first.json()['key']}"}
    assert requests.get(f"{server.url}/api/users/self", headers=header, timeout=60).status_code == 200
    assert requests.post(f"{server.url}/api/auth/logout", headers=header, timeout=60).status_code == 200
    assert requests.get(f"{server.url}/api/users/self", headers=header, timeout=60).status_code == 401


def test_basic_authentication_and_the_session_cookie_work_everywhere(server: CvatSandbox) -> None:
    basic = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
    answer = requests.get(f"{server.url}/api/projects", headers={"Authorization": f"Basic {basic}"}, timeout=60)
    assert answer.status_code == 200
    session = requests.Session()
    session.post(
        f"{server.url}/api/auth/login", json={"email": "admin@example.com", "password": server.password}, timeout=60
    )
    assert session.get(f"{server.url}/api/projects", timeout=60).status_code == 200


def test_signing_in_is_throttled_like_any_stranger() -> None:
    with CvatSandbox(samples="none", anonymous_per_minute=3) as server:
        for _ in range(3):
            assert requests.get(f"{server.url}/api/server/about", timeout=60).status_code == 200
        credentials = {"username": server.username, "password": server.password}
        refused = requests.post(f"{server.url}/api/auth/login", json=credentials, timeout=60)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.json()["detail"].startswith("Request was throttled. Expected available in ")
        assert Client(server).get("/api/server/about").status_code == 200


def test_a_read_only_token_may_export_and_not_change(server: CvatSandbox) -> None:
    project = server.world.add_project("p")
    reader = Client(server, server.access_token)
    request = reader.export(f"/api/projects/{project.id}/backup/export")
    assert reader.download(request).status_code == 200
    refused = [
        reader.patch(f"/api/projects/{project.id}", json={"name": "q"}),
        reader.post("/api/projects", json={"name": "q"}),
        reader.post("/api/projects/backup/", headers={"Upload-Start": ""}),
        reader.ask("DELETE", f"/api/projects/{project.id}"),
    ]
    assert [(answer.status_code, answer.json()) for answer in refused] == [(403, NOT_ALLOWED)] * 4
    made = Client(server).post("/api/auth/access_tokens", json={"name": "x"})
    assert (made.status_code, made.json()) == (403, NOT_ALLOWED)


# --- addresses and headers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", ["application/json", "application/zip"])
def test_an_accept_header_without_cvats_own_type_is_a_406(server: CvatSandbox, accept: str) -> None:
    answer = Client(server).get("/api/projects", headers={"Accept": accept})
    assert (answer.status_code, answer.json()) == (406, {"detail": "Could not satisfy the request Accept header."})


@pytest.mark.parametrize("accept", ["*/*", "application/vnd.cvat+json; version=2.0", "text/html"])
def test_these_accept_headers_are_fine(server: CvatSandbox, accept: str) -> None:
    assert Client(server).get("/api/projects", headers={"Accept": accept}).status_code == 200


def test_health_is_no_api_endpoint(server: CvatSandbox) -> None:
    url = f"{server.url}/api/server/health/"
    refused = requests.get(url, headers={"Accept": "application/vnd.cvat+json"}, timeout=60)
    assert (refused.status_code, refused.text) == (
        406,
        "Not Acceptable: Supported content types: text/html, application/json",
    )
    for answer in (
        requests.get(url, params={"format": "json"}, headers={"Accept": "application/vnd.cvat+json"}, timeout=60),
        requests.get(url, headers={"Accept": "application/json"}, timeout=60),
    ):
        assert answer.status_code == 200
        assert set(answer.json().values()) == {"working"}
    server.world.health["DiskUsage"] = "warning: sandbox 95.1% disk usage exceeds 90%"
    sick = requests.get(url, params={"format": "json"}, timeout=60)
    assert sick.status_code == 500
    assert sick.json()["DiskUsage"].startswith("warning")


def test_addresses_take_no_trailing_slash_and_ids_are_numbers(server: CvatSandbox) -> None:
    client = Client(server)
    assert client.get("/api/projects/").status_code == 404
    assert client.get("/api/nope").headers["Content-Type"].startswith("text/html")
    assert client.get("/").status_code == 410
    assert client.get("/api/").status_code == 500
    number = client.post("/api/projects/abc/backup/export")
    assert (number.status_code, number.json()) == (404, {"detail": "Not found."})
    absent = client.get("/api/projects/99999")
    assert (absent.status_code, absent.json()) == (404, {"detail": "No Project matches the given query."})
    method = client.get("/api/projects/1/dataset/export?format=COCO 1.0")
    assert (method.status_code, method.json()) == (405, {"detail": 'Method "GET" not allowed.'})


def test_the_old_export_addresses_are_gone_with_a_text(server: CvatSandbox) -> None:
    answer = Client(server).get("/api/projects/1/backup")
    assert answer.status_code == 410
    assert "use POST /api/projects/id/backup/export" in answer.text


def test_links_are_made_from_the_host_headers(server: CvatSandbox) -> None:
    client = Client(server)
    server.world.add_project("p")
    named = client.get("/api/projects/1", headers={"Host": "cvat.example.com", "X-Forwarded-Proto": "https"}).json()
    assert named["url"] == "https://cvat.example.com/api/projects/1"
    answer = client.post("/api/projects/1/backup/export", headers={"X-Forwarded-Host": "cvat.example.com"})
    request = client.wait(answer.json()["rq_id"])
    assert request["result_url"].startswith("http://cvat.example.com/api/projects/1/backup/download?rq_id=action%3D")


# --- lists --------------------------------------------------------------------------------------------------------------


def test_pages_and_their_links(server: CvatSandbox) -> None:
    client = Client(server)
    for number in range(25):
        server.world.add_project(f"p{number}")
    first = client.get("/api/projects").json()
    assert (first["count"], len(first["results"]), first["previous"]) == (25, 10, None)
    assert first["next"] == f"{server.url}/api/projects?page=2"
    second = client.get("/api/projects?page=2&org=").json()
    assert second["previous"] == f"{server.url}/api/projects?org="
    assert second["next"] == f"{server.url}/api/projects?org=&page=3"
    past = client.get("/api/projects?page=99")
    assert (past.status_code, past.json()) == (404, {"detail": "Invalid page."})
    for size in ("all", "1000"):
        assert len(client.get(f"/api/projects?page_size={size}").json()["results"]) == 25
    assert ids(client.get("/api/projects?page_size=3")) == [25, 24, 23]
    assert ids(client.get("/api/projects?page_size=3&sort=id")) == [1, 2, 3]


def test_filters_search_and_unknown_parameters(demo: CvatSandbox) -> None:
    client = Client(demo)
    loose = {task.id for task in demo.world.tasks.values() if task.project_id is None}
    for rule in ('{"!":{"var":"project_id"}}', '{"==":[{"var":"project_id"},null]}'):
        assert set(ids(client.get(f"/api/tasks?page_size=all&filter={quote(rule)}"))) == loose
    assert len(client.get("/api/projects?name=foo_bar").json()["results"]) == 3
    assert client.get("/api/projects?search=FOO&page_size=all").json()["count"] == 5
    newest = max(project.updated_date for project in demo.world.projects.values())
    rule = json.dumps({"and": [{">=": [{"var": "updated_date"}, newest.isoformat()]}]})
    assert client.get(f"/api/projects?filter={quote(rule)}").json()["count"] == 1
    assert len(ids(client.get("/api/tasks?project_id=1"))) == 2
    assert len(ids(client.get("/api/jobs?project_id=1"))) == 4
    assert len(ids(client.get("/api/jobs?task_id=1"))) == 3
    # A parameter nobody knows changes nothing and is no error.
    assert client.get("/api/issues?project_id=99999").json()["count"] == 1
    rule = quote('{"==":[{"var":"project_id"},1]}')
    refused = client.get(f"/api/issues?filter={rule}")
    assert (refused.status_code, refused.json()) == (400, ["filter: term 'project_id' is not supported"])


def test_an_empty_organization_means_the_personal_space(demo: CvatSandbox) -> None:
    client = Client(demo)
    total = len(demo.world.projects)
    assert client.get("/api/projects").json()["count"] == total
    assert client.get("/api/projects?org=").json()["count"] == total - 5
    assert client.get("/api/projects", headers={"X-Organization": ""}).json()["count"] == total - 5
    assert client.get("/api/projects", headers={"X-Organization": "acme"}).json()["count"] == 3
    assert client.get("/api/projects?org_id=2").json()["count"] == 2
    unknown = client.get("/api/projects?org=nosuch")
    assert (unknown.status_code, unknown.json()) == (404, {"detail": "nosuch organization does not exist."})


def test_a_worker_sees_nothing_and_no_error(demo: CvatSandbox) -> None:
    bob = ("bob", demo.password)
    for path in ("/api/projects", "/api/tasks", "/api/jobs"):
        answer = requests.get(f"{demo.url}{path}", auth=bob, timeout=60)
        assert (answer.status_code, answer.json()["count"]) == (200, 0)
    assert requests.get(f"{demo.url}/api/projects?org=beta-lab", auth=bob, timeout=60).status_code == 403
    assert requests.get(f"{demo.url}/api/projects/1", auth=bob, timeout=60).json() == NOT_ALLOWED


# --- tasks without data -----------------------------------------------------------------------------------------------


def test_a_task_without_data_and_one_whose_upload_failed(server: CvatSandbox) -> None:
    client, world = Client(server), server.world
    project = world.add_project("p")
    empty = world.add_empty_task("empty", project)
    broken = world.add_empty_task("broken", project)
    world.fail_upload(broken)
    row = client.get(f"/api/tasks/{empty.id}").json()
    assert "size" not in row
    assert "data" not in row
    row = client.get(f"/api/tasks/{broken.id}").json()
    assert (row["size"], row["mode"], row["jobs"]["count"], row["data_chunk_size"]) == (0, "", 0, None)
    assert client.get(f"/api/tasks/{empty.id}/data/meta").status_code == 500
    text = client.get(f"/api/tasks/{empty.id}/annotations")
    assert (text.status_code, text.text) == (400, "Exporting annotations from a task without data is not allowed")
    meta = client.get(f"/api/tasks/{broken.id}/data/meta").json()
    assert (meta["size"], meta["chunk_size"], meta["frames"]) == (0, None, [])
    refused = client.post(f"/api/tasks/{empty.id}/backup/export")
    assert (refused.status_code, refused.json()) == (400, ["Backup of a task without data is not allowed"])


# --- dates --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        (("PATCH", "/api/jobs/1/annotations?action=create", {}), "project task job"),
        (("PUT", "/api/tasks/1/annotations", {}), "project task job"),
        (("PATCH", "/api/jobs/1", {"state": "in progress"}), "job"),
        (("PATCH", "/api/jobs/1", {"stage": "validation"}), "task job"),
        (("PATCH", "/api/tasks/1", {"name": "other"}), "project task"),
        (("PATCH", "/api/tasks/1/data/meta", {"deleted_frames": [1]}), "task"),
        (("PATCH", "/api/projects/1", {"labels": [{"name": "new"}]}), "project task job"),
        (("POST", "/api/tasks", {"name": "second", "project_id": 1}), "project"),
        (("PATCH", "/api/projects/1", {"name": "p"}), ""),
        (("POST", "/api/issues", {"job": 1, "frame": 0, "position": [1, 2], "message": "m"}), ""),
        (("POST", "/api/projects/1/backup/export", None), ""),
        (("GET", "/api/projects/1", None), ""),
    ],
)
def test_what_touches_which_date(server: CvatSandbox, change: tuple[str, str, object], touched: str) -> None:
    world = server.world
    world.add_task(world.add_project("p", labels=[{"name": "car"}]), "t")
    things = {"project": world.projects[1], "task": world.tasks[1], "job": world.jobs[1]}
    before = {name: thing.updated_date for name, thing in things.items()}
    method, path, body = change
    assert Client(server).ask(method, path, json=body).status_code < 300
    assert " ".join(name for name, thing in things.items() if thing.updated_date != before[name]) == touched


# --- annotations --------------------------------------------------------------------------------------------------------


def test_annotations_are_refused_with_the_servers_own_words(server: CvatSandbox) -> None:
    world, client = server.world, Client(server)
    world.add_task(world.add_project("p", labels=[{"name": "car"}]), "t")
    label = world.projects[1].labels[0].id
    good = {"type": "rectangle", "frame": 0, "label_id": label, "points": [1, 2, 3, 4]}

    def put(**changes: object) -> requests.Response:
        return client.ask("PUT", "/api/jobs/1/annotations", json={"shapes": [good | changes]})

    assert put().status_code == 200
    stored = client.get("/api/jobs/1/annotations").json()
    assert put(label_id=999).json() == ["label_id `999` is invalid"]
    assert put(attributes=[{"spec_id": 1, "value": "x"}]).json() == ["spec_id `1` is invalid"]
    assert put(id=5).json() == {"shapes": [{"id": ["must be absent"]}]}
    assert put(points=[1, 2]).json() == {"shapes": [{"points": ["invalid length for shape type 'rectangle'"]}]}
    assert put(frame=-1).json() == {"shapes": [{"frame": ["Ensure this value is greater than or equal to 0."]}]}
    assert put(type="nosuch").json() == {"shapes": [{"type": ['"nosuch" is not a valid choice.']}]}
    assert put(z_order=99999999999).status_code == 500
    wrong = client.patch("/api/jobs/1/annotations?action=nosuch", json={})
    assert wrong.json() == ["Please specify a correct 'action' for the request"]
    assert client.get("/api/jobs/1/annotations").json() == stored
    assert client.ask("PUT", "/api/jobs/1/annotations", json={"tags": []}).json()["shapes"] == []


def test_a_skeleton_on_two_frames_poisons_its_job(server: CvatSandbox) -> None:
    world, client = server.world, Client(server)
    skeleton = {"name": "person", "type": "skeleton", "sublabels": [{"name": "head"}]}
    world.add_task(world.add_project("p", labels=[skeleton]), "t")
    person = world.projects[1].labels[0]
    element = {"type": "points", "frame": 1, "label_id": person.sublabels[0].id, "points": [1, 2]}
    shape = {"type": "skeleton", "frame": 0, "label_id": person.id, "points": [], "elements": [element]}
    assert client.ask("PUT", "/api/jobs/1/annotations", json={"shapes": [shape]}).status_code == 200
    for method, path in (("GET", "jobs"), ("PUT", "jobs"), ("DELETE", "jobs"), ("GET", "tasks")):
        assert client.ask(method, f"/api/{path}/1/annotations", json={}).status_code == 500
