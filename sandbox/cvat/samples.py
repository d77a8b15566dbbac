"""Sample worlds: the demo with every awkward thing a server can hold, and large ones for the benchmarks."""

from __future__ import annotations

from typing import Any

from sandbox.cvat.annotations import Json
from sandbox.cvat.world import Job, Organization, Project, Task, User, World

COLORS = ["red", "blue", "зелёный"]
TRAFFIC: list[Json] = [
    {
        "name": "car",
        "color": "#2080c0",
        "type": "rectangle",
        "attributes": [
            {"name": "color", "mutable": False, "input_type": "select", "default_value": "red", "values": COLORS},
            {
                "name": "moving",
                "mutable": True,
                "input_type": "checkbox",
                "default_value": "false",
                "values": ["false", "true"],
            },
        ],
    },
    {"name": "road", "color": "#20e0e0", "type": "polygon"},
    {
        "name": "night",
        "color": "#1f8b51",
        "type": "tag",
        "attributes": [
            {
                "name": "level",
                "mutable": False,
                "input_type": "number",
                "default_value": "1",
                "values": ["0", "10", "1"],
            }
        ],
    },
    {"name": "any", "color": "#b3eb6f", "type": "any"},
    {"name": "path", "color": "#f5fef4", "type": "polyline"},
    {"name": "spot", "color": "#6ec4d1", "type": "points"},
    {"name": "blob", "color": "#66be96", "type": "mask"},
    {"name": "oval", "color": "#5f7550", "type": "ellipse"},
]
PERSON: Json = {
    "name": "person",
    "color": "#c06060",
    "type": "skeleton",
    "attributes": [
        {"name": "age", "mutable": False, "input_type": "number", "default_value": "30", "values": ["0", "100", "1"]}
    ],
    "sublabels": [
        {
            "name": "head",
            "type": "points",
            "color": "#d12345",
            "attributes": [
                {
                    "name": "visible",
                    "mutable": True,
                    "input_type": "checkbox",
                    "default_value": "true",
                    "values": ["true", "false"],
                }
            ],
        },
        {"name": "body", "type": "points", "color": "#350dea"},
        {"name": "car", "type": "points", "color": "#479ffe"},
    ],
}
LONG_NAME = ("a very long project name that somebody pasted from a spreadsheet " * 5)[:256]


def fill(world: World, samples: str, password: str) -> None:
    """Fills a world: "demo", "none", "many:N" or "big:COUNTxMB"."""
    kind, _, size = samples.partition(":")
    if kind == "demo":
        demo(world, password)
    elif kind == "many":
        many(world, int(size))
    elif kind == "big":
        count, _, megabytes = size.partition("x")
        big(world, int(count), int(megabytes))
    elif kind != "none":
        raise ValueError(f"no such samples: {samples} (demo, none, many:N or big:COUNTxMB)")


def traffic_annotations(world: World, job: Job, *, tracks: bool = False) -> None:
    """Something of every kind on the first frames of a job."""
    index = world.label_index(job)
    car = index.top["car"]
    color, moving = (spec.id for spec in car.attributes)
    frames = job.frame_numbers
    first = frames[0]
    shapes: list[Json] = [
        {
            "type": "rectangle",
            "label_id": car.id,
            "frame": frame,
            "points": [30.25 + 6 * n, 140.0, 92.0 + 6 * n, 172.5],
            "rotation": 15.5 if n == 1 else 0.0,
            "occluded": n % 2 == 1,
            "z_order": n % 3,
            "attributes": [
                {"spec_id": color, "value": COLORS[n % 3]},
                {"spec_id": moving, "value": "true"},
            ],
        }
        for n, frame in enumerate(frames)
    ]

    def shape(label: str, kind: str, points: list[float], **more: Any) -> Json:
        return {"type": kind, "label_id": index.named(label), "frame": first, "points": points, **more}

    shapes += [
        shape("road", "polygon", [1.0, 150.0, 318.0, 150.0, 318.0, 238.0, 1.0, 238.75]),
        shape("path", "polyline", [5.0, 235.0, 160.0, 160.0, 315.0, 235.5]),
        shape("spot", "points", [50.0, 60.0, 80.0, 20.0], group=1),
        shape("oval", "ellipse", [200.0, 100.0, 240.0, 75.0], rotation=30.0, group=1),
        # Runs of a mask: 3 off, 4 on, … which fill its box of 6 x 3 exactly.
        shape("blob", "mask", [3.0, 4.0, 5.0, 3.0, 3.0, 10.0, 10.0, 15.0, 12.0]),
        shape("any", "rectangle", [100.0, 30.0, 140.0, 60.0], source="auto"),
    ]
    tags = [
        {
            "label_id": index.named("night"),
            "frame": first,
            "attributes": [{"spec_id": index.spec_named("night", "level"), "value": "7"}],
        }
    ]
    track_rows: list[Json] = []
    if tracks:
        for n in range(2):
            track_rows.append(
                {
                    "label_id": car.id,
                    "frame": first + n,
                    "group": n,
                    "attributes": [{"spec_id": color, "value": "blue"}],
                    "shapes": [
                        {
                            "type": "rectangle",
                            "frame": first + n + step,
                            "points": [10.0 + 4 * step, 160.0, 70.0 + 4 * step, 192.0],
                            "outside": step == 20,
                            "occluded": step == 10,
                            "attributes": [{"spec_id": moving, "value": "true" if step else "false"}],
                        }
                        for step in (0, 10, 20)
                    ],
                }
            )
    world.put_annotations(job, {"tags": tags, "shapes": shapes, "tracks": track_rows})


