"""Projects: listing, choosing, and the description from which a project is made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from common.exits import Exit, RunEnds, Trouble
from common.sc.client import Client
from common.sc.generation import Generation
from common.text import parse_time, printable
from common.web import errors

PAGE_PROJECTS = 100
UNTRAINED = ("dataset", "crop")
ANOMALY = ("anomaly", "anomaly_classification", "anomaly_detection", "anomaly_segmentation")
GLOBAL = ("classification", *ANOMALY)
Project = Mapping[str, Any]


class Unsupported(Trouble):
    """The server cannot have this."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of a project."""

    id: str
    name: str
    is_training: bool


def list_projects(client: Client) -> list[Project]:
    """Every project of the workspace, as listed. Raises WebError."""
    if not client.generation.paged_projects:
        if client.generation.era == "SC":
            return _listed(client.get(f"{client.home}/projects/"), "items")
        return _listed(client.get(f"{client.home}/projects"), "projects")
    found: dict[str, Project] = {}
    skip = 0
    while True:
        answer = client.get(f"{client.home}/projects", {"limit": PAGE_PROJECTS, "skip": skip})
        page = _listed(answer, "projects")
        before = len(found)
        found.update((str(each["id"]), each) for each in page)
        skip += len(page)
        # next_page is there even behind the last page: the count decides, and a page that brings nothing new.
        total = answer.get("project_counts", answer.get("project_count"))
        if not page or len(found) == before or (isinstance(total, int) and skip >= total):
            return list(found.values())
        if total is None and len(page) < PAGE_PROJECTS:
            return list(found.values())


def _listed(answer: Any, key: str) -> list[Project]:
    """The projects of an answer. Raises NotJson where it is no list of projects."""
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list) or any(
        not isinstance(each, dict) or not each.get("id") or "name" not in each for each in found
    ):
        raise errors.NotJson("the server's answer is no list of projects")
    return found


def get_project(client: Client, project_id: str) -> Project:
    """One project whole, with its datasets and pipeline. Raises WebError."""
    answer = client.get(f"{client.home}/projects/{project_id}")
    pipeline = answer.get("pipeline") if isinstance(answer, dict) else None
    if not isinstance(pipeline, dict) or not isinstance(pipeline.get("tasks"), list) or not answer.get("id"):
        raise errors.NotJson(f"project {project_id}: the server's answer is no project")
    project: Project = answer
    return project


def is_gone(client: Client, project_id: str, error: errors.NotFound) -> bool:
    """Whether a project that was answered 404 is no longer there: a proxy's page says nothing, the list does.

    Raises WebError.
    """
    if not isinstance(error.payload, dict) or not error.payload.get("error_code"):
        return False
    return all(str(each["id"]) != project_id for each in list_projects(client))


def same_moment(one: str, other: str) -> bool:
    """Whether two creation times are of the same project, as far as they tell: servers round them, some to seconds."""
    try:
        first, second = parse_time(one), parse_time(other)
    except ValueError:
        return True
    exact = first.microsecond and second.microsecond
    return abs(first - second) <= (timedelta(milliseconds=10) if exact else timedelta(seconds=1))


def choose(projects: Sequence[Project], wanted: str) -> Project:
    """The project with this id or name. Raises RunEnds: no such, or a name that several have."""
    by_id = [each for each in projects if each.get("id") == wanted]
    by_name = [each for each in projects if each.get("name") == wanted]
    chosen = by_id or by_name
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        near = [str(each.get("name")) for each in projects if wanted.casefold() in str(each.get("name")).casefold()]
        hint = f"Similar: {', '.join(printable(each, 40) for each in near[:5])}." if near else "See: sc_migrate.py list"
        raise RunEnds(f"There is no project {wanted!r}.", hint, Exit.BAD_CONFIGURATION)
    ids = ", ".join(str(each["id"]) for each in chosen)
    raise RunEnds(
        f"{len(chosen)} projects are called {wanted!r}: {ids}.",
        "Name the one you mean by its id.",
        Exit.BAD_CONFIGURATION,
    )


def datasets_of(client: Client, project: Project) -> list[Dataset]:
    """Every dataset, the training one first; asked for where the project's answer does not name them."""
    raw = list(project.get("datasets") or [])
    if not raw:
        answer = client.get(f"{client.home}/projects/{project['id']}/datasets")
        raw = list((answer.get("datasets") if isinstance(answer, dict) else answer) or [])
    found = [
        Dataset(str(each["id"]), str(each.get("name", "")), bool(each.get("use_for_training", len(raw) == 1)))
        for each in raw
    ]
    return sorted(found, key=lambda each: not each.is_training)


