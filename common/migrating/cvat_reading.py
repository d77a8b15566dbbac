"""A CVAT backup as the pictures of a dataset: its images and videos unpacked, its annotations as figures.

A video stays a video: CVAT's frame n is the video's frame start + n * step. A backup is gone through twice: once to see
what it holds, which tells the type of the project, and once to take it out. Memory: the annotations of one task.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from common.backups.archive import Archive, BadArchive, Member
from common.exits import Trouble
from common.files import disk_full_named
from common.migrating.cvat_shapes import figures_of, shapes_of_track
from common.migrating.pictures import Figure, Form, Keypoints, Picture, Plan, plan_for

# Of one video: nine hours at 30 a second. A backup that claims more is no backup of CVAT.
MOST_FRAMES = 1_000_000
_STEP = re.compile(r"step\s*=\s*(\d+)")
_CIRCLE = re.compile(r"<circle[^>]*>")
_LINE = re.compile(r"<line[^>]*>")


class BadBackup(Trouble):
    """The file is no backup of CVAT that can be read; the text says why."""


@dataclass
class CvatContents:
    """A backup that was looked through. `lost` counts what has no counterpart, `gaps` says what is missing.

    `used` counts its figures by form and label; `several_tags`: an image or a frame has tags of several labels.
    """

    path: Path
    name: str
    labels: list[dict[str, Any]] = field(default_factory=list)
    used: Counter[tuple[Form, str]] = field(default_factory=Counter)
    several_tags: bool = False
    media_bytes: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)

    def pictures(self, plan: Plan, folder: Path, check: Callable[[], None] = lambda: None) -> Iterator[Picture]:
        """Each image and video with what `plan` has a place for. Its file lies in `folder` until the next is asked for,
        unless it was moved away. Raises BadBackup.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with _readable(self.path) as archive:
            members = {each.name: each for each in archive.members()}
            for item in _items(archive, members, self, Counter(), []):
                check()
                path = _unpacked(archive, item.member, folder / "0")
                frames = None if item.frames is None else {at: _kept(each, plan) for at, each in item.frames.items()}
                yield Picture(
                    path, item.name, _kept(item.figures, plan), frames, item.size, item.frame_count, may_be_moved=True
                )
                path.unlink(missing_ok=True)
        folder.rmdir()


@dataclass(frozen=True)
class _Item:
    """One image or video of a backup, still in it."""

    member: Member
    name: str
    figures: tuple[Figure, ...] = ()
    frames: Mapping[int, tuple[Figure, ...]] | None = None
    size: tuple[int, int] = (0, 0)
    frame_count: int = 0


