"""Configuration in its two styles: components with entity identifiers (SC 1.1 to Geti 2.11, deprecated after), and the
project and training configurations of Geti 2.12. Both change the same auto-training switch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from sandbox.sc.answering import bad_request, refusal
from sandbox.sc.generations import Generation
from sandbox.sc.world import Json, Project, Task, World

LEARNING = (
    ("batch_size", "integer", "Batch size", 8, 1, 512, "possible"),
    ("learning_rate", "float", "Learning rate", 0.008, 1e-07, 0.1, "possible"),
    ("learning_rate_warmup_iters", "integer", "Number of iterations for learning rate warmup", 200, 0, 10000, ""),
    ("num_iters", "integer", "Number of training iterations", 300, 1, 100000, ""),
    ("num_workers", "integer", "Number of cpu threads to use during batch generation", 4, 0, 36, ""),
)
POSTPROCESSING = (
    ("confidence_threshold", "float", "Confidence threshold", 0.35, 0, 1, ""),
    ("result_based_confidence_threshold", "boolean", "Result based confidence threshold", True, None, None, ""),
)
PROPORTIONS = (
    ("test_proportion", "float", "Test set proportion", 0.3, 0.1, 1.0, ""),
    ("train_proportion", "float", "Training set proportion", 0.5, 0.1, 1.0, ""),
    ("validation_proportion", "float", "Validation set proportion", 0.2, 0.1, 1.0, ""),
)
SHOWN = {  # only while the proportions are not chosen by the server
    "action": "SHOW",
    "operator": "AND",
    "rules": [{"operator": "EQUAL_TO", "parameter": ["auto_subset_fractions"], "type": "RULE", "value": False}],
    "type": "UI_RULES",
}
COUNTER = (
    ("label_constraint_first_training", "boolean", "Label constraint for the first training", False, None, None, ""),
    ("required_images_first_training", "integer", "Number of images required for the first training", 12, 3, 10000, ""),
    ("required_images_retraining", "integer", "Number of images required for retraining", 6, 6, 10000, ""),
)


def _parameter(row: tuple[Any, ...]) -> Json:
    name, kind, header, value, low, high, hpo = row
    written: Json = {
        "auto_hpo_state": hpo or "not_possible",
        "auto_hpo_value": None,
        "data_type": kind,
        "default_value": value,
        "description": "",
        "editable": True,
        "header": header,
        "name": name,
        "template_type": "input",
        "ui_rules": {},
        "value": value,
        "warning": None,
    }
    return written if low is None else written | {"max_value": high, "min_value": low}


def set_up(world: World, generation: Generation, project: Project) -> None:
    """Gives a new project its defaults."""
    workspace = world.workspaces[0].id
    active = "PROJECT_ACTIVE_LEARNING" if generation.organizations else "ACTIVE_MANAGER"

    def component(name: str, header: str, rows: tuple[tuple[Any, ...], ...], task: Task | None = None) -> Json:
        return {
            "description": f"Specify parameters for: {header}.",
            "entity_identifier": {
                "component": name,
                "project_id": project.id,
                "task_id": task.id if task else "",
                "type": "COMPONENT_PARAMETERS",
                "workspace_id": workspace,
            },
            "header": header,
            "id": world.new_id(),
            "parameters": [_parameter(row) for row in rows],
            "type": "CONFIGURABLE_PARAMETERS",
        }

    unseen = ("max_unseen_media", "integer", "Number of images analysed after training for active learning", 500, 10)
    project.components = [
        component(active, "Active Learning", ((*unseen, 10000, ""),)),
        component(
            "PIPELINE_DATASET_MANAGER",
            "Dataset management",
            (("use_ndr", "boolean", "Use Near Duplicate Removal (NDR) for active learning", False, None, None, ""),),
        ),
    ]
    for task in project.trainable:
        groups = [
            ("learning_parameters", "Learning Parameters", LEARNING),
            ("postprocessing", "Postprocessing", POSTPROCESSING),
        ]
        entity = world.new_id()
        for number, (group, header, rows) in enumerate(groups):
            project.components.append(
                {
                    "description": header,
                    "entity_identifier": {
                        "group_name": group,
                        "model_storage_id": task.model_storage_id,
                        "type": "HYPER_PARAMETER_GROUP",
                        "workspace_id": workspace,
                    },
                    "header": header,
                    "id": f"{entity}-{number * 2}",
                    "name": group,
                    "parameters": [_parameter(row) for row in rows],
                    "type": "PARAMETER_GROUP",
                }
            )
        automatic = (
            "auto_subset_fractions",
            "boolean",
            "Automatically determine subset proportions",
            True,
            None,
            None,
            "",
        )
        subsets = component("SUBSET_MANAGER", "Subset splitting", (automatic,), task)
        subsets["groups"] = [
            {
                "description": "Specify the distributions of annotated samples over training, validation and test set.",
                "header": "Subset distribution",
                "name": "subset_parameters",
                "parameters": [_parameter(row) | {"ui_rules": SHOWN} for row in PROPORTIONS],
                "type": "PARAMETER_GROUP",
            }
        ]
        training = ("auto_training", "boolean", "Auto-training", True, None, None, "")
        project.components += [
            subsets,
            component("DATASET_COUNTER", "Annotation requirements", COUNTER, task),
            component("TASK_NODE", "General", (training,), task),
        ]
        project.task_configs[task.id] = {
            "task_id": task.id,
            "training": {"constraints": [{"key": "min_images_per_label", "type": "int", "value": 0, "min_value": 0}]},
            "auto_training": [
                {"key": "enable", "type": "bool", "value": True},
                {"key": "enable_dynamic_required_annotations", "type": "bool", "value": False},
                {"key": "min_images_per_label", "type": "int", "value": 12, "min_value": 3},
            ],
        }
        project.training_configs[task.id] = _training_defaults(task)


def _training_defaults(task: Task) -> Json:
    """The parts of the training configuration that the contract names; the parameters inside are examples."""
    return {
        "task_id": task.id,
        "dataset_preparation": {
            "subset_split": [
                {"key": "training", "type": "int", "value": 70},
                {"key": "validation", "type": "int", "value": 20},
                {"key": "test", "type": "int", "value": 10},
                {"key": "auto_selection", "type": "bool", "value": True},
                {"key": "remixing", "type": "bool", "value": False},
            ],
            "filtering": {
                "min_annotation_pixels": [
                    {"key": "enable", "type": "bool", "value": False},
                    {"key": "min_annotation_pixels", "type": "int", "value": 1},
                ],
                "max_annotation_pixels": [
                    {"key": "enable", "type": "bool", "value": False},
                    {"key": "max_annotation_pixels", "type": "int", "value": 10000},
                ],
            },
        },
        "training": [
            {"key": "max_epochs", "type": "int", "value": 200, "min_value": 1},
            {"key": "learning_rate", "type": "float", "value": 0.001, "min_value": 0.0, "max_value": 1.0},
        ],
        "evaluation": [],
    }


# --- components --------------------------------------------------------------------------------------------------------


def components_of(project: Project, task: Task | None) -> list[Json]:
    found = []
    for one in project.components:
        entity = one["entity_identifier"]
        own = entity.get("task_id") or None
        if entity["type"] == "HYPER_PARAMETER_GROUP":
            own = next(t.id for t in project.trainable if t.model_storage_id == entity["model_storage_id"])
        if own == (task.id if task else None):
            found.append(one)
    return found


def task_chain(project: Project, task: Task) -> Json:
    return {"components": components_of(project, task), "task_id": task.id, "task_title": task.title}


def full(project: Project) -> Json:
    return {
        "global": components_of(project, None),
        "task_chain": [task_chain(project, task) for task in project.trainable],
    }


def change_components(world: World, project: Project, given: Any) -> None:
    """Sets parameters; nothing is changed when anything is wrong.

    An entity identifier that is not one of this project (another server's ids) is refused.
    """
    if not isinstance(given, list):
        raise bad_request("'components' must be a list.")
    settings: list[tuple[Json, Any]] = []
    hyper: list[Json] = []
    for one in given:
        entity = one.get("entity_identifier") if isinstance(one, dict) else None
        target = next((own for own in project.components if _same(own["entity_identifier"], entity)), None)
        if target is None:
            raise bad_request(f"No configuration found for entity identifier {entity}.")
        settings += list(_settings(target, one))
        if target["entity_identifier"]["type"] == "HYPER_PARAMETER_GROUP":
            hyper.append(target)
    for parameter, value in settings:
        parameter["value"] = value
    if hyper:
        fresh = world.new_id()
        for target in hyper:
            target["id"] = f"{fresh}-{target['id'].rpartition('-')[2]}"
    for task in project.trainable:
        switch = auto_training(project, task)
        _entry(project.task_configs[task.id]["auto_training"], "enable")["value"] = switch["value"]


def _same(own: Json, given: Any) -> bool:
    """Recorded: the empty task id of what belongs to no task may be left out."""
    return isinstance(given, dict) and {"task_id": "", **own} == {"task_id": "", **given}


def _settings(target: Json, given: Json) -> Iterator[tuple[Json, Any]]:
    for one in given.get("parameters", []):
        parameter = next((own for own in target["parameters"] if own["name"] == one.get("name")), None)
        if parameter is None:
            raise bad_request(f"Parameter '{one.get('name')}' does not exist in '{target['header']}'.")
        yield parameter, _checked(parameter, one.get("value"))
    for group in given.get("groups", []):
        own_group = next((own for own in target.get("groups", []) if own["name"] == group.get("name")), None)
        if own_group is None:
            raise bad_request(f"Group '{group.get('name')}' does not exist in '{target['header']}'.")
        yield from _settings(own_group, group)


def _checked(parameter: Json, value: Any) -> Any:
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
    }.get(parameter["data_type"], True)
    if not fits:
        raise bad_request(f"Parameter '{parameter['name']}' must be of type {parameter['data_type']}, got {value!r}.")
    low, high = parameter.get("min_value"), parameter.get("max_value")
    if low is not None and not low <= value <= high:
        raise bad_request(f"Parameter '{parameter['name']}' must be between {low} and {high}, got {value}.")
    return value


def auto_training(project: Project, task: Task) -> Json:
    """The parameter that switches training by itself."""
    node = next(one for one in components_of(project, task) if one["entity_identifier"].get("component") == "TASK_NODE")
    parameter: Json = node["parameters"][0]
    return parameter


def required_images(project: Project, task: Task) -> int:
    for one in components_of(project, task):
        if one["entity_identifier"].get("component") == "DATASET_COUNTER":
            return int(next(p["value"] for p in one["parameters"] if p["name"] == "required_images_first_training"))
    return 12


# --- 2.12 and later ------------------------------------------------------------------------------------------------------


def _entry(entries: list[Any], key: str) -> Json:
    for one in entries:
        if isinstance(one, dict) and one.get("key") == key:
            return one
    raise bad_request(f"'{key}' is not a parameter of this configuration.")


def project_configuration(project: Project, task_id: str | None) -> Json:
    configs = [config for task, config in project.task_configs.items() if task_id in (None, task)]
    if not configs:
        raise refusal(404, "task_not_found", f"The requested task could not be found. Task ID: `{task_id}`.")
    return {"task_configs": configs}


def change_project_configuration(project: Project, raw: Json) -> None:
    changed = copy.deepcopy(project.task_configs)
    for config in raw.get("task_configs", []):
        own = changed.get(str(config.get("task_id")))
        if own is None:
            raise refusal(
                404, "task_not_found", f"The requested task could not be found. Task ID: `{config.get('task_id')}`."
            )
        for entry in config.get("training", {}).get("constraints", []):
            _set(own["training"]["constraints"], entry)
        for entry in config.get("auto_training", []):
            _set(own["auto_training"], entry)
    project.task_configs = changed
    for task in project.trainable:
        auto_training(project, task)["value"] = _entry(changed[task.id]["auto_training"], "enable")["value"]


def _set(entries: list[Any], given: Json) -> None:
    own = _entry(entries, str(given.get("key")))
    value = given.get("value")
    wanted: Any = {"bool": bool, "int": int, "float": (int, float)}[own["type"]]
    if not isinstance(value, wanted) or (isinstance(value, bool) and own["type"] != "bool"):
        raise bad_request(f"'{own['key']}' must be of type {own['type']}, got {value!r}.")
    if "min_value" in own and value < own["min_value"]:
        raise bad_request(f"'{own['key']}' must be at least {own['min_value']}, got {value}.")
    own["value"] = value


def training_configuration(project: Project, task_id: str | None) -> Json:
    if task_id is None and len(project.trainable) > 1:
        raise bad_request("'task_id' is required for projects with several tasks.")
    config = project.training_configs.get(task_id or project.trainable[0].id)
    if config is None:
        raise refusal(404, "task_not_found", f"The requested task could not be found. Task ID: `{task_id}`.")
    return config


def change_training_configuration(project: Project, task_id: str | None, raw: Json) -> None:
    task_id = raw.get("task_id") or task_id
    changed = copy.deepcopy(training_configuration(project, task_id))
    for part in ("dataset_preparation", "training", "evaluation"):
        if part in raw:
            _merge(changed[part], raw[part])
    project.training_configs[changed["task_id"]] = changed


def _merge(own: Any, given: Any) -> None:
    if isinstance(own, list):
        for entry in given:
            _set(own, entry)
        return
    for name, part in given.items():
        if name not in own:
            raise bad_request(f"'{name}' is not a part of this configuration.")
        _merge(own[name], part)