def tasks_of(project: Project) -> list[Mapping[str, Any]]:
    """The tasks in the order of the pipeline: dataset, first task, (crop), second task."""
    pipeline = project.get("pipeline") or {}
    tasks = list(pipeline.get("tasks") or [])
    followed_by = {each["from"]: each["to"] for each in pipeline.get("connections") or []}
    by_name = {each.get("id", each["title"]): each for each in tasks} | {each["title"]: each for each in tasks}
    ends = set(followed_by.values())
    starts = [each for each in tasks if each.get("id", each["title"]) not in ends and each["title"] not in ends]
    ordered: list[Mapping[str, Any]] = []
    current = starts[0] if starts else None
    while current is not None and not any(current is each for each in ordered):
        ordered.append(current)
        following = followed_by.get(current.get("id", "")) or followed_by.get(current["title"])
        current = by_name.get(following) if following else None
    return ordered + [each for each in tasks if not any(each is other for other in ordered)]


def trainable_tasks(project: Project) -> list[Mapping[str, Any]]:
    return [each for each in tasks_of(project) if each.get("task_type") not in UNTRAINED]


def is_empty(label: Mapping[str, Any]) -> bool:
    """Whether it is the label that the server adds itself for "nothing there".

    SC 1.1 and Geti say so (`is_empty`). Folders of other tools may have lost the mark; they keep the name.
    """
    if "is_empty" in label:
        return bool(label["is_empty"])
    return label.get("name") == label.get("group") and str(label.get("name", "")).casefold() in (
        "no object", "no class", "empty",
    )  # fmt: skip


def portable(project: Project, datasets: Sequence[Dataset]) -> dict[str, Any]:
    """The project as project.json keeps it: names in place of ids, so that any server can be given it.

    Connections name titles, parents of labels names. The empty labels stay, marked, and are never sent.
    """
    titles = {each.get("id"): each["title"] for each in tasks_of(project)}
    tasks = []
    for task in tasks_of(project):
        labels = task.get("labels") or []
        names = {each.get("id"): each["name"] for each in labels}
        kept: dict[str, Any] = {"title": task["title"], "task_type": task["task_type"]}
        if labels:
            kept["labels"] = [
                {
                    key: value
                    for key, value in {
                        "name": each["name"],
                        "color": each.get("color"),
                        "group": each.get("group"),
                        "hotkey": each.get("hotkey"),
                        "parent_id": names.get(each.get("parent_id"), each.get("parent_id")),
                        "is_empty": bool(each.get("is_empty")) or None,
                        "is_anomalous": each.get("is_anomalous") or None,
                    }.items()
                    if value not in (None, "")
                }
                for each in labels
            ]
        if structure := task.get("keypoint_structure"):
            kept["keypoint_structure"] = _named_structure(structure, names)
        tasks.append(kept)
    return {
        "name": project["name"],
        "datasets": [{"name": each.name, "use_for_training": each.is_training} for each in datasets],
        "pipeline": {
            "connections": [
                {"from": titles.get(each["from"], each["from"]), "to": titles.get(each["to"], each["to"])}
                for each in (project.get("pipeline") or {}).get("connections") or []
            ],
            "tasks": tasks,
        },
    }


def _named_structure(structure: Mapping[str, Any], names: Mapping[Any, str]) -> dict[str, Any]:
    """A keypoint structure with the names of its labels: Geti answers with ids and takes names."""
    return {
        "edges": [
            {"nodes": [names.get(node, node) for node in each.get("nodes") or []]}
            for each in structure.get("edges") or []
        ],
        "positions": [
            {**each, "label": names.get(each.get("label"), each.get("label"))}
            for each in structure.get("positions") or []
        ],
    }


def creation_body(described: Mapping[str, Any], name: str, generation: Generation) -> dict[str, Any]:
    """What is sent to make the project anew: no ids, no empty labels, only what the server accepts.

    `described` is a project.json. Raises Unsupported where this generation has no such task.
    """
    tasks = []
    for task in described["pipeline"]["tasks"]:
        task_type = _task_type_for(str(task["task_type"]), generation)
        made: dict[str, Any] = {"title": task["title"], "task_type": task_type}
        labels = [each for each in task.get("labels") or [] if not is_empty(each)]
        if task["task_type"] in ANOMALY:
            labels = []  # the server makes its two itself
        if labels:
            made["labels"] = [_label_body(each, labels) for each in labels]
        if structure := task.get("keypoint_structure"):
            made["keypoint_structure"] = structure
        tasks.append(made)
    return {"name": name, "pipeline": {"connections": described["pipeline"]["connections"], "tasks": tasks}}


