"""What CVAT's archive loses comes back: from a server that lost everything to another that knows only the people."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from reviewed import PASSWORD, QUALITY, SignIn, add_people, add_reviewed_project
from running import path_of, record_of, run_backup

from common.backups.sidecar import Sidecar, newest_sidecar
from common.cvat.client import Client
from common.restoring.metadata import Applied, RestoredSource, reapply
from common.restoring.place import paired
from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault
from sandbox.cvat.restore import restore_project, restore_task
from sandbox.cvat.routes import Call
from sandbox.cvat.world import Project

pytestmark = pytest.mark.usefixtures("no_waiting")


@dataclass
class Saved:
    """A backup of the reviewed project, and the archive beside its sidecar."""

    sidecar: Sidecar
    archive: Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """Made once; the server is gone afterwards."""
    folder = tmp_path_factory.mktemp("saved")

    def sign_in(server: CvatSandbox, **changes: str) -> Client:
        return a_client(server, folder, **changes)

    with CvatSandbox(samples="none", export_seconds=0.0, anonymous_per_minute=10_000) as server:
        server.world.add_user("carol", PASSWORD)
        add_people(server, "alice", "bob")
        project = add_reviewed_project(server, sign_in)
        server.world.patch_task(server.world.tasks[project.task_ids[-1]], {"assignee_id": 2})  # carol
        done = run_backup(server, folder)
        assert done.code == 0, done.said
        archive = path_of(done.folder, record_of(done.folder, "project", project.id))
        sidecar = newest_sidecar(archive.parent)
        assert sidecar is not None
        yield Saved(sidecar, archive)


def a_client(server: CvatSandbox, folder: Path, **changes: str) -> Client:
    from common.cvat.client import connect
    from common.saving.settings import BackupSettings
    from common.waiting import StopSignal

    raw = {
        "CVAT_URL": server.url,
        "CVAT_USERNAME": server.username,
        "CVAT_PASSWORD": server.password,
        "CVAT_SERVER_WAIT_SECONDS": "2",
    }
    return connect(BackupSettings.model_validate(raw | changes), StopSignal())[0]


@pytest.fixture
def target(sandbox: Callable[..., CvatSandbox]) -> CvatSandbox:
    """Another server: the same people but carol under other ids, the same organization, other ids everywhere."""
    server = sandbox()
    for name in ("zoe", "yan"):
        server.world.add_user(name, PASSWORD)
    add_people(server, "bob", "alice")
    server.world.add_task(server.world.add_project("in the way"), "frames", 2)
    server.world.add_cloud_storage("another bucket")
    server.world.add_cloud_storage("scans-bucket")
    return server


def restored_in(server: CvatSandbox, saved: Saved, org: str | None = "beta-lab") -> tuple[Project, RestoredSource]:
    """As CVAT's own import makes it."""
    world = server.world
    org_id = world.org_named(org).id if org else None
    project = world.projects[restore_project(world, saved.archive, world.user_named(server.username), org_id)]
    return project, RestoredSource("project", project.id, tuple(sorted(project.task_ids)))


def outcomes(applied: list[Applied], outcome: str) -> dict[str, str]:
    return {line.what: line.why for line in applied if line.outcome == outcome}


