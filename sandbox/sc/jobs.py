"""Background jobs: training that starts by itself, project exports and imports."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sandbox.faults import EXPORT_KINDS, Fault, FaultsMet
from sandbox.http import Answered
from sandbox.sc.answering import refusal
from sandbox.sc.configuration import auto_training, required_images
from sandbox.sc.scenes import objects_per_label
from sandbox.sc.world import Job, Json, Project, World

STEPS = {
    "train": "Train model",
    "export_project": "Export project",
    "import_project": "Import project",
}


class Jobs:
    """Starts jobs and ends them when their time has come; called with the world's lock held."""

    def __init__(self, world: World, *, job_seconds: float, training_seconds: float | None) -> None:
        self.world = world
        self.job_seconds = job_seconds
        self.training_seconds = training_seconds  # None: until finish_all()
        self._endings: dict[str, Callable[[Job], None]] = {}

    def start(
        self,
        kind: str,
        project: Project | None,
        name: str,
        ending: Callable[[Job], None],
        faults: FaultsMet,
        metadata: Json | None = None,
    ) -> Job:
        fault = next(iter(faults.of(EXPORT_KINDS)), None)
        seconds: float | None = self.training_seconds if kind == "train" else self.job_seconds
        if fault is not None and fault.kind == "hang":
            seconds = fault.seconds
        job = Job(self.world.new_id(), kind, f"{STEPS[kind]}", project.id if project else None, name, self.world.now())
        job.ends_at = None if seconds is None else time.monotonic() + seconds
        job.metadata = metadata or {}
        if project is not None:
            job.metadata["project"] = {"id": project.id, "name": project.name}
        self._endings[job.id] = _failing(fault) if fault is not None and fault.kind == "fail" else ending
        self.world.jobs[job.id] = job
        return job

    def settle(self) -> None:
        for job in list(self.world.jobs.values()):
            if job.open and job.ends_at is not None and time.monotonic() >= job.ends_at:
                self._end(job)

    def finish_all(self) -> None:
        """Ends everything that is under way, for tests that do not want to wait."""
        with self.world.lock:
            for job in list(self.world.jobs.values()):
                if job.open:
                    self._end(job)

    def _end(self, job: Job) -> None:
        job.state = "finished"
        try:
            self._endings.pop(job.id)(job)
        except Answered as refused:
            job.state, job.message = "failed", f"refused with status {refused.response.status}"

    def written(self, job: Job) -> Json:
        progress = 100 if job.state == "finished" else 50
        return {
            "id": job.id,
            "name": job.name,
            "type": job.type,
            "state": job.state,
            "creation_time": job.created,
            "start_time": job.created,
            "end_time": None if job.open else self.world.now(),
            "author": "sc",
            "cancellation_info": {
                "cancellable": True,
                "is_cancelled": job.state == "cancelled",
                "user_uid": None,
                "cancel_time": None,
            },
            "steps": [
                {
                    "step_name": STEPS[job.type],
                    "message": job.message,
                    "progress": progress,
                    "state": job.state,
                    "duration": 0.1,
                }
            ],
            "metadata": job.metadata,
        }

    def refuse_while_running(self, project: Project) -> None:
        if self.world.running(project):
            raise refusal(409, "project_locked", f"Project `{project.id}` is locked: a job is running.")

    def after_annotation(self, project: Project) -> None:
        """Training starts as soon as a task has annotated pictures enough and its switch is on."""
        waiting = [task for task in project.trainable if auto_training(project, task)["value"]]
        if not waiting or self.world.running(project):
            return
        scenes = [scene for _, media in self.world.all_media(project) for scene in list(media.scenes.values())]
        for task in waiting:
            own = {label.id for label in task.labels}
            annotated = sum(bool(own & set(objects_per_label([scene]))) for scene in scenes)
            if annotated >= required_images(project, task):
                metadata: dict[str, Any] = {"task": {"task_id": task.id, "name": task.title}}
                self.start("train", project, project.name, lambda _: None, FaultsMet(), metadata)
                return


def _failing(fault: Fault) -> Callable[[Job], None]:
    def end(job: Job) -> None:
        job.state, job.message = "failed", fault.message

    return end
