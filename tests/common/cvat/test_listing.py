"""Listings neither skip nor repeat, whatever changes meanwhile; fingerprints notice every change."""

from __future__ import annotations

import json
import random

import pytest

from common.cvat import listing
from common.cvat.errors import CvatError, NotFound, Refused
from common.cvat.listing import ListingIncomplete, inventory, look_at, pages
from tests.common.making import a_source


class Listed:
    """A server's list of items in the hands of a test: filters by id like CVAT, unless told not to."""

    def __init__(self, ids, *, filters=True, between=lambda listed: None):
        self.ids, self.filters, self.between, self.asked = list(ids), filters, between, []

    def get(self, _path, params=None, deadline=None):
        if self.asked:
            self.between(self)
        self.asked.append(params)
        ids, wanted = sorted(self.ids), params.get("filter")
        if wanted is not None:
            if self.filters == "refuses":
                raise Refused("unknown filter", 400, "unknown filter")
            if self.filters:
                last = json.loads(wanted)["and"][0][">"][1]
                ids = [number for number in ids if number > last]
        size, page = params["page_size"], params.get("page", 1)
        shown = ids[(page - 1) * size : page * size]
        more = page * size < len(ids)
        return {"count": len(ids), "next": "x" if more else None, "results": [{"id": number} for number in shown]}


def ids_of(client, page_size=3):
    return [item["id"] for page in pages(client, "/api/x", page_size=page_size) for item in page]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6, 7, 100])
@pytest.mark.parametrize("filters", [True, False, "refuses"])
def test_every_item_is_listed_once_in_order(count, filters):
    assert ids_of(Listed(range(1, count + 1), filters=filters)) == list(range(1, count + 1))


@pytest.mark.parametrize("seed", range(20))
def test_deleting_and_creating_while_paging_neither_skips_nor_repeats(seed):
    chance = random.Random(seed)
    stays = set(range(0, 60, 2))

    def change(listed):
        goes = [number for number in listed.ids if number not in stays]
        if goes and chance.random() < 0.8:
            listed.ids.remove(chance.choice(goes))
        if chance.random() < 0.5:
            listed.ids.append(max(listed.ids) + 1)

    listed = Listed(range(60), between=change)
    found = ids_of(listed, page_size=7)
    assert len(found) == len(set(found))
    assert stays <= set(found)


def test_a_server_that_ignores_the_filter_is_read_by_number():
    listed = Listed(range(10), filters=False)
    assert ids_of(listed) == list(range(10))
    assert [params.get("page") for params in listed.asked] == [None, None, 1, 2, 3, 4]


def test_numbered_pages_that_change_meanwhile_are_read_again(monkeypatch):
    changes = iter([7])

    def change(listed):
        if listed.asked[-1].get("page") == 2:
            for gone in changes:
                listed.ids.remove(gone)

    assert ids_of(Listed(range(10), filters=False, between=change)) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_numbered_pages_that_never_hold_still_are_not_trusted():
    listed = Listed(range(10), filters=False, between=lambda each: each.ids.append(max(each.ids) + 1))
    with pytest.raises(ListingIncomplete, match="kept changing"):
        ids_of(listed)


def test_a_server_that_lists_less_than_it_counts_is_not_believed():
    class Short(Listed):
        def get(self, path, params=None, deadline=None):
            return super().get(path, params) | {"count": 12}

    with pytest.raises(ListingIncomplete, match="says that there are 12, but lists 10"):
        ids_of(Short(range(10)))


def test_an_empty_page_that_promises_more_ends_the_listing():
    class Endless(Listed):
        def get(self, path, params=None, deadline=None):
            assert len(self.asked) < 50
            return super().get(path, params) | {"next": "x"}

    assert ids_of(Endless([])) == []
    assert ids_of(Endless(range(5))) == list(range(5))


def page(*results, **more):
    return {"count": 1, "next": None, "results": list(results)} | more


