"""Projects: what may be created, and what the server makes of it."""

from __future__ import annotations

import re
from typing import Any

from sandbox.sc.answering import bad_request, refusal
from sandbox.sc.generations import Generation
from sandbox.sc.world import Dataset, Json, Label, Project, Task, World

TASK_TYPES = frozenset(
    "dataset crop classification detection segmentation rotated_detection instance_segmentation anomaly"
    " anomaly_classification anomaly_detection anomaly_segmentation keypoint_detection".split()
)
OLD_ANOMALY = frozenset({"anomaly_classification", "anomaly_detection", "anomaly_segmentation"})
GLOBAL = frozenset({"classification", "anomaly", *OLD_ANOMALY})  # the label belongs to the whole picture
AFTER = "A project can have at most two trainable tasks."
COLOR = re.compile(r"#[0-9a-f]{6}([0-9a-f]{2})?")


def is_anomaly(task_type: str) -> bool:
    return task_type.startswith("anomaly")


def empty_label_name(generation: Generation, task_type: str) -> str:
    return {
        "classification": "No class",
        "detection": generation.empty_object,
        "rotated_detection": generation.empty_object,
    }.get(task_type, "Empty")


def has_empty_label(task_type: str, labels: list[Label]) -> bool:
    """Not with a single exclusive group of classes, not for anomalies. For keypoints: not recorded, taken as no."""
    if is_anomaly(task_type) or task_type == "keypoint_detection":
        return False
    if task_type == "classification":
        return len({label.group for label in labels if label.parent_id is None}) > 1
    return True


def _known(raw: Any, allowed: set[str], required: set[str], what: str) -> Json:
    if not isinstance(raw, dict):
        raise bad_request(f"{what} must be an object.")
    for name in sorted(set(raw) - allowed):
        raise bad_request(f"Additional properties are not allowed ('{name}' was unexpected) in {what}.")
    for name in sorted(required - set(raw)):
        raise bad_request(f"'{name}' is a required property of {what}.")
    return raw


def create(world: World, generation: Generation, raw: Json, workspace_id: str) -> Project:
    """A new project from the body of POST projects. Every id is the server's."""
    _known(raw, {"name", "pipeline", "description"}, {"name", "pipeline"}, "the project")
    name = raw["name"]
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= 100:
        raise bad_request("The project name must have 1 to 100 characters.")
    pipeline = _known(raw["pipeline"], {"connections", "tasks"}, {"connections", "tasks"}, "the pipeline")
    created = world.now()
    dataset_id, project_id = world.new_id(), world.new_id()
    tasks = [_task(world, generation, one) for one in pipeline["tasks"]]
    by_title = {task.title: task for task in tasks}
    if len(by_title) != len(tasks):
        raise bad_request("Task titles must be unique.")
    if not tasks or tasks[0].task_type != "dataset":
        raise bad_request("The first task of a pipeline must be a dataset task.")
    trainable = [task for task in tasks if task.trainable]
    if not 1 <= len(trainable) <= 2:
        raise bad_request(AFTER if trainable else "A project needs a trainable task.")
    names = [label.name for task in trainable for label in task.labels if not label.is_empty]
    if len(trainable) == 1 and len(set(names)) != len(names):
        raise bad_request("Label names must be unique.")
    connections = [_connection(one, by_title) for one in pipeline["connections"]]
    if len(connections) != len(tasks) - 1:
        raise bad_request("Every task but the first must be connected.")
    # SC 1.1 names the data set like the project (recorded); 2.x: "Dataset" in most of its documents' examples.
    dataset = Dataset(dataset_id, "Dataset" if generation.organizations else name, created, True)
    project = Project(project_id, name, created, "sc", tasks, connections, [dataset], workspace_id)
    world.projects[project.id] = project
    return project


def _connection(raw: Any, by_title: dict[str, Task]) -> tuple[str, str]:
    _known(raw, {"from", "to"}, {"from", "to"}, "a connection")
    for end in ("from", "to"):
        if raw[end] not in by_title:
            raise bad_request(f"A connection names the unknown task '{raw[end]}'.")
    return by_title[raw["from"]].id, by_title[raw["to"]].id


def _task(world: World, generation: Generation, raw: Any) -> Task:
    _known(raw, {"title", "task_type", "labels", "keypoint_structure"}, {"title", "task_type"}, "a task")
    kind = str(raw["task_type"]).lower()
    if kind not in TASK_TYPES or (kind == "keypoint_detection" and not generation.organizations):
        raise bad_request(f"The task type '{kind}' is not supported.")
    if generation.organizations and generation.numbers >= (2, 5) and kind in OLD_ANOMALY:
        raise bad_request(f"The task type '{kind}' is not supported any more, use 'anomaly'.")
    if kind == "anomaly" and not (generation.organizations and generation.numbers >= (2, 5)):
        raise bad_request("The task type 'anomaly' is not supported.")
    task = Task(world.new_id(), str(raw["title"]), kind)
    if not task.trainable:
        if raw.get("labels"):
            raise bad_request(f"A {kind} task has no labels.")
        return task
    task.model_storage_id = world.new_id()
    task.labels = _labels(world, generation, task, raw.get("labels") or [])
    task.label_schema_id = world.new_id()
    task.keypoint_structure = _keypoints(task, raw.get("keypoint_structure"))
    return task


