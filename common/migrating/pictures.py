"""Annotated pictures as any dataset holds them, and how their shapes become those of a project's tasks.

Pure: what a detection task makes of a polygon, which images a classification task cannot take, and so on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Form = Literal["rectangle", "rotated", "ellipse", "polygon", "points", "tag"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One annotation in pixels. rectangle: x, y, width, height; rotated: centre x, y, width, height, degrees clockwise;
    ellipse: its bounding box; polygon and points: x, y, x, y, …; a tag has none. Figures of one `group` (not 0) are
    the same object drawn in several ways, as COCO has a box and an outline."""

    form: Form
    label: str
    values: tuple[float, ...] = ()
    visible: tuple[bool, ...] = ()
    group: int = 0


@dataclass(frozen=True)
class Picture:
    """One image of a dataset on disk; or a video, which has `frames`: the figures of each annotated frame by its index.

    Of a video `size` (pixels) and `frame_count` are told, since nothing here opens it. `may_be_moved`: the file is a
    copy that nobody else needs.
    """

    path: Path
    name: str
    figures: tuple[Figure, ...] = ()
    frames: Mapping[int, tuple[Figure, ...]] | None = None
    size: tuple[int, int] = (0, 0)
    frame_count: int = 0
    may_be_moved: bool = False


@dataclass(frozen=True)
class Keypoints:
    """The structure of a skeleton: its points in order, and which are joined (indexes)."""

    points: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()


@dataclass
class Plan:
    """What project is made: `classes` maps a dataset's label to the labels of the tasks, one each, or None."""

    project_type: str
    tasks: list[dict[str, Any]] = field(default_factory=list)
    classes: dict[str, list[str | None]] = field(default_factory=dict)
    keypoints: Keypoints | None = None
    several: bool = False  # an image may have several of the classes
    lost: list[str] = field(default_factory=list)


SINGLE = {
    "detection": "detection", "segmentation": "segmentation", "classification": "classification",
    "anomaly": "anomaly", "rotated_detection": "rotated_detection",
    "instance_segmentation": "instance_segmentation", "keypoint": "keypoint_detection",
}  # fmt: skip
CHAINS = {
    "detection_to_segmentation": ("detection", "segmentation"),
    "detection_to_classification": ("detection", "classification"),
}


def _title(task_type: str) -> str:
    return task_type.replace("_", " ").capitalize() + " task"


def _task(task_type: str, names: Sequence[str]) -> dict[str, Any]:
    group = f"{_title(task_type)} label group"
    labels = [{"name": name, "group": group} for name in dict.fromkeys(names)]
    return {"title": _title(task_type), "task_type": task_type, "labels": labels}


def _spec(text: str) -> tuple[list[str], dict[str, str]]:
    """ "dog=dog shape,cat" as (["dog", "cat"], {"dog": "dog shape", "cat": "cat"})."""
    names = {}
    for part in text.split(","):
        if part.strip():
            source, _, target = part.partition("=")
            names[source.strip()] = (target or source).strip()
    return list(names), names


def plan_for(project_type: str, known: Sequence[str], chosen: str = "", keypoints: Keypoints | None = None) -> Plan:
    """The tasks of a project of this type over a dataset with the labels `known`.

    `chosen` is "A,B", or "A=new name"; of a chain "first;A,B"; of anomaly "normal,…;anomalous,…". Raises ValueError.
    """
    first, _, second = chosen.partition(";")
    plan = Plan(project_type)
    if project_type in CHAINS:
        _plan_chain(plan, known, first, second)
    elif project_type == "anomaly":
        _plan_anomaly(plan, known, first, second)
    else:
        classes, names = _spec(first) if first else (list(known), {each: each for each in known})
        _require_known(classes, known)
        if project_type == "keypoint":
            _plan_keypoints(plan, classes, keypoints)
        else:
            plan.classes = {each: [names[each]] for each in classes}
            plan.tasks = [_task(SINGLE[project_type], list(names.values()))]
            if project_type == "classification" and len(set(names.values())) < 2:
                raise ValueError("a classification project needs two labels at least")
    return plan


