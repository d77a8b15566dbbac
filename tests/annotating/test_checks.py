"""What forbids a create, found before anything is made."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from annotating.fake_fiftyone import DESCRIBED

from common.annotating.checks import Findings, ServerFacts, check, fill_in, permissions_now, permissions_of, schema_of
from common.annotating.settings import FiftyoneSettings

BASE = {"dataset": "birds", "anno_key": "round1", "label_field": "gt", "label_type": "detections", "classes": "cat"}


def settings(**values: str) -> FiftyoneSettings:
    given = {name: value for name, value in {**BASE, **values}.items() if value}
    return FiftyoneSettings.model_validate({f"FIFTYONE_SYNC_{name.upper()}": value for name, value in given.items()})


def findings(
    seen: dict[str, Any] | None = None,
    facts: ServerFacts | None = None,
    field: dict[str, Any] | None = None,
    **values: str,
) -> Findings:
    described = {**copy.deepcopy(DESCRIBED), **(seen or {})}
    found = settings(**values)
    if field is not None:
        described["fields"] = {found.label_field: {"exists": True, **field}}
        described["mask_targets"] = {found.label_field: False}
    return check(found, schema_of(found), described, facts or ServerFacts())


def test_nothing_is_said_of_what_is_right():
    assert findings() == Findings()


BOXES = {"kind": "Detections", "labels": 5, "masks": 0}
VIDEO = {"media_type": "video"}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"seen": {"media_type": "group"}}, "grouped"),
        ({"seen": {"media_type": "point-cloud"}}, "only images and videos"),
        ({"seen": {"runs": {"round1": 1.0}}}, "already has an annotation run"),
        ({"seen": {"view": {"samples": 0, "missing_count": 0}}}, "no samples to send"),
        ({"seen": {"view": {"samples": 1, "missing_count": 2, "missing_ids": ["a", "b"]}}}, "2 ids that no sample has"),
        ({"seen": {"view": {"samples": 1, "missing_count": 0, "gone_count": 1, "gone": ["/x.png"]}}}, "/x.png"),
        (
            {"seen": {"view": {"samples": 1, "missing_count": 0, "unreadable_count": 1, "unreadable": ["/x.png"]}}},
            "cannot be read as images",
        ),
        ({"label_type": ""}, "say FIFTYONE_SYNC_LABEL_TYPE"),
        ({"classes": ""}, "say FIFTYONE_SYNC_CLASSES"),
        ({"label_type": "segmentation"}, "say FIFTYONE_SYNC_MASK_TARGETS"),
        ({"label_field": "filepath", "label_type": "scalar"}, "FiftyOne's own"),
        ({"label_field": "frames.gt"}, "only videos have fields of frames"),
        ({"seen": VIDEO}, "frames.gt"),
        ({"field": {"kind": "Polylines", "labels": 1}}, "go as polygons or polylines, not as detections"),
        ({"field": {"kind": "Heatmap"}, "label_type": ""}, "cannot be annotated in CVAT"),
        ({"field": BOXES, "label_type": "instances"}, "none of its 5 labels has a mask"),
        ({"field": {"kind": "Polylines", "labels": 2, "filled": 0}, "label_type": "polygons"}, "is a polygon"),
        ({"field": {"kind": "Keypoints", "labels": 2, "nan_points": 1}, "label_type": "keypoints"}, "NaN"),
        ({"seen": VIDEO, "label_field": "frames.gt", "segment_size": "10"}, "several jobs"),
        ({"seen": VIDEO, "label_field": "frames.gt", "frame_step": "2", "field": {**BOXES, "tracks": 3}}, "tracks"),
        (
            {
                "seen": VIDEO, "label_field": "frames.gt", "label_type": "polylines",
                "field": {"kind": "Polylines", "labels": 3, "filled": 0, "tracks": 3, "parts_in_tracks": 1},
            },
            "1 label in tracks with several parts",
        ),
        ({"seen": VIDEO, "label_field": "frames.gt", "frame_start": "9", "frame_stop": "3"}, "is before"),
        ({"frame_step": "2"}, "only videos have frames"),
        ({"classes": "x" * 65}, "longer than 64"),
        ({"classes": "cat,cat"}, "given twice"),
        ({"attributes": '{"label_id": {"type": "text"}}'}, "use themselves"),
        ({"attributes": '{"' + "x" * 65 + '": {"type": "text"}}'}, "1 to 64 characters"),
        ({"attributes": '{"colour": {"type": "select"}}'}, "needs values"),
        ({"attributes": '{"colour": {"type": "rainbow"}}'}, "is none of"),
        ({"project_name": "x" * 250}, "is longer than"),
        ({"facts": ServerFacts(unknown_users=("eve",))}, "no user 'eve'"),
        ({"facts": ServerFacts(7, ("cat",)), "project_name": "Birds"}, "FIFTYONE_SYNC_EXISTING_PROJECT=true permits"),
        (
            {
                "facts": ServerFacts(7, ("cat",)), "project_name": "Birds", "existing_project": "true",
                "attributes": '{"hidden": {"type": "occluded"}}',
            },
            "FIFTYONE_SYNC_OCCLUDED_ATTR",
        ),
    ],
)  # fmt: skip
def test_what_would_go_wrong_is_a_problem(what: dict[str, Any], said: str):
    found = findings(**what)
    assert any(said in problem for problem in found.problems), found


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"seen": {"persistent": False}}, "not persistent"),
        ({"seen": {"view": {"samples": 9, "missing_count": 0, "uploads": [10, 3 << 30]}}}, "one task has 3.2 GB"),
        ({"field": {**BOXES, "masks": 3}, "label_type": "instances"}, "2 labels without a mask"),
        ({"field": {"kind": "Segmentation", "labels": 1}, "label_type": "segmentation"}, "no mask targets"),
        (
            {"facts": ServerFacts(7, ("dog",)), "project_name": "Birds", "existing_project": "true"},
            "does not have 1 class: cat",
        ),
    ],
)
def test_what_somebody_should_know_is_a_note_and_no_problem(what: dict[str, Any], said: str):
    found = findings(**what)
    assert not found.problems
    assert any(said in warning for warning in found.warnings), found


def test_two_fields_that_share_a_class_need_room_for_their_names():
    schema = '{"%s": {"type": "detections", "classes": ["%s"]}, "b": {"type": "polygons", "classes": ["%s"]}}'
    long = settings(label_schema=schema % ("a" * 30, "c" * 40, "c" * 40))
    seen = {**DESCRIBED, "fields": {}, "mask_targets": {}}
    assert any(
        "with the field's behind it" in each for each in check(long, schema_of(long), seen, ServerFacts()).problems
    )


def test_values_that_everybody_forgets_are_filled_in():
    text, box, choice = {"type": "text"}, {"type": "checkbox"}, {"type": "select", "values": ["a"]}
    for each in (text, box, choice):
        fill_in(each)
    assert (text["values"], box["values"], choice["values"]) == ([], [True, False], ["a"])
    schema = schema_of(settings(attributes='{"note": {"type": "text"}}'))
    assert schema["gt"]["attributes"] == {"note": {"type": "text", "values": []}}


def test_a_load_takes_what_create_allowed_and_is_still_allowed():
    at_create = permissions_of(schema_of(settings(allow_deletions="false")))
    now = permissions_now(settings(allow_additions="false"), at_create)
    assert now["gt"]["allow_deletions"] is False and now["gt"]["allow_additions"] is False
    assert now["gt"]["allow_spatial_edits"] is True
