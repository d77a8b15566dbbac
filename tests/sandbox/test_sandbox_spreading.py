"""Annotations of a task, spread over its jobs and put together again."""

from __future__ import annotations

from typing import Any

import pytest
from sandbox_client import Client

from sandbox.cvat import CvatSandbox, Fault
from sandbox.cvat.world import Task

LABELS = [
    {
        "name": "car",
        "attributes": [
            {"name": "plate", "mutable": False, "input_type": "text", "default_value": "none"},
            {
                "name": "lights",
                "mutable": True,
                "input_type": "select",
                "values": ["on", "off"],
                "default_value": "off",
            },
        ],
    },
    {"name": "person"},
]


@pytest.fixture
def film(server: CvatSandbox) -> Task:
    """A film of three jobs, of which two share five frames: 0 to 11, 7 to 18, 14 to the end."""
    task = server.world.add_task(None, "film", kind="video", labels=LABELS, segment_size=12)
    assert [job.start_frame for job in server.world.jobs_of(task)[:3]] == [0, 7, 14]
    return task


def box(frame: int, x: float, **more: Any) -> dict[str, Any]:
    shape = {"type": "rectangle", "frame": frame, "points": [x, 10.0, x + 40, 60.0], "outside": False, "attributes": []}
    return shape | more


def put(client: Client, address: str, **rows: Any) -> Any:
    answer = client.ask("PUT", f"/api/{address}/annotations", json={"tags": [], "shapes": [], "tracks": []} | rows)
    assert answer.status_code == 200, answer.text
    return answer.json()


def track(task: Task, *shapes: dict[str, Any], label: int = 0) -> dict[str, Any]:
    return {"label_id": task.labels[label].id, "frame": shapes[0]["frame"], "group": 0, "shapes": list(shapes)}


BOXES = [box(number, 4.0 * number) for number in range(24)]


def frames(row: dict[str, Any]) -> list[int]:
    return [shape["frame"] for shape in row["shapes"]]


def test_a_track_over_three_jobs_is_one_track_for_the_task(server: CvatSandbox, client: Client, film: Task) -> None:
    answer = put(client, f"tasks/{film.id}", tracks=[track(film, *BOXES, box(24, 0.0, outside=True))])
    [whole] = answer["tracks"]
    assert frames(whole) == list(range(25))
    parts = [client.get(f"/api/jobs/{job}/annotations").json()["tracks"] for job in film.job_ids[:3]]
    assert [frames(part) for [part] in parts] == [list(range(12)), list(range(7, 19)), list(range(14, 25))]
    assert len({part["id"] for [part] in parts}) == 3
    assert client.get(f"/api/tasks/{film.id}/annotations").json()["tracks"][0]["id"] == parts[0][0]["id"]


def test_a_job_begins_where_the_track_is_by_then(server: CvatSandbox, client: Client, film: Task) -> None:
    put(client, f"tasks/{film.id}", tracks=[track(film, box(0, 0.0), box(10, 100.0, outside=True))])
    first, second, third = (client.get(f"/api/jobs/{job}/annotations").json()["tracks"] for job in film.job_ids[:3])
    assert frames(first[0]) == [0, 10]
    assert [(shape["frame"], shape["points"][0]) for shape in second[0]["shapes"]] == [(7, 70.0), (10, 100.0)]
    assert third == []


def test_a_track_that_a_later_job_does_not_have_ends_with_the_shared_frames(client: Client, film: Task) -> None:
    put(client, f"tasks/{film.id}", tracks=[track(film, *BOXES[:12], box(12, 0.0, outside=True))])
    put(client, f"jobs/{film.job_ids[1]}")
    [whole] = client.get(f"/api/tasks/{film.id}/annotations").json()["tracks"]
    assert (whole["shapes"][-1]["frame"], whole["shapes"][-1]["outside"]) == (12, True)


def test_shared_frames_show_a_box_once_and_points_twice(client: Client, film: Task) -> None:
    shapes = [box(8, 0.0) | {"label_id": film.labels[0].id}, box(8, 9.0, type="points", points=[1.0, 2.0])]
    shapes[1]["label_id"] = film.labels[0].id
    put(client, f"tasks/{film.id}", shapes=shapes)
    whole = client.get(f"/api/tasks/{film.id}/annotations").json()["shapes"]
    assert sorted(shape["type"] for shape in whole) == ["points", "points", "rectangle"]


