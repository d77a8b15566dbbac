"""What a tool made of the projects that geti-sdk is known to lose parts of, and the table of it in docs/migrating.md."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.sc.world import Project

BEGIN = "<!-- written by CVAT_TESTS_WRITE=1 ./run-tests.sh --all -k losses -->\n"
END = "<!-- end of what the tests wrote -->"
TOOLS = ("geti-sdk 2.13.1", "`sc_migrate.py`")
# What `came_back` tells, in its order.
ROWS = (
    "the same names in two datasets",
    "media in a dataset that is not for training",
    "a video with 620 annotated frames",
    "names with brackets, quotes, slashes",
    "no annotations",
    "been uploaded twice",
    "keypoints",
    "hotkeys and a title of its own",
)
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


@dataclass(frozen=True)
class Column:
    """What one tool brought back, from the top of the table to its end."""

    tool: str
    cells: tuple[str, ...]


def told(columns: Sequence[Column]) -> str:
    """The table of the page."""
    lines = ["| the project has |" + "".join(f" {each.tool} |" for each in columns), "|" + "---|" * (len(columns) + 1)]
    for number, row in enumerate(ROWS):
        lines.append(f"| {row} |" + "".join(f" {each.cells[number]} |" for each in columns))
    return "\n".join(lines) + "\n"


def on_the_page(page: Path = PAGE) -> list[Column]:
    """The columns as the page has them; a column of a table that was never written has empty cells."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _block(page)[1].splitlines()]
    if len(rows) != len(ROWS) + 2:
        return [Column(tool, ("",) * len(ROWS)) for tool in TOOLS]
    return [Column(rows[0][at], tuple(row[at] for row in rows[2:])) for at in range(1, len(rows[0]))]


def compare_or_write(tool: str, cells: Sequence[str], page: Path = PAGE) -> None:
    """The page says what was seen; with CVAT_TESTS_WRITE=1 it is made to."""
    seen = Column(tool, tuple(cells))
    columns = [seen if each.tool == tool else each for each in on_the_page(page)]
    if os.environ.get("CVAT_TESTS_WRITE"):
        before, _, after = _block(page)
        page.write_text(before + told(columns) + after, encoding="utf-8")
    assert _block(page)[1] == told(columns), "CVAT_TESTS_WRITE=1 ./run-tests.sh --all -k losses writes the table anew"


def _block(page: Path) -> tuple[str, str, str]:
    """The page up to its table, the table, and the rest."""
    text = page.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    return text[:begin], text[begin:end], text[end:]
