"""The settings of everything that talks to CVAT."""

from __future__ import annotations

import pytest

from common.cvat.settings import CvatSettings, missing_server_settings

COMPLETE = {"CVAT_URL": "https://x", "CVAT_USERNAME": "bob", "CVAT_PASSWORD": "x"}


def test_an_address_user_and_password_are_enough_and_so_is_a_token():
    assert missing_server_settings(COMPLETE) == []
    assert missing_server_settings({"CVAT_URL": "https://x", "CVAT_ACCESS_TOKEN": "t"}) == []


def test_without_an_address_the_variable_and_the_demo_are_named():
    said = missing_server_settings({})
    assert said[0].startswith("CVAT_URL is not set") and "--demo" in said[0]
    assert said[1].startswith("CVAT_USERNAME is not set") and "CVAT_ACCESS_TOKEN" in said[1]


def test_a_user_without_a_password_is_told_so():
    [said] = missing_server_settings({"CVAT_URL": "https://x", "CVAT_USERNAME": "bob"})
    assert said.startswith("CVAT_PASSWORD is not set")


def test_the_address_is_understood_when_it_is_read(tmp_path):
    assert (
        CvatSettings.model_validate(COMPLETE | {"CVAT_URL": "https://x.example/projects/1"}).url == "https://x.example"
    )


def test_a_bundle_of_certificates_must_be_a_file(tmp_path):
    (tmp_path / "ca.pem").touch()
    assert CvatSettings.model_validate(COMPLETE | {"CVAT_CA_BUNDLE": str(tmp_path / "ca.pem")}).ca_bundle
    with pytest.raises(ValueError, match="is not a file"):
        CvatSettings.model_validate(COMPLETE | {"CVAT_CA_BUNDLE": str(tmp_path)})
