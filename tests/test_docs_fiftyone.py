"""docs/fiftyone.md says what the code has: its settings, commands, label types and flags."""

from __future__ import annotations

import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import fiftyone_sync
from common.annotating.app_settings import AppSettings
from common.annotating.settings import LABEL_TYPES, FiftyoneSettings
from common.scheduling.crontab import parse
from common.scheduling.watch import scripts_in
from common.settings import flag_name, variables

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "fiftyone.md").read_text(encoding="utf-8")
SETTINGS = set(variables(FiftyoneSettings)) | set(variables(AppSettings))
# What FiftyOne itself reads.
OF_FIFTYONE = {"FIFTYONE_CVAT_URL", "FIFTYONE_CVAT_USERNAME", "FIFTYONE_CVAT_PASSWORD", "FIFTYONE_CVAT_EMAIL"}
OF_FIFTYONE |= {"FIFTYONE_ALLOWED_ORIGINS", "FIFTYONE_DO_NOT_TRACK"}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?<![A-Z_])FIFTYONE_[A-Z_]*[A-Z]", PAGE))))
def test_every_setting_that_is_named_exists(name: str):
    assert name in SETTINGS | OF_FIFTYONE


def test_every_command_is_explained_and_none_is_invented():
    assert set(re.findall(r"fiftyone_sync\.py ([a-z]+)", PAGE)) - {"does"} == set(fiftyone_sync.COMMANDS)


def test_every_label_type_stands_in_the_table():
    table = PAGE.split("## What can be labelled")[1].split("**Attributes**")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([a-z]+)`", row)} == set(LABEL_TYPES)


def test_every_flag_is_one():
    flags = {flag_name(name) for name in SETTINGS} | {"--when", "--discard"}
    for line in re.findall(r"(?:fiftyone_sync|fiftyone_app)\.py .*", PAGE):
        assert set(re.findall(r"(?<= )--[a-z-]{3,}", line)) <= flags, line


def test_every_link_leads_somewhere():
    headings = {re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (ROOT / "docs" / target.partition("#")[0]).exists(), target


def test_the_line_that_the_crontab_shows_can_be_uncommented():
    text = (ROOT / "crontab").read_text(encoding="utf-8")
    shown = re.sub(r"^#(.*fiftyone_sync\.py.*)$", r"\1", text, flags=re.M)
    crontab = parse(shown, scripts_in(ROOT), ZoneInfo("UTC"))
    assert not crontab.problems
    assert ("fiftyone_sync.py", "load", "--when", "completed") in {entry.command for entry in crontab.entries}
