"""The JSON of projects, data sets and media, in each generation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sandbox.sc.generations import Generation
from sandbox.sc.projects import is_anomaly
from sandbox.sc.scenes import media_states
from sandbox.sc.world import Dataset, Json, Label, Media, Project, Task, World


@dataclass(frozen=True)
class Writer:
    world: World
    generation: Generation

    def home(self, workspace: str) -> str:
        """The address of a workspace, from the root."""
        organization = f"organizations/{self.world.organization_id}/" if self.generation.organizations else ""
        return f"{self.generation.api}{organization}workspaces/{workspace}"

    def project(self, project: Project, *, listed: bool = False, created: bool = False) -> Json:
        generation = self.generation
        written: Json = {
            "creation_time": project.created,
            "datasets": [self.dataset(dataset) for dataset in project.datasets],
            "id": project.id,
            "name": project.name,
            "pipeline": {
                "connections": [{"from": start, "to": end} for start, end in project.connections],
                "tasks": [self.task(task) for task in project.tasks],
            },
            "thumbnail": f"{self.home(project.workspace_id)}/projects/{project.id}/thumbnail",
        }
        if generation.name == "1.1":
            return written | {"score": 0.0} if created else written
        written |= {
            "creator_id": project.creator,
            "performance": {
                "score": None,
                "task_performances": [{"score": None, "task_id": t.id} for t in project.trainable],
            },
        }
        if generation.organizations:
            written["storage_info"] = {}
            if listed:
                del written["datasets"]
        return written

    def dataset(self, dataset: Dataset) -> Json:
        if self.generation.name == "1.1":
            return {"id": dataset.id, "name": dataset.name}
        return {
            "creation_time": dataset.created,
            "id": dataset.id,
            "name": dataset.name,
            "use_for_training": dataset.use_for_training,
        }

    def task(self, task: Task) -> Json:
        written: Json = {"id": task.id, "task_type": task.task_type, "title": task.title}
        if task.trainable:
            written["label_schema_id"] = task.label_schema_id
            written["labels"] = [self.label(label, task) for label in task.labels if not label.deleted]
            if task.keypoint_structure is not None:
                written["keypoint_structure"] = task.keypoint_structure
        return written

    def label(self, label: Label, task: Task) -> Json:
        written: Json = {
            "color": label.color,
            "group": label.group,
            "hotkey": label.hotkey,
            "id": label.id,
            "is_empty": label.is_empty,
            "name": label.name,
            "parent_id": label.parent_id,
        }
        if self.generation.name != "1.1" or is_anomaly(task.task_type):
            written["is_anomalous"] = label.is_anomalous
        return written

    def states(self, project: Project, media: Media) -> list[Json]:
        upper = self.generation.name == "1.1"  # recorded: NONE here, "annotated" in scenes
        return [
            {"state": state.upper() if upper else state, "task_id": task_id}
            for task_id, state in media_states(project, media).items()
        ]

    def media(self, project: Project, dataset: Dataset, media: Media) -> Json:
        home = f"{self.home(project.workspace_id)}/projects/{project.id}/datasets/{dataset.id}/media/{media.kind}s/{media.id}"
        view = "full" if media.kind == "image" else "stream"
        # The space at the end is the server's, and recorded.
        information: Json = {
            "display_url": f"{home}/display/{view} ",
            "height": media.height,
            "width": media.width,
        }
        if media.kind == "video":
            information |= {
                "duration": media.duration,
                "frame_count": media.frame_count,
                "frame_stride": max(1, round(media.frame_rate)),
            }
        written: Json = {
            "annotation_state_per_task": self.states(project, media),
            "id": media.id,
            "media_information": information,
            "name": media.name,
            "thumbnail": f"{home}/display/thumb",
            "type": media.kind,
            "upload_time": media.uploaded,
        }
        if self.generation.name == "1.1":
            return written
        if media.kind == "video":
            information["frame_rate"] = media.frame_rate
        information["size"] = media.path.stat().st_size
        if self.generation.organizations:
            written |= {"uploader_id": "sc", "last_annotator_id": "sc" if media.scenes else None}
            if self.generation.numbers >= (2, 5):
                information["extension"] = media.extension
            if media.ready_at is not None:
                done = time.monotonic() >= media.ready_at
                written["preprocessing"] = {"status": "FINISHED" if done else "IN_PROGRESS"}
        return written
