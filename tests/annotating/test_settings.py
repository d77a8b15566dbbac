"""What people write into the settings of fiftyone_sync.py."""

from __future__ import annotations

import pytest

from common.annotating.settings import FiftyoneSettings, View, missing_credentials, needs_cvat, read_view
from common.settings import SettingsError, flag_name, load

IDS = ("0123456789abcdef01234567", "abcdef0123456789abcdef01")


def settings(**values: str) -> FiftyoneSettings:
    return FiftyoneSettings.model_validate({f"FIFTYONE_SYNC_{name.upper()}": value for name, value in values.items()})


@pytest.mark.parametrize(
    ("text", "view"),
    [
        ("", View()),
        ("limit=10", View(10)),
        (" tag=a, b ; limit = 3 ", View(3, ("a", "b"))),
        (f"ids={','.join(IDS)}", View(0, (), IDS)),
        ("tag=a;tag=b", View(0, ("a", "b"))),
    ],
)
def test_a_view_is_understood(text: str, view: View):
    assert read_view(text) == view


@pytest.mark.parametrize("text", ["10", "limit=", "limit=0", "limit=ten", "ids=birds", "colour=red", "limit"])
def test_a_view_that_is_none_is_refused(text: str):
    with pytest.raises(ValueError, match=r"has|is not"):
        read_view(text)


def test_classes_are_names_or_a_json_list_with_groups():
    assert settings(classes="cat, dog,").classes == ("cat", "dog")
    groups = '["cat", {"classes": ["car"], "attributes": {}}]'
    assert settings(classes=groups).classes == ("cat", {"classes": ["car"], "attributes": {}})


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(SettingsError) as met:
        load(
            FiftyoneSettings,
            environ={
                "FIFTYONE_SYNC_LABEL_TYPE": "boxes",
                "FIFTYONE_SYNC_ATTRIBUTES": "{",
                "FIFTYONE_SYNC_ANNO_KEY": "round 1",
                "FIFTYONE_SYNC_IMAGE_QUALITY": "500",
                "FIFTYONE_SYNC_LABEL_SCHEMA": '{"gt": "detections"}',
                "CVAT_ENV_DIR": "/",
            },
        )
    told = "\n".join(met.value.problems)
    for name in ("LABEL_TYPE", "ATTRIBUTES", "ANNO_KEY", "IMAGE_QUALITY", "LABEL_SCHEMA"):
        assert f"FIFTYONE_SYNC_{name}=" in told
    assert len(met.value.problems) == 5


def test_its_own_organization_wins_over_that_of_the_backups():
    both = {"CVAT_ORGANIZATION": "everybody", "FIFTYONE_SYNC_ORGANIZATION": "labellers"}
    assert FiftyoneSettings.model_validate(both).where == "labellers"
    assert FiftyoneSettings.model_validate({"CVAT_ORGANIZATION": "everybody"}).where == "everybody"
    assert flag_name("FIFTYONE_SYNC_ORGANIZATION") == "--organization"


def test_a_token_is_no_credential_here():
    raw = {"CVAT_URL": "https://cvat.example.com", "CVAT_ACCESS_TOKEN": "a.b"}
    assert [line.split()[0] for line in missing_credentials(raw)] == ["CVAT_USERNAME", "CVAT_PASSWORD"]
    assert all("cannot sign in with CVAT_ACCESS_TOKEN" in line for line in missing_credentials(raw))


@pytest.mark.parametrize(
    ("command", "switch", "needed"),
    [("create", "true", True), ("create", "False", False), ("load", "0", False), ("undo", "true", False)],
)
def test_credentials_are_asked_for_when_they_are_needed(command: str, switch: str, needed: bool):
    assert needs_cvat(command, {"CVAT_SYNC": switch}) is needed