def color(world: World) -> str:
    return f"#{world.dice.getrandbits(24):06x}ff"


def _labels(world: World, generation: Generation, task: Task, raw: list[Any]) -> list[Label]:
    labels, parents = [], {}
    for one in raw:
        allowed = {"name", "color", "hotkey", "group", "parent_id"}
        if is_anomaly(task.task_type):
            allowed |= {"is_anomalous"}
        _known(one, allowed, {"name"}, "a label")
        given = one.get("color")
        if given is not None and not COLOR.fullmatch(str(given)):
            raise bad_request(f"'{given}' is not a color (#rrggbb or #rrggbbaa, lower case).")
        group = one.get("group") or f"default - {task.title}"
        made = given if given and len(given) == 9 else f"{given}ff" if given else color(world)
        label = Label(world.new_id(), str(one["name"]), made, group, one.get("hotkey") or "")
        label.is_anomalous = bool(one.get("is_anomalous", False))
        labels.append(label)
        parents[label.id] = one.get("parent_id")
    by_name = {label.name: label for label in labels}
    if len(by_name) != len(labels):
        raise bad_request(f"The labels of task '{task.title}' must have different names.")
    for label in labels:
        parent = parents[label.id]
        if parent:
            if parent not in by_name:
                raise bad_request(f"Label '{label.name}' has the unknown parent '{parent}'.")
            label.parent_id = by_name[parent].id
    if is_anomaly(task.task_type):
        return _anomaly_labels(world, task, labels)
    if not labels or (task.task_type == "classification" and len(labels) < 2):
        raise bad_request(f"Task '{task.title}' does not have enough labels.")
    if has_empty_label(task.task_type, labels):
        name = empty_label_name(generation, task.task_type)
        if name in by_name:
            raise bad_request(f"The label name '{name}' is reserved.")
        labels.append(Label(world.new_id(), name, color(world), name, is_empty=True))
    return labels


def _anomaly_labels(world: World, task: Task, labels: list[Label]) -> list[Label]:
    if not labels:
        group = f"default - {task.title}"
        return [
            Label(world.new_id(), "Normal", "#8bae46ff", group),
            Label(world.new_id(), "Anomalous", "#ff5662ff", group, is_anomalous=True),
        ]
    if len(labels) != 2 or sum(label.is_anomalous for label in labels) != 1:
        raise bad_request("An anomaly task has two labels, one of them anomalous.")
    return labels


def _keypoints(task: Task, raw: Any) -> Json | None:
    """The structure with ids for names: that answers carry ids is how the server's own views write it."""
    if task.task_type != "keypoint_detection":
        if raw:
            raise bad_request("Only a keypoint task has a keypoint structure.")
        return None
    if not raw:
        raise bad_request("A keypoint task needs a keypoint structure.")
    _known(raw, {"edges", "positions"}, {"edges", "positions"}, "the keypoint structure")
    ids = {label.name: label.id for label in task.labels}
    try:
        edges = [{"nodes": [ids[node] for node in edge["nodes"]]} for edge in raw["edges"]]
        positions: list[Json] = [
            {"label": ids[one["label"]], "x": float(one["x"]), "y": float(one["y"])} for one in raw["positions"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise bad_request(f"The keypoint structure does not fit the labels: {error}") from None
    if len(positions) != len(ids) or any(not 0 <= float(p[axis]) <= 1 for p in positions for axis in ("x", "y")):
        raise bad_request("Every keypoint needs one position, with x and y from 0 to 1.")
    return {"edges": edges, "positions": positions}


def change(world: World, project: Project, raw: Json) -> None:
    """PUT: another name; labels added (no id), renamed, recoloured, deleted (is_deleted). Groups stay."""
    if "name" in raw:
        project.name = str(raw["name"])
    for one in (raw.get("pipeline") or {}).get("tasks", []):
        task = next((task for task in project.tasks if task.id == one.get("id")), None)
        if task is None or not task.trainable:
            continue
        for given in one.get("labels", []):
            _change_label(world, task, given)


def _change_label(world: World, task: Task, given: Json) -> None:
    if "id" not in given:
        if is_anomaly(task.task_type) or task.task_type == "keypoint_detection":
            raise bad_request(f"Labels cannot be added to a {task.task_type} task.")
        if any(label.name == given["name"] and not label.deleted for label in task.labels):
            raise bad_request(f"The task has a label '{given['name']}' already.")
        group = given.get("group") or task.labels[0].group
        made = Label(
            world.new_id(), given["name"], given.get("color") or color(world), group, given.get("hotkey") or ""
        )
        task.labels.insert(0, made)
        return
    label = task.label(given["id"])
    if label is None:
        raise refusal(404, "label_not_found", f"The requested label could not be found. Label ID: `{given['id']}`.")
    if given.get("group", label.group) != label.group:
        raise refusal(400, "cannot_change_label_group", "The group of a label cannot be changed.")
    label.deleted = label.deleted or bool(given.get("is_deleted"))
    label.name = given.get("name", label.name)
    label.color = given.get("color", label.color)
    label.hotkey = given.get("hotkey", label.hotkey)
