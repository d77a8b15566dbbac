"""The status page in a real browser: readable on a phone, light and dark, with a thousand sources, and harmless."""

from __future__ import annotations

import json
import os
import re
import subprocess
from html import escape
from pathlib import Path

import pytest
from PIL import Image

from common.health.health import prepared
from common.health.listener import Listener
from common.health.nights import SHOWN
from common.health.page import render
from common.text import iso
from tests.common.health.shelves import DAY, HOUR, NOW, Shelves, a_good_night

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_SECONDS = 120
pytestmark = [
    pytest.mark.skipif(not os.environ.get("CVAT_TESTS_ALL"), reason="CVAT_TESTS_ALL=1 starts a browser"),
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM} (Debian's package chromium)"),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
).split()
# What the page looks like to its reader, written into the title for --dump-dom; only a copy of the page has this script.
MEASURE = """<script>addEventListener("load", () => { const page = document.documentElement;
  const outside = [...document.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1);
  const small = [...document.querySelectorAll("main *")].filter(e => e.childNodes.length && e.textContent.trim()
    && !e.closest("svg") && parseFloat(getComputedStyle(e).fontSize) < 12);
  parent.document.title = ["measured", innerWidth, page.scrollWidth, outside.length, small.length,
    document.querySelectorAll("tbody tr td.n").length, performance.now() | 0].join(" ") })</script>"""


