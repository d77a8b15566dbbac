"""Each generation answers in its own way: who is let in, what lists look like, what a coordinate means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from sc_visitor import TIMEOUT, Visit, Visitor, box, code_of_geti_login, media_address, picture, sign_in_by_password

from sandbox.sc import ScSandbox

WHOLE = ["1.1", "1.x", "2.x"]


# --- who is let in ---------------------------------------------------------------------------------------------------


def test_a_wrong_password_shows_the_login_page_again(visit: Visit) -> None:
    server = visit("1.1").server
    with requests.Session() as http:
        last = sign_in_by_password(http, server, "wrong")[-1]
        assert (last.status_code, "Invalid" in last.text) == (200, True)
        assert "_oauth2_proxy" not in http.cookies


def test_nobody_gets_past_the_approval_without_the_password(visit: Visit) -> None:
    server = visit("1.1").server
    with requests.Session() as http:
        page = http.get(f"{server.url}/user/login", timeout=TIMEOUT)
        state = page.url.rpartition("state=")[2]
        assert http.get(f"{server.url}/dex/approval?req={state}", timeout=TIMEOUT).status_code == 400


@pytest.mark.parametrize("generation", ["1.1", "1.x"])
def test_an_expired_session_is_401_until_the_next_login(visit: Visit, generation: str) -> None:
    visitor = visit(generation)
    visitor.server.doorman.expire()
    assert visitor.ask("GET", f"{visitor.api}workspaces").status_code == 401
    assert Visitor(visitor.server).ask("GET", f"{visitor.api}workspaces").status_code == 200


def test_geti_1_also_takes_the_cookie_and_refuses_a_wrong_token(visit: Visit) -> None:
    server = visit("1.x").server
    with requests.Session() as http:
        sign_in_by_password(http, server)
        assert http.get(f"{server.url}/api/v1/workspaces", timeout=TIMEOUT).status_code == 200
        refused = http.post(
            f"{server.url}/api/v1/service_accounts/access_token", json={"service_id": "x"}, timeout=TIMEOUT
        )
    assert refused.status_code == 401


def test_geti_2_refuses_a_wrong_key_and_shows_strangers_the_page(visit: Visit) -> None:
    server = visit("2.x").server
    address = f"{server.url}/api/v1/product_info"
    assert requests.get(address, headers={"x-api-key": "wrong"}, timeout=TIMEOUT).status_code == 401
    stranger = requests.get(address, timeout=TIMEOUT)
    assert (stranger.status_code, stranger.headers["content-type"]) == (200, "text/html")


def test_geti_2_takes_a_password_and_wants_the_csrf_header_with_its_cookie(visit: Visit) -> None:
    visitor = visit("2.x")
    server = visitor.server
    with requests.Session() as http:
        assert http.get(f"{server.url}/deployment-config.json", timeout=TIMEOUT).json()["servingMode"] == "on-prem"
        assert code_of_geti_login(http, server, "wrong") is None
        code = code_of_geti_login(http, server, server.password)
        form = {"grant_type": "authorization_code", "code": code, "client_id": "web_ui", "redirect_uri": "/callback"}
        token = http.post(f"{server.url}/dex/token", data=form, timeout=TIMEOUT).json()["access_token"]
        assert http.post(f"{server.url}/dex/token", data=form, timeout=TIMEOUT).status_code == 400  # once only
        cookie = {"Cookie": f"geti-cookie={token}"}
        profile = http.get(f"{server.url}/api/v1/profile", headers=cookie, timeout=TIMEOUT).json()
        assert profile["organizationId"] == server.world.organization_id
        create = f"{server.url}{visitor.home}projects"
        assert http.post(create, json={}, headers=cookie, timeout=TIMEOUT).status_code == 403
        allowed = http.post(create, json={}, headers=cookie | {"x-geti-csrf-protection": "1"}, timeout=TIMEOUT)
        assert allowed.status_code == 400  # the body, not the visitor, is refused


def test_the_certificate_is_good_for_who_trusts_the_authority_and_for_nobody_else() -> None:
    with ScSandbox(samples="none") as server:
        assert server.url.startswith("https://")
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(server.url, timeout=TIMEOUT)
        assert Visitor(server).get("/api/v1/product_info")["build-version"].startswith("2.13.0")


# --- which generation ------------------------------------------------------------------------------------------------


def test_the_product_information_names_the_version(visit: Visit) -> None:
    versions = {
        name: visit(name).get(f"{visit(name).api}".partition("organizations")[0] + "product_info") for name in WHOLE
    }
    assert versions["1.1"] == {"product-version": "1.1.0-latest-20220405093904"}
    assert versions["1.x"]["product-version"].startswith("1.8.0")
    assert versions["2.x"]["product-version"] == "2.13"


def test_geti_2_tells_the_organization_in_the_form_of_its_release(visit: Visit) -> None:
    address = "/api/v1/personal_access_tokens/organization"
    old, new = visit("2.x", version="2.4.0"), visit("2.x")
    assert old.get(address) == {"organizationId": old.server.world.organization_id}
    assert new.get(address)["organizations"][0]["organizationId"] == new.server.world.organization_id


def test_geti_3_lists_projects_without_sign_in_and_knows_nothing_else(visit: Visit) -> None:
    server = visit("3.x", samples="demo").server
    listed = requests.get(f"{server.url}/api/projects", timeout=TIMEOUT).json()
    assert {one["name"] for one in listed} >= {"Cars", "Leaves"}
    assert requests.get(f"{server.url}/api/v1/product_info", timeout=TIMEOUT).status_code == 404
    assert requests.get(f"{server.url}/user/login", timeout=TIMEOUT).headers["content-type"] == "text/html"


def test_an_unknown_address_is_the_page_of_the_user_interface(visit: Visit) -> None:
    for name in WHOLE:
        visitor = visit(name)
        response = visitor.ask("GET", f"{visitor.api}balance")
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html")


# --- lists -----------------------------------------------------------------------------------------------------------


def test_workspaces_are_a_list_or_an_object(visit: Visit) -> None:
    forms = {name: type(visit(name).get(f"{visit(name).api}workspaces")) for name in ("1.1", "1.x")}
    two = visit("2.x", workspaces=2)
    assert forms == {"1.1": list, "1.x": dict}
    assert [one["name"] for one in two.get(f"{two.api}workspaces")["workspaces"]] == [
        "Default Workspace",
        "Workspace 2",
    ]


def test_projects_of_another_workspace_are_not_here(visit: Visit) -> None:
    visitor = visit("2.x", workspaces=2)
    project = visitor.create()
    visitor.home = f"{visitor.api}workspaces/{visitor.server.world.workspaces[1].id}/"
    assert visitor.get("projects")["projects"] == []
    assert visitor.refused("GET", f"projects/{project['id']}") == (404, "project_not_found")


@pytest.mark.parametrize(("generation", "key"), [("1.1", "items"), ("1.x", "projects")])
def test_old_servers_list_every_project_whole(visit: Visit, generation: str, key: str) -> None:
    visitor = visit(generation, samples="demo")
    listed = visitor.get("projects")
    assert set(listed) == {key}
    assert len(listed[key]) == len(visitor.server.world.projects) > 10
    assert all(project["datasets"] and project["pipeline"]["tasks"] for project in listed[key])


def test_geti_2_pages_projects_leaves_out_datasets_and_offers_a_page_after_the_last(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    total = len(visitor.server.world.projects)
    first = visitor.get("projects")
    assert (len(first["projects"]), first["project_counts"]) == (10, total)
    assert "datasets" not in first["projects"][0]
    assert visitor.get(f"projects/{first['projects'][0]['id']}")["datasets"]
    rest = visitor.ask("GET", first["next_page"]).json()
    assert len(rest["projects"]) == total - 10
    assert "next_page" in rest
    last = visitor.ask("GET", rest["next_page"]).json()
    assert (last["projects"], "next_page" in last) == ([], False)
    assert visitor.refused("GET", "projects?limit=101") == (400, "bad_request")


def test_a_listed_project_may_be_forbidden(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    visitor.server.world.forbidden.add(project["id"])
    assert visitor.get("projects")["project_counts"] == 1
    assert visitor.refused("GET", f"projects/{project['id']}") == (403, "forbidden")


# --- coordinates -----------------------------------------------------------------------------------------------------


def shapes_of(visitor: Visitor, project_name: str, number: int = 0) -> list[dict[str, Any]]:
    project = visitor.server.world.project_named(project_name)
    media = project.datasets[0].of("image")[number]
    scene = visitor.get(f"{media_address(project, media)}/annotations/latest")
    return [one["shape"] for one in scene["annotations"]]


def test_the_same_box_is_a_fraction_in_sc_and_pixels_in_geti(visit: Visit) -> None:
    shapes = {name: shapes_of(visit(name, samples="demo"), "Cars")[0] for name in WHOLE}
    assert shapes["1.1"] == box(20 / 320, 60 / 240, 70 / 320, 40 / 240)
    assert shapes["1.x"] == shapes["2.x"] == box(20, 60, 70, 40)


def test_geti_2_answers_whole_pixels_but_keeps_rotated_boxes(visit: Visit) -> None:
    assert {"x": 150, "y": 200} in shapes_of(visit("2.x", samples="demo"), "Cells")[1]["points"]
    assert {"x": 150.5, "y": 200.25} in shapes_of(visit("1.x", samples="demo"), "Cells")[1]["points"]
    assert shapes_of(visit("2.x", samples="demo"), "Ships", 1)[0]["angle"] == 33.5


@pytest.mark.parametrize("generation", WHOLE)
def test_units_of_another_generation_are_refused(visit: Visit, generation: str) -> None:
    visitor = visit(generation)
    project = visitor.create()
    media = visitor.upload(visitor.dataset(project))
    where = f"{visitor.dataset(project)}/media/images/{media['id']}/annotations"
    label = project["pipeline"]["tasks"][1]["labels"][0]["id"]
    wrong = box(10, 10, 20, 20) if generation == "1.1" else box(0.1, 0.1, 0.2, 0.2)
    body = {"annotations": [{"labels": [{"id": label}], "shape": wrong}]}
    assert visitor.refused("POST", where, json=body) == (400, "bad_request")


def test_video_annotations_are_a_list_an_object_or_a_page(visit: Visit) -> None:
    forms = {}
    for name in WHOLE:
        visitor = visit(name, samples="losses")
        project = visitor.server.world.project_named("Long video")
        where = media_address(project, project.datasets[0].of("video")[0])
        forms[name] = visitor.get(f"{where}/annotations/latest", frameskip=1)
    assert len(forms["1.1"]) == 620
    assert len(forms["1.x"]["video_annotations"]) == 620
    assert len(forms["2.x"]["video_annotations"]) == 500
    assert forms["2.x"]["video_annotation_properties"] == {
        "total_count": 500,
        "start_frame": 0,
        "end_frame": 499,
        "total_requested_count": 620,
        "requested_start_frame": 0,
        "requested_end_frame": 639,
    }


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", WHOLE)
def test_geti_keeps_the_bytes_of_an_image_and_sc_does_not(visit: Visit, generation: str) -> None:
    visitor = visit(generation)
    dataset = visitor.dataset(visitor.create())
    sent = picture((80, 60), "PNG")
    media = visitor.upload(dataset, "drawn.png", sent)
    came = visitor.ask("GET", media["media_information"]["display_url"].strip())
    assert (came.content == sent) == (generation != "1.1")
    assert came.headers["content-type"] == ("image/jpeg" if generation == "1.1" else "image/png")
    assert (media["name"], media["media_information"]["width"]) == ("drawn", 80)


def test_tiff_becomes_jpeg_in_geti_2(visit: Visit) -> None:
    visitor = visit("2.x")
    media = visitor.upload(visitor.dataset(visitor.create()), "scan.tif", picture((40, 40), "TIFF"))
    assert media["media_information"]["extension"] == ".jpg"


def test_the_samples_fit_every_generation_and_can_be_left_out(tmp_path: Path) -> None:
    for generation in (*WHOLE, "3.x"):
        assert ScSandbox(generation=generation, samples="none", data=tmp_path / "none", tls=False).world.projects == {}
        filled = ScSandbox(generation=generation, samples="many:30", data=tmp_path / generation, tls=False)
        (project,) = filled.world.projects.values()
        assert len(project.datasets[0].media) == 30
        assert all(len(media.scenes[0].annotations) == 2 for media in project.datasets[0].media.values())
    with pytest.raises(ValueError, match="no such samples"):
        ScSandbox(samples="some", data=tmp_path / "wrong", tls=False)
