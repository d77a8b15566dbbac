"""Project archives: written and read. Inside is what this sandbox needs; a real server's archives are signed and closed,
so nothing may look into them."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.sc.answering import bad_request
from sandbox.sc.media import new_path
from sandbox.sc.world import Dataset, Json, Label, Media, Model, ModelGroup, Project, Scene, Task, World

MARK = "sandbox-sc-project"


def write_archive(project: Project, path: Path, models: str) -> None:
    """`models`: all, none or latest_active."""
    facts: Json = {"mark": MARK, "project": asdict(project)}
    chosen = []
    for group in project.groups:
        for model in group.models:
            if models == "all" or (models == "latest_active" and model.active):
                chosen.append(model)
    keep = {model.id for model in chosen}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for raw in facts["project"]["groups"]:
            raw["models"] = [one for one in raw["models"] if one["id"] in keep]
        for dataset in project.datasets:
            for media in list(dataset.media.values()):
                archive.write(media.path, f"media/{media.id}")
        for model in chosen:
            archive.writestr(f"models/{model.id}", model.content)
            for one in model.optimized:
                archive.writestr(f"models/{one['id']}", one["content"])
        archive.writestr("project.json", json.dumps(facts, default=lambda _: None))


def read_archive(world: World, path: Path, name: str) -> Project:
    """A new project, every id new. ValueError or a refusal for anything that is no archive of ours."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        raise bad_request("The file is not a project archive.") from None
    with archive:
        try:
            facts = json.loads(archive.read("project.json"))
        except (KeyError, ValueError, zipfile.BadZipFile):
            raise bad_request("The file is not a project archive.") from None
        if facts.get("mark") != MARK:
            raise bad_request("The file is not a project archive.")
        return _Reader(world, archive).project(facts["project"], name)


class _Reader:
    def __init__(self, world: World, archive: zipfile.ZipFile) -> None:
        self.world = world
        self.archive = archive
        self.ids: dict[str, str] = {}

    def new(self, old: str) -> str:
        return self.ids.setdefault(old, self.world.new_id())

    def translated(self, value: Any) -> Any:
        """The value with every id that was met replaced."""
        if isinstance(value, dict):
            return {self.ids.get(key, key): self.translated(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.translated(one) for one in value]
        return self.ids.get(value, value) if isinstance(value, str) else value

    def project(self, raw: Json, name: str) -> Project:
        tasks = []
        for one in raw["tasks"]:
            for key in ("id", "model_storage_id", "label_schema_id"):
                if one[key]:
                    one[key] = self.new(one[key])
            for label in one["labels"]:
                label["id"] = self.new(label["id"])
            one["labels"] = [Label(**self.translated(label)) for label in one["labels"]]
            one["keypoint_structure"] = self.translated(one["keypoint_structure"])
            tasks.append(Task(**one))
        new_id = self.new(raw["id"])
        self.ids[raw["workspace_id"]] = self.world.workspaces[0].id
        project = Project(
            new_id,
            name,
            self.world.now(),
            raw["creator"],
            tasks,
            [(self.ids[start], self.ids[end]) for start, end in raw["connections"]],
            [self.dataset(one) for one in raw["datasets"]],
            workspace_id=self.world.workspaces[0].id,
            components=self.translated(raw["components"]),
            task_configs=self.translated(raw["task_configs"]),
            training_configs=self.translated(raw["training_configs"]),
        )
        project.groups = [self.group(one) for one in raw["groups"]]
        return project

    def dataset(self, raw: Json) -> Dataset:
        dataset = Dataset(self.new(raw["id"]), raw["name"], self.world.now(), raw["use_for_training"])
        for one in raw["media"].values():
            path = new_path(self.world)
            with self.archive.open(f"media/{one['id']}") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
            media = Media(**one | {"id": self.new(one["id"]), "path": path, "ready_at": None})
            media.scenes = {int(n): Scene(**self.translated(scene)) for n, scene in one["scenes"].items()}
            media.predictions = {int(n): self.translated(found) for n, found in one["predictions"].items()}
            media.ranges = self.translated(one["ranges"])
            dataset.media[media.id] = media
        return dataset

    def group(self, raw: Json) -> ModelGroup:
        models = []
        for one in raw["models"]:
            one["content"] = self.archive.read(f"models/{one['id']}")
            for optimized in one["optimized"]:
                optimized["content"] = self.archive.read(f"models/{optimized['id']}")
                optimized["id"] = self.new(optimized["id"])
            one["id"] = self.new(one["id"])
            models.append(Model(**one))
        return ModelGroup(self.new(raw["id"]), raw["name"], self.ids[raw["task_id"]], raw["template"], models)