def _require_known(classes: Sequence[str], known: Sequence[str]) -> None:
    if missing := [each for each in classes if each not in known]:
        raise ValueError(f"the dataset has no label {', '.join(missing)}; it has {', '.join(sorted(known))}")
    if not classes:
        raise ValueError("the dataset has no labels: choose another format, or name labels")


def _plan_chain(plan: Plan, known: Sequence[str], first: str, second: str) -> None:
    outer, inner = CHAINS[plan.project_type]
    classes, names = _spec(second) if second else (list(known), {each: each for each in known})
    _require_known(classes, known)
    firsts, first_names = _spec(first) if first else (["object"], {"object": "object"})
    if len(firsts) == 1:
        plan.classes = {each: [first_names[firsts[0]], names[each]] for each in classes}
    else:
        plan.classes = {each: [first_names.get(each), names[each]] for each in classes}
    if clash := set(first_names.values()) & set(names.values()):
        raise ValueError(f"label {', '.join(sorted(clash))} cannot be in both tasks: write NAME=other name")
    plan.tasks = [_task(outer, list(first_names.values())), _task(inner, list(names.values()))]


def _plan_anomaly(plan: Plan, known: Sequence[str], first: str, second: str) -> None:
    normal, anomalous = _spec(first)[0], _spec(second)[0]
    if not normal or not anomalous:
        found = {each.casefold(): each for each in known}
        normal = normal or [found[each] for each in ("normal", "good", "ok") if each in found]
        anomalous = anomalous or [each for each in known if each not in normal]
    _require_known(normal + anomalous, known)
    if not normal or not anomalous:
        raise ValueError("anomaly needs --labels 'normal,…;anomalous,…'")
    plan.classes = {each: ["Normal" if each in normal else "Anomalous"] for each in [*normal, *anomalous]}
    plan.tasks = [
        {
            "title": _title("anomaly"),
            "task_type": "anomaly",
            "labels": [
                {"name": "Normal", "group": "default - anomaly", "is_anomalous": False},
                {"name": "Anomalous", "group": "default - anomaly", "is_anomalous": True},
            ],
        }
    ]


def _plan_keypoints(plan: Plan, classes: Sequence[str], keypoints: Keypoints | None) -> None:
    if keypoints is None or not keypoints.points:
        raise ValueError("the dataset names no keypoints")
    plan.keypoints = keypoints
    plan.classes = {each: [None] for each in classes}
    task = _task("keypoint_detection", keypoints.points)
    turn = 2 * math.pi / len(keypoints.points)
    task["keypoint_structure"] = {
        "edges": [{"nodes": [keypoints.points[a], keypoints.points[b]]} for a, b in keypoints.edges],
        "positions": [
            # Datasets do not say where the points of a template lie: a ring shows all of them.
            {
                "label": name,
                "x": round(0.5 + 0.4 * math.sin(turn * at), 4),
                "y": round(0.5 - 0.4 * math.cos(turn * at), 4),
            }
            for at, name in enumerate(keypoints.points)
        ],
    }
    plan.tasks = [task]


# --- shapes -----------------------------------------------------------------------------------------------------


def annotations_of(picture: Picture, plan: Plan, width: int, height: int) -> tuple[list[dict[str, Any]], list[str]]:
    """The annotations of one picture, [{"shape", "labels": [{"task", "name"}]}], and why something was left out."""
    figures = [each for each in picture.figures if each.label in plan.classes]
    if plan.project_type in ("classification", "anomaly"):
        return _global(figures, plan, {"type": "RECTANGLE", "x": 0, "y": 0, "width": width, "height": height})
    figures, outside = _within(figures, (width, height))
    made, lost = _local(figures, plan, width, height)
    return made, outside + lost


def _within(figures: Sequence[Figure], size: tuple[int, int]) -> tuple[list[Figure], list[str]]:
    """Those of which something lies in the picture; a word for each object of which nothing does: pushed to the edge it
    would be an annotation that nobody made.
    """
    inside: list[Figure] = []
    left: list[Figure] = []
    for each in figures:
        (inside if each.form == "tag" or _reaches_into(outline(each), size) else left).append(each)
    kept = {each.group for each in inside if each.group}
    alone = sum(not each.group for each in left)
    objects = len({each.group for each in left if each.group} - kept)
    return inside, ["a shape that lies wholly outside of its picture"] * (alone + objects)


