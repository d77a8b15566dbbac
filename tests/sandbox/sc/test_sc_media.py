"""Media and annotations: pages, limits, refusals, and what makes careless clients lose data."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image
from sc_visitor import TIMEOUT, Visit, Visitor, box, media_address, moving, picture

from sandbox.sc import Fault

WHOLE = ["1.1", "1.x", "2.x"]


def many(visit: Visit, generation: str, count: int) -> tuple[Visitor, str]:
    visitor = visit(generation, samples=f"many:{count}")
    (project,) = visitor.server.world.projects.values()
    return visitor, f"projects/{project.id}/datasets/{project.datasets[0].id}"


def pages(visitor: Visitor, dataset: str, limit: int, **query: Any) -> list[list[str]]:
    """The names of each page, until none is offered or one is empty."""
    found, skip = [], 0
    while True:
        response = visitor.ask(
            "POST", f"{dataset}/media:query", params={"limit": limit, "skip": skip, **query}, json={}
        )
        page = response.json()
        found.append([one["name"] for one in page["media"]])
        if "next_page" not in page or not page["media"]:
            return found
        skip += limit


# --- lists -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["1.1", "1.x"])
def test_old_lists_offer_a_next_page_until_a_page_is_empty(visit: Visit, generation: str) -> None:
    visitor, dataset = many(visit, generation, 25)
    first = visitor.get(f"{dataset}/media/images", top=20)
    assert (len(first["media"]), first["media_count"]) == (20, {"images": 25})
    second = visitor.ask("GET", first["next_page"]).json()
    assert len(second["media"]) == 5
    third = visitor.ask("GET", second["next_page"]).json()
    assert third == {"media": [], "media_count": {"images": 25}}


def test_media_query_has_no_next_page_but_when_the_page_is_full(visit: Visit) -> None:
    visitor, dataset = many(visit, "2.x", 25)
    by_date = {"sort_by": "media_upload_date", "sort_direction": "asc"}
    assert [len(page) for page in pages(visitor, dataset, 10, **by_date)] == [10, 10, 5]
    assert [len(page) for page in pages(visitor, dataset, 5, **by_date)] == [
        5,
        5,
        5,
        5,
        5,
        0,
    ]  # exactly full at the end
    assert list(chain(*pages(visitor, dataset, 10, **by_date))) == [f"image_{n:05d}" for n in range(25)]
    assert visitor.refused("POST", f"{dataset}/media:query?limit=1001", json={}) == (400, "bad_request")


def test_the_default_order_by_name_loses_and_repeats_equal_names_between_pages(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    sent = {visitor.upload(dataset, "same.jpg")["id"] for _ in range(12)}

    def ids(**query: Any) -> list[str]:
        found = []
        for skip in range(0, 12, 4):
            response = visitor.ask(
                "POST", f"{dataset}/media:query", params={"limit": 4, "skip": skip, **query}, json={}
            )
            found += [one["id"] for one in response.json()["media"]]
        return found

    assert len(ids()) == 12 > len(set(ids()))
    assert set(ids(sort_by="media_upload_date")) == sent


def test_media_are_filtered_by_type_in_either_case(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    visitor.upload(dataset, "a.jpg")
    visitor.upload(dataset, "b.mp4")
    for value in ("video", "VIDEO"):
        rule = {"condition": "and", "rules": [{"field": "media_type", "operator": "equal", "value": value}]}
        found = visitor.post(f"{dataset}/media:query", rule)
        assert [one["name"] for one in found["media"]] == ["b"]
        assert (found["total_matched_images"], found["total_matched_videos"]) == (0, 1)
        assert (found["total_images"], found["total_videos"]) == (1, 1)


# --- uploads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.jpg", b"no picture"),
        ("cut.png", picture((200, 200), "PNG")[:90]),
        ("small.jpg", picture((31, 40))),
        ("paper.pdf", picture()),
        ("film.mp4", b"no film"),
    ],
)
def test_what_is_no_medium_is_415_and_leaves_nothing(visit: Visit, name: str, content: bytes) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    kind = "videos" if name.endswith("mp4") else "images"
    refused = visitor.refused("POST", f"{dataset}/media/{kind}", files={"file": (name, content)})
    assert refused == (415, "invalid_media")
    assert list((visitor.server.directory / "media").iterdir()) == []


def test_a_file_over_the_limit_is_413(visit: Visit) -> None:
    visitor = visit("2.x", max_file_bytes=100_000)
    dataset = visitor.dataset(visitor.create())
    files = {"file": ("large.jpg", picture() + bytes(2_000_000))}
    assert visitor.refused("POST", f"{dataset}/media/images", files=files) == (413, "payload_too_large")
    assert list((visitor.server.directory / "media").iterdir()) == []


@pytest.mark.parametrize("name", ["ünï cødé 猫.jpg", 'quote".jpg', "a;b=c.jpg", "img [1].jpg", "dots.in.name.jpg"])
def test_names_arrive_as_they_were(visit: Visit, name: str) -> None:
    visitor = visit("2.x")
    assert visitor.upload(visitor.dataset(visitor.create()), name)["name"] == name.removesuffix(".jpg")


def test_an_upload_may_come_in_chunks(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    sent = requests.Request("POST", "http://x", files={"file": ("a.jpg", picture())}).prepare()
    assert isinstance(sent.body, bytes)
    body = sent.body
    pieces = (body[at : at + 100] for at in range(0, len(body), 100))
    response = visitor.ask(
        "POST", f"{dataset}/media/images", data=pieces, headers={"Content-Type": sent.headers["Content-Type"]}
    )
    assert response.json()["name"] == "a"


def test_an_upload_that_breaks_off_leaves_nothing(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    visitor.server.faults.add(Fault("POST .*/media/images", "cut_upload", after_bytes=50_000))
    with pytest.raises(requests.ConnectionError):
        visitor.upload(dataset, "large.bmp", picture((300, 300), "BMP"))
    assert visitor.post(f"{dataset}/media:query", {})["media"] == []
    assert visitor.upload(dataset, "large.bmp", picture((300, 300), "BMP"))["media_information"]["width"] == 300


def test_a_stored_upload_whose_answer_is_lost_is_there_all_the_same(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    visitor.server.faults.add(Fault("POST .*/media/images", "cut", after_handling=True))
    with pytest.raises(requests.ConnectionError):
        visitor.upload(dataset, "once.jpg")
    assert [one["name"] for one in visitor.post(f"{dataset}/media:query", {})["media"]] == ["once"]


def test_classes_can_be_given_with_the_upload(visit: Visit) -> None:
    visitor = visit("2.x")
    labels = [{"name": "a", "group": "g"}, {"name": "b", "group": "g"}]
    project = visitor.create(task_type="classification", labels=labels)
    dataset = visitor.dataset(project)
    label = project["pipeline"]["tasks"][1]["labels"][1]["id"]
    media = visitor.upload(dataset, data={"upload_info": f'{{"label_ids": ["{label}"]}}'})
    scene = visitor.get(f"{dataset}/media/images/{media['id']}/annotations/latest")
    assert scene["annotations"][0]["labels"][0]["name"] == "b"
    assert scene["annotations"][0]["shape"] == box(0, 0, 64, 48)


def test_unprocessed_media_take_no_annotations_and_show_nothing(visit: Visit) -> None:
    visitor = visit("2.x", preprocessing_seconds=600.0)
    project = visitor.create()
    dataset = visitor.dataset(project)
    media = visitor.upload(dataset)
    assert media["preprocessing"] == {"status": "IN_PROGRESS"}
    where = f"{dataset}/media/images/{media['id']}"
    label = project["pipeline"]["tasks"][1]["labels"][0]["id"]
    body = {"annotations": [{"labels": [{"id": label}], "shape": box()}]}
    assert visitor.refused("POST", f"{where}/annotations", json=body) == (412, "media_is_not_preprocessed")
    assert visitor.refused("GET", f"{where}/display/full") == (412, "media_is_not_preprocessed")
    stored = next(iter(visitor.server.world.projects.values())).datasets[0].media[media["id"]]
    stored.ready_at = 0.0
    assert visitor.get(where)["preprocessing"] == {"status": "FINISHED"}
    visitor.annotate(where, label, box())


# --- files -------------------------------------------------------------------------------------------------------------


def test_a_video_is_measured_and_its_frames_are_shown(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    media = visitor.upload(dataset, "film.mp4", moving(25, (96, 64)))
    facts = media["media_information"]
    assert (facts["width"], facts["height"], facts["frame_count"], facts["frame_rate"]) == (96, 64, 25, 10.0)
    where = f"{dataset}/media/videos/{media['id']}"
    shown = visitor.ask("GET", f"{where}/frames/24/display/full").content
    assert shown == picture((96, 64))
    assert visitor.refused("GET", f"{where}/frames/25/display/full") == (404, "frame_not_found")
    with Image.open(io.BytesIO(visitor.ask("GET", f"{where}/display/thumb").content)) as thumb:
        assert thumb.size == (96, 64)


@pytest.mark.skipif(
    shutil.which("ffprobe") is None, reason="ffprobe, which checks the films that are made, is not here"
)
def test_the_films_of_the_samples_are_films_to_others_too(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(moving(25, (96, 64)))
    entries = "stream=codec_name,width,height,nb_read_frames,r_frame_rate"
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "csv=p=0", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (said.stdout.strip(), said.stderr) == ("mjpeg,96,64,10/1,25", "")


def test_geti_2_sends_to_the_file_service_where_downloads_resume_without_a_key(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    film = moving(25)
    media = visitor.upload(dataset, "film.mp4", film)
    away = visitor.ask("GET", f"{dataset}/media/videos/{media['id']}/display/stream")
    assert away.status_code == 307
    where = away.headers["location"]
    assert where.startswith(f"{visitor.server.url}/api/v1/fileservice/")
    assert requests.get(where, timeout=TIMEOUT).content == film
    rest = requests.get(where, headers={"Range": "bytes=1000-"}, timeout=TIMEOUT)
    assert (rest.status_code, rest.content) == (206, film[1000:])


def test_an_address_of_the_file_service_expires_or_leads_elsewhere(visit: Visit) -> None:
    visitor = visit("2.x")
    dataset = visitor.dataset(visitor.create())
    stream = f"{dataset}/media/videos/{visitor.upload(dataset, 'film.mp4')['id']}/display/stream"
    visitor.server.faults.add(Fault("GET .*/display/stream", "expire"))
    where = visitor.ask("GET", stream).headers["location"]
    assert requests.get(where, timeout=TIMEOUT).status_code == 403
    visitor.server.faults.add(Fault("GET .*/display/stream", "result_host", host="http://evil.example:81"))
    assert visitor.ask("GET", stream).headers["location"].startswith("http://evil.example:81/")


@pytest.mark.parametrize("generation", ["1.1", "1.x"])
def test_older_servers_send_the_video_itself(visit: Visit, generation: str) -> None:
    visitor = visit(generation)
    project = visitor.create()
    dataset = visitor.dataset(project)
    media = visitor.upload(dataset, "film.mp4", moving(9))
    came = visitor.ask("GET", f"{dataset}/media/videos/{media['id']}/display/stream")
    assert (came.status_code, came.content, came.headers["accept-ranges"]) == (200, moving(9), "bytes")


# --- annotations -------------------------------------------------------------------------------------------------------


def test_nothing_annotated_is_an_empty_204(visit: Visit) -> None:
    for generation in WHOLE:
        visitor = visit(generation)
        dataset = visitor.dataset(visitor.create())
        for name, kind in (("a.jpg", "images"), ("b.mp4", "videos")):
            media = visitor.upload(dataset, name)
            answer = visitor.ask("GET", f"{dataset}/media/{kind}/{media['id']}/annotations/latest")
            assert (answer.status_code, answer.content) == (204, b"")


def test_the_latest_annotations_replace_the_ones_before(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    dataset = visitor.dataset(project)
    where = f"{dataset}/media/images/{visitor.upload(dataset)['id']}"
    label = project["pipeline"]["tasks"][1]["labels"][0]["id"]
    for x in (1, 5):
        visitor.annotate(where, label, box(x=x))
    (one,) = visitor.get(f"{where}/annotations/latest")["annotations"]
    assert one["shape"]["x"] == 5
    visitor.post(f"{where}/annotations", {"annotations": []})
    assert visitor.get(f"{where}/annotations/latest")["annotations"] == []
    assert visitor.get(where)["annotation_state_per_task"][0]["state"] == "none"


def test_video_annotations_are_paged_by_frame(visit: Visit) -> None:
    visitor = visit("2.x", samples="losses")
    project = visitor.server.world.project_named("Long video")
    where = f"{media_address(project, project.datasets[0].of('video')[0])}/annotations/latest"
    second = visitor.get(where, start_frame=500, frameskip=1)
    frames = [one["media_identifier"]["frame_index"] for one in second["video_annotations"]]
    assert frames == list(range(500, 620))
    assert second["video_annotation_properties"]["total_requested_count"] == 120
    assert visitor.ask("GET", where, params={"start_frame": 620}).status_code == 204


def _refusals() -> list[Any]:
    square = {"type": "POLYGON", "points": [{"x": n, "y": n} for n in range(5001)]}
    turned = {**box(), "type": "ROTATED_RECTANGLE", "angle": 10}
    return [
        pytest.param("detection", ["cube"], box(width=0.5), id="thinner than a pixel"),
        pytest.param("detection", ["cube"], box(x=60), id="sticks out"),
        pytest.param("detection", ["cube"], box(x=-2), id="begins outside"),
        pytest.param("detection", ["cube"], square, id="too many points"),
        pytest.param("detection", ["cube"], {**box(), "type": "CIRCLE"}, id="unknown shape"),
        pytest.param("detection", ["cube"], {"type": "RECTANGLE", "x": 1}, id="half a shape"),
        pytest.param("detection", ["cube", "ball"], box(), id="labels that exclude each other"),
        pytest.param("detection", [], box(), id="no label"),
        pytest.param("detection", ["No object"], box(), id="the empty label on a part"),
        pytest.param("classification", ["cube"], box(), id="a class on a part"),
        pytest.param("rotated_detection", ["cube"], box(), id="upright in a rotated task"),
        pytest.param("detection", ["cube"], {"type": "KEYPOINT", "x": 1, "y": 1}, id="a point in a detection task"),
        pytest.param("segmentation", ["cube"], {**turned, "width": "10"}, id="text for a number"),
    ]


@pytest.mark.parametrize(("task_type", "names", "shape"), _refusals())
def test_what_an_annotation_may_not_be(visit: Visit, task_type: str, names: list[str], shape: Any) -> None:
    visitor = visit("2.x")
    given = [{"name": name, "group": "all"} for name in ("cube", "ball")]
    project = visitor.create(task_type=task_type, labels=given)
    dataset = visitor.dataset(project)
    labels = {label["name"]: label["id"] for label in project["pipeline"]["tasks"][1]["labels"]}
    where = f"{dataset}/media/images/{visitor.upload(dataset)['id']}/annotations"
    body = {"annotations": [{"labels": [{"id": labels[name]} for name in names], "shape": shape}]}
    assert visitor.refused("POST", where, json=body) == (400, "bad_request")
    assert visitor.ask("GET", f"{where}/latest").status_code == 204


def test_an_unknown_label_is_404_and_a_wrong_identifier_400(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    dataset = visitor.dataset(project)
    media = visitor.upload(dataset)
    where = f"{dataset}/media/images/{media['id']}/annotations"
    unknown = {"annotations": [{"labels": [{"id": "6" * 24}], "shape": box()}]}
    assert visitor.refused("POST", where, json=unknown) == (404, "label_not_found")
    other = {"annotations": [], "media_identifier": {"type": "image", "image_id": "6" * 24}}
    assert visitor.refused("POST", where, json=other) == (400, "bad_request")
    assert visitor.refused("POST", where, json={}) == (400, "bad_request")


def test_the_empty_label_stands_alone(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    dataset = visitor.dataset(project)
    labels = {label["name"]: label["id"] for label in project["pipeline"]["tasks"][1]["labels"]}
    where = f"{dataset}/media/images/{visitor.upload(dataset)['id']}/annotations"
    empty = {"labels": [{"id": labels["No object"]}], "shape": box(0, 0, 64, 48)}
    cube = {"labels": [{"id": labels["cube"]}], "shape": box()}
    assert visitor.refused("POST", where, json={"annotations": [empty, cube]}) == (400, "bad_request")
    assert visitor.post(where, {"annotations": [empty]})["annotation_state_per_task"][0]["state"] == "annotated"


def test_parents_are_added_to_a_label(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    project = visitor.server.world.project_named("Living things (hierarchy)")
    media = project.datasets[0].of("image")[2]
    (one,) = visitor.get(f"{media_address(project, media)}/annotations/latest")["annotations"]
    assert {label["name"] for label in one["labels"]} == {"oak", "tree", "plant"}


def test_a_chain_is_partly_annotated_while_an_object_lacks_its_class(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    project = visitor.server.world.project_named("Animals: detect, then classify")
    states = [
        [one["state"] for one in visitor.get(media_address(project, media))["annotation_state_per_task"]]
        for media in project.datasets[0].of("image")
    ]
    assert states == [["annotated", "annotated"]] * 3 + [["annotated", "partially_annotated"]]


def test_sc_writes_the_state_in_capitals_where_media_are_listed(visit: Visit) -> None:
    visitor = visit("1.1", samples="demo")
    project = visitor.server.world.project_named("Cars")
    listed = visitor.get(f"projects/{project.id}/datasets/{project.datasets[0].id}/media/images", top=100)["media"]
    states = {one["name"]: one["annotation_state_per_task"][0]["state"] for one in listed}
    assert (states["street_0"], states["not yet annotated"]) == ("ANNOTATED", "NONE")


def test_ranges_of_a_video_label_its_frames(visit: Visit) -> None:
    visitor = visit("2.x")
    labels = [{"name": "a", "group": "g"}, {"name": "b", "group": "g"}]
    project = visitor.create(task_type="classification", labels=labels)
    dataset = visitor.dataset(project)
    where = f"{dataset}/media/videos/{visitor.upload(dataset, 'film.mp4', moving(20))['id']}"
    label = project["pipeline"]["tasks"][1]["labels"][0]["id"]
    ranges = {"range_labels": [{"start_frame": 2, "end_frame": 8, "label_ids": [label]}]}
    assert visitor.post(f"{where}/range_annotation?skip_frame=3", ranges) == ranges
    assert visitor.get(f"{where}/range_annotation") == ranges
    scenes = visitor.get(f"{where}/annotations/latest", frameskip=1)["video_annotations"]
    assert [one["media_identifier"]["frame_index"] for one in scenes] == [2, 5, 8]


# --- predictions and models --------------------------------------------------------------------------------------------


def test_predictions_are_asked_for_in_the_way_of_the_generation(visit: Visit) -> None:
    found = {}
    for generation in WHOLE:
        visitor = visit(generation, samples="demo")
        project = visitor.server.world.project_named("Cars")
        first, *_, unpredicted = project.datasets[0].of("image")
        for media in (first, unpredicted):
            where = media_address(project, media)
            body = {"dataset_id": project.datasets[0].id, "image_id": media.id}
            predict = f"projects/{project.id}/pipelines/active:predict"
            if generation == "2.x":
                answer = visitor.ask("POST", predict, json=body)
            else:
                answer = visitor.ask("GET", f"{where}/predictions/latest")
            found[generation, media is first] = answer.json() if answer.status_code == 200 else answer.status_code
    assert [found[generation, False] for generation in WHOLE] == [204, 204, 204]
    assert found["2.x", True]["predictions"][0]["labels"][0]["probability"] == 0.91
    assert found["1.1", True]["kind"] == found["1.x", True]["kind"] == "prediction"


def test_models_are_told_of_and_downloaded_but_no_address_takes_one(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    project = visitor.server.world.project_named("Cars")
    home = f"projects/{project.id}/model_groups"
    (group,) = visitor.get(home)["model_groups"]
    assert [(one["version"], one["active_model"]) for one in group["models"]] == [(1, False), (2, True)]
    model = f"{home}/{group['id']}/models/{group['models'][1]['id']}"
    detail = visitor.get(model)
    base = visitor.ask("GET", f"{model}/export")
    assert (base.headers["content-type"], base.content[:2]) == ("application/zip", b"PK")
    for optimized in detail["optimized_models"]:
        assert visitor.ask("GET", f"{model}/optimized_models/{optimized['id']}/export").content[:2] == b"PK"
    assert visitor.ask("POST", model).status_code == 405
    package = {"package_type": "geti_sdk", "models": [{"model_id": detail["id"], "model_group_id": group["id"]}]}
    assert visitor.ask("POST", f"projects/{project.id}/deployment_package:download", json=package).content[:2] == b"PK"


def test_the_samples_hold_every_kind_of_task(visit: Visit) -> None:
    world = visit("2.x", samples="demo").server.world
    kinds = {task.task_type for project in world.projects.values() for task in project.trainable}
    assert kinds == {
        "classification", "detection", "segmentation", "instance_segmentation", "rotated_detection", "anomaly",
        "keypoint_detection",
    }  # fmt: skip
    awkward = next(project for project in world.projects.values() if project.name.startswith("Awkward"))
    names = [media.name for media in awkward.datasets[0].media.values()]
    assert names.count("twice") == 4
    assert any(re.search(r"[\[\]*?]", name) for name in names)
