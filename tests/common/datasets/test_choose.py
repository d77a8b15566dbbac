"""Which tasks are chosen, of what the server answers."""

from __future__ import annotations

from typing import Any

import pytest

from common.cvat.errors import CvatError
from common.datasets.choose import choose, tell_of_project
from common.datasets.settings import DatasetSettings

TASK = {"id": 1, "name": "a", "size": 3, "created_date": "2026-11-20T00:00:00Z", "updated_date": "2026-11-20T00:00:00Z"}
JOB = {"id": 7, "task_id": 1, "updated_date": "2026-11-20T00:00:00Z", "stage": "acceptance", "type": "annotation"}


class Answers:
    """A client whose every answer is known; of a listing, the one item that it has."""

    url = "http://cvat"

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "tasks": TASK,
            "jobs": JOB,
            "projects": {"name": "p"},
            "labels": {"id": 1, "name": "l"},
        } | answers

    def get(self, path: str, params: Any = None, **_more: Any) -> Any:
        answer = self.answers[path.split("/")[2]]
        return answer if path.count("/") == 3 else {"count": 1, "next": None, "results": [answer]}


def settings(**values: Any) -> DatasetSettings:
    given = {"CVAT_URL": "http://cvat", "CVAT_DOWNLOAD_REQUIRED_STATUS": "null"}
    return DatasetSettings.model_validate(
        given | {f"CVAT_DOWNLOAD_{key.upper()}": value for key, value in values.items()}
    )


def tell(_line: str) -> None:
    pass


def without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}


@pytest.mark.parametrize("filters", [{}, {"task_ids": "1"}, {"required_status": "acceptance"}], ids=str)
def test_a_task_is_chosen_with_its_jobs(filters):
    client: Any = Answers(jobs=JOB | {"assignee": {"username": "ann"}})
    [task] = choose(client, settings(**filters), tell).tasks
    assert (task.id, task.size, [(job["id"], job["assignee"]) for job in task.jobs]) == (1, 3, [(7, "ann")])


@pytest.mark.parametrize("filters", [{}, {"task_ids": "1"}, {"required_status": "acceptance"}], ids=str)
@pytest.mark.parametrize(
    ("kind", "item"),
    [
        *[("tasks", without(TASK, key)) for key in ("name", "created_date", "updated_date")],
        ("tasks", TASK | {"size": "many"}),
        ("tasks", TASK | {"updated_date": None}),
        *[("jobs", without(JOB, key)) for key in ("task_id", "updated_date")],
        ("jobs", JOB | {"assignee": "x"}),
        ("jobs", JOB | {"updated_date": None}),
    ],
    ids=str,
)
def test_an_item_that_is_not_as_cvat_gives_it_is_called_that(filters, kind, item):
    client: Any = Answers(**{kind: item})
    with pytest.raises(CvatError, match=rf"GET /api/{kind}(/1)?: the answer is not as CVAT gives it") as caught:
        choose(client, settings(**filters), tell)
    assert "proxy" in caught.value.remedy


@pytest.mark.parametrize("project", [[], {}, None, "x"], ids=str)
def test_a_project_that_is_not_as_cvat_gives_it_is_called_that(project):
    client: Any = Answers(projects=project)
    with pytest.raises(CvatError, match="GET /api/projects/5: the answer is not as CVAT gives it"):
        tell_of_project(client, settings(project_id=5), tell)


def test_labels_that_are_not_as_cvat_gives_them_are_only_told():
    lines: list[str] = []
    client: Any = Answers(labels={"id": 1})
    tell_of_project(client, settings(project_id=5), lines.append)
    assert "Project labels cannot be read: GET /api/labels: the answer is not" in lines[-1]
