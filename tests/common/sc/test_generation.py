"""Generations are told by how a server answers; recorded answers of a real SC 1.1 among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from common.sc.generation import is_geti_3, organization_of, tell_generation, workspaces_of

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "recordings" / "sc"


def recorded(file: str, ending: str):
    path = next((each / file for each in (RECORDED,) if (each / file).exists()), None)
    if path is None:
        pytest.skip("the recordings of a real SC 1.1 are not here")
    for each in yaml.safe_load(path.read_text())["interactions"]:
        if each["request"]["uri"].endswith(ending) and each["response"]["status"]["code"] == 200:
            return json.loads(each["response"]["body"]["string"])
    raise AssertionError(f"no recording of {ending}")


def test_a_real_sc_is_told_although_its_date_lies_outside_of_what_others_expect():
    product = recorded("session.yaml", "/api/v1.0/product_info")
    projects = recorded("TestProjectManager.test_get_all_projects.yaml", "/projects/")
    found = tell_generation(product, projects, "/api/v1.0", in_organization=False, answers_query=False)
    assert found is not None
    assert (found.era, found.normalised, found.keeps_bytes, found.has_archives) == ("SC", True, False, False)
    assert found.number == (1, 1)


@pytest.mark.parametrize(("queries", "era"), [(True, "Geti 2"), (False, "Geti 1")])
def test_geti_is_told_by_whether_it_answers_queries(queries, era):
    found = tell_generation(
        {"product-version": "2.13.0"}, {"projects": []}, "/api/v1", in_organization=True, answers_query=queries
    )
    assert found is not None and found.era == era and not found.normalised


def test_anything_else_is_nothing_that_we_know():
    for answer in (None, [], {}, "x", {"items": None}):
        assert tell_generation({}, answer, "/api/v1", in_organization=False, answers_query=False) is None
    assert is_geti_3([], None) and not is_geti_3({"projects": []}, {"version": "2.0"})


def test_of_several_organizations_the_oldest_is_taken():
    rows = [
        {"organizationId": "young", "organizationCreatedAt": "2025-01-01"},
        {"organizationId": "old", "organizationCreatedAt": "2024-01-01"},
    ]
    assert organization_of({"organizations": rows}) == "old"
    assert organization_of({"organizationId": "single"}) == "single"
    assert organization_of({}) is None and organization_of(None) is None


def test_workspaces_come_as_a_list_or_in_an_object():
    assert workspaces_of([{"id": "1"}, {"no": "id"}]) == [{"id": "1"}] == workspaces_of({"workspaces": [{"id": "1"}]})