def test_a_task_level_update_of_a_track_in_several_jobs_is_refused(client: Client, film: Task) -> None:
    answer = put(client, f"tasks/{film.id}", tracks=[track(film, box(0, 0.0), box(23, 9.0))])
    for row in answer["tracks"]:
        for shape in row["shapes"]:
            shape.pop("keyframe", None)
    before = client.get(f"/api/tasks/{film.id}/annotations").json()
    refused = client.patch(f"/api/tasks/{film.id}/annotations?action=update", json=answer)
    assert refused.status_code == 400
    assert "engine_labeledtrack_pkey" in refused.text
    assert client.get(f"/api/tasks/{film.id}/annotations").json() == before


def test_what_nobody_sent_has_its_default_and_in_a_track_that_of_the_shape_before(client: Client, film: Task) -> None:
    lights = film.labels[0].attributes[1].id
    on = [{"spec_id": lights, "value": "on"}]
    answer = put(
        client, f"jobs/{film.job_ids[0]}", tracks=[track(film, box(0, 0.0), box(2, 0.0, attributes=on), box(4, 0.0))]
    )
    assert [len(shape["attributes"]) for shape in answer["tracks"][0]["shapes"]] == [0, 1, 0]  # as it was sent
    [held] = client.get(f"/api/jobs/{film.job_ids[0]}/annotations").json()["tracks"]
    assert [shape["attributes"][0]["value"] for shape in held["shapes"]] == ["off", "on", "on"]
    assert [one["value"] for one in held["attributes"]] == ["none"]


def test_an_attribute_that_a_label_gets_later_is_there_at_once(client: Client, film: Task) -> None:
    put(client, f"jobs/{film.job_ids[0]}", shapes=[box(0, 0.0) | {"label_id": film.labels[1].id}])
    late = {"name": "late", "mutable": True, "input_type": "text", "values": []}
    label = {"id": film.labels[1].id, "name": "person", "attributes": [late]}
    assert client.patch(f"/api/tasks/{film.id}", json={"labels": [label]}).status_code == 200
    [shape] = client.get(f"/api/jobs/{film.job_ids[0]}/annotations").json()["shapes"]
    assert [one["value"] for one in shape["attributes"]] == [""]


def test_tags_shapes_and_tracks_are_counted_apart(client: Client, film: Task) -> None:
    label = film.labels[0].id
    answer = put(
        client, f"jobs/{film.job_ids[0]}", tags=[{"label_id": label, "frame": 0}],
        shapes=[box(0, 0.0) | {"label_id": label}], tracks=[track(film, box(0, 0.0))],
    )  # fmt: skip
    assert [answer[kind][0]["id"] for kind in ("tags", "shapes", "tracks")] == [1, 1, 1]


# --- uploads as FiftyOne sends them -----------------------------------------------------------------------------------

QUALITY = {"image_quality": ["Ensure this value is less than or equal to 100."]}


def test_an_impossible_quality_is_refused_and_the_task_stays_without_data(client: Client) -> None:
    task = client.post("/api/tasks", json={"name": "t", "labels": [{"name": "car"}]}).json()["id"]
    answer = client.post(f"/api/tasks/{task}/data", data={"image_quality": "500"}, files={"client_files[0]": b"x"})
    assert (answer.status_code, answer.json()) == (400, QUALITY)
    assert client.get("/api/jobs", params={"task_id": task}).json()["count"] == 0


def test_an_upload_that_hangs_has_no_jobs_and_its_task_can_be_deleted(server: CvatSandbox, client: Client) -> None:
    server.faults.add(Fault("POST .*/data$", "hang"))
    task = client.post("/api/tasks", json={"name": "t", "labels": [{"name": "car"}]}).json()["id"]
    [picture] = server.world.media.pictures(1)
    sent = client.post(
        f"/api/tasks/{task}/data", data={"image_quality": "70"}, files={"client_files[0]": picture.path.open("rb")}
    )
    assert client.get("/api/jobs", params={"task_id": task}).json()["count"] == 0
    assert client.ask("DELETE", f"/api/tasks/{task}").status_code == 204
    server.exports.free_all()
    assert client.wait(sent.json()["rq_id"])["status"] == "failed"
    assert client.get("/api/jobs").json()["count"] == 0


def test_an_unknown_organization_is_refused_whatever_is_asked_for(server: CvatSandbox, client: Client) -> None:
    task = server.world.add_task(None, "t", labels=LABELS)
    answer = client.get(f"/api/tasks/{task.id}", headers={"X-Organization": "nosuchorg"})
    assert (answer.status_code, answer.json()) == (404, {"detail": "nosuchorg organization does not exist."})
