"""Whether an archive holds what the server says there is: pure comparison, task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from common.sources import TaskContents


@dataclass(frozen=True)
class Difference:
    """One task in which archive and server disagree. `index` is N of the archive's `task_N/`.

    `lacks`: the archive has less than the server. `is_another`: the archive has another task in this place, which a
    cache cannot explain (a task's name touches its project's date): the two do not belong together.
    """

    index: int
    task_id: int | None
    name: str
    what: str
    lacks: bool = False
    is_another: bool = False

    def __str__(self) -> str:
        return f"task {self.task_id if self.task_id is not None else f'task_{self.index}'} ({self.name}): {self.what}"


def compare(
    server: Mapping[int, TaskContents], task_ids: list[int], archive: Mapping[int, TaskContents]
) -> list[Difference]:
    """Where the archive differs from the server; empty when it is fresh.

    `server` maps task ids (with data) to what the server says, `archive` maps N to what `task_N/` holds,
    `task_ids` are all tasks of the source in the order of ids: N is a position in it (measured).
    """
    differences = []
    position = {task_id: index for index, task_id in enumerate(sorted(task_ids))}
    for task_id, wanted in server.items():
        index = position[task_id]
        found = archive.get(index)
        if found is None:
            differences.append(Difference(index, task_id, wanted.name, "is missing in the archive", lacks=True))
        elif what := "; ".join(_differences(wanted, found)):
            another = wanted.name != found.name
            differences.append(Difference(index, task_id, wanted.name, what, _has_more(wanted, found), another))
    known = {position[task_id] for task_id in server}
    for index, found in archive.items():
        if index not in known:
            differences.append(Difference(index, None, found.name, "is in the archive, but not on the server"))
    return differences


def _has_more(wanted: TaskContents, found: TaskContents) -> bool:
    here, there = wanted.counts, found.counts
    return here.tags > there.tags or here.shapes > there.shapes or here.tracks > there.tracks


def _differences(wanted: TaskContents, found: TaskContents) -> list[str]:
    said = []
    if wanted.name != found.name:
        said.append(f"is called {wanted.name!r} on the server, {found.name!r} in the archive")
    if (wanted.start_frame, wanted.stop_frame) != (found.start_frame, found.stop_frame):
        said.append(
            f"frames {wanted.start_frame} to {wanted.stop_frame} on the server, "
            f"{found.start_frame} to {found.stop_frame} in the archive"
        )
    if wanted.deleted_frames != found.deleted_frames:
        said.append(
            f"deleted frames {_short(wanted.deleted_frames)} on the server, {_short(found.deleted_frames)} in the archive"
        )
    if wanted.counts != found.counts:
        for kind in ("tags", "shapes", "tracks"):
            here, there = getattr(wanted.counts, kind), getattr(found.counts, kind)
            if here != there:
                said.append(f"{here:,} {kind} on the server, {there:,} in the archive")
    if _jobs(wanted) != _jobs(found):
        said.append("its jobs have other frames or another status in the archive")
    return said


def _jobs(contents: TaskContents) -> Counter[tuple[int, int, str]]:
    # Ground-truth and consensus jobs are described in other words in an archive; their annotations are counted above.
    return Counter((job.start_frame, job.stop_frame, job.status) for job in contents.jobs if job.type == "annotation")


def _short(frames: frozenset[int]) -> str:
    listed = sorted(frames)
    return f"{listed}" if len(listed) <= 10 else f"{listed[:10]} and {len(listed) - 10} more"
