"""Versions: a warning, never a refusal."""

from __future__ import annotations

import pytest

from common.cvat.compatibility import version_warnings


@pytest.mark.parametrize("server", ["2.30.0", "2.54.1", "2.80", "2.80.1"])
def test_a_version_that_this_was_made_for_is_no_news(server):
    assert version_warnings(server) == []


@pytest.mark.parametrize("server", ["2.29.3", "2.81.0", "3.0", "1.7.0"])
def test_a_server_outside_of_the_known_range_is_mentioned(server):
    [said] = version_warnings(server)
    assert "outside of what this program was made for" in said and "goes on" in said


@pytest.mark.parametrize("server", ["", "dev", "v2"])
def test_a_version_that_is_none_is_mentioned(server):
    [said] = version_warnings(server)
    assert "none that is known" in said and "goes on" in said
