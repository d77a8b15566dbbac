"""Whether an archive holds what the server says there is: pure comparison, task by task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.sources import TaskContents, TaskState
from common.text import printable


@dataclass(frozen=True)
class Difference:
    """One task in which archive and server disagree. `index` is N of the archive's `task_N/`.

    `lacks`: the archive has less than the server. `is_another`: the archive has another task in this place, or one
    where the server has none, which a cache should not explain (both touch the project's date): no place can be trusted.
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
            # In the place of a task without data it is one whose upload never came to an end.
            another = index >= len(position)
            what = "is in the archive, but not on the server"
            differences.append(Difference(index, None, found.name, what, is_another=another))
    return differences


def misfits(before: Iterable[TaskState], after: Iterable[TaskState], archive: Mapping[int, TaskContents]) -> list[str]:
    """Why an archive can be of no moment between two looks at a source that changed meanwhile, one sentence each.

    Only the tasks' names are held against it: what else is in them was on the move.
    """
    first, last = {task.id: task for task in before}, {task.id: task for task in after}
    found = Counter(task.name for task in archive.values())
    known = Counter(name for key in first | last for name in {look[key].name for look in (first, last) if key in look})
    both = [(first[key], last[key]) for key in first.keys() & last.keys()]
    steady = Counter(one.name for one, two in both if one.has_data and two.has_data and one.name == two.name)
    return [f"task {printable(name, 60)!r} is in the archive, but not on the server" for name in found - known] + [
        f"task {printable(name, 60)!r} is missing in the archive" for name in steady - found
    ]


def _has_more(wanted: TaskContents, found: TaskContents) -> bool:
    here, there = wanted.counts, found.counts
    # Some versions number the frames of a range or a step anew: fewer of them is what counts.
    fewer_frames = _range(wanted) != _range(found) and found.frames < wanted.frames
    return fewer_frames or here.tags > there.tags or here.shapes > there.shapes or here.tracks > there.tracks


def _differences(wanted: TaskContents, found: TaskContents) -> list[str]:
    said = []
    if wanted.name != found.name:
        said.append(f"is called {wanted.name!r} on the server, {found.name!r} in the archive")
    if _range(wanted) != _range(found):
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


def _range(contents: TaskContents) -> tuple[int, int]:
    return contents.start_frame, contents.stop_frame


def _jobs(contents: TaskContents) -> Counter[tuple[int, int, str]]:
    # Ground-truth and consensus jobs are described in other words in an archive; their annotations are counted above.
    return Counter((job.start_frame, job.stop_frame, job.status) for job in contents.jobs if job.type == "annotation")


def _short(frames: frozenset[int]) -> str:
    listed = sorted(frames)
    return f"{listed}" if len(listed) <= 10 else f"{listed[:10]} and {len(listed) - 10} more"
