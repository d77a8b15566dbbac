"""A CVAT backup as the pictures of a dataset: its images and videos unpacked, its annotations as figures.

A video stays a video: CVAT's frame n is the video's frame start + n * step. Memory: the annotations of one task.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from common.backups.archive import Archive, BadArchive, Member
from common.exits import Trouble
from common.files import disk_full_named
from common.migrating.cvat_shapes import figures_of, shapes_of_track
from common.migrating.pictures import Figure, Form, Keypoints, Picture, Plan, plan_for

_STEP = re.compile(r"step\s*=\s*(\d+)")
_CIRCLE = re.compile(r"<circle[^>]*>")
_LINE = re.compile(r"<line[^>]*>")


class BadBackup(Trouble):
    """The file is no backup of CVAT that can be read; the text says why."""


@dataclass
class CvatContents:
    """A backup that was read. `lost` counts what has no counterpart, `gaps` says what is missing, a sentence each."""

    name: str
    labels: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    gaps: list[str] = field(default_factory=list)

    def all_figures(self) -> Iterator[tuple[Figure, ...]]:
        """The figures of each image and of each annotated frame."""
        for picture in self.pictures:
            yield from picture.frames.values() if picture.frames is not None else (picture.figures,)


def read_backup(path: Path, folder: Path, check: Callable[[], None] = lambda: None) -> CvatContents:
    """Reads a backup of a project or a task; its media go into `folder`, under names of ours. Raises BadBackup."""
    try:
        with Archive(path) as archive:
            members = {each.name: each for each in archive.members()}
            prefixes = sorted(
                (name[: -len("task.json")] for name in members if re.fullmatch(r"(task_\d+/)?task\.json", name)),
                key=lambda prefix: int(re.sub(r"\D", "", prefix) or 0),
            )
            described = _json(archive, members, "project.json" if "project.json" in members else "task.json")
            contents = CvatContents(str(described.get("name") or path.stem), list(described.get("labels") or []))
            if "annotation_guide.md" in members:
                contents.lost["the annotation guide has no counterpart"] += 1
            for number, prefix in enumerate(prefixes):
                check()
                _read_task(archive, members, prefix, folder / str(number), contents, check)
    except (BadArchive, OSError) as error:
        raise BadBackup(f"{path} cannot be read as a backup of CVAT: {error}") from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadBackup(f"{path} is not as CVAT writes backups ({type(error).__name__}: {error})") from None
    return contents


def _json(archive: Archive, members: Mapping[str, Member], name: str) -> Any:
    if name not in members:
        raise BadArchive(f"it has no {name}")
    return json.loads(archive.read_small(members[name]))


def _read_task(
    archive: Archive, members: Mapping[str, Member], prefix: str, folder: Path, contents: CvatContents,
    check: Callable[[], None],
) -> None:  # fmt: skip
    task = _json(archive, members, f"{prefix}task.json")
    about, name = task["data"], str(task.get("name", ""))
    rows = _manifest(archive, members, f"{prefix}data/manifest.jsonl")
    media = sorted(each[len(prefix) + 5 :] for each in members if each.startswith(f"{prefix}data/"))
    media = [each for each in media if each not in ("", "manifest.jsonl", "index.json") and not each.endswith("/")]
    if not media:
        contents.gaps.append(f"task {name!r}: the backup holds no images or video of it")
        return
    figures = _figures_by_frame(archive, members, prefix, task, contents)
    for frame in about.get("deleted_frames") or []:
        figures.pop(frame, None)
    if task.get("subset"):
        contents.lost["the subset of a task has no counterpart"] += 1
    step = int(found[1]) if (found := _STEP.search(str(about.get("frame_filter") or ""))) else 1
    start = int(about.get("start_frame") or 0)
    folder.mkdir(parents=True, exist_ok=True)
    if about.get("chunk_type") == "video" or any("properties" in row for row in rows):
        told: Mapping[str, Any] = next((row["properties"] for row in rows if "properties" in row), {})
        file = _unpacked(archive, members[f"{prefix}data/{media[0]}"], folder / "0")
        frames = {start + frame * step: tuple(each) for frame, each in figures.items()}
        width, height = told.get("resolution") or (0, 0)
        contents.pictures.append(
            Picture(
                file, _name(media[0]), frames=frames, size=(width, height), frame_count=int(told.get("length") or 0)
            )
        )
        if about.get("deleted_frames"):
            contents.lost["the mark of a deleted frame of a video has no counterpart"] += len(about["deleted_frames"])
        return
    listed = [f"{row['name']}{row['extension']}" for row in rows if "extension" in row] or media
    stop = min(int(about.get("stop_frame", len(listed) - 1)), len(listed) - 1)
    deleted = set(about.get("deleted_frames") or [])
    for frame, at in enumerate(range(start, stop + 1, step)):
        check()
        if frame in deleted:
            contents.lost["a deleted frame is left out"] += 1
            continue
        member = members.get(f"{prefix}data/{listed[at]}")
        if member is None:
            contents.gaps.append(f"task {name!r}: the backup lacks image {listed[at]!r}")
            continue
        file = _unpacked(archive, member, folder / str(frame))
        contents.pictures.append(Picture(file, _name(listed[at]), tuple(figures.get(frame, ()))))


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
    archive: Archive, members: Mapping[str, Member], prefix: str, task: Mapping[str, Any], contents: CvatContents
) -> dict[int, list[Figure]]:
    found: dict[int, list[Figure]] = {}
    seen: set[tuple[int, Figure]] = set()
    parts = {
        str(label["name"]): [str(each["name"]) for each in label.get("sublabels") or []]
        for label in _labels(task, contents)
    }
    jobs, rows = task.get("jobs") or [], _json(archive, members, f"{prefix}annotations.json")
    for number, held in enumerate(rows if isinstance(rows, list) else [rows]):
        job = jobs[number] if number < len(jobs) else {}
        if job.get("type", "annotation") != "annotation":
            count = sum(len(held.get(kind) or []) for kind in ("tags", "shapes", "tracks"))
            contents.lost[f"an annotation of a {str(job['type']).replace('_', ' ')} job is left out"] += count
            continue
        last = int(job.get("stop_frame", task["data"].get("stop_frame", 0)))
        shapes = list(held.get("shapes") or [])
        for track in held.get("tracks") or []:
            contents.lost["a track became shapes: that they are one object has no counterpart"] += 1
            shapes += shapes_of_track(track, last, contents.lost)
        fresh: list[tuple[int, Figure]] = []
        for row in shapes:
            made = figures_of(row, parts.get(str(row["label"]), []), contents.lost)
            fresh += [(int(row["frame"]), each) for each in made]
        for row in held.get("tags") or []:
            if row.get("attributes"):
                contents.lost["a value of an attribute has no counterpart"] += len(row["attributes"])
            fresh.append((int(row["frame"]), Figure("tag", str(row["label"]))))
        for frame, figure in fresh:
            # Jobs overlap: the same shape of two jobs is one.
            if (frame, figure) not in seen:
                found.setdefault(frame, []).append(figure)
        seen.update(fresh)
    return found


def _labels(task: Mapping[str, Any], contents: CvatContents) -> list[dict[str, Any]]:
    return contents.labels or list(task.get("labels") or [])


# --- what project it becomes ---------------------------------------------------------------------------------------


def plan_of(contents: CvatContents, project_type: str = "", chosen: str = "") -> Plan:
    """The tasks of the project: of the type asked for, else the plainest that has all shapes. Raises ValueError.

    Figures that the type has no place for are taken out of `contents` and counted in its `lost`.
    """
    forms = {figure.form for figures in contents.all_figures() for figure in figures}
    project_type = project_type or _type_for(forms)
    keypoints = None
    wanted = {"classification": {"tag"}, "anomaly": {"tag"}, "keypoint": {"points"}}.get(
        project_type, {"rectangle", "rotated", "ellipse", "polygon"}
    )
    used = Counter(f.label for figures in contents.all_figures() for f in figures if f.form in wanted)
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
        plan.several = any(len({f.label for f in each if f.form == "tag"}) > 1 for each in contents.all_figures())
        for label in plan.tasks[0]["labels"] if plan.several else []:
            label["group"] = label["name"]
    _give_colors(plan, contents.labels)
    for label in contents.labels:
        if label.get("attributes"):
            contents.lost["an attribute of a label has no counterpart"] += len(label["attributes"])
        if str(label["name"]) not in plan.classes:
            contents.lost["a label that the tasks have no place for is left out"] += 1
    contents.pictures = [_only(each, wanted, plan, contents.lost) for each in contents.pictures]
    return plan


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


def _only(picture: Picture, wanted: set[str], plan: Plan, lost: Counter[str]) -> Picture:
    def kept(figures: Sequence[Figure]) -> tuple[Figure, ...]:
        fitting = []
        for figure in figures:
            if figure.form in wanted and figure.label in plan.classes:
                fitting.append(figure)
            else:
                what = "skeleton" if figure.form == "points" else figure.form
                lost[f"a {what} has no place in a project of type {plan.project_type}"] += 1
        return tuple(fitting)

    frames = None if picture.frames is None else {at: kept(each) for at, each in picture.frames.items()}
    return Picture(picture.path, picture.name, kept(picture.figures), frames, picture.size, picture.frame_count)


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
