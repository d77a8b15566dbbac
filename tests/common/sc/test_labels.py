"""Labels of a source find those of a target: per task, by name and group; the empty one by its mark."""

from __future__ import annotations

from common.sc.labels import map_labels


def project(prefix: str, empty: str):
    def label(name, **more):
        return {
            "id": f"{prefix}-{more.get('group', 'g')}-{name}",
            "name": name,
            "color": "#00ff00",
            "group": "g",
            **more,
        }

    names = [label("thing", color="#ff0000ff", group="h"), label("x", group="h")]
    return {
        "pipeline": {
            "connections": [{"from": "Dataset", "to": "Find"}, {"from": "Find", "to": "Name"}],
            "tasks": [
                {"title": "Dataset", "task_type": "dataset"},
                {"title": "Find", "task_type": "detection", "labels": [label("thing"), label(empty, is_empty=True, group=empty)]},
                {"title": "Name", "task_type": "classification", "labels": names},
            ],
        }
    }  # fmt: skip


def test_equal_names_in_two_tasks_stay_apart_and_the_empty_label_is_found_by_its_mark():
    labels = map_labels(project("s", "No Object"), project("t", "No object"))
    assert labels.missing == []
    assert labels.by_id == {"s-g-thing": "t-g-thing", "s-No Object-No Object": "t-No object-No object",
                            "s-h-thing": "t-h-thing", "s-h-x": "t-h-x"}  # fmt: skip


def test_without_ids_colours_and_then_the_other_labels_of_a_shape_decide():
    labels = map_labels(project("s", "No Object"), project("t", "No object"))
    assert labels.target_of({"name": "thing", "color": "#FF0000"}) == "t-h-thing"
    assert labels.target_of({"name": "thing"}) == "t-g-thing"
    assert labels.target_of({"name": "thing"}, used_tasks=[0]) == "t-h-thing"
    assert labels.target_of({"name": "nobody"}) is None


def test_what_the_target_does_not_have_is_listed():
    target = project("t", "No object")
    del target["pipeline"]["tasks"][2]["labels"][1]
    assert map_labels(project("s", "No Object"), target).missing == ["Name: x"]
