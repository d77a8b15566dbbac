"""Workspaces, projects, data sets, configuration, status, statistics."""

from __future__ import annotations

from typing import Any

from sandbox.http import Response
from sandbox.sc import configuration, projects
from sandbox.sc.answering import answer, bad_request, body_object, nothing, number, refusal, success
from sandbox.sc.media import draw, thumbnail
from sandbox.sc.routes import Call, Router
from sandbox.sc.scenes import objects_per_label
from sandbox.sc.world import Dataset, Json, Project, Task

routes = Router()
GETI = ("1.x", "2.x")
NEW = ("2.x",)
ALGORITHMS = [
    {
        "algorithm_name": name,
        "gigaflops": gigaflops,
        "model_size": size,
        "model_template_id": template,
        "summary": summary,
        "supports_auto_hpo": task_type == "classification",
        "task_type": task_type,
    }
    for name, gigaflops, size, template, task_type, summary in (
        (
            "PADIM",
            3.9,
            168.4,
            "ote_anomaly_classification_padim",
            "anomaly_classification",
            "Fast, needs fixed positions.",
        ),
        (
            "EfficientNet-B0",
            0.81,
            4.09,
            "Custom_Image_Classification_EfficinetNet-B0",
            "classification",
            "Good for much data.",
        ),
    )
]


@routes.add("GET", "product_info", at_root=True)
def product_info(call: Call) -> Response:
    facts: Json = {"product-version": call.generation.version}
    if call.generation.organizations:
        facts = {
            "product-version": ".".join(call.generation.version.split(".")[:2]),
            "build-version": call.generation.version,
            "smtp-defined": "False",
            "intel-email": "",
            "grafana_enabled": "True",
            "environment": "on-prem",
            "gpu-provider": "intel",
        }
    return answer(facts)


@routes.add("GET", "workspaces", ("1.1", "1.x"), at_root=True)
@routes.add("GET", "organizations/{oid}/workspaces", NEW, at_root=True)
def workspaces(call: Call) -> Response:
    world, generation = call.world, call.generation
    if generation.organizations and call.parts["oid"] != world.organization_id:
        raise refusal(403, "forbidden", "You are not authorized to access this organization.")
    if generation.organizations:
        return answer({"workspaces": [{"id": one.id, "name": one.name} for one in world.workspaces]})
    rows = [
        {"creation_date": one.created, "creator_name": "sc", "description": "", "id": one.id, "name": one.name}
        for one in world.workspaces
    ]
    return answer(rows if generation.name == "1.1" else {"workspaces": rows})


@routes.add("GET", "personal_access_tokens/organization", NEW, at_root=True)
def token_organization(call: Call) -> Response:
    world = call.world
    if call.generation.numbers < (2, 5):
        return answer({"organizationId": world.organization_id})
    row = {"organizationId": world.organization_id, "organizationCreatedAt": world.workspaces[0].created}
    return answer({"organizations": [row]})


@routes.add("GET", "profile", NEW, at_root=True)
def profile(call: Call) -> Response:
    return answer({"id": "sc", "organizationId": call.world.organization_id})


@routes.add("GET", "supported_algorithms", at_root=True)
def supported_algorithms(call: Call) -> Response:
    """Two of the recorded two dozen."""
    return answer({"items": ALGORITHMS} if call.generation.name == "1.1" else {"supported_algorithms": ALGORITHMS})


# --- projects ----------------------------------------------------------------------------------------------------------


@routes.add("GET", "projects", ("1.1",))
def items(call: Call) -> Response:
    """Newest first, as recorded."""
    return answer({"items": [call.write.project(project) for project in call.projects()]})


@routes.add("GET", "projects", ("1.x",))
def whole_projects(call: Call) -> Response:
    return answer({"projects": [call.write.project(project) for project in call.projects()]})


@routes.add("GET", "projects", NEW)
def page_of_projects(call: Call) -> Response:
    limit = number(call.query, "limit", 10, 1, 100)
    skip = number(call.query, "skip", 0, 0, 1 << 31)
    found = call.projects()
    if "name" in call.query:
        found = [project for project in found if call.query["name"].lower() in project.name.lower()]
    if call.query.get("sort_by") == "name":
        found.sort(key=lambda project: project.name, reverse=call.query.get("sort_direction") == "dsc")
    elif call.query.get("sort_by") == "creation_date" and call.query.get("sort_direction") == "asc":
        found.reverse()
    page = found[skip : skip + limit]
    written: Json = {
        "projects": [call.write.project(project, listed=True) for project in page],
        "project_counts": len(found),
    }
    if page:  # also after the last page: clients must stop on the count
        written["next_page"] = f"{call.write.home(call.parts['wid'])}/projects?limit={limit}&skip={skip + limit}"
    return answer(written)


