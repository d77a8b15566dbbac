"""What CVAT's archive loses is kept beside it, in every run, and written only when it says something new."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from reviewed import (
    HOOK_SECRET,
    INVITATION,
    PASSWORD,
    QUALITY,
    SignIn,
    add_comment,
    add_issue,
    add_people,
    add_reviewed_project,
)
from running import add_project, assert_sound, record_of, run_backup

from common.backups.sidecar import Sidecar, newest_sidecar
from sandbox.cvat import CvatSandbox
from sandbox.cvat.faults import Fault
from sandbox.cvat.world import Project


def files(folder: Path, kind: str = "project", source_id: int = 1) -> list[Path]:
    """The sidecars of one source, oldest first."""
    return sorted(folder.glob(f"*/{kind}-{source_id}-*/metadata_*.json"))


def newest(folder: Path, kind: str = "project", source_id: int = 1) -> Sidecar:
    [parent] = folder.glob(f"*/{kind}-{source_id}-*")
    found = newest_sidecar(parent)
    assert found is not None
    return found


@pytest.fixture
def lab(server: CvatSandbox, signed_in: SignIn) -> tuple[CvatSandbox, Project]:
    add_people(server, "alice", "bob")
    return server, add_reviewed_project(server, signed_in)


def test_a_sidecar_holds_everything_that_the_archive_loses(lab: tuple[CvatSandbox, Project], tmp_path: Path) -> None:
    server, project = lab
    done = run_backup(server, tmp_path)
    assert done.code == 0
    kept = newest(done.folder, source_id=project.id)
    assert (kept.owner.username, kept.assignee.username) == ("alice", "bob")  # type: ignore[union-attr]
    assert kept.source_storage is not None
    assert kept.source_storage["resource"] == "scans-bucket"
    assert [task.name for task in kept.tasks] == ["same name", "nothing yet", "same name", "votes"]
    assert [task.id for task in kept.tasks] == sorted(task.id for task in kept.tasks)
    first, empty, checked, voted = kept.tasks
    assert [(job.stage, job.state, job.assignee and job.assignee.username) for job in first.jobs] == [
        ("validation", "in progress", "alice"),
        ("acceptance", "completed", "bob"),
        ("annotation", "new", None),
    ]
    assert (empty.has_data, empty.jobs) == (False, ())
    assert (checked.validation_mode, checked.disabled_frames) == ("gt", (4,))
    assert QUALITY.items() <= (checked.quality or {}).items()
    assert (kept.quality or {})["iou_threshold"] == 0.9
    assert voted.consensus == {"iou_threshold": 0.4, "quorum": 0.75}
    said = [[(c.owner.username, c.message) for c in issue.comments if c.owner] for issue in kept.issues]
    assert said == [
        [("bob", "The box is too wide.")],
        [("alice", "Wo ist die Ampel?\nIch sehe keine — исправлю."), ("bob", "There."), ("alice", "There.")],
        [("bob", "Is this one right?")],
    ]
    assert [issue.resolved for issue in kept.issues] == [False, True, False]
    assert [(hook.target_url, hook.is_active) for hook in kept.webhooks] == [
        ("https://example.com/on", True),
        ("https://example.com/off", False),
    ]
    assert kept.organization is not None
    assert (kept.organization.slug, kept.organization.contact) == ("beta-lab", {"email": "lab@example.com"})
    assert [(m.user.username, m.role) for m in kept.organization.members] == [
        ("admin", "owner"), ("alice", "maintainer"), ("bob", "maintainer"),
    ]  # fmt: skip
    assert [hook.target_url for hook in kept.organization_webhooks] == ["https://example.com/all"]
    assert kept.not_readable == {}
    assert kept.stamp <= record_of(done.folder, "project", project.id).stamp
    assert_sound(done.folder)


def test_no_secret_gets_into_a_sidecar(lab: tuple[CvatSandbox, Project], tmp_path: Path) -> None:
    server, _ = lab
    done = run_backup(server, tmp_path)
    text = "".join(path.read_text() for path in done.folder.glob("*/*/metadata_*.json"))
    assert "alice" in text
    for secret in (HOOK_SECRET, INVITATION, "invitation", "secret", PASSWORD, server.password):
        assert secret not in text


def test_a_sidecar_of_an_unchanged_project_is_written_when_an_issue_was_added_and_else_not(
    lab: tuple[CvatSandbox, Project], signed_in: SignIn, tmp_path: Path
) -> None:
    server, project = lab
    done = run_backup(server, tmp_path)
    before = {path: path.read_bytes() for path in done.folder.glob("*/*/metadata_*.json")}
    assert len(before) == 4
    done = run_backup(server, tmp_path)
    assert {path: path.read_bytes() for path in done.folder.glob("*/*/metadata_*.json")} == before

    time.sleep(1.1)  # stamps know seconds: the comment is to be later than the first backup
    add_comment(signed_in(server), newest(done.folder, source_id=project.id).issues[0].id, "One more thing.")
    server.log.clear()
    done = run_backup(server, tmp_path)
    assert set(done.outcomes().values()) == {"unchanged"}
    now = set(done.folder.glob("*/*/metadata_*.json"))
    [added] = now - before.keys()
    assert added.parent.name.startswith(f"project-{project.id}-")
    texts = [comment.message for comment in newest(done.folder, source_id=project.id).issues[0].comments]
    assert texts == ["The box is too wide.", "One more thing."]
    # The layout of a task that has not moved is not asked for again; everything else is a few listings.
    asked = Counter(exchange.line.split("?")[0] for exchange in server.log)
    assert not [line for line in asked if "validation_layout" in line]
    assert max(asked.values()) <= 2, asked
    # The comment belongs to the newest backup; once there is a newer one, the first has what it had.
    first = record_of(done.folder, "project", project.id).stamp
    for force, comments in (((), 2), (("--force",), 1)):
        run_backup(server, tmp_path, *force)
        belonging = newest_sidecar(added.parent, first)
        assert belonging is not None
        assert len(belonging.issues[0].comments) == comments


def test_mode_a_keeps_no_sidecars_and_mode_t_those_of_its_tasks(server: CvatSandbox, tmp_path: Path) -> None:
    server.world.add_task(None, "loose", 2)
    server.world.add_empty_task("nothing yet")
    done = run_backup(server, tmp_path, "--mode", "a", CVAT_BACKUP_EXCLUDE="project:1")
    assert not list(done.folder.glob("*/*/metadata_*.json"))
    done = run_backup(server, tmp_path, "--mode", "t")
    [path] = done.folder.glob("*/*/metadata_*.json")
    assert path.parent.name.startswith("task-4-loose")
    [task] = newest(done.folder, "task", 4).tasks
    assert (task.name, len(task.jobs)) == ("loose", 1)
    server.world.add_task(None, "another", 2)
    done = run_backup(server, tmp_path, "--mode", "p", CVAT_BACKUP_EXCLUDE="project:1")
    assert not files(done.folder, "project", 1)
    assert len(list(done.folder.glob("*/*/metadata_*.json"))) == 4


HIDDEN = [
    ("GET /api/issues", "issues", {"kind": "status", "status": 403}),
    ("GET /api/comments", "issues", {"kind": "status", "status": 404}),
    ("GET /api/webhooks", "webhooks", {"kind": "status", "status": 403}),
    ("GET /api/quality/settings", "quality", {"kind": "status", "status": 404}),
    ("GET /api/consensus/settings", "consensus", {"kind": "status", "status": 404}),
    ("GET /api/memberships", "organization", {"kind": "status", "status": 403}),
    ("GET /api/tasks/[0-9]+/validation_layout", "validation", {"kind": "status", "status": 403}),
]


@pytest.mark.parametrize(("match", "part", "fault"), HIDDEN, ids=lambda value: value if isinstance(value, str) else "")
def test_what_cannot_be_read_is_a_warning_and_the_older_sidecar_keeps_it(
    lab: tuple[CvatSandbox, Project], tmp_path: Path, match: str, part: str, fault: dict[str, Any]
) -> None:
    server, project = lab
    run_backup(server, tmp_path)
    whole = newest(tmp_path / "backups", source_id=project.id)
    server.faults.add(Fault(match, times=None, **fault))
    done = run_backup(server, tmp_path)
    assert done.code == 0
    if part == "validation":
        # Nothing has moved: it was not even asked for.
        assert "WARNING" not in done.out
        server.world.set_job(1, state="rejected")
        server.world.touch(server.world.tasks[whole.tasks[2].id])
        done = run_backup(server, tmp_path)
        assert done.code == 0
    assert "WARNING" in done.out
    [warning] = done.last_run()["warnings"]
    assert "cannot be read" in warning["warnings"][0]
    if part != "validation":
        assert len(files(done.folder, source_id=project.id)) == 1  # nothing new was learnt
        server.world.patch_project(project, {"bug_tracker": "https://example.com/bugs"})
        done = run_backup(server, tmp_path)
    path = files(done.folder, source_id=project.id)[-1]
    assert list(json.loads(path.read_text())["not_readable"]) == [part]
    now = newest(done.folder, source_id=project.id)
    assert now.not_readable == {}
    assert (now.issues, now.webhooks, now.organization) == (whole.issues, whole.webhooks, whole.organization)
    assert [(t.quality, t.consensus, t.disabled_frames) for t in now.tasks] == [
        (t.quality, t.consensus, t.disabled_frames) for t in whole.tasks
    ]
    server.faults.clear()
    done = run_backup(server, tmp_path)
    assert json.loads(files(done.folder, source_id=project.id)[-1].read_text())["not_readable"] == {}
    assert done.last_run()["warnings"] == []


def test_an_account_that_sees_a_part_keeps_that_part(
    lab: tuple[CvatSandbox, Project], signed_in: SignIn, tmp_path: Path
) -> None:
    server, project = lab
    add_issue(signed_in(server), server.world.jobs_of(server.world.tasks[1])[0].id, 0, "not alice's")
    token = server.world.add_access_token(server.world.user_named("alice"), "reads", read_only=True).value
    done = run_backup(server, tmp_path, CVAT_USERNAME=None, CVAT_PASSWORD=None, CVAT_ACCESS_TOKEN=token)
    assert done.code == 0
    kept = newest(done.folder, source_id=project.id)
    assert kept.read_by == "alice"
    assert len(kept.issues) == 3
    assert kept.webhooks == ()  # 200 and nothing, as measured: nobody can tell that from none
    assert len(list(done.folder.glob("*/*/metadata_*.json"))) == 1


def test_a_sidecar_that_cannot_be_written_is_a_warning_of_its_source(server: CvatSandbox, tmp_path: Path) -> None:
    patched = """
