"""Bars on terminals of all widths: one line each, with the figures whole."""

from __future__ import annotations

import re
import sys

import pytest
from rich.cells import cell_len

from common.bars import cut
from common.images.screen import DownloadBar
from common.progress import Display

LONG = "101 barley segmentation of the northern fields, 2026"
PATH = "datalake/REAL/2026/barley/camera-0007/images/0005.jpg"


@pytest.fixture
def wide(monkeypatch):
    """`wide(40)`: standard error is a terminal of so many columns."""

    def wide(columns: int) -> None:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)

    return wide


def drawn(capsys) -> list[str]:
    """The lines of what was last drawn before it was wiped away."""
    frames = re.split(r"\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", capsys.readouterr().err)
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame).replace("\r", "").strip("\n") for frame in frames]
    return [frame for frame in plain if frame.strip()][-1].split("\n")


@pytest.mark.parametrize("columns", [40, 69, 70, 80, 200])
def test_items_stay_on_one_line_each_with_what_they_have_come_to(capsys, wide, columns):
    wide(columns)
    with Display("downloading tasks", 345) as display:
        item = display.item(LONG)
        item.phase("downloading")
        item.bytes(123_000_000, 456_000_000)
        display.advance()
        display.tick()
    overall, line = drawn(capsys)
    assert max(map(cell_len, (overall, line))) <= columns
    assert "1 of 345, 123 MB" in overall
    assert ("downloading 27%" in line) == (columns < 70) and ("downloading 123 MB" in line) == (columns >= 70)
    assert re.search(r" \d:\d\d:\d\d$", line) and "101 b" in line
    assert ("━" in line) == (columns >= 70)


@pytest.mark.parametrize("columns", [40, 69, 70, 80, 200])
def test_the_bar_of_images_keeps_figures_and_the_end_of_the_name(capsys, wide, columns):
    wide(columns)
    with DownloadBar(12_345, 1000) as bar:
        bar.show(1_234, 100, 0, PATH)
    [line] = drawn(capsys)
    assert cell_len(line) <= columns
    assert "1,234 of 12,345" in line and " 10%" in line
    assert ("images/0005.jpg" in line) == ("━" in line) == (columns >= 70)
    assert (PATH in line) == (columns == 200)


@pytest.mark.parametrize(
    ("columns", "beginning", "end"),
    [(9, "名前 long", "名前 long"), (8, "名前 lo…", "…前 long"), (3, "名…", "…ng"), (1, "…", "…"), (0, "", "")],
)
def test_what_is_cut_says_so_and_fits(columns, beginning, end):
    assert cut("名前 long", columns) == beginning
    assert cut("名前 long", columns, keep_end=True) == end
    assert max(cell_len(beginning), cell_len(end)) <= columns
