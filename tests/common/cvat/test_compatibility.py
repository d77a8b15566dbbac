"""Versions: a warning, never a refusal."""

from __future__ import annotations

import pytest

from common.cvat.compatibility import version_warnings


@pytest.mark.parametrize(("server", "sdk"), [("2.54.1", "2.54.0"), ("2.30.0", "2.30.9"), ("2.80", "2.80.1")])
def test_versions_that_belong_together_are_silent(server, sdk):
    assert version_warnings(server, sdk) == []


@pytest.mark.parametrize(("server", "sdk"), [("2.54.1", "2.80.0"), ("2.30.0", "2.54.0")])
def test_another_sdk_is_mentioned(server, sdk):
    [said] = version_warnings(server, sdk)
    assert server in said and sdk in said and "goes on" in said


@pytest.mark.parametrize("server", ["2.29.3", "2.81.0", "3.0", "1.7.0"])
def test_a_server_outside_of_the_known_range_is_mentioned(server):
    [said] = version_warnings(server, "2.54.0")
    assert "outside of what this program was made for" in said and "goes on" in said


@pytest.mark.parametrize("server", ["", "dev", "v2"])
def test_a_version_that_is_none_is_mentioned(server):
    [said] = version_warnings(server)
    assert "none that is known" in said


def test_the_installed_sdk_is_found_out():
    assert all("goes on" in line for line in version_warnings("2.54.1"))