def person_annotations(world: World, job: Job) -> None:
    index = world.label_index(job)
    person = index.top["person"]
    age = person.attributes[0].id
    head, body, car = person.sublabels
    frames = job.frame_numbers

    def element(label_id: int, frame: int, x: float, y: float) -> Json:
        return {"type": "points", "label_id": label_id, "frame": frame, "points": [x, y]}

    skeletons = [
        {
            "type": "skeleton",
            "label_id": person.id,
            "frame": frame,
            "points": [],
            "attributes": [{"spec_id": age, "value": str(20 + frame)}],
            "elements": [
                element(head.id, frame, 100.0 + frame, 40.0),
                element(body.id, frame, 100.0 + frame, 90.5),
                {**element(car.id, frame, 160.0, 120.0), "outside": True},
            ],
        }
        for frame in frames
    ]
    world.put_annotations(job, {"shapes": skeletons})


def demo(world: World, password: str) -> None:
    """What `--demo` backs up."""
    admin = next(iter(world.users.values()))
    alice = world.add_user("alice", password, first_name="Alice", last_name="Test")
    bob = world.add_user("bob", password, first_name="Bob", last_name="Test")
    acme = world.add_org("acme", "Acme Corp.", alice)
    beta = world.add_org("beta-lab", "Beta Lab", admin)
    world.add_member(acme, admin, "maintainer")
    world.add_member(acme, bob, "worker")

    def project(name: str, org: Organization | None = None, owner: User | None = None, **more: Any) -> Project:
        return world.add_project(name, org, owner=owner or admin, labels=more.pop("labels", TRAFFIC), **more)

    def images(where: Project | None, name: str, frames: int = 3, **more: Any) -> Task:
        files = world.media.pictures(frames, first=more.pop("first", 0))
        task = world.add_task(where, name, files=files, owner=more.pop("owner", admin), **more)
        for job in world.jobs_of(task):
            if job.type == "annotation":
                traffic_annotations(world, job)
        return task

    def video(where: Project | None, name: str, **more: Any) -> Task:
        task = world.add_task(where, name, kind="video", owner=admin, **more)
        traffic_annotations(world, world.jobs_of(task)[0], tracks=True)
        return task

    signs = project("Road signs 2026", bug_tracker="https://bugs.example.com/7")
    first = images(signs, "first batch", 12, segment_size=4, subset="Train")
    world.set_job(first.job_ids[2], stage="acceptance", state="completed")
    world.set_job(first.job_ids[1], stage="validation")
    second = images(signs, "second batch", 6, subset="Validation", first=12)
    world.delete_frame(second, 1)
    guide = world.add_guide(signs, "# How to draw road signs\n\nDraw tight boxes, also around half-hidden cars.\n")
    asset = world.add_asset(guide, "example sign ü.jpg", world.media.picture(0).path.read_bytes())
    guide.markdown += f"\n![an example](/api/assets/{asset.uuid})\n"

    clips = project("Video tracks")
    video(clips, "crossing, camera 1")
    images(clips, "stills beside the video", 2)

    people = project("People as skeletons", labels=[PERSON, *TRAFFIC])
    walkers = world.add_task(people, "walkers", files=world.media.pictures(4), owner=admin)
    person_annotations(world, world.jobs_of(walkers)[0])

    quality = project("Ground truth and consensus")
    checked = images(quality, "checked task", 6, segment_size=3, gt_frames=[1, 4])
    traffic_annotations(world, world.jobs_of(checked)[-1])
    voted = images(quality, "three opinions", 3, consensus_replicas=2)
    for replica in world.jobs_of(voted)[1:]:
        world.add_shape(replica, "car", frame=1, attributes={"color": "blue"})

    harbour = project("Harbour cranes")
    images(harbour, "morning", 4)
    images(harbour, "evening", 4, first=4, subset="Test")
    world.delete_frame(images(harbour, "fog", 4, first=8), 2)

    failed = project("Failed uploads")
    images(failed, "good one", 2)
    world.fail_upload(world.add_empty_task("broken image", failed, owner=admin))
    world.add_empty_task("no data at all", failed, owner=admin)
    only_empty = project("only a task without data")
    world.add_empty_task("never uploaded", only_empty, owner=admin)
    project("empty project")
    project("empty_no_labels", labels=[])

    # A mask whose runs do not fill its box: backups and CVAT's own format take it, COCO fails on it.
    odd = project("odd mask")
    odd_task = images(odd, "one bad mask", 2)
    world.add_shape(odd_task.job_ids[0], "blob", [3.0, 4.0, 5.0, 0.0, 10.0, 10.0, 12.0, 11.0], type="mask")

    for name in ("..", 'a/b\\c: raw? "q" <x>|*', "ünïcödé — проект 日本語 🚗", "name\twith\ttabs.zip", LONG_NAME):
        images(project(name), "t/with:slash", 2)
    for name in ("foo_bar", "Foo_Bar", "foo", "car_front", "car_rear", "CON", "name. ", "-rf"):
        images(project(name.strip()), "bar", 2)
    images(project("foo_bar", owner=alice), "alice's own", 2, owner=alice)

    images(project("Acme cars", acme, alice), "garage", 3, owner=alice)
    images(project("foo_bar", acme, alice), "same name again", 2, owner=alice)
    images(project("Parking lots", acme, alice), "level -1", 3, owner=alice)
    images(project("Beta only", beta), "beta t1", 3)
    images(project("Night drives", beta), "ring road", 3)

    images(None, "standalone task", 4, labels=TRAFFIC)
    video(None, "standalone video", labels=TRAFFIC)
    images(None, "acme standalone", 2, labels=TRAFFIC, org=acme, owner=alice)
    world.add_empty_task("loose, without data", owner=admin)

    _review(world, first, admin, alice)