def _reaches_into(points: Sequence[Point], size: tuple[int, int]) -> bool:
    if not points or not all(math.isfinite(value) for point in points for value in point):
        return False
    for at, limit in enumerate(size):
        least, most = min(point[at] for point in points), max(point[at] for point in points)
        if least >= limit or (most <= 0 and least < 0):
            return False
    return True


def _local(figures: Sequence[Figure], plan: Plan, width: int, height: int) -> tuple[list[dict[str, Any]], list[str]]:
    """For tasks whose annotations have a place in the picture."""
    match plan.project_type:
        case "keypoint":
            return _skeleton(figures, plan)
        case "detection_to_segmentation":
            made, lost = _each(figures, plan, 0, "detection", (width, height))
            outlines, more = _each(figures, plan, 1, "segmentation", (width, height))
            return made + outlines, lost + more
        case "detection_to_classification":
            made, lost = _each(figures, plan, 0, "detection", (width, height))
            drawn = [
                each
                for each in one_each(figures, "detection")
                if each.form not in ("tag", "points") and plan.classes[each.label][0]
            ]
            for entry, figure in zip(made, drawn, strict=True):
                entry["labels"].append({"task": 1, "name": plan.classes[figure.label][1]})
            return made, lost
        case other:
            return _each(figures, plan, 0, other, (width, height))


