"""Models: what is trained, which one is active, and their files. They can be fetched; no server takes one in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.sc.client import Client
from common.web import errors


@dataclass(frozen=True)
class ModelFile:
    """One file of a model that the server exports as zip, by its address and a name for it."""

    path: str
    name: str


def model_groups(client: Client, project_id: str) -> list[Mapping[str, Any]]:
    """All model groups with their models, whole; `active_model` marks the one in use. Raises WebError."""
    base = f"{client.home}/projects/{project_id}/model_groups"
    try:
        answer = client.get(base)
    except (errors.NotFound, errors.NotJson):
        return []
    groups = (answer.get("model_groups", answer.get("items")) if isinstance(answer, dict) else answer) or []
    if not isinstance(groups, list) or any(not isinstance(each, dict) for each in groups):
        raise errors.NotJson("the server's answer is no list of models")
    found: list[Mapping[str, Any]] = []
    for group in groups:
        models = []
        for model in group.get("models") or []:
            try:
                detail = client.get(f"{base}/{group['id']}/models/{model['id']}")
            except errors.NotFound:
                detail = None
            models.append({**model, **(detail or {})})
        found.append({**group, "models": models})
    return found


def model_files(client: Client, project_id: str, groups: list[Mapping[str, Any]]) -> list[ModelFile]:
    """Every file that can be fetched: the model itself and its optimized forms. Purged models have none."""
    found = []
    for group in groups:
        for model in group.get("models") or []:
            if (model.get("purge_info") or {}).get("is_purged"):
                continue
            base = f"{client.home}/projects/{project_id}/model_groups/{group['id']}/models/{model['id']}"
            name = f"{model.get('name', 'model')}_v{model.get('version', 0)}_{model['id']}"
            found.append(ModelFile(f"{base}/export", f"{name}_base"))
            for optimized in model.get("optimized_models") or []:
                kind = optimized.get("optimization_type") or optimized.get("name") or "model"
                found.append(
                    ModelFile(
                        f"{base}/optimized_models/{optimized['id']}/export",
                        f"{name}_{kind}_{optimized['id']}_optimized",
                    )
                )
    return found