def _review(world: World, task: Task, admin: User, alice: User) -> None:
    """What the zip of a backup does not carry."""
    world.patch_task(task, {"assignee_id": alice.id})
    world.set_job(task.job_ids[0], assignee_id=alice.id)
    moment = world.now()
    issue: Json = {
        "id": world.next_id("issue"),
        "job": task.job_ids[1],
        "frame": 5,
        "position": [30.0, 140.0, 92.0, 172.0],
        "owner_id": admin.id,
        "assignee_id": alice.id,
        "created_date": moment,
        "updated_date": moment,
        "resolved": False,
    }
    world.issues[issue["id"]] = issue
    for owner, message in ((admin, "The box is too wide."), (alice, "Is it? исправлю.")):
        moment = world.now()
        comment_id = world.next_id("comment")
        world.comments[comment_id] = {
            "id": comment_id,
            "issue": issue["id"],
            "owner_id": owner.id,
            "message": message,
            "created_date": moment,
            "updated_date": moment,
        }
    webhook_id = world.next_id("webhook")
    world.webhooks[webhook_id] = {
        "id": webhook_id,
        "target_url": "https://example.com/hook",
        "description": "tells the tracker",
        "type": "project",
        "content_type": "application/json",
        "is_active": True,
        "enable_ssl": True,
        "created_date": moment,
        "updated_date": moment,
        "owner_id": admin.id,
        "project_id": task.project_id,
        "organization": None,
        "events": ["create:job", "update:task"],
    }


def many(world: World, count: int) -> None:
    """`count` small projects: one task, two or three tiny frames they all share, some shapes."""
    files = world.media.pictures(3, (64, 48))
    labels = TRAFFIC[:2]
    for number in range(1, count + 1):
        project = world.add_project(f"project {number:04d}", labels=labels)
        task = world.add_task(project, "frames", files=files[: 2 + number % 2])
        index = world.label_index(project)
        shapes = [
            {
                "type": "rectangle",
                "label_id": index.named("car"),
                "frame": frame,
                "points": [1.0 + number % 7, 2.0, 30.0, 20.0 + frame],
            }
            for frame in range(2)
        ]
        world.put_annotations(task.job_ids[0], {"shapes": shapes})


def big(world: World, count: int, megabytes: int) -> None:
    """`count` projects of `megabytes` each, in files of several megabytes that compress no further."""
    file_megabytes = 8 if megabytes >= 64 else 1
    for number in range(1, count + 1):
        project = world.add_project(f"big {number}", labels=TRAFFIC)
        files = world.media.random_files(max(1, megabytes // file_megabytes), file_megabytes * 1_000_000)
        task = world.add_task(project, "scans", files=files, segment_size=50)
        for job in world.jobs_of(task):
            traffic_annotations(world, job)