import common.backups.sidecar as sidecar
plain = sidecar.write_json
def write_json(path, content):
    if content["source"]["id"] == 2:
        raise OSError(5, "Input/output error")
    plain(path, content)
sidecar.write_json = write_json
"""
    done = run_backup(server, tmp_path, patched=patched)
    assert done.code == 0
    assert set(done.outcomes().values()) == {"saved"}
    assert "WARNING  project 2" in done.out
    [warning] = done.last_run()["warnings"]
    assert warning["source"]["id"] == 2
    assert [len(files(done.folder, "project", number)) for number in (1, 2, 3)] == [1, 0, 1]


def test_what_a_kill_left_of_a_sidecar_is_tidied_and_a_damaged_one_replaced(
    server: CvatSandbox, tmp_path: Path
) -> None:
    done = run_backup(server, tmp_path)
    [path] = files(done.folder, "project", 1)
    torn = path.with_name(f".{path.name}.tmp")
    torn.write_text("{")
    path.write_text('{"version": 1, "sour')
    done = run_backup(server, tmp_path)
    assert not torn.exists()
    assert len(files(done.folder, "project", 1)) == 2
    assert newest(done.folder).source.id == 1


def test_an_issue_that_the_server_forgot_to_filter_goes_to_its_own_project(
    server: CvatSandbox, signed_in: SignIn, tmp_path: Path
) -> None:
    other, task = add_project(server, "other")
    add_issue(signed_in(server), server.world.jobs_of(task)[0].id, 0, "here")
    done = run_backup(server, tmp_path)
    assert [len(newest(done.folder, "project", number).issues) for number in (1, 2, 3, other.id)] == [0, 0, 0, 1]
