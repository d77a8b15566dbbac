"""One version, named in two places."""

from __future__ import annotations

import tomllib

from common.settings import ROOT
from common.version import VERSION


def test_the_version_is_that_of_pyproject():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION
