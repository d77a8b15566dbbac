"""From the labels of a source to those of a target: per task, by name and group; the empty label by its mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.sc.projects import ANOMALY, Project, is_empty, trainable_tasks


@dataclass
class LabelMap:
    """Finds the target's label id. `missing` lists source labels that the target has no counterpart of."""

    by_id: dict[str, str] = field(default_factory=dict)
    # name -> what it may mean: (color, target id, task index), in the order of the tasks
    by_name: dict[str, list[tuple[str, str, int]]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    # The same as (the target's task, the source's label) where the target has such a task.
    absent: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = field(default_factory=list)

    def target_of(self, label: Mapping[str, Any], used_tasks: Iterable[int] = ()) -> str | None:
        """The target's id of a label as it stands in a scene.

        Without an id (folders of other tools), labels of the same name in two tasks are told apart by their colour,
        then by the task that no other label of the shape belongs to yet.
        """
        if (identity := label.get("id")) in self.by_id:
            return self.by_id[str(identity)]
        found = self.by_name.get(str(label.get("name")), [])
        if len(found) > 1 and label.get("color"):
            found = [each for each in found if _same_color(each[0], str(label["color"]))] or found
        if len(found) > 1:
            taken = set(used_tasks)
            found = [each for each in found if each[2] not in taken] or found
        return found[0][1] if found else None

    def task_of(self, target_id: str) -> int:
        """The index of the task that a target label belongs to."""
        for entries in self.by_name.values():
            for _color, identity, index in entries:
                if identity == target_id:
                    return index
        return -1


def _same_color(one: str, other: str) -> bool:
    def full(color: str) -> str:
        color = color.lower().lstrip("#")
        return color + "ff" if len(color) == 6 else color

    return full(one) == full(other)


def map_labels(source: Project, target: Project) -> LabelMap:
    """The map from one project to another with the same pipeline. Tasks are matched by title, else by their order.

    `source` may be a project as a server gives it (labels have ids) or a project.json (they have none).
    """
    result = LabelMap()
    targets = trainable_tasks(target)
    for index, task in enumerate(trainable_tasks(source)):
        counterpart = next((each for each in targets if each["title"] == task["title"]), None)
        if counterpart is None:
            counterpart = targets[index] if index < len(targets) else None
        for label in task.get("labels") or []:
            found = _counterpart(label, task, counterpart) if counterpart is not None else None
            if found is None:
                result.missing.append(f"{task['title']}: {label['name']}")
                if counterpart is not None and not is_empty(label):
                    result.absent.append((counterpart, label))
                continue
            if label.get("id"):
                result.by_id[str(label["id"])] = str(found["id"])
            entry = (str(label.get("color", "")), str(found["id"]), index)
            result.by_name.setdefault(str(label["name"]), []).append(entry)
    return result


def _counterpart(
    label: Mapping[str, Any], task: Mapping[str, Any], counterpart: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    there: list[Mapping[str, Any]] = counterpart.get("labels") or []
    if is_empty(label):
        return next((each for each in there if is_empty(each)), None)
    named = [each for each in there if each["name"] == label["name"] and not is_empty(each)]
    if len(named) > 1:
        named = [each for each in named if each.get("group") == label.get("group")] or named
    if named:
        return named[0]
    if task.get("task_type") in ANOMALY and "is_anomalous" in label:
        return next((each for each in there if bool(each.get("is_anomalous")) == bool(label["is_anomalous"])), None)
    return None
