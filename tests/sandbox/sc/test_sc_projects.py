"""Creating projects: what the server adds, replaces and refuses; configuration and locks."""

from __future__ import annotations

from typing import Any

import pytest
from sc_visitor import Visit, Visitor, body_of, box

PERSON = {
    "edges": [{"nodes": ["head", "hand"]}],
    "positions": [{"label": "head", "x": 0.5, "y": 0.1}, {"label": "hand", "x": 0.2, "y": 0.6}],
}


def labels_of(project: Any, number: int = -1) -> dict[str, Any]:
    return {label["name"]: label for label in project["pipeline"]["tasks"][number]["labels"]}


# --- what the server makes of a project ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("generation", "task_type", "name"),
    [
        ("1.1", "detection", "No Object"),
        ("2.x", "detection", "No object"),
        ("2.x", "rotated_detection", "No object"),
        ("1.1", "segmentation", "Empty"),
        ("2.x", "segmentation", "Empty"),
        ("2.x", "instance_segmentation", "Empty"),
    ],
)
def test_the_server_adds_the_empty_label_itself(visit: Visit, generation: str, task_type: str, name: str) -> None:
    labels = labels_of(visit(generation).create(task_type=task_type))
    assert {one for one, label in labels.items() if label["is_empty"]} == {name}
    assert labels[name]["group"] == name


def test_classes_have_an_empty_label_only_where_several_can_be_right(visit: Visit) -> None:
    visitor = visit("2.x")
    one_group = [{"name": "a", "group": "g"}, {"name": "b", "group": "g"}]
    two_groups = [{"name": "a", "group": "g"}, {"name": "b", "group": "h"}]
    below = [*one_group, {"name": "c", "group": "of a", "parent_id": "a"}]
    assert set(labels_of(visitor.create("1", "classification", one_group))) == {"a", "b"}
    assert set(labels_of(visitor.create("2", "classification", two_groups))) == {"a", "b", "No class"}
    assert set(labels_of(visitor.create("3", "classification", below))) == {"a", "b", "c"}


def test_a_parent_is_given_by_name_and_answered_by_id(visit: Visit) -> None:
    given = [{"name": "animal", "group": "g"}, {"name": "plant", "group": "g"}, {"name": "cat", "parent_id": "animal"}]
    labels = labels_of(visit("1.1").create(task_type="classification", labels=given))
    assert labels["cat"]["parent_id"] == labels["animal"]["id"]
    assert labels["cat"]["group"] == "default - The task"


def test_hotkeys_colours_and_titles_are_kept(visit: Visit) -> None:
    given = [{"name": "car", "color": "#102030", "hotkey": "ctrl+1", "group": "vehicles"}]
    project = visit("2.x").create(labels=given)
    label = labels_of(project)["car"]
    assert (label["color"], label["hotkey"], label["group"]) == ("#102030ff", "ctrl+1", "vehicles")
    assert project["pipeline"]["tasks"][1]["title"] == "The task"


def test_anomaly_projects_get_their_two_labels(visit: Visit) -> None:
    labels = labels_of(visit("2.x").create(task_type="anomaly", labels=[]))
    assert {name: label["is_anomalous"] for name, label in labels.items()} == {"Normal": False, "Anomalous": True}


@pytest.mark.parametrize(("generation", "kind"), [("1.1", "anomaly"), ("2.x", "anomaly_classification")])
def test_the_names_of_anomaly_tasks_changed(visit: Visit, generation: str, kind: str) -> None:
    assert visit(generation).refused("POST", "projects", json=body_of("A", kind, [])) == (400, "bad_request")


def test_a_keypoint_structure_comes_back_with_ids_for_names(visit: Visit) -> None:
    visitor = visit("2.x")
    names = [{"name": "head"}, {"name": "hand"}]
    project = visitor.create(task_type="keypoint_detection", labels=names, keypoint_structure=PERSON)
    labels = labels_of(project)
    structure = project["pipeline"]["tasks"][1]["keypoint_structure"]
    assert structure["edges"] == [{"nodes": [labels["head"]["id"], labels["hand"]["id"]]}]
    assert structure["positions"][1] == {"label": labels["hand"]["id"], "x": 0.2, "y": 0.6}
    without = body_of("B", "keypoint_detection", names)
    assert visitor.refused("POST", "projects", json=without) == (400, "bad_request")


def test_a_name_may_be_given_twice(visit: Visit) -> None:
    visitor = visit("2.x")
    assert visitor.create("Twin")["id"] != visitor.create("Twin")["id"]
    assert [one["name"] for one in visitor.get("projects")["projects"]] == ["Twin", "Twin"]