@pytest.mark.parametrize(
    "answer",
    [
        None, [], {}, {"results": []}, {"results": {}, "count": 1}, page(None), page("x"), page({}), page({"id": "7"}),
        page({"id": None}), page({"id": True}), page(count=None), page(count="1"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_is_named(answer):
    class Odd(Listed):
        def get(self, path, params=None, deadline=None):
            return answer

    with pytest.raises(CvatError, match="not a list"):
        ids_of(Odd([]))


@pytest.fixture
def server(sandbox):
    server = sandbox()
    world = server.world
    world.add_org("lab")
    road = world.add_project("road", labels=[{"name": "car"}])
    world.add_task(road, "one", frames=4, segment_size=2)
    world.add_task(road, "film", kind="video")
    world.add_project("empty")
    world.add_task(world.add_project("in the lab", "lab", labels=[{"name": "car"}]), "lab task")
    world.add_task(None, "loose", labels=[{"name": "car"}])
    world.add_empty_task("no data", road)
    world.fail_upload(world.add_empty_task("broken"))
    return server


def states(client):
    return {state.source.name: state for state in inventory(client).states}


def test_everything_of_all_organizations_is_listed_with_its_kind(server, signed_in):
    listed = inventory(signed_in(server))
    assert (listed.projects, listed.tasks) == (3, 6)
    assert {str(state.source): state.source.name for state in listed.states} == {
        "project 1": "road",
        "project 2": "empty",
        "project 3": "in the lab",
        "task 4": "loose",
        "task 6": "broken",
    }
    found = {state.source.name: state for state in listed.states}
    assert (found["road"].has_video, found["road"].has_images, found["road"].tasks_without_data) == (True, True, 1)
    assert found["road"].fingerprint.tasks == 3
    assert not found["empty"].has_data
    assert (found["broken"].has_data, found["broken"].tasks_without_data) == (False, 1)
    assert found["in the lab"].source.organization_id is not None


def test_small_pages_say_the_same_as_large_ones(server, signed_in, monkeypatch):
    client = signed_in(server)
    whole = inventory(client)
    monkeypatch.setattr(listing.pages, "__defaults__", (None, 2))
    assert inventory(client) == whole


def test_a_close_look_has_the_same_fingerprint_as_the_listing(server, signed_in):
    client = signed_in(server)
    for state in inventory(client).states:
        look = look_at(client, state.source)
        assert look.state == state
        assert sum(len(jobs) for jobs in look.jobs.values()) == state.fingerprint.jobs


def test_listing_costs_the_same_few_questions_whatever_the_number_of_projects(server, signed_in):
    client = signed_in(server)
    for number in range(50):
        server.world.add_project(f"more {number}")
    server.log.clear()
    inventory(client)
    assert len(server.log) == 3


TABLE = [
    ("annotations", lambda world: world.add_shape(1, "car"), True),
    ("job state", lambda world: world.set_job(1, state="completed"), True),
    ("job stage", lambda world: world.set_job(1, stage="validation"), True),
    ("task name", lambda world: world.patch_task(world.task(1), {"name": "other"}), True),
    ("deleted frame", lambda world: world.delete_frame(1, 1), True),
    ("project label", lambda world: world.change_labels(world.project(1), [{"name": "bus"}]), True),
    ("task created", lambda world: world.add_task(1, "new"), True),
    ("task deleted", lambda world: world.delete_task(2), True),
    ("project renamed", lambda world: world.rename_project(1, "other"), True),
    ("same values again", lambda world: world.patch_project(world.project(1), {"name": "road"}), False),
    ("another project", lambda world: world.rename_project(2, "other"), False),
    ("nothing", lambda world: None, False),
]


@pytest.mark.parametrize(("change", "changes"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_every_row_of_the_table_of_dates_changes_the_fingerprint_or_not(server, signed_in, change, changes):
    client = signed_in(server)
    before = states(client)
    change(server.world)
    after = {state.source.id: state for state in inventory(client).states if state.source.kind == "project"}
    assert (after[1].fingerprint.digest != before["road"].fingerprint.digest) == changes
    assert after[3].fingerprint == before["in the lab"].fingerprint
    if changes:
        assert after[1].fingerprint.newest > before["road"].fingerprint.newest or after[1].fingerprint.tasks == 2


def test_a_source_that_is_gone_is_not_found(server, signed_in):
    client = signed_in(server)
    source = states(client)["road"].source
    server.world.delete_project(1)
    with pytest.raises(NotFound):
        look_at(client, source)


def test_tasks_of_a_project_that_the_account_cannot_see_are_listed_by_themselves_and_unlisted_projects_are_entered():
    lists = {
        "/api/tasks": [{"id": 10, "name": "hidden", "created_date": "2026-01-01", "project_id": 9, "size": 1},
                       {"id": 11, "name": "new", "created_date": "2026-01-01", "project_id": 8, "size": 1}],
        "/api/jobs": [{"id": 5, "task_id": 10, "project_id": 9, "updated_date": "x"}],
    }  # fmt: skip

    class Partial:
        url = "https://x"
        projects: tuple[int, ...] = (1,)

        def get(self, path, params=None, deadline=None):
            if path == "/api/projects/9":
                raise NotFound("no")
            if path == "/api/projects/8":
                return {"id": 8, "name": "not listed", "created_date": "2026-01-01", "updated_date": "y"}
            rows = lists.get(path, [{"id": n, "name": "p", "created_date": "2026-01-01"} for n in self.projects])
            return {"count": len(rows), "next": None, "results": rows}

    client = Partial()
    for client.projects in ((), (1,), (1, 100)):
        seen = []
        listed = inventory(client, lambda kind, number, what, item, seen=seen: seen.append((kind, number, what)))
        assert [str(state.source) for state in listed.states] == [
            *(f"project {n}" for n in client.projects), "project 8", "task 10",
        ]  # fmt: skip
        [unlisted] = [state for state in listed.states if state.source.id == 8]
        assert (unlisted.source.name, unlisted.fingerprint.tasks, unlisted.fingerprint.newest) == ("not listed", 1, "y")
        assert seen.index(("project", 8, "project")) < seen.index(("project", 8, "task"))
        [state] = [state for state in inventory(client).states if state.source.kind == "task"]
        assert state.fingerprint.jobs == 1


@pytest.mark.parametrize(
    ("path", "lost"), [("/api/jobs", "task_id"), ("/api/tasks", "name"), ("/api/projects", "created_date")]
)
def test_items_of_another_shape_are_the_servers_fault_and_never_ours(server, signed_in, path, lost):
    client = signed_in(server)
    source, get = states(client)["road"].source, client.get

    def altered(asked, params=None, deadline=None):
        answer = get(asked, params, deadline=deadline)
        for item in answer["results"] if asked == path else [answer] if asked.startswith(path) else []:
            del item[lost]
        return answer

    client.get = altered
    if path == "/api/jobs":
        with pytest.raises(CvatError, match="the server's list is not as CVAT gives it"):
            inventory(client)
    with pytest.raises(CvatError, match="GET /api/projects/1 is not as CVAT gives it"):
        look_at(client, source)
    client.get = lambda *_, **__: []
    with pytest.raises(CvatError, match="is not as CVAT gives it"):
        look_at(client, source)


def test_one_moment_is_one_creation_date_however_the_server_writes_it():
    items = [
        {"id": 1, "name": "x", "created_date": text} for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00")
    ]
    one, other = (listing.source_of("s", "project", item) for item in items)
    assert one == other
    assert one.key != a_source().key
