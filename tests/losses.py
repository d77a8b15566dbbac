"""What a tool made of the projects that geti-sdk is known to lose parts of, as the table in docs/migrating.md says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.sc.world import Project

PAGE = Path(__file__).resolve().parent.parent / "docs" / "migrating.md"


@dataclass(frozen=True)
class Contents:
    """What one project of a played server holds."""

    images: int
    videos: int
    scenes: int  # with annotations
    hotkeys: int
    titles: tuple[str, ...]


def contents(project: Project | None) -> Contents | None:
    if project is None:
        return None
    media = [one for dataset in project.datasets for one in dataset.media.values()]
    return Contents(
        sum(one.kind == "image" for one in media),
        sum(one.kind == "video" for one in media),
        sum(bool(scene.annotations) for one in media for scene in one.scenes.values()),
        sum(bool(label.hotkey) for task in project.trainable for label in task.labels),
        tuple(task.title for task in project.trainable),
    )


def came_back(
    before: Mapping[str, Contents | None], after: Mapping[str, Contents | None], errors: Mapping[str, str | None]
) -> list[str]:
    """One cell for each row of the table, in its order; "Cars" was uploaded twice."""

    def both(name: str) -> tuple[Contents, Contents]:
        name = next(each for each in before if each.startswith(name))
        first, second = before[name], after[name]
        assert first is not None
        return first, second or Contents(0, 0, 0, 0, ())

    def failed(name: str) -> str:
        return f", then {(errors[name] or '').split(':')[0]}" if errors.get(name) else ""

    cells = []
    for name in ("Two datasets",):
        first, second = both(name)
        cells.append(f"{second.scenes} of {first.scenes} scenes")
    first, second = both("Media in a side dataset")
    cells.append(f"{second.images} of {first.images} images")
    for name in ("Long video", "Awkward"):
        first, second = both(name)
        cells.append(f"{second.scenes} of {first.scenes} scenes")
    first, second = both("Nothing annotated")
    cells.append(f"{second.images} of {first.images} images{failed('Nothing annotated')}")
    first, second = both("Cars")
    cells.append(f"{second.images + second.videos} files of {first.images + first.videos}")
    people, (first, second) = "People (keypoints)", both("People (keypoints)")
    cells.append(f"{second.scenes} of {first.scenes} scenes{failed(people)}")
    first, second = both("Cars")
    titles = "title kept" if second.titles == first.titles else "title lost"
    cells.append(f"{second.hotkeys} of {first.hotkeys} hotkeys, {titles}")
    return cells


def column(heading: str) -> list[str]:
    """The cells of a column of the table on the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("| ") and f"| {heading} |" in line)
    which = [each.strip() for each in lines[at].split("|")].index(heading)
    rows = []
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([each.strip() for each in line.split("|")][which])
    return rows