def _global(figures: Sequence[Figure], plan: Plan, whole: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    names = list(dict.fromkeys(str(plan.classes[each.label][0]) for each in figures))
    if plan.project_type == "anomaly" and "Anomalous" in names:
        names = ["Anomalous"]
    if plan.several and names:
        return [{"shape": dict(whole), "labels": [{"task": 0, "name": name} for name in names]}], []
    if len(names) > 1:
        return [], ["an image with several of the labels: only one can be its class"]
    return [{"shape": dict(whole), "labels": [{"task": 0, "name": name}]} for name in names], []


def _skeleton(figures: Sequence[Figure], plan: Plan) -> tuple[list[dict[str, Any]], list[str]]:
    assert plan.keypoints is not None
    skeletons = [each for each in figures if each.form == "points"]
    if len(skeletons) > 1:
        return [], ["an image with several skeletons: the server takes one"]
    made = []
    for figure in skeletons:
        points = list(zip(figure.values[::2], figure.values[1::2], strict=True))
        for at, (name, (x, y)) in enumerate(zip(plan.keypoints.points, points, strict=False)):
            visible = figure.visible[at] if at < len(figure.visible) else True
            shape = {"type": "KEYPOINT", "x": x, "y": y, "is_visible": visible}
            made.append({"shape": shape, "labels": [{"task": 0, "name": name}]})
    return made, []


def _each(
    figures: Sequence[Figure], plan: Plan, task: int, task_type: str, size: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[str]]:
    made, lost = [], []
    for figure in one_each(figures, task_type):
        name = plan.classes[figure.label][task]
        if figure.form in ("tag", "points") or name is None:
            if figure.form != "tag":
                lost.append(f"a {figure.form} has no counterpart in a {task_type} task")
            continue
        shape = shape_for(figure, task_type, size)
        made.append({"shape": shape, "labels": [{"task": task, "name": name}]})
    return made, lost


def one_each(figures: Sequence[Figure], task_type: str) -> list[Figure]:
    """Each object once, in the form that the task wants: its outlines for segmentation, else its box."""
    groups: dict[tuple[int, str], list[Figure]] = {}
    for at, figure in enumerate(figures):
        groups.setdefault((figure.group or -1 - at, figure.label), []).append(figure)
    chosen: list[Figure] = []
    for members in groups.values():
        drawn = [each for each in members if each.form not in ("tag", "points")]
        outlines = [each for each in drawn if each.form != "rectangle"]
        boxes = [each for each in drawn if each.form == "rectangle"]
        if len(drawn) < 2:
            chosen += drawn or members[:1]
        elif _wants_outlines(task_type, len(outlines)):
            chosen += outlines
        elif boxes:
            chosen.append(boxes[0])
        else:
            corners = [point for each in drawn for point in outline(each)]
            chosen.append(Figure("polygon", drawn[0].label, tuple(value for point in corners for value in point)))
    return chosen


def _wants_outlines(task_type: str, outlines: int) -> bool:
    if task_type == "rotated_detection":
        return outlines == 1
    return outlines > 0 and task_type in ("segmentation", "instance_segmentation")


def shape_for(figure: Figure, task_type: str, size: tuple[int, int]) -> dict[str, Any]:
    """The shape that a task of this type has for a figure, within an image of `size` (pixels)."""
    if task_type == "rotated_detection":
        x, y, w, h, angle = figure.values if figure.form == "rotated" else smallest_rotated(outline(figure))
        return {
            "type": "ROTATED_RECTANGLE",
            "x": x,
            "y": y,
            "width": max(w, 1),
            "height": max(h, 1),
            "angle": angle % 360,
        }
    if task_type in ("segmentation", "instance_segmentation") and figure.form != "rectangle":
        if figure.form == "ellipse":
            x, y, w, h = figure.values
            return {"type": "ELLIPSE", "x": x, "y": y, "width": max(w, 1), "height": max(h, 1)}
        points = [{"x": min(max(x, 0), size[0]), "y": min(max(y, 0), size[1])} for x, y in outline(figure)]
        return {"type": "POLYGON", "points": points}
    return _box(outline(figure), size)


def _box(points: Sequence[Point], size: tuple[int, int]) -> dict[str, Any]:
    """The rectangle around points, inside the image and a pixel wide at least."""
    left = min(max(min(x for x, _ in points), 0), size[0] - 1)
    upper = min(max(min(y for _, y in points), 0), size[1] - 1)
    right = min(max(max(x for x, _ in points), left + 1), size[0])
    lower = min(max(max(y for _, y in points), upper + 1), size[1])
    return {"type": "RECTANGLE", "x": left, "y": upper, "width": right - left, "height": lower - upper}


def outline(figure: Figure) -> list[Point]:
    """The corners of a figure; an ellipse as the corners of its box."""
    if figure.form in ("rectangle", "ellipse"):
        x, y, w, h = figure.values
        return [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    if figure.form == "rotated":
        x, y, w, h, angle = figure.values
        turn = math.radians(angle)
        cos, sin = math.cos(turn), math.sin(turn)
        corners = ((-w / 2, -h / 2), (w / 2, -h / 2), (w / 2, h / 2), (-w / 2, h / 2))
        return [(x + a * cos - b * sin, y + a * sin + b * cos) for a, b in corners]
    return list(zip(figure.values[::2], figure.values[1::2], strict=True))


def smallest_rotated(points: Sequence[Point]) -> tuple[float, float, float, float, float]:
    """The smallest rectangle around points: centre x, y, width, height, degrees clockwise (0 to 90).

    One side of it lies on a side of their convex hull, so only those directions are tried.
    """
    hull = _hull(points)
    best: tuple[float, tuple[float, float, float, float, float]] | None = None
    sides = [(hull[at - 1], hull[at]) for at in range(len(hull))] or [((0.0, 0.0), (1.0, 0.0))]
    for (x1, y1), (x2, y2) in sides:
        angle = math.atan2(y2 - y1, x2 - x1) % (math.pi / 2)
        cos, sin = math.cos(angle), math.sin(angle)
        across = [x * cos + y * sin for x, y in hull]
        down = [-x * sin + y * cos for x, y in hull]
        w, h = max(across) - min(across), max(down) - min(down)
        middle, level = (max(across) + min(across)) / 2, (max(down) + min(down)) / 2
        found = (middle * cos - level * sin, middle * sin + level * cos, w, h, math.degrees(angle))
        if best is None or w * h < best[0] - 1e-9:
            best = (w * h, found)
    assert best is not None
    return best[1]


def _hull(points: Sequence[Point]) -> list[Point]:
    ordered = sorted(set(points))
    if len(ordered) < 3:
        return ordered

    def half(chain: Sequence[Point]) -> list[Point]:
        kept: list[Point] = []
        for point in chain:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return half(ordered) + half(ordered[::-1])


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
