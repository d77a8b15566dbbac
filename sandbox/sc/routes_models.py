"""Models: groups, details, downloads. Nothing uploads a model; models travel only inside project archives."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from sandbox.http import Response
from sandbox.sc.answering import answer, bad_request, body_object, not_found, success
from sandbox.sc.routes import Call, Router
from sandbox.sc.world import Json, Model, ModelGroup, Project, Task, World

routes = Router()
MODEL = "projects/{pid}/model_groups/{gid}/models/{model}"
ZIP = [("Content-Type", "application/zip")]


def trained(world: World, project: Project, task: Task, versions: int = 2) -> ModelGroup:
    """A group of trained models; the last one is active. The files are zips that say what they are."""
    group = ModelGroup(world.new_id(), "SSD", task.id, "Custom_Object_Detection_Gen3_SSD")
    for number in range(1, versions + 1):
        content = _archive({"kind": "base model", "project": project.name, "task": task.title, "version": number})
        model = Model(world.new_id(), "SSD", number, number == versions, world.now(), content, 0.6 + number / 10)
        for form, kind, precision in (("OpenVINO", "MO", "FP32"), ("ONNX", "ONNX", "FP16")):
            name = f"SSD {form} {precision}"
            model.optimized.append(
                {
                    "id": world.new_id(),
                    "name": name,
                    "model_format": form,
                    "optimization_type": kind,
                    "precision": [precision],
                    "content": _archive({"kind": name, "project": project.name, "version": number}),
                }
            )
        group.models.append(model)
    project.groups.append(group)
    return group


def _archive(facts: Json) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", json.dumps(facts))
        archive.writestr("model.bin", bytes(range(256)) * 64)
    return stream.getvalue()


def _brief(model: Model) -> Json:
    return {
        "id": model.id,
        "name": model.name,
        "version": model.version,
        "active_model": model.active,
        "creation_date": model.created,
        "performance": {"score": model.score},
        "score_up_to_date": True,
        "purge_info": {"is_purged": model.purged, "purge_time": None, "user_uid": None},
        "size": len(model.content),
    }


def _group(group: ModelGroup) -> Json:
    return {
        "id": group.id,
        "name": group.name,
        "task_id": group.task_id,
        "model_template_id": group.template,
        "models": [_brief(model) for model in group.models],
    }


def _found_group(call: Call) -> ModelGroup:
    group = next((one for one in call.project().groups if one.id == call.parts["gid"]), None)
    if group is None:
        raise not_found("model_group", call.parts["gid"])
    return group


def _found(call: Call) -> tuple[ModelGroup, Model]:
    group = _found_group(call)
    model = next((one for one in group.models if one.id == call.parts["model"]), None)
    if model is None:
        raise not_found("model", call.parts["model"])
    return group, model


@routes.add("GET", "projects/{pid}/model_groups")
def groups(call: Call) -> Response:
    wanted = call.query.get("task_id")
    rows = [_group(group) for group in call.project().groups if wanted in (None, group.task_id)]
    return answer({"items" if call.generation.name == "1.1" else "model_groups": rows})


@routes.add("GET", "projects/{pid}/model_groups/{gid}")
def group_detail(call: Call) -> Response:
    return answer(_group(_found_group(call)))


@routes.add("POST", "projects/{pid}/model_groups/{gid}:activate", ("1.x", "2.x"))
def activate(call: Call) -> Response:
    wanted = _found_group(call)
    for group in call.project().groups:
        for model in group.models:
            model.active = group is wanted and model is wanted.models[-1]
    return success()


def _optimized(one: Json) -> Json:
    return {name: value for name, value in one.items() if name != "content"} | {
        "size": len(one["content"]),
        "model_status": "SUCCESS",
        "version": 1,
        "creation_date": None,
        "optimization_methods": [],
        "optimization_objectives": {},
        "score_up_to_date": True,
        "performance": {"score": 0.7},
        "configurations": [],
    }


@routes.add("GET", MODEL)
def model_detail(call: Call) -> Response:
    group, model = _found(call)
    return answer(
        _brief(model)
        | {
            "architecture": group.name,
            "model_group_id": group.id,
            "task_id": group.task_id,
            "labels": [],
            "optimized_models": [_optimized(one) for one in model.optimized],
            "precision": ["FP32"],
            "training_framework": {"type": "OTX", "version": "2.2"},
        }
    )


@routes.add("GET", f"{MODEL}/export", ("1.x", "2.x"))
def model_file(call: Call) -> Response:
    _, model = _found(call)
    if model.purged:
        raise not_found("model", model.id)
    return Response(200, list(ZIP), model.content)


@routes.add("GET", f"{MODEL}/optimized_models/{{optimized}}/export", ("1.x", "2.x"))
def optimized_file(call: Call) -> Response:
    _, model = _found(call)
    one = next((one for one in model.optimized if one["id"] == call.parts["optimized"]), None)
    if one is None:
        raise not_found("optimized_model", call.parts["optimized"])
    return Response(200, list(ZIP), one["content"])


@routes.add("POST", "projects/{pid}/deployment_package:download", ("2.x",))
def deployment_package(call: Call) -> Response:
    raw = body_object(call.request)
    if raw.get("package_type") not in ("geti_sdk", "ovms"):
        raise bad_request("'package_type' must be one of geti_sdk, ovms.")
    known: dict[Any, str] = {model.id: model.name for group in call.project().groups for model in group.models}
    wanted = [one.get("model_id") for one in raw.get("models", [])]
    for one in wanted:
        if one not in known:
            raise not_found("model", str(one))
    return Response(200, list(ZIP), _archive({"kind": f"deployment {raw['package_type']}", "models": wanted}))
