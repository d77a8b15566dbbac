"""A project with everything that CVAT's archive loses, for the tests of sidecars and of re-applying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from common.cvat.client import Client
from sandbox.cvat import CvatSandbox
from sandbox.cvat.samples import TRAFFIC
from sandbox.cvat.world import Project

PASSWORD = "sandbox-Pass-123"
HOOK_SECRET = "hook-secret-4711"
INVITATION = "invitation-key-4712"
QUALITY = {"iou_threshold": 0.55, "inherit": False, "target_metric": "precision", "job_filter": '{"==":[1,1]}'}
SignIn = Callable[..., Client]


def add_people(server: CvatSandbox, *names: str) -> None:
    """Users, and an organization that they are members of."""
    world = server.world
    for name in names:
        world.add_user(name, PASSWORD, first_name=name.title(), last_name="Test")
    org = world.add_org("beta-lab", "Beta Lab", world.user_named(server.username), contact={"email": "lab@example.com"})
    for name in names:
        world.add_member(org, world.user_named(name), "maintainer", invitation=INVITATION)


def add_reviewed_project(server: CvatSandbox, sign_in: SignIn) -> Project:
    """Owned, assigned, reviewed, measured and announced, as people do it: through the API, each as himself."""
    world = server.world
    alice, bob = world.user_named("alice"), world.user_named("bob")
    project = world.add_project("Crossings", "beta-lab", owner=alice, labels=TRAFFIC, assignee_id=bob.id)
    first = world.add_task(project, "same name", 6, segment_size=2, owner=bob)
    world.add_empty_task("nothing yet", project, owner=alice)
    checked = world.add_task(project, "same name", 6, segment_size=3, gt_frames=[1, 4], owner=alice)
    voted = world.add_task(project, "votes", 3, consensus_replicas=2, owner=alice)
    world.patch_task(first, {"assignee_id": alice.id})
    storage = world.add_cloud_storage("scans-bucket")
    world.patch_project(
        project, {"source_storage": {"id": 7, "location": "cloud_storage", "cloud_storage_id": storage}}
    )
    jobs = world.jobs_of(first)
    world.set_job(jobs[0], stage="validation", state="in progress", assignee_id=alice.id)
    world.set_job(jobs[1], stage="acceptance", state="completed", assignee_id=bob.id)
    world.set_job(world.jobs_of(voted)[2], state="rejected")
    assert checked.validation is not None
    checked.validation.disabled_frames = [4]

    admin = sign_in(server)
    as_alice, as_bob = (sign_in(server, CVAT_USERNAME=name, CVAT_PASSWORD=PASSWORD) for name in ("alice", "bob"))
    add_issue(as_bob, jobs[0].id, 1, "The box is too wide.", assignee=alice.id)
    issue = add_issue(as_alice, jobs[0].id, 0, "Wo ist die Ampel?\nIch sehe keine — исправлю.", resolved=True)
    add_comment(as_bob, issue, "There.")
    add_comment(as_alice, issue, "There.")
    add_issue(as_bob, world.jobs_of(checked)[-1].id, 4, "Is this one right?")
    row = next(row for row in world.quality_settings.values() if row["task_id"] == checked.id)
    admin.change("PATCH", f"/api/quality/settings/{row['id']}", QUALITY)
    row = next(row for row in world.quality_settings.values() if row["project_id"] == project.id)
    admin.change("PATCH", f"/api/quality/settings/{row['id']}", {"iou_threshold": 0.9})
    row = next(row for row in world.consensus_settings.values() if row["task_id"] == voted.id)
    admin.change("PATCH", f"/api/consensus/settings/{row['id']}", {"quorum": 0.75})
    add_webhook(admin, project, "https://example.com/on")
    add_webhook(admin, project, "https://example.com/off", is_active=False, enable_ssl=False)
    hook = {"target_url": "https://example.com/all", "type": "organization", "events": ["create:task"]}
    admin.change("POST", "/api/webhooks", hook, params={"org": "beta-lab"})
    return project


def add_issue(client: Client, job_id: int, frame: int, message: str, **more: Any) -> int:
    content = {"job": job_id, "frame": frame, "position": [10.5, 20.0, 30.0, 40.25], "message": message, **more}
    return int(client.change("POST", "/api/issues", content).json()["id"])


def add_comment(client: Client, issue_id: int, message: str) -> None:
    client.change("POST", "/api/comments", {"issue": issue_id, "message": message})


def add_webhook(client: Client, project: Project, url: str, **more: Any) -> None:
    content = {"target_url": url, "description": "tells", "type": "project", "project_id": project.id}
    content |= {"events": ["update:task", "create:job"], "secret": HOOK_SECRET, **more}
    client.change("POST", "/api/webhooks", content)