def _with(change: Any) -> dict[str, Any]:
    body = body_of("Refused")
    change(body["pipeline"]["tasks"][1], body)
    return body


@pytest.mark.parametrize(
    "body",
    [
        _with(lambda task, _: task["labels"][0].update(id="6" * 24)),
        _with(lambda task, _: task["labels"][0].update(is_empty=False)),
        _with(lambda task, _: task["labels"][0].update(color="red")),
        _with(lambda task, _: task["labels"][0].update(parent_id="nobody")),
        _with(lambda task, _: task["labels"].append({"name": "No object"})),
        _with(lambda task, _: task.update(id="6" * 24)),
        _with(lambda task, _: task.update(title="Dataset")),
        _with(lambda task, _: task.update(task_type="guessing")),
        _with(lambda _, body: body["pipeline"]["connections"][0].update(to="6" * 24)),
        _with(lambda _, body: body["pipeline"]["connections"].clear()),
        _with(lambda _, body: body.pop("name")),
    ],
)
def test_what_a_project_may_not_be(visit: Visit, body: dict[str, Any]) -> None:
    visitor = visit("2.x")
    assert visitor.refused("POST", "projects", json=body) == (400, "bad_request")
    assert visitor.server.world.projects == {}


def test_labels_are_changed_but_never_their_group(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    task = project["pipeline"]["tasks"][1]
    cube, ball = task["labels"][0], task["labels"][1]

    def put(label: dict[str, Any]) -> Any:
        body = {"name": "Renamed", "pipeline": {"tasks": [{"id": task["id"], "labels": [label]}]}}
        return visitor.ask("PUT", f"projects/{project['id']}", json=body)

    assert put({"id": cube["id"], "group": "other"}).json()["error_code"] == "cannot_change_label_group"
    put({"id": cube["id"], "name": "die", "hotkey": "d"})
    put({"id": ball["id"], "is_deleted": True})
    after = put({"name": "new", "color": "#112233ff"}).json()
    assert (after["name"], set(labels_of(after))) == ("Renamed", {"die", "new", "No object"})


# --- data sets ---------------------------------------------------------------------------------------------------------


def test_the_first_dataset_is_named_as_the_generation_does(visit: Visit) -> None:
    assert visit("1.1").create("Made")["datasets"][0]["name"] == "Made"
    assert visit("2.x").create("Made")["datasets"][0] | {"id": "", "creation_time": ""} == {
        "id": "",
        "creation_time": "",
        "name": "Dataset",
        "use_for_training": True,
    }


def test_datasets_are_added_renamed_and_deleted_but_not_the_one_that_trains(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    home = f"projects/{project['id']}/datasets"
    side = visitor.post(home, {"name": "Testing"}, 201)
    assert visitor.refused("POST", home, json={"name": "Testing"}) == (409, "dataset_already_exists")
    assert visitor.ask("PUT", f"{home}/{side['id']}", json={"name": "Checking"}).status_code == 200
    assert [one["name"] for one in visitor.get(home)["datasets"]] == ["Dataset", "Checking"]
    assert visitor.ask("DELETE", f"{home}/{side['id']}").json() == {"result": "success"}
    assert visitor.refused("DELETE", f"{home}/{project['datasets'][0]['id']}") == (400, "bad_request")
    assert visitor.refused("GET", f"{home}/{side['id']}/statistics") == (404, "dataset_not_found_in_project")


def test_the_statistics_count_what_is_there(visit: Visit) -> None:
    visitor = visit("2.x", samples="demo")
    project = visitor.server.world.project_named("Cars")
    found = visitor.get(f"projects/{project.id}/datasets/{project.datasets[0].id}/statistics")
    assert found["overview"] == {
        "images": 8,
        "videos": 2,
        "annotated_images": 6,
        "annotated_frames": 3,
        "annotated_videos": 1,
    }
    counts = {row["name"]: row["value"] for row in found["tasks"][0]["objects_per_label"]}
    assert counts == {"car": 8, "bus": 5, "No object": 1}


# --- configuration -----------------------------------------------------------------------------------------------------


def auto_training(components: list[dict[str, Any]], value: bool) -> dict[str, Any]:
    node = next(one for one in components if one["entity_identifier"].get("component") == "TASK_NODE")
    entity = node["entity_identifier"]
    return {"components": [{"entity_identifier": entity, "parameters": [{"name": "auto_training", "value": value}]}]}


def test_both_styles_of_configuration_turn_the_same_switch(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    home, task = f"projects/{project['id']}", project["pipeline"]["tasks"][1]["id"]
    old = f"{home}/configuration/task_chain/{task}"
    assert visitor.post(old, auto_training(visitor.get(old)["components"], value=False)) == {"result": "success"}
    switch = visitor.get(f"{home}/project_configuration")["task_configs"][0]["auto_training"][0]
    assert (switch["key"], switch["value"]) == ("enable", False)
    change = {"task_configs": [{"task_id": task, "auto_training": [{"key": "enable", "value": True}]}]}
    assert visitor.ask("PATCH", f"{home}/project_configuration", json=change).status_code == 204
    node = next(one for one in visitor.get(old)["components"] if one["header"] == "General")
    assert node["parameters"][0]["value"] is True


def test_before_2_12_there_is_no_project_configuration(visit: Visit) -> None:
    visitor = visit("2.x", version="2.11.0-release-20250601000000")
    home = f"projects/{visitor.create()['id']}"
    assert visitor.refused("GET", f"{home}/project_configuration")[0] == 404
    assert visitor.get(f"{home}/configuration")["task_chain"]


def test_ids_of_another_project_are_refused_and_nothing_is_changed(visit: Visit) -> None:
    visitor = visit("1.1")
    first, second = visitor.create("First"), visitor.create("Second")
    chain = visitor.get(f"projects/{first['id']}/configuration")["task_chain"][0]
    mine = f"projects/{second['id']}/configuration"
    before = visitor.get(mine)
    assert visitor.refused("POST", mine, json={"task_chain": [chain]}) == (400, "bad_request")
    assert visitor.get(mine) == before


@pytest.mark.parametrize("value", [0, 100_001, "many", 1.5, True])
def test_a_parameter_out_of_its_bounds_is_refused(visit: Visit, value: Any) -> None:
    visitor = visit("1.1")
    project = visitor.create()
    where = f"projects/{project['id']}/configuration/task_chain/{project['pipeline']['tasks'][1]['id']}"
    entity = visitor.get(where)["components"][0]["entity_identifier"]
    body = {"components": [{"entity_identifier": entity, "parameters": [{"name": "num_iters", "value": value}]}]}
    assert visitor.refused("POST", where, json=body) == (400, "bad_request")


def test_the_training_configuration_is_changed_by_key(visit: Visit) -> None:
    visitor = visit("2.x")
    where = f"projects/{visitor.create()['id']}/training_configuration"
    change = {"training": [{"key": "max_epochs", "value": 7}]}
    assert visitor.ask("PATCH", where, json=change).status_code == 204
    assert visitor.get(where)["training"][0]["value"] == 7
    wrong = {"training": [{"key": "wishes", "value": 7}]}
    assert visitor.refused("PATCH", where, json=wrong) == (400, "bad_request")


# --- training that starts by itself ------------------------------------------------------------------------------------


def annotate_many(visitor: Visitor, project: Any, count: int) -> str:
    dataset = visitor.dataset(project)
    label = project["pipeline"]["tasks"][1]["labels"][0]["id"]
    for _ in range(count):
        media = visitor.upload(dataset)
        shape = box(0, 0, 0.5, 0.5) if visitor.server.generation.normalised else box()
        visitor.annotate(f"{dataset}/media/images/{media['id']}", label, shape)
    return f"{dataset}/media/images/{media['id']}"


def test_twelve_annotated_images_start_a_training_that_locks_the_project(visit: Visit) -> None:
    visitor = visit("2.x")
    project = visitor.create()
    where = f"projects/{project['id']}"
    media = annotate_many(visitor, project, 11)
    assert visitor.get(f"{where}/status")["is_training"] is False
    annotate_many(visitor, project, 1)
    assert visitor.get(f"{where}/status")["is_training"] is True
    assert visitor.refused("DELETE", where) == (409, "project_locked")
    assert visitor.refused("DELETE", media) == (409, "project_locked")
    assert visitor.refused("PUT", where, json={"name": "x"}) == (409, "project_locked")
    visitor.server.jobs.finish_all()
    assert visitor.ask("DELETE", where).json() == {"result": "success"}


def test_nothing_trains_once_the_switch_is_off(visit: Visit) -> None:
    visitor = visit("1.1")
    project = visitor.create()
    where = f"projects/{project['id']}/configuration/task_chain/{project['pipeline']['tasks'][1]['id']}"
    visitor.post(where, auto_training(visitor.get(where)["components"], value=False))
    annotate_many(visitor, project, 13)
    assert visitor.get(f"projects/{project['id']}/status")["is_training"] is False