@routes.add("GET", "projects_names", NEW)
def projects_names(call: Call) -> Response:
    return answer({"projects": [{"id": one.id, "name": one.name} for one in call.projects()]})


@routes.add("POST", "projects")
def create(call: Call) -> Response:
    project = projects.create(call.world, call.generation, body_object(call.request), call.parts["wid"])
    configuration.set_up(call.world, call.generation, project)
    return answer(call.write.project(project, created=True), 201)


@routes.add("GET", "projects/{pid}")
def project(call: Call) -> Response:
    return answer(call.write.project(call.project()))


@routes.add("PUT", "projects/{pid}")
def change(call: Call) -> Response:
    found = call.project()
    call.server.jobs.refuse_while_running(found)
    projects.change(call.world, found, body_object(call.request))
    return answer(call.write.project(found))


@routes.add("DELETE", "projects/{pid}")
def delete(call: Call) -> Response:
    found = call.project()
    call.server.jobs.refuse_while_running(found)
    del call.world.projects[found.id]
    return success()


@routes.add("GET", "projects/{pid}/thumbnail")
def project_thumbnail(call: Call) -> Response:
    pictures = call.project().datasets[0].of("image")
    content = thumbnail(pictures[0]) if pictures else draw(0, (256, 256))
    return Response(200, [("Content-Type", "image/jpeg")], content)


@routes.add("GET", "projects/{pid}/status")
def status(call: Call) -> Response:
    found = call.project()
    running = call.world.running(found)
    training = [job for job in running if job.type == "train"]
    written: Json = {
        "is_training": bool(training),
        "n_required_annotations": 0,
        "n_running_jobs": sum(job.open for job in call.world.jobs.values()),
        "n_running_jobs_project": len(running),
        "status": {"message": "Loading coordinator", "progress": -1, "time_remaining": 0},
        "tasks": [_task_status(task, training) for task in found.trainable],
    }
    if call.generation.name == "1.1":
        return answer(written | {"project_score": 0.0})
    performance = {"score": None, "task_performances": [{"score": None, "task_id": one.id} for one in found.trainable]}
    return answer(written | {"project_performance": performance, "n_new_annotations": 0})


def _task_status(task: Task, training: list[Any]) -> Json:
    return {
        "id": task.id,
        "is_training": any(job.metadata["task"]["task_id"] == task.id for job in training),
        "required_annotations": {"details": [], "value": 0},
        "status": {"message": "Waiting for user annotations", "progress": -1, "time_remaining": 0},
        "title": task.title,
    }


# --- data sets ---------------------------------------------------------------------------------------------------------


@routes.add("GET", "projects/{pid}/datasets", GETI)
def datasets(call: Call) -> Response:
    return answer({"datasets": [call.write.dataset(dataset) for dataset in call.project().datasets]})


@routes.add("POST", "projects/{pid}/datasets", GETI)
def create_dataset(call: Call) -> Response:
    found = call.project()
    name = _dataset_name(found, body_object(call.request).get("name"))
    dataset = Dataset(call.world.new_id(), name, call.world.now(), use_for_training=False)
    found.datasets.append(dataset)
    return answer(call.write.dataset(dataset), 201)