class Browser:
    """Chromium without a window, with an empty profile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _run(self, *arguments: str, width: int, height: int, dark: bool) -> str:
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        command = [str(CHROMIUM), *FLAGS, *scheme, f"--user-data-dir={self._folder / 'profile'}"]
        done = subprocess.run(
            [*command, f"--window-size={width},{height}", *arguments],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True,
        )  # fmt: skip
        return done.stdout

    def document(self, url: str, width: int = 1200, height: int = 900) -> str:
        return self._run("--dump-dom", url, width=width, height=height, dark=False)

    def picture(self, url: str, width: int = 1200, height: int = 900, *, dark: bool = False) -> Image.Image:
        path = self._folder / "picture.png"
        path.unlink(missing_ok=True)
        self._run(f"--screenshot={path}", url, width=width, height=height, dark=dark)
        return Image.open(path).convert("RGB")

    def measured(self, html: str, width: int) -> list[int]:
        """Width of the window and of the page, elements that stick out, small texts, rows, and milliseconds to load."""
        # In a frame, because a window without a screen is never narrower than 500.
        page = escape(html.replace("</body>", f"{MEASURE}</body>"))
        path = self._folder / "page.html"
        path.write_text(
            f'<!doctype html><iframe width="{width}" height="900" srcdoc="{page}"></iframe>', encoding="utf-8"
        )
        title = re.search(r"<title>measured ([\d ]+)</title>", self.document(path.as_uri()))
        assert title, "the page was not measured"
        return [int(part) for part in title[1].split()]


@pytest.fixture
def browser(tmp_path):
    (tmp_path / "browser").mkdir()
    return Browser(tmp_path / "browser")


@pytest.fixture
def served(shelves):
    """The address of a listener that shows the shelves as they are when it is first asked."""
    shown = []

    def once():
        shown[:] = shown or [prepared(shelves.snapshot())]
        return shown[0]

    listener = Listener("127.0.0.1", 0, "", once)
    listener.start()
    yield f"http://127.0.0.1:{listener.port}/"
    listener.close()


def a_full_shelf(shelves: Shelves, sources: int, nights: int = SHOWN) -> None:
    """Sources with long names and a history in which everything happens; the third of every ten fails."""
    made = [
        shelves.source(number, name=f"{'A_long_name_without_a_blank_' * 4 if number % 7 == 1 else 'Harbour'} {number}")
        for number in range(1, sources + 1)
    ]
    shelves.scheduler(
        ("backup.py", "--mode", "p"), ("sweeper.py",), ("restore.py", "--verify", "all", "--share", "1/7")
    )
    shelves.list(*made)
    shelves.folder.mkdir(exist_ok=True)
    lines = []
    for back in range(nights, -1, -1):
        for source in made:
            outcome = (
                "failed"
                if source.id % 10 == 3 and back < 3
                else "saved"
                if (source.id + back) % 5 == 0
                else "unchanged"
            )
            at = iso(NOW - 5 * HOUR - back * DAY)
            where = {"server": source.server, "kind": source.kind, "id": source.id, "created_at": source.created_at}
            lines.append({
                "at": at, "run_id": "abcd", "mode": "p", "source": {**where, "name": source.name, "organization_id": None},
                "outcome": outcome, "reason": "the export ended with an error" if outcome == "failed" else "",
            })  # fmt: skip
    (shelves.folder / "runs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for source in made:
        shelves.backup(source, NOW - 4 * DAY, size=10)
    shelves.drill(made[0], NOW - 3 * DAY)
    shelves.ran("backup p", "some failed", NOW - 4 * HOUR, 3, ["FAILED project 3: " + "long " * 60, "x" * 200])


def states(shelves):
    """The page in its moods: nothing yet, all good, failing."""
    yield render(None)
    shelves.scheduler()
    yield render(shelves.snapshot())
    a_good_night(shelves)
    yield render(shelves.new_look().look(NOW))
    a_full_shelf(shelves, 40)
    yield render(shelves.new_look().look(NOW))


@pytest.mark.parametrize("width", [390, 768, 1200])
def test_nothing_sticks_out_and_no_text_is_too_small_in_any_mood(shelves, browser, width):
    for html in states(shelves):
        window, page, outside, small, _rows, _milliseconds = browser.measured(html, width)
        assert window == width
        assert page <= window and outside == 0
        assert small == 0


def test_a_thousand_sources_are_one_page_below_a_megabyte_and_a_half(shelves, browser):
    a_full_shelf(shelves, 1000)
    html = render(shelves.snapshot())
    assert len(html.encode()) < 1_500_000
    window, page, _outside, _small, rows, _milliseconds = browser.measured(html, 390)
    assert page <= window and rows == 1000
    assert html.index("Harbour 3<") < html.index("Harbour 2<")  # problems first
    assert "100 of 1,000 sources are not backed up" in html and "900 more" not in html.split("<details")[0]


def test_it_is_shown_as_served_with_its_style_in_light_and_dark(shelves, browser, served):
    a_good_night(shelves)
    light, dark = browser.picture(served), browser.picture(served, dark=True)
    assert min(light.getpixel((5, 5))) > 240 and max(dark.getpixel((5, 5))) < 40
    # The sign beside the headline is green, and large: the answer at a glance.
    for picture in (light, dark):
        green = sum(g > r + 40 and g > b for r, g, b in picture.crop((50, 100, 130, 200)).get_flattened_data())
        assert green > 800


def test_a_failure_is_not_green(shelves, browser, served):
    a_full_shelf(shelves, 20)
    sign = browser.picture(served).crop((50, 100, 130, 200)).get_flattened_data()
    assert sum(r > g + 60 for r, g, b in sign) > 500
    assert sum(g > r + 40 for r, g, b in sign) == 0


def test_what_strangers_call_their_projects_does_nothing(shelves, browser, served):
    attack = "<script>document.title='pwned'</script><img src=x onerror=document.title='pwned'>"
    source = shelves.source(1, name=attack)
    shelves.scheduler(line=attack, job=attack)
    shelves.list(source)
    shelves.saved(source, NOW - 5 * HOUR)
    shelves.attempt(source, "failed", NOW - HOUR, reason=attack)
    shelves.ran(attack, "failed", NOW, 1, [attack, "</pre>" + attack])
    shelves.last_run("p", attack)
    found = browser.document(served)
    assert "pwned</title>" not in found and "<img" not in found and "<script" not in found
    assert found.count("&lt;script&gt;") >= 4
    # A script that got into the page all the same would not run: served, it measures nothing.
    assert "Everything is backed up" in found