@contextmanager
def _readable(path: Path) -> Iterator[Archive]:
    try:
        with Archive(path) as archive:
            yield archive
    except (BadArchive, OSError) as error:
        raise BadBackup(f"{path} cannot be read as a backup of CVAT: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadBackup(f"{path} is not as CVAT writes backups ({type(error).__name__}: {error})") from None


def read_backup(path: Path, check: Callable[[], None] = lambda: None) -> CvatContents:
    """Looks through a backup of a project or a task. Raises BadBackup."""
    with _readable(path) as archive:
        members = {each.name: each for each in archive.members()}
        described = _json(archive, members, "project.json" if "project.json" in members else "task.json")
        contents = CvatContents(path, str(described.get("name") or path.stem), list(described.get("labels") or []))
        if "annotation_guide.md" in members:
            contents.lost["the annotation guide has no counterpart"] += 1
        for item in _items(archive, members, contents, contents.lost, contents.gaps):
            check()
            contents.media_bytes += item.member.size_bytes
            for figures in [item.figures] if item.frames is None else item.frames.values():
                contents.used.update((each.form, each.label) for each in figures)
                contents.several_tags |= len({each.label for each in figures if each.form == "tag"}) > 1
    return contents


def _json(archive: Archive, members: Mapping[str, Member], name: str) -> Any:
    if name not in members:
        raise BadArchive(f"it has no {name}")
    return json.loads(archive.read_small(members[name]))


def _items(
    archive: Archive, members: Mapping[str, Member], contents: CvatContents, lost: Counter[str], gaps: list[str]
) -> Iterator[_Item]:
    """The images and videos of all tasks, one task after the other."""
    prefixes = (name[: -len("task.json")] for name in members if re.fullmatch(r"(task_\d+/)?task\.json", name))
    for prefix in sorted(prefixes, key=lambda each: int(re.sub(r"\D", "", each) or 0)):
        yield from _items_of_task(archive, members, prefix, contents, lost, gaps)


def _items_of_task(
    archive: Archive, members: Mapping[str, Member], prefix: str, contents: CvatContents, lost: Counter[str],
    gaps: list[str],
) -> Iterator[_Item]:  # fmt: skip
    task = _json(archive, members, f"{prefix}task.json")
    about, name = task["data"], str(task.get("name", ""))
    rows = _manifest(archive, members, f"{prefix}data/manifest.jsonl")
    media = sorted(each[len(prefix) + 5 :] for each in members if each.startswith(f"{prefix}data/"))
    media = [each for each in media if each not in ("", "manifest.jsonl", "index.json") and not each.endswith("/")]
    if not media:
        gaps.append(f"task {name!r}: the backup holds no images or video of it")
        return
    known = contents.labels or list(task.get("labels") or [])
    figures = _figures_by_frame(archive, members, prefix, task, known, lost, _most_frames(rows, media, about))
    for frame in about.get("deleted_frames") or []:
        figures.pop(frame, None)
    if task.get("subset"):
        lost["the subset of a task has no counterpart"] += 1
    step = int(found[1]) if (found := _STEP.search(str(about.get("frame_filter") or ""))) else 1
    start = int(about.get("start_frame") or 0)
    if about.get("chunk_type") == "video" or any("properties" in row for row in rows):
        told: Mapping[str, Any] = next((row["properties"] for row in rows if "properties" in row), {})
        frames = {start + frame * step: tuple(each) for frame, each in figures.items()}
        width, height = told.get("resolution") or (0, 0)
        if about.get("deleted_frames"):
            lost["the mark of a deleted frame of a video has no counterpart"] += len(about["deleted_frames"])
        yield _Item(
            members[f"{prefix}data/{media[0]}"], _name(media[0]), frames=frames, size=(width, height),
            frame_count=int(told.get("length") or 0),
        )  # fmt: skip
        return
    listed = [f"{row['name']}{row['extension']}" for row in rows if "extension" in row] or media
    stop = min(int(about.get("stop_frame", len(listed) - 1)), len(listed) - 1)
    deleted = set(about.get("deleted_frames") or [])
    for frame, at in enumerate(range(start, stop + 1, step)):
        if frame in deleted:
            lost["a deleted frame is left out"] += 1
            continue
        member = members.get(f"{prefix}data/{listed[at]}")
        if member is None:
            gaps.append(f"task {name!r}: the backup lacks image {listed[at]!r}")
            continue
        yield _Item(member, _name(listed[at]), tuple(figures.get(frame, ())))


def _most_frames(rows: Sequence[Mapping[str, Any]], media: Sequence[str], about: Mapping[str, Any]) -> int:
    """How many frames a task can have at most, by what lies in the backup."""
    lengths = [int(row["properties"].get("length") or 0) for row in rows if "properties" in row]
    if lengths or about.get("chunk_type") == "video":
        return min(max(lengths, default=0) or MOST_FRAMES, MOST_FRAMES)
    return sum("extension" in row for row in rows) or len(media)


def _name(path: str) -> str:
    """What an image is called: with the folders that it lay in, since several may hold the same name."""
    return str(PurePosixPath(path).with_suffix("")).replace("/", "_")


def _unpacked(archive: Archive, member: Member, base: Path) -> Path:
    """The file of a member, under a name of ours. Read to its end, so its checksum is compared."""
    suffix = PurePosixPath(member.name).suffix.lower()
    path = base.with_suffix(suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ".bin")
    with disk_full_named(path.parent), open(path, "wb") as file:
        for piece in archive.read(member):
            file.write(piece)
    return path


def _manifest(archive: Archive, members: Mapping[str, Member], name: str) -> list[dict[str, Any]]:
    if name not in members:
        return []
    rows = (json.loads(line) for line in archive.read_small(members[name]).splitlines() if line.strip())
    return [row for row in rows if isinstance(row, dict) and ("extension" in row or "properties" in row)]


def _figures_by_frame(
    archive: Archive, members: Mapping[str, Member], prefix: str, task: Mapping[str, Any],
    labels: Sequence[Mapping[str, Any]], lost: Counter[str], most: int,
) -> dict[int, list[Figure]]:  # fmt: skip
    found: dict[int, list[Figure]] = {}
    seen: set[tuple[int, Figure]] = set()
    parts = {str(label["name"]): [str(each["name"]) for each in label.get("sublabels") or []] for label in labels}
    jobs, rows = task.get("jobs") or [], _json(archive, members, f"{prefix}annotations.json")
    for number, held in enumerate(rows if isinstance(rows, list) else [rows]):
        job = jobs[number] if number < len(jobs) else {}
        if job.get("type", "annotation") != "annotation":
            count = sum(len(held.get(kind) or []) for kind in ("tags", "shapes", "tracks"))
            lost[f"an annotation of a {str(job['type']).replace('_', ' ')} job is left out"] += count
            continue
        # Never more than there are: a track is drawn on every one of them.
        last = min(int(job.get("stop_frame", task["data"].get("stop_frame", 0))), most - 1)
        shapes = list(held.get("shapes") or [])
        for track in held.get("tracks") or []:
            lost["a track became shapes: that they are one object has no counterpart"] += 1
            shapes += shapes_of_track(track, last, lost)
        fresh: list[tuple[int, Figure]] = []
        for row in shapes:
            made = figures_of(row, parts.get(str(row["label"]), []), lost)
            fresh += [(int(row["frame"]), each) for each in made]
        for row in held.get("tags") or []:
            if row.get("attributes"):
                lost["a value of an attribute has no counterpart"] += len(row["attributes"])
            fresh.append((int(row["frame"]), Figure("tag", str(row["label"]))))
        for frame, figure in fresh:
            # Jobs overlap: the same shape of two jobs is one.
            if (frame, figure) not in seen:
                found.setdefault(frame, []).append(figure)
        seen.update(fresh)
    return found


# --- what project it becomes ---------------------------------------------------------------------------------------


def plan_of(contents: CvatContents, project_type: str = "", chosen: str = "") -> Plan:
    """The tasks of the project: of the type asked for, else the plainest that has all shapes. Raises ValueError.

    Figures that it has no place for are counted in `lost`.
    """
    project_type = project_type or _type_for({form for form, _ in contents.used})
    keypoints = None
    wanted = _wanted(project_type)
    used: Counter[str] = Counter()
    for (form, name), count in contents.used.items():
        used[name] += count if form in wanted else 0
    names = [str(each["name"]) for each in contents.labels if used[str(each["name"])] or _fits(each, project_type)]
    if project_type == "keypoint":
        skeletons = [each for each in contents.labels if each.get("type") == "skeleton"]
        if len(skeletons) != 1 and not chosen:
            raise ValueError(
                f"a keypoint project has one skeleton, this has {len(skeletons)}: choose one with --labels"
            )
        skeleton = next((each for each in skeletons if str(each["name"]) == chosen or not chosen), None)
        if skeleton is None:
            raise ValueError(f"there is no skeleton {chosen!r}")
        names, keypoints = [str(skeleton["name"])], structure_of(skeleton)
    plan = plan_for(project_type, names, chosen, keypoints)
    if project_type == "keypoint":
        plan.tasks[0]["title"] = names[0]
        _place(plan, skeleton or {})
    if project_type == "classification":
        plan.several = contents.several_tags
        for label in plan.tasks[0]["labels"] if plan.several else []:
            label["group"] = label["name"]
    _give_colors(plan, contents.labels)
    for label in contents.labels:
        if label.get("attributes"):
            contents.lost["an attribute of a label has no counterpart"] += len(label["attributes"])
        if str(label["name"]) not in plan.classes:
            contents.lost["a label that the tasks have no place for is left out"] += 1
    for (form, name), count in contents.used.items():
        if form not in wanted or name not in plan.classes:
            what = "skeleton" if form == "points" else form
            contents.lost[f"a {what} has no place in a project of type {plan.project_type}"] += count
    return plan


def _wanted(project_type: str) -> Set[Form]:
    """The figures that a project of this type has a place for."""
    if project_type in ("classification", "anomaly"):
        return {"tag"}
    return {"points"} if project_type == "keypoint" else {"rectangle", "rotated", "ellipse", "polygon"}


def _kept(figures: Sequence[Figure], plan: Plan) -> tuple[Figure, ...]:
    wanted = _wanted(plan.project_type)
    return tuple(each for each in figures if each.form in wanted and each.label in plan.classes)


def _type_for(forms: Set[Form]) -> str:
    drawn = set(forms) - {"tag"}
    if not drawn:
        return "classification" if forms else "detection"
    if drawn == {"points"}:
        return "keypoint"
    if drawn <= {"rectangle", "points"}:
        return "detection"
    return "rotated_detection" if drawn <= {"rectangle", "rotated", "points"} else "instance_segmentation"


def _fits(label: Mapping[str, Any], project_type: str) -> bool:
    kind = label.get("type", "any")
    if project_type in ("classification", "anomaly"):
        return kind in ("tag", "any")
    return project_type != "keypoint" and kind in ("rectangle", "polygon", "ellipse", "mask", "any")


def _give_colors(plan: Plan, labels: Sequence[Mapping[str, Any]]) -> None:
    colors = {str(each["name"]): str(each.get("color") or "") for each in labels}
    sublabels = {
        str(each["name"]): str(each.get("color") or "") for one in labels for each in one.get("sublabels") or []
    }
    given = {
        target: colors.get(source, "")
        for source, targets in plan.classes.items()
        for target in targets
        if target is not None
    }
    for task in plan.tasks:
        for label in task["labels"]:
            color = given.get(label["name"]) or (sublabels.get(label["name"]) if plan.keypoints else "")
            if color and re.fullmatch(r"#[0-9a-fA-F]{6}", color):
                label["color"] = color.lower() + "ff"


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


def structure_of(skeleton: Mapping[str, Any]) -> Keypoints:
    """The points of a skeleton in their order and which are joined, as its drawing says."""
    names = tuple(str(each["name"]) for each in skeleton.get("sublabels") or [])
    svg = str(skeleton.get("svg") or "")
    nodes = {_attribute(tag, "data-node-id"): _attribute(tag, "data-label-name") for tag in _CIRCLE.findall(svg)}
    edges = set()
    for tag in _LINE.findall(svg):
        pair = [nodes.get(_attribute(tag, f"data-node-{end}"), "") for end in ("from", "to")]
        if all(each in names for each in pair):
            edges.add((names.index(pair[0]), names.index(pair[1])))
    return Keypoints(names, tuple(sorted(edges)))


def _place(plan: Plan, skeleton: Mapping[str, Any]) -> None:
    """The points of the template where CVAT's drawing has them (its square is 100 x 100)."""
    where = {}
    for tag in _CIRCLE.findall(str(skeleton.get("svg") or "")):
        across, down = _attribute(tag, "cx"), _attribute(tag, "cy")
        if across and down:
            where[_attribute(tag, "data-label-name")] = (float(across) / 100, float(down) / 100)
    for position in plan.tasks[0]["keypoint_structure"]["positions"]:
        if position["label"] in where:
            x, y = where[position["label"]]
            position |= {"x": min(max(round(x, 4), 0), 1), "y": min(max(round(y, 4), 0), 1)}