def _dataset_name(project: Project, name: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise bad_request("A dataset needs a name of 1 to 100 characters.")
    if any(dataset.name == name for dataset in project.datasets):
        raise refusal(409, "dataset_already_exists", f"A dataset with the name '{name}' already exists in the project.")
    return name


@routes.add("PUT", "projects/{pid}/datasets/{did}", GETI)
def rename_dataset(call: Call) -> Response:
    dataset = call.dataset()
    name = body_object(call.request).get("name")
    if name != dataset.name:
        dataset.name = _dataset_name(call.project(), name)
    return answer(call.write.dataset(dataset))


@routes.add("GET", "projects/{pid}/datasets/{did}", GETI)
def dataset_detail(call: Call) -> Response:
    return answer(call.write.dataset(call.dataset()))


@routes.add("DELETE", "projects/{pid}/datasets/{did}", GETI)
def delete_dataset(call: Call) -> Response:
    found, dataset = call.project(), call.dataset()
    if dataset.use_for_training:
        raise bad_request("The training dataset cannot be deleted.")
    found.datasets.remove(dataset)
    return success()


@routes.add("GET", "projects/{pid}/datasets/{did}/statistics", GETI)
def statistics(call: Call) -> Response:
    found, dataset = call.project(), call.dataset()
    images, videos = dataset.of("image"), dataset.of("video")
    counts = objects_per_label(scene for media in [*images, *videos] for scene in media.scenes.values())
    annotated = [media for media in images if media.scenes and media.scenes[0].annotations]
    frames = [scene for media in videos for scene in media.scenes.values() if scene.annotations]
    return answer(
        {
            "overview": {
                "images": len(images),
                "videos": len(videos),
                "annotated_images": len(annotated),
                "annotated_frames": len(frames),
                "annotated_videos": sum(any(s.annotations for s in media.scenes.values()) for media in videos),
            },
            "tasks": [
                {
                    "task_id": task.id,
                    "objects_per_label": [
                        {"id": label.id, "name": label.name, "value": counts.get(label.id, 0)} for label in task.labels
                    ],
                }
                for task in found.trainable
            ],
        }
    )


# --- configuration -----------------------------------------------------------------------------------------------------


@routes.add("GET", "projects/{pid}/configuration")
def whole_configuration(call: Call) -> Response:
    return answer(configuration.full(call.project()))


@routes.add("POST", "projects/{pid}/configuration")
def change_whole_configuration(call: Call) -> Response:
    raw = body_object(call.request)
    parts = [*raw.get("global", []), *(one for task in raw.get("task_chain", []) for one in task.get("components", []))]
    configuration.change_components(call.world, call.project(), parts)
    return success()


@routes.add("GET", "projects/{pid}/configuration/global")
def global_configuration(call: Call) -> Response:
    return answer({"global": configuration.components_of(call.project(), None)})


@routes.add("POST", "projects/{pid}/configuration/global")
def change_global_configuration(call: Call) -> Response:
    raw = body_object(call.request)
    configuration.change_components(call.world, call.project(), raw.get("components", raw.get("global")))
    return success()


@routes.add("GET", "projects/{pid}/configuration/task_chain")
def chain_configuration(call: Call) -> Response:
    return answer({"task_chain": configuration.full(call.project())["task_chain"]})


@routes.add("GET", "projects/{pid}/configuration/task_chain/{tid}")
def task_configuration(call: Call) -> Response:
    return answer(configuration.task_chain(call.project(), _task(call)))


@routes.add("POST", "projects/{pid}/configuration/task_chain/{tid}")
def change_task_configuration(call: Call) -> Response:
    _task(call)
    configuration.change_components(call.world, call.project(), body_object(call.request).get("components"))
    return success()


def _task(call: Call) -> Task:
    task = next((task for task in call.project().trainable if task.id == call.parts["tid"]), None)
    if task is None:
        raise refusal(404, "task_not_found", f"The requested task could not be found. Task ID: `{call.parts['tid']}`.")
    return task


@routes.add("GET", "projects/{pid}/project_configuration", NEW)
def project_configuration(call: Call) -> Response:
    return answer(configuration.project_configuration(_configurable(call), call.query.get("task_id")))


@routes.add("PATCH", "projects/{pid}/project_configuration", NEW)
def change_project_configuration(call: Call) -> Response:
    configuration.change_project_configuration(_configurable(call), body_object(call.request))
    return nothing()


@routes.add("GET", "projects/{pid}/training_configuration", NEW)
def training_configuration(call: Call) -> Response:
    return answer(configuration.training_configuration(_configurable(call), call.query.get("task_id")))


@routes.add("PATCH", "projects/{pid}/training_configuration", NEW)
def change_training_configuration(call: Call) -> Response:
    project = _configurable(call)
    configuration.change_training_configuration(project, call.query.get("task_id"), body_object(call.request))
    return nothing()


def _configurable(call: Call) -> Project:
    if not call.generation.project_configuration:
        raise refusal(404, "feature_not_available", "The feature is not available in this version.")
    return call.project()
