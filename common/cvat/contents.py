"""What a task holds according to the server: frames, jobs, and the number of annotations, read as streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from common.annotations import NotAnnotations, count, frames_meta
from common.cvat.client import Client
from common.cvat.errors import NotJson, ServerError, Unreachable
from common.sources import Counts, JobRange, TaskContents, TaskState
from common.waiting import growing_pauses
from common.web.answers import is_page

ATTEMPTS = 4

T = TypeVar("T")


def job_range(job: dict[str, Any]) -> JobRange:
    """A job item of the API in the words of task.json."""
    return JobRange(
        str(job.get("type") or "annotation"),
        int(job["start_frame"]),
        int(job["stop_frame"]),
        str(job.get("status") or ""),
    )


def task_contents(client: Client, task: TaskState, jobs: list[dict[str, Any]]) -> TaskContents:
    """What the server says a task holds. Raises CvatError."""
    meta = reading(client, f"/api/tasks/{task.id}/data/meta", frames_meta)
    counts = sum((job_counts(client, int(job["id"])) for job in jobs), Counts())
    return TaskContents(
        name=task.name,
        start_frame=meta.start_frame,
        stop_frame=meta.stop_frame,
        deleted_frames=meta.deleted_frames,
        jobs=tuple(job_range(job) for job in jobs),
        counts=counts,
        frames=meta.size,
    )


def job_counts(client: Client, job_id: int) -> Counts:
    """Tags, shapes and tracks of one job. Raises CvatError."""
    return reading(client, f"/api/jobs/{job_id}/annotations", count)


def reading(
    client: Client, path: str, consume: Callable[[Iterator[bytes]], T], params: dict[str, Any] | None = None
) -> T:
    """What `consume` makes of an answer's bytes, read as a stream; from the beginning again when it broke off.

    Raises CvatError. `consume` is called anew for each attempt.
    """
    pauses = growing_pauses(0.5)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with client.streaming(path, params=params) as response:
                if is_page(response):
                    raise NotJson(f"GET {path}: a web page came instead of an answer")
                return consume(client.pieces(response))
        except NotJson:
            if attempt == ATTEMPTS:
                raise
            client.stop.sleep(next(pauses))
        except (Unreachable, NotAnnotations) as error:
            if attempt == ATTEMPTS:
                raise ServerError(f"GET {path}: {error}") from None
            client.stop.sleep(next(pauses))
    raise AssertionError("the last attempt returns or raises")