def _label_body(label: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    body = {"name": label["name"]}
    for key in ("color", "group", "hotkey"):
        if label.get(key):
            body[key] = label[key]
    parent = label.get("parent_id")
    if parent and any(each["name"] == parent for each in siblings):
        body["parent_id"] = parent
    return body


def _task_type_for(task_type: str, generation: Generation) -> str:
    if task_type in ANOMALY:
        if generation.era == "Geti 2" and generation.number >= (2, 5):
            return "anomaly"
        return "anomaly_classification" if task_type == "anomaly" else task_type
    if task_type in ("keypoint_detection",) and generation.era != "Geti 2":
        raise Unsupported(f"the target ({generation.name}) has no tasks of type {task_type}")
    return task_type


def not_restorable(described: Mapping[str, Any], generation: Generation) -> Iterator[str]:
    """What of a project's parameters the target cannot have, one sentence each."""
    for task in described["pipeline"]["tasks"]:
        task_type = str(task["task_type"])
        if task_type in ANOMALY:
            if _task_type_for(task_type, generation) != task_type:
                yield f"task {task['title']!r}: type {task_type} becomes {_task_type_for(task_type, generation)}"
            if own := [
                each["name"] for each in task.get("labels") or [] if each["name"] not in ("Normal", "Anomalous")
            ]:
                yield f"task {task['title']!r}: labels {', '.join(own)} become the server's Normal and Anomalous"


def create(client: Client, body: Mapping[str, Any]) -> Project:
    """Makes a project; sent once. Raises WebError; OutcomeUnknown when it may have been made."""
    answer = client.json("POST", f"{client.home}/projects", body)
    if not isinstance(answer, dict) or not answer.get("id"):
        raise errors.OutcomeUnknown("the new project's id did not come back")
    return answer


def takes_labels(task: Mapping[str, Any], generation: Generation) -> bool:
    """Whether a task of a project that is there takes further labels: Geti's do, but for those whose labels are the
    server's own or the points of a skeleton. Of SC it was never seen.
    """
    return generation.era != "SC" and task["task_type"] not in (*ANOMALY, "keypoint_detection")


def add_labels(client: Client, project: Project, wanted: Sequence[tuple[str, Mapping[str, Any]]]) -> Project:
    """Adds labels to tasks of a project, as (task id, label); those that are there already are not added again.

    Repeating would make a second label of the name: after a lost answer the project is looked at first. Parents are not
    set. Raises WebError.
    """
    for attempt in range(2):
        found = _without_labels(project, wanted)
        if not found:
            break
        tasks = [
            {**task, "labels": [*(task.get("labels") or []), *found.get(str(task["id"]), [])]}
            if task["task_type"] not in UNTRAINED
            else task
            for task in project["pipeline"]["tasks"]
        ]
        body = {"id": project["id"], "name": project["name"], "pipeline": {**project["pipeline"], "tasks": tasks}}
        try:
            client.json("PUT", f"{client.home}/projects/{project['id']}", body)
        except errors.OutcomeUnknown:
            if attempt:
                raise
        project = get_project(client, str(project["id"]))
    return project


def _without_labels(
    project: Project, wanted: Sequence[tuple[str, Mapping[str, Any]]]
) -> dict[str, list[dict[str, Any]]]:
    """The labels that are still to be added, by task, as they are sent."""
    by_id = {str(task["id"]): task for task in trainable_tasks(project)}
    found: dict[str, list[dict[str, Any]]] = {}
    for task_id, label in wanted:
        there = by_id[task_id].get("labels") or []
        if any(each["name"] == label["name"] for each in there):
            continue
        body = {"name": label["name"]}
        body |= {key: label[key] for key in ("color", "hotkey") if label.get(key)}
        # A group of its own beside an exclusive one would make a label of several out of one of one.
        groups = list(dict.fromkeys(each["group"] for each in there if each.get("group") and not is_empty(each)))
        group = label.get("group")
        if group not in groups and len(groups) == 1:
            group = groups[0]
        found.setdefault(task_id, []).append({**body, **({"group": group} if group else {})})
    return found


def create_dataset(client: Client, project_id: str, name: str) -> Dataset:
    """Makes a further dataset, or finds the one of that name that an earlier attempt made. Raises WebError."""
    path = f"{client.home}/projects/{project_id}/datasets"
    try:
        answer = client.json("POST", path, {"name": name}, repeat=True)
        return Dataset(str(answer["id"]), str(answer.get("name", name)), bool(answer.get("use_for_training")))
    except errors.Refused as error:
        if error.status != 409:
            raise
        listed = client.get(path)
        for each in listed.get("datasets") or []:
            if each.get("name") == name:
                return Dataset(str(each["id"]), name, bool(each.get("use_for_training")))
        raise


def statistics(client: Client, project_id: str, dataset_id: str) -> Mapping[str, int] | None:
    """The server's own counts of a dataset (images, videos, annotated_images, …); None where it keeps none."""
    try:
        answer = client.get(f"{client.home}/projects/{project_id}/datasets/{dataset_id}/statistics")
    except (errors.NotFound, errors.Refused, errors.NotJson):
        return None
    overview = answer.get("overview") if isinstance(answer, dict) else None
    if not isinstance(overview, dict):
        return None
    return {key: value for key, value in overview.items() if isinstance(value, int)}
