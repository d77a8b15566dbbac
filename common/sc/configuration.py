"""The configuration of a project in both styles: read, changed, and carried over to another project.

Components (SC 1.1 to Geti 2.11) bear the ids of their project in `entity_identifier`; what is sent bears the ids of the
project that is sent to. Keyed configurations (Geti 2.12 and later) are changed by task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.exits import Trouble
from common.sc.client import Client
from common.sc.projects import Project, trainable_tasks
from common.web import errors

Style = Literal["components", "keys"]
AUTO_TRAINING = "auto_training"
# What people call a setting: the names it has on the servers, in either style.
ALIASES = {
    "auto_train": (AUTO_TRAINING,),
    AUTO_TRAINING: (AUTO_TRAINING,),
    "iterations": ("num_iters", "max_num_epochs", "num_epochs", "max_epochs"),
    "num_iterations": ("num_iters", "max_num_epochs", "num_epochs", "max_epochs"),
}
_PARTS = ("dataset_preparation", "training", "evaluation")


class NoSuchParameter(Trouble):
    """No task of the project has a parameter of this name."""

    remedy = "See: sc_migrate.py configure PROJECT (without values) lists what can be set."


@dataclass(frozen=True)
class Parameter:
    """One value that can be set. `task` is the index of its task, None for the whole project; `key` finds it again."""

    task: int | None
    key: tuple[str, ...]
    name: str
    value: Any
    editable: bool = True
    default: Any = None


def read(client: Client, project: Project) -> dict[str, Any]:
    """The whole configuration as the server gives it: {"style", "global", "tasks": [...]}. Raises WebError."""
    tasks = trainable_tasks(project)
    path = f"{client.home}/projects/{project['id']}"
    if client.generation.era == "Geti 2":
        try:
            projects = client.get(f"{path}/project_configuration")
            by_task = {str(each["task_id"]): each for each in projects["task_configs"]}
            return {
                "style": "keys",
                "global": [],
                "tasks": [
                    {
                        "title": task["title"],
                        "project": by_task.get(str(task["id"]), {}),
                        "training": _training(client, path, str(task["id"])),
                    }
                    for task in tasks
                ],
            }
        except (errors.NotFound, errors.NotJson, errors.Refused):
            pass  # up to 2.11 there is none
    whole = client.get(f"{path}/configuration") or {}
    return {
        "style": "components",
        "global": whole.get("global") or [],
        "tasks": [
            {
                "title": task["title"],
                "components": (client.get(f"{path}/configuration/task_chain/{task['id']}") or {}).get("components")
                or [],
            }
            for task in tasks
        ],
    }


def _training(client: Client, path: str, task_id: str) -> Mapping[str, Any]:
    try:
        answer = client.get(f"{path}/training_configuration", {"task_id": task_id})
    except (errors.NotFound, errors.NotJson, errors.Refused):
        return {}
    return answer if isinstance(answer, dict) else {}


# --- a flat view ------------------------------------------------------------------------------------------------


def parameters(configuration: Mapping[str, Any]) -> list[Parameter]:
    """Every value of a configuration as `read` gives it."""
    found: list[Parameter] = []
    for component in configuration.get("global") or []:
        found += _of_component(None, component)
    for index, task in enumerate(configuration.get("tasks") or []):
        for component in task.get("components") or []:
            found += _of_component(index, component)
        found += _of_keys(index, ("project",), _without_ids(task.get("project") or {}))
        training = task.get("training") or {}
        found += _of_keys(index, ("training",), {part: training[part] for part in _PARTS if part in training})
    return found


def component_name(component: Mapping[str, Any]) -> str:
    """What a component is called on every server: its kind, or the group of its parameters."""
    identifier = component.get("entity_identifier") or {}
    return str(identifier.get("component") or identifier.get("group_name") or component.get("name") or "")


def _of_component(task: int | None, component: Mapping[str, Any]) -> Iterator[Parameter]:
    def walk(part: Mapping[str, Any], key: tuple[str, ...]) -> Iterator[Parameter]:
        for each in part.get("parameters") or []:
            name = str(each["name"])
            yield Parameter(
                task, (*key, name), name, each.get("value"), bool(each.get("editable", True)), each.get("default_value")
            )
        for group in part.get("groups") or []:
            yield from walk(group, (*key, str(group["name"])))

    yield from walk(component, (component_name(component),))


def _without_ids(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if key != "task_id"}


def _of_keys(task: int, key: tuple[str, ...], value: Any) -> Iterator[Parameter]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _of_keys(task, (*key, str(name)), each)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, Mapping) and "key" in each:
                if "value" in each:
                    name = str(each["key"])
                    called = AUTO_TRAINING if (key[-1], name) == (AUTO_TRAINING, "enable") else name
                    yield Parameter(task, (*key, name), called, each["value"])
                else:
                    yield from _of_keys(
                        task, (*key, str(each["key"])), _without_ids({k: v for k, v in each.items() if k != "key"})
                    )


# --- changing ---------------------------------------------------------------------------------------------------


def change(client: Client, project: Project, configuration: Mapping[str, Any], wanted: list[Parameter]) -> None:
    """Sets these values; `configuration` is what `read` gave of this project. Raises WebError."""
    if not wanted:
        return
    path = f"{client.home}/projects/{project['id']}"
    tasks = trainable_tasks(project)
    if configuration["style"] == "components":
        for index in sorted({each.task for each in wanted}, key=lambda each: -1 if each is None else each):
            own = [each for each in wanted if each.task == index]
            there = configuration["global"] if index is None else configuration["tasks"][index]["components"]
            body = {"components": [made for component in there if (made := _component_body(component, own))]}
            where = "global" if index is None else f"task_chain/{tasks[index]['id']}"
            client.json("POST", f"{path}/configuration/{where}", body, repeat=True)
        return
    for index, task in enumerate(tasks):
        own = [each for each in wanted if each.task == index]
        if in_project := [each for each in own if each.key[0] == "project"]:
            body = {"task_configs": [{"task_id": task["id"], **_keyed(in_project)}]}
            client.json("PATCH", f"{path}/project_configuration", body, repeat=True)
        if in_training := [each for each in own if each.key[0] == "training"]:
            client.json(
                "PATCH", f"{path}/training_configuration", {"task_id": task["id"], **_keyed(in_training)},
                params={"task_id": task["id"]}, repeat=True,
            )  # fmt: skip


def _component_body(component: Mapping[str, Any], wanted: list[Parameter]) -> dict[str, Any] | None:
    """What changes one component: its own identifier, and only the values that are wanted."""
    values = {each.key: each.value for each in wanted}

    def part_of(part: Mapping[str, Any], key: tuple[str, ...]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        chosen = [
            {"name": each["name"], "value": values[(*key, each["name"])]}
            for each in part.get("parameters") or []
            if (*key, each["name"]) in values
        ]
        if chosen:
            made["parameters"] = chosen
        groups = []
        for group in part.get("groups") or []:
            if inner := part_of(group, (*key, str(group["name"]))):
                groups.append({"name": group["name"], **inner})
        if groups:
            made["groups"] = groups
        return made

    made = part_of(component, (component_name(component),))
    return {"entity_identifier": component["entity_identifier"], **made} if made else None


def _keyed(wanted: list[Parameter]) -> dict[str, Any]:
    """{"training": {"constraints": [{"key", "value"}]}} out of flat keys."""
    made: dict[str, Any] = {}
    for each in wanted:
        *path, name = each.key[1:]
        at: Any = made
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at.setdefault(path[-1], []).append({"key": name, "value": each.value})
    return made


def set_everywhere(client: Client, project: Project, values: Mapping[str, Any]) -> list[Parameter]:
    """Sets these values, by the names people know, for all tasks that have them. What was set. Raises NoSuchParameter."""
    configuration = read(client, project)
    wanted: list[Parameter] = []
    for name, value in values.items():
        names = ALIASES.get(name, (name,))
        found = [each for each in parameters(configuration) if each.name in names or ".".join(each.key) == name]
        if not found:
            raise NoSuchParameter(f"no task of the project has a parameter {name!r}")
        wanted += [Parameter(each.task, each.key, each.name, value) for each in found]
    change(client, project, configuration, wanted)
    return wanted


def set_auto_training(client: Client, project: Project, values: Callable[[int], bool]) -> dict[int, bool]:
    """Switches auto-training of each task (by index) and returns how it was before. Raises WebError."""
    configuration = read(client, project)
    found = [each for each in parameters(configuration) if each.name == AUTO_TRAINING and each.task is not None]
    before = {int(each.task or 0): bool(each.value) for each in found}
    wanted = [
        Parameter(each.task, each.key, each.name, values(int(each.task or 0)))
        for each in found
        if bool(each.value) != values(int(each.task or 0))
    ]
    change(client, project, configuration, wanted)
    return before


@dataclass(frozen=True)
class Carried:
    """What of a configuration reached another project: how many values, and which did not.

    `unknown` are at what its server began with and have no counterpart; `lost` were set by somebody.
    """

    changed: int
    equal: int
    unknown: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def sentences(self) -> list[str]:
        """What is to be said of it."""
        said = []
        if self.lost:
            said.append(f"configuration: not in the target: {', '.join(self.lost)}")
        if self.unknown:
            said.append(
                f"configuration: {len(self.unknown)} values at their defaults have no counterpart in the target"
            )
        return said


def carry_over(client: Client, project: Project, stored: Mapping[str, Any]) -> Carried:
    """Gives a project the values of a stored configuration, all but auto-training (restored last). Raises WebError."""
    there = read(client, project)
    own = {(each.task, each.key): each for each in parameters(there)}
    names: dict[tuple[int | None, str], list[Parameter]] = {}
    for each in own.values():
        names.setdefault((each.task, each.name), []).append(each)
    wanted, equal, lost, unknown = [], 0, [], []
    for each in parameters(stored):
        if each.name == AUTO_TRAINING:
            continue
        # In the other style a value is found by its name, where that is clear.
        alike = names.get((each.task, each.name), [])
        found = own.get((each.task, each.key)) or (alike[0] if len(alike) == 1 else None)
        if found is None and each.default is not None and each.default == each.value:
            unknown.append(".".join(each.key))
        elif found is None:
            lost.append(f"{'.'.join(each.key)}={each.value}")
        elif found.value == each.value:
            equal += 1
        elif not found.editable:
            lost.append(f"{'.'.join(each.key)} (the server lets nobody change it)")
        else:
            wanted.append(Parameter(found.task, found.key, found.name, each.value))
    refused = _change_one_by_one(client, project, there, wanted)
    return Carried(len(wanted) - len(refused), equal, tuple(unknown), tuple(lost + refused))


def _change_one_by_one(
    client: Client, project: Project, there: Mapping[str, Any], wanted: list[Parameter]
) -> list[str]:
    """All at once; where the server refuses that, each by itself, so that one bad value does not hold up the rest."""
    try:
        change(client, project, there, wanted)
    except errors.Refused:
        refused = []
        for each in wanted:
            try:
                change(client, project, there, [each])
            except errors.Refused as error:
                refused.append(f"{'.'.join(each.key)} ({error.said})")
        return refused
    return []


def stored_auto_training(stored: Mapping[str, Any]) -> dict[int, bool]:
    """Auto-training of each task in a stored configuration, by the task's index."""
    return {
        each.task: bool(each.value)
        for each in parameters(stored)
        if each.name == AUTO_TRAINING and each.task is not None
    }


def normal_form(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration.json of any tool as `read` would give it: geti-sdk writes {"global", "task_chain": [...]}."""
    if "tasks" in raw:
        return dict(raw)
    chain = raw.get("task_chain") or []
    return {
        "style": "components",
        "global": raw.get("global") or raw.get("global_") or [],
        "tasks": [
            {"title": each.get("task_title", ""), "components": each.get("components") or _legacy(each)}
            for each in chain
        ],
    }


def _legacy(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """geti-sdk's components_by_entity: the components of a task under several names."""
    found: list[Mapping[str, Any]] = []
    for value in task.values():
        if isinstance(value, list):
            found += [each for each in value if isinstance(each, Mapping) and "parameters" in each]
    return found