def essence(sidecar: Sidecar) -> Any:
    """A sidecar without what no restore can bring back."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            value = vars(value)
        if isinstance(value, dict):
            if "username" in value:
                return value["username"]
            dropped = ("id", "job_id", "created_at", "updated_at", "cloud_storage_id", "joined_at", "members")
            return {key: plain(item) for key, item in value.items() if key not in dropped}
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    found = plain(sidecar)
    for name in ("source", "server", "stamp", "read_at", "read_by", "tool_version"):
        del found[name]
    numbers = {job.id: number for number, job in enumerate(job for task in sidecar.tasks for job in task.jobs)}
    found["tasks"] = [task for task in found["tasks"] if task["has_data"]]
    for issue, before in zip(found["issues"], sidecar.issues, strict=True):
        issue["job"] = numbers[before.job_id]
    for hook in found["webhooks"]:
        del hook["owner"]
    return found


def test_everything_comes_back_on_another_server(
    saved: Saved, target: CvatSandbox, signed_in: SignIn, tmp_path: Path
) -> None:
    project, restored = restored_in(target, saved)
    applied = reapply(signed_in(target), saved.sidecar, restored)

    done = run_backup(target, tmp_path)
    folder = path_of(done.folder, record_of(done.folder, "project", project.id)).parent
    copy = newest_sidecar(folder)
    assert copy is not None
    before, after = essence(saved.sidecar), essence(copy)
    said = [
        f"[from a backup: {comment.owner and comment.owner.username}, {comment.created_at[:19]}Z]\n{comment.message}"
        for issue in saved.sidecar.issues
        for comment in issue.comments
    ]
    assert [comment.message for issue in copy.issues for comment in issue.comments] == said
    for each in (before, after):
        for issue in each["issues"]:
            assert len(issue.pop("comments")) in (1, 3)
            del issue["owner"]
    assert before["tasks"][-1]["assignee"] == "carol"
    before["tasks"][-1]["assignee"] = None  # nobody of that name is there
    before["organization_webhooks"] = []
    assert after == before

    assert set(outcomes(applied, "could not")) == {
        "user carol", "ids and dates", f"task {saved.sidecar.tasks[1].id} (nothing yet)", "webhook https://example.com/all",
    }  # fmt: skip
    came = outcomes(applied, "came back")
    assert came["stages, states and assignees of jobs"] == "9 jobs"
    assert came["review issues with their comments"] == "3 issues, 5 comments"
    assert "without its secret" in came["webhook https://example.com/on"]
    assert set(outcomes(applied, "kept as text")) == {"authors and dates of comments"}


def test_applying_twice_makes_nothing_twice(saved: Saved, target: CvatSandbox, signed_in: SignIn) -> None:
    project, restored = restored_in(target, saved)
    client = signed_in(target)
    first = reapply(client, saved.sidecar, restored)
    world = target.world
    counts = len(world.issues), len(world.comments), len(world.webhooks)
    target.log.clear()
    assert reapply(client, saved.sidecar, RestoredSource("project", project.id)) == first
    assert (len(world.issues), len(world.comments), len(world.webhooks)) == counts
    changes = [exchange.line for exchange in target.log if not exchange.line.startswith(("GET", "HEAD"))]
    assert [line for line in changes if "validation_layout" not in line] == []


def test_a_server_that_ignores_what_it_is_asked_for_confuses_nobody(
    saved: Saved, target: CvatSandbox, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As CVAT does with every query parameter that it does not know: 200 and everything (measured).
    _, restored_before = restored_in(target, saved)
    client = signed_in(target)
    reapply(client, saved.sidecar, restored_before)
    world = target.world
    plain = Call.page

    def page(call: Call, items: Any, write: Any, terms: Any, search: Any = (), exact: Any = ()) -> Any:
        return plain(call, items, write, terms, search, ())

    monkeypatch.setattr(Call, "page", page)
    project, restored = restored_in(target, saved)
    applied = reapply(client, saved.sidecar, RestoredSource("project", project.id))
    assert outcomes(applied, "came back")["review issues with their comments"] == "3 issues, 5 comments"
    assert (len(world.issues), len(world.comments), len(world.webhooks)) == (6, 10, 4)
    owners = [task.owner_id for task in world.tasks_of(project)]
    assert owners == [world.user_named(name).id for name in ("bob", "alice", "alice")]
    assert {world.jobs[row["job"]].task_id for row in world.issues.values() if row["id"] > 3} <= set(restored.task_ids)


def test_issues_that_look_alike_stay_as_many_as_they_were(saved: Saved, target: CvatSandbox, signed_in: SignIn) -> None:
    one = saved.sidecar.issues[1]
    comments = (*one.comments, one.comments[-1])
    sidecar = dataclasses.replace(saved.sidecar, issues=(one, dataclasses.replace(one, id=99, comments=comments)))
    restored = restored_in(target, saved)[1]
    for _ in range(2):
        applied = reapply(signed_in(target), sidecar, restored)
        assert outcomes(applied, "came back")["review issues with their comments"] == "2 issues, 7 comments"
        assert (len(target.world.issues), len(target.world.comments)) == (2, 7)


def test_a_copy_of_a_copy_names_the_first_author(saved: Saved, target: CvatSandbox, signed_in: SignIn) -> None:
    text = "[from a backup: dora, 2025-01-02T03:04:05Z]\nToo wide."
    comments = (dataclasses.replace(saved.sidecar.issues[0].comments[0], message=text),)
    sidecar = dataclasses.replace(
        saved.sidecar, issues=(dataclasses.replace(saved.sidecar.issues[0], comments=comments),)
    )
    reapply(signed_in(target), sidecar, restored_in(target, saved)[1])
    assert [row["message"] for row in target.world.comments.values()] == [text]


@pytest.mark.parametrize("activate", [True, False])
def test_webhooks_are_silent_until_the_end(
    saved: Saved, target: CvatSandbox, signed_in: SignIn, activate: bool
) -> None:
    project, restored = restored_in(target, saved)
    seen: list[tuple[str, list[bool]]] = []
    plain = target.answer

    def answer(request: Any, faults: Any) -> Any:
        hooks = [row["is_active"] for row in target.world.webhooks.values()]
        seen.append((f"{request.method} {request.path}", hooks))
        return plain(request, faults)

    target.answer = answer  # type: ignore[method-assign]
    applied = reapply(signed_in(target), saved.sidecar, restored, activate_webhooks=activate)
    changes = [(line, hooks) for line, hooks in seen if not line.startswith("GET") and "auth" not in line]
    assert not any(any(hooks) for line, hooks in changes[:-1])
    hooks = {row["target_url"]: row["is_active"] for row in target.world.webhooks.values()}
    assert hooks == {"https://example.com/on": activate, "https://example.com/off": False}
    assert ("left inactive" in outcomes(applied, "came back")["webhook https://example.com/on"]) is not activate
    assert all(row["project_id"] == project.id for row in target.world.webhooks.values())


def test_somebody_who_is_no_superuser_sets_what_he_may(saved: Saved, target: CvatSandbox, signed_in: SignIn) -> None:
    world = target.world
    bob = world.user_named("bob")
    project_id = restore_project(world, saved.archive, bob, world.org_named("beta-lab").id)
    client = signed_in(target, CVAT_USERNAME="bob", CVAT_PASSWORD=PASSWORD)
    applied = reapply(client, saved.sidecar, RestoredSource("project", project_id))
    failed = outcomes(applied, "could not")
    # He is not shown who alice is (measured), so she is assigned nothing, and owners are not his to set.
    assert "user alice" in failed
    assert world.projects[project_id].owner_id == bob.id
    assert world.projects[project_id].assignee_id == bob.id
    assert outcomes(applied, "came back")["review issues with their comments"] == "3 issues, 5 comments"
    assert world.jobs_of(world.tasks[world.projects[project_id].task_ids[0]])[0].stage == "validation"


def test_a_read_only_token_changes_nothing_and_every_line_says_so(
    saved: Saved, target: CvatSandbox, signed_in: SignIn
) -> None:
    restored = restored_in(target, saved)[1]
    token = target.world.add_access_token(target.world.user_named(target.username), "reads", read_only=True).value
    applied = reapply(signed_in(target, CVAT_ACCESS_TOKEN=token), saved.sidecar, restored)
    failed = outcomes(applied, "could not")
    assert {"review issues with their comments", "quality settings", "webhook https://example.com/on"} <= set(failed)
    assert all("403" in failed[what] for what in ("quality settings", "stages, states and assignees of jobs"))
    assert not target.world.issues


FAULTS = [
    Fault("POST /api/issues", "cut", times=2),
    Fault("POST /api/issues", "status", status=502, after_handling=True, times=2),
    Fault("POST /api/comments", "status", status=504, after_handling=True, times=1),
    Fault("POST /api/comments", "cut", times=1),
    Fault("POST /api/webhooks", "status", status=504, after_handling=True, times=1),
    Fault("PATCH /api/jobs", "status", status=503, times=3),
    Fault("GET /api/users", "status", status=502, times=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.match} {fault.kind} {fault.after_handling}")
def test_a_server_that_stumbles_gets_everything_exactly_once(
    saved: Saved, target: CvatSandbox, signed_in: SignIn, fault: Fault
) -> None:
    restored = restored_in(target, saved)[1]
    client = signed_in(target)
    target.faults.add(fault)
    applied = reapply(client, saved.sidecar, restored)
    target.faults.clear()
    applied = reapply(client, saved.sidecar, restored)
    assert outcomes(applied, "came back")["review issues with their comments"] == "3 issues, 5 comments"
    assert (len(target.world.issues), len(target.world.comments), len(target.world.webhooks)) == (3, 5, 2)


BROKEN = [
    ("PATCH /api/projects", "owners of the project and its tasks"),
    ("PATCH /api/jobs/", "stages, states and assignees of jobs"),
    ("PATCH /api/tasks/[0-9]+/validation_layout", "disabled validation frames"),
    ("GET /api/quality/settings", "quality settings"),
    ("GET /api/consensus/settings", "consensus settings"),
    ("POST /api/issues", "review issues with their comments"),
    ("GET /api/issues", "review issues with their comments"),
    ("GET /api/cloudstorages", "storage settings"),
    ("POST /api/webhooks", "webhook https://example.com/on"),
    ("GET /api/memberships", "organization"),
]


@pytest.mark.parametrize(("match", "what"), BROKEN)
def test_one_failure_is_one_line_and_stops_nothing(
    saved: Saved, target: CvatSandbox, signed_in: SignIn, match: str, what: str
) -> None:
    restored = restored_in(target, saved)[1]
    client = signed_in(target)
    target.faults.add(Fault(match, "status", status=403, times=None, body={"detail": "no"}))
    applied = reapply(client, saved.sidecar, restored)
    assert "403" in outcomes(applied, "could not")[what]
    came = set(outcomes(applied, "came back"))
    assert {"assignees of the project and its tasks", "webhook https://example.com/off"} & came
    assert len(came) >= 6


def test_a_server_that_goes_away_is_not_asked_for_ever(saved: Saved, target: CvatSandbox, tmp_path: Path) -> None:
    restored = restored_in(target, saved)[1]
    client = a_client(target, tmp_path, CVAT_SERVER_WAIT_SECONDS="0")
    target.faults.add(Fault("PATCH /api/jobs/|/api/quality", "status", status=502, times=None))
    applied = reapply(client, saved.sidecar, restored)
    tried = [line for line in applied if "502" in line.why and "not tried" not in line.why]
    assert [line.what for line in tried] == ["stages, states and assignees of jobs"]
    assert outcomes(applied, "could not")["webhooks"].startswith("not tried")


def test_restored_elsewhere_it_says_so(saved: Saved, target: CvatSandbox, signed_in: SignIn) -> None:
    applied = reapply(signed_in(target), saved.sidecar, restored_in(target, saved, org=None)[1])
    assert outcomes(applied, "could not")["organization beta-lab"] == "it was restored into the personal space"


def test_a_loose_task_gets_its_metadata_too(
    sandbox: Callable[..., CvatSandbox], signed_in: SignIn, tmp_path: Path
) -> None:
    server = sandbox()
    world = server.world
    add_people(server, "alice", "bob")
    task = world.add_task(None, "loose", 4, segment_size=2, owner=world.user_named("bob"))
    world.patch_task(task, {"assignee_id": world.user_named("alice").id})
    world.set_job(world.jobs_of(task)[1], stage="acceptance", state="rejected")
    row = next(row for row in world.quality_settings.values() if row["task_id"] == task.id)
    row.update(QUALITY)
    done = run_backup(server, tmp_path)
    archive = path_of(done.folder, record_of(done.folder, "task", task.id))
    sidecar = newest_sidecar(archive.parent)
    assert sidecar is not None
    copy = world.tasks[restore_task(world, archive, world.user_named(server.username), None)]
    applied = reapply(signed_in(server), sidecar, RestoredSource("task", copy.id, (copy.id,)))
    assert (copy.owner_id, copy.assignee_id) == (task.owner_id, task.assignee_id)
    assert [(j.stage, j.state, j.status) for j in world.jobs_of(copy)] == [
        (j.stage, j.state, j.status) for j in world.jobs_of(task)
    ]
    row = next(row for row in world.quality_settings.values() if row["task_id"] == copy.id)
    assert QUALITY.items() <= row.items()
    assert set(outcomes(applied, "could not")) == {"ids and dates"}


# --- which task is which ------------------------------------------------------------------------------------------


def jobs(*ranges: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"type": "annotation", "start_frame": start, "stop_frame": stop} for start, stop in ranges]


PAIRS = [
    ("all there", ["a", "b", "a"], ["a", "b", "a"], [(0, 0), (1, 1), (2, 2)]),
    ("one is missing", ["a", "b", "c"], ["a", "c"], [(0, 0), (2, 1)]),
    ("one came later", ["a", "c"], ["a", "b", "c"], [(0, 0), (1, 2)]),
    ("renamed", ["a", "b", "c"], ["a", "x", "c"], [(0, 0), (2, 2)]),
    ("only one on both sides", ["a"], ["restoring a"], [(0, 0)]),
    ("in another order", ["a", "b"], ["b", "a"], [(0, 1), (1, 0)]),
    ("nothing there", ["a", "b"], [], []),
]


@pytest.mark.parametrize(
    ("_title", "old", "new", "pairs"), PAIRS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_tasks_are_paired_by_name_jobs_and_order(
    saved: Saved, _title: str, old: list[str], new: list[str], pairs: list[tuple[int, int]]
) -> None:
    template = saved.sidecar.tasks[0]
    tasks = [dataclasses.replace(template, id=number, name=name, jobs=()) for number, name in enumerate(old)]
    assert sorted((task.id, index) for task, index in paired(tasks, [(name, []) for name in new])) == pairs


def test_tasks_of_one_name_are_told_apart_by_their_jobs(saved: Saved) -> None:
    first, _, checked, _ = saved.sidecar.tasks
    assert first.name == checked.name
    present = [("same name", [vars(job) for job in checked.jobs]), ("votes", jobs((0, 2)))]
    assert [(task.id, index) for task, index in paired([first, checked], present)] == [(checked.id, 0)]
